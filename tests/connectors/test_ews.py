"""Exchange Web Services, against a fake that speaks as much of it as is needed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("exchangelib")

from lodestream.connectors.ews import EwsMailbox
from lodestream.connectors.mailboxes import MailboxRefused, Temporary
from lodestream.connectors.sync import Progress, sync_mailbox
from lodestream.domain.integrations import (
    AppAccess,
    CustomApplication,
    Ews,
    ExchangeConnection,
    Mailbox,
    Ntlm,
    UserAccess,
)
from tests.connectors.fake_ews import FakeEws
from tests.connectors.fake_graph import FakeGraph, LocalHttp
from tests.connectors.targets import Memory, mailbox
from tests.dovecot import message

APPLICATION = CustomApplication("tenant", "client", "secret")


@pytest.fixture
def authority() -> Iterator[FakeGraph]:
    found = FakeGraph()
    yield found
    found.close()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEws]:
    # Without TLS no token would be sent.
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    found = FakeEws()
    found.add_folder("claims", "inbox", "Claims")
    yield found
    found.close()


def sync(
    fake: FakeEws, authority: FakeGraph, target: Memory, settings: Mailbox | None = None
) -> Progress:
    connection = ExchangeConnection(AppAccess(), APPLICATION, Ews(), ews_endpoint=fake.url)
    settings = settings or mailbox()
    one = EwsMailbox(connection, settings, http=LocalHttp(authority.url))
    try:
        return sync_mailbox(one, settings, target)
    finally:
        one.close()


def test_what_is_new_comes_once_with_what_the_mailbox_knows(
    fake: FakeEws, authority: FakeGraph
) -> None:
    for number in range(5):
        fake.put("inbox", f"i{number}", message(number))
    fake.put("claims", "c1", message(10), IsRead="true", Importance="High")
    fake.put("drafts", "d1", message(20))
    fake.put("inbox", "d2", message(21), IsDraft="true")
    fake.put("inbox", "n1", message(22), ItemClass="IPM.Contact")
    fake.put("calendar", "a1", message(23))
    target = Memory()

    first = sync(fake, authority, target)
    again = sync(fake, authority, target)

    assert (first.stored, again.stored) == (6, 0)
    assert sorted(target.puts) == sorted([f"<{n}@example.com>" for n in (0, 1, 2, 3, 4, 10)])
    metadata = target.emails["<10@example.com>"].metadata
    assert metadata is not None
    assert metadata.folder == ["Inbox", "Claims"]
    assert (metadata.is_read, metadata.importance) == (True, "high")
    assert metadata.received_at == "2020-01-09T12:00:00.000000Z"
    assert fake.tokens == {"Bearer token-1"}
    assert set(fake.impersonated) == {"help@example.com"}
    assert set(fake.asked) <= {"GetFolder", "FindFolder", "SyncFolderItems", "GetItem"}


def test_moves_and_flags_are_followed_and_deletions_are_not(
    fake: FakeEws, authority: FakeGraph
) -> None:
    fake.put("inbox", "i1", message(1))
    fake.put("inbox", "i2", message(2))
    fake.put("inbox", "i3", message(3))
    target = Memory()
    sync(fake, authority, target)
    fake.changes["inbox"] += [("Delete", "i1"), ("Delete", "i2")]
    fake.put("claims", "i1", message(1))
    fake.put("inbox", "i3", message(3), "ReadFlagChange", IsRead="true")

    sync(fake, authority, target)

    one, three = (target.emails[f"<{n}@example.com>"].metadata for n in (1, 3))
    assert one is not None
    assert three is not None
    assert one.folder == ["Inbox", "Claims"]
    assert three.is_read
    assert "<2@example.com>" in target.emails


def test_a_state_that_is_not_known_any_more_begins_anew(
    fake: FakeEws, authority: FakeGraph
) -> None:
    fake.put("inbox", "i1", message(1))
    target = Memory()
    sync(fake, authority, target)
    fake.put("inbox", "i2", message(2))
    fake.expired = True

    sync(fake, authority, target)

    assert target.puts == ["<1@example.com>", "<1@example.com>", "<2@example.com>"]


def test_a_service_account_signs_in_by_ntlm(fake: FakeEws) -> None:
    fake.ntlm = True
    fake.put("inbox", "i1", message(1))
    connection = ExchangeConnection(
        UserAccess("CORP\\reader", "password"),
        Ntlm(),
        Ews(),
        ews_endpoint=fake.url,
        build_version="15.1.2248.0",
    )
    target = Memory()
    one = EwsMailbox(connection, mailbox())

    sync_mailbox(one, mailbox(), target)
    one.close()

    assert target.puts == ["<1@example.com>"]
    assert fake.impersonated == []
    assert all("reader".encode("utf-16-le") in raw for raw in fake.signed_in)
    assert fake.signed_in


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ErrorNonExistentMailbox", "mailbox_not_found"),
        ("ErrorAccessDenied", "mailbox_access_denied"),
        ("ErrorImpersonateUserDenied", "mailbox_access_denied"),
    ],
)
def test_refusals_are_told_by_their_kind(
    fake: FakeEws, authority: FakeGraph, code: str, kind: str
) -> None:
    fake.failures = [("GetFolder", code)]

    with pytest.raises(MailboxRefused) as refused:
        sync(fake, authority, Memory())

    assert refused.value.kind == kind


def test_a_token_that_is_not_taken_is_told_as_such(fake: FakeEws, authority: FakeGraph) -> None:
    fake.unauthorized = True

    with pytest.raises(MailboxRefused) as refused:
        sync(fake, authority, Memory())

    assert refused.value.kind == "invalid_exchange_credentials"
    assert "token-1" not in refused.value.text


def test_a_token_that_expires_meanwhile_refuses_no_mailbox(
    fake: FakeEws, authority: FakeGraph
) -> None:
    connection = ExchangeConnection(AppAccess(), APPLICATION, Ews(), ews_endpoint=fake.url)
    one = EwsMailbox(connection, mailbox(), http=LocalHttp(authority.url))
    folder = one.folders()[0]
    fake.unauthorized = True

    with pytest.raises(Temporary):
        one.changes(folder, None)
    with pytest.raises(MailboxRefused):
        one.changes(folder, None)
    one.close()


def test_a_busy_server_is_asked_later(fake: FakeEws, authority: FakeGraph) -> None:
    fake.put("inbox", "i1", message(1))
    fake.failures = [("SyncFolderItems", "ErrorServerBusy")]
    target = Memory()

    with pytest.raises(Temporary) as failed:
        sync(fake, authority, target)

    assert failed.value.retry_after_s is not None
    assert failed.value.retry_after_s >= 10
    assert sync(fake, authority, target).finished


def test_only_what_is_from_after_the_start_is_downloaded(
    fake: FakeEws, authority: FakeGraph
) -> None:
    fake.put("inbox", "i1", message(1), DateTimeReceived="2019-12-31T23:59:59Z")
    target = Memory()

    sync(fake, authority, target, mailbox(start_timestamp="2020-01-01T00:00:00Z"))

    assert target.puts == []
    assert "GetItem" not in fake.asked
