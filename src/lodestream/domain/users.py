"""Users and tokens: who they are, what was granted, what makes a good name or secret."""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from typing import Final

from msgspec import Struct

from lodestream.domain.access import ROOT, Actor, make_actor
from lodestream.domain.audit import UserRef

SYSTEM_USER: Final = "0000000000000000"
"""Id of the account that background work and the command line act as; no user of the API."""

MOST_TOKENS: Final = 1000
"""How many tokens one user may have."""

_USERNAME_RE = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
# The vendor's rule for addresses that come in (contract: admin, 1.6).
_LOCAL = r"[A-Za-z0-9_!#$%&'*+\-/=?^{}~;`][A-Za-z0-9_!#$%&'*+\-/=?^{}~;`.]{0,255}"
_EMAIL_RE = re.compile(_LOCAL + r"@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+")
_MOST_EMAIL_LETTERS = 512
_SECRET_RE = re.compile(r"[\x21-\x7e]{1,1024}")


class ProjectGrant(Struct, frozen=True):
    """What a user was granted in one project."""

    project_id: str
    project: str
    permissions: tuple[str, ...]


class User(Struct, frozen=True):
    """A user with everything that was granted; `grants` are in the order of project names."""

    id: str
    username: str
    email: str
    global_permissions: tuple[str, ...]
    grants: tuple[ProjectGrant, ...]
    created_us: int
    last_login_us: int | None = None

    @property
    def ref(self) -> UserRef:
        """What the audit log keeps of the user."""
        return UserRef(self.id, self.username, self.email)

    @property
    def granted_in_projects(self) -> dict[str, tuple[str, ...]]:
        """What was granted in projects, by project id."""
        return {one.project_id: one.permissions for one in self.grants}

    @property
    def actor(self) -> Actor:
        """The user in the act of doing something."""
        return make_actor(
            user_id=self.id,
            username=self.username,
            granted_globally=self.global_permissions,
            granted_in_projects=self.granted_in_projects,
        )


class Token(Struct, frozen=True):
    """A token, without its secret: that is known only to whom it was given."""

    id: str
    user_id: str
    label: str
    created_us: int


OPERATOR: Final[Actor] = make_actor(
    user_id=SYSTEM_USER,
    username="system",
    granted_globally=(ROOT,),
    granted_in_projects={},
)
"""Whoever runs commands on the server's own machine: may do everything."""


def is_username(text: str) -> bool:
    """Tell whether `text` may be a username: 1 to 256 characters, none of control, not blank."""
    return _USERNAME_RE.fullmatch(text) is not None and not text.isspace()


def is_email(text: str) -> bool:
    """Tell whether `text` may be a user's e-mail address."""
    return len(text) <= _MOST_EMAIL_LETTERS and _EMAIL_RE.fullmatch(text) is not None


def new_secret() -> str:
    """Return a new token: `ls_` and 32 random bytes. The prefix lets scanners find leaked ones."""
    return "ls_" + secrets.token_urlsafe(32)


def is_secret(text: str) -> bool:
    """Tell whether `text` can be sent as a token: printable ASCII without spaces."""
    return _SECRET_RE.fullmatch(text) is not None


def secret_digest(secret: str) -> bytes:
    """Return what is stored of a token. A fast hash will do: tokens are random, not chosen."""
    return sha256(secret.encode()).digest()
