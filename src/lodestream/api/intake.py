"""Integrations over HTTP: a listing only, because this version has none.

Clients ask for this list along with others, so it exists, and is truly empty.
"""

from __future__ import annotations

from msgspec import Struct

from lodestream.api.calls import Call


class IntegrationsReply(Struct):
    """Every integration that the caller may see: none."""

    integrations: tuple[()] = ()
    status: str = "ok"


def list_integrations(_call: Call[None]) -> IntegrationsReply:
    """Return the empty list of integrations."""
    return IntegrationsReply()
