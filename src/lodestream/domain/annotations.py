"""Annotations: what people say of a comment in a dataset, and what changes make of it.

A `State` is everything that was said of one comment. What a person pinned is kept, and only that:
what follows from the hierarchy of names is derived by readers. A label is known by its `key`, which
it keeps when it is renamed; the name beside it is the one that it had when the state was read.
(Contract: datasets-labelling, sections 6 to 9; training-validation, section 1.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from lodestream.domain.errors import InvalidInput
from lodestream.domain.labelling import (
    DocumentSpan,
    LabelNew,
    Metadata,
    MetadataNew,
    Sentiment,
    Ui,
    UninformativeMode,
    UninformativeNew,
)
from lodestream.domain.labels import is_below
from lodestream.domain.spans import Span

Part = Literal["assigned", "dismissed", "drafted"]


class LabelMark(Struct, frozen=True, omit_defaults=True):
    """A label that is assigned to, or dismissed from, a comment."""

    key: int
    name: str
    negative: bool = False
    instructions: str = ""
    metadata: Metadata | None = None

    @property
    def sentiment(self) -> Sentiment:
        """The sentiment, by its name."""
        return "negative" if self.negative else "positive"


class Uninformative(Struct, frozen=True, omit_defaults=True):
    """The mark that a comment tells nothing."""

    mode: UninformativeMode
    metadata: Metadata | None = None


class FieldMark(Struct, frozen=True, omit_defaults=True):
    """A field that is assigned to, or dismissed from, a comment."""

    entity_def_id: str
    formatted_value: str
    field_id: str = ""  # of the general field; empty: there is none
    spans: tuple[Span, ...] = ()
    metadata: Metadata | None = None


class CaptureField(Struct, frozen=True, omit_defaults=True):
    """An extraction field of a label with its value."""

    field_id: str
    formatted_value: str
    spans: tuple[Span, ...] = ()
    document_spans: tuple[DocumentSpan, ...] = ()
    confirmed: bool = True


class LabelCaptures(Struct, frozen=True, omit_defaults=True):
    """The occurrences of a label, each a set of extraction fields."""

    part: Part
    key: int
    name: str
    captures: tuple[tuple[CaptureField, ...], ...] = ()
    negative: bool = False


class State(Struct, frozen=True, omit_defaults=True):
    """All annotations of a comment in a dataset; labels are in order of their names."""

    assigned: tuple[LabelMark, ...] = ()
    dismissed: tuple[LabelMark, ...] = ()
    uninformative: Uninformative | None = None
    fields_assigned: tuple[FieldMark, ...] = ()
    fields_dismissed: tuple[FieldMark, ...] = ()
    captures: tuple[LabelCaptures, ...] = ()

    @property
    def is_reviewed(self) -> bool:
        """Whether anything was said."""
        return self != NOTHING

    def labels(self) -> dict[int, tuple[bool, LabelMark]]:
        """Return whether it is dismissed, and the mark, of each label by key."""
        marks = {mark.key: (True, mark) for mark in self.dismissed}
        return marks | {mark.key: (False, mark) for mark in self.assigned}


NOTHING: Final = State()
NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})


class Author(NamedTuple):
    """Who changes annotations, and when.

    Only one who is `trusted` may say that somebody else did it, or at another time.
    """

    user_id: str
    timestamp: str
    trusted: bool = False

    def metadata(self, given: MetadataNew | UnsetType | None = UNSET) -> Metadata:
        """Return what is kept of a change's origin."""
        if not isinstance(given, MetadataNew):
            return Metadata(self.user_id, self.timestamp)
        if not self.trusted:
            return Metadata(self.user_id, self.timestamp, given.ui)
        user_id = self.user_id if given.user_id is UNSET else given.user_id
        return Metadata(user_id, given.timestamp_or(self.timestamp), given.ui)


def check_labels(
    assigned: Sequence[LabelNew], dismissed: Sequence[LabelNew], *, has_sentiment: bool
) -> None:
    """Check what is said of labels at once.

    Raises InvalidInput for a label that comes twice and for a sentiment that there is not.
    """
    seen: set[str] = set()
    for label in (*assigned, *dismissed):
        if label.name in seen:
            raise InvalidInput(f"label {label.name!r} comes twice")
        seen.add(label.name)
        if label.sentiment == "negative" and not has_sentiment:
            raise InvalidInput(f"label {label.name!r}: the dataset has no sentiment")


def with_labels(
    before: State,
    *,
    assigned: Sequence[LabelNew] | UnsetType,
    dismissed: Sequence[LabelNew] | UnsetType,
    keys: Mapping[str, int],
    author: Author,
) -> State:
    """Return a state with other lists of labels; a list that is absent stays.

    A label that is on one list leaves the other. `keys` holds the key of every name.
    """
    stored = before.labels()

    def marks(labels: Sequence[LabelNew], *, is_dismissed: bool) -> dict[int, LabelMark]:
        found = {}
        for label in labels:
            key = keys[label.name]
            was = stored.get(key)
            same = was[1] if was is not None and was[0] is is_dismissed else None
            found[key] = _label_mark(label, key, same, author)
        return found

    kept_assigned = {mark.key: mark for mark in before.assigned}
    kept_dismissed = {mark.key: mark for mark in before.dismissed}
    if assigned is not UNSET:
        kept_assigned = marks(assigned, is_dismissed=False)
        kept_dismissed = {k: m for k, m in kept_dismissed.items() if k not in kept_assigned}
    if dismissed is not UNSET:
        kept_dismissed = marks(dismissed, is_dismissed=True)
        kept_assigned = {k: m for k, m in kept_assigned.items() if k not in kept_dismissed}
    return normal(
        msgspec.structs.replace(
            before,
            assigned=tuple(kept_assigned.values()),
            dismissed=tuple(kept_dismissed.values()),
        )
    )


def _label_mark(label: LabelNew, key: int, same: LabelMark | None, author: Author) -> LabelMark:
    negative = label.sentiment == "negative"
    instructions = label.instructions or ""
    metadata = author.metadata(label.metadata)
    if same is not None and same.negative is negative:
        # Said again, as clients do with every label that they leave alone: the first one said it.
        if not isinstance(label.instructions, str):
            instructions = same.instructions
        if not (author.trusted and isinstance(label.metadata, MetadataNew)):
            metadata = same.metadata or metadata
    return LabelMark(key, label.name, negative, instructions, metadata)


def with_uninformative(
    before: State, given: UninformativeNew | UnsetType | None, author: Author
) -> State:
    """Return a state with another mark of this kind; without one, an assigned label takes it away.

    Raises InvalidInput if a comment that tells nothing is given a label at the same time.
    """
    mark = before.uninformative
    if given is None:
        mark = None
    elif given is not UNSET:
        if given.mode == "explicit" and before.assigned:
            raise InvalidInput("a comment with an assigned label cannot be uninformative")
        if mark is None or mark.mode != given.mode:
            mark = Uninformative(given.mode, author.metadata(given.metadata))
    elif before.assigned:
        mark = None
    return msgspec.structs.replace(before, uninformative=mark)


Action = Literal["assign", "dismiss", "clear"]


def with_delta(
    before: State,
    label: LabelNew,
    key: int,
    *,
    action: Action,
    author: Author,
) -> State:
    """Return a state after one label was assigned, dismissed or cleared; others stay."""
    kept_assigned = tuple(mark for mark in before.assigned if mark.key != key)
    kept_dismissed = tuple(mark for mark in before.dismissed if mark.key != key)
    if action != "clear":
        was = before.labels().get(key)
        is_dismissed = action == "dismiss"
        same = was[1] if was is not None and was[0] is is_dismissed else None
        mark = _label_mark(label, key, same, author)
        if is_dismissed:
            kept_dismissed += (mark,)
        else:
            kept_assigned += (mark,)
    after = normal(
        msgspec.structs.replace(before, assigned=kept_assigned, dismissed=kept_dismissed)
    )
    return with_uninformative(after, UNSET, author)


def normal(state: State) -> State:
    """Return a state with its labels in order and without what contradicts itself.

    Who assigns a child does not dismiss its parent; captures need their label.
    """
    assigned = sorted(state.assigned, key=lambda mark: mark.name)
    names = [mark.name for mark in assigned]
    dismissed = sorted(
        (m for m in state.dismissed if not any(is_below(name, m.name) for name in names)),
        key=lambda mark: mark.name,
    )
    captures = state.captures
    if captures:
        keys = {mark.key for mark in assigned}
        captures = tuple(one for one in captures if one.part != "assigned" or one.key in keys)
    return msgspec.structs.replace(
        state, assigned=tuple(assigned), dismissed=tuple(dismissed), captures=captures
    )


def relabelled(
    before: State,
    moves: Mapping[int, tuple[int, str] | None],
    field_ids: Mapping[str, str] = NO_FIELDS,
) -> State:
    """Return a state after labels became others, given by key and name, or went away (None).

    Of two marks that become one, the assigned one wins. `field_ids` maps extraction fields to
    those of the other label that take their place.
    """

    def moved(marks: Iterable[LabelMark]) -> dict[int, LabelMark]:
        # Marks of the label itself come last, so they win over those that come to it.
        found: dict[int, LabelMark] = {}
        for mark in sorted(marks, key=lambda mark: mark.key not in moves):
            target = moves.get(mark.key, (mark.key, mark.name))
            if target is not None:
                found[target[0]] = msgspec.structs.replace(mark, key=target[0], name=target[1])
        return found

    assigned, dismissed = moved(before.assigned), moved(before.dismissed)
    captures: dict[tuple[Part, int], LabelCaptures] = {}
    for one in before.captures:
        target = moves.get(one.key, (one.key, one.name))
        if target is not None:
            there = captures.get((one.part, target[0]))
            moved_fields = tuple(
                tuple(
                    msgspec.structs.replace(f, field_id=field_ids.get(f.field_id, f.field_id))
                    for f in fields
                )
                for fields in one.captures
            )
            joined = moved_fields if there is None else (*there.captures, *moved_fields)
            captures[one.part, target[0]] = msgspec.structs.replace(
                one, key=target[0], name=target[1], captures=joined
            )
    return normal(
        msgspec.structs.replace(
            before,
            assigned=tuple(assigned.values()),
            dismissed=tuple(mark for key, mark in dismissed.items() if key not in assigned),
            captures=tuple(captures.values()),
        )
    )


def without_fields(before: State, gone: frozenset[str]) -> State:
    """Return a state without the fields of some types, given by their ids."""

    def kept(marks: Sequence[FieldMark]) -> tuple[FieldMark, ...]:
        return tuple(mark for mark in marks if mark.entity_def_id not in gone)

    return msgspec.structs.replace(
        before,
        fields_assigned=kept(before.fields_assigned),
        fields_dismissed=kept(before.fields_dismissed),
    )


def without_spans(before: State) -> State:
    """Return a state without everything that points into the text."""
    captures = []
    for one in before.captures:
        kept = tuple(tuple(f for f in fields if not f.spans) for fields in one.captures)
        captures.append(msgspec.structs.replace(one, captures=tuple(f for f in kept if f)))
    return msgspec.structs.replace(
        before,
        fields_assigned=tuple(mark for mark in before.fields_assigned if not mark.spans),
        fields_dismissed=tuple(mark for mark in before.fields_dismissed if not mark.spans),
        captures=tuple(one for one in captures if one.captures),
    )


def has_new_spans(before: State, after: State) -> bool:
    """Tell whether a state points to places in the text that another one does not point to."""

    def places(state: State) -> set[Span]:
        found = {s for f in (*state.fields_assigned, *state.fields_dismissed) for s in f.spans}
        for one in state.captures:
            found.update(span for fields in one.captures for f in fields for span in f.spans)
        return found

    return not places(after) <= places(before)


def undone(current: State, before: State, after: State) -> State | None:
    """Return the current state without one change, which led from `before` to `after`.

    None if a later change touched the same: then there is no way back but by hand.
    """
    now, was, became = current.labels(), before.labels(), after.labels()
    marks = dict(now)
    for key in was.keys() | became.keys():
        if _bare(was.get(key)) == _bare(became.get(key)):
            continue
        if _bare(now.get(key)) != _bare(became.get(key)):
            return None
        if key in was:
            marks[key] = was[key]
        else:
            del marks[key]
    values: dict[str, object] = {}
    for name in ("uninformative", "fields_assigned", "fields_dismissed", "captures"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            if getattr(current, name) != new:
                return None
            values[name] = old
    return normal(
        msgspec.structs.replace(
            current,
            assigned=tuple(mark for dismissed, mark in marks.values() if not dismissed),
            dismissed=tuple(mark for dismissed, mark in marks.values() if dismissed),
            **values,
        )
    )


def _bare(found: tuple[bool, LabelMark] | None) -> tuple[bool, bool] | None:
    return None if found is None else (found[0], found[1].negative)


def origin_of(state: State) -> str | None:
    """Return how the reviewer came to the comment, if the client told."""
    said = [mark.metadata for mark in (*state.assigned, *state.dismissed)]
    if state.uninformative is not None:
        said.append(state.uninformative.metadata)
    for metadata in said:
        if metadata is not None and isinstance(metadata.ui, Ui):
            return metadata.ui.retrieval_method
    return None


decode_state = msgspec.json.Decoder(State).decode
encode = msgspec.json.Encoder().encode
