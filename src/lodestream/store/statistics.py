"""Counts over comments: how many, when, and by the values of their properties."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from lodestream.domain import facets
from lodestream.domain.comments import Attachment, attachments_of, comment_of
from lodestream.domain.filters import CommentFilter
from lodestream.domain.sources import Source
from lodestream.store.comments import read_fronts
from lodestream.store.db import Reader
from lodestream.store.filters import FilterScope, compile_filter
from lodestream.store.tables import comment, source_content

_CHUNK: Final = 1024
QUARTER_US: Final = 15 * 60 * 1_000_000
"""Every zone's offset is a multiple of this, but for times long past."""


@dataclass(frozen=True)
class Selection:
    """Comments to be counted: those of some sources that pass a condition (None: all).

    `hidden` maps a source to the user properties that the caller must not see.
    """

    sources: Sequence[Source]
    condition: sa.ColumnElement[bool] | None
    hidden: Mapping[int, frozenset[str]] = field(default_factory=dict)

    @property
    def keys(self) -> list[int]:
        """The keys of the sources."""
        return [source.key for source in self.sources]

    def narrowed(self, *conditions: sa.ColumnElement[bool]) -> Selection:
        """Return those of the comments that pass further conditions."""
        if not conditions:
            return self
        given = () if self.condition is None else (self.condition,)
        return Selection(self.sources, sa.and_(*given, *conditions), self.hidden)

    def where(self) -> list[sa.ColumnElement[bool]]:
        """Return the conditions on `comment`."""
        here: list[sa.ColumnElement[bool]] = [comment.c.source.in_(self.keys)]
        return here if self.condition is None else [*here, self.condition]


@dataclass(frozen=True, slots=True)
class Span:
    """How many comments there are, and the first and last of their timestamps."""

    comments: int
    minimum_us: int | None
    maximum_us: int | None


@dataclass(frozen=True, slots=True)
class PropertyCount:
    """How many comments have a property, and how many of its values differ."""

    full_name: str
    comments: int
    cardinality: int
    values: Sequence[tuple[str, int]]  # most frequent first


def select(
    tx: Reader,
    sources: Sequence[Source],
    comment_filter: CommentFilter,
    *,
    stream_ids: Mapping[str, str],
    hidden: Mapping[int, frozenset[str]],
    dataset_id: str | None = None,
    never: bool = False,
) -> Selection:
    """Return the comments of these sources that pass a filter; none at all with `never`.

    `dataset_id` is the dataset whose annotations are meant.

    A filter by source only narrows the sources, so it costs nothing.
    """
    wanted = set(comment_filter.sources)
    chosen = [one for one in sources if not wanted or one.id in wanted]
    condition = compile_filter(
        msgspec.structs.replace(comment_filter, sources=()),
        dialect_name=tx.dialect_name,
        scope=FilterScope(
            source_keys={source.id: source.key for source in chosen},
            stream_ids=stream_ids,
            dataset_id=dataset_id,
        ),
    )
    return Selection(chosen, sa.false() if never else condition, hidden)


def measure(tx: Reader, selection: Selection) -> Span:
    """Count the comments and find the first and last timestamp.

    Without a condition it reads only what each source keeps of itself and the ends of an index.
    """
    if selection.condition is not None:
        query = sa.select(
            sa.func.count(),
            sa.func.min(comment.c.timestamp_us),
            sa.func.max(comment.c.timestamp_us),
        ).where(*selection.where())
        return Span(*_rows(tx, query)[0])
    ends = [
        sa.select(function(comment.c.timestamp_us))
        .where(comment.c.source == source_content.c.source)
        .scalar_subquery()
        for function in (sa.func.min, sa.func.max)
    ]
    query = sa.select(source_content.c.comments, *ends).where(
        source_content.c.source.in_(selection.keys)
    )
    rows = [row for row in _rows(tx, query) if row[0]]
    return Span(
        sum(row[0] for row in rows),
        min((row[1] for row in rows), default=None),
        max((row[2] for row in rows), default=None),
    )


def count_by_source(tx: Reader, selection: Selection) -> dict[int, int]:
    """Return how many of the comments each source holds; 0 where there are none."""
    counts = dict.fromkeys(selection.keys, 0)
    if selection.condition is None:
        query: sa.Executable = sa.select(source_content.c.source, source_content.c.comments).where(
            source_content.c.source.in_(selection.keys)
        )
    else:
        query = (
            sa.select(comment.c.source, sa.func.count())
            .where(*selection.where())
            .group_by(comment.c.source)
        )
    counts.update({row[0]: row[1] for row in _rows(tx, query)})
    return counts


def _rows(tx: Reader, query: sa.Executable) -> Sequence[Any]:
    return tx.execute(query).all()


def count_properties(
    tx: Reader, selection: Selection, *, most_values: int, names: Collection[str] | None = None
) -> list[PropertyCount]:
    """Return the user properties of the comments by full name, with their frequent values.

    At most `most_values` values of each; none of number properties. `names` limits them to some.
    Values that differ in case only are one value, as they are to filters; it is spelled as in the
    comment that was stored first.
    """
    pairs = property_pairs(tx, selection, names)
    tally = (
        sa.select(
            pairs.c.key,
            pairs.c.value,
            sa.func.count().label("comments"),
            sa.func.min(pairs.c.pos).label("pos"),
        )
        .group_by(pairs.c.key, pairs.c.value)
        .subquery("tally")
    )
    order = (tally.c.comments.desc(), tally.c.value)
    key = tally.c.key
    ranked = sa.select(
        *tally.c,
        sa.func.row_number().over(order_by=order, partition_by=key).label("place"),
        sa.func.count().over(partition_by=key).label("cardinality"),
        sa.func.sum(tally.c.comments).over(partition_by=key).label("total"),
    ).subquery("ranked")
    is_first = ranked.c.place == 1
    is_shown = sa.and_(ranked.c.place <= most_values, sa.func.substr(ranked.c.key, 1, 1) == "s")
    rows = tx.execute(
        sa.select(*ranked.c)
        .where(sa.or_(is_first, is_shown))
        .order_by(ranked.c.key, ranked.c.place)
    ).all()
    return _spelled(tx, rows, most_values)


def list_properties(tx: Reader, selection: Selection) -> list[str]:
    """Return the full names of the user properties that the comments have, in order."""
    # Distinct keys take memory by their number only; to group or sort would take it by that of
    # the comments.
    query = sa.select(property_pairs(tx, selection, None).c.key).distinct()
    return sorted(facets.property_name(row[0]) for row in _rows(tx, query))


def count_values(
    tx: Reader, selection: Selection, name: str, values: Iterable[str]
) -> list[tuple[str, int]]:
    """Return how many comments have each of these values of a string property, in this order."""
    wanted = list(dict.fromkeys(values))
    pairs = property_pairs(tx, selection, [name])
    folded = {value: facets.fold(value) for value in wanted}
    query = (
        sa.select(pairs.c.value, sa.func.count())
        .where(pairs.c.value.in_(sorted(set(folded.values()))))
        .group_by(pairs.c.value)
    )
    counts: dict[str, int] = {row[0]: row[1] for row in _rows(tx, query)}
    return [(value, counts.get(folded[value], 0)) for value in wanted]


def property_pairs(tx: Reader, selection: Selection, names: Collection[str] | None) -> sa.Subquery:
    """Return (pos, key, value) of every user property that the caller may see, as a subquery."""
    if tx.dialect_name == "postgresql":
        function: Any = sa.func.jsonb_each_text(comment.c.facets)
        entries = function.table_valued("key", "value", name="pair").render_derived()
    else:
        function = sa.func.json_each(comment.c.facets)
        entries = function.table_valued("key", "value", name="pair")
    query = (
        sa.select(
            comment.c.pos,
            sa.type_coerce(entries.c.key, sa.Text).label("key"),
            sa.type_coerce(entries.c.value, sa.Text).label("value"),
        )
        .select_from(comment)
        .join(entries, sa.true())
        .where(*selection.where())
    )
    if names is None:
        query = query.where(entries.c.key != "p")
    else:
        query = query.where(entries.c.key.in_([facets.property_key(name) for name in names]))
    for source, hidden in selection.hidden.items():
        keys = sorted(facets.property_key(name) for name in hidden)
        query = query.where(sa.or_(comment.c.source != source, entries.c.key.not_in(keys)))
    return query.subquery("pairs")


def _spelled(tx: Reader, rows: Sequence[Any], most_values: int) -> list[PropertyCount]:
    """Replace keys and folded values by what stands in the comments themselves."""
    fronts = read_fronts(tx, {row.pos for row in rows})
    properties = {pos: _properties(front) for pos, front in fronts.items()}
    found: dict[str, PropertyCount] = {}
    values: dict[str, list[tuple[str, int]]] = {}
    for row in rows:
        spelled = properties.get(row.pos, {}).get(row.key)
        if spelled is None:
            continue  # the comment changed since the values were counted
        name, value = spelled
        if row.key not in found:
            cardinality = row.cardinality if row.key.startswith("s") else 0
            shown = values.setdefault(row.key, [])
            found[row.key] = PropertyCount(name, int(row.total), cardinality, shown)
        if isinstance(value, str) and row.place <= most_values:
            values[row.key].append((value, row.comments))
    return sorted(found.values(), key=lambda one: one.full_name)


def _properties(front: bytes) -> dict[str, tuple[str, Any]]:
    """Return the user properties of a comment by their keys among the facets."""
    fields = msgspec.json.decode(comment_of(front), type=dict[str, msgspec.Raw])
    properties: dict[str, Any] = msgspec.json.decode(fields["user_properties"])
    return {facets.property_key(name): (name, value) for name, value in properties.items()}


def with_attachments(
    tx: Reader, selection: Selection, holds: Callable[[Sequence[Attachment]], bool]
) -> Selection:
    """Return those of the comments whose attachments pass a test.

    Attachments stand in the text of a comment only, so every text of the selection is read.
    """
    query = sa.select(comment.c.pos).where(*selection.where()).order_by(comment.c.pos)
    positions = list(tx.execute(query).scalars())
    found: list[int] = []
    for start in range(0, len(positions), _CHUNK):
        fronts = read_fronts(tx, positions[start : start + _CHUNK])
        found += [pos for pos, front in fronts.items() if holds(attachments_of(front))]
    return Selection(selection.sources, _is_at(tx, found), selection.hidden)


def _is_at(tx: Reader, positions: Sequence[int]) -> sa.ColumnElement[bool]:
    # One bound value however many positions there are.
    if tx.dialect_name == "postgresql":
        return comment.c.pos == sa.any_(sa.literal(list(positions), ARRAY(sa.BigInteger)))
    array = sa.literal(msgspec.json.encode(list(positions)).decode())
    each = sa.func.json_each(array).table_valued("value", name="place")
    return comment.c.pos.in_(sa.select(each.c.value))
