"""Readers of a mailbox that are killed while it is written to: nothing is lost or twice there.

In each round two processes read the same mailbox into a bucket, and make comments of it; e-mails
come meanwhile; after a moment both are killed with SIGKILL. In the end one reads what is left.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from lodestream.actions.integrations import Outside
from lodestream.actions.mailboxes import BucketTarget
from lodestream.connectors.mailboxes import Folder, Page
from lodestream.domain.integrations import ExchangeConfiguration, ImapConfiguration, Mailbox
from lodestream.domain.secrets import Keyring, new_key
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database
from lodestream.store.dialect import database_url
from lodestream.store.tables import bucket_email, bucket_reading, comment, job, mailbox
from lodestream.worker.loop import Pace, Worker
from lodestream.worker.mailboxes import MailboxPace, MailboxRunner
from tests.build import make_source
from tests.client import Client
from tests.mailboxes import an_email, imap_settings

ROUNDS = int(os.environ.get("LODESTREAM_TEST_KILL_MAILBOXES_ROUNDS", "12"))
KEY = new_key()
ADDRESS = "help@example.com"
FOLDERS = ("INBOX", "Sent", "Claims")

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "lodestream.worker.mailboxes", "lodestream.worker.loop"])


class MailOnDisk:
    """A mailbox of several folders; a file says how many e-mails each has now."""

    def __init__(self, file: str) -> None:
        self._file = Path(file)

    def __call__(
        self,
        configuration: ExchangeConfiguration | ImapConfiguration,
        mailbox: Mailbox,
        *,
        allowed_hosts: Sequence[str] = (),
    ) -> MailOnDisk:
        """Open it."""
        return self

    def folders(self) -> list[Folder]:
        """Return its folders."""
        return [Folder(name, (name,)) for name in FOLDERS]

    def changes(self, folder: Folder, fingerprint: str | None) -> Page:
        """Return the next few e-mails."""
        size = json.loads(self._file.read_text())[folder.id]
        after = int(fingerprint or 0)
        until = min(after + 7, size)
        first = FOLDERS.index(folder.id) * 1_000_000
        emails = [an_email(first + number, ADDRESS, folder.id) for number in range(after, until)]
        return Page(emails, str(until), None, until < size)

    def close(self) -> None:
        """Leave."""


def read_for_ever(url: str, data: str, mail: str, key: str, log: str) -> None:
    """Be a process that reads mailboxes and does jobs; what it logs goes into a file."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 2)
    BucketTarget.put_emails = slow(BucketTarget.put_emails)  # type: ignore[method-assign]
    BucketTarget.put_state = slow(BucketTarget.put_state)  # type: ignore[method-assign]
    db, stop = Database(database_url(url)), threading.Event()
    pace = Pace(poll_s=0.01, lease_s=0.3, first_pause_s=0.05)
    worker = Worker(db, BlobStore(Path(data)), stop, pace=pace)
    threading.Thread(target=worker.run, daemon=True).start()
    reader(db, mail, key, stop).run()


def slow(write: Callable[..., None]) -> Callable[..., None]:
    """Return a write after which a kill is likely: before what has to follow it."""

    def slowly(*given: Any) -> None:
        write(*given)
        time.sleep(0.02)

    return slowly


def reader(db: Database, mail: str, key: str, stop: threading.Event) -> MailboxRunner:
    pace = MailboxPace(interval_s=0.01, poll_s=0.005, lease_s=0.3, first_pause_s=0.05)
    outside = Outside(Keyring(key))
    return MailboxRunner(db, outside, stop, pace=pace, opener=MailOnDisk(mail))


def run(client: Client, db: Database, db_url: str, folder: Path, *, seed: int) -> None:
    chance = random.Random(seed)
    mail, log = folder / "mail.json", folder / "log"
    sizes = dict.fromkeys(FOLDERS, 20)
    mail.write_text(json.dumps(sizes))
    client.app.service.outside = Outside(Keyring(KEY))
    path = "/api/lodestream/v1/integrations/acme/post"
    client.ok("PUT", path, imap_settings(ADDRESS))
    bucket = client.ok("GET", "/api/_private/buckets/acme/mail")["bucket"]
    make_source(client, "acme/inbox", bucket_id=bucket["id"])
    given = (db_url, str(folder / "files"), str(mail), KEY, str(log))
    for _ in range(ROUNDS):
        readers = [
            _CONTEXT.Process(target=read_for_ever, args=given, daemon=True) for _ in range(2)
        ]
        for one in readers:
            one.start()
        before = emails_read(db)
        for _ in range(4):
            sizes[chance.choice(FOLDERS)] += chance.randrange(10, 40)
            new = folder / "mail.new"
            new.write_text(json.dumps(sizes))
            new.replace(mail)
            time.sleep(chance.uniform(0, 0.05))
        await_more(db, before)
        time.sleep(chance.uniform(0, 0.2))
        for one in readers:
            assert one.is_alive(), log.read_text()[-4000:]
            one.kill()
            one.join(30)
    finish(db, folder, mail)
    check(client, db, sizes)


def emails_read(db: Database) -> int:
    with db.read() as tx:
        return tx.execute(sa.select(mailbox.c.emails_read)).scalar_one()


def await_more(db: Database, before: int) -> None:
    """Wait until a reader is at work: to kill one that has not begun proves nothing."""
    until = time.monotonic() + 60
    while emails_read(db) == before:
        assert time.monotonic() < until, "nothing is read"
        time.sleep(0.005)


def finish(db: Database, folder: Path, mail: Path) -> None:
    """Read what is left: until the mailbox was read after the last e-mail, and no job is left."""
    stop = threading.Event()
    last = reader(db, str(mail), KEY, stop)
    worker = Worker(db, BlobStore(folder / "files"), stop)
    with db.write(catalogue=False) as tx:
        # Who reads a bucket into a source holds it for five minutes, also when it is dead.
        tx.execute(sa.update(bucket_reading).values(read_until_us=0))
        tx.execute(sa.update(job).values(due_us=0))
    begun_us = time.time_ns() // 1000
    until = time.monotonic() + 60
    while True:
        last.look()
        worker.run_one()
        with db.read() as tx:
            synced_us = tx.execute(sa.select(mailbox.c.synced_us)).scalar_one() or 0
            left = tx.execute(sa.select(job.c.id).where(job.c.kind == "read_bucket")).first()
        if synced_us > begun_us and left is None:
            break
        assert time.monotonic() < until, "it does not come to its end"
        time.sleep(0.01)
    stop.set()
    last.run()  # waits for what is under way


def check(client: Client, db: Database, sizes: dict[str, int]) -> None:
    wanted = {
        f"<m{FOLDERS.index(name) * 1_000_000 + number}@example.com>"
        for name, size in sizes.items()
        for number in range(size)
    }
    with db.read() as tx:
        stored = tx.execute(sa.select(sa.func.count()).select_from(bucket_email)).scalar_one()
        comments = tx.execute(sa.select(sa.func.count()).select_from(comment)).scalar_one()
    assert stored == comments == len(wanted)
    found, after = set[str](), ""
    while True:
        page = client.ok("GET", f"/api/_private/sources/acme/inbox/comments?limit=256{after}")
        found |= {bytes.fromhex(one["id"]).decode() for one in page["comments"]}
        if not page.get("continuation"):
            break
        after = f"&after={quote(page['continuation'])}"
    assert found == wanted
    state = client.ok("GET", "/api/lodestream/v1/integrations/acme/post")["integration"]
    (one,) = state["mailbox_states"]
    assert (one["folders"], one["emails_failed"]) == (3, 0)
    # A page may come twice, once for each kill at most.
    assert len(wanted) <= one["emails_read"] <= len(wanted) + 2 * 7 * ROUNDS


@pytest.mark.slow
def test_readers_that_are_killed_lose_nothing_and_store_nothing_twice(
    client: Client, db: Database, db_url: str, tmp_path: Path
) -> None:
    run(client, db, db_url, tmp_path, seed=1)
