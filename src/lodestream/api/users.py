"""Users and permissions over HTTP."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.actions import users as actions
from lodestream.actions.users import Granted
from lodestream.api.calls import Call
from lodestream.domain import access
from lodestream.domain.access import Actor
from lodestream.domain.errors import PermissionMissing
from lodestream.domain.times import format_us
from lodestream.domain.users import User
from lodestream.store import accounts as store
from lodestream.store import projects
from lodestream.store.db import Reader

Permissions = list[str]

log = logging.getLogger("lodestream.api")


class Nothing(Struct, forbid_unknown_fields=True):
    """An empty object."""


class NewUser(Struct, forbid_unknown_fields=True):
    """Who a new user is, and what is granted."""

    username: Annotated[str, Meta(max_length=256)]
    email: Annotated[str, Meta(max_length=512)]
    organisation_permissions: dict[str, Permissions] = {}
    global_permissions: Permissions | None = None


class CreateUserRequest(Struct, forbid_unknown_fields=True):
    """The body of create."""

    user: NewUser


class UserChange(Struct, forbid_unknown_fields=True):
    """What is granted from now on; null and absent mean unchanged."""

    organisation_permissions: dict[str, Permissions] | None = None
    global_permissions: Permissions | None = None


class UpdateUserRequest(Struct, forbid_unknown_fields=True):
    """The body of update."""

    user: UserChange


class SupportTenantRequest(Struct, forbid_unknown_fields=True):
    """A vendor's member of staff and a tenant to support."""

    email: str
    user_tenant: str


class PermissionsRequest(Struct, forbid_unknown_fields=True):
    """Permissions held globally and in one project."""

    global_permissions: Permissions = []
    organisation_permissions: Permissions = []


class UserWire(Struct):
    """A user as clients see it. `license` and its check are only in what callers see of
    themselves."""

    id: str
    username: str
    email: str
    created: str
    verified: bool
    organisation_permissions: dict[str, Permissions]
    derived_organisation_permissions: dict[str, Permissions]
    global_permissions: Permissions
    sso_global_permissions: Permissions
    derived_user_global_permissions: Permissions
    derived_global_permissions: Permissions
    last_login_at: str | None
    is_support_user: bool
    license: str | UnsetType = UNSET
    license_check: str | UnsetType = UNSET


class ListedUser(Struct):
    """A user as the public listing shows it."""

    email: str
    last_login_at: str | None
    username: str


class UserReply(Struct):
    """One user."""

    user: UserWire
    status: str = "ok"


class UsersReply(Struct):
    """Every user, by username."""

    users: list[UserWire]
    status: str = "ok"


class ListedUsersReply(Struct):
    """Every user, by username."""

    users: list[ListedUser]
    status: str = "ok"


class RefreshReply(Struct):
    """Whether permissions are up to date: always, because every request reads them anew."""

    permissions_refreshed: bool = True
    status: str = "ok"


class PermissionsReply(Struct):
    """Permissions held globally, in the project, and both."""

    global_permissions: Permissions
    organisation_permissions: Permissions
    permissions: Permissions
    status: str = "ok"


def get_current_user(call: Call[None]) -> UserReply:
    """Return the caller."""
    with call.service.db.read() as tx:
        user = _wire(tx, store.get(tx, call.actor.user_id), call.actor)
    user.license, user.license_check = "V2", "Succeeded"
    return UserReply(user)


def refresh_permissions(_call: Call[Nothing]) -> RefreshReply:
    """Confirm that the caller's permissions are up to date."""
    return RefreshReply()


def list_users_v1(call: Call[None]) -> ListedUsersReply:
    """List every user's name and address."""
    _require_reader(call.actor)
    with call.service.db.read() as tx:
        found = store.list_users(tx)
    return ListedUsersReply([ListedUser(u.email, _login(u), u.username) for u in found])


def list_users(call: Call[None]) -> UsersReply:
    """List every user, with the grants in the projects that the caller sees."""
    _require_reader(call.actor)
    with call.service.db.read() as tx:
        return UsersReply([_wire(tx, user, call.actor) for user in store.list_users(tx)])


def get_user(call: Call[None]) -> UserReply:
    """Return one user; everyone may read oneself."""
    user_id = call.value("user_id")
    if user_id != call.actor.user_id:
        _require_reader(call.actor)
    with call.service.db.read() as tx:
        return UserReply(_wire(tx, store.get(tx, user_id), call.actor))


def create_user(call: Call[CreateUserRequest]) -> UserReply:
    """Create a user."""
    new = call.body.user
    user = actions.create_user(
        call.service.db,
        actor=call.actor,
        username=new.username,
        email=new.email,
        global_permissions=access.parse_global_permissions(new.global_permissions or ()),
        in_projects=_granted(new.organisation_permissions),
    )
    return _reply(call, user)


def update_user(call: Call[UpdateUserRequest]) -> UserReply:
    """Change what a user was granted."""
    change = call.body.user
    globally = change.global_permissions
    in_projects = change.organisation_permissions
    user = actions.update_user(
        call.service.db,
        actor=call.actor,
        user_id=call.value("user_id"),
        global_permissions=(
            None if globally is None else access.parse_global_permissions(globally)
        ),
        in_projects=None if in_projects is None else _granted(in_projects),
    )
    return _reply(call, user)


def delete_user(call: Call[None]) -> None:
    """Delete a user."""
    actions.delete_user(call.service.db, actor=call.actor, user_id=call.value("user_id"))


def send_welcome_email(call: Call[Nothing]) -> None:
    """Accept the wish to greet a user; this server sends no e-mail."""
    if not access.has_global(call.actor, (access.TENANT_ADMIN,)) and not access.holds_somewhere(
        call.actor, (access.USERS_WRITE,)
    ):
        raise PermissionMissing(f"{access.TENANT_ADMIN} or {access.USERS_WRITE}")
    with call.service.db.read() as tx:
        user = store.get(tx, call.value("user_id"))
    log.info("no welcome e-mail is sent: this server sends no e-mail", extra={"user_id": user.id})


def refuse_support_tenant(_call: Call[SupportTenantRequest]) -> None:
    """Refuse: a self-hosted server has no staff of a vendor that supports tenants."""
    raise PermissionMissing("support staff of a vendor, which a self-hosted server does not have")


def derive_permissions(call: Call[PermissionsRequest]) -> PermissionsReply:
    """Return the permissions with all that they imply."""
    in_project, globally = _parsed(call.body)
    return _permissions(
        sorted(access.derive_global(globally)), sorted(access.derive_project(in_project))
    )


def reduce_permissions(call: Call[PermissionsRequest]) -> PermissionsReply:
    """Return the fewest permissions that imply the same."""
    in_project, globally = _parsed(call.body)
    return _permissions(
        list(access.reduce_global(globally)), list(access.reduce_project(in_project))
    )


def _parsed(body: PermissionsRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (
        access.parse_project_permissions(body.organisation_permissions),
        access.parse_global_permissions(body.global_permissions),
    )


def _permissions(globally: Permissions, in_project: Permissions) -> PermissionsReply:
    return PermissionsReply(globally, in_project, [*globally, *in_project])


def _require_reader(actor: Actor) -> None:
    if not access.has_global(actor, (access.TENANT_USERS_READ,)) and not access.holds_somewhere(
        actor, (access.USERS_READ,)
    ):
        raise PermissionMissing(f"{access.TENANT_USERS_READ} or {access.USERS_READ}")


def _granted(in_projects: dict[str, Permissions]) -> Granted:
    return {
        name: access.parse_project_permissions(permissions)
        for name, permissions in in_projects.items()
    }


def _reply(call: Call[Any], user: User) -> UserReply:
    with call.service.db.read() as tx:
        return UserReply(_wire(tx, user, call.actor))


def _wire(tx: Reader, user: User, caller: Actor) -> UserWire:
    """Return a user as a caller sees it: of others only the grants in projects he sees."""
    seen = None if user.id == caller.user_id else access.visible_projects(caller)
    grants = [one for one in user.grants if seen is None or one.project_id in seen]
    derived = {one.project: sorted(access.derive_project(one.permissions)) for one in grants}
    globally = sorted(access.derive_global(user.global_permissions))
    if access.ROOT in globally:
        everything = sorted(access.PROJECT_PERMISSIONS)
        for name, project_id in sorted(projects.ids_by_name(tx).items()):
            if seen is None or project_id in seen:
                derived[name] = everything
    return UserWire(
        id=user.id,
        username=user.username,
        email=user.email,
        created=format_us(user.created_us),
        verified=True,
        organisation_permissions={one.project: list(one.permissions) for one in grants},
        derived_organisation_permissions=derived,
        global_permissions=list(user.global_permissions),
        sso_global_permissions=[],
        derived_user_global_permissions=globally,
        derived_global_permissions=globally,
        last_login_at=_login(user),
        is_support_user=False,
    )


def _login(user: User) -> str | None:
    return None if user.last_login_us is None else format_us(user.last_login_us)
