"""Datasets: rows ↔ structs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from lodestream.domain.datasets import Dataset, Settings, SourceMember
from lodestream.domain.definitions import Definitions
from lodestream.domain.errors import NotFound
from lodestream.domain.fields import EntityDef, GeneralField
from lodestream.domain.labels import LabelGroupDefs
from lodestream.store import jobs, labels, streams
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import (
    dataset,
    dataset_source,
    entity_def,
    general_field,
    label_group,
    learning,
    project,
    source,
)

_Body = TypeVar("_Body")


def require_exists(tx: Reader, dataset_id: str) -> None:
    """Raise NotFound if the dataset went away since it was looked up."""
    if tx.execute(sa.select(dataset.c.id).where(dataset.c.id == dataset_id)).first() is None:
        raise NotFound("No such dataset")


def source_ids(tx: Reader, dataset_id: str) -> list[str]:
    """Return the ids of a dataset's sources, in the order they were set."""
    query = (
        sa.select(source.c.id)
        .join(dataset_source, dataset_source.c.source == source.c.key)
        .where(dataset_source.c.dataset_id == dataset_id)
        .order_by(dataset_source.c.rank)
    )
    return list(tx.execute(query).scalars())


def get(tx: Reader, dataset_id: str) -> Dataset:
    """Return the dataset with this id. Raises NotFound."""
    found = find_by_id(tx, dataset_id)
    if found is None:
        raise NotFound("No such dataset")
    return found


def find_by_id(tx: Reader, dataset_id: str) -> Dataset | None:
    """Return the dataset with this id, or None."""
    found = _load(tx, sa.select(dataset.c.id).where(dataset.c.id == dataset_id))
    return found[0] if found else None


def exists(tx: Reader, project_id: str, name: str) -> bool:
    """Tell whether a project has a dataset of this name."""
    query = sa.select(dataset.c.id).where(
        dataset.c.project_id == project_id, dataset.c.name == name
    )
    return tx.execute(query).first() is not None


def exists_by_id(tx: Reader, dataset_id: str) -> bool:
    """Tell whether there is a dataset with this id."""
    return tx.execute(sa.select(dataset.c.id).where(dataset.c.id == dataset_id)).first() is not None


def list_datasets(tx: Reader, *, projects: frozenset[str] | None) -> list[Dataset]:
    """Return the datasets of the projects with these ids (None: of all), by owner and name."""
    query = sa.select(dataset.c.id)
    if projects is not None:
        query = query.where(dataset.c.project_id.in_(projects))
    return _load(tx, query)


def count(tx: Reader) -> int:
    """Return how many datasets there are."""
    number: int = tx.execute(sa.select(sa.func.count()).select_from(dataset)).scalar_one()
    return number


def counts_by_source(tx: Reader, keys: Iterable[int]) -> dict[int, int]:
    """Return how many datasets each of the sources is in."""
    query = (
        sa.select(dataset_source.c.source, sa.func.count().label("datasets"))
        .where(dataset_source.c.source.in_(list(keys)))
        .group_by(dataset_source.c.source)
    )
    return {row.source: row.datasets for row in tx.execute(query)}


def find_sources(tx: Reader, ids: Sequence[str]) -> dict[str, SourceMember]:
    """Return those of the sources that exist, by id."""
    query = sa.select(source.c.key, source.c.id, source.c.project_id).where(source.c.id.in_(ids))
    return {row.id: SourceMember(row.key, row.id, row.project_id) for row in tx.execute(query)}


def insert(tx: Writer, new: Dataset, groups: Sequence[LabelGroupDefs]) -> Definitions:
    """Store a new dataset, with `groups` for its labels; return what it defines."""
    row = {
        name: getattr(new, name)
        for name in ("id", "project_id", "name", "title", "description", "model_family")
    }
    tx.execute(
        sa.insert(dataset).values(
            **row,
            has_sentiment=new.has_sentiment,
            settings=msgspec.json.encode(new.settings).decode(),
            created_us=new.created_us,
            updated_us=new.updated_us,
        )
    )
    set_sources(tx, new.id, new.sources)
    set_entity_defs(tx, new.id, new.entity_defs)
    set_general_fields(tx, new.id, new.general_fields)
    made = labels.insert_groups(tx, new.id, groups, now_us=new.created_us)
    return Definitions(labels=made, entity_defs=new.entity_defs)


def update(tx: Writer, before: Dataset, after: Dataset) -> None:
    """Store what differs between two states of a dataset, but for its labels."""
    tx.execute(
        sa.update(dataset)
        .where(dataset.c.id == before.id)
        .values(
            title=after.title,
            description=after.description,
            model_family=after.model_family,
            settings=msgspec.json.encode(after.settings).decode(),
            updated_us=after.updated_us,
        )
    )
    if after.sources != before.sources:
        set_sources(tx, before.id, after.sources)
    if after.entity_defs != before.entity_defs:
        set_entity_defs(tx, before.id, after.entity_defs)
    if after.general_fields != before.general_fields:
        set_general_fields(tx, before.id, after.general_fields)


def touch(tx: Writer, dataset_id: str, *, now_us: int) -> None:
    """Note a change of a dataset's labels; the time of the last change always moves forward."""
    later = sa.case(
        (dataset.c.updated_us < now_us, sa.literal(now_us, sa.BigInteger)),
        else_=dataset.c.updated_us + 1,
    )
    tx.execute(sa.update(dataset).where(dataset.c.id == dataset_id).values(updated_us=later))


def set_sources(tx: Writer, dataset_id: str, members: Sequence[SourceMember]) -> None:
    """Make these the sources of a dataset, in this order."""
    tx.execute(sa.delete(dataset_source).where(dataset_source.c.dataset_id == dataset_id))
    rows = [
        {"dataset_id": dataset_id, "source": member.key, "rank": rank}
        for rank, member in enumerate(members)
    ]
    if rows:
        tx.execute(sa.insert(dataset_source), rows)


def set_entity_defs(tx: Writer, dataset_id: str, found: Sequence[EntityDef]) -> None:
    """Make these the field types of a dataset, in this order."""
    tx.execute(sa.delete(entity_def).where(entity_def.c.dataset_id == dataset_id))
    rows = [
        {
            "dataset_id": dataset_id,
            "id": one.id,
            "name": one.name,
            "rank": rank,
            "body": msgspec.json.encode(one).decode(),
        }
        for rank, one in enumerate(found)
    ]
    if rows:
        tx.execute(sa.insert(entity_def), rows)


def set_general_fields(tx: Writer, dataset_id: str, found: Sequence[GeneralField]) -> None:
    """Make these the general fields of a dataset, in this order."""
    tx.execute(sa.delete(general_field).where(general_field.c.dataset_id == dataset_id))
    rows = [
        {
            "dataset_id": dataset_id,
            "id": one.field_id,
            "api_name": one.api_name,
            "rank": rank,
            "body": msgspec.json.encode(one).decode(),
        }
        for rank, one in enumerate(found)
    ]
    if rows:
        tx.execute(sa.insert(general_field), rows)


def entity_defs(tx: Reader, dataset_id: str) -> list[EntityDef]:
    """Return the field types of a dataset, in their order."""
    ids = sa.select(sa.literal(dataset_id))
    return _bodies(tx, entity_def, ids, EntityDef).get(dataset_id, [])


def remove_dataset(tx: Writer, dataset_id: str) -> None:
    """Delete a dataset with its labels, fields and streams; its sources stay.

    Its annotations and models, which nothing finds any more, are left to a job.
    """
    # Who is annotating in it is waited for, in the order in which he locks.
    tx.execute(sa.select(dataset.c.id).where(dataset.c.id == dataset_id).with_for_update()).all()
    learned = sa.delete(learning).where(learning.c.dataset_id == dataset_id)
    if tx.execute(learned).rowcount:
        jobs.enqueue(tx, "purge_dataset", {"dataset_id": dataset_id})
    for one in streams.list_streams(tx, [dataset_id]):
        streams.delete(tx, one.id)
    groups = sa.select(label_group.c.name).where(label_group.c.dataset_id == dataset_id)
    for name in list(tx.execute(groups).scalars()):
        labels.delete_group(tx, dataset_id, name)
    for table in (entity_def, general_field, dataset_source):
        tx.execute(sa.delete(table).where(table.c.dataset_id == dataset_id))
    tx.execute(sa.delete(dataset).where(dataset.c.id == dataset_id))


def _load(tx: Reader, ids: sa.Select[Any]) -> list[Dataset]:
    """Return the datasets whose ids a query selects, by owner and name."""
    rows = tx.execute(
        sa.select(dataset, project.c.name.label("owner"))
        .join(project, project.c.id == dataset.c.project_id)
        .where(dataset.c.id.in_(ids))
        .order_by(project.c.name, dataset.c.name)
    ).all()
    members = _members(tx, ids)
    groups = labels.list_groups(tx, ids)
    types = _bodies(tx, entity_def, ids, EntityDef)
    fields = _bodies(tx, general_field, ids, GeneralField)
    return [
        Dataset(
            id=row.id,
            project_id=row.project_id,
            owner=row.owner,
            name=row.name,
            title=row.title,
            description=row.description,
            model_family=row.model_family,
            has_sentiment=row.has_sentiment,
            settings=msgspec.json.decode(row.settings, type=Settings),
            created_us=row.created_us,
            updated_us=row.updated_us,
            sources=tuple(members.get(row.id, ())),
            label_groups=tuple(groups.get(row.id, ())),
            entity_defs=tuple(types.get(row.id, ())),
            general_fields=tuple(fields.get(row.id, ())),
        )
        for row in rows
    ]


def _members(tx: Reader, ids: sa.Select[Any]) -> dict[str, list[SourceMember]]:
    query = (
        sa.select(dataset_source.c.dataset_id, source.c.key, source.c.id, source.c.project_id)
        .join(source, source.c.key == dataset_source.c.source)
        .where(dataset_source.c.dataset_id.in_(ids))
        .order_by(dataset_source.c.rank)
    )
    found: dict[str, list[SourceMember]] = {}
    for row in tx.execute(query):
        found.setdefault(row.dataset_id, []).append(SourceMember(row.key, row.id, row.project_id))
    return found


def _bodies(
    tx: Reader, table: sa.Table, ids: sa.Select[Any], kind: type[_Body]
) -> dict[str, list[_Body]]:
    decode = msgspec.json.Decoder(kind).decode
    query = (
        sa.select(table.c.dataset_id, table.c.body)
        .where(table.c.dataset_id.in_(ids))
        .order_by(table.c.rank)
    )
    found: dict[str, list[Any]] = {}
    for row in tx.execute(query):
        found.setdefault(row.dataset_id, []).append(decode(row.body))
    return found
