"""Microsoft Graph, against a fake that speaks as much of it as is needed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("msal")

from lodestream.connectors.graph import GraphMailbox
from lodestream.connectors.mailboxes import MailboxRefused, Temporary
from lodestream.connectors.open import open_mailbox
from lodestream.connectors.sync import Progress, sync_mailbox
from lodestream.domain.integrations import (
    AppAccess,
    CustomApplication,
    ExchangeConfiguration,
    ExchangeConnection,
    Graph,
    Mailbox,
    UserAccess,
)
from tests.connectors.fake_graph import FakeGraph, LocalHttp
from tests.connectors.targets import Memory, mailbox
from tests.dovecot import message

APPLICATION = CustomApplication("tenant", "client", "secret")


@pytest.fixture
def fake() -> Iterator[FakeGraph]:
    found = FakeGraph()
    found.add_folder("inbox", "Posteingang")
    found.add_folder("claims", "Claims", "inbox")
    yield found
    found.close()


def opened(
    fake: FakeGraph,
    settings: Mailbox | None = None,
    *,
    connection: ExchangeConnection | None = None,
) -> GraphMailbox:
    connection = connection or ExchangeConnection(AppAccess(), APPLICATION, Graph())
    return GraphMailbox(connection, settings or mailbox(), http=LocalHttp(fake.url))


def sync(fake: FakeGraph, target: Memory, settings: Mailbox | None = None) -> Progress:
    one = opened(fake, settings)
    try:
        return sync_mailbox(one, settings or mailbox(), target)
    finally:
        one.close()


def test_what_is_new_comes_once_with_what_the_mailbox_knows(fake: FakeGraph) -> None:
    for number in range(5):
        fake.put("inbox", f"i{number}", message(number))
    fake.put(
        "claims",
        "c1",
        message(10),
        isRead=True,
        importance="high",
        categories=["Red"],
        conversationId="AAQ=",
    )
    fake.put("drafts", "d1", message(20))
    fake.put("inbox", "d2", message(21), isDraft=True)
    target = Memory()

    first = sync(fake, target)
    again = sync(fake, target)

    assert (first.stored, again.stored) == (6, 0)
    assert sorted(target.puts) == sorted([f"<{n}@example.com>" for n in (0, 1, 2, 3, 4, 10)])
    metadata = target.emails["<10@example.com>"].metadata
    assert metadata is not None
    assert metadata.folder == ["Posteingang", "Claims"]
    assert (metadata.is_read, metadata.importance, metadata.categories) == (True, "high", ["Red"])
    assert metadata.conversation_id == "AAQ="
    assert metadata.received_at == "2020-01-09T12:00:00.000000Z"
    assert fake.prefer == {'IdType="ImmutableId", odata.maxpagesize=50'}
    assert {state.status for state in target.states.values()} == {"UP_TO_DATE"}


def test_a_moved_e_mail_has_its_new_folder_and_a_deleted_one_stays(fake: FakeGraph) -> None:
    fake.put("inbox", "i1", message(1))
    fake.put("inbox", "i2", message(2))
    target = Memory()
    sync(fake, target)
    fake.remove("inbox", "i1")
    fake.put("claims", "i1", message(1))
    fake.remove("inbox", "i2")

    sync(fake, target)

    moved = target.emails["<1@example.com>"].metadata
    assert moved is not None
    assert moved.folder == ["Posteingang", "Claims"]
    assert "<2@example.com>" in target.emails


def test_only_what_is_from_after_the_start_is_downloaded(fake: FakeGraph) -> None:
    fake.put("inbox", "old", message(1), receivedDateTime="2019-12-31T23:59:59Z")
    fake.put("inbox", "new", message(2), receivedDateTime="2020-01-01T00:00:00Z")
    target = Memory()

    sync(fake, target, mailbox(start_timestamp="2020-01-01T01:00:00+01:00"))

    assert target.puts == ["<2@example.com>"]
    assert not any("/old/" in one for one in fake.asked)


def test_an_expired_delta_link_begins_anew(fake: FakeGraph) -> None:
    fake.put("inbox", "i1", message(1))
    target = Memory()
    sync(fake, target)
    fake.put("inbox", "i2", message(2))
    fake.oldest_link = 2

    assert sync(fake, target).finished

    assert target.puts == ["<1@example.com>", "<1@example.com>", "<2@example.com>"]


def test_throttling_is_told_with_the_time_to_wait(fake: FakeGraph) -> None:
    fake.put("inbox", "i1", message(1))
    fake.put("inbox", "i2", message(2))
    target = Memory()
    fake.fail("/messages/i2/", 429, Retry_After="17")

    with pytest.raises(Temporary) as failed:
        sync(fake, target)

    assert failed.value.retry_after_s == 17
    assert sync(fake, target).finished
    assert sorted(set(target.puts)) == ["<1@example.com>", "<2@example.com>"]


def test_one_folder_that_fails_keeps_no_other_waiting(fake: FakeGraph) -> None:
    fake.put("inbox", "i1", message(1))
    fake.put("claims", "c1", message(2))
    target = Memory()
    fake.fail("/inbox/messages/delta", 503)

    with pytest.raises(Temporary):
        sync(fake, target)

    assert target.puts == ["<2@example.com>"]


def test_a_token_that_is_not_taken_any_more_is_fetched_anew(fake: FakeGraph) -> None:
    one = opened(fake)
    one.folders()
    fake.token = "token-2"

    assert len(one.folders()) == 2
    assert len(fake.forms) == 2
    assert fake.forms[0]["scope"].split() == ["https://graph.microsoft.com/.default"]
    one.close()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "ErrorAccessDenied", "mailbox_access_denied"),
        (403, "Authorization_RequestDenied", "app_access_insufficient_scopes"),
        (404, "ErrorInvalidUser", "mailbox_not_found"),
        (404, "MailboxNotEnabledForRESTAPI", "mailbox_invalid_license"),
        (404, "ErrorFolderNotFound", "mailbox_inbox_not_found"),
    ],
)
def test_refusals_are_told_by_their_kind(
    fake: FakeGraph, status: int, code: str, kind: str
) -> None:
    fake.fail("/mailFolders", status, {"error": {"code": code, "message": "no"}})

    with pytest.raises(MailboxRefused) as refused:
        sync(fake, Memory())

    assert refused.value.kind == kind


def test_wrong_secrets_are_told_as_such_and_not_shown(fake: FakeGraph) -> None:
    wrong = CustomApplication("tenant", "client", "wrong-secret")
    one = opened(fake, connection=ExchangeConnection(AppAccess(), wrong, Graph()))

    with pytest.raises(MailboxRefused) as refused:
        one.folders()

    assert refused.value.kind == "invalid_exchange_credentials"
    assert "wrong-secret" not in refused.value.text
    one.close()


def test_a_service_user_signs_in(fake: FakeGraph) -> None:
    access = UserAccess("svc@example.com", "password")
    one = opened(fake, connection=ExchangeConnection(access, APPLICATION, Graph()))

    one.folders()

    assert fake.forms[0]["grant_type"] == "password"
    one.close()


def test_a_message_that_cannot_be_had_is_skipped_and_reported(fake: FakeGraph) -> None:
    fake.put("inbox", "i1", message(1))
    fake.put("inbox", "i2", message(2))
    fake.fail("/messages/i1/", 400, {"error": {"code": "ErrorMimeContentInvalid", "message": "x"}})
    target = Memory()

    done = sync(fake, target)

    assert target.puts == ["<2@example.com>"]
    assert [one.which for one in done.told] == ["i1"]


def test_links_to_other_hosts_are_not_followed(fake: FakeGraph) -> None:
    one = opened(fake)
    folder = one.folders()[0]
    fake.put(folder.id, "i1", message(1))

    page = one.changes(folder, "https://evil.example.com/?$deltatoken=0")

    assert len(page.emails) == 1
    assert page.fingerprint.startswith("https://graph.microsoft.com/")
    one.close()


def test_hosts_that_are_not_allowed_are_not_connected_to() -> None:
    configuration = ExchangeConfiguration(
        connection=ExchangeConnection(AppAccess(), APPLICATION, Graph())
    )
    with pytest.raises(MailboxRefused, match="not among those"):
        open_mailbox(configuration, mailbox(), allowed_hosts=["graph.microsoft.com"])
