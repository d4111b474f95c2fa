"""Projects over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.actions import projects as actions
from lodestream.api.calls import Call
from lodestream.domain import access
from lodestream.domain.errors import InvalidInput, NotFound, PermissionMissing
from lodestream.domain.ids import HEX16
from lodestream.domain.projects import Project
from lodestream.domain.times import format_us
from lodestream.store import projects as store

_UUID = r"^\{?[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\}?$"


class ProjectDefinition(Struct, forbid_unknown_fields=True):
    """What a caller sets on a project; what is absent keeps its value or its default."""

    title: Annotated[str, Meta(max_length=1024)] | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=4096)] | UnsetType = UNSET
    user_auto_join: bool | UnsetType = UNSET


class CreateProjectRequest(Struct, forbid_unknown_fields=True):
    """The body of create: the project, and who may do everything in it (else the caller)."""

    project: ProjectDefinition
    user_ids: (
        Annotated[list[Annotated[str, Meta(pattern=HEX16)]], Meta(min_length=1, max_length=1024)]
        | UnsetType
    ) = UNSET
    uipath_user_ids: (
        Annotated[list[Annotated[str, Meta(pattern=_UUID)]], Meta(min_length=1, max_length=1024)]
        | UnsetType
    ) = UNSET


class UpdateProjectRequest(Struct, forbid_unknown_fields=True):
    """The body of update."""

    project: ProjectDefinition


class ProjectWire(Struct):
    """A project as clients see it."""

    id: str
    name: str
    title: str
    description: str
    created_at: str
    updated_at: str
    user_auto_join: bool


class ListedProject(Struct):
    """A project as the public listing shows it."""

    name: str
    title: str
    description: str


class ProjectReply(Struct):
    """One project."""

    project: ProjectWire
    status: str = "ok"


class ProjectsReply(Struct):
    """Several projects, by name."""

    projects: list[ProjectWire]
    status: str = "ok"


class ListedProjectsReply(Struct):
    """Several projects, by name."""

    projects: list[ListedProject]
    status: str = "ok"


class ResourceCountsReply(Struct):
    """How much a project holds."""

    buckets: int
    dashboards: int
    datasets: int
    integrations: int
    sources: int
    users_with_permissions: int
    status: str = "ok"


def create_project(call: Call[CreateProjectRequest]) -> ProjectReply:
    """Create a project."""
    body = call.body
    if body.uipath_user_ids is not UNSET:
        raise InvalidInput(
            f"uipath_user_ids: no user has the id {body.uipath_user_ids[0]} (use user_ids: this "
            "server knows no other ids)"
        )
    project = actions.create_project(
        call.service.db,
        actor=call.actor,
        name=call.value("name"),
        values=_values(body.project),
        user_ids=None if body.user_ids is UNSET else body.user_ids,
    )
    return ProjectReply(_wire(project))


def update_project(call: Call[UpdateProjectRequest]) -> ProjectReply:
    """Change a project."""
    name = call.value("name")
    project_id = call.service.catalogue.find_project_id(name)
    if project_id is None or not access.may_see(call.actor, project_id):
        raise NotFound(f"No such project: {name}")
    if not access.may_administer(call.actor, project_id):
        raise PermissionMissing(f"{access.TENANT_ADMIN} or {access.ROLE_PROJECT_ADMIN}")
    project = actions.update_project(
        call.service.db, actor=call.actor, name=name, values=_values(call.body.project)
    )
    return ProjectReply(_wire(project))


def get_project(call: Call[None]) -> ProjectReply:
    """Return a project."""
    with call.service.db.read() as tx:
        return ProjectReply(_wire(store.get(tx, call.value("name"))))


def list_projects(call: Call[None]) -> ProjectsReply:
    """List the projects that the caller sees."""
    call.request.query_bool("cm_only", default=False)  # this server holds nothing else
    return ProjectsReply([_wire(project) for project in _visible(call)])


def list_projects_v1(call: Call[None]) -> ListedProjectsReply:
    """List the names of the projects that the caller sees."""
    return ListedProjectsReply(
        [ListedProject(one.name, one.title, one.description) for one in _visible(call)]
    )


def delete_project(call: Call[None]) -> None:
    """Delete a project; with `force=true` everything in it, too."""
    actions.delete_project(
        call.service.db,
        actor=call.actor,
        name=call.value("name"),
        force=call.request.query_bool("force", default=False),
    )


def count_resources(call: Call[None]) -> ResourceCountsReply:
    """Count what a project holds."""
    with call.service.db.read() as tx:
        counts = store.count_resources(tx, call.project_id)
    return ResourceCountsReply(
        buckets=counts.buckets,
        dashboards=counts.dashboards,
        datasets=counts.datasets,
        integrations=counts.integrations,
        sources=counts.sources,
        users_with_permissions=counts.users_with_permissions,
    )


def _visible(call: Call[None]) -> list[Project]:
    with call.service.db.read() as tx:
        return store.list_projects(tx, projects=access.visible_projects(call.actor))


def _values(definition: ProjectDefinition) -> dict[str, Any]:
    return {
        name: getattr(definition, name)
        for name in definition.__struct_fields__
        if getattr(definition, name) is not UNSET
    }


def _wire(project: Project) -> ProjectWire:
    return ProjectWire(
        id=project.id,
        name=project.name,
        title=project.title,
        description=project.description,
        created_at=format_us(project.created_us),
        updated_at=format_us(project.updated_us),
        user_auto_join=project.user_auto_join,
    )
