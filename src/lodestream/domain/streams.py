"""Streams: named, durable cursors over the comments of a dataset."""

from __future__ import annotations

from msgspec import Struct

from lodestream.domain.audit import StreamRef


class LabelThreshold(Struct, frozen=True):
    """The least confidence at which a label is shown; `name` is its levels, root first."""

    name: tuple[str, ...]
    threshold: float = 0.0


class StreamModel(Struct, frozen=True):
    """The pinned model version whose predictions a stream attaches."""

    version: int
    label_thresholds: tuple[LabelThreshold, ...] = ()


class Stream(Struct, frozen=True):
    """A stream. `comment_filter` is the JSON that was sent; `position` the last place read."""

    id: str
    dataset_id: str
    name: str
    title: str
    description: str
    comment_filter: bytes
    model: StreamModel | None
    created_us: int
    updated_us: int
    position: int
    advanced_us: int | None
    advanced_by: str | None

    @property
    def ref(self) -> StreamRef:
        """Names for the audit log."""
        return StreamRef(self.id, self.dataset_id, self.name, self.title)


class Activity(Struct, frozen=True):
    """What a stream's consumers did last; hints that lag by about a second.

    `head_fetches` counts the fetches in a row that began with the comment at `head`.
    """

    fetched_us: int
    fetched_by: str
    head: int | None
    head_fetches: int


STALLED_AFTER_S = 600
CONSUMING_WITHIN_S = 60


def state_word(*, unread: int, oldest_age_s: float | None, idle_s: float | None) -> str:
    """Say in one word how a stream does.

    `idle`: nothing is unread. `consuming`: something is, and a consumer moved within a minute.
    `stalled`: the oldest unread comment and the last move are both older than ten minutes.
    `behind`: everything else. `idle_s` is the time since a consumer last fetched or advanced.
    """
    if unread == 0:
        return "idle"
    if idle_s is not None and idle_s <= CONSUMING_WITHIN_S:
        return "consuming"
    if (oldest_age_s or 0) > STALLED_AFTER_S and (idle_s is None or idle_s > STALLED_AFTER_S):
        return "stalled"
    return "behind"
