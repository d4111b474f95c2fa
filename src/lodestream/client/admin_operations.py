"""The operations on projects, quotas and tokens, each as a call that is ready to be made."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from lodestream.client.calls import Call, call, inside, nothing, part, query, whole
from lodestream.client.shapes import Project, Quota, Token

_PRIVATE: Final = "/api/_private"
_OURS: Final = "/api/lodestream/v1"


class NewToken(Struct, kw_only=True):
    """A new token, and its secret for the only time."""

    token: Token
    secret: str


_project: Final = inside("project", Project)
_projects: Final = inside("projects", list[Project])
_quotas: Final = inside("quotas", list[Quota])
_tokens: Final = inside("tokens", list[Token])
_new_token: Final = whole(NewToken)


def whole_projects() -> Call[list[Project]]:
    """All projects that the user sees, with their settings."""
    return call("GET", f"{_PRIVATE}/projects", decode=_projects)


def project(name: str) -> Call[Project]:
    """One project."""
    return call("GET", _project_path(name), decode=_project)


def update_project(name: str, **fields: object) -> Call[Project]:
    """Some settings of a project."""
    body = {"project": fields}
    return call("POST", _project_path(name), body, decode=_project, idempotent=True)


def delete_project(name: str, *, force: bool) -> Call[None]:
    """A project to be deleted, with `force` and all that is in it."""
    path = _project_path(name) + (query(force=True) if force else "")
    return call("DELETE", path, decode=nothing, gone_is_done=True)


def quotas() -> Call[list[Quota]]:
    """The quotas, with what is in use."""
    return call("GET", f"{_PRIVATE}/quotas", decode=_quotas)


def set_quota(
    kind: str, hard_limit: int, *, tenant_id: str, auto_increase_up_to: int | None
) -> Call[None]:
    """Another limit of a tenant."""
    body: dict[str, object] = {"hard_limit": hard_limit}
    if auto_increase_up_to is not None:
        body["auto_increase_up_to"] = auto_increase_up_to
    path = f"{_PRIVATE}/quotas/{part(tenant_id)}/{part(kind)}"
    return call("POST", path, body, decode=nothing, idempotent=True)


def tokens(user_id: str) -> Call[list[Token]]:
    """The tokens of a user; only Lodestream itself has several."""
    return call("GET", f"{_OURS}/users/{part(user_id)}/tokens", decode=_tokens)


def create_token(user_id: str, label: str) -> Call[NewToken]:
    """A new token of a user; only Lodestream itself has several."""
    path = f"{_OURS}/users/{part(user_id)}/tokens"
    return call("POST", path, {"label": label}, decode=_new_token)


def delete_token(token_id: str) -> Call[None]:
    """A token to be revoked."""
    path = f"{_OURS}/tokens/{part(token_id)}"
    return call("DELETE", path, decode=nothing, gone_is_done=True)


def _project_path(name: str) -> str:
    return f"{_PRIVATE}/projects/{part(name)}"
