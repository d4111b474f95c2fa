"""Buckets, e-mails in them, and the comments that sources get of them."""

from __future__ import annotations

import threading
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from lodestream.actions.files import collect_files
from lodestream.domain.times import now_us
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database
from lodestream.store.tables import audit_event, bucket_email, bucket_file, job
from lodestream.store.transfer import file_hashes
from lodestream.worker.loop import Pace, Worker
from tests.build import make_source, source_path
from tests.client import Client
from tests.conftest import ROOT_TOKEN, grant_in, make_user

BUCKET = "/api/_private/buckets/acme/mail"
EMAILS = BUCKET + "/emails"
STATE = "/api/_private/bucket-sync-state/acme/mail"


def make_bucket(client: Client, path: str = BUCKET, **settings: Any) -> dict[str, Any]:
    bucket: dict[str, Any] = client.ok("PUT", path, {"bucket": settings})["bucket"]
    return bucket


def mime(message_id: str = "<m1@example.com>", text: str = "Hello", subject: str = "Hi") -> str:
    return (
        "Date: Thu, 09 Jan 2020 16:34:45 +0000\r\nFrom: Alice <alice@example.com>\r\n"
        f"To: bob@example.org\r\nSubject: {subject}\r\nMessage-ID: {message_id}\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\n\r\n{text}"
    )


def email(email_id: str = "<m1@example.com>", **more: Any) -> dict[str, Any]:
    return {
        "id": email_id,
        "mailbox": "help@example.com",
        "timestamp": "2020-01-09T16:34:45Z",
        "mime_content": mime(email_id),
        **more,
    }


def add(client: Client, *emails: dict[str, Any]) -> None:
    assert client.put(EMAILS, {"emails": list(emails)}).content == b'{"status":"ok"}'


def pages(client: Client, limit: int) -> list[list[str]]:
    """Read all pages of the listing; return the ids in each of them."""
    found, token = [], None
    while True:
        body = {"limit": limit} if token is None else {"limit": limit, "continuation": token}
        reply = client.ok("POST", EMAILS, body)
        found.append([one["id"] for one in reply["emails"]])
        token = reply.get("continuation")
        if token is None:
            return found


def work(client: Client, tmp_path: Path) -> None:
    """Do every job that is due."""
    pace = Pace(poll_s=0.01, lease_s=60, first_pause_s=100)
    service = client.app.service
    worker = Worker(service.db, service.blobs, threading.Event(), pace=pace)
    while worker.run_one():
        pass


def comments(client: Client, source: str = "acme/inbox") -> list[dict[str, Any]]:
    reply = client.ok("GET", f"/api/_private/sources/{source}/comments?include_markup=true")
    found: list[dict[str, Any]] = reply["comments"]
    return found


# Buckets themselves


def test_a_created_bucket_reads_back(client: Client) -> None:
    bucket = make_bucket(client, title="Mail", bucket_type="emails")
    assert set(bucket) == {"id", "owner", "name", "title", "created_at", "updated_at"}
    assert (bucket["owner"], bucket["name"], bucket["title"]) == ("acme", "mail", "Mail")
    assert client.ok("GET", BUCKET)["bucket"] == bucket
    assert client.ok("GET", f"/api/_private/buckets/id:{bucket['id']}")["bucket"] == bucket
    assert client.ok("GET", "/api/_private/buckets/acme%2Fmail")["bucket"] == bucket
    other = make_bucket(client, "/api/_private/buckets/acme/archive")
    assert other["title"] == ""
    assert client.ok("GET", "/api/_private/buckets/acme")["buckets"] == [other, bucket]
    assert client.ok("GET", "/api/_private/buckets/other")["buckets"] == []


def test_a_taken_name_conflicts_unless_it_is_the_same_request(client: Client) -> None:
    bucket = make_bucket(client, title="Mail")
    assert make_bucket(client, title="Mail") == bucket
    assert client.put(BUCKET, {"bucket": {"title": "Other"}}).status == 409


def test_an_update_changes_what_is_given(client: Client) -> None:
    before = make_bucket(client, title="Mail")
    by = {"config_owner": "acme", "config_key": "k", "shard_index": 0, "num_shards": 2}
    after = client.ok("POST", BUCKET, {"bucket": {"last_updated_by": by}})["bucket"]
    assert after["last_updated_by"] == by
    assert after["title"] == "Mail"
    assert after["updated_at"] > before["updated_at"]
    assert client.ok("POST", BUCKET, {"bucket": {}})["bucket"] == after
    assert client.ok("POST", BUCKET, {"bucket": {"title": "M"}})["bucket"]["title"] == "M"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (BUCKET, {}),
        (BUCKET, {"bucket": {"bucket_type": "calls"}}),
        (BUCKET, {"bucket": {"title": "x" * 129}}),
        ("/api/_private/buckets/acme/a.b", {"bucket": {}}),
    ],
)
def test_a_malformed_bucket_is_400(client: Client, path: str, body: Any) -> None:
    assert client.put(path, body).status == 400


def test_what_is_not_there_is_404(client: Client) -> None:
    assert client.get(BUCKET).status == 404
    assert client.get("/api/_private/buckets/id:0123456789abcdef").status == 404
    assert client.get("/api/_private/buckets/id:nope").status == 400
    answer = client.put("/api/_private/buckets/nobody/mail", {"bucket": {}})
    assert (answer.status, answer.json["message"][:15]) == (404, "No such project")


def test_all_buckets_are_those_that_one_may_see(client: Client, db: Database) -> None:
    mine = make_bucket(client)
    make_bucket(client, "/api/_private/buckets/other/mail")
    user_id = make_user(db, "guest")
    assert client.as_user("guest").ok("GET", "/api/_private/buckets")["buckets"] == []
    grant_in(db, user_id, "acme", ("buckets-read",))
    grant_in(db, user_id, "other", ("buckets-append",))
    assert client.as_user("guest").ok("GET", "/api/_private/buckets")["buckets"] == [mine]


def test_buckets_count_against_their_quota_and_their_project(client: Client) -> None:
    make_bucket(client)
    counts = client.ok("GET", "/api/_private/projects/acme/resource_counts")
    assert counts["buckets"] == 1
    (quota,) = [
        one
        for one in client.ok("GET", "/api/_private/quotas")["quotas"]
        if one["quota_kind"] == "buckets"
    ]
    assert quota["current_max_usage"] == 1
    tenant = client.ok("GET", "/api/_private/tenants")["tenants"][0]["tenant_id"]
    client.ok("POST", f"/api/_private/quotas/{tenant}/buckets", {"hard_limit": 1})
    answer = client.put("/api/_private/buckets/acme/more", {"bucket": {}})
    assert answer.status == 400
    assert "buckets" in answer.json["message"]


def test_changes_of_buckets_are_in_the_audit_log(client: Client, db: Database) -> None:
    bucket = make_bucket(client)
    client.ok("POST", BUCKET, {"bucket": {"title": "M"}})
    add(client, email())
    client.ok("DELETE", f"/api/_private/buckets/id:{bucket['id']}")
    with db.read() as tx:
        types = set(tx.execute(sa.select(audit_event.c.type)).scalars())
    assert {"create_bucket", "update_bucket", "add_emails_to_bucket", "delete_bucket"} <= types


# E-mails


def test_an_email_comes_back_as_it_was_sent(client: Client) -> None:
    make_bucket(client)
    sent = email(
        metadata={"folder": ["root", "Inbox"], "has_attachments": False},
        attachments=[{"name": "a.pdf", "size": 3, "content_type": ".pdf"}],
    )
    add(client, sent)
    (one,) = client.ok("GET", f"{EMAILS}?id={quote('<m1@example.com>')}")["emails"]
    assert one.pop("created_at").endswith("Z")
    assert one.pop("updated_at") is None
    assert one.pop("timestamp") == "2020-01-09T16:34:45.000000Z"
    assert one.pop("metadata") == {
        "sensitivity": None,
        "size": None,
        "categories": [],
        "importance": None,
        "has_attachments": False,
        "conversation_id": None,
        "conversation_topic": None,
        "is_read": None,
        "folder": ["root", "Inbox"],
        "received_at": None,
    }
    del sent["metadata"], sent["timestamp"]
    assert one == sent
    assert client.ok("GET", BUCKET + "/statistics")["statistics"] == {
        "count": {"kind": "exact", "value": 1}
    }


def test_without_metadata_and_attachments_the_keys_are_there(client: Client) -> None:
    make_bucket(client)
    add(client, email())
    (one,) = client.ok("POST", EMAILS, {})["emails"]
    assert one["metadata"] is None
    assert one["attachments"] == []


def test_a_downloaded_email_can_be_sent_again(client: Client) -> None:
    make_bucket(client)
    add(client, email(metadata={"folder": ["a"]}))
    (one,) = client.ok("POST", EMAILS, {})["emails"]
    add(client, one)
    (again,) = client.ok("POST", EMAILS, {})["emails"]
    assert again.pop("updated_at") is not None
    assert one.pop("updated_at") is None
    assert again == one


def test_pages_hold_every_email_once_in_the_order_of_insertion(client: Client) -> None:
    make_bucket(client)
    ids = [f"<{number}@x>" for number in range(7)]
    for one in ids:
        add(client, email(one))
    add(client, email(ids[2], mime_content="Subject: new"))  # keeps its place
    assert pages(client, 3) == [ids[:3], ids[3:6], ids[6:]]
    assert pages(client, 7) == [ids]
    assert client.ok("POST", EMAILS, {"limit": 7, "continuation": None})["emails"][2][
        "mime_content"
    ] == ("Subject: new")


def test_an_email_is_known_by_id_and_mailbox(client: Client) -> None:
    make_bucket(client)
    add(client, email(), email(mailbox="other@example.com"), email(mime_content="Subject: last"))
    found = client.ok("GET", f"{EMAILS}?id=%3Cm1%40example.com%3E")["emails"]
    assert [(one["mailbox"], one["mime_content"][:13]) for one in found] == [
        ("help@example.com", "Subject: last"),
        ("other@example.com", mime()[:13]),
    ]
    assert client.ok("GET", BUCKET + "/statistics")["statistics"]["count"]["value"] == 2
    assert client.get(EMAILS + "?id=nothing").status == 404
    assert client.get(EMAILS).status == 400


def test_an_empty_batch_of_emails_is_no_error(client: Client) -> None:
    make_bucket(client)
    add(client)
    assert client.ok("POST", EMAILS)["emails"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"mailbox": None},
        {"timestamp": "yesterday"},
        {"metadata": {"received_at": "never"}},
        {"metadata": {"unknown": 1}},
        {"more": 1},
    ],
)
def test_one_malformed_email_refuses_the_batch(client: Client, change: dict[str, Any]) -> None:
    make_bucket(client)
    answer = client.put(EMAILS, {"emails": [email("<good@x>"), email(**change)]})
    assert answer.status == 400
    assert "1" in answer.json["message"]
    assert client.ok("POST", EMAILS)["emails"] == []


@pytest.mark.parametrize(
    "body", [{"limit": 0}, {"limit": 257}, {"continuation": "nope"}, {"continuation": "ZTF4"}]
)
def test_a_malformed_listing_is_400(client: Client, body: Any) -> None:
    make_bucket(client)
    assert client.post(EMAILS, body).status == 400


# Sources of a bucket


def test_a_source_gets_the_emails_that_are_there_and_those_that_come(
    client: Client, tmp_path: Path
) -> None:
    bucket = make_bucket(client)
    add(client, email(metadata={"folder": ["Inbox", "New"], "conversation_id": "talk"}))
    source = make_source(client, bucket_id=bucket["id"])
    assert source["email_transform_tag"] == "generic.0.CONVKER5"
    work(client, tmp_path)
    (comment,) = comments(client)
    assert comment["id"] == b"<m1@example.com>".hex()
    assert comment["thread_id"] == b"talk".hex()
    assert comment["timestamp"] == "2020-01-09T16:34:45.000000Z"
    assert comment["messages"][0]["body"]["text"] == "Hello"
    properties = comment["user_properties"]
    assert properties["string:Folder"] == "Inbox / New"
    assert properties["string:Mailbox"] == "help@example.com"
    assert properties["string:Sender"] == "alice@example.com"
    add(client, email("<m2@example.com>"))
    work(client, tmp_path)
    assert len(comments(client)) == 2


def test_a_moved_email_changes_properties_only(client: Client, tmp_path: Path) -> None:
    make_source(client, bucket_id=make_bucket(client)["id"])
    add(client, email(metadata={"folder": ["Inbox"]}))
    work(client, tmp_path)
    (before,) = comments(client)
    add(client, email(metadata={"folder": ["Done"]}))
    work(client, tmp_path)
    (after,) = comments(client)
    assert after["user_properties"]["string:Folder"] == "Done"
    assert after["messages"] == before["messages"]
    assert after["created_at"] == before["created_at"]


def test_of_several_mailboxes_the_copy_stored_last_counts(client: Client, tmp_path: Path) -> None:
    make_source(client, bucket_id=make_bucket(client)["id"])
    add(client, email(mailbox="a@x"), email(mailbox="b@x"))
    work(client, tmp_path)
    assert [one["user_properties"]["string:Mailbox"] for one in comments(client)] == ["b@x"]
    add(client, email(mailbox="a@x"))
    work(client, tmp_path)
    assert [one["user_properties"]["string:Mailbox"] for one in comments(client)] == ["a@x"]


def test_several_sources_read_one_bucket(client: Client, tmp_path: Path) -> None:
    bucket = make_bucket(client)
    for name in ("acme/one", "acme/two"):
        make_source(client, name, bucket_id=bucket["id"])
    add(client, email())
    work(client, tmp_path)
    assert len(comments(client, "acme/one")) == len(comments(client, "acme/two")) == 1


@pytest.mark.parametrize(
    "change",
    [{"email_transform_tag": "generic_simple.0.QR5PW4VZ"}, {"email_transform_version": 2}],
)
def test_another_tag_reads_the_bucket_anew(
    client: Client, tmp_path: Path, change: dict[str, Any]
) -> None:
    make_source(client, bucket_id=make_bucket(client)["id"])
    add(client, email())
    work(client, tmp_path)
    client.ok("DELETE", f"{source_path()}/comments?id={b'<m1@example.com>'.hex()}")
    client.ok("POST", source_path(), {"source": {"title": "Inbox"}})
    work(client, tmp_path)
    assert comments(client) == []
    client.ok("POST", source_path(), {"source": change})
    work(client, tmp_path)
    assert len(comments(client)) == 1


def test_the_tag_decides_what_becomes_of_signatures(client: Client, tmp_path: Path) -> None:
    make_source(client, bucket_id=make_bucket(client)["id"])
    add(client, email(mime_content=mime(text="Please help.\r\n\r\n-- \r\nAlice\r\n")))
    work(client, tmp_path)
    (comment,) = comments(client)
    assert comment["messages"][0]["body"]["text"] == "Please help."
    assert "Alice" in comment["messages"][0]["signature"]["text"]
    tag = {"email_transform_tag": "generic_simple.0.QR5PW4VZ"}
    client.ok("POST", source_path(), {"source": tag})
    work(client, tmp_path)
    (comment,) = comments(client)
    assert "Alice" in comment["messages"][0]["body"]["text"]
    assert "signature" not in comment["messages"][0]


def test_a_detached_source_keeps_its_comments_and_gets_no_more(
    client: Client, tmp_path: Path
) -> None:
    bucket = make_bucket(client)
    make_source(client, bucket_id=bucket["id"])
    add(client, email())
    work(client, tmp_path)
    source = client.ok("POST", source_path(), {"source": {"bucket_id": None}})["source"]
    assert "bucket_id" not in source
    add(client, email("<m2@example.com>"))
    work(client, tmp_path)
    assert len(comments(client)) == 1
    client.ok("POST", source_path(), {"source": {"bucket_id": bucket["id"]}})
    work(client, tmp_path)
    assert len(comments(client)) == 2


def test_an_email_that_cannot_be_read_does_not_stop_the_others(
    client: Client, tmp_path: Path
) -> None:
    make_source(client, bucket_id=make_bucket(client)["id"])
    wild = "\r\n\x01\x02 no headers at all =?utf-8?b?!!!?= \ud7ff \r\n\r\n"
    odd_charset = (
        "Content-Type: text/plain; charset=nope\r\nContent-Transfer-Encoding: base64\r\n\r\n%"
    )
    add(
        client,
        email("<wild@x>", mime_content=wild),
        email("with space and ümlaut / slash", mime_content=odd_charset),
        email("x" * 1024, mime_content=""),
        email(),
    )
    work(client, tmp_path)
    assert b"<m1@example.com>".hex() in {one["id"] for one in comments(client)}
    assert len(comments(client)) == 4


def test_a_bucket_that_one_cannot_see_cannot_be_attached(client: Client, db: Database) -> None:
    bucket = make_bucket(client, "/api/_private/buckets/other/mail")
    user_id = make_user(db, "guest")
    grant_in(db, user_id, "acme", ("sources-admin",))
    body = {"source": {"bucket_id": bucket["id"]}}
    answer = client.as_user("guest").put(source_path(), body)
    assert answer.status == 422
    assert answer.json["message"] == f"No such bucket: {bucket['id']}"
    client.ok("PUT", source_path(), body)
    # Who only sends back what is set already attaches nothing.
    kept = {"source": {"bucket_id": bucket["id"], "title": "T"}}
    assert client.as_user("guest").ok("POST", source_path(), kept)["source"]["title"] == "T"
    nowhere = {"source": {"bucket_id": "0123456789abcdef"}}
    assert client.post(source_path(), nowhere).status == 422


def test_a_deleted_bucket_leaves_comments_and_takes_all_else(
    client: Client, db: Database, tmp_path: Path
) -> None:
    bucket = make_bucket(client)
    make_source(client, bucket_id=bucket["id"])
    by_id = f"/api/_private/buckets/id:{bucket['id']}"
    content_hash = client.put(by_id + "/emails/m/attachments/0", b"one").json["content_hash"]
    add(client, email())
    work(client, tmp_path)
    client.ok("DELETE", by_id)
    assert client.delete(by_id).status == 404
    assert client.get(BUCKET).status == 404
    assert "bucket_id" not in client.ok("GET", source_path())["source"]
    work(client, tmp_path)
    assert len(comments(client)) == 1
    with db.read() as tx:
        for table in (bucket_email, bucket_file):
            assert tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 0
    blobs: BlobStore = client.app.service.blobs
    assert blobs.read(content_hash) is None
    # A new bucket under the name begins empty.
    make_bucket(client)
    assert client.ok("GET", BUCKET + "/statistics")["statistics"]["count"]["value"] == 0


def test_a_project_with_a_bucket_is_only_deleted_by_force(client: Client, tmp_path: Path) -> None:
    make_bucket(client)
    add(client, email())
    assert client.delete("/api/_private/projects/acme").status == 409
    client.ok("DELETE", "/api/_private/projects/acme?force=true")
    work(client, tmp_path)
    assert client.get(BUCKET).status == 404


# Attachments


def test_an_uploaded_attachment_is_downloaded_from_the_comment(
    client: Client, tmp_path: Path
) -> None:
    bucket = make_bucket(client)
    make_source(client, bucket_id=bucket["id"])
    content = bytes(range(256))
    # Message-IDs may hold slashes.
    path = f"/api/_private/buckets/id:{bucket['id']}/emails/%3Cm1%2Fa%2Fb%40x%3E/attachments/0"
    content_hash = client.ok("PUT", path, content)["content_hash"]
    assert content_hash == sha256(content).hexdigest()
    attachment = {"name": "a.bin", "size": 256, "content_type": ".bin"}
    add(client, email(attachments=[{**attachment, "content_hash": content_hash}]))
    work(client, tmp_path)
    (comment,) = comments(client)
    reference = comment["attachments"][0]["attachment_reference"]
    assert client.get(f"/api/v1/attachments/{reference}").content == content
    # It outlives the bucket in the source.
    client.ok("DELETE", f"/api/_private/buckets/id:{bucket['id']}")
    work(client, tmp_path)
    assert client.get(f"/api/v1/attachments/{reference}").content == content


@pytest.mark.parametrize("told", [True, False])
def test_an_attachment_inside_an_email_is_downloaded_from_the_comment(
    client: Client, tmp_path: Path, told: bool
) -> None:
    make_source(client, bucket_id=make_bucket(client)["id"])
    content = bytes(range(256))
    message = (
        "Date: Thu, 09 Jan 2020 16:34:45 +0000\r\nMessage-ID: <m1@example.com>\r\n"
        "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nSee the file\r\n--x\r\n"
        'Content-Type: application/pdf\r\nContent-Disposition: attachment; filename="a.pdf"\r\n'
        f"Content-Transfer-Encoding: base64\r\n\r\n{b64encode(content).decode()}\r\n--x--\r\n"
    )
    described = [{"name": "a.pdf", "size": 256, "content_type": ".pdf"}] if told else []
    add(client, email(mime_content=message, attachments=described))
    work(client, tmp_path)
    (comment,) = comments(client)
    (attachment,) = comment["attachments"]
    assert (attachment["name"], attachment["size"]) == ("a.pdf", 256)
    assert (
        client.get(f"/api/v1/attachments/{attachment['attachment_reference']}").content == content
    )
    assert comment["messages"][0]["body"]["text"] == "See the file"


def test_emails_that_come_while_others_are_read_are_read_too(
    client: Client, tmp_path: Path
) -> None:
    make_source(client, bucket_id=make_bucket(client)["id"])

    def send(sender: int) -> None:
        for number in range(10):
            add(client, email(f"<{sender}.{number}@x>"))

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(3)]
    readers = [threading.Thread(target=work, args=(client, tmp_path)) for _ in range(2)]
    for thread in (*senders, *readers):
        thread.start()
    for thread in (*senders, *readers):
        thread.join()
    with client.app.service.db.write() as tx:
        tx.execute(sa.update(job).values(due_us=0))  # what waits for another reader
    work(client, tmp_path)
    assert len(comments(client)) == 30
    assert sum(map(len, pages(client, 7))) == 30


def test_what_a_bucket_has_is_backed_up_and_not_collected(client: Client) -> None:
    service = client.app.service
    content = b"the same for both"
    put = "/attachments/0"
    by_id = f"/api/_private/buckets/id:{make_bucket(client)['id']}"
    content_hash = client.ok("PUT", f"{by_id}/emails/m{put}", content)["content_hash"]
    source_id = make_source(client)["id"]
    client.ok("PUT", f"/api/_private/sources/id:{source_id}/comments/c{put}", content)
    assert collect_files(service.db, service.blobs, before_us=now_us() + 1) == 0
    assert service.blobs.read(content_hash) == content
    with service.db.read() as tx:
        assert file_hashes(tx) == {content_hash}


def test_the_place_of_an_attachment_is_bounded(client: Client) -> None:
    bucket = make_bucket(client)
    base = f"/api/_private/buckets/id:{bucket['id']}/emails/m/attachments/"
    assert client.put(base + "128", b"x").status == 400
    assert client.put(base + "-1", b"x").status == 400


# Sync states


def test_a_sync_state_is_kept_as_it_is(client: Client) -> None:
    make_bucket(client)
    assert client.get(STATE).status == 404
    state = {"sync_state": "opaque ü"}
    body = {"bucket_sync_state": state}
    assert client.put(STATE, body).content == b'{"status":"ok"}'
    assert client.ok("GET", STATE)["bucket_sync_state"] == state
    later = {"sync_state": "x", "last_synced_at": "2020-01-01T00:00:00+01:00"}
    client.ok("PUT", STATE, {"bucket_sync_state": later})
    assert client.ok("GET", STATE)["bucket_sync_state"] == {
        "sync_state": "x",
        "last_synced_at": "2019-12-31T23:00:00.000000Z",
    }
    bad = {"bucket_sync_state": {"sync_state": "x", "progress_timestamp": "soon"}}
    assert client.put(STATE, bad).status == 400


def test_keyed_sync_states_are_listed_found_by_mailbox_and_deleted(client: Client) -> None:
    by_id = f"/api/_private/buckets/id:{make_bucket(client)['id']}"
    whole = {"mailbox_name": "A@x.com", "status": "IN_PROGRESS", "fingerprint": None}
    folder = {
        "mailbox_name": "a@x.com",
        "folder_id": "f",
        "folder_path": ["Inbox"],
        "status": "UP_TO_DATE",
        "synced_until": "2020-01-01T00:00:00Z",
        "last_synced_at": "2020-01-02T00:00:00Z",
    }
    for key, state in (("aa", whole), ("bb", folder)):
        path = f"{by_id}/keyed-sync-state/{key}"
        answer = client.put(path, {"keyed_sync_state": state})
        assert answer.content == b'{"status":"ok"}'
    for listing in ("keyed-sync-states", "keyed-sync-states/", "keyed-sync-states%2F"):
        found = client.ok("GET", f"{by_id}/{listing}")["keyed_sync_states"]
        assert [one["status"] for one in found] == ["IN_PROGRESS", "UP_TO_DATE"]
        assert all(one["last_synced_at"].endswith("Z") for one in found)
        assert "folder_id" not in found[0]
    one = client.ok("GET", f"{by_id}/keyed-sync-state/bb")["keyed_sync_state"]
    assert (one["folder_path"], one["synced_until"]) == (["Inbox"], "2020-01-01T00:00:00.000000Z")
    ids = client.ok("POST", f"{by_id}/keyed-sync-state-ids", {"mailbox_name": "a@X.com"})
    assert ids["keyed_sync_state_ids"] == ["aa", "bb"]
    client.ok("DELETE", f"{by_id}/keyed-sync-state/aa")
    assert client.delete(f"{by_id}/keyed-sync-state/aa").status == 404
    assert client.get(f"{by_id}/keyed-sync-state/aa").status == 404
    ids = client.ok("POST", f"{by_id}/keyed-sync-state-ids", {"mailbox_name": "a@x.com"})
    assert ids["keyed_sync_state_ids"] == ["bb"]


@pytest.mark.parametrize(
    "state",
    [
        {"mailbox_name": "a", "status": "DONE"},
        {"mailbox_name": "a"},
        {"mailbox_name": "a", "status": "UP_TO_DATE", "folder_id": "f"},
        {"mailbox_name": "a", "status": "UP_TO_DATE", "synced_until": "soon"},
    ],
)
def test_a_malformed_keyed_state_is_400(client: Client, state: Any) -> None:
    by_id = f"/api/_private/buckets/id:{make_bucket(client)['id']}"
    answer = client.put(f"{by_id}/keyed-sync-state/aa", {"keyed_sync_state": state})
    assert answer.status == 400


def test_a_connector_needs_no_more_than_its_permissions(client: Client, db: Database) -> None:
    by_id = f"/api/_private/buckets/id:{make_bucket(client)['id']}"
    user_id = make_user(db, "connector")
    grant_in(db, user_id, "acme", ("buckets-read", "buckets-append"))
    connector = client.as_user("connector")
    add(connector, email())
    connector.ok("PUT", STATE, {"bucket_sync_state": {"sync_state": "x"}})
    connector.ok("GET", STATE)
    state = {"keyed_sync_state": {"mailbox_name": "a", "status": "UP_TO_DATE"}}
    connector.ok("PUT", by_id + "/keyed-sync-state/aa", state)
    assert connector.post(EMAILS, {}).status == 403
    assert connector.put(BUCKET, {"bucket": {}}).status == 403
    assert client.as_user(ROOT_TOKEN).post(EMAILS, {}).status == 200
