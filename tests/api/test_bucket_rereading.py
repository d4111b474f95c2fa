"""Sources that read their bucket anew: what changes, and what stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lodestream.actions import buckets
from lodestream.domain.places import parse_sequence_id
from lodestream.store import derived
from lodestream.store.blobs import BlobStore
from lodestream.store.db import Database
from lodestream.store.tables import bucket_reading
from tests.api.test_annotate import annotate, change, state
from tests.api.test_buckets import add, comments, email, make_bucket, mime, work
from tests.build import fetch, make_dataset, make_source, make_stream, reset, source_path
from tests.client import Client
from tests.models import add_model


def test_a_new_tag_keeps_places_and_labels_and_has_predictions_made_anew(
    client: Client, db: Database, tmp_path: Path
) -> None:
    source = make_source(client, bucket_id=make_bucket(client)["id"])
    body = mime(text="Please help.\r\n\r\n-- \r\nAlice\r\n")
    add(client, email(mime_content=body), email("<m2@example.com>"))
    work(client, tmp_path)
    make_dataset(client)
    make_stream(client)
    reset(client, "2020-01-01T00:00:00Z")
    before = fetch(client)["results"]
    comment = b"<m1@example.com>".hex()
    annotate(client, change(source["id"], comment, "assign", "Help"))
    add_model(client, pinned=True)
    tag = {"email_transform_tag": "generic_simple.0.QR5PW4VZ"}
    client.ok("POST", source_path(), {"source": tag})
    work(client, tmp_path)
    after = fetch(client)["results"]
    assert [one["sequence_id"] for one in after] == [one["sequence_id"] for one in before]
    texts = [one["comment"]["messages"][0]["body"]["text"] for one in after]
    assert texts == ["Please help.\n\n-- \nAlice", "Hello"]
    assert state(client, source["id"], comment) == (["Help"], [])
    with db.read() as tx:
        ((position, _),) = derived.changed(tx, limit=8)
    assert position == parse_sequence_id(after[0]["sequence_id"])


def test_the_rich_text_tag_of_a_source_brings_markup_to_its_comments(
    client: Client, tmp_path: Path
) -> None:
    make_source(client, bucket_id=make_bucket(client)["id"])
    html = mime(text="<p>Hi <b>Bob</b></p>").replace("text/plain", "text/html")
    add(client, email(mime_content=html))
    work(client, tmp_path)
    (comment,) = comments(client)
    assert comment["messages"][0]["body"] == {"text": "Hi Bob"}
    path = "/api/_private/sources/email-transform/tag:" + "generic.0.CONVKER5"
    tag = client.ok("GET", path)["email_transform_tag_info"]["rich_text_upgrade_tag"]
    client.ok("POST", source_path(), {"source": {"email_transform_tag": tag}})
    work(client, tmp_path)
    (after,) = comments(client)
    assert after["messages"][0]["body"]["text"] == "Hi Bob"
    assert after["messages"][0]["body"]["text_markup"][0]["paragraph_kind"] == "p"
    assert after["created_at"] == comment["created_at"]


def test_no_language_is_added_that_the_mail_does_not_state(client: Client, tmp_path: Path) -> None:
    make_source(client, bucket_id=make_bucket(client)["id"])
    add(client, email(mime_content="Content-Language: de\r\n" + mime(text="Guten Tag")))
    work(client, tmp_path)
    assert "language" not in comments(client)[0]["messages"][0]


def test_a_reader_that_was_overtaken_writes_nothing_over_what_is_newer(
    client: Client, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_source(client, bucket_id=make_bucket(client)["id"])
    add(client, email(mime_content=mime(text="old")))
    prepare = buckets._prepared

    def slowly(*args: Any, **more: Any) -> Any:
        """Prepare the first e-mails for so long that another worker reads a newer version."""
        prepared = prepare(*args, **more)
        monkeypatch.setattr(buckets, "_prepared", prepare)
        add(client, email(mime_content=mime(text="new")))
        with db.write() as tx:
            tx.execute(sa.update(bucket_reading).values(read_until_us=0))
        work(client, tmp_path)
        assert comments(client)[0]["messages"][0]["body"]["text"] == "new"
        return prepared

    monkeypatch.setattr(buckets, "_prepared", slowly)
    with db.read() as tx:
        source = tx.execute(sa.select(bucket_reading.c.source)).scalar_one()
    buckets.read_bucket(db, BlobStore(tmp_path / "files"), source)
    assert comments(client)[0]["messages"][0]["body"]["text"] == "new"
