"""One table of all routes, in a module for each area: what routing, permissions, OpenAPI, the
refusal tests and the compatibility page are made of."""

from __future__ import annotations

from lodestream.api.routes.admin import ADMIN
from lodestream.api.routes.content import COMMENTS, SOURCES
from lodestream.api.routes.datasets import (
    DATASETS,
    LABEL_DEFS,
    LABEL_GROUPS,
    LABELLINGS,
    SOURCE_STATISTICS,
)
from lodestream.api.routes.docs import description_routes
from lodestream.api.routes.files import FILES
from lodestream.api.routes.integrations import INTEGRATIONS
from lodestream.api.routes.lodestream import (
    ANNOTATIONS,
    DOWNLOADS,
    FORESIGHT,
    SINKS,
    STATUS,
    SYSTEM,
)
from lodestream.api.routes.mail import MAIL
from lodestream.api.routes.models import MODELS
from lodestream.api.routes.query import QUERIES
from lodestream.api.routes.streams import STREAMS, TRIGGERS
from lodestream.api.routing import Route

_DESCRIBED: tuple[Route, ...] = (
    *SOURCES,
    *COMMENTS,
    *FILES,
    *MAIL,
    *INTEGRATIONS,
    *DATASETS,
    *LABELLINGS,
    *QUERIES,
    *LABEL_DEFS,
    *LABEL_GROUPS,
    *SOURCE_STATISTICS,
    *MODELS,
    *STREAMS,
    *TRIGGERS,
    *ANNOTATIONS,
    *FORESIGHT,
    *DOWNLOADS,
    *STATUS,
    *SINKS,
    *SYSTEM,
    *ADMIN,
)

ROUTES: tuple[Route, ...] = (*_DESCRIBED, *description_routes(_DESCRIBED))
