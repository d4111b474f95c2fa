"""What a dataset contains, in short: properties, labels, sources; over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, get_args

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from lodestream.actions.groupings import EmailProperty, by_participants
from lodestream.actions.volumes import Counter, Volume, count_assigned
from lodestream.api.calls import Call
from lodestream.api.datasets import named_dataset, named_dataset_id
from lodestream.api.selections import readable_sources, remembered, select_in_dataset
from lodestream.domain.attributes import AttributeFilters
from lodestream.domain.comments import attachments_of
from lodestream.domain.datasets import Dataset
from lodestream.domain.errors import InvalidInput
from lodestream.domain.labels import DEFAULT_GROUP, LabelName, decode_label
from lodestream.domain.sources import Source
from lodestream.domain.validation import LabelHealth
from lodestream.store import models, streams
from lodestream.store import statistics as store
from lodestream.store.attribute_filters import threshold_of
from lodestream.store.breakdowns import count_fields, exception_types
from lodestream.store.comments import read_fronts
from lodestream.store.db import Reader
from lodestream.store.query import newest, newest_of_threads
from lodestream.store.statistics import PropertyCount, Selection

MOST_VALUES: Final = 256
"""Most values of a property in a summary; clients then let people type the value."""


MOST_WITH_ATTACHMENTS: Final = 4096
"""Of this many of the newest comments the types of attachments are told."""

# A recipient in whichever list is counted, but not listed here.
_EMAIL_PROPERTIES: Final[tuple[EmailProperty, ...]] = tuple(
    name for name in get_args(EmailProperty) if name != "recipient"
)


class SummaryRequest(Struct, forbid_unknown_fields=True):
    """Which comments to sum up."""

    filter: Raw | UnsetType = UNSET
    attribute_filters: AttributeFilters = []
    label_filter: Annotated[list[LabelName], Meta(max_length=1024)] = []
    thread_mode: bool = False
    beta: bool = False


class Value(Struct):
    """A value of a property."""

    value: str


class StringProperty(Struct):
    """A string property with its most frequent values."""

    full_name: str
    too_many_values: bool
    values: list[Value]


class NumberProperty(Struct):
    """A number property."""

    full_name: str


class Properties(Struct):
    """The user properties of a dataset."""

    string: list[StringProperty]
    number: list[NumberProperty]


class AssignedCounts(Struct):
    """How many comments a label is assigned to."""

    positive: int = 0
    negative: int = 0


class FilteredCounts(Struct):
    """How many of the comments that pass the filters are expected to have a label."""

    positive: float
    negative: float


class SummaryLabel(Struct, omit_defaults=True):
    """A label, how many comments people gave it, and how many are expected to have it.

    `threshold` is the probability from which it counts as predicted, if there is a model; `health`
    is that of the newest version that was validated.
    """

    name: str
    unfiltered_assigned: AssignedCounts
    title: str
    filtered: FilteredCounts
    threshold: float | UnsetType = UNSET
    health: LabelHealth | UnsetType = UNSET


class EmailValues(Struct):
    """The most frequent senders or recipients, or their domains."""

    too_many_values: bool
    values: list[Value]


class ExceptionTypes(Struct):
    """The types under which comments are exceptions of a stream."""

    display_name: str
    types: list[str]


class FieldTypeSummary(Struct):
    """A field type, and how many comments it is assigned in."""

    id: str
    unfiltered_assigned: int = 0


class Summary(Struct, omit_defaults=True):
    """What a dataset contains.

    `trigger_exceptions` are by stream. The attachments' extensions are by content type, the common
    ones, and by extension.
    """

    user_properties: Properties
    labels: list[SummaryLabel]
    entity_defs: list[FieldTypeSummary]
    label_properties: tuple[str, ...]
    source_kinds: list[str]
    source_names: list[str]
    annotation_metadata: dict[str, int]
    attachments_common_types_extensions: dict[str, list[str]]
    attachments_file_extensions: dict[str, list[str]]
    email_properties: dict[EmailProperty, EmailValues] | UnsetType = UNSET
    trigger_exceptions: dict[str, ExceptionTypes] | UnsetType = UNSET


class SummaryReply(Struct):
    """The summary of a dataset."""

    summary: Summary
    status: str = "ok"


class ValueCount(Struct):
    """A value of a property, and how many comments have it."""

    value: str
    count: int


class StringPropertyCounts(Struct):
    """A string property: how many comments have it, how many values there are, and these."""

    full_name: str
    count: int
    cardinality: int
    values: list[ValueCount]


class NumberPropertyCounts(Struct):
    """A number property, and how many comments have it."""

    full_name: str
    count: int


class PropertiesCounts(Struct):
    """The user properties of a dataset with counts."""

    number: list[NumberPropertyCounts]
    string: list[StringPropertyCounts]


class PropertiesReply(Struct):
    """The user properties of a dataset with counts."""

    user_properties: PropertiesCounts
    status: str = "ok"


class ValuesFilter(Struct, forbid_unknown_fields=True):
    """Which comments' values to count."""

    comment_filter: Raw | UnsetType = UNSET
    attribute_filters: AttributeFilters = []


class ValuesRequest(Struct, forbid_unknown_fields=True):
    """How many values to list, and of which comments."""

    limit: Annotated[int, Meta(ge=0, le=2**31 - 1)] = MOST_VALUES
    filter: ValuesFilter | UnsetType = UNSET


class PropertyReply(Struct):
    """One string property with counts."""

    user_property: StringPropertyCounts
    status: str = "ok"


def dataset_summary(call: Call[SummaryRequest]) -> SummaryReply:
    """Return what a dataset contains: by what its comments may be filtered.

    With `thread_mode` each thread counts once, by its newest comment that passes the filters.
    """
    body = call.body
    dataset = named_dataset(call)
    with call.service.db.read() as tx:
        selection = select_in_dataset(
            call,
            tx,
            dataset.id,
            body.filter,
            body.attribute_filters,
            where="filter",
            label_filter=body.label_filter,
        )
        sources = readable_sources(call, tx, dataset.id)
        everything = _everything(call, tx, dataset.id)
        if body.thread_mode:
            selection = newest_of_threads(selection)
        return remembered(
            call,
            tx,
            dataset.id,
            everything,
            lambda: SummaryReply(_summed_up(tx, dataset, selection, everything, sources)),
        )


def _summed_up(
    tx: Reader,
    dataset: Dataset,
    selection: Selection,
    everything: Selection,
    sources: Sequence[Source],
) -> Summary:
    found = store.count_properties(tx, selection, most_values=MOST_VALUES)
    fields = count_fields(tx, dataset.id, everything.keys)
    by_type, by_extension = _attachments(tx, selection)
    return Summary(
        user_properties=_properties(found),
        labels=_labels(tx, dataset, selection, everything),
        entity_defs=[
            FieldTypeSummary(one.id, fields.get(one.id, 0)) for one in dataset.entity_defs
        ],
        label_properties=dataset.settings.label_properties,
        source_kinds=sorted({source.kind for source in sources}),
        source_names=[source.name for source in sources],
        annotation_metadata={},
        attachments_common_types_extensions=by_type,
        attachments_file_extensions=by_extension,
        email_properties=_participants(tx, selection) or UNSET,
        trigger_exceptions=_exceptions(tx, dataset.id) or UNSET,
    )


def _properties(found: Sequence[PropertyCount]) -> Properties:
    return Properties(
        [
            StringProperty(
                one.full_name,
                one.cardinality > MOST_VALUES,
                [Value(value) for value, _ in one.values],
            )
            for one in found
            if _is_string(one)
        ],
        [NumberProperty(one.full_name) for one in found if not _is_string(one)],
    )


def _labels(
    tx: Reader, dataset: Dataset, selection: Selection, everything: Selection
) -> list[SummaryLabel]:
    default = next(group for group in dataset.label_groups if group.name == DEFAULT_GROUP)
    assigned = count_assigned(tx, dataset.id, everything)
    expected = Counter(tx, dataset.id, selection).count()
    model = models.find_newest(tx, dataset.id)
    least = {} if model is None else models.thresholds(tx, model.key)
    health = _health(tx, dataset.id)
    labels = []
    for label in map(decode_label, default.label_defs):
        volume = expected.get(label.name, Volume())
        one = SummaryLabel(
            label.name,
            AssignedCounts(*assigned.get(label.name, (0, 0))),
            label.title,
            FilteredCounts(volume.positive, volume.negative),
        )
        if model is not None:
            one.threshold = threshold_of(least.get(label.name))
        if label.name in health:
            one.health = health[label.name]
        labels.append(one)
    return labels


class _Validated(Struct):
    health: LabelHealth


class _Validation(Struct):
    labels: dict[str, _Validated] = {}


def _health(tx: Reader, dataset_id: str) -> dict[str, LabelHealth]:
    """Return the health of labels, by the newest version that was validated."""
    model = models.find_newest(tx, dataset_id, validated=True)
    body = None if model is None else models.validation(tx, model.key)
    if body is None:
        return {}
    found = msgspec.json.decode(body, type=_Validation)
    return {name: one.health for name, one in found.labels.items()}


def _participants(tx: Reader, selection: Selection) -> dict[EmailProperty, EmailValues]:
    wanted = dict.fromkeys(_EMAIL_PROPERTIES, (MOST_VALUES + 1, None))
    return {
        name: EmailValues(
            len(one.names) > MOST_VALUES, [Value(value) for value in one.names[:MOST_VALUES]]
        )
        for name, one in by_participants(tx, selection, wanted).items()
        if one.names
    }


def _attachments(
    tx: Reader, selection: Selection
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the extensions of attachments by content type, and content types by extension.

    They stand in the texts of comments only, so only the newest comments are looked at.
    """
    places = newest(tx, selection, after=None, limit=MOST_WITH_ATTACHMENTS)
    by_type: dict[str, set[str]] = {}
    by_extension: dict[str, set[str]] = {}
    for front in read_fronts(tx, [pos for _, pos in places]).values():
        for one in attachments_of(front):
            extension = one.name.rpartition(".")[2].lower() if "." in one.name else ""
            if extension:
                by_type.setdefault(one.content_type, set()).add(extension)
                by_extension.setdefault(extension, set()).add(one.content_type)
    return (
        {name: sorted(found) for name, found in sorted(by_type.items())},
        {name: sorted(found) for name, found in sorted(by_extension.items())},
    )


def _exceptions(tx: Reader, dataset_id: str) -> dict[str, ExceptionTypes]:
    names = {one.id: one.title or one.name for one in streams.list_streams(tx, [dataset_id])}
    found: dict[str, ExceptionTypes] = {}
    for stream_id, kind in exception_types(tx, list(names)):
        one = found.setdefault(stream_id, ExceptionTypes(names[stream_id], []))
        one.types.append(kind)
    return found


def user_properties(call: Call[None]) -> PropertiesReply:
    """Return the user properties of a dataset's comments with counts."""
    dataset_id = named_dataset_id(call)
    with call.service.db.read() as tx:
        selection = _everything(call, tx, dataset_id)
        found = store.count_properties(tx, selection, most_values=MOST_VALUES)
    return PropertiesReply(
        PropertiesCounts(
            [NumberPropertyCounts(o.full_name, o.comments) for o in found if not _is_string(o)],
            [_string_counts(one) for one in found if _is_string(one)],
        )
    )


def user_property_values(call: Call[ValuesRequest]) -> PropertyReply:
    """Return the values of one string property with counts; the query string names it."""
    name = call.request.query("full_name") or ""
    if not name.startswith("string:"):
        raise InvalidInput("query parameter 'full_name': the name of a string property expected")
    chosen = ValuesFilter() if call.body.filter is UNSET else call.body.filter
    dataset_id = named_dataset_id(call)
    with call.service.db.read() as tx:
        selection = select_in_dataset(
            call,
            tx,
            dataset_id,
            chosen.comment_filter,
            chosen.attribute_filters,
            where="filter.comment_filter",
        )
        most = min(call.body.limit, 4 * MOST_VALUES)
        found = store.count_properties(tx, selection, most_values=most, names=[name])
    return PropertyReply(
        _string_counts(found[0]) if found else StringPropertyCounts(name, 0, 0, [])
    )


def _everything(call: Call[Any], tx: Reader, dataset_id: str) -> Selection:
    return select_in_dataset(call, tx, dataset_id, UNSET, (), where="filter")


def _is_string(one: PropertyCount) -> bool:
    return one.full_name.startswith("string:")


def _string_counts(one: PropertyCount) -> StringPropertyCounts:
    values = [ValueCount(value, count) for value, count in one.values]
    return StringPropertyCounts(one.full_name, one.comments, one.cardinality, values)
