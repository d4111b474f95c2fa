"""Permissions, roles, what implies what, and what an actor may do.

Names are the wire names (contract: conventions, section 14; admin, section 2). A permission is
granted either in a project or globally. What was granted is stored; what follows from it, the
derived set, is calculated once when an `Actor` is made, so that a check during a request is a
look-up and a comparison of sets.

A role is a permission that implies others and has no effect of its own: whoever holds everything
in a role can do the same as a holder of the role.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Final, TypeAlias

from lodestream.domain.errors import InvalidInput, NotFound, PermissionMissing

Names: TypeAlias = tuple[str, ...] | list[str] | Set[str]
"""Several permissions. A plain `Collection[str]` would also admit a single string by mistake."""

# Permissions in a project.
SOURCES_READ: Final = "sources-read"
SOURCES_READ_SENSITIVE: Final = "sources-read-sensitive"
SOURCES_ADD_COMMENTS: Final = "sources-add-comments"
SOURCES_ADMIN: Final = "sources-admin"
SOURCES_TRANSLATE: Final = "sources-translate"
VOC_READONLY: Final = "voc-readonly"
VOC: Final = "voc"
DATASETS_REVIEW: Final = "datasets-review"
DATASETS_ADMIN: Final = "datasets-admin"
DATASETS_MODEL_ADMIN: Final = "datasets-model-admin"
DATASETS_EXPORT: Final = "datasets-export"
DASHBOARDS_WRITE: Final = "dashboards-write"
STREAMS_READ: Final = "streams-read"
STREAMS_WRITE: Final = "streams-write"
STREAMS_ADMIN: Final = "streams-admin"
STREAMS_CONSUME: Final = "streams-consume"
USERS_READ: Final = "users-read"
USERS_WRITE: Final = "users-write"
BUCKETS_READ: Final = "buckets-read"
BUCKETS_WRITE: Final = "buckets-write"
BUCKETS_ITEMS_READ: Final = "buckets-items-read"
BUCKETS_APPEND: Final = "buckets-append"
FILES_WRITE: Final = "files-write"
INTEGRATIONS_READ: Final = "integrations-read"
INTEGRATIONS_WRITE: Final = "integrations-write"
ALERTS_READ: Final = "alerts-read"
ALERTS_WRITE: Final = "alerts-write"
APPLIANCE_CONFIG_READ: Final = "appliance-config-read"
APPLIANCE_CONFIG_WRITE: Final = "appliance-config-write"
ROLE_PROJECT_ADMIN: Final = "role-cm-project-admin"
ROLE_MODEL_TRAINER: Final = "role-cm-model-trainer"
ROLE_DEVELOPER: Final = "role-cm-developer"
ROLE_VIEWER: Final = "role-cm-viewer"
ROLE_ANALYST: Final = "role-cm-analyst"

# Global permissions.
ROOT: Final = "root"
TENANT_ADMIN: Final = "tenant-admin"
SUPPORT_TENANT_ADMIN: Final = "support-tenant-admin"
ROLE_TENANT_ADMIN: Final = "role-cm-tenant-admin"
PROJECTS_ADMIN: Final = "projects-admin"
AUDIT_READ: Final = "audit-read"
TENANT_USERS_READ: Final = "tenant-users-read"
SUPPORT_USERS_WRITE: Final = "support-users-write"
TENANT_QUOTA_READ: Final = "tenant-quota-read"
TENANT_QUOTA_WRITE: Final = "tenant-quota-write"
DEPLOYMENT_QUOTA_READ: Final = "deployment-quota-read"
DEPLOYMENT_QUOTA_WRITE: Final = "deployment-quota-write"
SUBSCRIPTIONS_READ: Final = "subscriptions-read"
ARTEFACTS_READ: Final = "artefacts-read"
DEBUG: Final = "debug"
DEMO: Final = "demo"
DIALOG: Final = "dialog"
FEATURE_QOS: Final = "feature-qos"
FEATURE_PRETRAINED_LABELS: Final = "feature-pretrained-labels"

_ALIASES: Final[Mapping[str, str]] = {
    "triggers-read": STREAMS_READ,
    "triggers-write": STREAMS_WRITE,
    "triggers-admin": STREAMS_ADMIN,
    "triggers-consume": STREAMS_CONSUME,
}

# Each name with what it implies directly. Nothing is implied that the contract does not state:
# `datasets-review`, `datasets-model-admin` and `datasets-export` do not include `voc-readonly`,
# and `buckets-read` does not include the e-mails, which `buckets-items-read` opens.
_PROJECT_IMPLIES: Final[Mapping[str, tuple[str, ...]]] = {
    SOURCES_READ: (),
    SOURCES_READ_SENSITIVE: (SOURCES_READ,),
    SOURCES_ADD_COMMENTS: (),
    SOURCES_ADMIN: (SOURCES_READ_SENSITIVE,),
    SOURCES_TRANSLATE: (),
    VOC_READONLY: (),
    VOC: (DATASETS_REVIEW, VOC_READONLY),
    DATASETS_REVIEW: (),
    DATASETS_ADMIN: (VOC_READONLY,),
    DATASETS_MODEL_ADMIN: (),
    DATASETS_EXPORT: (),
    DASHBOARDS_WRITE: (),
    STREAMS_READ: (),
    STREAMS_WRITE: (STREAMS_READ,),
    STREAMS_ADMIN: (STREAMS_WRITE,),
    STREAMS_CONSUME: (),
    USERS_READ: (),
    USERS_WRITE: (USERS_READ,),
    BUCKETS_READ: (),
    BUCKETS_WRITE: (BUCKETS_READ,),
    BUCKETS_ITEMS_READ: (),
    BUCKETS_APPEND: (),
    FILES_WRITE: (),
    INTEGRATIONS_READ: (),
    INTEGRATIONS_WRITE: (INTEGRATIONS_READ,),
    ALERTS_READ: (),
    ALERTS_WRITE: (ALERTS_READ,),
    APPLIANCE_CONFIG_READ: (),
    APPLIANCE_CONFIG_WRITE: (APPLIANCE_CONFIG_READ,),
    # The roles' right to read buckets stands for two wire names. Project Admin and Developer have
    # `voc` besides their published lists, which are useless without it (contract: admin, 2.3).
    ROLE_PROJECT_ADMIN: (
        ALERTS_WRITE,
        APPLIANCE_CONFIG_WRITE,
        BUCKETS_APPEND,
        BUCKETS_ITEMS_READ,
        BUCKETS_WRITE,
        DATASETS_ADMIN,
        DATASETS_EXPORT,
        INTEGRATIONS_WRITE,
        SOURCES_ADD_COMMENTS,
        SOURCES_ADMIN,
        STREAMS_ADMIN,
        STREAMS_CONSUME,
        VOC,
    ),
    ROLE_DEVELOPER: (
        ALERTS_READ,
        APPLIANCE_CONFIG_WRITE,
        BUCKETS_APPEND,
        BUCKETS_ITEMS_READ,
        BUCKETS_READ,
        DATASETS_EXPORT,
        DATASETS_MODEL_ADMIN,
        INTEGRATIONS_WRITE,
        SOURCES_ADD_COMMENTS,
        SOURCES_ADMIN,
        STREAMS_ADMIN,
        STREAMS_CONSUME,
        VOC,
    ),
    ROLE_MODEL_TRAINER: (
        ALERTS_READ,
        DATASETS_REVIEW,
        INTEGRATIONS_READ,
        SOURCES_READ_SENSITIVE,
        STREAMS_READ,
        VOC,
    ),
    ROLE_ANALYST: (
        ALERTS_WRITE,
        DASHBOARDS_WRITE,
        INTEGRATIONS_READ,
        SOURCES_READ,
        STREAMS_READ,
        VOC_READONLY,
    ),
    ROLE_VIEWER: (ALERTS_READ, SOURCES_READ, STREAMS_READ, VOC_READONLY),
}

_GLOBAL_IMPLIES_BELOW_ROOT: Final[Mapping[str, tuple[str, ...]]] = {
    TENANT_ADMIN: (
        AUDIT_READ,
        PROJECTS_ADMIN,
        TENANT_QUOTA_READ,
        TENANT_QUOTA_WRITE,
        TENANT_USERS_READ,
    ),
    SUPPORT_TENANT_ADMIN: (),
    ROLE_TENANT_ADMIN: (AUDIT_READ, TENANT_ADMIN),
    PROJECTS_ADMIN: (),
    AUDIT_READ: (),
    TENANT_USERS_READ: (),
    SUPPORT_USERS_WRITE: (),
    TENANT_QUOTA_READ: (),
    TENANT_QUOTA_WRITE: (TENANT_QUOTA_READ,),
    DEPLOYMENT_QUOTA_READ: (),
    DEPLOYMENT_QUOTA_WRITE: (DEPLOYMENT_QUOTA_READ,),
    SUBSCRIPTIONS_READ: (),
    ARTEFACTS_READ: (),
    DEBUG: (),
    DEMO: (),
    DIALOG: (),
    FEATURE_QOS: (),
    FEATURE_PRETRAINED_LABELS: (),
}
_GLOBAL_IMPLIES: Final[Mapping[str, tuple[str, ...]]] = {
    **_GLOBAL_IMPLIES_BELOW_ROOT,
    ROOT: tuple(_GLOBAL_IMPLIES_BELOW_ROOT),
}


def _closures(implies: Mapping[str, tuple[str, ...]]) -> dict[str, frozenset[str]]:
    """Return for each name the set of itself and all it implies, directly or not."""
    closures: dict[str, frozenset[str]] = {}

    def close(name: str) -> frozenset[str]:
        if name not in closures:
            closures[name] = frozenset({name}).union(*map(close, implies[name]))
        return closures[name]

    for name in implies:
        close(name)
    return closures


_PROJECT_CLOSURES: Final[Mapping[str, frozenset[str]]] = _closures(_PROJECT_IMPLIES)
_GLOBAL_CLOSURES: Final[Mapping[str, frozenset[str]]] = _closures(_GLOBAL_IMPLIES)

PROJECT_PERMISSIONS: Final[frozenset[str]] = frozenset(_PROJECT_IMPLIES)
"""Every permission that can be granted in a project, roles included, in the stored spelling."""

GLOBAL_PERMISSIONS: Final[frozenset[str]] = frozenset(_GLOBAL_IMPLIES)
"""Every permission that can be granted globally, the role included."""

PROJECT_ROLES: Final[frozenset[str]] = frozenset(
    {ROLE_PROJECT_ADMIN, ROLE_MODEL_TRAINER, ROLE_DEVELOPER, ROLE_VIEWER, ROLE_ANALYST}
)
"""The project permissions that are roles."""

ALL_FINE_GRAINED_PROJECT_PERMISSIONS: Final[tuple[str, ...]] = tuple(
    sorted(PROJECT_PERMISSIONS - PROJECT_ROLES)
)
"""What the creator of a project is granted in it.

The complete list instead of a role, so that clients which compare permission strings find them.
"""

DEFAULT_PROJECT_PERMISSIONS: Final[tuple[str, ...]] = (SOURCES_READ, VOC_READONLY)
"""What a user receives in a project that he joins automatically, unless the tenant says else."""

_NO_PERMISSIONS: Final[frozenset[str]] = frozenset()
_PROJECT_ADMIN_RIGHTS: Final = _PROJECT_CLOSURES[ROLE_PROJECT_ADMIN] - PROJECT_ROLES
# What reaches beyond the tenant or above its administrator cannot come from the latter.
_WITHHELD_FROM_TENANT_ADMIN: Final = frozenset(
    {
        ROOT,
        SUPPORT_TENANT_ADMIN,
        SUPPORT_USERS_WRITE,
        DEPLOYMENT_QUOTA_READ,
        DEPLOYMENT_QUOTA_WRITE,
    }
)
_GRANTABLE_BY_TENANT_ADMIN: Final = GLOBAL_PERMISSIONS - _WITHHELD_FROM_TENANT_ADMIN


def canonical(name: str) -> str:
    """Return the stored and emitted spelling: `streams-…` for `triggers-…`, all else unchanged."""
    return _ALIASES.get(name, name)


def parse_project_permissions(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names in the stored spelling, in their order, each once.

    Raises InvalidInput, with the name, for one that is no project permission.
    """
    return _parse(names, known=PROJECT_PERMISSIONS, kind="project")


def parse_global_permissions(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names in their order, each once.

    Raises InvalidInput, with the name, for one that is no global permission.
    """
    return _parse(names, known=GLOBAL_PERMISSIONS, kind="global")


def _parse(names: Iterable[str], *, known: frozenset[str], kind: str) -> tuple[str, ...]:
    # A dict keeps the first place of each name; a set would lose the order.
    parsed: dict[str, None] = {}
    for name in names:
        stored = canonical(name)
        if stored not in known:
            raise InvalidInput(f"'{name}' is not one of the {kind} permissions")
        parsed[stored] = None
    return tuple(parsed)


def derive_project(granted: Iterable[str]) -> frozenset[str]:
    """Return the permissions granted in a project together with all they imply there.

    Takes names in the stored spelling. An unknown name, which only a database written by a newer
    version can hold, is kept and implies nothing.
    """
    return _derive(granted, _PROJECT_CLOSURES)


def derive_global(granted: Iterable[str]) -> frozenset[str]:
    """Return the globally granted permissions together with all global ones they imply.

    `root` implies every global permission and, see `permissions_in`, every project permission in
    every project. `tenant-admin` sees all projects and may manage users, but holds no permission
    on the data in them: for that he needs a grant in the project, which he may give himself.
    Unknown names are treated as by `derive_project`.
    """
    return _derive(granted, _GLOBAL_CLOSURES)


def reduce_project(granted: Iterable[str]) -> tuple[str, ...]:
    """Return the smallest set of project permissions with the same closure, sorted."""
    return _reduce(granted, _PROJECT_CLOSURES)


def reduce_global(granted: Iterable[str]) -> tuple[str, ...]:
    """Return the smallest set of global permissions with the same closure, sorted."""
    return _reduce(granted, _GLOBAL_CLOSURES)


def _closure_of(name: str, closures: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return closures.get(name) or frozenset({name})


def _derive(granted: Iterable[str], closures: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return _NO_PERMISSIONS.union(*(_closure_of(name, closures) for name in granted))


def _reduce(granted: Iterable[str], closures: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    # No two names imply each other, so a closed set has exactly one smallest origin: its members
    # that no other member implies.
    derived = _derive(granted, closures)
    implied = _NO_PERMISSIONS.union(*(_closure_of(name, closures) - {name} for name in derived))
    return tuple(sorted(derived - implied))


@dataclass(frozen=True, slots=True)
class Actor:
    """A user in the act of doing something, with all that his grants amount to.

    Both sets of permissions are derived ones: use `make_actor` to get an actor from grants.
    `project_permissions` maps project ids to what is held there through grants in the project;
    what `root` adds is not in it, so ask `permissions_in`.
    """

    user_id: str
    username: str
    global_permissions: frozenset[str]
    project_permissions: Mapping[str, frozenset[str]]


def make_actor(
    *,
    user_id: str,
    username: str,
    granted_globally: Iterable[str],
    granted_in_projects: Mapping[str, Iterable[str]],
) -> Actor:
    """Return the actor that a user with these stored grants is; project ids are the keys."""
    return Actor(
        user_id=user_id,
        username=username,
        global_permissions=derive_global(granted_globally),
        project_permissions={
            project_id: derive_project(granted)
            for project_id, granted in granted_in_projects.items()
        },
    )


def permissions_in(actor: Actor, project_id: str) -> frozenset[str]:
    """Return all that the actor may do in the project; empty if nothing. `root` may do all."""
    if ROOT in actor.global_permissions:
        return PROJECT_PERMISSIONS
    return actor.project_permissions.get(project_id, _NO_PERMISSIONS)


def _sees_every_project(actor: Actor) -> bool:
    # `root` is asked for as well, so that an actor whose set was not derived is judged alike.
    return TENANT_ADMIN in actor.global_permissions or ROOT in actor.global_permissions


def may_see(actor: Actor, project_id: str) -> bool:
    """Tell whether the actor may know that the project exists.

    So it is with any permission in the project, and for `tenant-admin` and `root`.
    """
    return bool(actor.project_permissions.get(project_id)) or _sees_every_project(actor)


def may_administer(actor: Actor, project_id: str) -> bool:
    """Tell whether the actor may change the project itself: its title, description and so on.

    So it is for `tenant-admin`, and for holders of all that Project Admin contains: a project's
    creator has the single permissions, not the role.
    """
    return _sees_every_project(actor) or permissions_in(actor, project_id) >= _PROJECT_ADMIN_RIGHTS


def require(
    actor: Actor, project_id: str, needed: Names, *, not_found: str = "404 Not Found"
) -> None:
    """Return if the actor holds all of `needed` in the project.

    `not_found` is the message for an invisible project. It has to be the one that a missing thing
    gets, or the difference would tell that the thing exists.

    Raises NotFound if he may not see the project, else PermissionMissing with those he lacks.
    """
    held = _held_where_visible(actor, project_id, not_found)
    if not held.issuperset(needed):
        raise PermissionMissing(", ".join(sorted(name for name in needed if name not in held)))


def require_any(
    actor: Actor, project_id: str, alternatives: Names, *, not_found: str = "404 Not Found"
) -> None:
    """Return if the actor holds at least one of `alternatives` in the project.

    Raises NotFound if he may not see the project (see `require` for the message), else
    PermissionMissing with the alternatives.
    """
    if _held_where_visible(actor, project_id, not_found).isdisjoint(alternatives):
        raise PermissionMissing(" or ".join(sorted(alternatives)))


def _held_where_visible(actor: Actor, project_id: str, not_found: str) -> frozenset[str]:
    held = permissions_in(actor, project_id)
    if not held and not _sees_every_project(actor):
        raise NotFound(not_found)
    return held


def has_global(actor: Actor, any_of: Names) -> bool:
    """Tell whether the actor holds at least one of these global permissions."""
    return not actor.global_permissions.isdisjoint(any_of)


def require_global(actor: Actor, any_of: Names) -> None:
    """Return if the actor holds at least one of these global permissions.

    Raises PermissionMissing with the alternatives if not.
    """
    if not has_global(actor, any_of):
        raise PermissionMissing(" or ".join(sorted(any_of)))


def visible_projects(actor: Actor) -> frozenset[str] | None:
    """Return the ids of the projects that the actor may see; None means all."""
    if _sees_every_project(actor):
        return None
    return frozenset(project_id for project_id, held in actor.project_permissions.items() if held)


def projects_with(actor: Actor, needed: Names) -> frozenset[str] | None:
    """Return the ids of the projects in which the actor holds all of `needed`; None means all.

    Without any need these are the projects that he may see.
    """
    if not needed:
        return visible_projects(actor)
    if ROOT in actor.global_permissions:
        return None
    return frozenset(
        project_id
        for project_id, held in actor.project_permissions.items()
        if held.issuperset(needed)
    )


def holds_somewhere(actor: Actor, needed: Names) -> bool:
    """Tell whether there is a project in which the actor holds all of `needed`.

    `root` holds everything even while there is no project.
    """
    return projects_with(actor, needed) != _NO_PERMISSIONS


def may_grant(
    actor: Actor,
    *,
    in_projects: Mapping[str, Iterable[str]] | None = None,
    globally: Iterable[str] = (),
) -> bool:
    """Tell whether the actor may grant these permissions, by the rules of `require_grantable`."""
    return not _ungrantable(actor, in_projects or {}, globally)


def require_grantable(
    actor: Actor,
    *,
    in_projects: Mapping[str, Iterable[str]] | None = None,
    globally: Iterable[str] = (),
) -> None:
    """Return if the actor may grant these permissions, given by project id and globally.

    One can only grant what one holds oneself; for a role it is enough to hold all it contains.
    `root` may grant everything; `tenant-admin` every project permission and every global one but
    `root` and those for support and deployment, which he must hold himself.

    This limits what may be passed on, not who may change users: that is checked apart. When a
    user is changed, ask only for the permissions that the change adds.

    Raises PermissionMissing with those that may not be granted.
    """
    refused = _ungrantable(actor, in_projects or {}, globally)
    if refused:
        raise PermissionMissing(", ".join(refused))


def _ungrantable(
    actor: Actor, in_projects: Mapping[str, Iterable[str]], globally: Iterable[str]
) -> list[str]:
    """Return, sorted and each once, the names among those given that the actor may not grant."""
    refused: set[str] = set()
    grantable = actor.global_permissions
    if ROOT in grantable:
        grantable = GLOBAL_PERMISSIONS
    elif TENANT_ADMIN in grantable:
        grantable |= _GRANTABLE_BY_TENANT_ADMIN
    refused.update(name for name in globally if name not in grantable)
    if not _sees_every_project(actor):
        for project_id, names in in_projects.items():
            held = permissions_in(actor, project_id)
            refused.update(name for name in names if not _covers(held, name))
    return sorted(refused)


def _covers(held: frozenset[str], name: str) -> bool:
    # Roles are left out of the comparison because they have no effect beyond their contents.
    return name in held or (
        name in PROJECT_ROLES and held >= _PROJECT_CLOSURES[name] - PROJECT_ROLES
    )
