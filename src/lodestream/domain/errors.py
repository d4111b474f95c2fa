"""The tree of expected refusals.

    LodestreamError
    ├── InvalidInput        the request breaks a rule that a schema can state
    ├── Unprocessable       the request is well formed, but a value in it is unusable
    ├── Unauthenticated     no token, or one that is unknown or revoked
    ├── PermissionMissing   the token is good, the permission is not there
    ├── NotFound            the thing does not exist, or the caller may not see it
    ├── Conflict            the name is taken, or the state forbids the change
    ├── QuotaExceeded       the change would pass a hard limit
    ├── TooLarge            the body is over the size limit
    ├── Busy                too many requests; try again after `retry_after_s`
    └── Unavailable         the database cannot be reached or is not migrated

An error carries its facts as attributes and a message that a user can act on. Nothing here knows
HTTP: `lodestream.api.errors` maps classes to status codes in one table.
"""

from __future__ import annotations


class LodestreamError(Exception):
    """Any refusal that is not a bug."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(LodestreamError):
    """The request breaks a rule that a schema can state: shape, type, bound, pattern, enum."""


class Unprocessable(LodestreamError):
    """A well-formed value fails a look-up or a rule."""


class Unauthenticated(LodestreamError):
    """No token, or one that is malformed, unknown or revoked."""


class PermissionMissing(LodestreamError):
    """The caller may see the thing but not do this to it."""

    def __init__(self, needed: str) -> None:
        super().__init__(f"Permission missing: {needed}")
        self.needed = needed


class NotFound(LodestreamError):
    """The thing does not exist or is invisible to the caller."""

    def __init__(self, message: str = "404 Not Found") -> None:
        super().__init__(message)


class Conflict(LodestreamError):
    """The name is taken, or the present state forbids the change. Free of side effects."""


class QuotaExceeded(LodestreamError):
    """Creating this would pass the hard limit of a quota."""

    def __init__(self, kind: str, *, limit: int, usage: int) -> None:
        super().__init__(f"Quota exceeded: {kind} is limited to {limit}, {usage} would be in use")
        self.kind = kind
        self.limit = limit
        self.usage = usage


class TooLarge(LodestreamError):
    """The body is over the size limit."""


class Busy(LodestreamError):
    """Too many requests; the caller may try again after `retry_after_s` seconds."""

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(LodestreamError):
    """The database cannot be reached, is locked for too long, or is not migrated."""
