"""Revisions, and what training reads of annotations."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from lodestream.store.annotations import (
    Reviewed,
    label_keys,
    next_revision,
    reviewed_for_training,
    take_revision,
    training_state,
)
from lodestream.store.db import Database
from lodestream.store.tables import annotated_comment, comment, dataset, learning, source
from tests.build import dataset_path, make_comment, make_source, sync
from tests.client import Client

PRIVATE = "/api/_private/datasets/acme/support"


@pytest.fixture
def source_id(client: Client) -> str:
    found: str = make_source(client)["id"]
    sync(client, [make_comment(f"c{number}") for number in range(4)])
    client.ok("PUT", dataset_path(), {"dataset": {"source_ids": [found], "has_sentiment": True}})
    return found


def put(client: Client, source: str, comment_id: str, **group: Any) -> None:
    path = f"{PRIVATE}/labellings/{source}.{comment_id}"
    client.ok("POST", path, {"labelling": [group]})


def the_dataset(db: Database) -> str:
    with db.read() as tx:
        found: str = tx.execute(sa.select(dataset.c.id)).scalar_one()
        return found


def row(db: Database) -> Any:
    with db.read() as tx:
        return tx.execute(sa.select(learning)).one()


def test_a_revision_makes_a_dataset_stale_and_keeps_since_when(db: Database) -> None:
    with db.write(catalogue=False) as tx:
        assert training_state(tx, "d") == (0, 0)
        assert next_revision(tx, "d", 5) is None
        assert take_revision(tx, "d", 10) == 1
        assert take_revision(tx, "d", 20, count=3) == 4
        assert training_state(tx, "d") == (4, 20)
    assert (row(db).stale_us, row(db).trained_revision) == (10, 0)
    with db.write(catalogue=False) as tx:
        tx.execute(sa.update(learning).values(trained_revision=4))
    with db.write(catalogue=False) as tx:
        assert take_revision(tx, "d", 30) == 5
        assert next_revision(tx, "d", 40) == 6
    assert (row(db).revision, row(db).stale_us, row(db).changed_us) == (6, 30, 40)


def test_training_reads_what_people_pinned_and_nothing_else(
    client: Client, db: Database, source_id: str
) -> None:
    ui = {
        "assignment_method": "manual",
        "view": "explore",
        "retrieval_method": "shuffle",
        "has_label_filter": False,
    }
    found = {"name": "A > B", "sentiment": "negative", "metadata": {"ui": ui}}
    put(client, source_id, "c0", assigned=[found], dismissed=[{"name": "Z"}])
    put(client, source_id, "c1", uninformative={"mode": "explicit"})
    put(client, source_id, "c2", uninformative={"mode": "implicit"})
    put(client, source_id, "c3", assigned=[{"name": "Z"}])
    put(client, source_id, "c3", assigned=[])
    with db.read() as tx:
        dataset_id = the_dataset(db)
        keys = {name: key for key, name, _, _ in label_keys(tx, dataset_id)}
        positions = list(tx.execute(sa.select(comment.c.pos).order_by(comment.c.pos)).scalars())
        key = tx.execute(sa.select(source.c.key)).scalar_one()
        columns = (annotated_comment.c.pos, annotated_comment.c.labelled_us)
        times = {row.pos: row.labelled_us for row in tx.execute(sa.select(*columns))}
        reviewed = reviewed_for_training(tx, dataset_id)
        revision, _ = training_state(tx, dataset_id)
    marks = tuple(sorted([(keys["A > B"], False, True), (keys["Z"], True, False)]))
    c0, c1, c2, _ = positions
    assert reviewed == [
        Reviewed(c0, key, marks, False, "shuffle", times[c0]),
        Reviewed(c1, key, (), True, None, times[c1]),
        Reviewed(c2, key, (), False, None, times[c2]),
    ]
    # Five changes of comments, and one of definitions when the labels came.
    assert revision == 6


def test_training_does_not_see_sources_that_left_the_dataset(
    client: Client, db: Database, source_id: str
) -> None:
    put(client, source_id, "c0", assigned=[{"name": "A"}])
    client.ok("POST", dataset_path(), {"dataset": {"source_ids": []}})
    with db.read() as tx:
        assert reviewed_for_training(tx, the_dataset(db)) == []


def test_fields_alone_do_not_date_the_labels(client: Client, db: Database, source_id: str) -> None:
    types = [{"name": "word", "title": "", "inherits_from": [], "trainable": False}]
    client.ok("POST", dataset_path(), {"dataset": {"entity_defs": types}})
    entities = {"entities": {"assigned": [{"name": "word", "formatted_value": "x"}]}}
    client.ok("POST", f"{PRIVATE}/labellings/{source_id}.c0", entities)
    with db.read() as tx:
        (found,) = reviewed_for_training(tx, the_dataset(db))
    assert (found.marks, found.labelled_us) == ((), None)


def test_labels_keep_key_and_age_when_they_are_renamed(
    client: Client, db: Database, source_id: str
) -> None:
    put(client, source_id, "c0", assigned=[{"name": "A"}])
    dataset_id = the_dataset(db)
    with db.read() as tx:
        ((key, name, created_us, _),) = label_keys(tx, dataset_id)
    client.ok("POST", PRIVATE + "/labels/default?label_name=A", {"label": {"name": "B"}})
    with db.read() as tx:
        ((same, renamed, since_us, body),) = label_keys(tx, dataset_id)
    assert (same, since_us, name, renamed) == (key, created_us, "A", "B")
    assert '"name":"B"' in body


def test_a_copied_label_is_as_old_as_it_was(client: Client, db: Database, source_id: str) -> None:
    put(client, source_id, "c0", assigned=[{"name": "A"}])
    origin = the_dataset(db)
    definition = {"copy_annotations_from": origin, "has_sentiment": True}
    copy = client.ok("PUT", dataset_path("acme/copy"), {"dataset": definition})["dataset"]["id"]
    with db.read() as tx:
        ((old, _, created_us, _),) = label_keys(tx, origin)
        ((new, _, since_us, _),) = label_keys(tx, copy)
        assert training_state(tx, copy)[0] == 2
    assert since_us == created_us
    assert new != old
