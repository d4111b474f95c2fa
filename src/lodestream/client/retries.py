"""When a call may be repeated, and after how long."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Final

from lodestream.client.errors import ClientError, Refused, Unreachable

_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Retries:
    """How patient a client is.

    A call that may be made twice is repeated when no answer comes, and on 408, 429, 500, 502, 503
    and 504. Any other call is repeated only when the server cannot have acted on it: it could not
    be connected to, or it said 429. A wait doubles from `first_wait_s`, with some chance in it,
    unless the server names one by `Retry-After`; one beyond `longest_wait_s` is not waited for.
    """

    most_tries: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0

    def wait_s(self, error: ClientError, tries: int, *, idempotent: bool) -> float | None:
        """Return how long to wait before the next try; None to give up."""
        if tries >= self.most_tries or not _may_repeat(error, idempotent=idempotent):
            return None
        asked = error.retry_after_s if isinstance(error, Refused) else None
        if asked is not None:
            return asked if asked <= self.longest_wait_s else None
        # Consumers that failed together must not come back together.
        chance = 0.5 + random.random() / 2  # noqa: S311 - spreads load, keeps no secret
        return min(self.first_wait_s * 2.0 ** (tries - 1), self.longest_wait_s) * chance


def _may_repeat(error: ClientError, *, idempotent: bool) -> bool:
    if isinstance(error, Unreachable):
        return idempotent or not error.maybe_done
    if isinstance(error, Refused):
        return error.status == 429 or (idempotent and error.status in _PASSING)
    return False


def retry_after_s(headers: dict[str, str]) -> float | None:
    """Return how long the header `Retry-After` asks to wait; None without a readable one."""
    asked = headers.get("retry-after", "")
    if asked.isascii() and asked.isdigit():
        return float(asked)
    if not asked:
        return None
    # Servers hardly ever name a date, and what reads one takes long to import.
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return None
