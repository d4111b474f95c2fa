"""The operations of the API that people use most, each as a call that is ready to be made.

All of them are operations that the vendor's own service has, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from msgspec import Struct

from lodestream.client.calls import (
    Call,
    anything,
    call,
    full_name,
    inside,
    nothing,
    part,
    query,
    whole,
)
from lodestream.client.shapes import (
    Annotated,
    AuditEvent,
    Comment,
    Dataset,
    Label,
    Project,
    Source,
    SourceStatistics,
    Synced,
    User,
)

MOST_TO_DELETE: Final = 32
"""Comments that one call deletes: as many as every known service takes, long ids included."""

_V1: Final = "/api/v1"
_PRIVATE: Final = "/api/_private"

_source: Final = inside("source", Source)
_sources: Final = inside("sources", list[Source])
_dataset: Final = inside("dataset", Dataset)
_datasets: Final = inside("datasets", list[Dataset])
_project: Final = inside("project", Project)
_projects: Final = inside("projects", list[Project])
_user: Final = inside("user", User)
_users: Final = inside("users", list[User])
_comment: Final = inside("comment", Comment)
_labels: Final = inside("label_defs", list[Label])
_statistics: Final = inside("statistics", SourceStatistics)
_dataset_statistics: Final = inside("statistics", dict[str, Any])
_synced: Final = whole(Synced)


class CommentsPage(Struct, kw_only=True):
    """A page of a source's comments; `continuation` leads to the next."""

    comments: list[Comment]
    continuation: str | None = None


class AnnotatedPage(Struct, kw_only=True):
    """A page of annotated comments; an empty one is the last."""

    results: list[Annotated]
    after: str | None = None


class AuditPage(Struct, kw_only=True):
    """A page of audit events; `continuation` leads to the next."""

    audit_events: list[AuditEvent]
    continuation: str | None = None


class QueryPage(Struct, kw_only=True):
    """A page of comments with their annotations; `continuation` leads to the next."""

    results: list[Annotated]
    continuation: str | None = None


_query_page: Final = whole(QueryPage)
_comments_page: Final = whole(CommentsPage)
_annotated_page: Final = whole(AnnotatedPage)
_audit_page: Final = whole(AuditPage)


class _LabelGroup(Struct):
    label_defs: list[Label]


_group: Final = inside("label_group", _LabelGroup)


def raw(method: str, path: str, body: object, idempotent: bool | None) -> Call[dict[str, Any]]:
    """Any operation."""
    return call(method.upper(), path, body, decode=anything, idempotent=idempotent)


def current_user() -> Call[User]:
    """The user whose token this is."""
    return call("GET", "/auth/user", decode=_user)


def projects() -> Call[list[Project]]:
    """All projects that the user sees."""
    return call("GET", f"{_V1}/projects", decode=_projects)


def create_project(
    name: str, *, user_ids: Sequence[str] | None = None, **fields: object
) -> Call[Project]:
    """A new project; its creator administers it, unless users are named."""
    body: dict[str, object] = {"project": fields}
    if user_ids is not None:
        body["user_ids"] = user_ids
    return call("PUT", f"{_PRIVATE}/projects/{part(name)}", body, decode=_project)


def sources(project: str | None) -> Call[list[Source]]:
    """All sources, or those of a project."""
    inside_of = "" if project is None else f"/{part(project)}"
    return call("GET", f"{_V1}/sources{inside_of}", decode=_sources)


def source(name: str) -> Call[Source]:
    """One source."""
    return call("GET", _source_path(name), decode=_source)


def source_by_id(source_id: str) -> Call[Source]:
    """One source, by its id."""
    return call("GET", f"{_V1}/sources/id:{part(source_id)}", decode=_source)


def create_source(name: str, **fields: object) -> Call[Source]:
    """A new source."""
    return call("PUT", _source_path(name), {"source": fields}, decode=_source)


def update_source(name: str, **fields: object) -> Call[Source]:
    """Some settings of a source."""
    body = {"source": fields}
    return call("POST", _source_path(name), body, decode=_source, idempotent=True)


def delete_source(source_id: str) -> Call[None]:
    """A source and its comments, to be deleted."""
    path = f"{_V1}/sources/id:{part(source_id)}"
    return call("DELETE", path, decode=nothing, gone_is_done=True)


def source_statistics(name: str, comment_filter: Mapping[str, Any]) -> Call[SourceStatistics]:
    """How many comments of a source match a filter; an empty one matches all."""
    path = f"{_source_path(name)}/statistics"
    body = {"comment_filter": comment_filter}
    return call("POST", path, body, decode=_statistics, idempotent=True)


def sync(source: str, body: bytes) -> Call[Synced]:
    """Comments to create or overwrite, as JSON of the whole body."""
    # Sending the same comments again changes nothing.
    return call("POST", f"{_source_path(source)}/sync", body, decode=_synced, idempotent=True)


def comment(source: str, comment_id: str, *, include_markup: bool) -> Call[Comment]:
    """One comment."""
    path = f"{_source_path(source)}/comments/{part(comment_id)}"
    return call("GET", path + query(include_markup=include_markup), decode=_comment)


def comments_page(
    source: str,
    *,
    after: str | None,
    from_timestamp: datetime | None,
    to_timestamp: datetime | None,
    direction: Literal["ascending", "descending"],
    limit: int,
    include_markup: bool,
) -> Call[CommentsPage]:
    """One page of a source's comments, by timestamp; both ends belong to it."""
    asked = query(
        limit=limit,
        # The token has the lower end in it, and not the upper one.
        from_timestamp=None if after else from_timestamp,
        to_timestamp=to_timestamp,
        after=after,
        direction=direction,
        include_markup=include_markup,
    )
    path = f"{_PRIVATE}/sources/{full_name(source)}/comments"
    return call("GET", path + asked, decode=_comments_page)


def delete_comments(source: str, ids: Sequence[str]) -> Call[None]:
    """At most `MOST_TO_DELETE` comments, to be deleted by their ids; absent ones do not matter."""
    return call("DELETE", f"{_source_path(source)}/comments{query(id=ids)}", decode=nothing)


def datasets(project: str | None) -> Call[list[Dataset]]:
    """All datasets, or those of a project."""
    inside_of = "" if project is None else f"/{part(project)}"
    return call("GET", f"{_V1}/datasets{inside_of}", decode=_datasets)


def dataset(name: str) -> Call[Dataset]:
    """One dataset."""
    return call("GET", dataset_path(name), decode=_dataset)


def dataset_by_id(dataset_id: str) -> Call[Dataset]:
    """One dataset, by its id."""
    return call("GET", f"{_V1}/datasets/id:{part(dataset_id)}", decode=_dataset)


def create_dataset(name: str, **fields: object) -> Call[Dataset]:
    """A new dataset."""
    return call("PUT", dataset_path(name), {"dataset": fields}, decode=_dataset)


def update_dataset(name: str, **fields: object) -> Call[Dataset]:
    """Some settings of a dataset."""
    body = {"dataset": fields}
    return call("POST", dataset_path(name), body, decode=_dataset, idempotent=True)


def delete_dataset(name: str) -> Call[None]:
    """A dataset, to be deleted."""
    return call("DELETE", dataset_path(name), decode=nothing, gone_is_done=True)


def dataset_statistics(name: str, **asked: object) -> Call[dict[str, Any]]:
    """Counts of a dataset's comments; what is asked is as the API has it."""
    path = f"{private_dataset_path(name)}/statistics"
    return call("POST", path, asked, decode=_dataset_statistics, idempotent=True)


def query_page(name: str, **asked: object) -> Call[QueryPage]:
    """One page of a dataset's comments, in an order; what is asked is as the API has it."""
    path = f"{private_dataset_path(name)}/query"
    return call("POST", path, asked, decode=_query_page, idempotent=True)


def attachment(reference: str) -> Call[bytes]:
    """The content of an attachment, by the reference in its comment."""
    return call("GET", f"{_V1}/attachments/{part(reference)}", decode=bytes)


def labels(dataset: str) -> Call[list[Label]]:
    """The labels of a dataset."""
    path = f"{private_dataset_path(dataset)}/label-groups/default"
    return call("GET", path, decode=lambda content: _group(content).label_defs)


def put_labels(dataset: str, labels: Sequence[Label | str]) -> Call[None]:
    """Labels to create, or to change by their names."""
    given = [Label(name=one) if isinstance(one, str) else one for one in labels]
    path = f"{private_dataset_path(dataset)}/labels/default"
    return call("PUT", path, {"label_defs": given}, decode=nothing)


def annotated(dataset: str, uids: Sequence[str]) -> Call[AnnotatedPage]:
    """Comments with their annotations."""
    path = f"{private_dataset_path(dataset)}/labellings{query(id=uids)}"
    return call("GET", path, decode=_annotated_page)


def annotated_page(
    dataset: str, source_id: str, *, after: str | None, limit: int
) -> Call[AnnotatedPage]:
    """One page of the reviewed comments of a source."""
    asked = query(source_id=source_id, after=after, limit=limit)
    return call("GET", f"{private_dataset_path(dataset)}/labellings{asked}", decode=_annotated_page)


def annotate(
    dataset: str,
    uid: str,
    *,
    assigned: Sequence[str] | None,
    dismissed: Sequence[str] | None,
    sentiment: Literal["positive", "negative"],
) -> Call[None]:
    """Labels that one comment has, or has not; None leaves a list as it is."""
    group: dict[str, object] = {"group": "default"}
    for name, given in (("assigned", assigned), ("dismissed", dismissed)):
        if given is not None:
            group[name] = [{"name": one, "sentiment": sentiment} for one in given]
    path = f"{private_dataset_path(dataset)}/labellings/{part(uid)}"
    # The lists replace what was there: twice is as once.
    return call("POST", path, {"labelling": [group]}, decode=_ignored, idempotent=True)


def sync_annotations(dataset: str, labels: Mapping[str, Sequence[str]]) -> Call[None]:
    """The assigned labels of many comments, by uid."""
    body = {
        "annotations": [
            {"comment_uid": uid, "labels": {"assigned": [{"name": one} for one in names]}}
            for uid, names in labels.items()
        ]
    }
    path = f"{dataset_path(dataset)}/sync-annotations"
    return call("POST", path, body, decode=nothing, idempotent=True)


def users() -> Call[list[User]]:
    """All users that this one sees."""
    return call("GET", f"{_PRIVATE}/users", decode=_users)


def user(user_id: str) -> Call[User]:
    """One user."""
    return call("GET", f"{_PRIVATE}/users/{part(user_id)}", decode=_user)


def create_user(
    username: str,
    email: str,
    *,
    project_permissions: Mapping[str, Sequence[str]],
    global_permissions: Sequence[str],
) -> Call[User]:
    """A new user."""
    body = {
        "user": {
            "username": username,
            "email": email,
            "organisation_permissions": project_permissions,
            "global_permissions": global_permissions,
        }
    }
    return call("PUT", f"{_PRIVATE}/users", body, decode=_user)


def update_user(
    user_id: str,
    *,
    project_permissions: Mapping[str, Sequence[str]] | None,
    global_permissions: Sequence[str] | None,
) -> Call[User]:
    """Other permissions of a user; None leaves them as they are."""
    given: dict[str, object] = {}
    if project_permissions is not None:
        given["organisation_permissions"] = project_permissions
    if global_permissions is not None:
        given["global_permissions"] = global_permissions
    path = f"{_PRIVATE}/users/{part(user_id)}"
    return call("POST", path, {"user": given}, decode=_user, idempotent=True)


def delete_user(user_id: str) -> Call[None]:
    """A user, to be deleted."""
    path = f"{_PRIVATE}/users/{part(user_id)}"
    return call("DELETE", path, decode=nothing, gone_is_done=True)


def audit_page(
    *, minimum: datetime | None, maximum: datetime | None, continuation: str | None, limit: int
) -> Call[AuditPage]:
    """One page of audit events, from `minimum` to before `maximum`."""
    times = {name: at for name, at in (("minimum", minimum), ("maximum", maximum)) if at}
    body: dict[str, object] = {"filter": {"timestamp": times}, "limit": limit}
    if continuation is not None:
        body["continuation"] = continuation
    path = f"{_V1}/audit_events/query"
    return call("POST", path, body, decode=_audit_page, idempotent=True)


def dataset_path(name: str) -> str:
    """Return the public path of a dataset. Raises ValueError for what is no full name."""
    return f"{_V1}/datasets/{full_name(name)}"


def _source_path(name: str) -> str:
    return f"{_V1}/sources/{full_name(name)}"


def private_dataset_path(dataset: str) -> str:
    """Return the private path of a dataset. Raises ValueError for what is no full name."""
    return f"{_PRIVATE}/datasets/{full_name(dataset)}"


def _ignored(content: bytes | bytearray) -> None:
    """Pass over an answer: it repeats the whole comment."""
