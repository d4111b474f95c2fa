"""Audit entries: what happened, who did it, and copies of the names of what it touched."""

from __future__ import annotations

from msgspec import Struct


class ProjectRef(Struct, frozen=True):
    """A project's name at the time of the event."""

    id: str
    name: str


class SourceRef(Struct, frozen=True):
    """A source's names at the time of the event."""

    id: str
    name: str
    title: str
    project_id: str


class DatasetRef(Struct, frozen=True):
    """A dataset's names at the time of the event."""

    id: str
    name: str
    title: str
    project_id: str


class StreamRef(Struct, frozen=True):
    """A stream's names at the time of the event."""

    id: str
    dataset_id: str
    name: str
    title: str


class UserRef(Struct, frozen=True):
    """A user's names at the time of the event."""

    id: str
    username: str
    email: str


class Refs(Struct, frozen=True, omit_defaults=True):
    """Everything that one event refers to; `details` holds counts and the like."""

    projects: tuple[ProjectRef, ...] = ()
    sources: tuple[SourceRef, ...] = ()
    datasets: tuple[DatasetRef, ...] = ()
    streams: tuple[StreamRef, ...] = ()
    users: tuple[UserRef, ...] = ()
    details: dict[str, str | int] = {}


class AuditEvent(Struct, frozen=True):
    """One entry of the audit log."""

    id: int
    type: str
    at_us: int
    actor: UserRef
    refs: Refs
