"""Counts of the comments of a dataset or a source, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from lodestream.api.calls import Call
from lodestream.api.datasets import named_dataset
from lodestream.api.selections import select_comments, select_in_dataset
from lodestream.api.sources import named_source
from lodestream.domain.attributes import AttributeFilters
from lodestream.domain.datasets import LabelPropertyId, require_zone
from lodestream.domain.errors import Unprocessable
from lodestream.domain.filters import CommentFilter, parse_filter
from lodestream.domain.labels import LabelName
from lodestream.domain.times import EPOCH, format_us
from lodestream.store import sources as source_store
from lodestream.store import statistics as store
from lodestream.store.db import Reader
from lodestream.store.label_counts import (
    NO_COUNT,
    Counts,
    count_labels,
    count_labels_by_quarter,
    count_labels_by_source,
    count_labels_by_value,
    folded,
)
from lodestream.store.statistics import QUARTER_US, Selection
from lodestream.store.threads import list_threads

MOST_VALUES: Final = 1024
"""Most values of a property that one breakdown lists."""

Limit = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Labels = Annotated[list[LabelName], Meta(max_length=1024)]
EmailProperty = Literal[
    "to",
    "cc",
    "bcc",
    "sender",
    "recipient",
    "recipient_domain",
    "sender_domain",
    "recipient_organisation",
    "sender_organisation",
]
ThreadProperty = Literal["duration", "num_messages", "num_participants", "response_time"]
Resolution = Literal["day", "week", "month", "year"]


class IncludedLabels(Struct, forbid_unknown_fields=True):
    """The labels by which counts are broken down."""

    include_labels: Labels


class TopLabels(Struct, forbid_unknown_fields=True):
    """How many of the most frequent labels counts are broken down by."""

    num_top_labels: Limit
    exclude_labels: Labels


class ByLabels(Struct, forbid_unknown_fields=True):
    """By which labels counts are broken down; one of the two."""

    include: IncludedLabels | UnsetType = UNSET
    top: TopLabels | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Check that it is one of the two. Raises ValueError."""
        if (self.include is UNSET) is (self.top is UNSET):
            raise ValueError("needs either `include` or `top`")


class PropertyCountsSettings(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A string property by whose values comments are counted; `values` limits it to some."""

    group_by: Annotated[str, Meta(min_length=8, max_length=320, pattern="^string:")]
    limit: Limit | UnsetType = UNSET
    values: Annotated[list[str], Meta(max_length=MOST_VALUES)] | UnsetType = UNSET


class SourceCountsSettings(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Whether comments are counted by source; `values` limits it to some ids."""

    limit: Limit | UnsetType = UNSET
    values: Annotated[list[str], Meta(max_length=MOST_VALUES)] | UnsetType = UNSET


class StatisticsRequest(Struct, forbid_unknown_fields=True):
    """What to count."""

    comment_filter: Raw | UnsetType = UNSET
    attribute_filters: AttributeFilters = []
    label_filter: Labels = []
    by_labels: ByLabels | UnsetType = UNSET
    by_label_properties: Annotated[list[LabelPropertyId], Meta(max_length=1024)] = []
    time_resolution: Resolution = "day"
    timezone: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET
    label_timeseries: bool = False
    label_property_timeseries: bool = False
    string_user_property_counts: Annotated[list[PropertyCountsSettings], Meta(max_length=64)] = []
    source_counts: SourceCountsSettings | UnsetType = UNSET
    email_property_counts: dict[EmailProperty, Raw] | UnsetType = UNSET
    thread_histogram: dict[ThreadProperty, Raw] | UnsetType = UNSET
    nps_property: str | UnsetType = UNSET
    thread_mode: bool = False


class SourceStatisticsRequest(Struct, forbid_unknown_fields=True):
    """What to count in a source."""

    comment_filter: Raw | UnsetType = UNSET


class SentimentCounts(Struct):
    """How many comments are expected to have a label."""

    positive: float
    negative: float


class PropertyCounts(Struct):
    """Counts by the values of a property; the lists belong together."""

    settings: PropertyCountsSettings
    values: list[str]
    labels: list[str]
    num_comments: list[int]
    num_labels: list[list[float]]


class SourceCounts(Struct):
    """Counts by source id; the lists belong together."""

    settings: SourceCountsSettings
    values: list[str]
    labels: list[str]
    num_comments: list[int]
    num_labels: list[list[float]]


class TimeseriesRow(Struct):
    """The comments of one day, week, month or year, named by its first day."""

    timestamp_str: str
    expected_count_any: int
    expected_count_positive: float
    expected_count_negative: float
    label_sentiment_counts: list[float]


class LabelPropertySummary(Struct):
    """Label properties over all comments and by time."""

    labels: list[Raw]
    timeseries: list[Raw]
    totals: list[float]


class Statistics(Struct, omit_defaults=True):
    """What was counted; parts that were not asked for are not there."""

    num_comments: int
    label_counts: dict[str, SentimentCounts]
    min_timestamp: str | None
    max_timestamp: str | None
    thread_mode: bool
    by_labels: list[str]
    by_label_properties: list[LabelPropertyId]
    string_user_property_counts: list[PropertyCounts]
    email_property_counts: dict[str, Raw]
    thread_histogram_counts: dict[str, Raw]
    timezone: str
    source_counts: SourceCounts | UnsetType = UNSET
    label_timeseries: list[TimeseriesRow] | UnsetType = UNSET
    label_property_summary: LabelPropertySummary | UnsetType = UNSET


class StatisticsReply(Struct):
    """Statistics of a dataset."""

    statistics: Statistics
    status: str = "ok"


class SourceStatistics(Struct):
    """How many comments a source has."""

    num_comments: int


class SourceStatisticsReply(Struct):
    """Statistics of a source."""

    statistics: SourceStatistics
    status: str = "ok"


class Thread(Struct):
    """The uids of the comments of a thread, in order of timestamp."""

    thread_id: str
    comments: list[str]


class ThreadsReply(Struct):
    """The threads of a source."""

    threads: list[Thread]
    status: str = "ok"


def dataset_statistics(call: Call[StatisticsRequest]) -> StatisticsReply:
    """Count the comments of a dataset.

    No comment has labels as yet, so every count of labels is zero. Threads are not counted as
    units: `thread_mode` of the reply is always false.
    """
    body = call.body
    dataset = named_dataset(call)
    zone_name = dataset.settings.timezone if body.timezone is UNSET else body.timezone
    zone = require_zone(zone_name)
    with call.service.db.read() as tx:
        selection = select_in_dataset(
            call,
            tx,
            dataset.id,
            body.comment_filter,
            body.attribute_filters,
            where="comment_filter",
            label_filter=body.label_filter,
        )
        span = store.measure(tx, selection)
        # What people assigned. What a model expects of other comments would be added to these.
        counts = count_labels(tx, dataset.id, selection)
        labels = _shown_labels(body, counts)
        found = Statistics(
            num_comments=span.comments,
            label_counts={
                name: SentimentCounts(float(one.positive), float(one.negative))
                for name, one in counts.items()
            },
            min_timestamp=None if span.minimum_us is None else format_us(span.minimum_us),
            max_timestamp=None if span.maximum_us is None else format_us(span.maximum_us),
            thread_mode=False,
            by_labels=labels,
            by_label_properties=body.by_label_properties,
            string_user_property_counts=[
                _property_counts(tx, dataset.id, selection, settings, labels)
                for settings in body.string_user_property_counts
            ],
            email_property_counts={},
            thread_histogram_counts={},
            timezone=zone_name,
        )
        if body.source_counts is not UNSET:
            found.source_counts = _source_counts(
                tx, dataset.id, selection, body.source_counts, labels
            )
        if body.label_timeseries:
            found.label_timeseries = _timeseries(
                tx, dataset.id, selection, labels, zone, body.time_resolution
            )
    if body.label_property_timeseries or body.by_label_properties:
        totals = [0.0] * len(body.by_label_properties)
        found.label_property_summary = LabelPropertySummary([], [], totals)
    return StatisticsReply(found)


def source_statistics(call: Call[SourceStatisticsRequest]) -> SourceStatisticsReply:
    """Count the comments of a source.

    Raises Unprocessable for a filter that only has a meaning in a dataset.
    """
    raw = call.body.comment_filter
    wanted = CommentFilter() if not raw else parse_filter(raw)
    of_datasets = {
        "trigger_exceptions": wanted.trigger_exceptions,
        "annotations": wanted.annotations and wanted.annotations.labels,
        "entities": wanted.entities and wanted.entities.presence,
    }
    for name, asked in of_datasets.items():
        if asked:
            raise Unprocessable(f"comment_filter.{name}: has a meaning in a dataset only")
    key = named_source(call).key
    with call.service.db.read() as tx:
        source = source_store.get_by_key(tx, key)
        selection = select_comments(call, tx, [source], wanted)
        return SourceStatisticsReply(SourceStatistics(store.measure(tx, selection).comments))


def source_threads(call: Call[None]) -> ThreadsReply:
    """Return the threads of a source with the uids of their comments."""
    source = named_source(call)
    with call.service.db.read() as tx:
        found = list_threads(tx, source.key, source_id=source.id)
    return ThreadsReply([Thread(thread_id, uids) for thread_id, uids in found])


def _shown_labels(body: StatisticsRequest, counts: Counts) -> list[str]:
    """Return the labels by which counts are broken down; the most frequent ones come first."""
    if body.by_labels is UNSET:
        return []
    if body.by_labels.include is not UNSET:
        return body.by_labels.include.include_labels
    assert body.by_labels.top is not UNSET
    top, total = body.by_labels.top, {n: c.positive + c.negative for n, c in counts.items()}
    found = [name for name, count in total.items() if count and name not in top.exclude_labels]
    return sorted(found, key=lambda name: -total[name])[: top.num_top_labels]


def _per_label(counts: Counts, labels: Sequence[str]) -> list[float]:
    """Return the counts of some labels, whatever their sentiment."""
    found = [counts.get(name, NO_COUNT) for name in labels]
    return [float(one.positive + one.negative) for one in found]


def _timeseries(
    tx: Reader,
    dataset_id: str,
    selection: Selection,
    labels: Sequence[str],
    zone: ZoneInfo,
    resolution: Resolution,
) -> list[TimeseriesRow]:
    """Return the comments, and those of them with each label, by days or longer."""
    rows = _by_time(store.count_by_quarter(tx, selection), zone, resolution)
    by_quarter = count_labels_by_quarter(tx, dataset_id, selection) if labels else {}
    columns: list[dict[str, int]] = []
    for name in labels:
        found = [(quarter, one[name]) for quarter, one in by_quarter.items() if name in one]
        for count in ("positive", "negative"):
            pairs = [(quarter, getattr(one, count)) for quarter, one in found]
            columns.append(dict(_by_time(pairs, zone, resolution)))
    return [
        TimeseriesRow(day, count, 0.0, 0.0, [float(column.get(day, 0)) for column in columns])
        for day, count in rows
    ]


def _property_counts(
    tx: Reader,
    dataset_id: str,
    selection: Selection,
    settings: PropertyCountsSettings,
    labels: Sequence[str],
) -> PropertyCounts:
    name = settings.group_by
    if settings.values is not UNSET:
        counts = store.count_values(tx, selection, name, settings.values)
    else:
        most = MOST_VALUES if settings.limit is UNSET else min(settings.limit, MOST_VALUES)
        found = store.count_properties(tx, selection, most_values=most, names=[name])
        counts = [pair for one in found for pair in one.values]
    by_value = count_labels_by_value(tx, dataset_id, selection, name) if labels else {}
    return PropertyCounts(
        settings,
        [value for value, _ in counts],
        list(labels),
        [count for _, count in counts],
        [_per_label(by_value.get(folded(value), {}), labels) for value, _ in counts],
    )


def _source_counts(
    tx: Reader,
    dataset_id: str,
    selection: Selection,
    settings: SourceCountsSettings,
    labels: Sequence[str],
) -> SourceCounts:
    by_key = store.count_by_source(tx, selection)
    counts = {source.id: by_key[source.key] for source in selection.sources}
    if settings.values is not UNSET:
        shown = [(one, counts.get(one, 0)) for one in dict.fromkeys(settings.values)]
    else:
        shown = sorted(counts.items(), key=lambda pair: -pair[1])
        shown = shown if settings.limit is UNSET else shown[: settings.limit]
    found = count_labels_by_source(tx, dataset_id, selection) if labels else {}
    by_source = {source.id: found.get(source.key, {}) for source in selection.sources}
    return SourceCounts(
        settings,
        [source_id for source_id, _ in shown],
        list(labels),
        [count for _, count in shown],
        [_per_label(by_source.get(source_id, {}), labels) for source_id, _ in shown],
    )


def _by_time(
    quarters: Sequence[tuple[int, int]], zone: ZoneInfo, resolution: Resolution
) -> list[tuple[str, int]]:
    """Add counts by quarters of an hour up to counts by days or longer, in a time zone."""
    counts: dict[str, int] = {}
    for quarter, count in quarters:
        moment = EPOCH + timedelta(microseconds=quarter * QUARTER_US)
        try:
            day = moment.astimezone(zone).date()
        except OverflowError:  # within hours of the end of the calendar
            day = moment.date()
        if resolution == "week":
            day -= timedelta(days=day.weekday())
        elif resolution == "month":
            day = day.replace(day=1)
        elif resolution == "year":
            day = day.replace(month=1, day=1)
        counts[day.isoformat()] = counts.get(day.isoformat(), 0) + count
    return list(counts.items())
