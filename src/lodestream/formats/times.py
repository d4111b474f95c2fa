"""Times in files of rows: which format a column has, and what instant a cell is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from itertools import islice, product
from typing import Final

from lodestream.domain.times import format_us, parse_us

_DATES: Final = (
    *("%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d/%m/%y", "%m/%d/%y"),
    *("%d.%m.%Y", "%d.%m.%y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y"),
)
_CLOCKS: Final = (
    *("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p"),
    *(", %H:%M", ", %H:%M:%S", " %H:%M:%S %z"),
)
FORMATS: Final = (
    "iso",
    "rfc2822",
    "unix",
    "unix_ms",
    *(date + clock for date, clock in product(_DATES, _CLOCKS)),
)
"""Every format that is looked for: names of our own, and patterns of `strptime`."""

_UNIX: Final = re.compile(r"\d{9,10}(?:\.\d{1,6})?")
_UNIX_MS: Final = re.compile(r"\d{12,13}")
_FIRST_YEAR: Final = 1400  # as `parse_us` has it
_SHARE: Final = 0.5
_LOOKED_AT: Final = 200
_PATIENCE: Final = 10
_LONGEST: Final = 64


def read_time(text: str, pattern: str) -> str | None:
    """Return the instant in a cell as comments have it; without a zone it is UTC.

    `pattern` is one of `FORMATS` or any pattern of `strptime`. None if it does not fit.
    """
    try:
        if pattern == "iso":
            # Of digits alone it would read things that are no dates.
            return format_us(parse_us(text)) if len(text) >= 10 and "-" in text else None
        if pattern == "rfc2822":
            moment = parsedate_to_datetime(text) if text[:4].rstrip(",")[:3].isalpha() else None
        elif pattern == "unix":
            return format_us(round(float(text) * 1e6)) if _UNIX.fullmatch(text) else None
        elif pattern == "unix_ms":
            return format_us(int(text) * 1000) if _UNIX_MS.fullmatch(text) else None
        elif (digits := _digits(pattern)) is not None:
            moment = _from_digits(digits, text)
        else:
            moment = datetime.strptime(text, pattern)  # noqa: DTZ007 (the zone is set below)
        if moment is None:
            return None
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        if moment.year < _FIRST_YEAR:
            return None
        return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
    except (ValueError, TypeError, IndexError, OverflowError, re.error):
        return None


_FIELDS: Final = {
    "d": r"(?P<day>3[01]|[12]\d|0[1-9]|[1-9]| [1-9])",
    "m": r"(?P<month>1[0-2]|0[1-9]|[1-9])",
    "Y": r"(?P<year>\d{4})",
    "y": r"(?P<short_year>\d{2})",
    "H": r"(?P<hour>2[0-3]|[01]\d|\d)",
    "M": r"(?P<minute>[0-5]\d|\d)",
    "S": r"(?P<second>[0-5]\d|\d)",
}


@lru_cache(maxsize=256)
def _digits(pattern: str) -> re.Pattern[str] | None:
    """Return the expression of a pattern that has numbers alone, which `strptime` reads slowly."""
    parts = re.split("%(.)", pattern)
    fields = parts[1::2]
    if not set(fields) <= set(_FIELDS) or len(set(fields)) < len(fields):
        return None
    if not {"d", "m"} <= set(fields) or not set(fields) & {"Y", "y"} or {"Y", "y"} <= set(fields):
        return None
    if any(re.search(r"[%\w]", text) for text in parts[::2]):
        return None
    literals = [re.sub(r"\\? +", r"\\s+", re.escape(text)) for text in parts[::2]]
    found = [literals[0]]
    for name, text in zip(fields, literals[1:], strict=True):
        found += [_FIELDS[name], text]
    return re.compile("".join(found), re.ASCII)


def _from_digits(digits: re.Pattern[str], text: str) -> datetime | None:
    match = digits.fullmatch(text)
    if match is None:
        return None
    found = {name: int(value) for name, value in match.groupdict().items()}
    if (short := found.pop("short_year", None)) is not None:
        found["year"] = short + (2000 if short < 69 else 1900)
    return datetime(**found, tzinfo=UTC)


def guess_formats(values: Iterable[str]) -> list[str]:
    """Return the formats that read the most of the first values, if that is half of them."""
    found = list(islice((one for one in values if one), _LOOKED_AT))
    dated = [one for one in found if len(one) <= _LONGEST and any(map(str.isdigit, one))]
    if not dated:
        return []
    # Format by format: `strptime` keeps what it has compiled for a handful of patterns only.
    counts = {pattern: sum(_reads(pattern, dated)) for pattern in FORMATS}
    most = max(counts.values())
    if most < _SHARE * len(found):
        return []
    return [pattern for pattern in FORMATS if counts[pattern] == most]


def _reads(pattern: str, values: Sequence[str]) -> Iterator[bool]:
    """Tell of each value whether a format reads it; give up on one that reads none at first."""
    good = False
    for number, one in enumerate(values):
        fits = read_time(one, pattern) is not None
        good = good or fits
        if number == _PATIENCE and not good:
            return
        yield fits


def narrowed(patterns: Sequence[str], values: Iterable[str]) -> list[str]:
    """Return those of several formats that read the values best; stop when one is left.

    A value that only some of them read rules the others out.
    """
    left = list(patterns)
    told_apart = False
    for one in values:
        if len(left) == 1:
            break
        readings = [read_time(one, pattern) for pattern in left]
        fitting = [p for p, reading in zip(left, readings, strict=True) if reading is not None]
        if fitting:
            left = fitting
            told_apart = told_apart or len(set(readings) - {None}) > 1
    return left if told_apart else left[:1]
