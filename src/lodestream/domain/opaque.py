"""JSON that is passed on without being read."""

from __future__ import annotations

import msgspec
from msgspec import Raw


def check_opaque(raw: Raw, *, where: str) -> None:
    """Check that every client will be able to read what is passed on.

    A decoder takes a member that is not looked into as it comes, also when its text is no UTF-8 or
    its numbers are beyond any range.

    Raises ValueError with `where` before the message.
    """
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: {error}") from None
