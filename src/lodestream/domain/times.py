"""Instants: integers of microseconds since 1970 UTC inside, RFC 3339 at the edge."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LAST_US = (datetime.max.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND


def now_us() -> int:
    """Return the present instant in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


@lru_cache(maxsize=4096)
def parse_us(text: str) -> int:
    """Read an ISO 8601 instant; without a zone it is UTC. Microseconds since 1970.

    Raises ValueError if `text` is not an instant between the years 1400 and 9999 (in UTC).
    """
    if len(text) > 64:
        raise ValueError("not an ISO 8601 timestamp")
    moment = datetime.fromisoformat(text)
    if moment.year < 1400:
        raise ValueError("timestamps start with the year 1400")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    instant_us = (moment - EPOCH) // _MICROSECOND
    if instant_us > _LAST_US:
        raise ValueError("timestamps end with the year 9999")
    return instant_us


@lru_cache(maxsize=4096)
def format_us(instant_us: int) -> str:
    """Write an instant as RFC 3339 in UTC with six fraction digits and `Z`."""
    moment = EPOCH + timedelta(microseconds=instant_us)
    return moment.isoformat(timespec="microseconds")[:26] + "Z"
