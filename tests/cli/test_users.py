"""`lodestream user` and `lodestream token`."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from lodestream.cli.users import token, user
from lodestream.store import accounts
from lodestream.store.db import Database
from tests.cli.conftest import objects
from tests.client import Client
from tests.conftest import make_project

Run = Callable[..., Result]


@pytest.fixture
def run(db: Database, db_url: str) -> Run:
    """Run a command on the test's database, while the test holds it open."""
    make_project(db, "desk")

    def call(group: click.Group, *words: str, ok: bool = True) -> Result:
        result = CliRunner().invoke(group, [*words, "--database-url", db_url])
        assert (result.exit_code == 0) is ok, result.output
        return result

    return call


def _user(run: Run, name: str) -> dict[str, Any]:
    return {one["username"]: one for one in objects(run(user, "list", "--json").stdout)}[name]


def test_a_created_user_is_listed(run: Run) -> None:
    made = run(
        user, "create", "ada", "ada@example.com", "-g", "audit-read", "--project", "desk",
        "-p", "sources-read", "--permission", "triggers-consume",
    ).stdout.strip()  # fmt: skip
    ada = _user(run, "ada")
    assert ada["id"] == made
    assert ada["global_permissions"] == ["audit-read"]
    assert ada["organisation_permissions"] == {"desk": ["sources-read", "streams-consume"]}
    assert "ada@example.com" in run(user, "list").stdout


def test_a_token_alone_is_printed_and_opens_the_server(run: Run, db: Database) -> None:
    run(user, "create", "ada", "ada@example.com")
    result = run(token, "create", "--user", "ada", "--label", "laptop")
    secret = result.stdout.strip()
    assert result.stdout == secret + "\n"
    with db.read() as tx:
        actor = accounts.find_actor(tx, sha256(secret.encode()).digest())
    assert actor is not None
    assert actor.username == "ada"


def test_a_token_holds_in_a_running_server_until_it_is_revoked(run: Run, client: Client) -> None:
    run(user, "create", "ada", "ada@example.com")
    made = json.loads(run(token, "create", "--user", "ada", "--json").stdout)
    ada = client.as_user(made["secret"])
    assert ada.ok("GET", "/auth/user")["user"]["username"] == "ada"
    run(token, "revoke", made["token"]["id"])
    assert ada.get("/auth/user").status == 401


def test_tokens_are_listed_without_secrets(run: Run) -> None:
    run(user, "create", "ada", "ada@example.com")
    run(user, "create", "bob", "bob@example.com")
    secret = run(token, "create", "--user", "ada", "--label", "laptop").stdout.strip()
    run(token, "create", "--user", "bob")
    result = run(token, "list", "--json")
    listed = {one["user"]: one for one in objects(result.stdout)}
    assert listed["ada"]["label"] == "laptop"
    assert set(listed) == {"ada", "bob"}
    assert secret not in result.output
    only = objects(run(token, "list", "--user", "bob", "--json").stdout)
    assert [one["user"] for one in only] == ["bob"]
    assert "laptop" in run(token, "list").stdout


def test_grant_adds_and_revoke_takes_away(run: Run) -> None:
    run(user, "create", "ada", "ada@example.com", "-g", "audit-read")
    run(user, "grant", "ada", "-g", "debug", "--project", "desk", "-p", "voc", "-p", "sources-read")
    run(user, "grant", "ada", "--project", "desk", "-p", "voc-readonly")
    ada = _user(run, "ada")
    assert ada["global_permissions"] == ["audit-read", "debug"]
    assert ada["organisation_permissions"] == {"desk": ["voc", "sources-read", "voc-readonly"]}
    run(user, "revoke", "ada", "-g", "debug", "--project", "desk", "-p", "voc")
    ada = _user(run, "ada")
    assert ada["global_permissions"] == ["audit-read"]
    assert ada["organisation_permissions"] == {"desk": ["sources-read", "voc-readonly"]}


def test_all_stands_for_every_permission_in_a_project(run: Run) -> None:
    run(user, "create", "ada", "ada@example.com", "--project", "desk", "-p", "all")
    assert len(_user(run, "ada")["organisation_permissions"]["desk"]) > 20
    run(user, "grant", "ada", "--project", "desk", "-p", "role-cm-viewer")
    run(user, "revoke", "ada", "--project", "desk", "-p", "all")
    assert _user(run, "ada")["organisation_permissions"] == {}


def test_a_deleted_user_and_the_tokens_are_gone(run: Run) -> None:
    run(user, "create", "ada", "ada@example.com")
    run(token, "create", "--user", "ada")
    run(user, "delete", "ada")
    assert objects(run(user, "list", "--json").stdout) == []
    assert objects(run(token, "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("group", "words", "message"),
    [
        (token, ("create", "--user", "nobody"), "No such user: nobody"),
        (token, ("revoke", "0123456789abcdef"), "No such token"),
        (user, ("delete", "nobody"), "No such user: nobody"),
        (user, ("delete", "system"), "No such user: system"),
        (user, ("create", "ada", "ada"), "not an e-mail address"),
        (user, ("create", "ada", "a@b.example", "-g", "king"), "'king' is not one of"),
        (user, ("create", "ada", "a@b.example", "--project", "desk"), "belong together"),
        (
            user,
            ("create", "ada", "a@b.example", "--project", "nowhere", "-p", "voc"),
            "No such project: nowhere",
        ),
    ],
)
def test_a_refusal_is_one_line_and_a_failing_exit_code(
    run: Run, group: click.Group, words: tuple[str, ...], message: str
) -> None:
    result = run(group, *words, ok=False)
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert objects(run(user, "list", "--json").stdout) == []
