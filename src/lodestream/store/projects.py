"""Projects: rows ↔ structs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from lodestream.domain.errors import NotFound
from lodestream.domain.projects import Project, ResourceCounts
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import (
    appliance_config,
    bucket,
    dataset,
    grant,
    integration,
    project,
    source,
)


def require_exists(tx: Reader, project_id: str) -> None:
    """Raise NotFound if the project went away since it was looked up."""
    query = sa.select(project.c.id).where(project.c.id == project_id)
    if tx.execute(query).first() is None:
        raise NotFound("No such project")


def find(tx: Reader, name: str) -> Project | None:
    """Return the project with this name, or None."""
    row = tx.execute(sa.select(project).where(project.c.name == name)).first()
    return None if row is None else _project(row)


def get(tx: Reader, name: str) -> Project:
    """Return the project with this name. Raises NotFound."""
    found = find(tx, name)
    if found is None:
        raise NotFound(f"No such project: {name}")
    return found


def list_projects(tx: Reader, *, projects: frozenset[str] | None) -> list[Project]:
    """Return the projects with these ids (None: all), by name."""
    found = [_project(row) for row in tx.execute(sa.select(project))]
    if projects is not None:
        found = [one for one in found if one.id in projects]
    return sorted(found, key=lambda one: one.name)


def ids_by_name(tx: Reader) -> dict[str, str]:
    """Return the id of every project by its name."""
    query = sa.select(project.c.name, project.c.id)
    return {row.name: row.id for row in tx.execute(query)}


def list_joined_automatically(tx: Reader) -> list[Project]:
    """Return the projects that new users join."""
    query = sa.select(project).where(project.c.user_auto_join)
    return [_project(row) for row in tx.execute(query)]


def count(tx: Reader) -> int:
    """Return how many projects there are."""
    number: int = tx.execute(sa.select(sa.func.count()).select_from(project)).scalar_one()
    return number


def count_resources(tx: Reader, project_id: str) -> ResourceCounts:
    """Return how much a project holds. This version has no dashboards."""

    def count_in(table: sa.Table) -> int:
        query = sa.select(sa.func.count()).select_from(table)
        number: int = tx.execute(query.where(table.c.project_id == project_id)).scalar_one()
        return number

    return ResourceCounts(
        buckets=count_in(bucket),
        dashboards=0,
        datasets=count_in(dataset),
        integrations=count_in(integration),
        sources=count_in(source),
        users_with_permissions=count_in(grant),
    )


def insert(tx: Writer, values: Project) -> None:
    """Store a new project."""
    tx.execute(
        sa.insert(project).values(
            id=values.id,
            name=values.name,
            title=values.title,
            description=values.description,
            user_auto_join=values.user_auto_join,
            created_us=values.created_us,
            updated_us=values.updated_us,
        )
    )


def update(tx: Writer, project_id: str, changes: dict[str, Any]) -> None:
    """Set columns of a project; `changes` maps the names of `Project` fields to values."""
    tx.execute(sa.update(project).where(project.c.id == project_id).values(**changes))


def delete(tx: Writer, project_id: str) -> None:
    """Delete an empty project with its connectors' settings; take it out of all users' grants."""
    for table in (grant, appliance_config):
        tx.execute(sa.delete(table).where(table.c.project_id == project_id))
    tx.execute(sa.delete(project).where(project.c.id == project_id))


def _project(row: Any) -> Project:
    return Project(
        id=row.id,
        name=row.name,
        title=row.title,
        description=row.description,
        user_auto_join=row.user_auto_join,
        created_us=row.created_us,
        updated_us=row.updated_us,
    )
