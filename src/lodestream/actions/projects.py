"""Projects: create, change, delete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lodestream.actions.buckets import remove_bucket
from lodestream.actions.sources import remove_source
from lodestream.domain import access
from lodestream.domain.access import Actor
from lodestream.domain.audit import ProjectRef, Refs, UserRef
from lodestream.domain.errors import Conflict, InvalidInput, Unprocessable
from lodestream.domain.ids import is_project_name, new_id
from lodestream.domain.projects import Project
from lodestream.domain.times import now_us
from lodestream.domain.users import User
from lodestream.store import (
    accounts,
    audit,
    buckets,
    datasets,
    integrations,
    projects,
    quotas,
    sources,
)
from lodestream.store.db import Database, Writer


def create_project(
    db: Database,
    *,
    actor: Actor,
    name: str,
    values: dict[str, Any],
    user_ids: Sequence[str] | None = None,
) -> Project:
    """Create a project in which the listed users, or else the caller, may do everything.

    `values` maps names of `Project` fields to what the caller gave. Raises InvalidInput for a bad
    name, Conflict if it is taken, Unprocessable for an unknown user, QuotaExceeded.
    """
    if not is_project_name(name):
        raise InvalidInput(
            f"project name {name[:1024]!r}: letters, digits, '-', '_' and '.' only, at most 1024"
        )
    with db.write() as tx:
        if projects.find(tx, name) is not None:
            raise Conflict(f"a project named {name} exists")
        quotas.require_room(tx, "projects", projects.count(tx) + 1)
        now = now_us()
        project = Project(
            id=new_id(),
            name=name,
            title=values.get("title", ""),
            description=values.get("description", ""),
            user_auto_join=values.get("user_auto_join", False),
            created_us=now,
            updated_us=now,
        )
        projects.insert(tx, project)
        holders = _holders(tx, user_ids or [actor.user_id])
        for user in holders:
            _grant(tx, user, project, access.ALL_FINE_GRAINED_PROJECT_PERMISSIONS)
        caller = accounts.find(tx, actor.user_id)
        if caller is not None and not access.may_see(caller.actor, project.id):
            # Clients wait until the project is listed; so whoever makes one for others sees it.
            _grant(tx, caller, project, access.DEFAULT_PROJECT_PERMISSIONS)
        users = tuple(user.ref for user in holders)
        _record(tx, actor, "create_project", project.ref, users)
    return project


def update_project(db: Database, *, actor: Actor, name: str, values: dict[str, Any]) -> Project:
    """Set the given fields of a project; an empty change is none. Raises NotFound."""
    with db.write() as tx:
        before = projects.get(tx, name)
        changes = {key: value for key, value in values.items() if getattr(before, key) != value}
        if not changes:
            return before
        changes["updated_us"] = max(now_us(), before.updated_us + 1)
        projects.update(tx, before.id, changes)
        project = projects.get(tx, name)
        _record(tx, actor, "update_project", project.ref)
    return project


def delete_project(db: Database, *, actor: Actor, name: str, force: bool) -> None:
    """Delete a project; with `force` everything that is in it goes, too.

    All is gone at once, but for the comments of its sources and the e-mails of its buckets, which
    follow in the background.
    Raises NotFound, and Conflict if it holds something and `force` is not set.
    """
    with db.write() as tx:
        project = projects.get(tx, name)
        children = projects.count_resources(tx, project.id).children
        if children and not force:
            # Clients match this text, down to the space after the colon.
            raise Conflict(
                "Project contains child resources but force deletion was not requested: "
                f"{json.dumps(children)}"
            )
        here = frozenset({project.id})
        gone_datasets = datasets.list_datasets(tx, projects=here)
        gone_sources = sources.list_sources(tx, projects=here)
        for dataset in gone_datasets:
            datasets.remove_dataset(tx, dataset.id)
        for source in gone_sources:
            remove_source(tx, source)
        integrations.delete_in_project(tx, project.id)
        for bucket in buckets.list_buckets(tx, projects=here):
            remove_bucket(tx, bucket)
        projects.delete(tx, project.id)
        refs = Refs(
            projects=(project.ref,),
            sources=tuple(one.ref for one in gone_sources),
            datasets=tuple(one.ref for one in gone_datasets),
        )
        audit.record(tx, actor_id=actor.user_id, event_type="delete_project", refs=refs)


def _holders(tx: Writer, user_ids: Sequence[str]) -> list[User]:
    holders = []
    for user_id in dict.fromkeys(user_ids):
        user = accounts.find(tx, user_id)
        if user is None:
            raise Unprocessable(f"No such user: {user_id}")
        holders.append(user)
    return holders


def _grant(tx: Writer, user: User, project: Project, permissions: tuple[str, ...]) -> None:
    accounts.set_grant(tx, user.id, project.id, permissions)


def _record(
    tx: Writer,
    actor: Actor,
    event_type: str,
    project: ProjectRef,
    users: tuple[UserRef, ...] = (),
) -> None:
    refs = Refs(projects=(project,), users=users)
    audit.record(tx, actor_id=actor.user_id, event_type=event_type, refs=refs)
