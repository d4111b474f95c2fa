"""Integrations and their errors: rows ↔ structs. How their mailboxes do: `store/mailboxes.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from lodestream.domain.errors import NotFound
from lodestream.domain.ids import new_id
from lodestream.domain.integrations import (
    ErrorKind,
    ExchangeConfiguration,
    ExchangeConnection,
    ImapConfiguration,
    ImapConnection,
    Integration,
    IntegrationError,
    Mailbox,
)
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import integration, integration_error, mailbox, project

MOST_ERRORS: Final = 1000
"""How many errors of one integration are kept: the newest."""

_QUERY = sa.select(integration, project.c.name.label("owner")).join(
    project, project.c.id == integration.c.project_id
)


def find_by_id(tx: Reader, integration_id: str) -> Integration | None:
    """Return the integration with this id, or None."""
    found = _read(tx, _QUERY.where(integration.c.id == integration_id))
    return found[0] if found else None


def get(tx: Reader, integration_id: str) -> Integration:
    """Return the integration with this id. Raises NotFound."""
    found = find_by_id(tx, integration_id)
    if found is None:
        raise NotFound("No such integration")
    return found


def find_by_name(tx: Reader, project_name: str, name: str) -> Integration | None:
    """Return the integration of this full name, or None."""
    here = (project.c.name == project_name, integration.c.name == name)
    found = _read(tx, _QUERY.where(*here))
    return found[0] if found else None


def list_integrations(tx: Reader, *, projects: frozenset[str] | None) -> list[Integration]:
    """Return the integrations of the projects with these ids (None: of all), by their names."""
    query = _QUERY
    if projects is not None:
        query = query.where(integration.c.project_id.in_(projects))
    return sorted(_read(tx, query), key=lambda one: (one.owner, one.name))


def count(tx: Reader) -> int:
    """Return how many integrations there are."""
    number: int = tx.execute(sa.select(sa.func.count()).select_from(integration)).scalar_one()
    return number


def insert(tx: Writer, values: Integration) -> None:
    """Store a new integration, without its mailboxes."""
    row = {"id": values.id, "created_us": values.created_us, **_columns(values)}
    tx.execute(sa.insert(integration).values(**row))


def update(tx: Writer, values: Integration) -> None:
    """Set what can be changed of an integration, but for its mailboxes."""
    here = integration.c.id == values.id
    tx.execute(sa.update(integration).where(here).values(**_columns(values)))


def delete(tx: Writer, integration_id: str) -> None:
    """Remove an integration with its mailboxes and errors."""
    for table in (integration_error, mailbox):
        tx.execute(sa.delete(table).where(table.c.integration_id == integration_id))
    tx.execute(sa.delete(integration).where(integration.c.id == integration_id))


def delete_in_project(tx: Writer, project_id: str) -> None:
    """Remove every integration of a project."""
    query = sa.select(integration.c.id).where(integration.c.project_id == project_id)
    for integration_id in list(tx.execute(query).scalars()):
        delete(tx, integration_id)


# Errors


def add_error(
    tx: Writer,
    integration_id: str,
    *,
    kind: ErrorKind,
    text: str,
    mailbox_name: str | None,
    bucket_id: str | None,
    now_us: int,
) -> None:
    """Note why the server disabled something."""
    values = {
        "id": new_id(),
        "integration_id": integration_id,
        "kind": kind,
        "text": text,
        "mailbox_name": mailbox_name,
        "bucket_id": bucket_id,
        "created_us": now_us,
    }
    tx.execute(sa.insert(integration_error).values(**values))
    kept = (
        sa.select(integration_error.c.key)
        .where(integration_error.c.integration_id == integration_id)
        .order_by(integration_error.c.key.desc())
        .offset(MOST_ERRORS)
        .limit(1)
        .scalar_subquery()
    )
    here = integration_error.c.integration_id == integration_id
    tx.execute(sa.delete(integration_error).where(here, integration_error.c.key <= kept))


def list_errors(tx: Reader, integration_id: str) -> list[IntegrationError]:
    """Return why the server disabled an integration and its mailboxes, the newest first."""
    query = (
        sa.select(integration_error)
        .where(integration_error.c.integration_id == integration_id)
        .order_by(integration_error.c.key.desc())
    )
    return [
        IntegrationError(
            id=row.id,
            integration_id=row.integration_id,
            kind=row.kind,
            text=row.text,
            mailbox_name=row.mailbox_name,
            bucket_id=row.bucket_id,
            created_us=row.created_us,
        )
        for row in tx.execute(query)
    ]


def _columns(values: Integration) -> dict[str, Any]:
    connection = values.configuration.connection
    bare = None if connection is msgspec.UNSET else msgspec.json.encode(connection).decode()
    return {
        "project_id": values.project_id,
        "name": values.name,
        "title": values.title,
        "type": values.type,
        "enabled": values.enabled,
        "disabled_reason": values.disabled_reason,
        "connection": bare,
        "sealed": values.sealed,
        "updated_us": values.updated_us,
    }


def _read(tx: Reader, query: sa.Select[Any]) -> list[Integration]:
    rows = list(tx.execute(query))
    boxes = _mailboxes(tx, [row.id for row in rows])
    return [_integration(row, boxes.get(row.id, [])) for row in rows]


def _mailboxes(tx: Reader, ids: Sequence[str]) -> dict[str, list[Mailbox]]:
    found: dict[str, list[Mailbox]] = {}
    for start in range(0, len(ids), 500):
        query = sa.select(mailbox.c.integration_id, mailbox.c.settings).where(
            mailbox.c.integration_id.in_(ids[start : start + 500])
        )
        for row in tx.execute(query.order_by(mailbox.c.integration_id, mailbox.c.place)):
            one = msgspec.json.decode(row.settings, type=Mailbox)
            found.setdefault(row.integration_id, []).append(one)
    return found


def configuration_of(
    kind: str, connection: str | None, mailboxes: list[Mailbox]
) -> ExchangeConfiguration | ImapConfiguration:
    """Return a stored configuration of an integration of this type."""
    if kind == "imap":
        imap = ImapConfiguration(mailboxes)
        if connection is not None:
            imap.connection = msgspec.json.decode(connection, type=ImapConnection)
        return imap
    exchange = ExchangeConfiguration(mailboxes)
    if connection is not None:
        exchange.connection = msgspec.json.decode(connection, type=ExchangeConnection)
    return exchange


def _integration(row: Any, mailboxes: list[Mailbox]) -> Integration:
    return Integration(
        id=row.id,
        project_id=row.project_id,
        owner=row.owner,
        name=row.name,
        title=row.title,
        type=row.type,
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        configuration=configuration_of(row.type, row.connection, mailboxes),
        sealed=row.sealed,
        created_us=row.created_us,
        updated_us=row.updated_us,
    )
