"""Comments in groups: by time, source, values of properties, participants and threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal
from zoneinfo import ZoneInfo

from lodestream.actions.scanning import Scan
from lodestream.domain import facets
from lodestream.domain.facets import Person, Role
from lodestream.domain.times import EPOCH
from lodestream.store import breakdowns
from lodestream.store.breakdowns import ThreadProperty
from lodestream.store.db import Reader
from lodestream.store.statistics import QUARTER_US, Selection

if TYPE_CHECKING:
    from lodestream.ml.volumes import Groups

Resolution = Literal["day", "week", "month", "year"]
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

MOST_BUCKETS: Final = 10_000
"""A time series is without gaps unless it would have more buckets than this."""

_ROLES: Final[Mapping[str, tuple[Role, ...]]] = {
    "to": ("to",),
    "cc": ("cc",),
    "bcc": ("bcc",),
    "sender": ("from",),
    "recipient": ("to", "cc", "bcc"),
}


@dataclass(frozen=True)
class Named:
    """Groups with their names, in order of their numbers."""

    groups: Groups
    names: list[str]


def by_time(scan: Scan, zone: ZoneInfo, resolution: Resolution) -> Named:
    """Group comments by days or longer in a time zone; a group is named by its first day."""
    import numpy as np

    from lodestream.ml.volumes import Groups

    quarters, place = np.unique(scan.timestamps_us // QUARTER_US, return_inverse=True)
    days = [_first_day(int(quarter), zone, resolution) for quarter in quarters]
    buckets = _without_gaps(sorted(set(days)), resolution)
    number_of = {day: number for number, day in enumerate(buckets)}
    numbers = np.array([number_of[day] for day in days], np.int64)
    groups = Groups(scan.positions, numbers[place.reshape(-1)], len(buckets))
    return Named(groups, [day.isoformat() for day in buckets])


def _first_day(quarter: int, zone: ZoneInfo, resolution: Resolution) -> date:
    moment = EPOCH + timedelta(microseconds=quarter * QUARTER_US)
    try:
        day = moment.astimezone(zone).date()
    except OverflowError:  # within hours of the end of the calendar
        day = moment.date()
    if resolution == "week":
        return day - timedelta(days=day.weekday())
    if resolution == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if resolution == "year" else day


def _without_gaps(days: Sequence[date], resolution: Resolution) -> list[date]:
    shortest = {"day": 1, "week": 7, "month": 28, "year": 365}[resolution]
    if not days or (days[-1] - days[0]).days / shortest > MOST_BUCKETS:
        return list(days)
    found = [days[0]]
    while found[-1] < days[-1]:
        found.append(_next(found[-1], resolution))
    return found


def _next(day: date, resolution: Resolution) -> date:
    if resolution == "day":
        return day + timedelta(days=1)
    if resolution == "week":
        return day + timedelta(days=7)
    if resolution == "month" and day.month < 12:
        return day.replace(month=day.month + 1)
    return date(day.year + 1, 1, 1)


def by_source(scan: Scan, keys: Sequence[int]) -> Groups:
    """Group comments by source; groups are numbered as the keys stand, others are in none."""
    import numpy as np

    from lodestream.ml.volumes import Groups

    places = [np.flatnonzero(scan.sources == key) for key in keys]
    pairs = [
        np.stack([scan.positions[place], np.full(len(place), number, np.int64)], axis=1)
        for number, place in enumerate(places)
    ]
    return Groups.of(np.concatenate([np.empty((0, 2), np.int64), *pairs]), len(keys))


def by_value(tx: Reader, selection: Selection, full_name: str, values: Sequence[str]) -> Groups:
    """Group comments by these values of a string property; those that differ in case are one."""
    from lodestream.ml.volumes import Groups

    numbers: dict[str, list[int]] = {}
    for number, value in enumerate(values):
        numbers.setdefault(facets.fold(value), []).append(number)
    pairs = [
        (pos, number)
        for part in breakdowns.property_rows(tx, selection, full_name)
        for pos, value in part
        for number in numbers.get(value, ())
    ]
    return Groups.of(pairs, len(values))


def by_participants(
    tx: Reader,
    selection: Selection,
    wanted: Mapping[EmailProperty, tuple[int, Sequence[str] | None]],
) -> dict[EmailProperty, Named]:
    """Group comments by participants, domains or organisations.

    `wanted` gives for each property how many of its most frequent values become groups, or those
    values themselves.
    """
    from lodestream.ml.volumes import Groups

    readers = {name: _reader(name) for name in wanted}
    pairs: dict[EmailProperty, list[tuple[int, str]]] = {name: [] for name in wanted}
    for part in breakdowns.participant_rows(tx, selection):
        for pos, text in part:
            people = list(facets.people_in(text))
            for name, read in readers.items():
                pairs[name] += [(pos, value) for value in dict.fromkeys(read(people))]
    found: dict[EmailProperty, Named] = {}
    for name, (limit, values) in wanted.items():
        if values is None:
            ranked = Counter(value for _, value in pairs[name]).items()
            names = [one for one, _ in sorted(ranked, key=lambda pair: (-pair[1], pair[0]))[:limit]]
        else:
            names = list(dict.fromkeys(values))
        fold = facets.fold if name in _ROLES else facets.bare_domain
        numbers: dict[str, list[int]] = {}
        for number, value in enumerate(names):
            numbers.setdefault(fold(value), []).append(number)
        table = [(pos, n) for pos, value in pairs[name] for n in numbers.get(value, ())]
        found[name] = Named(Groups.of(table, len(names)), names)
    return found


def _reader(name: EmailProperty) -> Callable[[Iterable[Person]], list[str]]:
    """Return a function from participants to the values of a property."""
    kind, _, detail = name.partition("_")
    roles = _ROLES[kind]
    field = {"": "address", "domain": "domain", "organisation": "organisation"}[detail]

    def read(people: Iterable[Person]) -> list[str]:
        values: list[Any] = [getattr(one, field) for one in people if one.role in roles]
        return [value for value in values if value]

    return read


def thread_values(
    tx: Reader, selection: Selection, name: ThreadProperty
) -> list[tuple[int, float]]:
    """Return (position, value) of a property of threads; comments without a thread have none."""
    if name != "num_participants":
        return [row for part in breakdowns.thread_rows(tx, selection, name) for row in part]
    people: dict[tuple[int, str], set[str]] = {}
    thread_of: dict[int, tuple[int, str]] = {}
    for part in breakdowns.thread_participants(tx, selection):
        for pos, source, thread, text in part:
            thread_of[pos] = source, thread
            found = people.setdefault((source, thread), set())
            found.update(one.address for one in facets.people_in(text or ""))
    chosen = breakdowns.thread_rows(tx, selection, "num_messages")
    return [(pos, float(len(people[thread_of[pos]]))) for part in chosen for pos, _ in part]


def number_values(tx: Reader, selection: Selection, full_name: str) -> list[tuple[int, float]]:
    """Return (position, value) of a number property."""
    return [
        (pos, facets.number_of(key))
        for part in breakdowns.property_rows(tx, selection, full_name)
        for pos, key in part
    ]


def in_bins(values: Sequence[tuple[int, float]], edges: Sequence[float]) -> Groups:
    """Group comments by values; group i holds those from edge i on, up to the next edge.

    Edges rise and may be infinite. What equals the last edge belongs to the last group.
    """
    import numpy as np

    from lodestream.ml.volumes import Groups

    positions = np.array([pos for pos, _ in values], np.int64)
    numbers = np.array([value for _, value in values], np.float64)
    place = np.searchsorted(np.array(edges, np.float64), numbers, "right") - 1
    bins = max(len(edges) - 1, 0)
    if bins:
        place[numbers == edges[-1]] = bins - 1
    inside = (place >= 0) & (place < bins)
    return Groups.of(np.stack([positions[inside], place[inside]], axis=1), bins)
