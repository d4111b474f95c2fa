"""The one total order: positions, and the sequence ids that name them on the wire.

A *position* is one integer for each stored comment: the instant it was first stored, in
microseconds, shifted left by `TIE_BITS`, plus a tie. It is handed out under a lock that is held
until commit and never goes back, even if the clock does; so the order of positions is the order in
which comments became visible, and `created_at` is read off the position.

A *sequence id* is base64 of 24 bytes: 8 bytes little-endian milliseconds, 8 bytes big-endian
position, 8 bytes of the source id. Compared as (milliseconds, bytes) ids stand in the same order as
positions. A position made by a reset names an instant, not a comment: when it is a whole
millisecond its last 16 bytes are zero. (Contract: streams, section 3.)
"""

from __future__ import annotations

import struct
from base64 import b64decode
from binascii import b2a_base64
from typing import Final

TIE_BITS: Final = 11
TIES_PER_US: Final = 1 << TIE_BITS
MAX_POSITION: Final = (1 << 63) - 1
_PACK = struct.Struct("<Q").pack
_PACK_KEY = struct.Struct(">QQ").pack
_UNPACK = struct.Struct("<Q").unpack_from
_UNPACK_KEY = struct.Struct(">QQ").unpack_from


def first_position(last: int, now_us: int) -> int:
    """Return the first position for a batch stored now, after every position up to `last`."""
    return max(last + 1, now_us << TIE_BITS)


def created_us(position: int) -> int:
    """Return the instant at which the comment at `position` was first stored, in microseconds."""
    return position >> TIE_BITS


def position_before(instant_us: int) -> int:
    """Return the position before every comment stored at or after `instant_us`."""
    return min(max((instant_us << TIE_BITS) - 1, 0), MAX_POSITION)


def sequence_id(position: int, source_number: int = 0) -> str:
    """Write `position` as the 32 characters that clients see.

    `source_number` is the source id as an integer; 0 where the place is not that of a comment.
    """
    if source_number == 0:
        after_us = (position + 1) >> TIE_BITS
        if (after_us << TIE_BITS) == position + 1 and after_us % 1000 == 0:
            raw = _PACK(after_us // 1000) + bytes(16)
            return b2a_base64(raw, newline=False).decode("ascii")
    return comment_sequence_id(position, source_number).decode("ascii")


def comment_sequence_id(position: int, source_number: int) -> bytes:
    """Write the position of a comment as `sequence_id` does, for all of a batch."""
    raw = _PACK((position >> TIE_BITS) // 1000) + _PACK_KEY(position, source_number)
    return b2a_base64(raw, newline=False)


def parse_sequence_id(text: str) -> int:
    """Read a sequence id as a position. An id that we did not issue is a place in time.

    Raises ValueError if `text` is not base64 of 24 bytes.
    """
    if len(text) != 32:
        raise ValueError("a sequence id has 32 characters")
    raw = b64decode(text, validate=True)
    if len(raw) != 24:
        raise ValueError("a sequence id has 24 bytes")
    millis: int = _UNPACK(raw)[0]
    position: int = _UNPACK_KEY(raw, 8)[0]
    if position and (position >> TIE_BITS) // 1000 == millis and position <= MAX_POSITION:
        return position
    # All-zero key, or a key that another server made: the place just before that millisecond.
    return position_before(millis * 1000)
