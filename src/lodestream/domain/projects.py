"""Projects: the unit of access, and what groups sources and datasets."""

from __future__ import annotations

from msgspec import Struct

from lodestream.domain.audit import ProjectRef


class Project(Struct, frozen=True):
    """A project. With `user_auto_join` every new user is granted the default permissions in it."""

    id: str
    name: str
    title: str
    description: str
    user_auto_join: bool
    created_us: int
    updated_us: int

    @property
    def ref(self) -> ProjectRef:
        """What the audit log keeps of the project."""
        return ProjectRef(self.id, self.name)


class ResourceCounts(Struct, frozen=True):
    """How much a project holds, in alphabetical order as clients see it."""

    buckets: int
    dashboards: int
    datasets: int
    integrations: int
    sources: int
    users_with_permissions: int

    @property
    def children(self) -> dict[str, int]:
        """The kinds of things in the project that are there, with their counts; users are none."""
        names = [name for name in self.__struct_fields__ if name != "users_with_permissions"]
        return {name: getattr(self, name) for name in names if getattr(self, name)}
