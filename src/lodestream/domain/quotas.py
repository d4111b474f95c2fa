"""Quotas: how much of each kind there may be, and how far users may raise that themselves."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from msgspec import Struct

from lodestream.domain.errors import InvalidInput

DEFAULT_LIMITS: Final = MappingProxyType(
    {
        "sources": 10_000,
        "sources_per_dataset": 1024,
        "datasets": 10_000,
        "datasets_per_source": 1024,
        "labels_per_dataset": 1024,
        "entities_per_dataset": 1024,
        "comments": 1_000_000_000,
        "comments_per_source": 1_000_000_000,
        "comments_in_ixp_designtime": 0,
        "comments_in_ixp_runtime": 0,
        "reviewed_comments_per_dataset": 1_000_000,
        "integrations": 1000,
        "mailboxes_per_integration": 1000,
        "triggers": 100_000,
        "triggers_per_dataset": 1000,
        "users": 10_000,
        "alerts": 1000,
        "buckets": 10_000,
        "projects": 10_000,
        "pinned_models": 100,
        "extraction_predictions": 0,
    }
)
"""Every kind there is, with the limit that holds until somebody sets another."""


class Quota(Struct, frozen=True):
    """The limit of a kind; users may raise it to `auto_increase_up_to` (None: not at all)."""

    kind: str
    hard_limit: int
    auto_increase_up_to: int | None = None

    @property
    def highest(self) -> int:
        """The highest limit that a user's own request can lead to."""
        return max(self.hard_limit, self.auto_increase_up_to or 0)

    def requested(self, limit: int, *, usage: int) -> int:
        """Return the limit that holds after a user has asked for `limit`.

        Too high a wish leads to the highest limit there is; too low a one to what is in use, or to
        the present limit if even that is exceeded. (Contract: admin, section 4.2.)
        """
        if limit > self.hard_limit:
            return min(limit, self.highest)
        return min(max(limit, usage), self.hard_limit)


def require_kind(kind: str) -> None:
    """Raise InvalidInput if there is no quota of this kind."""
    if kind not in DEFAULT_LIMITS:
        raise InvalidInput(f"'{kind}' is not one of the quota kinds")
