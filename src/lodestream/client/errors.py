"""What can go wrong with a call.

ClientError
├── Unreachable       no answer came: `maybe_done` tells whether the server may have acted
├── BadAnswer         something answered, but not as this API does
└── Refused           the server said no: `status`, `message`
    ├── BadRequest        400
    ├── Unauthorized      401
    ├── Forbidden         403
    ├── NotFound          404
    ├── Conflict          409
    ├── TooLarge          413
    ├── Unusable          422
    ├── TooManyRequests   429
    └── ServerFault       500 and above
"""

from __future__ import annotations

from typing import Final


class ClientError(Exception):
    """Any failure of a call."""


class Unreachable(ClientError):
    """No answer came. With `maybe_done` the request had left, so that it may have been obeyed."""

    def __init__(self, message: str, *, maybe_done: bool) -> None:
        super().__init__(message)
        self.maybe_done = maybe_done


class BadAnswer(ClientError):
    """Something answered, but not as this API does: a wrong URL, a proxy, a redirect."""


class Refused(ClientError):
    """The server refused. `retry_after_s` is what it asked to wait, `tries` how often it was
    asked."""

    def __init__(
        self, status: int, message: str, *, retry_after_s: float | None = None, tries: int = 1
    ) -> None:
        super().__init__(f"{message} (HTTP {status})")
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s
        self.tries = tries


class BadRequest(Refused):
    """400: the request has a wrong shape."""


class Unauthorized(Refused):
    """401: no token, or one that is not valid."""


class Forbidden(Refused):
    """403: the token's user lacks a permission."""


class NotFound(Refused):
    """404: it does not exist, or this user must not know of it."""


class Conflict(Refused):
    """409: the name is taken, or something stands in the way."""


class TooLarge(Refused):
    """413: the body is larger than the server takes."""


class Unusable(Refused):
    """422: well formed, but naming something that cannot be used."""


class TooManyRequests(Refused):
    """429: too many requests."""


class ServerFault(Refused):
    """500 and above: the server failed, or is not ready."""


_BY_STATUS: Final[dict[int, type[Refused]]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Unusable,
    429: TooManyRequests,
}


def refusal(status: int, message: str, *, retry_after_s: float | None, tries: int) -> Refused:
    """Return the error for a status of 400 or more."""
    kind = ServerFault if status >= 500 else _BY_STATUS.get(status, Refused)
    return kind(status, message, retry_after_s=retry_after_s, tries=tries)
