"""Projects: rows ↔ structs."""

from __future__ import annotations

import sqlalchemy as sa

from lodestream.domain.errors import NotFound
from lodestream.store.db import Reader
from lodestream.store.tables import project


def require_exists(tx: Reader, project_id: str) -> None:
    """Raise NotFound if the project went away since it was looked up."""
    query = sa.select(project.c.id).where(project.c.id == project_id)
    if tx.execute(query).first() is None:
        raise NotFound("No such project")
