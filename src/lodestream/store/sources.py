"""Sources: rows ↔ structs."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from lodestream.domain.errors import NotFound
from lodestream.domain.sources import Source
from lodestream.store.db import Reader, Writer
from lodestream.store.tables import dataset_source, project, source, source_content

_QUERY = (
    sa.select(
        source,
        project.c.name.label("owner"),
        source_content.c.comments,
        source_content.c.modified_us,
    )
    .join(project, project.c.id == source.c.project_id)
    .join(source_content, source_content.c.source == source.c.key)
)


def find_by_id(tx: Reader, source_id: str) -> Source | None:
    """Return the source with this id, or None."""
    row = tx.execute(_QUERY.where(source.c.id == source_id)).first()
    return None if row is None else _source(row)


def find_by_name(tx: Reader, project_name: str, name: str) -> Source | None:
    """Return the source of this full name, or None."""
    row = tx.execute(_QUERY.where(project.c.name == project_name, source.c.name == name)).first()
    return None if row is None else _source(row)


def get_by_key(tx: Reader, key: int) -> Source:
    """Return the source with this key. Raises NotFound."""
    row = tx.execute(_QUERY.where(source.c.key == key)).first()
    if row is None:
        raise NotFound
    return _source(row)


_EXISTS = sa.select(source.c.key).where(source.c.key == sa.bindparam("key", type_=sa.BigInteger))
_COMMENT_COUNT = sa.select(source_content.c.comments).where(
    source_content.c.source == sa.bindparam("key", type_=sa.BigInteger)
)


def exists(tx: Reader, key: int) -> bool:
    """Tell whether there is a source with this key."""
    return bool(tx.rows(_EXISTS, key=key))


def require_exists(tx: Reader, key: int) -> None:
    """Raise NotFound if the source went away since it was looked up."""
    if not exists(tx, key):
        raise NotFound


def count(tx: Reader) -> int:
    """Return how many sources there are."""
    number: int = tx.execute(sa.select(sa.func.count()).select_from(source)).scalar_one()
    return number


def comment_count(tx: Reader, key: int) -> int:
    """Return how many comments a source holds."""
    count: int = tx.rows(_COMMENT_COUNT, key=key)[0][0]
    return count


def list_sources(tx: Reader, *, projects: frozenset[str] | None) -> list[Source]:
    """Return the sources of the projects with these ids (None: of all), by owner and name."""
    query = _QUERY.order_by(project.c.name, source.c.name)
    if projects is not None:
        query = query.where(source.c.project_id.in_(projects))
    return [_source(row) for row in tx.execute(query)]


def list_in_dataset(tx: Reader, dataset_id: str) -> list[Source]:
    """Return the sources of a dataset, in the order they were set."""
    query = (
        _QUERY.join(dataset_source, dataset_source.c.source == source.c.key)
        .where(dataset_source.c.dataset_id == dataset_id)
        .order_by(dataset_source.c.rank)
    )
    return [_source(row) for row in tx.execute(query)]


def insert(tx: Writer, values: Source) -> Source:
    """Store a new source; its `key` is chosen here and returned with it."""
    row = msgspec.structs.asdict(values)
    for name in ("key", "owner", "modified_us", "comments"):
        del row[name]
    row["sensitive_properties"] = msgspec.json.encode(values.sensitive_properties).decode()
    key = tx.execute(sa.insert(source).values(**row).returning(source.c.key)).scalar_one()
    tx.execute(
        sa.insert(source_content).values(source=key, comments=0, modified_us=values.created_us)
    )
    return msgspec.structs.replace(values, key=key)


def update(tx: Writer, key: int, changes: dict[str, Any]) -> None:
    """Set columns of a source; `changes` maps the names of `Source` fields to values."""
    row = dict(changes)
    if "sensitive_properties" in row:
        encoded = msgspec.json.encode(row["sensitive_properties"]).decode()
        row["sensitive_properties"] = encoded
    tx.execute(sa.update(source).where(source.c.key == key).values(**row))


def delete(tx: Writer, key: int) -> None:
    """Take a source out of every dataset and of the listing; its comments go later, by a job."""
    tx.execute(sa.delete(dataset_source).where(dataset_source.c.source == key))
    tx.execute(sa.delete(source_content).where(source_content.c.source == key))
    tx.execute(sa.delete(source).where(source.c.key == key))


def decode_names(text: str) -> tuple[str, ...]:
    """Read a stored JSON array of names."""
    return msgspec.json.decode(text, type=tuple[str, ...])


def _source(row: Any) -> Source:
    return Source(
        key=row.key,
        id=row.id,
        project_id=row.project_id,
        owner=row.owner,
        name=row.name,
        language=row.language,
        title=row.title,
        description=row.description,
        should_translate=row.should_translate,
        sensitive_properties=decode_names(row.sensitive_properties),
        kind=row.kind,
        bucket_id=row.bucket_id,
        email_transform_tag=row.email_transform_tag,
        email_transform_version=row.email_transform_version,
        created_us=row.created_us,
        updated_us=row.updated_us,
        modified_us=max(row.modified_us, row.updated_us),
        comments=row.comments,
    )
