"""Annotations, uploads, deletions and changes of labels at the same time."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from lodestream.store.db import Database
from lodestream.store.tables import (
    annotated_comment,
    annotation_event,
    comment,
    field_mark,
    label_def,
    label_mark,
    learning,
)
from tests.build import dataset_path, make_comment, make_source, source_path, sync
from tests.client import Client

OURS = "/api/lodestream/v1/datasets/acme/support"
PRIVATE = "/api/_private/datasets/acme/support"
ROUNDS = 12
COMMENTS = [f"c{number}" for number in range(24)]
TYPE = {"name": "word", "title": "", "inherits_from": [], "trainable": False}


def test_whatever_happens_at_once_nothing_fails_and_nothing_is_left_over(
    client: Client, db: Database
) -> None:
    source = make_source(client)["id"]
    settings = {"source_ids": [source], "has_sentiment": False, "entity_defs": [TYPE]}
    client.ok("PUT", dataset_path(), {"dataset": settings})
    sync(client, [make_comment(one, "Text") for one in COMMENTS])
    failures: list[Any] = []

    def ask(method: str, path: str, body: Any = None) -> None:
        answer = client.call(method, path, body)
        # A comment or a label may be gone at that moment.
        if answer.status not in (200, 404):
            failures.append((method, path, answer.status, answer.content[:200]))

    def deltas(dice: random.Random) -> None:
        changes = [
            {
                "comment_uid": f"{source}.{one}",
                "label": f"L{dice.randrange(6)} > M",
                "action": dice.choice(["assign", "dismiss", "clear"]),
            }
            for one in dice.sample(COMMENTS, 8)
        ]
        ask("POST", OURS + "/annotate", {"changes": changes})

    def whole(dice: random.Random) -> None:
        span = {"content_part": "body", "message_index": 0, "char_start": 0, "char_end": 3}
        update = {
            "labelling": [{"assigned": [{"name": f"L{dice.randrange(6)}"}]}],
            "entities": {"assigned": [{"name": "word", "formatted_value": "x", "span": span}]},
        }
        ask("POST", f"{PRIVATE}/labellings/{source}.{dice.choice(COMMENTS)}", update)

    def undo(dice: random.Random) -> None:
        body = {"comment_uid": f"{source}.{dice.choice(COMMENTS)}"}
        answer = client.post(OURS + "/undo", body)
        if answer.status not in (200, 404, 409):
            failures.append(answer)

    def delete(dice: random.Random) -> None:
        query = "&".join(f"id={one}" for one in dice.sample(COMMENTS, 6))
        ask("DELETE", f"{source_path()}/comments?{query}")

    def upload(dice: random.Random) -> None:
        batch = [make_comment(one, f"Text {dice.random()}") for one in dice.sample(COMMENTS, 12)]
        ask("POST", source_path() + "/sync", {"comments": batch})

    def rename(dice: random.Random) -> None:
        old, new = (f"L{dice.randrange(6)}" for _ in range(2))
        path = f"{PRIVATE}/labels/default?label_name={old}"
        if dice.random() < 0.3:
            ask("DELETE", path)
        else:
            ask("POST", path, {"label": {"name": new}})

    run_together([deltas, deltas, whole, whole, undo, delete, upload, rename])

    assert failures == []
    with db.read() as tx:
        there = set(tx.execute(sa.select(comment.c.pos)).scalars())
        keys = set(tx.execute(sa.select(label_def.c.key)).scalars())
        for table in (annotated_comment, label_mark, field_mark, annotation_event):
            found = tx.execute(sa.select(table.c.pos).where(table.c.pos.is_not(None))).scalars()
            assert set(found) <= there, table.name
        assert set(tx.execute(sa.select(label_mark.c.label)).scalars()) <= keys
        reviewed = sa.select(annotated_comment.c.pos).where(annotated_comment.c.reviewed)
        marked = {
            pos
            for table in (label_mark, field_mark)
            for pos in tx.execute(sa.select(table.c.pos)).scalars()
        }
        assert set(tx.execute(reviewed).scalars()) == marked
        last = tx.execute(sa.select(learning.c.revision)).scalar_one()
        newest = tx.execute(sa.select(sa.func.max(annotation_event.c.revision))).scalar_one()
        assert newest <= last


def run_together(deeds: list[Callable[[random.Random], None]]) -> None:
    """Do each deed many times, all of them at the same time."""
    start = threading.Barrier(len(deeds))

    def repeat(seed: int, deed: Callable[[random.Random], None]) -> None:
        dice = random.Random(seed)
        start.wait()
        for _ in range(ROUNDS):
            deed(dice)

    threads = [
        threading.Thread(target=repeat, args=(seed, deed)) for seed, deed in enumerate(deeds)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
