"""What makes a fresh instance usable: its first administrator."""

from __future__ import annotations

import logging
from typing import Final

from lodestream.actions.tokens import add_token
from lodestream.domain import access
from lodestream.domain.audit import ProjectRef, Refs
from lodestream.domain.errors import InvalidInput
from lodestream.domain.ids import new_id
from lodestream.domain.times import now_us
from lodestream.domain.users import (
    SYSTEM_USER,
    ProjectGrant,
    User,
    is_secret,
    new_secret,
    secret_digest,
)
from lodestream.store import accounts, audit, projects, tokens
from lodestream.store.db import Database, Reader, Writer

ADMIN_NAME: Final = "admin"
FIRST_PROJECT: Final = "DefaultProject"
_LABEL: Final = "first administrator"

log = logging.getLogger("lodestream.setup")


def ensure_first_admin(db: Database, token: str | None) -> str | None:
    """Make the user `admin` if there is no user yet; return the token's secret if it was made.

    `token` is the one that the operator set, None or empty if there is none: then one is made up.
    If users exist, a `token` that nobody has becomes one more of `admin`, and None is returned. So
    it does no harm to call this at every start, from several processes at once.

    Raises InvalidInput if `token` has characters that cannot be sent as a token.
    """
    if token and not is_secret(token):
        raise InvalidInput("the administrator's token: printable ASCII without spaces expected")
    # A look before the write: nearly always there is nothing to do.
    with db.read() as tx:
        if accounts.count(tx) and (not token or tokens.is_known(tx, secret_digest(token))):
            return None
    with db.write() as tx:
        if accounts.count(tx) == 0:
            secret = token or new_secret()
            admin = _create_admin(tx)
            add_token(tx, actor_id=SYSTEM_USER, user=admin, label=_LABEL, secret=secret)
            return secret
        if token and not tokens.is_known(tx, secret_digest(token)):
            _add_given(tx, token)
    return None


def _create_admin(tx: Writer) -> User:
    admin = User(
        id=new_id(),
        username=ADMIN_NAME,
        email=f"{ADMIN_NAME}@lodestream.invalid",
        global_permissions=(access.ROOT, access.TENANT_ADMIN),
        grants=_all_in_first_project(tx),
        created_us=now_us(),
    )
    accounts.insert(tx, admin)
    refs = Refs(
        users=(admin.ref,),
        projects=tuple(ProjectRef(one.project_id, one.project) for one in admin.grants),
    )
    audit.record(tx, actor_id=SYSTEM_USER, event_type="create_user", refs=refs)
    return admin


def _all_in_first_project(tx: Reader) -> tuple[ProjectGrant, ...]:
    project = projects.find(tx, FIRST_PROJECT)
    if project is None:
        return ()
    permissions = access.ALL_FINE_GRAINED_PROJECT_PERMISSIONS
    return (ProjectGrant(project.id, project.name, permissions),)


def _add_given(tx: Writer, token: str) -> None:
    admin = accounts.find_by_name(tx, ADMIN_NAME)
    if admin is None:
        log.warning("an administrator's token is set, but the user %s was deleted", ADMIN_NAME)
        return
    add_token(tx, actor_id=SYSTEM_USER, user=admin, label=_LABEL, secret=token)
