"""Raw e-mails as clients send them: headers, decoded bodies, and descriptions of files.

(Contract: e-mails, section 1.1.)
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.domain.comments import Attachment, PropertyValue
from lodestream.domain.ids import COMMENT_ID

MAX_TEXT: Final = 65_536


class Headers(Struct, forbid_unknown_fields=True):
    """Headers as one text, or by name; where both are given, the latter replace their namesakes."""

    raw: Annotated[str, Meta(max_length=MAX_TEXT)] | UnsetType = UNSET
    parsed: dict[str, str | int | float | list[str]] | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Check that there are any. Raises ValueError."""
        if self.raw is UNSET and self.parsed is UNSET:
            raise ValueError("either 'raw' or 'parsed' is required")


class Body(Struct, forbid_unknown_fields=True):
    """The body, decoded; of two forms the plain one is read if it is not blank."""

    plain: Annotated[str, Meta(max_length=MAX_TEXT)] | UnsetType = UNSET
    html: Annotated[str, Meta(max_length=32 << 20)] | UnsetType = UNSET


class RawEmail(Struct, forbid_unknown_fields=True):
    """An e-mail as a mailbox holds it."""

    headers: Headers
    body: Body
    attachments: Annotated[list[Attachment], Meta(max_length=128)] = []


class RawEmailDocument(Struct, forbid_unknown_fields=True):
    """An e-mail, and what the comment made of it is to carry."""

    raw_email: RawEmail
    comment_id: Annotated[str, Meta(pattern=COMMENT_ID)] | UnsetType = UNSET
    user_properties: dict[str, PropertyValue] | UnsetType | None = UNSET
