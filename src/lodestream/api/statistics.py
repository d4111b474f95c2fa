"""Counts of the comments of a dataset or a source, over HTTP."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from lodestream.actions.groupings import EmailProperty, Resolution
from lodestream.actions.volumes import Counter
from lodestream.api.breakdowns import (
    Breakdowns,
    EmailCounts,
    EmailCountsSettings,
    Histogram,
    HistogramSettings,
    Limit,
    NpsSummary,
    PropertyCounts,
    PropertyCountsSettings,
    SourceCounts,
    SourceCountsSettings,
    TimeseriesRow,
)
from lodestream.api.calls import Call
from lodestream.api.datasets import named_dataset
from lodestream.api.selections import remembered, select_comments, select_in_dataset
from lodestream.api.sources import named_source
from lodestream.domain.attributes import AttributeFilters
from lodestream.domain.datasets import Dataset, LabelPropertyId, require_zone
from lodestream.domain.errors import Unprocessable
from lodestream.domain.filters import CommentFilter, parse_filter
from lodestream.domain.labels import LabelName
from lodestream.domain.times import format_us
from lodestream.store import sources as source_store
from lodestream.store import statistics as store
from lodestream.store.breakdowns import ThreadProperty
from lodestream.store.db import Reader
from lodestream.store.query import newest_of_threads
from lodestream.store.statistics import Selection
from lodestream.store.threads import list_threads

Labels = Annotated[list[LabelName], Meta(max_length=1024)]


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
    email_property_counts: dict[EmailProperty, EmailCountsSettings] | UnsetType = UNSET
    thread_histogram: dict[ThreadProperty, HistogramSettings] | UnsetType = UNSET
    nps_property: Annotated[str, Meta(max_length=320, pattern="^number:.")] | UnsetType = UNSET
    thread_mode: bool = False


class SourceStatisticsRequest(Struct, forbid_unknown_fields=True):
    """What to count in a source."""

    comment_filter: Raw | UnsetType = UNSET


class SentimentCounts(Struct):
    """How many comments are expected to have a label."""

    positive: float
    negative: float


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
    email_property_counts: dict[EmailProperty, EmailCounts]
    thread_histogram_counts: dict[ThreadProperty, Histogram]
    timezone: str
    source_counts: SourceCounts | UnsetType = UNSET
    label_timeseries: list[TimeseriesRow] | UnsetType = UNSET
    nps_summary: NpsSummary | UnsetType = UNSET
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
    """Count the comments of a dataset, and how many are expected to have each label.

    With `thread_mode` each thread counts once, by its newest comment that passes the filters.
    """
    body = call.body
    dataset = named_dataset(call)
    if body.timezone is not UNSET:
        require_zone(body.timezone)
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
        return remembered(
            call, tx, dataset.id, selection, lambda: _counted(tx, body, dataset, selection)
        )


def _counted(
    tx: Reader, body: StatisticsRequest, dataset: Dataset, selection: Selection
) -> StatisticsReply:
    zone_name = dataset.settings.timezone if body.timezone is UNSET else body.timezone
    zone = require_zone(zone_name)
    if body.thread_mode:
        selection = newest_of_threads(selection)
    span = store.measure(tx, selection)
    counter = Counter(tx, dataset.id, selection)
    labels = _shown_labels(body, counter)
    found = Statistics(
        num_comments=span.comments,
        label_counts={},
        min_timestamp=None if span.minimum_us is None else format_us(span.minimum_us),
        max_timestamp=None if span.maximum_us is None else format_us(span.maximum_us),
        thread_mode=body.thread_mode,
        by_labels=labels,
        by_label_properties=body.by_label_properties,
        string_user_property_counts=[],
        email_property_counts={},
        thread_histogram_counts={},
        timezone=zone_name,
    )
    broken_down = Breakdowns(
        tx, selection, counter, labels, zone=zone, resolution=body.time_resolution
    )
    _ask(body, broken_down, found)
    broken_down.count()
    found.label_counts = {
        name: SentimentCounts(one.positive, one.negative) for name, one in counter.count().items()
    }
    if body.label_property_timeseries or body.by_label_properties:
        totals = [0.0] * len(body.by_label_properties)
        found.label_property_summary = LabelPropertySummary([], [], totals)
    return StatisticsReply(found)


def _ask(body: StatisticsRequest, broken_down: Breakdowns, found: Statistics) -> None:
    """Ask for the parts of the reply that the request names; `count` fills them in, all at once."""
    found.string_user_property_counts = [
        broken_down.by_property(settings) for settings in body.string_user_property_counts
    ]
    if body.source_counts is not UNSET:
        found.source_counts = broken_down.by_source(body.source_counts)
    if body.email_property_counts is not UNSET:
        found.email_property_counts = broken_down.by_participants(body.email_property_counts)
    if body.thread_histogram is not UNSET:
        for name, histogram in body.thread_histogram.items():
            found.thread_histogram_counts[name] = broken_down.by_threads(name, histogram)
    if body.label_timeseries:
        found.label_timeseries = broken_down.by_time()
    if body.nps_property is not UNSET:
        found.nps_summary = broken_down.by_score(body.nps_property)


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


def _shown_labels(body: StatisticsRequest, counter: Counter) -> list[str]:
    """Return the labels by which counts are broken down; the most frequent ones come first."""
    if body.by_labels is UNSET:
        return []
    if body.by_labels.include is not UNSET:
        return body.by_labels.include.include_labels
    assert body.by_labels.top is not UNSET
    top, volumes = body.by_labels.top, counter.count()
    found = [name for name, one in volumes.items() if one.total and name not in top.exclude_labels]
    return sorted(found, key=lambda name: -volumes[name].total)[: top.num_top_labels]
