"""A real IMAP mailbox, read by `lodestream serve` while it is written to and the server killed."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lodestream.domain.secrets import new_key
from tests.dovecot import PASSWORD, dovecot, message
from tests.processes import ServerProcess, environment, free_port

TOKEN = "mailbox-token"
ADDRESS = "help@example.com"
OURS = "/api/lodestream/v1/integrations/support/imap"


def call(server: ServerProcess, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        server.url + path,
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {TOKEN}"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def set_up(server: ServerProcess, port: int) -> None:
    """Make a project, an integration with the IMAP server, and a source of its bucket."""
    call(server, "PUT", "/api/_private/projects/support", {"project": {"title": "Support"}})
    place = {"project_name": "support", "name": "mail"}
    access = {"kind": "password", "username": ADDRESS, "password": PASSWORD}
    connection = {"host": "127.0.0.1", "port": port, "security": "none", "access": access}
    box = {"email": ADDRESS, "enabled": True, "bucket_specification": place}
    configuration = {"connection": connection, "mailboxes": [box]}
    settings = {"integration_type": "imap", "configuration": configuration}
    call(server, "PUT", OURS, {"integration": settings})
    bucket = call(server, "GET", "/api/_private/buckets/support/mail")["bucket"]
    source = {"source": {"bucket_id": bucket["id"]}}
    call(server, "PUT", "/api/v1/sources/support/inbox", source)


def comments(server: ServerProcess) -> list[str]:
    """Return the subjects of all comments."""
    found: list[str] = []
    after = ""
    while True:
        path = f"/api/_private/sources/support/inbox/comments?limit=256{after}"
        page = call(server, "GET", path)
        found += [one["messages"][0]["subject"]["text"] for one in page["comments"]]
        if "continuation" not in page:
            return found
        after = f"&after={quote(page['continuation'])}"


@pytest.mark.slow
def test_a_mailbox_that_is_written_to_comes_whole_through_kills(tmp_path: Path) -> None:
    given = environment(
        free_port(),
        LODESTREAM_ADMIN_TOKEN=TOKEN,
        LODESTREAM_SECRET_KEY=new_key(),
        LODESTREAM_MAILBOX_INTERVAL="0.2",
    )
    with dovecot() as imap, imap.as_user(ADDRESS) as writer:
        server = ServerProcess(tmp_path, given, command=["serve"])
        set_up(server, imap.port)
        number = 0
        for _ in range(4):
            for _ in range(25):
                writer.append("INBOX", message(number))
                number += 1
            time.sleep(1.0)
            server.process.kill()
            server.process.wait()
            server = ServerProcess(tmp_path, given, command=["serve"])
        # What a killed process held is free again after its lease: two minutes for the mailbox,
        # five for the reading of the bucket.
        until = time.monotonic() + 420
        while len(comments(server)) < number:
            assert time.monotonic() < until, (len(comments(server)), server.tail())
            time.sleep(1)
        assert sorted(comments(server)) == sorted(f"Number {n}" for n in range(number))
        (state,) = call(server, "GET", OURS)["integration"]["mailbox_states"]
        assert (state["status"], state["emails_failed"], state["error"]) == ("up_to_date", 0, None)
        assert PASSWORD not in server.tail()
        server.stop()
