"""The rows of the API's own description."""

from __future__ import annotations

from collections.abc import Sequence

from lodestream.api import openapi
from lodestream.api.routing import PUBLIC, Route


def description_routes(routes: Sequence[Route]) -> tuple[Route, ...]:
    """Return the rows that describe `routes` and themselves."""
    description = openapi.Description()
    rows = (
        Route(
            "GET", "/api/openapi.json", "getOpenApi", "system", description.get, PUBLIC, reply=dict
        ),
        Route(
            "GET",
            "/docs",
            "getDocs",
            "system",
            openapi.get_page,
            PUBLIC,
            reply_type="text/html",
        ),
    )
    description.routes = (*routes, *rows)
    return rows
