"""Workers killed while they read buckets: every e-mail is one comment of every source.

In each round two workers start over the same database; meanwhile e-mails come, come again, change
folder and mailbox, sources attach to the bucket and change their transform tag; after a moment the
workers are killed with SIGKILL. At the end a worker comes to rest, and each source has for every
e-mail exactly the comment that the parser makes of the copy that was stored last.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from lodestream.actions.raw_emails import Reading, read_bucket_email
from lodestream.actions.sources import TRANSFORM_TAGS
from lodestream.domain.buckets import email_from
from lodestream.domain.comments import CommentNew, comment_of
from lodestream.store import buckets, comments, sources
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database
from lodestream.store.dialect import database_url
from lodestream.store.tables import bucket_reading, comment, job
from lodestream.worker.loop import Pace, Worker
from tests.build import make_source, source_path
from tests.client import Client

ROUNDS = int(os.environ.get("LODESTREAM_TEST_KILL_BUCKETS_ROUNDS", "40"))
EMAILS = "/api/_private/buckets/acme/mail/emails"
PACE = Pace(poll_s=0.01, lease_s=30, first_pause_s=0.1)

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "lodestream.worker.loop", "lodestream.mail.comment"])


def work_for_ever(url: str, files: Path, log: str) -> None:
    """Be a worker process; what it logs goes into a file."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 2)
    Worker(Database(database_url(url)), BlobStore(files), threading.Event(), pace=PACE).run()


def email(chance: random.Random, known: list[int]) -> dict[str, Any]:
    """Return an e-mail, at times one that was sent before, with a file in it."""
    # Most come once only: what is lost of them does not come back with a later copy.
    known.append(len(known))
    number = chance.choice(known) if chance.random() < 0.2 else known[-1]
    mime = (
        f"Date: Thu, 09 Jan 2020 16:34:45 +0000\nFrom: a{number}@example.com\nTo: b@example.org\n"
        f"Subject: s\nMessage-ID: <{number}@x>\nContent-Type: multipart/mixed; boundary=b\n\n"
        f"--b\nContent-Type: text/html\n\n<p>text <b>{chance.random()}</b></p>-- <br>Alice\n"
        f"--b\nContent-Type: text/csv; name=a.csv\n\n{number}\n--b--\n"
    )
    return {
        "id": f"<{number}@x>",
        "mailbox": chance.choice(("help@x", "sales@x")),
        "timestamp": "2020-01-09T16:34:45Z",
        "mime_content": mime,
        "metadata": {"folder": [chance.choice(("Inbox", "Done"))]},
    }


def add_emails(client: Client, known: list[int], chance: random.Random) -> None:
    """Store some e-mails."""
    sent = [email(chance, known) for _ in range(chance.randrange(1, 40))]
    client.ok("PUT", EMAILS, {"emails": sent})


def await_change(db: Database, column: sa.Column[Any]) -> None:
    """Wait until something changes in how far the sources are, for a while."""
    query = sa.select(column).order_by(bucket_reading.c.source)
    with db.read() as tx:
        before = tx.execute(query).all()
    for _ in range(500):
        with db.read() as tx:
            if tx.execute(query).all() != before:
                return
        time.sleep(0.005)


def do_something(
    client: Client, bucket_id: str, made: list[str], known: list[int], chance: random.Random
) -> None:
    """Store e-mails, attach a source, or change the tag of one."""
    what = chance.randrange(12)
    if what == 0 and len(made) < 4:
        made.append(f"acme/s{len(made)}")
        make_source(client, made[-1], bucket_id=bucket_id)
    elif what == 1:
        tag = {"email_transform_tag": chance.choice(sorted(TRANSFORM_TAGS))}
        client.ok("POST", source_path(chance.choice(made)), {"source": tag})
    else:
        add_emails(client, known, chance)


def release_claims(db: Database) -> None:
    """Let the claims of the dead run out."""
    with db.write() as tx:
        mine = job.update().where(job.c.kind == buckets.READ_BUCKET)
        tx.execute(mine.values(claimed_until_us=0, due_us=0))
        tx.execute(bucket_reading.update().values(read_by=None, read_until_us=None))


def expected_of(db: Database, blobs: BlobStore, source_key: int) -> dict[str, CommentNew]:
    """Return what the parser makes of a bucket's e-mails for a source."""
    with db.read() as tx:
        source = sources.get_by_key(tx, source_key)
        reading = buckets.find_reading(tx, source_key)
        assert reading is not None
        stored = buckets.read_after(tx, reading.bucket, stamp=0, limit=10_000)
    found: dict[str, CommentNew] = {}
    for one in stored:
        made = read_bucket_email(
            email_from(one.body),
            Reading(source.email_transform_tag or ""),
            lambda content, _: blobs.put(iter((content,)))[0],
        )
        found[made.id] = made
    return found


def kept_of(db: Database, source_key: int) -> list[Any]:
    """Return the comments of a source as they are stored."""
    with db.read() as tx:
        query = sa.select(comment.c.pos).where(comment.c.source == source_key)
        fronts = comments.read_fronts(tx, list(tx.execute(query).scalars()))
    return [msgspec.json.decode(comment_of(front)) for front in fronts.values()]


def check(db: Database, blobs: BlobStore, source_key: int) -> int:
    """Check the comments of one source; return how many there are."""
    expected = expected_of(db, blobs, source_key)
    kept = kept_of(db, source_key)
    assert sorted(one["id"] for one in kept) == sorted(expected)
    for one in kept:
        for attachment in one["attachments"]:
            assert attachment.pop("attachment_reference")  # the source has the content
        wanted = msgspec.json.decode(msgspec.json.encode(expected[one["id"]]))
        assert {name: one[name] for name in wanted} == wanted
    return len(kept)


def run(client: Client, db: Database, db_url: str, folder: Path, *, rounds: int, seed: int) -> int:
    """Kill workers for some rounds; return how many comments there are at the end."""
    chance = random.Random(seed)
    files, log = folder / "files", str(folder / "worker.log")
    bucket_id = client.ok("PUT", "/api/_private/buckets/acme/mail", {"bucket": {}})["bucket"]["id"]
    made, known = ["acme/first"], [0]
    make_source(client, made[0], bucket_id=bucket_id)
    for _ in range(rounds):
        given = (db_url, files, log)
        workers = [_CONTEXT.Process(target=work_for_ever, args=given, daemon=True) for _ in "ab"]
        for one in workers:
            one.start()
        for _ in range(chance.randrange(1, 4)):
            time.sleep(chance.uniform(0, 0.1))
            do_something(client, bucket_id, made, known, chance)
        add_emails(client, known, chance)
        # The moments that matter: while e-mails are read, and when it is noted that they were.
        if chance.random() < 0.5:
            await_change(db, bucket_reading.c.upto)
        else:
            await_change(db, bucket_reading.c.read_by)
            time.sleep(chance.uniform(0, 0.2))
        for one in workers:
            assert one.is_alive(), Path(log).read_text()[-4000:]
            one.kill()
            one.join(30)
        # What a dead worker held is free again after a while; who comes next would wait for it.
        release_claims(db)
    blobs = BlobStore(files)
    worker = Worker(db, blobs, threading.Event(), pace=PACE)
    while worker.run_one():
        release_claims(db)
    with db.read() as tx:
        keys = [one.key for one in sources.list_sources(tx, projects=None)]
    return sum(check(db, blobs, key) for key in keys)


def test_a_few_killed_workers_lose_and_repeat_no_email(
    client: Client, db: Database, db_url: str, tmp_path: Path
) -> None:
    assert run(client, db, db_url, tmp_path, rounds=2, seed=4) > 0


@pytest.mark.slow
def test_many_killed_workers_lose_and_repeat_no_email(
    client: Client, db: Database, db_url: str, tmp_path: Path
) -> None:
    seed = random.randrange(1000)
    print(f"seed {seed}")
    assert run(client, db, db_url, tmp_path, rounds=ROUNDS, seed=seed) >= ROUNDS
