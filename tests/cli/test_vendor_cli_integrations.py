"""The vendor's client on integrations, and on where reading their mailboxes is."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from lodestream.domain.secrets import new_key
from tests.cli.test_vendor_cli import RE, TOKEN, Vendor
from tests.cli.test_vendor_cli_mail import call
from tests.mailboxes import imap_settings
from tests.processes import ServerProcess, environment, free_port

OURS = "/api/lodestream/v1/integrations"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    if RE is None:
        pytest.skip(
            "NO `re`: cargo install reinfer-cli --version 0.35.0 --locked, or LODESTREAM_TEST_RE"
        )
    given = environment(
        free_port(),
        LODESTREAM_ADMIN_TOKEN=TOKEN,
        LODESTREAM_SECRET_KEY=new_key(),
        LODESTREAM_MAILBOXES="false",  # nothing outside is connected to
    )
    running = ServerProcess(tmp_path_factory.mktemp("server"), given, command=["serve"])
    yield running
    running.stop()


@pytest.fixture(scope="module")
def vendor(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Vendor:
    client = Vendor(tmp_path_factory.mktemp("vendor"))
    client.ok("config", "add", "--name", "here", "--endpoint", server.url, "--token", TOKEN)
    me = client.rows("get", "current-user")[0]
    client.ok("create", "project", "support", "--title", "Support", "--user-ids", me["id"])
    return client


def definition(*emails: str, **connection: Any) -> dict[str, Any]:
    return {
        "title": "Shared inboxes",
        "enabled": True,
        "configuration": {
            "connection": {
                "access": {"kind": "user_access", "username": "svc@example.com", "password": "p"},
                "application": {"kind": "custom", "tenant_id": "t", "client_id": "c"},
                **connection,
            },
            "mailboxes": [
                {
                    "email": email,
                    "enabled": True,
                    "start_timestamp": "2026-01-01T00:00:00Z",
                    "folder_denylist": [["Inbox", "Old"]],
                    "bucket_specification": {
                        "project_name": "support",
                        "name": "mail",
                        "title": "Mail",
                    },
                }
                for email in emails
            ],
        },
    }


def agree(vendor: Vendor, *arguments: str) -> None:
    """Run a command in a terminal, and say yes to what it asks there."""
    ours, its = pty.openpty()
    command = [str(RE), "--config-file", str(vendor.config), *arguments]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its) as running:
        os.close(its)
        os.write(ours, b"y\n")
        said = b""
        with contextlib.suppress(OSError):  # the terminal is gone when the command is
            while part := os.read(ours, 4096):
                said += part
        os.close(ours)
        assert running.wait(30) == 0, said.decode(errors="replace")


def test_an_integration_is_created_listed_and_overwritten(
    server: ServerProcess, vendor: Vendor
) -> None:
    file = vendor.write("one.json", definition("a@example.com"))
    vendor.ok("create", "integration", "-f", file, "support/mail")
    (row,) = vendor.rows("get", "integrations")
    assert (row["owner"], row["name"], row["type"]) == ("support", "mail", "exchange_online")
    (alone,) = vendor.rows("get", "integrations", "support/mail")
    assert alone["id"] == row["id"]
    assert "--overwrite" in vendor.refused("create", "integration", "-f", file, "support/mail")
    more = definition("a@example.com", "b@example.com")
    file = vendor.write("two.json", more)
    agree(vendor, "create", "integration", "-f", file, "support/mail", "--overwrite")
    found = call(server, "GET", "/api/_private/integrations/support/mail")["integration"]
    assert [one["email"] for one in found["configuration"]["mailboxes"]] == [
        "a@example.com",
        "b@example.com",
    ]
    # What was downloaded can be uploaded again, without the password.
    file = vendor.write("three.json", json.loads(json.dumps(alone)))
    agree(vendor, "create", "integration", "-f", file, "support/mail", "--overwrite")
    found = call(server, "GET", "/api/_private/integrations/support/mail")["integration"]
    assert [one["email"] for one in found["configuration"]["mailboxes"]] == ["a@example.com"]


def test_integrations_of_our_own_kinds_do_not_break_its_listing(
    server: ServerProcess, vendor: Vendor
) -> None:
    settings = imap_settings("c@example.com", bucket="support/other")
    call(server, "PUT", f"{OURS}/support/imap", settings)
    assert "imap" not in [row["name"] for row in vendor.rows("get", "integrations")]
    vendor.refused("get", "integrations", "support/imap")
    vendor.ok("get", "keyed-sync-states", "support/other")
