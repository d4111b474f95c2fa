"""Model versions of a dataset, their files, tags and validations: rows ↔ structs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa

from lodestream.domain.errors import NotFound
from lodestream.domain.models import (
    Definitions,
    Model,
    NewModel,
    Tag,
    Thresholds,
    TrainingAction,
    Validated,
)
from lodestream.domain.streams import StreamModel
from lodestream.store.db import Reader, Writer
from lodestream.store.dialect import upsert
from lodestream.store.tables import (
    label_validation,
    model,
    model_file,
    model_tag,
    rendering,
    seen_comment,
    stream,
    training_action,
)

_COLUMNS = [
    model.c.key,
    model.c.dataset_id,
    model.c.version,
    model.c.trained_us,
    model.c.duration_s,
    model.c.input_us,
    model.c.input_revision,
    model.c.fingerprint,
    model.c.space,
    model.c.has_sentiment,
    model.c.labels,
    model.c.reviewed_counts,
    model.c.validation.is_not(None).label("validated"),
    model.c.pinned,
    model.c.deleted,
    model.c.starred,
    model.c.description,
]


def stream_models(tx: Reader, dataset_id: str) -> list[tuple[str, StreamModel]]:
    """Return the name and the model of every stream of a dataset that has a model."""
    query = sa.select(stream.c.name, stream.c.model).where(
        stream.c.dataset_id == dataset_id, stream.c.model.is_not(None)
    )
    return [
        (row.name, msgspec.json.decode(row.model, type=StreamModel))
        for row in tx.execute(query.order_by(stream.c.name))
    ]


def versions_in_use(tx: Reader, dataset_id: str) -> frozenset[int]:
    """Return the versions whose predictions some stream of the dataset attaches."""
    return frozenset(one.version for _, one in stream_models(tx, dataset_id))


def find(tx: Reader, dataset_id: str, version: int) -> Model | None:
    """Return a version whose files are there, or None."""
    query = sa.select(*_COLUMNS).where(*_is(dataset_id, version), ~model.c.deleted)
    row = tx.execute(query).first()
    return None if row is None else _model(row, versions_in_use(tx, dataset_id))


def get(tx: Reader, dataset_id: str, version: int) -> Model:
    """Return a version whose files are there. Raises NotFound."""
    found = find(tx, dataset_id, version)
    if found is None:
        raise NotFound(f"No such model version: {version}")
    return found


def find_newest(tx: Reader, dataset_id: str, *, validated: bool = False) -> Model | None:
    """Return the newest version (of those that were validated), or None if there is none."""
    query = sa.select(*_COLUMNS).where(model.c.dataset_id == dataset_id, ~model.c.deleted)
    if validated:
        query = query.where(model.c.validation.is_not(None))
    row = tx.execute(query.order_by(model.c.version.desc()).limit(1)).first()
    return None if row is None else _model(row, versions_in_use(tx, dataset_id))


def list_models(
    tx: Reader,
    dataset_id: str,
    *,
    older_than: int | None = None,
    limit: int | None = None,
    include_deleted: bool = False,
    starred: bool | None = None,
    validated: bool | None = None,
) -> list[Model]:
    """Return versions of a dataset, the newest first."""
    query = sa.select(*_COLUMNS).where(model.c.dataset_id == dataset_id)
    if older_than is not None:
        query = query.where(model.c.version < older_than)
    if not include_deleted:
        query = query.where(~model.c.deleted)
    if starred is not None:
        query = query.where(model.c.starred == starred)
    if validated is not None:
        there = model.c.validation.is_not(None)
        query = query.where(there if validated else ~there)
    query = query.order_by(model.c.version.desc())
    if limit is not None:
        query = query.limit(limit)
    used = versions_in_use(tx, dataset_id)
    return [_model(row, used) for row in tx.execute(query)]


def is_pinned(tx: Reader, dataset_id: str, version: int) -> bool:
    """Tell whether a dataset has a pinned model of this version."""
    query = sa.select(model.c.pinned).where(*_is(dataset_id, version), ~model.c.deleted)
    return bool(tx.execute(query).scalar_one_or_none())


def count_pinned(tx: Reader, dataset_id: str) -> int:
    """Return how many versions of a dataset are pinned."""
    query = sa.select(sa.func.count()).where(model.c.dataset_id == dataset_id, model.c.pinned)
    number: int = tx.execute(query).scalar_one()
    return number


def active(tx: Reader, dataset_id: str) -> list[Model]:
    """Return the versions whose predictions are kept: those in use by streams, then the newest."""
    newest = find_newest(tx, dataset_id)
    if newest is None:
        return []
    found = [find(tx, dataset_id, one) for one in sorted(versions_in_use(tx, dataset_id))]
    return [one for one in found if one and one.version != newest.version] + [newest]


def insert(tx: Writer, values: NewModel, *, version: int, head: bytes) -> int:
    """Store a new version with its file; return its key."""
    row = msgspec.structs.asdict(values)
    row["labels"] = msgspec.json.encode(values.labels).decode()
    row["definitions"] = msgspec.json.encode(values.definitions).decode()
    row["reviewed_counts"] = msgspec.json.encode(values.reviewed_counts).decode()
    fresh = {"pinned": False, "deleted": False, "starred": False, "description": ""}
    inserted = sa.insert(model).values(version=version, **row, **fresh).returning(model.c.key)
    key: int = tx.execute(inserted).scalar_one()
    save_file(tx, key, "head", head)
    return key


def update(tx: Writer, key: int, **changes: object) -> None:
    """Set `pinned`, `starred`, `description` or `deleted` of a version."""
    tx.execute(sa.update(model).where(model.c.key == key).values(**changes))


def save_file(tx: Writer, key: int, kind: str, body: bytes) -> None:
    """Store a file of a version."""
    values = {"model": key, "kind": kind, "body": body}
    tx.execute(upsert(model_file, tx.dialect_name, values=values, update=("body",)))


def find_file(tx: Reader, key: int, kind: str) -> bytes | None:
    """Return a file of a version, or None."""
    query = sa.select(model_file.c.body).where(model_file.c.model == key, model_file.c.kind == kind)
    body = tx.execute(query).scalar_one_or_none()
    return None if body is None else bytes(body)


def definitions(tx: Reader, key: int) -> Definitions:
    """Return the taxonomy as it was when a version was trained."""
    query = sa.select(model.c.definitions).where(model.c.key == key)
    return msgspec.json.decode(tx.execute(query).scalar_one(), type=Definitions)


def thresholds(tx: Reader, key: int) -> dict[str, Thresholds]:
    """Return the automatic thresholds of a version's labels; only labels that have them."""
    query = sa.select(model.c.thresholds).where(model.c.key == key)
    body = tx.execute(query).scalar_one_or_none()
    return {} if body is None else msgspec.json.decode(body, type=dict[str, Thresholds])


def save_validation(tx: Writer, key: int, found: Validated) -> None:
    """Store what a validation found; what was there is replaced."""
    tx.execute(
        sa.update(model)
        .where(model.c.key == key)
        .values(
            validation=found.validation.decode(),
            statistics=found.statistics.decode(),
            thresholds=msgspec.json.encode(found.thresholds).decode(),
        )
    )
    save_file(tx, key, "validation_details", found.details)
    tx.execute(sa.delete(label_validation).where(label_validation.c.model == key))
    rows = [{"model": key, "label": name, "body": b.decode()} for name, b in found.labels.items()]
    if rows:
        tx.execute(sa.insert(label_validation), rows)
    _delete_actions(tx, key)
    rows = [
        {
            "id": action.id,
            "model": key,
            "rank": action.rank,
            "choice": action.choice,
            "body": action.body.decode(),
            "uids": msgspec.json.encode(action.uids).decode(),
        }
        for action in found.actions
    ]
    if rows:
        tx.execute(sa.insert(training_action), rows)


def validation(tx: Reader, key: int) -> bytes | None:
    """Return the JSON of a version's validation, or None."""
    return _json(tx, model.c.validation, key)


def statistics(tx: Reader, key: int) -> bytes | None:
    """Return the JSON of a version's public statistics, or None."""
    return _json(tx, model.c.statistics, key)


def find_label_validation(tx: Reader, key: int, label: str) -> bytes | None:
    """Return the JSON of a label's validation, or None."""
    query = sa.select(label_validation.c.body).where(
        label_validation.c.model == key, label_validation.c.label == label
    )
    body: str | None = tx.execute(query).scalar_one_or_none()
    return None if body is None else body.encode()


def list_actions(tx: Reader, key: int) -> list[TrainingAction]:
    """Return the training actions of a version, the most useful first."""
    query = sa.select(training_action).where(training_action.c.model == key)
    order = (training_action.c.rank, training_action.c.choice)
    return [_action(row) for row in tx.execute(query.order_by(*order))]


def find_action(tx: Reader, dataset_id: str, action_id: str) -> TrainingAction | None:
    """Return a training action of a dataset, or None."""
    query = (
        sa.select(training_action)
        .join(model, model.c.key == training_action.c.model)
        .where(model.c.dataset_id == dataset_id, training_action.c.id == action_id)
    )
    row = tx.execute(query).first()
    return None if row is None else _action(row)


def mark_seen(tx: Writer, action_id: str, uid: str, *, now_us: int) -> None:
    """Note that somebody looked at a comment of a training action."""
    values = {"action_id": action_id, "uid": uid, "seen_us": now_us}
    tx.execute(upsert(seen_comment, tx.dialect_name, values=values, update=("seen_us",)))


def seen(tx: Reader, action_ids: Collection[str]) -> dict[str, set[str]]:
    """Return the comments that were looked at, by training action."""
    found: dict[str, set[str]] = {}
    query = sa.select(seen_comment).where(seen_comment.c.action_id.in_(action_ids))
    for row in tx.execute(query):
        found.setdefault(row.action_id, set()).add(row.uid)
    return found


def list_tags(tx: Reader, dataset_id: str) -> list[Tag]:
    """Return the tags of a dataset, by name."""
    query = sa.select(model_tag).where(model_tag.c.dataset_id == dataset_id)
    rows = tx.execute(query.order_by(model_tag.c.name))
    return [Tag(row.name, row.version, row.updated_us) for row in rows]


def find_tag(tx: Reader, dataset_id: str, name: str) -> Tag | None:
    """Return the tag of this name, or None."""
    return next((tag for tag in list_tags(tx, dataset_id) if tag.name == name), None)


def save_tag(tx: Writer, dataset_id: str, tag: Tag) -> None:
    """Set a tag."""
    values = {"dataset_id": dataset_id, **msgspec.structs.asdict(tag)}
    update = ("version", "updated_us")
    tx.execute(upsert(model_tag, tx.dialect_name, values=values, update=update))


def delete_tag(tx: Writer, dataset_id: str, name: str) -> bool:
    """Remove a tag; tell whether it was there."""
    here = (model_tag.c.dataset_id == dataset_id) & (model_tag.c.name == name)
    return tx.execute(sa.delete(model_tag).where(here)).rowcount == 1


def delete_files(tx: Writer, key: int) -> None:
    """Remove all of a version but the row that tells it was there, and its predictions."""
    tx.execute(sa.delete(model_file).where(model_file.c.model == key))
    tx.execute(sa.delete(label_validation).where(label_validation.c.model == key))
    _delete_actions(tx, key)
    update(tx, key, deleted=True, pinned=False)


def deleted_keys(tx: Reader, dataset_id: str) -> list[int]:
    """Return the keys of versions whose files are gone."""
    query = sa.select(model.c.key).where(model.c.dataset_id == dataset_id, model.c.deleted)
    return [row.key for row in tx.execute(query)]


def take_rendering(tx: Writer, key: int, thresholds_json: str) -> int:
    """Return the key of the rendering of a model with these thresholds, which is made if new."""
    here = (rendering.c.model == key) & (rendering.c.thresholds == thresholds_json)
    found: int | None = tx.execute(sa.select(rendering.c.key).where(here)).scalar_one_or_none()
    if found is None:
        values = {"model": key, "thresholds": thresholds_json}
        made = sa.insert(rendering).values(**values).returning(rendering.c.key)
        found = int(tx.execute(made).scalar_one())
    return found


def find_rendering(tx: Reader, key: int, thresholds_json: str) -> int | None:
    """Return the key of the rendering of a model with these thresholds, or None."""
    here = (rendering.c.model == key) & (rendering.c.thresholds == thresholds_json)
    found: int | None = tx.execute(sa.select(rendering.c.key).where(here)).scalar_one_or_none()
    return found


def list_renderings(tx: Reader) -> list[tuple[int, int, str]]:
    """Return (key, model, thresholds) of every rendering."""
    query = sa.select(rendering).order_by(rendering.c.key)
    return [(row.key, row.model, row.thresholds) for row in tx.execute(query)]


def delete_rendering(tx: Writer, key: int) -> None:
    """Remove a rendering; what was rendered has to be gone."""
    tx.execute(sa.delete(rendering).where(rendering.c.key == key))


def _delete_actions(tx: Writer, key: int) -> None:
    own = sa.select(training_action.c.id).where(training_action.c.model == key)
    tx.execute(sa.delete(seen_comment).where(seen_comment.c.action_id.in_(own.scalar_subquery())))
    tx.execute(sa.delete(training_action).where(training_action.c.model == key))


def _json(tx: Reader, column: sa.Column[Any], key: int) -> bytes | None:
    body: str | None = tx.execute(sa.select(column).where(model.c.key == key)).scalar_one_or_none()
    return None if body is None else body.encode()


def _is(dataset_id: str, version: int) -> tuple[sa.ColumnElement[bool], ...]:
    return model.c.dataset_id == dataset_id, model.c.version == version


def _model(row: Any, used: frozenset[int]) -> Model:
    values = dict(row._mapping)
    values["labels"] = tuple(msgspec.json.decode(values["labels"], type=list[str]))
    values["reviewed_counts"] = msgspec.json.decode(values["reviewed_counts"])
    return Model(used=row.version in used, **values)


def _action(row: Any) -> TrainingAction:
    uids = tuple(msgspec.json.decode(row.uids, type=list[str]))
    return TrainingAction(row.id, row.rank, row.choice, row.body.encode(), uids)
