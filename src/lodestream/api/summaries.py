"""What a dataset contains, in short: properties, labels, sources; over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from lodestream.api.calls import Call
from lodestream.api.datasets import named_dataset, named_dataset_id
from lodestream.api.selections import readable_sources, select_in_dataset
from lodestream.domain.attributes import AttributeFilters
from lodestream.domain.errors import InvalidInput
from lodestream.domain.labels import DEFAULT_GROUP, LabelName, decode_label
from lodestream.store import statistics as store
from lodestream.store.db import Reader
from lodestream.store.label_counts import NO_COUNT, LabelCount, count_fields, count_labels
from lodestream.store.statistics import PropertyCount, Selection

MOST_VALUES: Final = 256
"""Most values of a property in a summary; clients then let people type the value."""


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


class SummaryLabel(Struct):
    """A label, and how many comments it is assigned to."""

    name: str
    unfiltered_assigned: AssignedCounts
    title: str


class FieldTypeSummary(Struct):
    """A field type, and how many comments it is assigned in."""

    id: str
    unfiltered_assigned: int = 0


class Summary(Struct):
    """What a dataset contains."""

    user_properties: Properties
    labels: list[SummaryLabel]
    entity_defs: list[FieldTypeSummary]
    label_properties: tuple[str, ...]
    source_kinds: list[str]
    source_names: list[str]
    annotation_metadata: dict[str, int]
    attachments_common_types_extensions: dict[str, list[str]]
    attachments_file_extensions: dict[str, list[str]]


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
    """Return what a dataset contains: by what its comments may be filtered."""
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
        found = store.count_properties(tx, selection, most_values=MOST_VALUES)
        sources = readable_sources(call, tx, dataset.id)
        everything = _everything(call, tx, dataset.id)
        assigned = count_labels(tx, dataset.id, everything)
        fields = count_fields(tx, dataset.id, everything.keys)
    default = next(group for group in dataset.label_groups if group.name == DEFAULT_GROUP)
    labels = [decode_label(label) for label in default.label_defs]
    return SummaryReply(
        Summary(
            user_properties=Properties(
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
            ),
            labels=[
                SummaryLabel(
                    label.name,
                    _assigned(assigned.get(label.name, NO_COUNT)),
                    label.title,
                )
                for label in labels
            ],
            entity_defs=[
                FieldTypeSummary(one.id, fields.get(one.id, 0)) for one in dataset.entity_defs
            ],
            label_properties=dataset.settings.label_properties,
            source_kinds=sorted({source.kind for source in sources}),
            source_names=[source.name for source in sources],
            annotation_metadata={},
            attachments_common_types_extensions={},
            attachments_file_extensions={},
        )
    )


def _assigned(count: LabelCount) -> AssignedCounts:
    return AssignedCounts(count.positive, count.negative)


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
