"""Comments: what a client writes, and the finished JSON that is stored and sent.

A comment is decoded and checked once, when it comes in. What is stored is its *front*: the bytes
with which a stream result begins,

    {"comment":{"uid":…,"source_id":…,"created_at":…,"last_modified":…,"context":…,
     "id":…,"timestamp":…,"messages":…,…},"sequence_id":"…"

without the closing brace, so that a fetch joins fronts and predictions without looking inside.
Prefix and suffix have fixed lengths, so the comment alone is a slice. (Contract: sources-comments,
section 3; streams, section 10.)
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from sys import float_info
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field
from xxhash import xxh3_64_intdigest

from lodestream.domain.errors import InvalidInput
from lodestream.domain.facets import Participating, facets_of
from lodestream.domain.ids import COMMENT_ID, is_comment_id
from lodestream.domain.places import comment_sequence_id, created_us
from lodestream.domain.times import format_us, parse_us

MAX_BATCH: Final = 16_384
MAX_PROPERTIES: Final = 1024
MAX_PROPERTY_CHARS: Final = 32_768
MAX_MARKUP_LEVELS: Final = 512

PartText = Annotated[str, Meta(max_length=65_536)]
Participant = Annotated[str, Meta(min_length=1, max_length=512)]
Participants = Annotated[list[Participant], Meta(max_length=2048)]
Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Text(Struct, forbid_unknown_fields=True, gc=False):
    """A plain text part; `translated_from` holds the original when `text` is a translation."""

    text: PartText
    translated_from: PartText | UnsetType = UNSET


class RichText(Struct, forbid_unknown_fields=True, gc=False):
    """A text part with its markup tree, which is passed on as it came."""

    text: PartText
    text_markup: Raw | UnsetType = UNSET
    translated_from: PartText | UnsetType = UNSET
    translated_from_markup: Raw | UnsetType = UNSET


class Message(Struct, forbid_unknown_fields=True, gc=False):
    """One e-mail, answer or utterance of a comment."""

    body: RichText
    subject: Text | UnsetType = UNSET
    signature: RichText | UnsetType = UNSET
    from_: Participant | UnsetType = field(name="from", default=UNSET)
    to: Participants | UnsetType = UNSET
    cc: Participants | UnsetType = UNSET
    bcc: Participants | UnsetType = UNSET
    sent_at: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    language: Annotated[str, Meta(min_length=1, max_length=8)] | UnsetType = UNSET


class Attachment(Struct, forbid_unknown_fields=True, gc=False):
    """An attachment's description; its bytes are bound by `content_hash`."""

    name: Annotated[str, Meta(max_length=256)]
    size: Size
    content_type: Annotated[str, Meta(max_length=256)]
    content_hash: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET
    inline: bool | UnsetType = UNSET
    attachment_reference: Annotated[str, Meta(max_length=256)] | UnsetType = UNSET


PropertyValue = str | int | float


class CommentNew(Struct, forbid_unknown_fields=True, gc=False):
    """A comment as a client writes it.

    The fields after `attachments` are those a downloaded comment has: they may be sent back and
    are ignored, but for `context`, which `PUT comments` compares.
    """

    # The pattern is checked once, in `prepare`; here it is for the reference only.
    id: Annotated[str, Meta(extra_json_schema={"pattern": COMMENT_ID})]
    timestamp: Annotated[str, Meta(max_length=64)]
    messages: Annotated[list[Message], Meta(max_length=2048)]
    user_properties: dict[str, PropertyValue] | UnsetType | None = UNSET
    attachments: Annotated[list[Attachment], Meta(max_length=128)] | UnsetType = UNSET
    thread_id: Annotated[str, Meta(min_length=1, max_length=1024)] | UnsetType = UNSET
    text_format: Literal["markdown", "plain"] | UnsetType = UNSET
    context: str | UnsetType | None = UNSET
    uid: Raw | UnsetType = UNSET
    source_id: Raw | UnsetType = UNSET
    created_at: Raw | UnsetType = UNSET
    last_modified: Raw | UnsetType = UNSET
    has_annotations: Raw | UnsetType = UNSET


class CommentBatch(Struct, forbid_unknown_fields=True, gc=False):
    """The body of `sync` and of `PUT comments`."""

    comments: Annotated[list[CommentNew], Meta(max_length=MAX_BATCH)]


class Incoming(Struct, gc=False):
    """A checked comment, ready to be stored."""

    id: str
    key_hash: int
    digest: int
    timestamp_us: int
    thread_id: str | None
    core: bytes
    messages: list[Message]
    properties: dict[str, PropertyValue]
    attachments: list[Attachment]
    context: str | None

    def facets(self) -> bytes | None:
        """Return what filters test, as JSON: made for what is stored, not for what is unchanged."""
        return facets_of(self.messages, self.properties)


_HALF: Final = 1 << 63
_MASK: Final = (1 << 64) - 1
_ENCODER = msgspec.json.Encoder(order="deterministic")
_encode = _ENCODER.encode


def key_hash(comment_id: str, *, salt: int, source_tag: int) -> int:
    """Return the signed 64-bit number under which a comment is found by its id.

    `salt` belongs to the instance, so that ids that collide cannot be made without it (they would
    cost time, not correctness); `source_tag` tells sources apart.
    """
    return xxh3_64_intdigest(comment_id.encode(), salt ^ source_tag) - _HALF


def source_tag(source_key: int) -> int:
    """Return the number by which the hashes of a source's comments differ from another's."""
    return source_key * 0x9E3779B97F4A7C15 & _MASK


def prepare(new: CommentNew, *, salt: int, tag: int) -> Incoming:
    """Check what the schema cannot, and make the comment ready to be stored.

    Timestamps are brought to one form, blank properties dropped, server fields ignored; so two
    uploads of one content have the same digest.

    Raises InvalidInput naming the comment's id.
    """
    comment_id = new.id
    if not is_comment_id(comment_id):
        raise InvalidInput(f"comment id {comment_id!r} is not allowed")
    try:
        timestamp_us = parse_us(new.timestamp)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"comment {comment_id!r}: timestamp: {error}") from None
    properties = new.user_properties
    properties = _checked_properties(comment_id, properties) if properties else {}
    for message in new.messages:
        body = message.body
        if (
            message.sent_at is not UNSET
            or message.signature is not UNSET
            or body.text_markup is not UNSET
            or body.translated_from_markup is not UNSET
        ):
            _check_message(comment_id, message)
    attachments = [] if new.attachments is UNSET else new.attachments
    for attachment in attachments:
        _take_reference(attachment)
    thread_id = None if new.thread_id is UNSET else new.thread_id
    context = None if new.context is UNSET else new.context
    new.timestamp = format_us(timestamp_us)
    new.user_properties = properties
    new.attachments = attachments
    new.context = new.uid = new.source_id = UNSET
    new.created_at = new.last_modified = new.has_annotations = UNSET
    core = _encode(new)
    return Incoming(
        comment_id,
        key_hash(comment_id, salt=salt, source_tag=tag),
        xxh3_64_intdigest(core, salt ^ tag) - _HALF,
        timestamp_us,
        thread_id,
        core,
        new.messages,
        properties,
        attachments,
        context,
    )


_REFERENCE = re.compile(r"([0-9a-f]{16})-([0-9a-f]{64})")


def file_reference(source_id: str, content_hash: str) -> str:
    """Return the handle by which an attachment's content is downloaded."""
    return f"{source_id}-{content_hash}"


def parse_file_reference(text: str) -> tuple[str, str] | None:
    """Split a handle into source id and content hash; None if it is not one of ours."""
    match = _REFERENCE.fullmatch(text)
    return None if match is None else (match[1], match[2])


def _take_reference(attachment: Attachment) -> None:
    """Read a handle, copied from a downloaded comment, as the hash of the content it names."""
    handle = attachment.attachment_reference
    attachment.attachment_reference = UNSET
    if attachment.content_hash is UNSET and handle is not UNSET:
        parsed = parse_file_reference(handle)
        if parsed is not None:
            attachment.content_hash = parsed[1]


def with_attachments(core: bytes, attachments: Sequence[Attachment]) -> bytes:
    """Return the comment's JSON with other descriptions of its attachments."""
    comment = msgspec.json.decode(core, type=CommentNew)
    comment.attachments = list(attachments)
    return _encode(comment)


def attachments_of(front: bytes) -> list[Attachment]:
    """Return the descriptions of the attachments of the comment in a front."""
    fields = msgspec.json.decode(comment_of(front), type=dict[str, Raw])
    return msgspec.json.decode(fields["attachments"], type=list[Attachment])


def messages_of(front: bytes) -> list[Message]:
    """Return the messages of the comment in a front."""
    fields = msgspec.json.decode(comment_of(front), type=dict[str, Raw])
    return msgspec.json.decode(fields["messages"], type=list[Message])


def participants_of(message: Participating) -> list[str]:
    """Return sender and recipients of a message."""
    people = [] if message.from_ is UNSET else [message.from_]
    for recipients in (message.to, message.cc, message.bcc):
        if recipients is not UNSET:
            people += recipients
    return people


@lru_cache(maxsize=8192)
def property_kind(full_name: str) -> type[str] | type[float] | None:
    """Return the type of a user property by its full name, or None if the name is not allowed."""
    kind, colon, name = full_name.partition(":")
    if not colon or not 1 <= len(name) <= 256:
        return None
    return {"string": str, "number": float}.get(kind)


def _checked_properties(
    comment_id: str, properties: dict[str, PropertyValue]
) -> dict[str, PropertyValue]:
    if len(properties) > MAX_PROPERTIES:
        raise InvalidInput(f"comment {comment_id!r}: more than {MAX_PROPERTIES} user properties")
    blank = False
    for name, value in properties.items():
        kind = property_kind(name)
        if isinstance(value, str):
            sound = kind is str and len(value) <= MAX_PROPERTY_CHARS
            blank = blank or not value or value.isspace()
        else:
            sound = kind is float and -float_info.max <= value <= float_info.max
        if not sound:
            wrong = _what_is_wrong(kind, value)
            raise InvalidInput(f"comment {comment_id!r}: user_properties[{name!r}]: {wrong}")
    if blank:
        return {n: v for n, v in properties.items() if not isinstance(v, str) or v.strip()}
    return properties


def _what_is_wrong(kind: type[str] | type[float] | None, value: PropertyValue) -> str:
    if kind is None:
        return "a key must be 'string:' or 'number:' and a name of 1 to 256 characters"
    if (kind is str) is not isinstance(value, str):
        return f"the value is not a {'string' if kind is str else 'number'}"
    if isinstance(value, str):
        return f"longer than {MAX_PROPERTY_CHARS} characters"
    return "the number is too large"


def _check_message(comment_id: str, message: Message) -> None:
    if message.sent_at is not UNSET:
        try:
            parse_us(message.sent_at)
        except (ValueError, OverflowError) as error:
            raise InvalidInput(f"comment {comment_id!r}: sent_at: {error}") from None
    for part in (message.body, message.signature):
        if part is UNSET:
            continue
        for markup in (part.text_markup, part.translated_from_markup):
            if markup is not UNSET and not _is_tree(markup):
                raise InvalidInput(
                    f"comment {comment_id!r}: markup must be an array of nodes, "
                    f"nested at most {MAX_MARKUP_LEVELS} levels deep"
                )


def _is_tree(markup: Raw) -> bool:
    # What is passed on as it came has to be sound JSON down to every text in it; and until it is
    # decoded nobody has looked for bytes that are no UTF-8, or for lone surrogates.
    try:
        tree = msgspec.json.decode(markup)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(tree, list | dict) and _is_shallow(bytes(markup), tree)


def _is_shallow(text: bytes, tree: Any) -> bool:
    """Tell whether JSON has at most `MAX_MARKUP_LEVELS`.

    Any reader's own stack is the limit otherwise, and one that reads it back may have less left.
    """
    if text.count(b"[") + text.count(b"{") <= MAX_MARKUP_LEVELS:
        return True
    level = [tree]
    for _ in range(MAX_MARKUP_LEVELS):
        level = [
            inner
            for node in level
            for inner in (node.values() if isinstance(node, dict) else node)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return True
    return False


_PREFIX: Final = len('{"comment":')
_UID: Final = len('{"comment":{"uid":"')
SEQUENCE_BYTES: Final = len(',"sequence_id":"') + 32 + 1
"""Length of what follows the comment in a front."""
_TIME: Final = len("2024-01-01T00:00:00.000000Z")


class FrontMaker:
    """Writes the fronts of one source's comments."""

    __slots__ = ("_head", "_middle", "_number", "_times", "_times_of")

    def __init__(self, source_id: str) -> None:
        self._number = int(source_id, 16)
        self._times_of = (-1, -1)
        self._times = b""
        self._head = b'{"comment":{"uid":"' + source_id.encode() + b"."
        self._middle = b'","source_id":"' + source_id.encode() + b'","created_at":"'

    def make(self, incoming: Incoming, pos: int, modified_us: int | None = None) -> bytes:
        """Return the front of a comment at `pos`, modified at `modified_us` or when it came."""
        core = incoming.core
        created = created_us(pos)
        times_of = (created, created if modified_us is None else modified_us)
        if times_of != self._times_of:
            # Up to two thousand comments of a batch share these.
            self._times_of = times_of
            self._times = b'%s%s","last_modified":"%s","context":"%x",' % (
                self._middle,
                format_us(created).encode(),
                format_us(times_of[1]).encode(),
                times_of[1],
            )
        # The id is the first member of the core, already escaped as JSON.
        quoted_id = core[7 : core.index(b'","timestamp":')]
        return b"".join(
            (
                self._head,
                quoted_id,
                self._times,
                core[1:],
                b',"sequence_id":"',
                comment_sequence_id(pos, self._number),
                b'"',
            )
        )


class _Named(Struct, gc=False):
    uid: str


def comment_of(front: bytes) -> bytes:
    """Return the comment's JSON object in a front."""
    return front[_PREFIX:-SEQUENCE_BYTES]


def source_id_of(front: bytes) -> str:
    """Return the id of the source of the comment in a front."""
    return front[_UID : _UID + 16].decode()


def uid_of(front: bytes) -> str:
    """Return the uid of the comment in a front."""
    return msgspec.json.decode(comment_of(front), type=_Named).uid


def core_of(front: bytes) -> bytes:
    """Return the client's part of the comment in a front: the JSON whose digest is stored."""
    comment = comment_of(front)
    return b"{" + comment[comment.index(b',"id":"') + 1 :]


def modified_us_of(front: bytes) -> int:
    """Return when the comment in a front was last changed, in microseconds."""
    start = front.index(b'"last_modified":"') + 17
    return parse_us(front[start : start + _TIME].decode())


def context_of(modified_us: int) -> str:
    """Return the opaque version token of a comment last changed at `modified_us`."""
    return f"{modified_us:x}"


def without_markup(comment: bytes) -> bytes:
    """Return a comment's JSON without `text_markup` and `translated_from_markup`."""
    if b'_markup":' not in comment:
        return comment
    fields = msgspec.json.decode(comment, type=dict[str, Raw])
    messages = msgspec.json.decode(fields["messages"], type=list[Message])
    for message in messages:
        for part in (message.body, message.signature):
            if part is not UNSET:
                part.text_markup = part.translated_from_markup = UNSET
    fields["messages"] = Raw(_encode(messages))
    return msgspec.json.encode(fields)


def without_properties(comment: bytes, hidden: frozenset[str]) -> bytes:
    """Return a comment's JSON without the user properties whose full names are `hidden`."""
    fields = msgspec.json.decode(comment, type=dict[str, Raw])
    properties = msgspec.json.decode(fields["user_properties"], type=dict[str, Any])
    kept = {name: value for name, value in properties.items() if name not in hidden}
    if len(kept) == len(properties):
        return comment
    fields["user_properties"] = Raw(_encode(kept))
    return msgspec.json.encode(fields)


def message_changed(old_core: bytes, new_core: bytes) -> bool:
    """Tell whether the messages of two versions of a comment differ in any way."""
    return _messages_in(old_core) != _messages_in(new_core)


def _messages_in(core: bytes) -> bytes:
    # Inside texts quotes are escaped, so these keys stand unescaped only where we wrote them (or
    # inside markup, which lies between them).
    start = core.index(b',"messages":')
    return core[start : core.rindex(b',"user_properties":')]


def page_token(timestamp_us: int, pos: int, lower_us: int | None) -> str:
    """Write the place after a comment in a listing by timestamp, with the listing's lower bound."""
    text = f"{timestamp_us} {pos} {'' if lower_us is None else lower_us}"
    return b64encode(text.encode()).decode("ascii")
