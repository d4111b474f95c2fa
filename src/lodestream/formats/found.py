"""What readers of files find: comments, e-mails, and what cannot be read, each with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lodestream.domain.comments import CommentNew


@dataclass(frozen=True, slots=True)
class Bad:
    """Something that cannot be imported: where it stands, why, and itself, if it is text."""

    where: str
    reason: str
    content: Any = None
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class FoundComment:
    """A comment, and what people said of it, as the API takes it."""

    where: str
    comment: CommentNew
    annotations: Mapping[str, Any] = field(default_factory=dict)
    content: Any = None  # what it was made of, to be written out if it is refused
    size_bytes: int = 0
    left_out: tuple[str, ...] = ()  # names of what the API does not know


@dataclass(frozen=True, slots=True)
class FoundMail:
    """An e-mail as MIME, and what its mailbox knows of it."""

    where: str
    mime: bytes
    folder: tuple[str, ...] = ()
    mailbox: str = ""
    size_bytes: int = 0  # of the file that is read, for showing progress
