"""Counts broken down by time, source, properties, participants and threads, over HTTP.

Each breakdown puts comments into groups and returns its part of the answer at once; how many
comments of each group have the labels is filled in by `Breakdowns.count`, in one pass over all
comments for all breakdowns together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.actions.groupings import (
    EmailProperty,
    Named,
    Resolution,
    by_participants,
    by_source,
    by_time,
    by_value,
    in_bins,
    number_values,
    thread_values,
)
from lodestream.actions.volumes import Counter, GroupVolumes
from lodestream.domain.errors import InvalidInput
from lodestream.store import statistics as store
from lodestream.store.breakdowns import ThreadProperty
from lodestream.store.db import Reader
from lodestream.store.statistics import Selection

if TYPE_CHECKING:
    from lodestream.ml.volumes import Groups

MOST_VALUES: Final = 1024
"""Most values of a property that one breakdown lists."""

MOST_BINS: Final = 1024

Limit = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Values = Annotated[list[str], Meta(max_length=MOST_VALUES)]


class PropertyCountsSettings(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A string property by whose values comments are counted; `values` limits it to some."""

    group_by: Annotated[str, Meta(min_length=8, max_length=320, pattern="^string:")]
    limit: Limit | UnsetType = UNSET
    values: Values | UnsetType = UNSET


class SourceCountsSettings(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Whether comments are counted by source; `values` limits it to some ids."""

    limit: Limit | UnsetType = UNSET
    values: Values | UnsetType = UNSET


class EmailCountsSettings(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How many of the most frequent participants comments are counted by, or by which."""

    limit: Limit
    values: Values | UnsetType = UNSET


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


class EmailCounts(Struct):
    """Counts by participants, domains or organisations; the lists belong together."""

    settings: EmailCountsSettings
    values: list[str]
    labels: list[str]
    num_comments: list[int]
    num_labels: list[list[float]]


class TimeseriesRow(Struct):
    """The comments of one day, week, month or year, named by its first day.

    `expected_count_any` are all comments, the other two those with a label of either sentiment.
    `label_sentiment_counts` has two numbers for each label: positive, negative.
    """

    timestamp_str: str
    expected_count_any: int
    expected_count_positive: float
    expected_count_negative: float
    label_sentiment_counts: list[float]


class FixedBins(Struct, forbid_unknown_fields=True):
    """Bins of one width; one of them begins at `offset`."""

    interval: Annotated[int, Meta(ge=1, le=2**53)]
    offset: Annotated[int, Meta(ge=-(2**53), le=2**53)]


class CustomBins(Struct, forbid_unknown_fields=True):
    """Bins between points, and beyond the first and the last if asked for."""

    points: Annotated[list[float], Meta(max_length=MOST_BINS)]
    negative_infinity: bool
    positive_infinity: bool


class VariableBins(Struct, forbid_unknown_fields=True):
    """At most so many bins, each with about as many comments."""

    max_bins: Annotated[int, Meta(ge=1, le=MOST_BINS)]


class Binning(Struct, forbid_unknown_fields=True):
    """How values are put into bins; one of the three."""

    fixed: FixedBins | UnsetType = UNSET
    custom: CustomBins | UnsetType = UNSET
    variable: VariableBins | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Check that it is one of the three. Raises ValueError."""
        if [self.fixed, self.custom, self.variable].count(UNSET) != 2:
            raise ValueError("needs one of `fixed`, `custom` and `variable`")


class HistogramSettings(Struct, forbid_unknown_fields=True):
    """How the values of a property of threads are put into bins."""

    binning: Binning


class HistogramBin(Struct):
    """The comments whose value is at least `min` and less than `max`; null is no bound."""

    min: float | None
    max: float | None
    num_comments: int
    num_labels: list[float]


class Histogram(Struct):
    """Counts by a property of threads."""

    bins: list[HistogramBin]
    labels: list[str]


class NpsSummary(Struct):
    """Comments by how likely their authors are to recommend.

    A row of `timeseries` is a date with the numbers of promoters (from 9), passives (7 and 8),
    detractors (up to 6) and all of these; of `histogram` a score from 0 to 10 and its number; of
    `bubbles`, in the order of `label_names`, the expected number of comments with the label and
    the net promoter score of these, from -100 to 100.
    """

    nps_property: str
    label_names: list[str]
    timeseries: list[tuple[str, int, int, int, int]]
    histogram: list[tuple[int, int]]
    bubbles: list[tuple[float, float]]


class Breakdowns:
    """The breakdowns of one answer."""

    def __init__(
        self,
        tx: Reader,
        selection: Selection,
        counter: Counter,
        labels: Sequence[str],
        *,
        zone: ZoneInfo,
        resolution: Resolution,
    ) -> None:
        self._tx = tx
        self._selection = selection
        self._counter = counter
        self._labels = list(labels)
        self._zone = zone
        self._resolution = resolution
        self._waiting: list[tuple[Groups, Callable[[GroupVolumes], None]]] = []
        self._days: Named | None = None

    def count(self) -> None:
        """Fill in the counts of labels."""
        if self._waiting:
            groupings = [groups for groups, _ in self._waiting]
            volumes = self._counter.count_by(groupings, self._labels)
            for (_, fill), found in zip(self._waiting, volumes, strict=True):
                fill(found)

    def _fill(self, groups: Groups, num_labels: list[list[float]]) -> None:
        """Have the expected numbers of each group appended, if there are labels to count."""

        def fill(found: GroupVolumes) -> None:
            num_labels.extend([one.total for one in row] for row in found.labels)

        if self._labels:
            self._waiting.append((groups, fill))
        else:
            num_labels += [[] for _ in range(groups.size)]

    def by_property(self, settings: PropertyCountsSettings) -> PropertyCounts:
        """Count by the values of a user property."""
        tx, selection, name = self._tx, self._selection, settings.group_by
        if settings.values is not UNSET:
            counts = store.count_values(tx, selection, name, settings.values)
        else:
            most = MOST_VALUES if settings.limit is UNSET else min(settings.limit, MOST_VALUES)
            found = store.count_properties(tx, selection, most_values=most, names=[name])
            counts = [pair for one in found for pair in one.values]
        values = [value for value, _ in counts]
        part = PropertyCounts(settings, values, self._labels, [n for _, n in counts], [])
        if self._labels:
            self._fill(by_value(tx, selection, name, values), part.num_labels)
        else:
            part.num_labels = [[] for _ in values]
        return part

    def by_source(self, settings: SourceCountsSettings) -> SourceCounts:
        """Count by source."""
        keys = store.count_by_source(self._tx, self._selection)
        key_of = {source.id: source.key for source in self._selection.sources}
        counts = {source_id: keys[key] for source_id, key in key_of.items()}
        if settings.values is not UNSET:
            shown = [(one, counts.get(one, 0)) for one in dict.fromkeys(settings.values)]
        else:
            shown = sorted(counts.items(), key=lambda pair: -pair[1])
            shown = shown if settings.limit is UNSET else shown[: settings.limit]
        values = [source_id for source_id, _ in shown]
        part = SourceCounts(settings, values, self._labels, [n for _, n in shown], [])
        if self._labels:
            # A source that the dataset does not have is in no row.
            groups = by_source(self._counter.scan, [key_of.get(one, -1) for one in values])
            self._fill(groups, part.num_labels)
        else:
            part.num_labels = [[] for _ in values]
        return part

    def by_participants(
        self, settings: Mapping[EmailProperty, EmailCountsSettings]
    ) -> dict[EmailProperty, EmailCounts]:
        """Count by senders and recipients."""
        wanted = {
            name: (min(one.limit, MOST_VALUES), None if one.values is UNSET else one.values)
            for name, one in settings.items()
        }
        parts: dict[EmailProperty, EmailCounts] = {}
        for name, found in by_participants(self._tx, self._selection, wanted).items():
            counts: list[int] = found.groups.comments().tolist()
            parts[name] = EmailCounts(settings[name], found.names, self._labels, counts, [])
            self._fill(found.groups, parts[name].num_labels)
        return parts

    def by_threads(self, name: ThreadProperty, settings: HistogramSettings) -> Histogram:
        """Count by a property of threads; comments without a thread are in no bin."""
        values = thread_values(self._tx, self._selection, name)
        edges = _edges(settings.binning, [value for _, value in values], name)
        groups = in_bins(values, edges)
        counts = groups.comments().tolist()
        bins = [
            HistogramBin(_finite(low), _finite(high), count, [])
            for low, high, count in zip(edges, edges[1:], counts, strict=False)
        ]

        def fill(found: GroupVolumes) -> None:
            for one, row in zip(bins, found.labels, strict=True):
                one.num_labels = [volume.total for volume in row]

        if self._labels:
            self._waiting.append((groups, fill))
        return Histogram(bins, self._labels)

    def by_time(self) -> list[TimeseriesRow]:
        """Count by days or longer."""
        found = self._by_days()
        counts = found.groups.comments().tolist()
        rows = [
            TimeseriesRow(name, count, 0.0, 0.0, [])
            for name, count in zip(found.names, counts, strict=True)
        ]

        def fill(volumes: GroupVolumes) -> None:
            for row, labels, either in zip(rows, volumes.labels, volumes.any_label, strict=True):
                row.expected_count_positive = either.positive
                row.expected_count_negative = either.negative
                row.label_sentiment_counts = [
                    side for one in labels for side in (one.positive, one.negative)
                ]

        self._waiting.append((found.groups, fill))
        return rows

    def _by_days(self) -> Named:
        if self._days is None:
            self._days = by_time(self._counter.scan, self._zone, self._resolution)
        return self._days

    def by_score(self, nps_property: str) -> NpsSummary:
        """Count by how likely people are to recommend, which a number property tells."""
        values = number_values(self._tx, self._selection, nps_property)
        # Scores are whole numbers; what is outside 0 to 10 is none.
        scores = [(pos, float(math.floor(one + 0.5))) for pos, one in values if -0.5 <= one < 10.5]
        found = self._by_days()
        kinds = in_bins(scores, [0, 7, 9, 11])
        days = found.groups
        rows, numbers = days.rows_of(kinds.positions)
        table = [[0, 0, 0] for _ in found.names]
        for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
            table[number][int(kinds.numbers[row])] += 1
        histogram = in_bins(scores, list(range(12))).comments().tolist()
        summary = NpsSummary(
            nps_property,
            self._labels,
            [
                (name, up, passive, down, up + passive + down)
                for name, (down, passive, up) in zip(found.names, table, strict=True)
            ],
            list(enumerate(histogram)),
            [],
        )

        def fill(volumes: GroupVolumes) -> None:
            for low, middle, high in zip(*volumes.labels, strict=True):
                total = low.total + middle.total + high.total
                net = 100 * (high.total - low.total) / total if total else 0.0
                summary.bubbles.append((round(total, 6), round(net, 6)))

        if self._labels:
            self._waiting.append((kinds, fill))
        return summary


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _edges(binning: Binning, values: Sequence[float], name: str) -> list[float]:
    """Return the edges of the bins, which rise. Raises InvalidInput if there were too many."""
    if binning.custom is not UNSET:
        points = sorted(set(binning.custom.points))
        first = [-math.inf] if binning.custom.negative_infinity else []
        return [*first, *points, *([math.inf] if binning.custom.positive_infinity else [])]
    if not values:
        return []
    if binning.fixed is not UNSET:
        width, offset = binning.fixed.interval, binning.fixed.offset
        first_bin = math.floor((min(values) - offset) / width)
        last_bin = math.floor((max(values) - offset) / width)
        if last_bin - first_bin >= MOST_BINS:
            raise InvalidInput(
                f"thread_histogram.{name}: bins of {width} would be more than {MOST_BINS}"
            )
        return [float(offset + width * number) for number in range(first_bin, last_bin + 2)]
    assert binning.variable is not UNSET
    ordered = sorted(values)
    count = binning.variable.max_bins
    cuts = {ordered[len(ordered) * place // count] for place in range(count)} | {ordered[-1]}
    edges = sorted(cuts)
    return edges if len(edges) > 1 else [edges[0], math.nextafter(edges[0], math.inf)]
