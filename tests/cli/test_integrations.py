"""`lodestream integration` and `secret`, over a whole server on both databases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from lodestream.actions.integrations import Outside
from lodestream.cli.main import main
from lodestream.client import client as library
from lodestream.connectors.mailboxes import MailboxRefused
from lodestream.domain.secrets import Keyring, new_key
from lodestream.store import sealed
from lodestream.store.db import Database
from lodestream.store.tables import integration, metadata
from tests.cli.test_verbs import Commands
from tests.client import Client
from tests.client_library.carriers import AppTransport
from tests.mailboxes import FakeMail, imap_settings
from tests.worker.test_mailboxes import KEY, ONE, TWO, read_all, runner

NAME = "acme/post"


@pytest.fixture
def cli(client: Client, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setattr(library, "Connections", lambda *_way, **_times: AppTransport(client))
    client.app.service.outside = Outside(Keyring(KEY))
    return Commands()


def settings(*emails: str) -> str:
    return json.dumps(imap_settings(*emails)["integration"])


def test_an_integration_from_its_making_to_its_end(cli: Commands, db: Database) -> None:
    made = cli.one("integration", "create", NAME, "--title", "T", "--file", "-",
                   given=settings(ONE, TWO))  # fmt: skip
    assert (made["type"], made["title"], made["enabled"]) == ("imap", "T", True)
    mail = FakeMail({ONE: 3}, raises={TWO: MailboxRefused("mailbox_not_found", "no such box")})
    read_all(runner(db, mail))
    table = cli.ok("integration", "list").splitlines()
    assert table[1].split()[:5] == ["acme", "post", "imap", "T", "yes"]
    first, second = cli.json("integration", "status", NAME)
    assert (first["email"], first["status"], first["emails_read"]) == (ONE, "up_to_date", 3)
    assert second["status"] == "disabled"
    assert "no such box" in cli.ok("integration", "errors", NAME)
    cli.ok("integration", "enable", NAME, TWO.upper())
    assert cli.json("integration", "status")[1]["status"] == "waiting"
    assert cli.ok("integration", "sync", NAME) == "2 mailboxes will be read now\n"
    # What is shown can be sent back, and the password is still known.
    shown = cli.ok("integration", "get", NAME, "--json")
    assert cli.one("integration", "update", NAME, "--file", "-", given=shown)["title"] == "T"
    mail.raises.clear()
    read_all(runner(db, mail))
    assert mail.opened[-1][1] == {"access.password": "hunter2"}
    cli.ok("integration", "disable", NAME)
    assert cli.one("integration", "get", NAME)["disabled_reason"] == "user"
    cli.ok("integration", "delete", NAME, "--yes")
    assert cli.json("integration", "list", "acme") == []
    cli.refused("integration", "get", NAME, said="No such integration")
    cli.refused("integration", "get", "post", said="PROJECT/NAME expected", code=2)


def command(db: Database, key: str, *arguments: str) -> str:
    url = db.url.render_as_string(hide_password=False)
    result = CliRunner(env={"LODESTREAM_SECRET_KEY": key, "LODESTREAM_DATABASE_URL": url}).invoke(
        main, arguments
    )
    assert result.exit_code in (0, 1), result.output
    return result.output


def test_secrets_are_encrypted_anew_and_the_old_key_is_done_with(
    cli: Commands, client: Client, db: Database
) -> None:
    cli.ok("integration", "create", NAME, "--file", "-", given=settings(ONE))
    client.ok("PUT", "/api/_private/appliance-configs/acme/box", b"{}")
    new = CliRunner().invoke(main, ["secret", "new-key"]).stdout.strip()
    assert "cannot be opened" in command(db, new, "secret", "renew")
    assert "2 of 2 stored secrets cannot be opened" in command(db, new, "doctor")
    assert "2 encrypted" in command(db, f"{new},{KEY}", "secret", "renew")
    assert "opens all 2 stored secrets" in command(db, new, "doctor")
    with db.read() as tx:
        row = tx.execute(sa.select(integration.c.id, integration.c.sealed)).one()
    assert Keyring(new).unseal(row.id, row.sealed) == {"access.password": "hunter2"}
    client.app.service.outside = Outside(Keyring(new))
    assert client.get("/api/_private/appliance-configs/acme/box").content == b"{}"


def test_every_table_of_secrets_is_known_to_be_one() -> None:
    known = {table.name for table, _ in sealed.OWNERS}
    assert known == {table.name for table in metadata.sorted_tables if "sealed" in table.c}


def test_a_key_that_is_none_is_refused_at_once_and_not_shown(tmp_path: Path) -> None:
    env = {"LODESTREAM_SECRET_KEY": "hunter2"}
    result = CliRunner(env=env).invoke(main, ["migrate", "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert "new-key" in result.output
    assert "hunter2" not in result.output


def test_a_backup_holds_secrets_as_they_are_stored(
    cli: Commands, db: Database, tmp_path: Path
) -> None:
    cli.ok("integration", "create", NAME, "--file", "-", given=settings(ONE))
    command(db, new_key(), "backup", "--data", str(tmp_path / "data"), str(tmp_path / "kept"))
    content = (tmp_path / "kept" / "lodestream.sqlite3").read_bytes()
    assert b"hunter2" not in content
    with db.read() as tx:
        text = tx.execute(sa.select(integration.c.sealed)).scalar_one()
    assert text.encode() in content
