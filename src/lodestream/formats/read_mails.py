"""E-mails in files and folders: EML, EMLX, MSG, MBOX, PST, and the folders of Maildir."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from email.errors import MessageError
from pathlib import Path
from typing import BinaryIO, Final

from lodestream.domain.errors import Unprocessable
from lodestream.formats import read_pst as pst
from lodestream.formats.found import Bad, FoundMail
from lodestream.formats.outlook import MESSAGE_CLASS, OutlookItem, RtfReader, mime_of
from lodestream.formats.read_mbox import LARGEST_MAIL, looks_like_mbox, read_mbox
from lodestream.formats.read_msg import MAGIC, read_msg

KINDS: Final = {
    ".eml": "eml",
    ".emlx": "emlx",
    ".msg": "msg",
    ".mbox": "mbox",
    ".mbx": "mbox",
    ".pst": "pst",
    ".ost": "pst",
}
_NO_MAIL: Final = frozenset({".msf", ".dat", ".ini"})
"""What mail programs keep beside e-mails."""
_MAILDIR: Final = frozenset({"cur", "new"})
_NO_MIME: Final = "what is in it cannot be written as an e-mail"
_HEADER: Final = re.compile(rb"(?:[!-9;-~]+:[^\n]*\r?\n(?:[ \t][^\n]*\r?\n)*){2}")


def read_mails(path: Path, read_rtf: RtfReader) -> Iterator[FoundMail | Bad]:
    """Read every e-mail in a file, or in a folder and those below it, in order of name.

    An e-mail's folder is where it lies. Raises Unprocessable if the file is of no known kind.
    """
    if not path.is_dir():
        kind = kind_of(path)
        if kind is None:
            raise Unprocessable(f"{path.name} is no file of e-mails of a known kind")
        yield from _READERS[kind](path, path.name, (), read_rtf)
        return
    for file in sorted(path.rglob("*")):
        if not file.is_file() or file.name.startswith(".") or file.suffix.lower() in _NO_MAIL:
            continue
        inner = file.relative_to(path)
        kind = kind_of(file)
        if kind is None:
            yield Bad(str(inner), "no file of e-mails of a known kind", size_bytes=_size(file))
            continue
        folder = tuple(part.removesuffix(".sbd").removesuffix(".mbox") for part in inner.parts[:-1])
        if folder and folder[-1] in _MAILDIR:
            folder = folder[:-1]
        yield from _READERS[kind](file, str(inner), folder, read_rtf)


def kind_of(path: Path) -> str | None:
    """Return of which kind a file of e-mails is, by its name and else by its beginning."""
    kind = KINDS.get(path.suffix.lower())
    if kind is not None:
        return kind
    try:
        with path.open("rb") as file:
            beginning = file.read(8192)
    except OSError:
        return None
    if beginning.startswith(pst.MAGIC):
        return "pst"
    if looks_like_mbox(beginning):
        return "mbox"
    if path.suffix.lower() == "" and beginning.startswith(MAGIC):
        return "msg"
    in_maildir = path.parent.name in _MAILDIR or not path.suffix
    return "eml" if in_maildir and _HEADER.match(beginning) else None


def _size(path: Path) -> int:
    return path.stat().st_size


_Reader = Callable[[Path, str, tuple[str, ...], RtfReader], Iterator[FoundMail | Bad]]


def _content(path: Path, where: str) -> bytes | Bad:
    size = _size(path)
    if size > LARGEST_MAIL:
        return Bad(where, f"larger than {LARGEST_MAIL} bytes", size_bytes=size)
    try:
        return path.read_bytes()
    except OSError as error:
        return Bad(where, error.strerror or "it cannot be read", size_bytes=size)


def _read_eml(
    path: Path, where: str, folder: tuple[str, ...], _read_rtf: RtfReader
) -> Iterator[FoundMail | Bad]:
    content = _content(path, where)
    if isinstance(content, bytes):
        if path.suffix.lower() == ".emlx":
            # A line with the length of the e-mail stands before it, a property list after it.
            head, _, rest = content.partition(b"\n")
            size = int(head) if head.strip().isdigit() else len(rest)
            content = rest[:size]
        if not content.strip():
            yield Bad(where, "it is empty", size_bytes=_size(path))
            return
        yield FoundMail(where, content, folder, size_bytes=_size(path))
    else:
        yield content


def _read_msg(
    path: Path, where: str, folder: tuple[str, ...], read_rtf: RtfReader
) -> Iterator[FoundMail | Bad]:
    content = _content(path, where)
    if isinstance(content, Bad):
        yield content
        return
    try:
        item = read_msg(content)
    except Unprocessable as error:
        yield Bad(where, error.message, size_bytes=len(content))
        return
    if not item.is_mail:
        kind = item.properties.get(MESSAGE_CLASS)
        yield Bad(where, f"it is no e-mail but {kind}", size_bytes=len(content))
        return
    mime = _mime(item, read_rtf)
    if mime is None:
        yield Bad(where, _NO_MIME, size_bytes=len(content))
    else:
        yield FoundMail(where, mime, folder, size_bytes=len(content))


def _mime(item: OutlookItem, read_rtf: RtfReader) -> bytes | None:
    """Return an item as MIME; None if the library that writes it gives up on what is in it."""
    try:
        return mime_of(item, read_rtf)
    except (MessageError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _read_mbox(
    path: Path, where: str, folder: tuple[str, ...], _read_rtf: RtfReader
) -> Iterator[FoundMail | Bad]:
    name = path.name.removesuffix(path.suffix) if path.suffix.lower() in KINDS else path.name
    with path.open("rb") as file:
        for mail in read_mbox(file):
            place = f"{where}, line {mail.line}"
            if mail.content is None:
                yield Bad(place, f"larger than {LARGEST_MAIL} bytes", size_bytes=mail.size_bytes)
            else:
                yield FoundMail(place, mail.content, (*folder, name), "", mail.size_bytes)


def _read_pst(
    path: Path, where: str, folder: tuple[str, ...], read_rtf: RtfReader
) -> Iterator[FoundMail | Bad]:
    with path.open("rb") as file:
        yield from _items(file, path, where, folder, read_rtf)


def _items(
    file: BinaryIO, path: Path, where: str, folder: tuple[str, ...], read_rtf: RtfReader
) -> Iterator[FoundMail | Bad]:
    # How much of the file an item takes is only guessed, to show progress by: files are longer as
    # MIME than they are.
    try:
        for mail in pst.read_pst(file):
            inner = (*folder, *mail.folder)
            place = f"{where}, {' / '.join(inner)}, item {mail.number:#x}"
            if mail.item is None:
                yield Bad(place, mail.problem)
            elif not mail.item.is_mail:
                yield Bad(place, f"it is no e-mail but {mail.item.properties.get(MESSAGE_CLASS)}")
            else:
                mime = _mime(mail.item, read_rtf)
                if mime is None:
                    yield Bad(place, _NO_MIME)
                else:
                    yield FoundMail(place, mime, inner, path.name, len(mime) * 3 // 4)
    except Unprocessable as error:
        yield Bad(where, error.message, size_bytes=_size(path))


_READERS: Final[dict[str, _Reader]] = {
    "eml": _read_eml,
    "emlx": _read_eml,
    "msg": _read_msg,
    "mbox": _read_mbox,
    "pst": _read_pst,
}
