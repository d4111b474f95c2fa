"""IMAP against a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lodestream.connectors.imap import ImapMailbox
from lodestream.connectors.mailboxes import MailboxRefused, Temporary
from lodestream.connectors.open import open_mailbox
from lodestream.connectors.sync import Progress, sync_mailbox
from lodestream.domain.integrations import (
    ImapConfiguration,
    ImapConnection,
    Mailbox,
    Password,
)
from tests.connectors.targets import Memory, mailbox
from tests.dovecot import PASSWORD, Dovecot, dovecot, message, received


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    """A server for all tests here; each uses a mailbox of its own."""
    with dovecot() as running:
        yield running


def opened(server: Dovecot, user: str, settings: Mailbox | None = None) -> ImapMailbox:
    access = Password(user, PASSWORD)
    connection = ImapConnection("127.0.0.1", access, server.port, "none")
    found = open_mailbox(ImapConfiguration(connection=connection), settings or mailbox())
    assert isinstance(found, ImapMailbox)
    return found


def sync(server: Dovecot, user: str, target: Memory, settings: Mailbox | None = None) -> Progress:
    one = opened(server, user, settings)
    try:
        return sync_mailbox(one, settings or mailbox(), target)
    finally:
        one.close()


def test_what_is_new_comes_once_with_what_the_mailbox_knows(server: Dovecot) -> None:
    target = Memory()
    with server.as_user("new") as client:
        client.append("INBOX", message(1), ["\\Seen", "Urgent", "$Label1"], received(9))
        client.create_folder("Kündigung/2020")
        client.append("Kündigung/2020", message(2), (), received(10))
        client.append("Drafts", message(3), (), received(10))
        client.append("INBOX", message(4), ["\\Draft"], received(10))

    first = sync(server, "new", target)
    again = sync(server, "new", target)

    assert first.finished
    assert (first.read, first.stored) == (2, 2)
    assert (again.read, again.stored) == (0, 0)
    assert set(target.emails) == {"<1@example.com>", "<2@example.com>"}
    one, two = target.emails["<1@example.com>"], target.emails["<2@example.com>"]
    assert one.mime_content.encode() == message(1)
    assert one.timestamp == "2020-01-09T16:34:45.000000Z"
    assert one.metadata is not None
    assert two.metadata is not None
    assert one.metadata.received_at == "2020-01-09T12:00:00.000000Z"
    assert (one.metadata.is_read, two.metadata.is_read) == (True, False)
    assert one.metadata.categories == ["Urgent"]
    assert (one.metadata.folder, two.metadata.folder) == (["INBOX"], ["Kündigung", "2020"])
    states = {tuple(state.folder_path): state for state in target.states.values()}  # type: ignore[arg-type]
    assert states[("INBOX",)].status == "UP_TO_DATE"
    assert states[("INBOX",)].synced_until == "2020-01-09T12:00:00.000000Z"


def test_nothing_in_the_mailbox_is_changed(server: Dovecot) -> None:
    with server.as_user("untouched") as client:
        client.append("INBOX", message(1))
        sync(server, "untouched", Memory())
        client.select_folder("INBOX", readonly=True)
        assert client.fetch([1], ["FLAGS"])[1][b"FLAGS"] == (b"\\Recent",)


def test_changes_and_moves_are_followed_and_deletions_are_not(server: Dovecot) -> None:
    target = Memory()
    with server.as_user("changes") as client:
        client.create_folder("Done")
        for number in (1, 2, 3):
            client.append("INBOX", message(number))
        sync(server, "changes", target)
        client.select_folder("INBOX")
        client.add_flags([2], ["\\Seen"])
        client.move([3], "Done")
        client.delete_messages([1])
        client.expunge([1])

    target.puts.clear()
    sync(server, "changes", target)
    sync(server, "changes", target)

    assert sorted(target.puts) == ["<2@example.com>", "<3@example.com>"]
    assert set(target.emails) == {"<1@example.com>", "<2@example.com>", "<3@example.com>"}
    two, three = target.emails["<2@example.com>"], target.emails["<3@example.com>"]
    assert two.metadata is not None
    assert three.metadata is not None
    assert two.metadata.is_read
    assert three.metadata.folder == ["Done"]


def test_many_come_in_pages_and_a_stop_loses_none(server: Dovecot) -> None:
    target = Memory()
    with server.as_user("many") as client:
        for number in range(150):
            client.append("INBOX", message(number))

    one = opened(server, "many")
    answers = iter([True, True, False])
    stopped = sync_mailbox(one, mailbox(), target, go_on=lambda: next(answers))
    one.close()
    assert not stopped.finished
    assert 0 < len(target.emails) < 150
    assert {state.status for state in target.states.values()} == {"IN_PROGRESS"}

    assert sync(server, "many", target).finished
    assert len(target.emails) == len(target.puts) == 150


def test_only_what_is_from_after_the_start(server: Dovecot) -> None:
    target = Memory()
    with server.as_user("start") as client:
        for day in (1, 8, 9, 10):
            client.append("INBOX", message(day), (), received(day))

    sync(server, "start", target, mailbox(start_timestamp="2020-01-09T12:00:00+00:00"))

    assert sorted(target.emails) == ["<10@example.com>", "<9@example.com>"]


def test_a_folder_that_begins_anew_is_read_anew(server: Dovecot) -> None:
    target = Memory()
    with server.as_user("anew") as client:
        client.create_folder("A")
        client.append("A", message(1))
        client.append("A", message(2))
        sync(server, "anew", target)
        client.delete_folder("A")
        client.create_folder("A")
        client.append("A", message(3))

    sync(server, "anew", target)

    assert sorted(target.emails) == ["<1@example.com>", "<2@example.com>", "<3@example.com>"]


def test_a_session_that_the_server_ends_is_begun_anew() -> None:
    target = Memory()
    with dovecot() as server:
        with server.as_user("ann") as client:
            client.append("INBOX", message(1))
        one = opened(server, "ann")
        sync_mailbox(one, mailbox(), target)
        server.stop()
        with pytest.raises(Temporary, match="does not answer"):
            sync_mailbox(one, mailbox(), target)
        server.start()
        with server.as_user("ann") as client:
            client.append("INBOX", message(2))
        sync_mailbox(one, mailbox(), target)
        one.close()

    assert target.puts == ["<1@example.com>", "<2@example.com>"]


def test_a_wrong_password_is_told_as_such(server: Dovecot) -> None:
    connection = ImapConnection("127.0.0.1", Password("x", "wröng"), server.port, "none")
    one = open_mailbox(ImapConfiguration(connection=connection), mailbox())

    with pytest.raises(MailboxRefused) as refused:
        one.folders()

    assert refused.value.kind == "invalid_exchange_credentials"
    assert "wröng" not in refused.value.text


def test_hosts_that_are_not_allowed_are_not_connected_to(server: Dovecot) -> None:
    connection = ImapConnection("127.0.0.1", Password("x", "y"), server.port, "none")

    with pytest.raises(MailboxRefused, match=r"127\.0\.0\.1"):
        open_mailbox(
            ImapConfiguration(connection=connection), mailbox(), allowed_hosts=["mail.example.com"]
        )
