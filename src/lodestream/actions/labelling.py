"""Annotations of comments as the compatible API has them: whole lists, replaced.

All of a call happens or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from lodestream.actions.annotating import Session, annotating
from lodestream.domain.access import Actor
from lodestream.domain.annotations import (
    NOTHING,
    LabelCaptures,
    Part,
    State,
    check_labels,
    with_labels,
    with_uninformative,
)
from lodestream.domain.comments import messages_of
from lodestream.domain.datasets import Dataset
from lodestream.domain.errors import InvalidInput, Unprocessable
from lodestream.domain.extractions import FieldResolver
from lodestream.domain.labelling import (
    EntityNew,
    LabelCapturesNew,
    LabellingUpdate,
    LabelNew,
    MoonFormGroup,
)
from lodestream.domain.labels import DEFAULT_GROUP, LabelDef, decode_label
from lodestream.domain.spans import Texts
from lodestream.store import datasets
from lodestream.store.annotations import (
    lock_text,
)
from lodestream.store.db import Database
from lodestream.store.marks import Change, read_states


@dataclass(frozen=True)
class SyncedLabels:
    """The labels that a comment is to have, by name, by external id or by both."""

    uid: str
    labels: Sequence[tuple[str | None, str | None]] | None


def update_labelling(
    db: Database,
    *,
    actor: Actor,
    project_id: str,
    dataset_id: str,
    uid: str,
    salt: int,
    update: LabellingUpdate,
) -> None:
    """Replace the lists that are given of a comment's annotations; the last writer wins.

    Raises NotFound for an unknown dataset or comment; InvalidInput for what contradicts itself or
    the comment's text; QuotaExceeded.
    """

    def work(session: Session) -> None:
        place = session.lock_places([uid], salt=salt, project_id=project_id)[uid]
        resolver = None
        front = b""
        if update.entities or update.moon_forms:
            front = lock_text(session.tx, place.pos) or b""
        session.hold()
        stored = read_states(session.tx, dataset_id, [place.pos]).get(place.pos)
        before = NOTHING if stored is None else stored.state
        dataset = None
        if front:
            dataset = datasets.get(session.tx, dataset_id)
            texts = Texts(messages_of(front))
            resolver = FieldResolver(
                dataset.entity_defs, dataset.general_fields, texts, session.author
            )
        after = _with_labels(session, before, update)
        if resolver is not None and dataset is not None:
            after = _with_fields(session, after, update, resolver, dataset)
        labelled = bool(update.labelling or update.moon_forms)
        session.save([Change(place.pos, place.source, stored, after, labelled)])

    annotating(db, actor, dataset_id, work, project_id=project_id)


def _with_labels(session: Session, before: State, update: LabellingUpdate) -> State:
    """Return a state with the labels that are given, by themselves or with their occurrences."""
    given = update.labels
    assigned, dismissed = given.assigned, given.dismissed
    names: set[str] = set()
    if update.moon_forms:
        form = update.moon_forms[0]
        formed = [one.label for one in form.assigned]
        _require_agreement(assigned, formed, "assigned")
        assigned = formed
        if form.dismissed:
            _require_agreement(dismissed, form.dismissed.labels, "dismissed")
            dismissed = form.dismissed.labels
        names = {one.label.name for one in _others(form)}
    check_labels(assigned or [], dismissed or [], has_sentiment=session.has_sentiment)
    names.update(label.name for label in (*(assigned or ()), *(dismissed or ())))
    keys = session.keys_of(names) if names else {}
    after = with_labels(
        before, assigned=assigned, dismissed=dismissed, keys=keys, author=session.author
    )
    return with_uninformative(after, given.uninformative, session.author)


def _others(form: MoonFormGroup) -> list[LabelCapturesNew]:
    dismissed = form.dismissed.captures if form.dismissed else []
    return [*(form.drafted or []), *(dismissed or [])]


def _require_agreement(
    given: Sequence[LabelNew] | UnsetType, formed: Sequence[LabelNew], word: str
) -> None:
    if given is not UNSET and {(one.name, one.sentiment) for one in given} != {
        (one.name, one.sentiment) for one in formed
    }:
        raise InvalidInput(f"labelling and moon_forms do not agree on what is {word}")


def _with_fields(
    session: Session,
    before: State,
    update: LabellingUpdate,
    resolver: FieldResolver,
    dataset: Dataset,
) -> State:
    """Return a state with the fields and the occurrences of labels that are given."""
    values: dict[str, object] = {}
    entities = update.entities
    if entities and entities.assigned is not UNSET:
        values["fields_assigned"] = resolver.marks(
            entities.assigned, before.fields_assigned, where="entities.assigned"
        )
    if entities and entities.dismissed is not UNSET:
        values["fields_dismissed"] = resolver.marks(
            entities.dismissed, before.fields_dismissed, where="entities.dismissed"
        )
    if update.moon_forms:
        form = update.moon_forms[0]
        if form.dismissed and "fields_dismissed" not in values:
            values["fields_dismissed"] = resolver.marks(
                [
                    EntityNew(
                        one.formatted_value,
                        id=one.id,
                        name=one.name,
                        field_id=one.field_id,
                        span=one.span,
                        spans=one.spans,
                    )
                    for one in form.dismissed.entities
                ],
                before.fields_dismissed,
                where="moon_forms.dismissed.entities",
            )
        values["captures"] = _captures(session, before, form, resolver, dataset)
    return msgspec.structs.replace(before, **values)


def _captures(
    session: Session,
    before: State,
    form: MoonFormGroup,
    resolver: FieldResolver,
    dataset: Dataset,
) -> tuple[LabelCaptures, ...]:
    labels = _labels_by_name(dataset)
    named = [*form.assigned, *_others(form)]
    keys = session.keys_of(one.label.name for one in named)
    labels |= {name: LabelDef(name) for name in keys if name not in labels}  # made just now
    kept = [one for one in before.captures if one.part != "assigned"]
    found = [*resolver.captures("assigned", form.assigned, keys=keys, labels=labels)]
    others: list[tuple[Part, list[LabelCapturesNew] | UnsetType]] = [
        ("drafted", form.drafted),
        ("dismissed", form.dismissed.captures if form.dismissed else UNSET),
    ]
    for part, given in others:
        if given is UNSET:
            found += [one for one in kept if one.part == part]
        else:
            found += resolver.captures(part, given, keys=keys, labels=labels)
    return tuple(found)


def _labels_by_name(dataset: Dataset) -> dict[str, LabelDef]:
    group = next(group for group in dataset.label_groups if group.name == DEFAULT_GROUP)
    return {label.name: label for label in map(decode_label, group.label_defs)}


def sync_annotations(
    db: Database,
    *,
    actor: Actor,
    project_id: str,
    dataset_id: str,
    salt: int,
    batch: Sequence[SyncedLabels],
) -> None:
    """Replace the assigned labels of comments, all of them or none; other annotations stay.

    Raises NotFound for an unknown dataset or comment, Unprocessable for an external id that no
    label has, InvalidInput for a label or a comment that comes twice, QuotaExceeded.
    """

    def work(session: Session) -> None:
        places = session.lock_places([one.uid for one in batch], salt=salt, project_id=project_id)
        session.hold()
        names = _SyncedNames(session, batch)
        wanted = {
            one.uid: [LabelNew(names.resolve(*label)) for label in one.labels]
            for one in batch
            if one.labels is not None
        }
        for labels in wanted.values():
            check_labels(labels, (), has_sentiment=session.has_sentiment)
        keys = session.keys_of({label.name for labels in wanted.values() for label in labels})
        stored = read_states(session.tx, dataset_id, [places[uid].pos for uid in wanted])
        changes = []
        for uid, labels in wanted.items():
            place = places[uid]
            before = stored.get(place.pos)
            state = NOTHING if before is None else before.state
            after = with_labels(
                state, assigned=labels, dismissed=UNSET, keys=keys, author=session.author
            )
            after = with_uninformative(after, UNSET, session.author)
            changes.append(Change(place.pos, place.source, before, after, True))
        session.save(changes)

    uids = [one.uid for one in batch]
    if len(set(uids)) != len(uids):
        twice = next(uid for uid in uids if uids.count(uid) > 1)
        raise InvalidInput(f"annotations: the comment {twice[:200]} comes twice")
    annotating(db, actor, dataset_id, work, project_id=project_id)


class _SyncedNames:
    """Finds the names of labels that are given by external ids."""

    def __init__(self, session: Session, batch: Sequence[SyncedLabels]) -> None:
        self._by_external_id: dict[str, str] = {}
        labels = [label for one in batch for label in one.labels or ()]
        if any(external_id is not None for _, external_id in labels):
            defined = _labels_by_name(datasets.get(session.tx, session.dataset_id))
            self._by_external_id = {
                label.external_id: label.name for label in defined.values() if label.external_id
            }

    def resolve(self, name: str | None, external_id: str | None) -> str:
        """Return the name of a label. Raises Unprocessable."""
        if external_id is None:
            assert name is not None
            return name
        found = self._by_external_id.get(external_id)
        if found is None:
            raise Unprocessable(f"no label has the external id {external_id!r}")
        if name is not None and found != name:
            raise Unprocessable(
                f"the external id {external_id!r} is of the label {found!r}, not of {name!r}"
            )
        return found
