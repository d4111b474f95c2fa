"""Ids and names: patterns, parsing, generation (contract: conventions, section 7)."""

from __future__ import annotations

import re
import secrets
from typing import Final

# Python's `$` also matches before a newline at the end; `(?!\n)` takes that back, and means nothing
# to the readers of the OpenAPI document, whose `$` is the end.
HEX16: Final = r"^[0-9a-f]{16}$(?!\n)"
PROJECT_NAME: Final = r"^[A-Za-z0-9\-_.]{1,1024}$(?!\n)"
RESOURCE_NAME: Final = r"^[A-Za-z0-9\-_]{1,256}$(?!\n)"
COMMENT_ID: Final = r"^[\w\x21-\x2e\x3a-\x40\x5b-\x60\x7b-\x7e]{1,1024}$(?!\n)"

_HEX16_RE = re.compile(r"[0-9a-f]{16}")
_PROJECT_RE = re.compile(r"[A-Za-z0-9\-_.]{1,1024}")
_RESOURCE_RE = re.compile(r"[A-Za-z0-9\-_]{1,256}")
_COMMENT_RE = re.compile(r"[\w\x21-\x2e\x3a-\x40\x5b-\x60\x7b-\x7e]{1,1024}")


def new_id() -> str:
    """Return a random id of 16 lower-case hex digits (source, dataset, project, user, ...)."""
    return secrets.token_hex(8)


def new_stream_id() -> str:
    """Return a random stream id of 32 lower-case hex digits."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    """Tell whether `text` is an id of 16 lower-case hex digits."""
    return _HEX16_RE.fullmatch(text) is not None


def is_project_name(text: str) -> bool:
    """Tell whether `text` may name a project."""
    return _PROJECT_RE.fullmatch(text) is not None


def is_resource_name(text: str) -> bool:
    """Tell whether `text` may name a source, dataset, bucket or stream."""
    return _RESOURCE_RE.fullmatch(text) is not None


def is_comment_id(text: str) -> bool:
    """Tell whether `text` may be a comment id: word characters and ASCII punctuation but `/`."""
    return _COMMENT_RE.fullmatch(text) is not None


def split_uid(uid: str) -> tuple[str, str] | None:
    """Split a comment uid into source id and comment id, at the first dot; None if malformed."""
    source_id, dot, comment_id = uid.partition(".")
    if not dot or not is_id(source_id) or not is_comment_id(comment_id):
        return None
    return source_id, comment_id
