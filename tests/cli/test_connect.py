"""`lodestream connect`: what it reads, what it says, and that it may be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lodestream.cli.connect_loop import Loop, Metrics, Seat
from lodestream.client import Client
from lodestream.connectors.mailboxes import MailboxRefused, Temporary
from lodestream.connectors.selfhosted import Secrets, read_configuration, shard_of
from lodestream.domain.errors import InvalidInput
from lodestream.domain.integrations import (
    AppAccess,
    CustomApplication,
    ExchangeConfiguration,
    ExchangeConnection,
    Graph,
    Ntlm,
    PrivateKeyApplication,
    UserAccess,
)
from tests.connectors.targets import Memory, mailbox
from tests.connectors.test_sync import Numbers
from tests.dovecot import PASSWORD, dovecot, message
from tests.processes import SCRIPTS, ServerProcess, environment, free_port

MAILBOXES = {"help@example.com": {"bucket": {"owner": "DefaultProject", "name": "mail"}}}


def read(secrets: Secrets | None = None, **config: object) -> ExchangeConnection:
    content = json.dumps({"mailboxes": MAILBOXES, **config}).encode()
    found = read_configuration(content, secrets).configuration
    assert isinstance(found, ExchangeConfiguration)
    assert isinstance(found.connection, ExchangeConnection)
    return found.connection


def test_the_vendors_configuration_for_graph_is_read() -> None:
    content = (
        b'{"microsoft_api":"graph","auth_oauth_authority":"https://login.microsoftonline.com/T/",'
        b'"auth_oauth_client_id":"C","auth_oauth_client_secret":"S","mailboxes":{"help@example.com":'
        b'{"bucket":{"owner":"support","name":"mail"},"start_from":"bucket",'
        b'"start_timestamp":"2026-01-01T00:00:00+00:00"}}}'
    )

    connector = read_configuration(content)

    application = CustomApplication("T", "C", "S")
    expected = ExchangeConnection(
        AppAccess(), application, Graph(), authority="https://login.microsoftonline.com"
    )
    assert connector.configuration == ExchangeConfiguration(connection=expected)
    (one,) = connector.mailboxes
    assert (one.email, one.start_timestamp) == ("help@example.com", "2026-01-01T00:00:00+00:00")
    assert one.bucket_specification.project_name == "support"


def test_configurations_for_exchange_are_read() -> None:
    ntlm = read(
        Secrets(password="P"), auth_type="ntlm", host="mail.corp", auth_user="C\\u", port=8443
    )
    certificate = read(
        auth_type="oauth2",
        auth_oauth_authority="https://login.example.com/T",
        auth_oauth_client_id="C",
        auth_oauth_client_credential_private_key="KEY",
        auth_oauth_client_credential_thumbprint="AB",
        access_type="impersonation",
    )

    assert (ntlm.access, ntlm.application) == (UserAccess("C\\u", "P"), Ntlm())
    assert ntlm.ews_endpoint == "https://mail.corp:8443/EWS/Exchange.asmx"
    assert certificate.application == PrivateKeyApplication("T", "C", "AB", "KEY")
    assert certificate.ews_endpoint == "https://outlook.office365.com/EWS/Exchange.asmx"
    assert certificate.access_type == "impersonation"


@pytest.mark.parametrize(
    "config",
    [
        {"microsoft_api": "graph"},
        {"microsoft_api": "graph", "auth_oauth_authority": "login", "auth_oauth_client_id": "C"},
        {"auth_type": "ntlm"},
        {"unknown": 1},
    ],
)
def test_a_configuration_that_cannot_be_used_is_told(config: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        read(**config)


def test_every_mailbox_is_read_by_one_shard() -> None:
    shards = {shard_of(f"{number}@example.com", 3) for number in range(50)}

    assert shards == {0, 1, 2}
    assert shard_of("Help@Example.com", 7) == shard_of("help@example.com", 7)


def test_a_mailbox_that_refuses_is_not_asked_again_and_others_go_on() -> None:
    asked: list[str] = []

    def open_one(one: object) -> Numbers:
        asked.append(one.email)  # type: ignore[attr-defined]
        if len(asked) > 5:
            stop.set()
        if one.email == "locked@x":  # type: ignore[attr-defined]
            raise MailboxRefused("mailbox_access_denied", "no")
        return Numbers({"a": [1]})

    stop = threading.Event()
    seats = [Seat(mailbox("locked@x"), Memory()), Seat(mailbox("ok@x"), Memory())]
    Loop(seats, open_one, stop, poll_s=0.01).run()

    assert asked.count("locked@x") == 1
    assert asked.count("ok@x") == 5


def test_a_mailbox_that_fails_in_passing_waits_as_long_as_it_asks() -> None:
    metrics = Metrics()
    seat = Seat(mailbox(), Memory())

    def open_one(_one: object) -> Numbers:
        stop.set()
        raise Temporary("throttled", retry_after_s=1000)

    stop = threading.Event()
    Loop([seat], open_one, stop, poll_s=1, metrics=metrics).run()

    assert seat.due_s - time.monotonic() > 990
    labels = {"mailbox": "help@example.com"}
    found = metrics.registry.get_sample_value("lodestream_connector_failures_total", labels)
    assert found == 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with a bucket and a source of it, called by its administrator."""
    given = environment(free_port(), LODESTREAM_ADMIN_TOKEN="ls_" + "a" * 43)
    running = ServerProcess(tmp_path, given, command=["serve"])
    try:
        with Client(running.url, given["LODESTREAM_ADMIN_TOKEN"]) as client:
            client.create_bucket("DefaultProject/mail")
            bucket_id = client.bucket("DefaultProject/mail").id
            client.create_source("DefaultProject/inbox", bucket_id=bucket_id)
        yield running
    finally:
        running.stop()


@pytest.mark.slow
def test_killed_while_mails_come_nothing_is_lost_and_nothing_comes_twice(
    server: ServerProcess, tmp_path: Path
) -> None:
    with dovecot() as mails, Client(server.url, "ls_" + "a" * 43) as client:
        there = {
            "host": "127.0.0.1",
            "port": mails.port,
            "security": "none",
            "access": {"kind": "password", "username": "help@example.com"},
        }
        config = tmp_path / "connector.json"
        config.write_text(json.dumps({"imap": there, "mailboxes": MAILBOXES}))
        metrics_port = free_port()
        command = [str(SCRIPTS / "lodestream"), "connect", "--config", str(config)]
        command += ["--poll-interval", "1", "--metrics-port", str(metrics_port)]
        given = {**os.environ, "CM_ENDPOINT": server.url, "CM_API_TOKEN": "ls_" + "a" * 43}
        given["IMAP_PASSWORD"] = PASSWORD
        with mails.as_user("help@example.com") as writer:
            writer.create_folder("Claims")
            written = 0
            for kill in range(6):
                with (tmp_path / "connect.log").open("ab") as log:
                    process = subprocess.Popen(command, env=given, stderr=log, stdout=log)
                until = time.monotonic() + 2.0 + 0.37 * kill
                while time.monotonic() < until:
                    writer.append(("INBOX", "Claims")[written % 2], message(written))
                    written += 1
                process.send_signal(signal.SIGKILL)
                process.wait()
        process = subprocess.Popen(command, env=given)
        expected = {f"<{number}@example.com>" for number in range(written)}
        wanted = sorted(one.encode().hex() for one in expected)
        found: list[str] = []
        for _ in range(600):
            found = sorted(one.id for one in client.comments("DefaultProject/inbox"))
            if len(found) >= written:
                break
            time.sleep(0.1)
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics") as answer:
            told = answer.read().decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        stored = [one.id for one in client.emails("DefaultProject/mail")]

    assert found == wanted
    assert sorted(stored) == sorted(expected)
    assert 'lodestream_connector_lag_seconds{mailbox="help@example.com"} 0.0' in told
