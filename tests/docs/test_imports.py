"""The pages on importing files and on moving over run as they stand."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from tests.docs.test_examples import Reader


def test_importing_by_the_page(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    try:
        reader.type("lodestream serve\n")
        reader.type("export LODESTREAM_URL=http://127.0.0.1:8000\n")
        reader.follow("docs/howto/import.md")
    finally:
        reader.stop()
    dry = reader.said("lodestream import --source DefaultProject/tickets --dry-run")
    assert "it would be: 2 new, 0 updated, 0 unchanged, 1 refused" in dry
    errors = reader.said("lodestream import --source DefaultProject/tickets --errors")
    (bad,) = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    assert (bad["where"], bad["content"]["Ticket"]) == ("line 4", "T-3")
    assert "1 e-mails stored" in reader.said("lodestream bucket create")
    assert "0 new, 0 updated, 2 unchanged" in reader.said("lodestream export")


SOURCE, DATASET, BUCKET = "aaaaaaaaaaaaaaaa", "dddddddddddddddd", "bbbbbbbbbbbbbbbb"
TIME = "2024-01-01T00:00:00.000000Z"


def comment(number: int) -> dict[str, Any]:
    """A line as the vendor's client writes it."""
    label = {"name": "Bill > Wrong", "sentiment": "positive", "metadata": None}
    return {
        "comment": {
            "id": f"c{number}",
            "uid": f"{SOURCE}.c{number}",
            "timestamp": TIME,
            "created_at": TIME,
            "messages": [{"body": {"text": f"Number {number}"}, "from": "a@example.com"}],
            "user_properties": {"string:Team": "Red"},
            "has_annotations": number == 1,
        },
        "labelling": [
            {
                "group": "default",
                "assigned": [label] if number == 1 else [],
                "dismissed": [],
                "predicted": [{"name": ["Bill"], "probability": 0.5}],
            }
        ],
        "entities": {"assigned": [], "dismissed": [], "predicted": []},
        "thread_properties": {"num_messages": 1},
    }


def package() -> dict[str, Any]:
    """An archive of the vendor's client, file by file."""
    named = {"owner": "acme", "created_at": TIME, "updated_at": TIME}
    return {
        f"datasets/{DATASET}.dataset.json": {
            "id": DATASET,
            "name": "support",
            "owner": "acme",
            "title": "Support",
            "description": "",
            "created": TIME,
            "last_modified": TIME,
            "model_family": "english",
            "source_ids": [SOURCE],
            "has_sentiment": False,
            "entity_defs": [],
            "general_fields": [],
            "label_defs": [],
            "label_groups": [
                {
                    "name": "default",
                    "label_defs": [
                        {"name": "Bill > Wrong", "title": "", "instructions": "", "novelty": 7}
                    ],
                }
            ],
            "_dataset_flags": [],
            "_model_config": {"kind": "cm"},
        },
        f"sources/{SOURCE}.source.json": {
            **named,
            "id": SOURCE,
            "name": "inbox",
            "title": "Inbox",
            "description": "",
            "language": "en",
            "should_translate": False,
            "_kind": "unknown",
            "bucket_id": BUCKET,
        },
        f"buckets/{BUCKET}.buckets.json": {**named, "id": BUCKET, "name": "mail"},
        f"comments/{SOURCE}.0.comments.json": comment(1),
        f"comments/{SOURCE}.1.comments.json": comment(2),
        f"emails/{BUCKET}.0.emails.json": {
            "id": "<1@example.com>",
            "mailbox": "help@example.com",
            "timestamp": TIME,
            "mime_content": "Subject: a\r\n\r\nText\r\n",
            "attachments": [],
        },
    }


def test_moving_over_by_the_page(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "support.zip", "w") as archive:
        for name, content in package().items():
            archive.writestr(name, json.dumps(content) + "\n")
    lines = "".join(json.dumps(comment(number)) + "\n" for number in (1, 2))
    (tmp_path / "inbox.jsonl").write_text(lines)
    reader = Reader(tmp_path)
    try:
        reader.type("lodestream serve\n")
        reader.type("export LODESTREAM_URL=http://127.0.0.1:8000\n")
        reader.follow("docs/howto/moving-over.md")
        reader.type(
            "lodestream export --source support-team/inbox --dataset support-team/support\n"
        )
    finally:
        reader.stop()
    moved = reader.said("lodestream import --project")
    assert "it would be: 2 new, 0 updated, 0 unchanged, 1 annotated, 1 e-mails stored" in moved
    assert moved.splitlines()[-1] == "2 new, 0 updated, 0 unchanged, 1 annotated, 1 e-mails stored"
    assert "left out 1 times: label_defs.novelty" in moved
    said = reader.said("lodestream source create support-team/inbox-2026")
    assert "2 new, 0 updated, 0 unchanged, 1 annotated" in said
    out = [
        json.loads(one)
        for one in reader.said("lodestream export --source support-team/inbox").splitlines()
    ]
    assert out[0]["labelling"][0]["assigned"][0]["name"] == "Bill > Wrong"
    assert [one["comment"]["id"] for one in out] == ["c1", "c2"]
