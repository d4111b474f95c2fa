"""An e-mail as every reader of one gives it: headers, two forms of its text, and its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lodestream.mail.headers import Headers

TNEF_TYPES: Final = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file that is attached to an e-mail; its bytes are decoded only when they are read."""

    name: str
    content_type: str  # in lower case, as declared; `message/rfc822` for a forwarded mail
    size_bytes: int
    inline: bool = False
    content_id: str = ""
    content_hash: str = ""
    read: Callable[[], bytes] | None = None  # None where only the description is known

    @property
    def is_tnef(self) -> bool:
        """Tell whether it is Outlook's own envelope (`winmail.dat`)."""
        return self.content_type in TNEF_TYPES or self.name.lower() == "winmail.dat"


@dataclass(frozen=True, slots=True)
class Email:
    """An e-mail. Text that is not there is None; line ends are `\\n`."""

    headers: Headers
    plain: str | None = None
    html: str | None = None
    files: tuple[FilePart, ...] = ()
    charset: str = ""  # the codec the text was read with
    content_type: str = "text/plain"

    @property
    def is_report(self) -> bool:
        """Tell whether it is a machine's report, such as that of a mail that came back."""
        return self.content_type == "multipart/report"

    @property
    def has_tnef(self) -> bool:
        """Tell whether parts of it may be hidden in Outlook's own envelope."""
        return any(file.is_tnef for file in self.files)
