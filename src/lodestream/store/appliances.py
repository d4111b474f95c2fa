"""Configurations of connectors that run elsewhere: rows, as they are sealed."""

from __future__ import annotations

import sqlalchemy as sa

from lodestream.store.db import Reader, Writer
from lodestream.store.dialect import upsert
from lodestream.store.tables import appliance_config


def find(tx: Reader, project_id: str, key: str) -> str | None:
    """Return a sealed configuration, or None."""
    here = (appliance_config.c.project_id == project_id, appliance_config.c.key == key)
    found: str | None = tx.execute(
        sa.select(appliance_config.c.sealed).where(*here)
    ).scalar_one_or_none()
    return found


def store(tx: Writer, project_id: str, key: str, *, sealed: str, now_us: int) -> None:
    """Set a configuration."""
    values = {"project_id": project_id, "key": key, "sealed": sealed, "updated_us": now_us}
    update = ("sealed", "updated_us")
    tx.execute(upsert(appliance_config, tx.dialect_name, values=values, update=update))
