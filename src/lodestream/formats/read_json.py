"""Comments as JSON Lines, as this program and the vendor's `re get comments` write them.

A line is `{"comment": {…}}`, with `labelling`, `entities` and `moon_forms` where people said
something of the comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final

import msgspec

from lodestream.domain.comments import Attachment, CommentNew, Message, RichText, Text
from lodestream.formats.found import Bad, FoundComment

LONGEST_LINE: Final = 64 << 20
_EXPECTED: Final = 'a JSON object {"comment": {…}} expected'
_comment: Final = msgspec.json.Decoder(CommentNew)
_line: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def read_json_lines(file: BinaryIO, *, name: str = "line") -> Iterator[FoundComment | Bad]:
    """Read the comments of a file, a line at a time; blank lines are none.

    `name` is what a place in the file is called, before the number of the line.
    """
    number = 0
    while text := file.readline(LONGEST_LINE + 1):
        number += 1
        where = f"{name} {number}"
        if len(text) > LONGEST_LINE:
            size = len(text)
            while text and not text.endswith(b"\n"):
                text = file.readline(LONGEST_LINE)
                size += len(text)
            yield Bad(where, f"longer than {LONGEST_LINE} bytes", size_bytes=size)
        elif text.strip():
            yield read_line(text, where)


def read_line(text: bytes, where: str) -> FoundComment | Bad:
    """Return the comment of a line, or what is wrong with it."""
    size = len(text)
    if b"\\u0000" in text and _NUL.search(text):
        return Bad(where, "NUL, which no text may contain", text, size)
    try:
        found = _line.decode(text.lstrip(b"\xef\xbb\xbf"))
        raw = found["comment"]
        if not bytes(raw).lstrip().startswith(b"{"):
            raise TypeError
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, RecursionError):
        return Bad(where, _EXPECTED, text, size)
    left_out: tuple[str, ...] = ()
    try:
        try:
            comment = _comment.decode(raw)
        except msgspec.ValidationError as error:
            if "unknown field" not in str(error):
                raise
            known, left_out = _known(msgspec.json.decode(raw))
            comment = _comment.decode(msgspec.json.encode(known))
        said = {name: msgspec.json.decode(found[name]) for name in _SAID if name in found}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Bad(where, str(error), text, size)
    try:
        annotations = annotations_of(said)
    except (KeyError, TypeError, AttributeError, ValueError):
        return Bad(where, "its annotations are not as the API has them", text, size)
    return FoundComment(where, comment, annotations, text, size, left_out)


# What the API does not know


def _fields(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(kind))


_COMMENT: Final = _fields(CommentNew)
_MESSAGE: Final = _fields(Message)
_PARTS: Final = {
    "body": _fields(RichText),
    "signature": _fields(RichText),
    "subject": _fields(Text),
}
_ATTACHMENT: Final = _fields(Attachment)


def _known(comment: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a comment without what the API does not know, and the names of that."""
    left_out: set[str] = set()

    def only(value: Any, names: frozenset[str], where: str) -> Any:
        if not isinstance(value, dict):
            return value
        left_out.update(f"{where}.{name}" for name in value if name not in names)
        return {name: one for name, one in value.items() if name in names}

    def message(value: Any) -> Any:
        kept = only(value, _MESSAGE, "messages")
        if isinstance(kept, dict):
            for name, names in _PARTS.items():
                if name in kept:
                    kept[name] = only(kept[name], names, f"messages.{name}")
        return kept

    kept = only(comment, _COMMENT, "comment")
    if isinstance(kept.get("messages"), list):
        kept["messages"] = [message(one) for one in kept["messages"]]
    if isinstance(kept.get("attachments"), list):
        kept["attachments"] = [only(one, _ATTACHMENT, "attachments") for one in kept["attachments"]]
    return kept, tuple(sorted(left_out))


# Annotations

_SAID: Final[tuple[str, ...]] = ("labelling", "entities", "moon_forms")
_GROUP: Final = ("group", "assigned", "dismissed", "uninformative")
_LABEL: Final = ("name", "sentiment", "metadata")
_ENTITY: Final = ("name", "formatted_value", "spans", "span")
_FIELD: Final = ("name", "formatted_value", "spans", "document_spans", "confirmed")


def annotations_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what people said of a comment in the form in which it is sent.

    Predictions, and what only answers have, are left out. Empty if nobody said anything.
    """
    sent: dict[str, Any] = {}
    labelling = found.get("labelling")
    if labelling:
        # The old form is one object, of the group `default`.
        groups = [{"group": "default", **labelling}] if isinstance(labelling, dict) else labelling
        sent["labelling"] = [_group(one) for one in groups]
    entities = found.get("entities")
    if entities:
        sent["entities"] = {
            name: [_only(one, _ENTITY) for one in entities[name]]
            for name in ("assigned", "dismissed")
            if entities.get(name) is not None
        }
    forms = found.get("moon_forms")
    if forms:
        sent["moon_forms"] = [
            {
                **_only(one, ("group",)),
                "assigned": [_form(form) for form in one.get("assigned") or []],
            }
            for one in forms
        ]
    return sent if _says_anything(sent) else {}


def _says_anything(sent: Mapping[str, Any]) -> bool:
    groups = (*sent.get("labelling", ()), *sent.get("moon_forms", ()), sent.get("entities", {}))
    return any(value for group in groups for name, value in group.items() if name != "group")


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    kept = _only(group, _GROUP)
    for name in ("assigned", "dismissed"):
        if kept.get(name) is not None:
            kept[name] = [_only(label, _LABEL) for label in kept[name]]
    return kept


def _form(form: Mapping[str, Any]) -> dict[str, Any]:
    captures: Iterable[Mapping[str, Any]] = form.get("captures") or ()
    return {
        "label": _only(form["label"], _LABEL),
        "captures": [
            {"fields": [_only(field, _FIELD) for field in capture.get("fields") or ()]}
            for capture in captures
        ],
    }


def _only(value: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value[name] for name in names if value.get(name) is not None}
