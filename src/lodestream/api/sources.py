"""Sources over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from lodestream.actions import sources as actions
from lodestream.actions.sources import SourceChanges
from lodestream.api.calls import Call
from lodestream.domain import access
from lodestream.domain.errors import InvalidInput, NotFound, Unprocessable
from lodestream.domain.ids import HEX16, is_id, is_resource_name
from lodestream.domain.sources import Language, Source, SourceKind
from lodestream.domain.times import format_us
from lodestream.store import buckets
from lodestream.store import sources as store

Title = Annotated[str, Meta(max_length=128)]
Description = Annotated[str, Meta(max_length=16_384)]


class SourceDefinition(Struct, forbid_unknown_fields=True):
    """The settings of a source; what is absent keeps its value or its default."""

    kind: SourceKind | UnsetType = field(name="_kind", default=UNSET)
    language: Language | UnsetType = UNSET
    title: Title | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    should_translate: bool | UnsetType = UNSET
    sensitive_properties: (
        Annotated[list[Annotated[str, Meta(max_length=512)]], Meta(max_length=4096)] | UnsetType
    ) = UNSET
    bucket_id: Annotated[str, Meta(pattern=HEX16)] | UnsetType | None = UNSET
    email_transform_tag: Annotated[str, Meta(max_length=1024)] | UnsetType = UNSET
    email_transform_version: Annotated[int, Meta(ge=0, le=2**31 - 1)] | UnsetType = UNSET


class SourceRequest(Struct, forbid_unknown_fields=True):
    """The body of create and update."""

    source: SourceDefinition


class SourceWire(Struct, omit_defaults=True):
    """A source as clients see it."""

    id: str
    owner: str
    name: str
    language: str
    title: str
    description: str
    should_translate: bool
    sensitive_properties: tuple[str, ...]
    created_at: str
    updated_at: str
    last_modified: str
    kind: str = field(name="_kind")
    bucket_id: str | UnsetType = UNSET
    email_transform_tag: str | UnsetType = UNSET
    email_transform_version: int | UnsetType = UNSET


class SourceReply(Struct):
    """One source."""

    source: SourceWire
    status: str = "ok"


class SourcesReply(Struct):
    """Several sources, by owner and name."""

    sources: list[SourceWire]
    status: str = "ok"


def wire(source: Source) -> SourceWire:
    """Return a source as clients see it."""
    return SourceWire(
        id=source.id,
        owner=source.owner,
        name=source.name,
        language=source.language,
        title=source.title,
        description=source.description,
        should_translate=source.should_translate,
        sensitive_properties=source.sensitive_properties,
        created_at=format_us(source.created_us),
        updated_at=format_us(source.updated_us),
        last_modified=format_us(source.modified_us),
        kind=source.kind,
        bucket_id=UNSET if source.bucket_id is None else source.bucket_id,
        email_transform_tag=(
            UNSET if source.email_transform_tag is None else source.email_transform_tag
        ),
        email_transform_version=(
            UNSET if source.email_transform_version is None else source.email_transform_version
        ),
    )


def create_source(call: Call[SourceRequest]) -> SourceReply:
    """Create a source."""
    owner, name = call.values[:2]
    if not is_resource_name(name):
        raise InvalidInput(f"source name {name!r}: letters, digits, '-' and '_' only, at most 256")
    _check_bucket(call, call.body.source.bucket_id)
    source = actions.create_source(
        call.service.db,
        actor_id=call.actor.user_id,
        project_id=call.project_id,
        owner=owner,
        name=name,
        changes=_changes(call, call.body.source),
    )
    return SourceReply(wire(source))


def update_source(call: Call[SourceRequest]) -> SourceReply:
    """Change the given settings of a source."""
    before = named_source(call)
    if call.body.source.bucket_id != before.bucket_id:
        _check_bucket(call, call.body.source.bucket_id)
    source = actions.update_source(
        call.service.db,
        actor_id=call.actor.user_id,
        source_key=before.key,
        changes=_changes(call, call.body.source),
    )
    return SourceReply(wire(source))


def get_source(call: Call[None]) -> SourceReply:
    """Return a source by its full name."""
    owner, name = call.values[:2]
    with call.service.db.read() as tx:
        source = store.find_by_name(tx, owner, name)
    if source is None:
        raise NotFound(f"No such source: {owner}/{name}")
    return SourceReply(wire(source))


def get_source_by_id(call: Call[None]) -> SourceReply:
    """Return a source by its id."""
    return SourceReply(wire(source_by_id(call)))


def list_sources(call: Call[None]) -> SourcesReply:
    """Return every source of every project in which the caller may see sources."""
    projects = access.projects_with(call.actor, call.route.needs.permissions)
    with call.service.db.read() as tx:
        return SourcesReply([wire(s) for s in store.list_sources(tx, projects=projects)])


def list_project_sources(call: Call[None]) -> SourcesReply:
    """Return the sources of one project."""
    with call.service.db.read() as tx:
        found = store.list_sources(tx, projects=frozenset({call.project_id}))
    return SourcesReply([wire(s) for s in found])


def delete_source(call: Call[None]) -> None:
    """Delete a source with its comments."""
    source = source_by_id(call)
    actions.delete_source(call.service.db, actor_id=call.actor.user_id, source_key=source.key)


def named_source(call: Call[Any]) -> Source:
    """Return the source whose full name begins the path. Raises NotFound."""
    owner, name = call.values[:2]
    source = call.service.catalogue.find_source(owner, name)
    if source is None:
        raise NotFound(f"No such source: {owner}/{name}")
    return source


def source_by_id(call: Call[Any]) -> Source:
    """Return the source whose id begins the path, if the caller has the row's permissions there.

    Raises InvalidInput if it is no id, NotFound and PermissionMissing.
    """
    source_id = call.values[0]
    if not is_id(source_id):
        raise InvalidInput(f"source id {source_id!r}: 16 lower-case hex digits expected")
    missing = f"No such source: id:{source_id}"
    with call.service.db.read() as tx:
        source = store.find_by_id(tx, source_id)
    if source is None:
        raise NotFound(missing)
    call.require(source.project_id, not_found=missing)
    return source


def _check_bucket(call: Call[Any], bucket_id: str | UnsetType | None) -> None:
    """Raise Unprocessable if the caller sees no such bucket: its e-mails would become comments."""
    if bucket_id is UNSET or bucket_id is None:
        return
    with call.service.db.read() as tx:
        bucket = buckets.find_by_id(tx, bucket_id)
    seen = bucket is not None and access.BUCKETS_READ in access.permissions_in(
        call.actor, bucket.project_id
    )
    if not seen:
        raise Unprocessable(f"No such bucket: {bucket_id}")


def _changes(call: Call[Any], definition: SourceDefinition) -> SourceChanges:
    values = {
        name: getattr(definition, name)
        for name in definition.__struct_fields__
        if getattr(definition, name) is not UNSET
    }
    if "sensitive_properties" in values:
        values["sensitive_properties"] = tuple(values["sensitive_properties"])
    return SourceChanges(values, any_tag=call.service.any_transform_tag)
