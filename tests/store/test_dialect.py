"""Statements prepared for the drivers."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import bindparam

from lodestream.store.db import Database
from lodestream.store.dialect import Prepared
from lodestream.store.tables import counter


def test_a_prepared_statement_may_hold_a_list_beside_named_parameters(db: Database) -> None:
    query = (
        sa.select(counter.c.name)
        .where(
            counter.c.name.in_(["position", "catalogue"]), counter.c.name != bindparam("not_this")
        )
        .order_by(counter.c.name)
    )
    prepared = Prepared(query, db.dialect_name)
    assert prepared.rows(db.probe(), not_this="position") == [("catalogue",)]
    assert prepared.rows(db.probe(), not_this="catalogue") == [("position",)]
