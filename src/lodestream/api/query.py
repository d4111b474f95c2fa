"""Reading the comments of a dataset in an order, in pages or as a table, over HTTP."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from lodestream.actions.ordering import CANDIDATES, Asked, Ordered, Place, read_page
from lodestream.api.annotated import AnnotatedComment, annotated_comments
from lodestream.api.calls import Call
from lodestream.api.datasets import field_types_wire, named_dataset
from lodestream.api.http import Reply
from lodestream.api.predicted import newest_predictions
from lodestream.api.selections import readable_sources, seen_by, select_in_dataset
from lodestream.api.tables import MOST_ROWS, comment_table
from lodestream.domain.attributes import AttributeFilter, AttributeFilters, StringAnyOf
from lodestream.domain.comments import messages_of, source_id_of
from lodestream.domain.datasets import Dataset
from lodestream.domain.errors import InvalidInput
from lodestream.domain.fields import EntityDef
from lodestream.domain.filters import parse_filter
from lodestream.domain.orders import Missed, Order, Recent, Sample, TextSearch
from lodestream.domain.search import Search
from lodestream.domain.spans import Span
from lodestream.store import comments, models
from lodestream.store.db import Reader

USUAL_PAGE: Final = 20
LARGEST_PAGE: Final = 1024

_ROUNDED_ABOVE: Final = 1_000


class QueryRequest(Struct, forbid_unknown_fields=True):
    """Which comments, in which order, and where to go on."""

    order: Order = Recent()
    filter: Raw | UnsetType = UNSET
    attribute_filters: AttributeFilters = []
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] | UnsetType = UNSET
    continuation: Annotated[str, Meta(max_length=1024)] | UnsetType | None = UNSET
    collapse_mode: Literal["none", "thread_id"] = "none"


class Highlight(Struct):
    """A place in a text that matches a search."""

    span: Span


class QueryResult(AnnotatedComment, kw_only=True, omit_defaults=True):
    """A comment with its annotations and predictions, and where it matches a search."""

    highlights: list[Highlight] | UnsetType = UNSET


class ResultCounts(Struct):
    """How many comments the filters let through; of a search, how many match, rounded if many."""

    filtered: int
    expected: int


class QueryReply(Struct, omit_defaults=True):
    """A page of comments; without `continuation` it is the last."""

    status: str
    results: list[QueryResult]
    entity_defs: list[EntityDef]
    num_results: ResultCounts
    seed: int | UnsetType = UNSET
    query: str | UnsetType = UNSET
    continuation: str | UnsetType = UNSET


class _Token(Struct, frozen=True, array_like=True):
    """A continuation: what was asked for, the place to go on at, and the number of comments."""

    asked: str
    place: Place
    total: Annotated[int, Meta(ge=0, le=2**63 - 1)]


_decode_token = msgspec.json.Decoder(_Token).decode


def query_comments(call: Call[QueryRequest]) -> QueryReply | Reply:
    """Return comments in an order: a page, or a table if the caller accepts `text/csv`."""
    body = call.body
    as_table = _wants_table(call)
    limit = _limit(call, MOST_ROWS if as_table else LARGEST_PAGE)
    dataset = named_dataset(call)
    digest = _digest(dataset.id, body)
    text = body.continuation or call.request.query("continuation")
    token = _read_token(text, digest) if text else None
    with call.service.db.read() as tx:
        asked = _asked(call, tx, dataset)
        page = read_page(
            tx,
            asked,
            after=Place() if token is None else token.place,
            limit=limit,
            total=None if token is None else token.total,
            rankings=call.service.rankings,
            key=(digest, *seen_by(dataset.id, asked.selection)),
        )
        if as_table:
            table = comment_table(call, tx, asked, page.positions)
            return Reply(b"", content_type=b"text/csv; charset=utf-8", parts=table)
        results = _results(call, tx, asked, page)
    reply = QueryReply("ok", results, field_types_wire(dataset), _counts(asked, page.total))
    if isinstance(body.order, Sample):
        reply.seed = body.order.seed
    if isinstance(body.order, TextSearch):
        reply.query = body.order.query
    if page.following is not None:
        reply.continuation = _write_token(_Token(digest, page.following, page.total))
    return reply


def _wants_table(call: Call[QueryRequest]) -> bool:
    """Tell whether `text/csv` is asked for by name, and JSON is not."""
    kinds = [one.partition(";")[0].strip() for one in call.request.header(b"accept").split(",")]
    return "text/csv" in kinds and "application/json" not in kinds


def _limit(call: Call[QueryRequest], most: int) -> int:
    if call.body.limit is UNSET:
        limit = call.request.query_int("limit", default=USUAL_PAGE, low=1, high=most)
        assert limit is not None
        return limit
    if call.body.limit > most:
        raise InvalidInput(f"limit: at most {most} comments at once")
    return call.body.limit


def _asked(call: Call[QueryRequest], tx: Reader, dataset: Dataset) -> Asked:
    body = call.body
    labels, filters = _labels_of(body)
    selection = select_in_dataset(call, tx, dataset.id, body.filter, filters, where="filter")
    return Asked(
        dataset,
        models.find_newest(tx, dataset.id),
        selection,
        body.order,
        collapse=body.collapse_mode == "thread_id",
        labels=labels,
    )


def _labels_of(body: QueryRequest) -> tuple[list[str], Sequence[AttributeFilter]]:
    """Return the labels that the filters name, and the attribute filters that hold.

    For comments that lack a label its filter only tells which label that is.
    """
    labels: list[str] = []
    kept: list[AttributeFilter] = []
    for one in body.attribute_filters:
        is_label = one.attribute == "labels" and isinstance(one.filter, StringAnyOf)
        if is_label and isinstance(one.filter, StringAnyOf):
            labels += one.filter.any_of
        if not (is_label and isinstance(body.order, Missed)):
            kept.append(one)
    if body.filter:
        annotations = parse_filter(body.filter, where="filter").annotations
        if annotations is not UNSET and annotations.labels is not UNSET:
            labels += annotations.labels.one_of
    return labels, kept


def _results(
    call: Call[QueryRequest], tx: Reader, asked: Asked, page: Ordered
) -> list[QueryResult]:
    sources = {source.id: source for source in readable_sources(call, tx, asked.dataset.id)}
    fronts = comments.read_fronts(tx, page.positions)
    places = [(pos, sources[source_id_of(fronts[pos])]) for pos in page.positions]
    predicted = newest_predictions(call, tx, asked.dataset.id, page.positions)
    order = call.body.order
    search = Search(order.query) if isinstance(order, TextSearch) else None
    found = []
    shown = annotated_comments(call, tx, asked.dataset, places, predicted=predicted)
    for pos, one in zip(page.positions, shown, strict=True):
        values = {name: getattr(one, name) for name in AnnotatedComment.__struct_fields__}
        result = QueryResult(**values)
        if search is not None:
            spans = search.spans(messages_of(fronts[pos]))
            result.highlights = [Highlight(span) for span in spans]
        found.append(result)
    return found


def _counts(asked: Asked, total: int) -> ResultCounts:
    if isinstance(asked.order, TextSearch) and total > _ROUNDED_ABOVE:
        total = round(total, -2)
    return ResultCounts(total, total)


def _digest(dataset_id: str, body: QueryRequest) -> str:
    """Return what identifies a request but for its page."""
    chosen: Any = msgspec.json.decode(body.filter) if body.filter else None
    parts = [dataset_id, body.order, chosen or None, body.attribute_filters, body.collapse_mode]
    return sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]


def _write_token(token: _Token) -> str:
    return b64encode(msgspec.json.encode(token)).decode("ascii")


def _read_token(text: str, digest: str) -> _Token:
    refused = InvalidInput("continuation: not one that a query gave")
    try:
        token = _decode_token(b64decode(text, validate=True))
    except (ValueError, Base64Error, msgspec.DecodeError):
        raise refused from None
    place = token.place.after
    if not 0 <= token.place.skip <= CANDIDATES or (
        place is not None and not all(-(2**63) <= number < 2**63 for number in place)
    ):
        raise refused
    if token.asked != digest:
        raise InvalidInput("continuation: of a query with other filters or another order")
    return token
