"""Permissions, their closure, and the checks of an actor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestream.domain import access
from lodestream.domain.access import Actor
from lodestream.domain.errors import InvalidInput, NotFound, PermissionMissing

PROJECT = "28ba5ce699f8da1f"
OTHER = "38ba5ce699f8da1f"
UNSEEN = "48ba5ce699f8da1f"


def words(text: str) -> list[str]:
    return text.split()


# Written out here as in the contract, so that a slip in the module is not repeated by the test.
WIRE_PROJECT_PERMISSIONS = words("""
    sources-add-comments datasets-admin voc datasets-review voc-readonly datasets-model-admin
    datasets-export dashboards-write sources-admin sources-translate sources-read
    sources-read-sensitive triggers-admin triggers-consume triggers-read triggers-write users-read
    users-write buckets-read buckets-write buckets-items-read buckets-append files-write
    appliance-config-write appliance-config-read integrations-write integrations-read alerts-read
    alerts-write role-cm-project-admin role-cm-model-trainer role-cm-developer role-cm-viewer
    role-cm-analyst
""")
WIRE_GLOBAL_PERMISSIONS = words("""
    root debug demo audit-read artefacts-read support-users-write tenant-users-read tenant-admin
    support-tenant-admin feature-qos feature-pretrained-labels tenant-quota-read
    tenant-quota-write deployment-quota-read deployment-quota-write role-cm-tenant-admin dialog
    projects-admin subscriptions-read
""")

Derive = Callable[[Iterable[str]], frozenset[str]]
Reduce = Callable[[Iterable[str]], tuple[str, ...]]
PROJECT_KIND = (access.PROJECT_PERMISSIONS, access.derive_project, access.reduce_project)
GLOBAL_KIND = (access.GLOBAL_PERMISSIONS, access.derive_global, access.reduce_global)
both_kinds = pytest.mark.parametrize(
    ("known", "derive", "reduce"), [PROJECT_KIND, GLOBAL_KIND], ids=["project", "global"]
)

project_names = st.lists(st.sampled_from(sorted(access.PROJECT_PERMISSIONS)))


def make_actor(*globally: str, in_projects: Mapping[str, Iterable[str]] | None = None) -> Actor:
    return access.make_actor(
        user_id="18ba5ce699f8da1f",
        username="ada",
        granted_globally=globally,
        granted_in_projects=in_projects or {},
    )


# The names.


def test_the_project_permissions_are_those_of_the_contract() -> None:
    assert set(map(access.canonical, WIRE_PROJECT_PERMISSIONS)) == access.PROJECT_PERMISSIONS


def test_the_global_permissions_are_those_of_the_contract() -> None:
    assert set(WIRE_GLOBAL_PERMISSIONS) == access.GLOBAL_PERMISSIONS


def test_no_name_is_both_a_project_and_a_global_permission() -> None:
    assert not access.PROJECT_PERMISSIONS & access.GLOBAL_PERMISSIONS


def test_every_permission_has_a_named_constant() -> None:
    constants = {value for value in vars(access).values() if isinstance(value, str)}
    assert constants >= access.PROJECT_PERMISSIONS | access.GLOBAL_PERMISSIONS


def test_a_creator_receives_every_project_permission_but_the_roles() -> None:
    received = access.ALL_FINE_GRAINED_PROJECT_PERMISSIONS
    assert list(received) == sorted(received)
    assert set(received) == {
        name for name in access.PROJECT_PERMISSIONS if not name.startswith("role-")
    }


# Parsing.


@pytest.mark.parametrize("right", ["read", "write", "admin", "consume"])
def test_the_older_spelling_of_stream_permissions_is_stored_as_the_newer(right: str) -> None:
    assert access.parse_project_permissions([f"triggers-{right}"]) == (f"streams-{right}",)


def test_both_spellings_together_are_one_permission() -> None:
    names = ["voc", "streams-read", "triggers-read", "voc"]
    assert access.parse_project_permissions(names) == ("voc", "streams-read")


@pytest.mark.parametrize("name", WIRE_PROJECT_PERMISSIONS)
def test_every_project_permission_is_accepted(name: str) -> None:
    assert access.parse_project_permissions([name]) == (access.canonical(name),)


@pytest.mark.parametrize("name", WIRE_GLOBAL_PERMISSIONS)
def test_every_global_permission_is_accepted(name: str) -> None:
    assert access.parse_global_permissions([name]) == (name,)


@given(project_names)
def test_parsing_keeps_the_order_of_first_occurrence(names: list[str]) -> None:
    parsed = access.parse_project_permissions(names)
    assert list(parsed) == sorted(set(names), key=names.index)


@pytest.mark.parametrize("name", ["streams", "Voc", "voc ", "", "root", "triggers-exceptions"])
def test_an_unknown_project_permission_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        access.parse_project_permissions(["voc", name])
    assert f"'{name}'" in refusal.value.message


@pytest.mark.parametrize("name", ["tenant", "ROOT", "", "voc", "triggers-read"])
def test_an_unknown_global_permission_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        access.parse_global_permissions(["demo", name])
    assert f"'{name}'" in refusal.value.message


# The closure and its inverse.


@both_kinds
@given(data=st.data())
def test_the_closure_contains_the_grants_and_is_closed(
    known: frozenset[str], derive: Derive, reduce: Reduce, data: st.DataObject
) -> None:
    granted = data.draw(st.sets(st.sampled_from(sorted(known))))
    derived = derive(granted)
    assert granted <= derived <= known
    assert derive(derived) == derived


@both_kinds
@given(data=st.data())
def test_more_grants_never_derive_less(
    known: frozenset[str], derive: Derive, reduce: Reduce, data: st.DataObject
) -> None:
    names = st.sets(st.sampled_from(sorted(known)))
    some, more = data.draw(names), data.draw(names)
    assert derive(some) <= derive(some | more)
    # Every implication has one premise, so the closure of a union is the union of the closures.
    assert derive(some | more) == derive(some) | derive(more)


@both_kinds
@given(data=st.data())
def test_the_reduced_set_derives_the_same_and_is_the_same_for_every_origin(
    known: frozenset[str], derive: Derive, reduce: Reduce, data: st.DataObject
) -> None:
    granted = data.draw(st.lists(st.sampled_from(sorted(known))))
    reduced = reduce(granted)
    assert derive(reduced) == derive(granted)
    assert reduce(derive(granted)) == reduced == reduce(reversed(granted))
    assert set(reduced) <= set(granted)


@both_kinds
@given(data=st.data())
def test_nothing_can_be_left_out_of_the_reduced_set(
    known: frozenset[str], derive: Derive, reduce: Reduce, data: st.DataObject
) -> None:
    granted = data.draw(st.sets(st.sampled_from(sorted(known))))
    reduced = reduce(granted)
    for name in reduced:
        assert derive(set(reduced) - {name}) != derive(granted)


@given(st.sets(st.sampled_from(sorted(access.PROJECT_PERMISSIONS)), max_size=4))
def test_no_smaller_set_has_the_same_closure(granted: set[str]) -> None:
    reduced, derived = access.reduce_project(granted), access.derive_project(granted)
    for size in range(min(len(reduced), 3)):
        for smaller in combinations(sorted(derived), size):
            assert access.derive_project(smaller) != derived


@both_kinds
def test_no_two_permissions_imply_each_other(
    known: frozenset[str], derive: Derive, reduce: Reduce
) -> None:
    for one, other in combinations(sorted(known), 2):
        assert not (other in derive([one]) and one in derive([other]))


@pytest.mark.parametrize(
    ("granted", "implied"),
    [
        ("sources-read-sensitive", "sources-read"),
        ("sources-admin", "sources-read sources-read-sensitive"),
        ("voc", "datasets-review voc-readonly"),
        ("datasets-admin", "voc-readonly"),
        ("streams-admin", "streams-read streams-write"),
        ("streams-write", "streams-read"),
        ("users-write", "users-read"),
        ("buckets-write", "buckets-read"),
        ("integrations-write", "integrations-read"),
        ("alerts-write", "alerts-read"),
        ("appliance-config-write", "appliance-config-read"),
    ],
)
def test_a_project_permission_implies(granted: str, implied: str) -> None:
    assert access.derive_project([granted]) == {granted, *words(implied)}


@pytest.mark.parametrize(
    "name",
    [
        *words("streams-consume sources-read sources-add-comments sources-translate"),
        *words("voc-readonly datasets-review datasets-export datasets-model-admin"),
        *words("dashboards-write buckets-read buckets-append buckets-items-read files-write"),
    ],
)
def test_a_project_permission_implies_nothing_more(name: str) -> None:
    assert access.derive_project([name]) == {name}


READ_ALL = "sources-read voc-readonly streams-read alerts-read"
CHANGE_STREAMS = "streams-read streams-write streams-admin streams-consume"
CHANGE_SOURCES = "sources-read sources-read-sensitive sources-admin sources-add-comments"
CHANGE_CONFIGURATION = (
    "appliance-config-read appliance-config-write integrations-read integrations-write"
)
CHANGE_TAXONOMY = "voc voc-readonly datasets-review"


@pytest.mark.parametrize(
    ("role", "contents"),
    [
        (
            "role-cm-project-admin",
            f"{CHANGE_STREAMS} {CHANGE_SOURCES} {CHANGE_CONFIGURATION} {CHANGE_TAXONOMY}"
            " alerts-read alerts-write buckets-append buckets-read buckets-items-read"
            " buckets-write datasets-admin datasets-export",
        ),
        (
            "role-cm-developer",
            f"{CHANGE_STREAMS} {CHANGE_SOURCES} {CHANGE_CONFIGURATION} {CHANGE_TAXONOMY}"
            " alerts-read buckets-append buckets-read buckets-items-read datasets-export"
            " datasets-model-admin",
        ),
        (
            "role-cm-model-trainer",
            f"{READ_ALL} {CHANGE_TAXONOMY} integrations-read sources-read-sensitive",
        ),
        ("role-cm-analyst", f"{READ_ALL} alerts-write dashboards-write integrations-read"),
        ("role-cm-viewer", READ_ALL),
    ],
)
def test_a_project_role_contains(role: str, contents: str) -> None:
    assert access.derive_project([role]) == {role, *words(contents)}


TENANT_ADMIN_IMPLIES = words("""
    tenant-admin projects-admin audit-read tenant-users-read tenant-quota-read tenant-quota-write
""")


@pytest.mark.parametrize(
    ("granted", "derived"),
    [
        ("root", WIRE_GLOBAL_PERMISSIONS),
        ("tenant-admin", TENANT_ADMIN_IMPLIES),
        ("role-cm-tenant-admin", ["role-cm-tenant-admin", *TENANT_ADMIN_IMPLIES]),
        ("tenant-quota-write", ["tenant-quota-write", "tenant-quota-read"]),
        ("deployment-quota-write", ["deployment-quota-write", "deployment-quota-read"]),
        ("audit-read", ["audit-read"]),
        ("support-tenant-admin", ["support-tenant-admin"]),
        ("projects-admin", ["projects-admin"]),
    ],
)
def test_a_global_permission_derives(granted: str, derived: list[str]) -> None:
    assert access.derive_global([granted]) == set(derived)


def test_an_unknown_stored_name_is_kept_and_implies_nothing() -> None:
    assert access.derive_project(["voc-readonly", "from-the-future"]) == {
        "voc-readonly",
        "from-the-future",
    }
    assert access.reduce_global(["from-the-future"]) == ("from-the-future",)


# What an actor may see and do.


def test_an_actor_holds_what_his_grants_imply_and_only_there() -> None:
    actor = make_actor(in_projects={PROJECT: ["voc"]})
    assert access.permissions_in(actor, PROJECT) == {"voc", "voc-readonly", "datasets-review"}
    assert access.permissions_in(actor, OTHER) == frozenset()


def test_root_holds_every_permission_in_every_project() -> None:
    assert access.permissions_in(make_actor("root"), UNSEEN) == access.PROJECT_PERMISSIONS
    access.require(make_actor("root"), UNSEEN, tuple(access.PROJECT_PERMISSIONS))


def test_a_tenant_admin_sees_every_project_but_not_its_data() -> None:
    actor = make_actor("tenant-admin", in_projects={PROJECT: ["sources-read"]})
    assert access.may_see(actor, UNSEEN)
    assert access.permissions_in(actor, UNSEEN) == frozenset()
    with pytest.raises(PermissionMissing):
        access.require(actor, UNSEEN, (access.SOURCES_READ,))
    access.require(actor, PROJECT, (access.SOURCES_READ,))


@pytest.mark.parametrize("name", sorted(access.PROJECT_PERMISSIONS))
def test_any_permission_makes_a_project_visible(name: str) -> None:
    assert access.may_see(make_actor(in_projects={PROJECT: [name]}), PROJECT)


def test_a_project_without_permissions_in_it_is_invisible() -> None:
    actor = make_actor("audit-read", "projects-admin", in_projects={PROJECT: [], OTHER: ["voc"]})
    assert not access.may_see(actor, PROJECT)
    assert not access.may_see(actor, UNSEEN)
    assert access.visible_projects(actor) == frozenset({OTHER})


def test_require_names_all_that_is_missing_and_nothing_else() -> None:
    actor = make_actor(in_projects={PROJECT: ["voc-readonly"]})
    with pytest.raises(PermissionMissing) as refusal:
        access.require(
            actor,
            PROJECT,
            (access.STREAMS_CONSUME, access.VOC_READONLY, access.SOURCES_READ),
        )
    assert refusal.value.needed == "sources-read, streams-consume"


def test_require_hides_an_invisible_project_with_the_given_message() -> None:
    actor = make_actor(in_projects={OTHER: ["voc"]})
    with pytest.raises(NotFound) as refusal:
        access.require(actor, PROJECT, (access.VOC,), not_found="No such project: acme")
    assert refusal.value.message == "No such project: acme"


def test_require_without_needs_asks_for_visibility() -> None:
    access.require(make_actor(in_projects={PROJECT: ["users-read"]}), PROJECT, ())
    access.require(make_actor("tenant-admin"), PROJECT, ())
    with pytest.raises(NotFound):
        access.require(make_actor(), PROJECT, ())


def test_require_any_is_content_with_one() -> None:
    actor = make_actor(in_projects={PROJECT: ["datasets-admin"]})
    access.require_any(actor, PROJECT, (access.VOC, access.DATASETS_ADMIN))


def test_require_any_names_the_alternatives() -> None:
    actor = make_actor(in_projects={PROJECT: ["voc-readonly"]})
    with pytest.raises(PermissionMissing) as refusal:
        access.require_any(actor, PROJECT, (access.VOC, access.DATASETS_ADMIN))
    assert refusal.value.needed == "datasets-admin or voc"


def test_require_any_hides_an_invisible_project() -> None:
    with pytest.raises(NotFound):
        access.require_any(make_actor(), PROJECT, (access.VOC,))


def test_require_global_accepts_what_is_implied() -> None:
    access.require_global(make_actor("role-cm-tenant-admin"), (access.AUDIT_READ,))
    access.require_global(make_actor("root"), (access.DEPLOYMENT_QUOTA_WRITE,))


def test_require_global_names_the_alternatives() -> None:
    with pytest.raises(PermissionMissing) as refusal:
        access.require_global(make_actor("demo"), (access.TENANT_ADMIN, access.PROJECTS_ADMIN))
    assert refusal.value.needed == "projects-admin or tenant-admin"


@pytest.mark.parametrize("name", ["tenant-admin", "role-cm-tenant-admin", "root"])
def test_administrators_see_all_projects(name: str) -> None:
    assert access.visible_projects(make_actor(name)) is None


def test_projects_with_lists_those_where_all_needs_are_met() -> None:
    grants = {PROJECT: ["voc", "streams-admin"], OTHER: ["streams-read"], UNSEEN: []}
    needed = (access.STREAMS_READ, access.VOC_READONLY)
    met = frozenset({PROJECT})
    assert access.projects_with(make_actor(in_projects=grants), needed) == met
    assert access.projects_with(make_actor("tenant-admin", in_projects=grants), needed) == met
    assert access.projects_with(make_actor("root", in_projects=grants), needed) is None


def test_projects_with_no_needs_are_the_visible_ones() -> None:
    actor = make_actor(in_projects={PROJECT: ["voc"], OTHER: []})
    assert access.projects_with(actor, ()) == frozenset({PROJECT})
    assert access.projects_with(make_actor("tenant-admin"), ()) is None


def test_holds_somewhere() -> None:
    needed = (access.USERS_READ,)
    assert access.holds_somewhere(make_actor(in_projects={PROJECT: ["users-write"]}), needed)
    assert access.holds_somewhere(make_actor("root"), needed)
    assert not access.holds_somewhere(make_actor("tenant-admin"), needed)
    assert not access.holds_somewhere(make_actor(in_projects={PROJECT: ["voc"]}), needed)


@given(
    st.dictionaries(st.sampled_from([PROJECT, OTHER]), project_names),
    st.sets(st.sampled_from(["root", "tenant-admin", "audit-read"])),
    st.sets(st.sampled_from(sorted(access.PROJECT_PERMISSIONS)), max_size=3),
    st.sampled_from([PROJECT, OTHER, UNSEEN]),
)
def test_the_checks_agree_with_each_other(
    grants: dict[str, list[str]], globally: set[str], needed: set[str], project_id: str
) -> None:
    actor = make_actor(*globally, in_projects=grants)
    allowed = access.projects_with(actor, needed)
    visible = access.visible_projects(actor)
    assert access.may_see(actor, project_id) == (visible is None or project_id in visible)
    try:
        access.require(actor, project_id, needed)
    except NotFound:
        assert not access.may_see(actor, project_id)
    except PermissionMissing:
        assert access.may_see(actor, project_id)
        assert not access.permissions_in(actor, project_id) >= needed
        assert allowed is not None
        assert project_id not in allowed
    else:
        assert allowed is None or project_id in allowed


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        (make_actor("root"), True),
        (make_actor("tenant-admin"), True),
        (make_actor("projects-admin"), False),
        (make_actor(in_projects={PROJECT: ["role-cm-project-admin"]}), True),
        (make_actor(in_projects={PROJECT: access.ALL_FINE_GRAINED_PROJECT_PERMISSIONS}), True),
        (make_actor(in_projects={PROJECT: ["role-cm-developer"]}), False),
        (make_actor(in_projects={OTHER: ["role-cm-project-admin"]}), False),
    ],
)
def test_who_may_administer_a_project(actor: Actor, expected: bool) -> None:
    assert access.may_administer(actor, PROJECT) is expected


# What an actor may pass on.


def test_one_may_grant_what_one_holds_and_only_where_one_holds_it() -> None:
    actor = make_actor("audit-read", in_projects={PROJECT: ["voc", "users-write"]})
    assert access.may_grant(actor, in_projects={PROJECT: ["datasets-review", "users-read"]})
    assert access.may_grant(actor, globally=["audit-read"])
    assert not access.may_grant(actor, in_projects={PROJECT: ["datasets-admin"]})
    assert not access.may_grant(actor, in_projects={OTHER: ["voc"]})
    assert not access.may_grant(actor, globally=["demo"])


def test_nothing_may_be_granted_by_everyone() -> None:
    assert access.may_grant(make_actor(), in_projects={PROJECT: []})


@pytest.mark.parametrize("role", sorted(access.PROJECT_ROLES))
def test_a_role_may_be_granted_by_who_holds_all_it_contains(role: str) -> None:
    contents = access.derive_project([role]) - access.PROJECT_ROLES
    assert access.may_grant(
        make_actor(in_projects={PROJECT: contents}), in_projects={PROJECT: [role]}
    )
    for lacking in access.reduce_project(contents):
        actor = make_actor(in_projects={PROJECT: contents - {lacking}})
        assert not access.may_grant(actor, in_projects={PROJECT: [role]})


def test_root_may_grant_everything() -> None:
    access.require_grantable(
        make_actor("root"),
        in_projects={UNSEEN: access.PROJECT_PERMISSIONS},
        globally=access.GLOBAL_PERMISSIONS,
    )


def test_a_tenant_admin_may_grant_every_project_permission() -> None:
    assert access.may_grant(
        make_actor("tenant-admin"), in_projects={UNSEEN: access.PROJECT_PERMISSIONS}
    )


def test_a_tenant_admin_may_not_grant_what_reaches_beyond_the_tenant() -> None:
    with pytest.raises(PermissionMissing) as refusal:
        access.require_grantable(make_actor("tenant-admin"), globally=WIRE_GLOBAL_PERMISSIONS)
    assert refusal.value.needed == (
        "deployment-quota-read, deployment-quota-write, root, support-tenant-admin,"
        " support-users-write"
    )


def test_a_tenant_admin_may_pass_on_a_withheld_permission_that_he_holds() -> None:
    actor = make_actor("tenant-admin", "deployment-quota-read")
    assert access.may_grant(actor, globally=["deployment-quota-read"])


@given(project_names, project_names)
def test_a_grant_never_gives_more_than_the_granter_has(held: list[str], granted: list[str]) -> None:
    actor = make_actor(in_projects={PROJECT: held})
    if access.may_grant(actor, in_projects={PROJECT: granted}):
        gained = access.derive_project(granted) - access.PROJECT_ROLES
        assert gained <= access.permissions_in(actor, PROJECT)
