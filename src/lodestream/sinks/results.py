"""Stream results as sinks take them, flattened for those that want columns or documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from lodestream.domain.deliveries import Outcome
from lodestream.domain.labels import SEPARATOR, parents_of


class Item(Struct, frozen=True):
    """One comment of a stream: its uid, and the JSON object that a fetch has for it."""

    uid: str
    sequence_id: str
    json: bytes


class OpenSink(Protocol):
    """A target that comments can be delivered to. Used by one thread at a time."""

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        """Deliver comments in their order; return what became of each. Raises Gone."""
        ...

    def check(self) -> Outcome:
        """Tell whether the target can be reached and used, without delivering a comment."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class _Part(Struct):
    text: str


class Message(Struct):
    """What is shown of a message."""

    body: _Part
    subject: _Part | UnsetType = UNSET
    from_: str | UnsetType = field(name="from", default=UNSET)
    to: list[str] = []
    cc: list[str] = []
    bcc: list[str] = []
    sent_at: str | UnsetType = UNSET


class _Attachment(Struct):
    name: str


class Comment(Struct):
    """What is shown of a comment."""

    uid: str
    id: str
    source_id: str
    timestamp: str
    created_at: str
    messages: list[Message]
    user_properties: dict[str, str | float] | None = None
    attachments: list[_Attachment] = []
    thread_id: str | UnsetType = UNSET


class Label(Struct):
    """A predicted label."""

    name: list[str]
    probability: float
    sentiment: float | UnsetType = UNSET


class _Entity(Struct):
    name: str
    formatted_value: str | None = None


class _LabelProperty(Struct):
    property_name: str
    value: float | None = None


class Result(Struct):
    """A stream result. `labels` is unset for a stream without model."""

    comment: Comment
    sequence_id: str
    labels: list[Label] | UnsetType = UNSET
    entities: list[_Entity] = []
    label_properties: list[_LabelProperty] = []

    def messages(self, part: str) -> Iterator[str]:
        """Yield the text of a part, `subject` or `body`, of every message that has it."""
        for message in self.comment.messages:
            found = getattr(message, part)
            if found is not UNSET and found.text:
                yield found.text

    def people(self, role: str) -> list[str]:
        """Return who is named as `from_`, `to`, `cc` or `bcc`, each once, in order."""
        found: dict[str, None] = {}
        for message in self.comment.messages:
            given = getattr(message, role)
            if given is not UNSET:
                found.update(dict.fromkeys([given] if isinstance(given, str) else given))
        return list(found)

    def sent_at(self) -> str | None:
        """Return when the first message that tells was sent."""
        for message in self.comment.messages:
            if message.sent_at is not UNSET:
                return message.sent_at
        return None

    def properties(self) -> Iterator[tuple[str, str, str | float]]:
        """Yield (kind, name, value) of the user properties, by their full names."""
        for full_name, value in sorted((self.comment.user_properties or {}).items()):
            kind, _, name = full_name.partition(":")
            yield kind, name, value

    def probabilities(self) -> dict[str, float]:
        """Return the probability of each label by its full name."""
        labels = () if self.labels is UNSET else self.labels
        return {SEPARATOR.join(one.name): one.probability for one in labels}

    def entity_values(self) -> dict[str, list[str]]:
        """Return the formatted values of the matched fields by their names."""
        found: dict[str, list[str]] = {}
        for one in self.entities:
            if one.formatted_value is not None:
                found.setdefault(one.name, []).append(one.formatted_value)
        return found

    def message_id(self) -> str | None:
        """Return the Message-ID: a user property, or what the id spells in hexadecimal."""
        given = (self.comment.user_properties or {}).get("string:Message ID")
        if isinstance(given, str):
            return given
        try:
            text = bytes.fromhex(self.comment.id).decode()
        except ValueError:
            return None
        return text if "@" in text and text.isprintable() else None


decode = msgspec.json.Decoder(Result).decode


def with_parents(probabilities: dict[str, float]) -> dict[str, float]:
    """Add each missing parent of a label with the highest probability below it."""
    found = dict(probabilities)
    for name, probability in probabilities.items():
        for parent in parents_of(name):
            if parent not in probabilities:
                found[parent] = max(probability, found.get(parent, 0.0))
    return found


class Columns(Struct, frozen=True):
    """How results become rows. `labels` are those of the stream's model, by their full names."""

    labels: tuple[str, ...]
    binary: bool
    least_probability: float


FIXED: dict[str, type] = {
    "uid": str,
    "id": str,
    "source_id": str,
    "message_id": str,
    "thread_id": str,
    "timestamp": str,
    "created_at": str,
    "sent_at": str,
    "subject": str,
    "body": str,
    "from": str,
    "to": str,
    "cc": str,
    "bcc": str,
    "folder": str,
    "attachment_count": int,
    "attachment_names": str,
    "tone": float,
    "quality_of_service": float,
}
"""Columns that every row has, and their types."""


def row_of(result: Result, columns: Columns) -> dict[str, Any]:
    """Return one row: the fixed columns, and those that begin with `property:`, `number:` (a number
    property), `field:` and `label:`. A label without prediction is 0.
    """
    comment = result.comment
    # Under one name there may be a text and a number.
    prefixes = {"string": "property", "number": "number"}
    properties = {f"{prefixes[kind]}:{name}": value for kind, name, value in result.properties()}
    scores = {one.property_name: one.value for one in result.label_properties}
    row: dict[str, Any] = {
        "uid": comment.uid,
        "id": comment.id,
        "source_id": comment.source_id,
        "message_id": result.message_id(),
        "thread_id": None if comment.thread_id is UNSET else comment.thread_id,
        "timestamp": comment.timestamp,
        "created_at": comment.created_at,
        "sent_at": result.sent_at(),
        "subject": next(result.messages("subject"), None),
        "body": "\n\n".join(result.messages("body")),
        "from": "; ".join(result.people("from_")),
        "to": "; ".join(result.people("to")),
        "cc": "; ".join(result.people("cc")),
        "bcc": "; ".join(result.people("bcc")),
        "folder": properties.get("property:Folder"),
        "attachment_count": len(comment.attachments),
        "attachment_names": "; ".join(one.name for one in comment.attachments),
        "tone": scores.get("tone"),
        "quality_of_service": scores.get("quality_of_service"),
    }
    row.update(properties)
    row.update({f"field:{name}": "; ".join(x) for name, x in result.entity_values().items()})
    given = result.probabilities()
    for name in columns.labels:
        value = given.get(name, 0.0)
        row[f"label:{name}"] = (
            float(value >= columns.least_probability) if columns.binary else value
        )
    return row


def column_types(rows: Sequence[dict[str, Any]]) -> dict[str, type]:
    """Return the columns of rows in a stable order, each with the type of its values."""
    more = {name for row in rows for name in row} - FIXED.keys()
    numbers = ("number:", "label:")
    return FIXED | {name: float if name.startswith(numbers) else str for name in sorted(more)}
