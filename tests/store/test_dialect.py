"""Statements prepared for the drivers, and how a database is named."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import bindparam

from lodestream.store.db import Database
from lodestream.store.dialect import Prepared, database_url
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


@pytest.mark.parametrize(
    ("url", "sslmode"),
    [
        ("postgresql://u@127.0.0.1/db", "allow"),
        ("postgres://u@localhost:5433/db", "allow"),
        ("postgresql://u@[::1]/db", "allow"),
        ("postgresql://u@127.0.0.1/db?sslmode=verify-full", "verify-full"),
        ("postgresql://u@db.example/db", None),
        ("postgresql:///db?host=/var/run/postgresql", None),
    ],
)
def test_the_loopback_is_not_encrypted_unless_somebody_asks_for_it(
    url: str, sslmode: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    assert database_url(url).query.get("sslmode") == sslmode


def test_what_the_environment_says_of_encryption_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "require")
    assert "sslmode" not in database_url("postgresql://u@127.0.0.1/db").query
