"""Users: create, change what they were granted, delete.

Who may grant what is decided here and not in the handler, because it depends on what is stored
when the change is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from lodestream.domain import access
from lodestream.domain.access import Actor
from lodestream.domain.audit import ProjectRef, Refs
from lodestream.domain.errors import Conflict, InvalidInput, NotFound
from lodestream.domain.ids import new_id
from lodestream.domain.times import now_us
from lodestream.domain.users import ProjectGrant, User, is_email, is_username
from lodestream.store import accounts, audit, projects, quotas
from lodestream.store.db import Database, Writer

Granted = Mapping[str, tuple[str, ...]]
"""Permissions by project name."""

_LAST_HOLDER_KEEPS = (access.ROOT, access.TENANT_ADMIN)


def create_user(
    db: Database,
    *,
    actor: Actor,
    username: str,
    email: str,
    global_permissions: tuple[str, ...] = (),
    in_projects: Granted | None = None,
) -> User:
    """Create a user with these permissions, who also joins the projects that all users join.

    Raises InvalidInput for a bad name or address, Conflict if one of them is taken, NotFound for
    an unknown project, PermissionMissing by the rule for granting, QuotaExceeded.
    """
    in_projects = in_projects or {}
    with db.write() as tx:
        ids = projects.ids_by_name(tx)
        _require_known(ids, in_projects)
        by_id = {ids[name]: names for name, names in in_projects.items()}
        _require_manager(actor, {ids[name]: name for name in in_projects})
        access.require_grantable(actor, in_projects=by_id, globally=global_permissions)
        _require_free(tx, username, email)
        quotas.require_room(tx, "users", accounts.count(tx) + 1)
        names = {project_id: name for name, project_id in ids.items()}
        for project in projects.list_joined_automatically(tx):
            listed = by_id.get(project.id, ())
            by_id[project.id] = tuple(dict.fromkeys((*listed, *access.DEFAULT_PROJECT_PERMISSIONS)))
        user = User(
            id=new_id(),
            username=username,
            email=email,
            global_permissions=global_permissions,
            grants=tuple(
                ProjectGrant(project_id, names[project_id], granted)
                for project_id, granted in sorted(by_id.items(), key=lambda one: names[one[0]])
                if granted
            ),
            created_us=now_us(),
        )
        accounts.insert(tx, user)
        _record(
            tx, actor, "create_user", user, {one.project_id: one.project for one in user.grants}
        )
    return user


def update_user(
    db: Database,
    *,
    actor: Actor,
    user_id: str,
    global_permissions: tuple[str, ...] | None = None,
    in_projects: Granted | None = None,
) -> User:
    """Set what a user was granted; None, and a project that is not named, mean unchanged.

    In each project named the list becomes exactly the one given. Raises NotFound for an unknown
    user, or for a project that is gone unless its list is empty; PermissionMissing by the rule for
    granting, which for global permissions also holds for taking away; InvalidInput if the last
    holder of `tenant-admin` or `root` would lose it.
    """
    with db.write() as tx:
        ids = projects.ids_by_name(tx)
        # Exported users are replayed later: a project that is gone and grants nothing is no fault.
        named = {
            name: granted for name, granted in (in_projects or {}).items() if granted or name in ids
        }
        _require_known(ids, named)
        _require_manager(actor, {ids[name]: name for name in named})
        before = accounts.get(tx, user_id)
        held = before.granted_in_projects
        changed = {
            ids[name]: granted
            for name, granted in named.items()
            if set(granted) != set(held.get(ids[name], ()))
        }
        added = {
            project_id: _without(granted, held.get(project_id, ()))
            for project_id, granted in changed.items()
        }
        access.require_grantable(actor, in_projects=added)
        for project_id, granted in changed.items():
            accounts.set_grant(tx, user_id, project_id, granted)
        globally_changed = global_permissions is not None and set(global_permissions) != set(
            before.global_permissions
        )
        if global_permissions is not None and globally_changed:
            _set_globally(tx, actor, before, global_permissions)
        if not changed and not globally_changed:
            return before
        user = accounts.get(tx, user_id)
        names = {ids[name]: name for name in named}
        _record(tx, actor, "update_user", user, {one: names[one] for one in changed})
    return user


def delete_user(db: Database, *, actor: Actor, user_id: str) -> None:
    """Delete a user: the tokens stop at once, the audit log keeps the names.

    Raises NotFound; InvalidInput for oneself and for the last holder of `tenant-admin` or `root`;
    PermissionMissing for a user with global permissions that the actor may not grant.
    """
    with db.write() as tx:
        user = accounts.get(tx, user_id)
        if user_id == actor.user_id:
            raise InvalidInput("users cannot delete themselves")
        access.require_grantable(actor, globally=user.global_permissions)
        _require_other_holders(tx, user, keeps=frozenset())
        accounts.delete(tx, user_id)
        _record(
            tx, actor, "delete_user", user, {one.project_id: one.project for one in user.grants}
        )


def _require_free(tx: Writer, username: str, email: str) -> None:
    if not is_username(username):
        raise InvalidInput(f"username {username[:256]!r}: 1 to 256 printable characters expected")
    if not is_email(email):
        raise InvalidInput(f"email {email[:512]!r} is not an e-mail address")
    if accounts.is_name_taken(tx, username):
        raise Conflict(f"a user named {username} exists")
    if accounts.is_email_taken(tx, email):
        raise Conflict(f"a user with the e-mail address {email} exists")


def _set_globally(tx: Writer, actor: Actor, user: User, granted: tuple[str, ...]) -> None:
    # Whoever cannot give a permission cannot take it away either: else a manager of users could
    # disarm those above.
    difference = set(granted).symmetric_difference(user.global_permissions)
    access.require_grantable(actor, globally=difference)
    _require_other_holders(tx, user, keeps=access.derive_global(granted))
    accounts.set_global_permissions(tx, user.id, granted)


def _require_other_holders(tx: Writer, user: User, *, keeps: Set[str]) -> None:
    for permission in _LAST_HOLDER_KEEPS:
        loses = permission in user.actor.global_permissions and permission not in keeps
        if loses and not accounts.is_held_by_others(tx, user.id, permission):
            raise InvalidInput(f"{user.username} is the last user who holds {permission}")


def _require_known(ids: Mapping[str, str], names: Iterable[str]) -> None:
    for name in names:
        if name not in ids:
            raise NotFound(f"No such project: {name}")


def _require_manager(actor: Actor, named: Mapping[str, str]) -> None:
    """Require the right to change users: everywhere, or in each project named (id to name)."""
    if access.has_global(actor, (access.TENANT_ADMIN,)):
        return
    for project_id, name in named.items():
        missing = f"No such project: {name}"
        access.require(actor, project_id, (access.USERS_WRITE,), not_found=missing)
    if not named:
        access.require_global(actor, (access.TENANT_ADMIN,))


def _without(names: Iterable[str], held: Iterable[str]) -> list[str]:
    known = set(held)
    return [name for name in names if name not in known]


def _record(
    tx: Writer, actor: Actor, event_type: str, user: User, touched: Mapping[str, str]
) -> None:
    """Record a change of a user, and in which projects (id to name) it changed grants."""
    refs = Refs(
        users=(user.ref,),
        projects=tuple(ProjectRef(project_id, name) for project_id, name in touched.items()),
    )
    audit.record(tx, actor_id=actor.user_id, event_type=event_type, refs=refs)
