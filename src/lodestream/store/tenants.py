"""The tenant: rows ↔ struct."""

from __future__ import annotations

import sqlalchemy as sa

from lodestream.domain.tenants import Tenant
from lodestream.domain.users import SYSTEM_USER
from lodestream.store.db import Reader
from lodestream.store.tables import account, meta


def get(tx: Reader) -> Tenant:
    """Return the instance's tenant."""
    rows = tx.execute(sa.select(meta.c.name, meta.c.value).where(meta.c.name.like("tenant_%")))
    values = {row.name: row.value for row in rows}
    # The system's account is made together with the instance.
    query = sa.select(account.c.created_us).where(account.c.id == SYSTEM_USER)
    created_us: int = tx.execute(query).scalar_one()
    return Tenant(values["tenant_id"], values["tenant_name"], created_us)
