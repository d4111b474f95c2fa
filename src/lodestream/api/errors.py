"""From an error class to its status code, in one table; the envelope is always the same."""

from __future__ import annotations

from typing import Final

import msgspec

from lodestream.api.http import Reply
from lodestream.domain import errors

STATUS: Final[dict[type[errors.LodestreamError], int]] = {
    errors.InvalidInput: 400,
    errors.QuotaExceeded: 400,  # not 409 or 429: clients would retry those in vain
    errors.Unauthenticated: 401,
    errors.PermissionMissing: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.Unprocessable: 422,
    errors.Busy: 429,
    errors.Unavailable: 503,
}


_LONGEST_MESSAGE: Final = 1000


def reply_for(error: errors.LodestreamError) -> Reply:
    """Return the reply that an expected refusal gets."""
    reply = error_reply(STATUS[type(error)], error.message)
    if isinstance(error, errors.Busy):
        reply.headers.append((b"retry-after", str(error.retry_after_s).encode()))
    return reply


def error_reply(status: int, message: str) -> Reply:
    """Return the error envelope."""
    # A lone surrogate can come in by a path or a header; it has no place in UTF-8. What is quoted
    # from a request may be as long as the caller likes.
    text = message[:_LONGEST_MESSAGE].encode("utf-8", "replace").decode()
    return Reply(msgspec.json.encode({"status": "error", "message": text}), status=status)
