"""The commands of the pages on Exchange, as they stand, with a mail system in memory."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lodestream.actions.integrations import Outside
from lodestream.client import client as library
from lodestream.domain.secrets import Keyring
from lodestream.store.db import Database
from tests.cli.test_verbs import Commands
from tests.client import Client
from tests.client_library.carriers import AppTransport
from tests.conftest import make_project
from tests.mailboxes import FakeMail
from tests.worker.test_mailboxes import KEY, read_all, runner

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^cat > (\S+) <<'JSON'\n(.*?)^JSON\n", re.MULTILINE | re.DOTALL)


@pytest.fixture
def cli(client: Client, db: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Commands:
    monkeypatch.setattr(library, "Connections", lambda *_way, **_times: AppTransport(client))
    monkeypatch.chdir(tmp_path)
    client.app.service.outside = Outside(Keyring(KEY))
    make_project(db, "support")
    return Commands()


def follow(cli: Commands, page: str) -> None:
    """Write the files of a page and run its commands, in their order."""
    text = (ROOT / "docs" / "howto" / page).read_text()
    for block in _BLOCK.findall(text):
        for name, content in _FILE.findall(block):
            Path(name).write_text(content)
        for line in _FILE.sub("", block).splitlines():
            command, _, target = line.partition(" > ")
            words = shlex.split(command)
            assert words[0] == "lodestream", line
            said = cli.ok(*words[1:])
            if target:
                Path(target).write_text(said)


def test_the_page_on_a_service_user(cli: Commands, db: Database) -> None:
    follow(cli, "exchange-service-user.md")
    mail = FakeMail({"claims@example.com": 3})
    read_all(runner(db, mail))
    assert mail.opened == [("claims@example.com", {"access.password": "the password"})]
    (state,) = cli.json("integration", "status", "support/shared")
    assert (state["status"], state["emails_read"]) == ("up_to_date", 3)


def test_the_page_on_application_access(cli: Commands, db: Database) -> None:
    follow(cli, "exchange-application.md")
    mail = FakeMail({"help@example.com": 3, "sales@example.com": 2})
    read_all(runner(db, mail))
    opened = {email: list(secrets) for email, secrets in mail.opened}
    assert opened == {
        "help@example.com": ["application.client_secret"],
        "sales@example.com": ["application.private_key"],
    }
    assert {one["emails_read"] for one in cli.json("integration", "status")} == {2, 3}
