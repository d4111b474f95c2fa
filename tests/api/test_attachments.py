"""Attachments and recordings over HTTP."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from lodestream.actions.files import collect_files
from lodestream.domain.times import now_us
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database
from tests.client import Answer, Client
from tests.conftest import grant_in, make_user

SOURCE = "/api/v1/sources/acme/inbox"
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(range(100))


def make_source(client: Client, path: str = SOURCE) -> str:
    identity: str = client.ok("PUT", path, {"source": {}})["source"]["id"]
    return identity


def make_comment(comment_id: str = "c1", **more: Any) -> dict[str, Any]:
    return {
        "id": comment_id,
        "timestamp": "2026-01-05T09:30:00Z",
        "messages": [{"body": {"text": "see the form"}}],
        **more,
    }


def attached(content: bytes, **more: Any) -> dict[str, Any]:
    return {"name": "form.pdf", "size": len(content), "content_type": "application/pdf", **more}


def sync(client: Client, *comments: dict[str, Any]) -> Any:
    return client.ok("POST", SOURCE + "/sync", {"comments": list(comments)})


def read(client: Client, comment_id: str = "c1") -> Any:
    return client.ok("GET", f"{SOURCE}/comments/{comment_id}")["comment"]


def form(content: bytes, *, part: str = "file", kind: str = "application/pdf") -> bytes:
    head = f'--frontier\r\nContent-Disposition: form-data; name="{part}"; filename="a.pdf"\r\n'
    return f"{head}Content-Type: {kind}\r\n\r\n".encode() + content + b"\r\n--frontier--\r\n"


FORM = {"content-type": 'multipart/form-data; boundary="frontier"'}
RAW = {"content-type": "application/octet-stream"}


def slot_path(source_id: str, comment_id: str = "c1", index: object = 0) -> str:
    return f"/api/_private/sources/id:{source_id}/comments/{comment_id}/attachments/{index}"


def audio_path(source_id: str, comment_id: str = "c1") -> str:
    return f"/api/_private/sources/id:{source_id}/comments/{comment_id}/audio"


def upload(client: Client, source_id: str, content: bytes) -> str:
    answer = client.put(slot_path(source_id), form(content), headers=FORM)
    assert answer.status == 200, answer.content
    content_hash: str = answer.json["content_hash"]
    return content_hash


def download(client: Client, comment: Any, slot: int = 0) -> Answer:
    reference = comment["attachments"][slot]["attachment_reference"]
    return client.get(f"/api/v1/attachments/{reference}")


@pytest.mark.parametrize("as_form", [True, False])
def test_content_uploaded_before_its_comment_comes_back(client: Client, as_form: bool) -> None:
    source_id = make_source(client)
    content = bytes(range(256)) * 50 + b"\r\n--frontie\r\n--"
    body, headers = (form(content), FORM) if as_form else (content, RAW)
    answer = client.put(slot_path(source_id), body, headers=headers)
    content_hash = sha256(content).hexdigest()
    assert answer.json == {"status": "ok", "content_hash": content_hash}
    sync(client, make_comment(attachments=[attached(content, content_hash=content_hash)]))
    comment = read(client)
    answer = download(client, comment)
    assert answer.status == 200
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith('attachment; filename="form.pdf"')


def test_metadata_without_content_has_no_reference(client: Client) -> None:
    make_source(client)
    sync(client, make_comment(attachments=[attached(b"x", content_hash="0" * 64)]))
    assert "attachment_reference" not in read(client)["attachments"][0]


def test_content_that_no_comment_claims_cannot_be_read(client: Client) -> None:
    source_id = make_source(client)
    content_hash = upload(client, source_id, b"secret")
    assert client.get(f"/api/v1/attachments/{source_id}-{content_hash}").status == 404


def test_an_update_that_repeats_the_attachment_keeps_its_content(client: Client) -> None:
    source_id = make_source(client)
    content_hash = upload(client, source_id, b"form")
    sync(client, make_comment(attachments=[attached(b"form", content_hash=content_hash)]))
    sync(client, make_comment(attachments=[attached(b"form")], thread_id="t"))
    comment = read(client)
    assert comment["thread_id"] == "t"
    assert download(client, comment).content == b"form"


def test_an_update_with_another_attachment_takes_the_old_content_away(client: Client) -> None:
    source_id = make_source(client)
    content_hash = upload(client, source_id, b"form")
    sync(client, make_comment(attachments=[attached(b"form", content_hash=content_hash)]))
    before = read(client)
    sync(client, make_comment(attachments=[attached(b"form", name="other.pdf")]))
    assert "attachment_reference" not in read(client)["attachments"][0]
    assert download(client, before).status == 404


def test_a_deleted_comment_takes_its_content_away(client: Client) -> None:
    source_id = make_source(client)
    content_hash = upload(client, source_id, b"form")
    sync(client, make_comment(attachments=[attached(b"form", content_hash=content_hash)]))
    before = read(client)
    client.ok("DELETE", f"{SOURCE}/comments?id=c1")
    assert download(client, before).status == 404


def test_a_downloaded_comment_can_be_sent_back(client: Client) -> None:
    source_id = make_source(client)
    content_hash = upload(client, source_id, b"form")
    sync(client, make_comment(attachments=[attached(b"form", content_hash=content_hash)]))
    first = read(client)
    assert sync(client, first)["unchanged"] == 1
    assert download(client, read(client)).content == b"form"
    handle = first["attachments"][0]["attachment_reference"]
    again = make_comment("c2", attachments=[attached(b"form", attachment_reference=handle)])
    sync(client, again)
    assert download(client, read(client, "c2")).content == b"form"


def test_content_of_another_source_is_not_claimed(client: Client) -> None:
    make_source(client)
    elsewhere = make_source(client, "/api/v1/sources/other/inbox")
    content_hash = upload(client, elsewhere, b"secret")
    handle = f"{elsewhere}-{content_hash}"
    sync(client, make_comment(attachments=[attached(b"secret", content_hash=content_hash)]))
    sync(client, make_comment("c2", attachments=[attached(b"secret", attachment_reference=handle)]))
    assert "attachment_reference" not in read(client)["attachments"][0]
    assert "attachment_reference" not in read(client, "c2")["attachments"][0]


def test_to_who_may_not_read_the_source_there_is_no_attachment(
    client: Client, db: Database
) -> None:
    source_id = make_source(client)
    content_hash = upload(client, source_id, b"form")
    sync(client, make_comment(attachments=[attached(b"form", content_hash=content_hash)]))
    comment = read(client)
    user_id = make_user(db, "guest")
    guest = client.as_user("guest")
    assert download(guest, comment).status == 404
    grant_in(db, user_id, "acme", ("voc-readonly",))
    assert download(guest, comment).status == 404
    grant_in(db, user_id, "acme", ("sources-read",))
    assert download(guest, comment).content == b"form"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", FORM),
        (b"no form at all", FORM),
        (form(b"x")[:-14], FORM),
        (form(b"x", part="other"), FORM),
        (form(b"x"), {"content-type": "multipart/form-data"}),
        (form(b"x"), {"content-type": "multipart/form-data; boundary=" + "b" * 500}),
        (b"--frontier\r\nBroken\r\n\r\nx\r\n--frontier--\r\n", FORM),
        (b"--frontier\r\n\r\nx\r\n" * 1000 + b"--frontier--\r\n", FORM),
    ],
)
def test_a_broken_form_is_refused(client: Client, body: bytes, headers: dict[str, str]) -> None:
    answer = client.put(slot_path(make_source(client)), body, headers=headers)
    assert answer.status == 400
    assert answer.json["status"] == "error"


@pytest.mark.parametrize("index", ["-1", "128", "x", "1.0", "٣", "9" * 400])
def test_an_attachment_index_out_of_bounds_is_refused(client: Client, index: str) -> None:
    path = slot_path(make_source(client), index=index)
    assert client.put(path, b"x", headers=RAW).status == 400


def test_an_unknown_source_is_not_found(client: Client) -> None:
    assert client.put(slot_path("0" * 16), b"x", headers=RAW).status == 404
    assert client.put(slot_path("xyz"), b"x", headers=RAW).status == 400
    assert client.get(audio_path("0" * 16)).status == 404


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("..\\..\\etc/pass\u202ewd", 'filename="passwd"'),
        ('a"b;c\r\nd.txt', 'filename="a_b_cd.txt"'),
        ("größe 📎.pdf", 'filename="gr__e _.pdf"'),
        ("...", 'filename="attachment"'),
        ("", 'filename="attachment"'),
    ],
)
def test_a_file_name_cannot_do_harm(client: Client, name: str, plain: str) -> None:
    source_id = make_source(client)
    content_hash = upload(client, source_id, b"x")
    sync(client, make_comment(attachments=[attached(b"x", name=name, content_hash=content_hash)]))
    header = download(client, read(client)).headers["content-disposition"]
    assert header.startswith(f"attachment; {plain}; filename*=UTF-8''")
    assert header.isascii()
    assert header.isprintable()


def test_a_recording_comes_back_with_its_type(client: Client) -> None:
    source_id = make_source(client)
    sync(client, make_comment())
    path = audio_path(source_id)
    assert client.get(path).status == 404
    answer = client.put(path, form(WAV, kind="text/html"), headers=FORM)
    assert answer.content == b'{"status":"ok"}'
    answer = client.get(path)
    assert answer.content == WAV
    assert answer.headers["content-type"] == "audio/x-wav"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_second_recording_replaces_the_first_and_an_update_keeps_it(client: Client) -> None:
    source_id = make_source(client)
    sync(client, make_comment())
    client.put(audio_path(source_id), WAV, headers=RAW)
    assert client.put(audio_path(source_id), b"fLaC" + WAV, headers=RAW).status == 200
    sync(client, make_comment(thread_id="changed"))
    answer = client.get(audio_path(source_id))
    assert answer.content == b"fLaC" + WAV
    assert answer.headers["content-type"] == "audio/flac"


def test_a_recording_needs_its_comment_and_a_known_format(client: Client) -> None:
    source_id = make_source(client)
    assert client.put(audio_path(source_id), WAV, headers=RAW).status == 404
    sync(client, make_comment())
    assert client.put(audio_path(source_id), b"<html>", headers=RAW).status == 422
    assert client.get(audio_path(source_id)).status == 404


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-3", 206, slice(0, 4)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=-100000", 206, slice(None)),
        ("bytes=100-100000", 206, slice(100, None)),
        ("bytes=5-2", 200, slice(None)),
        ("bytes=0-1,4-5", 200, slice(None)),
        ("pages=1-2", 200, slice(None)),
        ("bytes=100000-", 416, None),
        ("bytes=-0", 416, None),
    ],
)
def test_a_player_may_ask_for_a_range(
    client: Client, asked: str, status: int, part: slice | None
) -> None:
    source_id = make_source(client)
    sync(client, make_comment())
    client.put(audio_path(source_id), WAV, headers=RAW)
    answer = client.get(audio_path(source_id), headers={"range": asked})
    assert answer.status == status
    if part is None:
        assert answer.json["status"] == "error"
        assert answer.headers["content-range"] == f"bytes */{len(WAV)}"
        return
    assert answer.content == WAV[part]
    if status == 206:
        start = part.indices(len(WAV))[0]
        end = start + len(answer.content) - 1
        assert answer.headers["content-range"] == f"bytes {start}-{end}/{len(WAV)}"


def test_files_that_nobody_claims_are_collected_after_a_while(
    client: Client, db: Database, tmp_path: Path
) -> None:
    source_id = make_source(client)
    elsewhere = make_source(client, "/api/v1/sources/other/inbox")
    kept, dropped = upload(client, source_id, b"kept"), upload(client, source_id, b"dropped")
    upload(client, elsewhere, b"kept")
    sync(client, make_comment(attachments=[attached(b"kept", content_hash=kept)]))
    blobs = BlobStore(tmp_path / "files")
    assert collect_files(db, blobs) == 0
    assert collect_files(db, blobs, before_us=now_us() + 1) == 1
    assert blobs.read(dropped) is None
    assert download(client, read(client)).content == b"kept"
    assert upload(client, source_id, b"dropped") == dropped
    assert blobs.read(dropped) == b"dropped"


def test_the_lists_of_buckets_and_integrations_are_empty(client: Client, db: Database) -> None:
    make_user(db, "guest")
    guest = client.as_user("guest")
    assert guest.ok("GET", "/api/_private/buckets") == {"status": "ok", "buckets": []}
    assert guest.ok("GET", "/api/_private/integrations") == {"status": "ok", "integrations": []}
