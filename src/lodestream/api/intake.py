"""Buckets and integrations over HTTP: listings only, because this version has neither.

Clients ask for these lists along with others (`re get sources` fails without that of buckets), so
they exist, and are truly empty.
"""

from __future__ import annotations

from msgspec import Struct

from lodestream.api.calls import Call


class BucketsReply(Struct):
    """Every bucket that the caller may see: none."""

    buckets: tuple[()] = ()
    status: str = "ok"


class IntegrationsReply(Struct):
    """Every integration that the caller may see: none."""

    integrations: tuple[()] = ()
    status: str = "ok"


def list_buckets(_call: Call[None]) -> BucketsReply:
    """Return the empty list of buckets."""
    return BucketsReply()


def list_integrations(_call: Call[None]) -> IntegrationsReply:
    """Return the empty list of integrations."""
    return IntegrationsReply()
