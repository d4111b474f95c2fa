"""The tenant: this instance, under the name that audit entries and quotas give it."""

from __future__ import annotations

from msgspec import Struct


class Tenant(Struct, frozen=True):
    """The one tenant of an instance."""

    id: str
    name: str
    created_us: int
