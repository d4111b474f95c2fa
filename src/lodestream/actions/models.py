"""Model versions: pin, unpin, tag, describe."""

from __future__ import annotations

from lodestream.domain.audit import DatasetRef, ProjectRef, Refs
from lodestream.domain.errors import Conflict, NotFound, Unprocessable
from lodestream.domain.models import MAX_PINNED, Model, Tag
from lodestream.domain.times import now_us
from lodestream.store import audit, datasets, models, quotas
from lodestream.store.catalogue import DatasetName
from lodestream.store.db import Database, Writer


def update_model(
    db: Database,
    *,
    actor_id: str,
    dataset: DatasetName,
    version: int,
    starred: bool | None = None,
    description: str | None = None,
) -> Model:
    """Set what is given on a version. Raises NotFound."""
    given = {"starred": starred, "description": description}
    with db.write() as tx:
        model = models.get(tx, dataset.id, version)
        changes = {
            name: value
            for name, value in given.items()
            if value is not None and value != getattr(model, name)
        }
        if not changes:
            return model
        models.update(tx, model.key, **changes)
        _record(tx, actor_id, "update_model", dataset, version)
        return models.get(tx, dataset.id, version)


def pin_model(db: Database, *, actor_id: str, dataset: DatasetName, version: int) -> None:
    """Keep a version for good, so that it may be used; a pinned one stays as it is.

    Raises NotFound, Unprocessable if as many versions are pinned as may be, QuotaExceeded.
    """
    with db.write() as tx:
        model = models.get(tx, dataset.id, version)
        if model.pinned:
            return
        pinned = models.count_pinned(tx, dataset.id)
        if pinned >= MAX_PINNED:
            raise Unprocessable(f"{MAX_PINNED} model versions are pinned already; unpin one first")
        quotas.require_room(tx, "pinned_models", pinned + 1)
        models.update(tx, model.key, pinned=True)
        _record(tx, actor_id, "pin_model", dataset, version)


def unpin_model(db: Database, *, actor_id: str, dataset: DatasetName, version: int) -> None:
    """No longer keep a version for good; one that is not pinned stays as it is.

    Raises NotFound, Conflict if a stream uses the version or a tag points to it.
    """
    with db.write() as tx:
        model = models.get(tx, dataset.id, version)
        if not model.pinned:
            return
        streams = [n for n, one in models.stream_models(tx, dataset.id) if one.version == version]
        if streams:
            names = ", ".join(streams[:5])
            raise Conflict(f"model version {version} is used by the stream(s) {names}")
        tags = [tag.name for tag in models.list_tags(tx, dataset.id) if tag.version == version]
        if tags:
            raise Conflict(f"model version {version} carries the tag(s) {', '.join(tags)}")
        models.update(tx, model.key, pinned=False)
        _record(tx, actor_id, "unpin_model", dataset, version)


def set_tag(db: Database, *, actor_id: str, dataset: DatasetName, name: str, version: int) -> Tag:
    """Point a tag to a pinned version. Raises NotFound, Unprocessable if it is not pinned."""
    with db.write() as tx:
        datasets.require_exists(tx, dataset.id)
        if not models.is_pinned(tx, dataset.id, version):
            raise Unprocessable(f"model version {version} is not a pinned version")
        before = models.find_tag(tx, dataset.id, name)
        if before is not None and before.version == version:
            return before
        tag = Tag(name, version, now_us())
        models.save_tag(tx, dataset.id, tag)
        _record(tx, actor_id, "update_model_tag", dataset, version, tag=name)
    return tag


def delete_tag(db: Database, *, actor_id: str, dataset: DatasetName, name: str) -> None:
    """Take a tag away from its version. Raises NotFound if it points to none."""
    with db.write() as tx:
        tag = models.find_tag(tx, dataset.id, name)
        if tag is None:
            raise NotFound(f"The tag {name!r} is not set")
        models.delete_tag(tx, dataset.id, name)
        _record(tx, actor_id, "delete_model_tag", dataset, tag.version, tag=name)


def mark_seen(db: Database, *, action_id: str, uid: str) -> frozenset[str]:
    """Note that a comment of a training action was looked at; return those seen before.

    It leaves no audit entry: nothing of the dataset changes.
    """
    with db.write(catalogue=False) as tx:
        before = models.seen(tx, [action_id]).get(action_id, set())
        models.mark_seen(tx, action_id, uid, now_us=now_us())
    return frozenset(before)


def _record(
    tx: Writer, actor_id: str, event_type: str, dataset: DatasetName, version: int, **details: str
) -> None:
    refs = Refs(
        projects=(ProjectRef(dataset.project_id, dataset.owner),),
        datasets=(DatasetRef(dataset.id, dataset.name, dataset.title, dataset.project_id),),
        details={"version": version, **details},
    )
    audit.record(tx, actor_id=actor_id, event_type=event_type, refs=refs)
