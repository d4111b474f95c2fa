"""The things of the API as structs.

Answers may hold more than is named here, and a server of another age less: what is unknown is
passed over, what is missing has a default. Instants are aware datetimes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct


class Text(Struct, omit_defaults=True, kw_only=True, gc=False):
    """A text; `translated_from` is the original of a translation, markup is a tree of nodes."""

    text: str
    translated_from: str | None = None
    text_markup: Any = None
    translated_from_markup: Any = None


class Message(Struct, omit_defaults=True, kw_only=True, gc=False):
    """One utterance: a mail has one message, a conversation as many as were said."""

    body: Text
    subject: Text | None = None
    signature: Text | None = None
    sender: str | None = msgspec.field(default=None, name="from")
    to: list[str] | None = None
    cc: list[str] | None = None
    bcc: list[str] | None = None
    sent_at: datetime | None = None
    language: str | None = None


class Attachment(Struct, omit_defaults=True, kw_only=True, gc=False):
    """What is known of a file beside a comment."""

    name: str
    size: int
    content_type: str
    content_hash: str | None = None
    attachment_reference: str | None = None


class NewComment(Struct, omit_defaults=True, kw_only=True):
    """A comment to send. `id` is chosen by the sender, unique in the source.

    Keys of `user_properties` begin with `string:` or `number:`.
    """

    id: str
    timestamp: datetime
    messages: list[Message]
    thread_id: str | None = None
    user_properties: dict[str, str | float] = {}
    text_format: Literal["plain", "markdown"] | None = None
    attachments: list[Attachment] = []


class Comment(Struct, kw_only=True, gc=False):
    """A stored comment. `uid` is unique in the server, `id` in the source; `timestamp` is when it
    was written, `created_at` when it was stored first."""

    id: str
    uid: str
    timestamp: datetime
    created_at: datetime
    messages: list[Message]
    source_id: str | None = None
    last_modified: datetime | None = None
    thread_id: str | None = None
    user_properties: dict[str, str | float] | None = None
    text_format: str | None = None
    attachments: list[Attachment] | None = None
    context: str | None = None
    has_annotations: bool = False


class Span(Struct, kw_only=True, gc=False):
    """A piece of text: characters `char_start` to `char_end` of a part of a message."""

    content_part: str
    message_index: int
    utf16_byte_start: int
    utf16_byte_end: int
    char_start: int | None = None
    char_end: int | None = None


class PredictedLabel(Struct, kw_only=True, gc=False):
    """A label that a model expects; `name` has the levels, root first."""

    name: tuple[str, ...]
    probability: float
    sentiment: float | None = None
    auto_thresholds: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name as one string, as it is written everywhere else."""
        return " > ".join(self.name)


class PredictedEntity(Struct, kw_only=True, gc=False):
    """A general field that was found in the text."""

    name: str
    formatted_value: str
    spans: list[Span]
    id: str | None = None
    kind: str | None = None
    probability: float | None = None
    field_id: str | None = None


class LabelProperty(Struct, kw_only=True):
    """A property of a comment by its labels: `tone` or `quality_of_service`."""

    property_id: str
    property_name: str
    value: float


class Threshold(Struct, kw_only=True, omit_defaults=True):
    """From which probability on a stream delivers a label."""

    name: list[str]
    threshold: float = 0.0


class StreamModel(Struct, kw_only=True):
    """The model of a stream: a pinned version, and the labels it delivers; none means all."""

    version: int
    label_thresholds: list[Threshold] = []


class Stream(Struct, kw_only=True):
    """The definition of a stream."""

    id: str
    dataset_id: str
    name: str
    created_at: datetime
    title: str = ""
    description: str = ""
    updated_at: datetime | None = None
    comment_filter: dict[str, Any] = {}
    model: StreamModel | None = None


class Source(Struct, kw_only=True):
    """Where comments of one kind come in."""

    id: str
    owner: str
    name: str
    title: str = ""
    description: str = ""
    language: str = "en"
    should_translate: bool = False
    sensitive_properties: list[str] = []
    kind: str = msgspec.field(name="_kind", default="unknown")
    created_at: datetime | None = None
    updated_at: datetime | None = None
    last_modified: datetime | None = None
    bucket_id: str | None = None
    email_transform_tag: str | None = None

    @property
    def full_name(self) -> str:
        """`project/name`."""
        return f"{self.owner}/{self.name}"


class SourceStatistics(Struct, kw_only=True):
    """How many comments of a source match a filter."""

    num_comments: int


class Label(Struct, kw_only=True, omit_defaults=True):
    """The definition of a label."""

    name: str
    title: str = ""
    instructions: str = ""
    external_id: str | None = None
    moon_form: list[dict[str, Any]] | None = None


class LabelGroup(Struct, kw_only=True):
    """A group of labels."""

    name: str
    label_defs: list[Label] = []
    hidden: bool | None = None
    trainable: bool | None = None
    instructions: str = ""


class Dataset(Struct, kw_only=True):
    """A view on sources, with labels, models and streams of its own."""

    id: str
    owner: str
    name: str
    title: str = ""
    description: str = ""
    created: datetime | None = None
    last_modified: datetime | None = None
    model_family: str = ""
    source_ids: list[str] = []
    has_sentiment: bool = False
    label_defs: list[Label] = []
    general_fields: list[dict[str, Any]] = []
    entity_defs: list[dict[str, Any]] = []

    @property
    def full_name(self) -> str:
        """`project/name`."""
        return f"{self.owner}/{self.name}"


class Synced(Struct, kw_only=True):
    """What became of comments that were sent."""

    new: int = 0
    updated: int = 0
    unchanged: int = 0

    @property
    def total(self) -> int:
        """How many were sent."""
        return self.new + self.updated + self.unchanged

    def plus(self, more: Synced) -> Synced:
        """Return both as one."""
        return Synced(
            new=self.new + more.new,
            updated=self.updated + more.updated,
            unchanged=self.unchanged + more.unchanged,
        )


class AssignedLabel(Struct, kw_only=True):
    """A label that a person gave or took away; the sentiment is `positive` or `negative`."""

    name: str
    sentiment: str = "positive"


class Labelling(Struct, kw_only=True):
    """What people say of a comment's labels, in one group."""

    group: str = "default"
    assigned: list[AssignedLabel] = []
    dismissed: list[AssignedLabel] = []


class Annotated(Struct, kw_only=True):
    """A comment with its annotations."""

    comment: Comment
    labelling: list[Labelling] = []
    entities: Any = None
    moon_forms: Any = None


class Change(Struct, kw_only=True):
    """A change of a comment's annotations; both states are as the API has them."""

    revision: int
    timestamp: datetime
    user_id: str
    username: str | None = None
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}


class History(Struct, kw_only=True):
    """The changes of a comment's annotations, the newest first, and its present revision."""

    comment_uid: str
    revision: int
    events: list[Change] = []


class ModelSettings(Struct, kw_only=True):
    """What people noted about a model."""

    starred: bool = False
    description: str = ""


class Model(Struct, kw_only=True):
    """A trained model."""

    version: int
    pinned: bool = False
    validated: bool = False
    used_by_triggers: bool = False
    trained_time: datetime | None = None
    reviewed_counts: dict[str, int] = {}
    settings: ModelSettings | None = None


class ModelTag(Struct, kw_only=True):
    """A name for a pinned version: `live` or `staging`."""

    name: str
    version: int
    updated_at: datetime | None = None


class UsedModel(Struct, kw_only=True):
    """The version that predicted, and when it was trained."""

    version: int
    time: datetime | None = None


class Predictions(Struct, kw_only=True):
    """Predictions for documents, in their order."""

    labels: list[list[PredictedLabel]] = msgspec.field(name="predictions")
    entities: list[list[PredictedEntity]] = []
    model: UsedModel | None = None


class CommentPrediction(Struct, kw_only=True):
    """Predictions for a stored comment."""

    uid: str
    labels: list[PredictedLabel] = []
    entities: list[PredictedEntity] = []


class User(Struct, kw_only=True):
    """A user, and what was granted to them."""

    id: str
    username: str
    email: str
    created: datetime | None = None
    organisation_permissions: dict[str, list[str]] = {}
    global_permissions: list[str] = []
    last_login_at: datetime | None = None


class Project(Struct, kw_only=True):
    """What sources and datasets live in."""

    name: str
    id: str | None = None
    title: str = ""
    description: str = ""


class AuditEvent(Struct, kw_only=True):
    """Something that somebody did."""

    event_id: str
    event_type: str
    timestamp: datetime
    actor_user_id: str
    user_ids: list[str] = []
    source_ids: list[str] = []
    dataset_ids: list[str] = []
    project_ids: list[str] = []
    trigger_ids: list[str] = []


class Quota(Struct, kw_only=True):
    """How much of something there may be, and how much there is."""

    quota_kind: str
    hard_limit: int
    current_max_usage: int = 0
    auto_increase_up_to: int | None = None


class Token(Struct, kw_only=True):
    """A token, without its secret."""

    id: str
    user_id: str
    label: str = ""
    created_at: datetime | None = None


class Bucket(Struct, kw_only=True):
    """A collection of raw e-mails."""

    id: str
    owner: str
    name: str
    title: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def full_name(self) -> str:
        """`project/name`."""
        return f"{self.owner}/{self.name}"


class Email(Struct, kw_only=True):
    """A raw e-mail in a bucket; `mime_content` has no attachments in it, they are listed apart."""

    id: str
    mailbox: str
    timestamp: datetime
    mime_content: str = ""
    metadata: dict[str, Any] | None = None
    attachments: list[Attachment] = []


class KeyedSyncState(Struct, kw_only=True):
    """Where a connector is with a folder of a mailbox."""

    mailbox_name: str
    folder_id: str
    folder_path: list[str] = []
    status: Any = None
    synced_until: datetime | None = None
    last_synced_at: datetime | None = None
    fingerprint: str | None = None
