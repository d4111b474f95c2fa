"""The loop that reads mailboxes: who reads which, what is stored, and what failures do."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from lodestream.actions.integrations import Outside
from lodestream.actions.mailboxes import BucketTarget, MailboxLost
from lodestream.connectors.mailboxes import MailboxRefused, Temporary
from lodestream.domain.secrets import Keyring, new_key
from lodestream.domain.times import now_us
from lodestream.store import mailboxes
from lodestream.store.db import Database
from lodestream.store.mailboxes import MailboxState
from lodestream.store.tables import audit_event, bucket, bucket_email, keyed_sync_state, mailbox
from lodestream.worker.mailboxes import MailboxPace, MailboxRunner
from tests import mailboxes as fake
from tests.api.test_integrations import body, box
from tests.client import Client
from tests.mailboxes import FakeMail, imap_settings
from tests.worker.test_loop import eventually

KEY = new_key()
ONE, TWO, THREE = (f"{name}@example.com" for name in ("one", "two", "three"))
PATH = "/api/lodestream/v1/integrations/acme/post"
PACE = MailboxPace(interval_s=1000, threads=4, poll_s=0.01, first_pause_s=100)


@pytest.fixture
def keyed(client: Client) -> Client:
    """A client of a server with a key for secrets."""
    client.app.service.outside = Outside(Keyring(KEY))
    return client


def make(client: Client, *emails: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = client.ok("PUT", PATH, imap_settings(*emails, **more))["integration"]
    return made


def runner(db: Database, mail: FakeMail, **pace: Any) -> MailboxRunner:
    given = MailboxPace(**{**PACE.__dict__, **pace})
    return MailboxRunner(db, Outside(Keyring(KEY)), threading.Event(), pace=given, opener=mail)


def read_all(one: MailboxRunner) -> None:
    """Read what is due, until nothing is being read."""
    one.look()
    eventually(lambda: one.look() == 0)


def states(db: Database) -> dict[str, MailboxState]:
    with db.read() as tx:
        return {one.email: one for one in mailboxes.list_states(tx, now_us=now_us())}


def make_due(db: Database, email: str | None = None) -> None:
    change = sa.update(mailbox).values(due_us=0)
    if email is not None:
        change = change.where(mailbox.c.email_hash == mailboxes.hash_of(email))
    with db.write(catalogue=False) as tx:
        tx.execute(change)


def stored(db: Database) -> int:
    with db.read() as tx:
        return tx.execute(sa.select(sa.func.count()).select_from(bucket_email)).scalar_one()


def events(db: Database, kind: str) -> int:
    with db.read() as tx:
        query = sa.select(sa.func.count()).where(audit_event.c.type == kind)
        return tx.execute(query).scalar_one()


def test_a_mailbox_is_read_to_its_end_and_again_when_the_interval_has_passed(
    keyed: Client, db: Database
) -> None:
    make(keyed, ONE)
    mail = FakeMail({ONE: 25})
    one = runner(db, mail)
    before = now_us()
    read_all(one)
    assert mail.opened == [(ONE, {"access.password": "hunter2"})]
    state = states(db)[ONE]
    assert (stored(db), state.emails_read, state.folders) == (25, 25, 1)
    assert state.synced_us is not None
    assert state.synced_us >= before
    assert before + 800e6 < state.due_us < now_us() + 1200e6
    read_all(one)
    assert len(mail.opened) == 1
    mail.sizes[ONE] = 27
    make_due(db)
    read_all(one)
    assert (stored(db), states(db)[ONE].emails_read) == (27, 27)


def test_a_mailbox_is_read_by_one_reader_at_a_time(keyed: Client, db: Database) -> None:
    make(keyed, ONE)
    mail = FakeMail({ONE: 5}, held={ONE: threading.Event()})
    first, second = runner(db, mail), runner(db, mail)
    assert first.look() == 1
    assert second.look() == 0
    assert states(db)[ONE].claimed
    mail.held[ONE].set()
    eventually(lambda: first.look() == 0)
    assert mail.most_at_once == 1


def test_a_mailbox_whose_reader_died_is_read_by_another_when_the_lease_has_run_out(
    keyed: Client, db: Database
) -> None:
    make(keyed, ONE)
    hangs = FakeMail({ONE: 5}, held={ONE: threading.Event()})
    died, other = runner(db, hangs, lease_s=0.2), FakeMail({ONE: 5})
    died.look()
    second = runner(db, other)
    eventually(lambda: second.look() > 0 or bool(other.opened))
    read_all(second)
    assert stored(db) == 5
    # The one that was thought dead wakes up: it finds that the mailbox is not its own any more.
    hangs.sizes[ONE] = 9
    hangs.held[ONE].set()
    eventually(lambda: died.look() == 0)
    assert stored(db) == 5
    assert states(db)[ONE].emails_read == 5


def test_a_lease_is_extended_for_as_long_as_the_mailbox_is_read(
    keyed: Client, db: Database
) -> None:
    make(keyed, ONE)
    mail = FakeMail({ONE: 5}, held={ONE: threading.Event()})
    one = runner(db, mail, lease_s=0.3)
    one.look()
    with db.read() as tx:
        first = tx.execute(sa.select(mailbox.c.claimed_until_us)).scalar_one()

    def extended() -> bool:
        one.look()
        with db.read() as tx:
            return tx.execute(sa.select(mailbox.c.claimed_until_us)).scalar_one() > first + 300_000

    eventually(extended)
    mail.held[ONE].set()
    read_all(one)
    assert stored(db) == 5


def test_one_that_hangs_and_one_that_fails_do_not_keep_others_waiting(
    keyed: Client, db: Database
) -> None:
    make(keyed, ONE, TWO, THREE)
    mail = FakeMail({ONE: 5, TWO: 5, THREE: 5}, held={ONE: threading.Event()})
    mail.raises[TWO] = ZeroDivisionError("a bug, with hunter2 in its text")
    one = runner(db, mail)
    one.look()
    eventually(lambda: states(db)[THREE].synced_us is not None)
    eventually(lambda: states(db)[TWO].error is not None)
    assert states(db)[TWO].error == "ZeroDivisionError"
    assert states(db)[ONE].claimed
    mail.held[ONE].set()
    read_all(one)
    assert states(db)[ONE].synced_us is not None


def test_one_with_much_to_read_takes_turns_with_those_that_wait(
    keyed: Client, db: Database
) -> None:
    make(keyed, ONE, TWO)
    mail = FakeMail({ONE: 40, TWO: 1}, page=1, held={ONE: threading.Event()})
    one = runner(db, mail, threads=1, turn_s=0, turn_emails=10)
    make_due(db, ONE)
    one.look()
    one.look()  # sees that another waits
    mail.held[ONE].set()
    eventually(lambda: one.look() == 0 and states(db)[ONE].synced_us is not None)
    assert [email for email, _ in mail.opened] == [ONE, TWO, ONE]
    assert stored(db) == 41


def test_what_is_temporary_is_tried_again_after_growing_pauses(keyed: Client, db: Database) -> None:
    make(keyed, ONE)
    mail = FakeMail(raises={ONE: Temporary("busy; password hunter2")})
    one = runner(db, mail)
    for attempt in range(1, 4):
        read_all(one)
        state = states(db)[ONE]
        assert (state.failures, state.error) == (attempt, "busy; password …")
        wait_s = (state.due_us - now_us()) / 1e6
        assert 70 * 2 ** (attempt - 1) < wait_s < 101 * 2 ** (attempt - 1)
        make_due(db)
    mail.raises[ONE] = Temporary("slow down", retry_after_s=5000)
    read_all(one)
    assert 4900 < (states(db)[ONE].due_us - now_us()) / 1e6 < 5001
    mail.raises.clear()
    make_due(db)
    read_all(one)
    assert (states(db)[ONE].failures, states(db)[ONE].error) == (0, None)
    assert keyed.ok("GET", PATH)["integration"]["enabled"]


def test_the_vendors_clients_see_why_an_exchange_mailbox_was_disabled(
    keyed: Client, db: Database
) -> None:
    path = "/api/_private/integrations/acme/exchange"
    made = keyed.ok("PUT", path, body(box(ONE)))["integration"]
    assert keyed.ok("GET", path + "/errors")["errors"] == []
    mail = FakeMail({}, raises={ONE: MailboxRefused("mailbox_removed", "gone")})
    read_all(runner(db, mail))
    (error,) = keyed.ok("GET", path + "/errors")["errors"]
    assert error["integration_id"] == made["id"]
    assert error["error_details"]["kind"] == "mailbox_removed"
    assert error["error_action"]["mailbox_name"] == ONE


@pytest.mark.parametrize("kind", ["mailbox_not_found", "unknown_forbidden_error"])
def test_a_refusal_that_concerns_a_mailbox_disables_it_alone(
    keyed: Client, db: Database, kind: Any
) -> None:
    made = make(keyed, ONE, TWO)
    mail = FakeMail({TWO: 3}, raises={ONE: MailboxRefused(kind, "gone, hunter2")})
    read_all(runner(db, mail))
    found = keyed.ok("GET", PATH)["integration"]
    first, second = found["configuration"]["mailboxes"]
    assert (found["enabled"], first["enabled"], second["enabled"]) == (True, False, True)
    assert first["disabled_reason"] == "sync_error"
    assert "disabled_reason" not in second
    assert [one["status"] for one in found["mailbox_states"]] == ["disabled", "up_to_date"]
    (error,) = keyed.ok("GET", PATH + "/errors")["errors"]
    bucket_id = keyed.ok("GET", "/api/_private/buckets/acme/mail")["bucket"]["id"]
    action = {"kind": "mailbox_disabled", "mailbox_name": ONE, "bucket_id": bucket_id}
    assert error["error_action"] == action
    assert error["error_details"] == {"kind": kind, "full_error_text": "gone, …"}
    assert error["integration_id"] == made["id"]
    assert events(db, "mailbox_disabled") == 1


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("invalid_exchange_credentials", "sync_error"),
        ("app_access_insufficient_scopes", "sync_error"),
        ("comment_quota_hit", "quota"),
    ],
)
def test_a_refusal_that_concerns_the_connection_disables_the_integration(
    keyed: Client, db: Database, kind: Any, reason: str
) -> None:
    make(keyed, ONE, TWO)
    mail = FakeMail({TWO: 30}, held={TWO: threading.Event()})
    mail.raises[ONE] = MailboxRefused(kind, "no")
    one = runner(db, mail)
    one.look()
    eventually(lambda: not keyed.ok("GET", PATH)["integration"]["enabled"])
    # The other mailbox was being read: it stops.
    mail.held[TWO].set()
    eventually(lambda: one.look() == 0)
    assert stored(db) == 0
    found = keyed.ok("GET", PATH)["integration"]
    assert found["disabled_reason"] == reason
    (error,) = keyed.ok("GET", PATH + "/errors")["errors"]
    assert error["error_action"] == {"kind": "integration_disabled"}
    assert events(db, "integration_disabled") == 1
    # A person switches it on again.
    mail.raises.clear()
    mail.held.clear()
    assert "disabled_reason" not in keyed.ok("POST", PATH + "/enable")["integration"]
    read_all(one)
    assert stored(db) == 30


def test_when_no_more_comments_fit_the_integration_is_disabled_for_quota(
    keyed: Client, db: Database
) -> None:
    make(keyed, ONE)
    keyed.ok("POST", "/api/_private/quotas/main/comments", {"hard_limit": 0})
    read_all(runner(db, FakeMail({ONE: 3})))
    assert keyed.ok("GET", PATH)["integration"]["disabled_reason"] == "quota"
    assert stored(db) == 0
    (error,) = keyed.ok("GET", PATH + "/errors")["errors"]
    assert error["error_details"]["kind"] == "comment_quota_hit"


def test_what_is_changed_while_a_mailbox_is_read_holds(keyed: Client, db: Database) -> None:
    make(keyed, ONE)
    mail = FakeMail({ONE: 30}, held={ONE: threading.Event()})
    one = runner(db, mail)
    one.look()
    keyed.ok("POST", PATH, imap_settings(ONE, bucket="acme/elsewhere"))
    mail.held[ONE].set()
    eventually(lambda: one.look() == 0 and stored(db) == 30)
    with db.read() as tx:
        query = sa.select(bucket.c.name, bucket.c.emails)
        assert dict(tuple(row) for row in tx.execute(query)) == {"mail": 0, "elsewhere": 30}


def test_a_deleted_integration_stops_and_leaves_its_e_mails(keyed: Client, db: Database) -> None:
    make(keyed, ONE)
    mail = FakeMail({ONE: 30})
    one = runner(db, mail)
    read_all(one)
    mail.sizes[ONE] = 40
    mail.held[ONE] = threading.Event()
    make_due(db)
    one.look()
    keyed.ok("DELETE", PATH)
    mail.held[ONE].set()
    eventually(lambda: one.look() == 0)
    assert stored(db) == 30
    # Made anew, it goes on where it was.
    make(keyed, ONE)
    mail.held.clear()
    read_all(one)
    assert states(db)[ONE].emails_read == 10


def test_a_bucket_that_was_deleted_is_made_anew(keyed: Client, db: Database) -> None:
    make(keyed, ONE)
    found = keyed.ok("GET", "/api/_private/buckets/acme/mail")["bucket"]
    keyed.ok("DELETE", f"/api/_private/buckets/id:{found['id']}")
    read_all(runner(db, FakeMail({ONE: 3})))
    assert keyed.ok("GET", "/api/_private/buckets/acme/mail")["bucket"]["id"] != found["id"]
    assert stored(db) == 3


def test_without_the_key_mailboxes_wait_and_say_why(keyed: Client, db: Database) -> None:
    make(keyed, ONE)
    mail = FakeMail({ONE: 3})
    other = MailboxRunner(
        db, Outside(Keyring(new_key())), threading.Event(), pace=PACE, opener=mail
    )
    read_all(other)
    assert mail.opened == []
    assert "LODESTREAM_SECRET_KEY" in (states(db)[ONE].error or "")
    assert keyed.ok("GET", PATH)["integration"]["enabled"]


def test_a_host_that_may_not_be_connected_to_any_more_is_not(keyed: Client, db: Database) -> None:
    make(keyed, ONE)
    mail = FakeMail({ONE: 3})
    outside = Outside(Keyring(KEY), ("other.example.com",))
    read_all(MailboxRunner(db, outside, threading.Event(), pace=PACE, opener=mail))
    assert mail.opened == []
    assert "mail.example.com" in (states(db)[ONE].error or "")


def test_an_e_mail_that_cannot_be_stored_is_counted_and_stops_nothing(
    keyed: Client, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(keyed, ONE)
    mail = FakeMail({ONE: 12})
    real = fake.an_email

    def broken(number: int, mailbox: str, folder: str = "INBOX") -> Any:
        made = real(number, mailbox, folder)
        if number == 7:
            made.id = "x" * 2000
        if number == 8:
            made.timestamp = "never"
        return made

    monkeypatch.setattr(fake, "an_email", broken)
    read_all(runner(db, mail))
    state = states(db)[ONE]
    assert (stored(db), state.emails_read, state.emails_failed) == (10, 10, 2)
    assert state.synced_us is not None


def test_states_follow_the_e_mails(
    keyed: Client, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off between the two, a page comes again; e-mails are not stored twice."""
    make(keyed, ONE)
    real = BucketTarget.put_state

    def killed(*_given: Any) -> None:
        raise MailboxLost

    monkeypatch.setattr(BucketTarget, "put_state", killed)
    one = runner(db, FakeMail({ONE: 5}), lease_s=0.1)
    one.look()
    eventually(lambda: stored(db) == 5)
    with db.read() as tx:
        assert tx.execute(sa.select(keyed_sync_state)).first() is None
    monkeypatch.setattr(BucketTarget, "put_state", real)
    eventually(lambda: one.look() == 0 and states(db)[ONE].synced_us is not None)
    assert stored(db) == 5


def test_metrics_tell_of_each_mailbox(keyed: Client, db: Database) -> None:
    make(keyed, ONE, TWO)
    read_all(runner(db, FakeMail({ONE: 3}, raises={TWO: Temporary("busy")})))
    text = keyed.get("/metrics").content.decode()
    one = f'{{integration="post",mailbox="{ONE}",project="acme"'
    two = f'{{integration="post",mailbox="{TWO}",project="acme"'
    assert f'lodestream_mailbox_emails_total{one},result="stored"}} 3.0' in text
    assert f"lodestream_mailbox_failures{two}}} 1.0" in text
    assert f"lodestream_mailbox_lag_seconds{one}}} " in text
    keyed.ok("POST", PATH + "/disable")
    keyed.app.service.figures.forget()
    text = keyed.get("/metrics").content.decode()
    assert f"lodestream_mailbox_enabled{one}}} 0.0" in text
    assert "lodestream_mailbox_lag_seconds{" not in text
