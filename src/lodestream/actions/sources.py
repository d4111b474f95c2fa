"""Sources: create, change, delete."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from lodestream.domain.audit import ProjectRef, Refs
from lodestream.domain.errors import Conflict, Unprocessable
from lodestream.domain.ids import new_id
from lodestream.domain.sources import Source
from lodestream.domain.times import now_us
from lodestream.store import audit, buckets, jobs, projects, quotas, sources
from lodestream.store.db import Database, Writer

DEFAULT_TRANSFORM_TAG = "generic.0.CONVKER5"
"""What e-mails are read by where nobody said anything."""
SIMPLE_TRANSFORM_TAG = "generic_simple.0.QR5PW4VZ"
"""As the default, but signatures stay in the body."""
MARKUP_TRANSFORM_TAG = "generic_markup.0.LSRICH01"
"""As the default, with the rich text of HTML."""
SIMPLE_MARKUP_TRANSFORM_TAG = "generic_simple_markup.0.LSRICH02"
"""As the simple one, with the rich text of HTML."""
RICH_TEXT_TAGS = {
    DEFAULT_TRANSFORM_TAG: MARKUP_TRANSFORM_TAG,
    SIMPLE_TRANSFORM_TAG: SIMPLE_MARKUP_TRANSFORM_TAG,
}
"""Tags without rich text, and those that read the same with it."""
TRANSFORM_TAGS = frozenset(RICH_TEXT_TAGS) | frozenset(RICH_TEXT_TAGS.values())
"""The e-mail transform tags that exist."""

_FORM_OF_TAGS = re.compile(r"[A-Za-z0-9_-]{1,64}\.[0-9]{1,9}\.[A-Za-z0-9_-]{1,64}")


def require_transform_tag(tag: str, *, any_tag: bool = False) -> None:
    """Raise Unprocessable, in the words that clients know, if there is no such tag.

    With `any_tag`, whatever has the form of a tag is one, and means the default.
    """
    if tag not in TRANSFORM_TAGS and not (any_tag and _FORM_OF_TAGS.fullmatch(tag)):
        raise Unprocessable(f"The value '{tag}' is not a valid transform tag.")


@dataclass(frozen=True)
class SourceChanges:
    """Columns of a source that a caller sets; what is absent stays as it is."""

    values: dict[str, Any]
    any_tag: bool = False  # whether transform tags that nobody knows are taken


def create_source(
    db: Database, *, actor_id: str, project_id: str, owner: str, name: str, changes: SourceChanges
) -> Source:
    """Create a source. Repeating the very create that made it returns it as it is.

    Raises Conflict if the name is taken by another definition, Unprocessable for an unknown
    bucket or transform tag, QuotaExceeded, and NotFound if the project went away.
    """
    values = dict(changes.values)
    _check_tag(changes)
    if values.get("bucket_id") is not None:
        values.setdefault("email_transform_tag", DEFAULT_TRANSFORM_TAG)
    now = now_us()
    wanted = Source(
        key=0,
        id=new_id(),
        project_id=project_id,
        owner=owner,
        name=name,
        language=values.get("language", "en"),
        title=values.get("title", ""),
        description=values.get("description", ""),
        should_translate=values.get("should_translate", False),
        sensitive_properties=tuple(values.get("sensitive_properties", ())),
        kind=values.get("kind", "unknown"),
        bucket_id=values.get("bucket_id"),
        email_transform_tag=values.get("email_transform_tag"),
        email_transform_version=values.get("email_transform_version"),
        created_us=now,
        updated_us=now,
        modified_us=now,
        comments=0,
    )
    with db.write() as tx:
        projects.require_exists(tx, project_id)
        stored = sources.find_by_name(tx, owner, name)
        if stored is not None:
            if _same_definition(stored, wanted):
                return stored
            raise Conflict(f"a source named {owner}/{name} exists")
        _check_bucket(tx, wanted.bucket_id)
        quotas.require_room(tx, "sources", sources.count(tx) + 1)
        source = sources.insert(tx, wanted)
        if source.bucket_id is not None:
            buckets.follow(tx, source.key, source.bucket_id)
        _record(tx, actor_id, "create_source", source)
    return source


def update_source(
    db: Database, *, actor_id: str, source_key: int, changes: SourceChanges
) -> Source:
    """Set the given columns; an empty change is none.

    Another bucket, transform tag or version makes the source read its bucket anew.

    Raises NotFound, Unprocessable for an unknown bucket or transform tag, or when it would change
    the kind of a source that has comments.
    """
    values = changes.values
    _check_tag(changes)
    with db.write() as tx:
        before = sources.get_by_key(tx, source_key)
        new = {name: value for name, value in values.items() if getattr(before, name) != value}
        if not new:
            return before
        if "kind" in new and before.comments:
            raise Unprocessable("the kind of a source that has comments cannot be changed")
        sources.update(tx, source_key, {**new, "updated_us": max(now_us(), before.updated_us + 1)})
        source = sources.get_by_key(tx, source_key)
        if not _READING.isdisjoint(new) and (before.bucket_id or source.bucket_id):
            _check_bucket(tx, source.bucket_id)
            buckets.follow(tx, source_key, source.bucket_id)
        _record(tx, actor_id, "update_source", source)
    return source


def delete_source(db: Database, *, actor_id: str, source_key: int) -> None:
    """Delete a source: it is gone at once, its comments and files follow in the background.

    Raises NotFound.
    """
    with db.write() as tx:
        source = sources.get_by_key(tx, source_key)
        remove_source(tx, source)
        _record(tx, actor_id, "delete_source", source)


def remove_source(tx: Writer, source: Source) -> None:
    """Take a source away and leave its comments to the worker."""
    buckets.follow(tx, source.key, None)
    sources.delete(tx, source.key)
    jobs.enqueue(tx, "purge_source", {"source": source.key})


_READING = frozenset({"bucket_id", "email_transform_tag", "email_transform_version"})
"""What decides which comments are made of the e-mails of a bucket."""


def _check_tag(changes: SourceChanges) -> None:
    tag = changes.values.get("email_transform_tag")
    if tag is not None:
        require_transform_tag(tag, any_tag=changes.any_tag)


def _check_bucket(tx: Writer, bucket_id: str | None) -> None:
    if bucket_id is not None and buckets.find_by_id(tx, bucket_id) is None:
        raise Unprocessable(f"No such bucket: {bucket_id}")


def _same_definition(stored: Source, wanted: Source) -> bool:
    settled = msgspec.structs.replace(
        wanted,
        key=stored.key,
        id=stored.id,
        created_us=stored.created_us,
        updated_us=stored.updated_us,
        modified_us=stored.modified_us,
        comments=stored.comments,
    )
    return stored == settled


def _record(tx: Writer, actor_id: str, event_type: str, source: Source) -> None:
    refs = Refs(projects=(ProjectRef(source.project_id, source.owner),), sources=(source.ref,))
    audit.record(tx, actor_id=actor_id, event_type=event_type, refs=refs)
