"""Builders for what is learned: annotations, and a learner that works until it rests."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa

from lodestream.actions.learning import Learner, Pace
from lodestream.actions.predict import Predictor
from lodestream.domain.times import now_us
from lodestream.ml.encoder_install import install
from lodestream.store import annotations, learning
from lodestream.store.db import Database, Reader
from lodestream.store.tables import annotated_comment, comment, label_def, label_mark
from tests.build import make_comment, make_dataset, make_source, sync
from tests.client import Client
from tests.ml.tiny_bert import make_bert, make_recipe, published, write_files

EAGER = Pace(quiet_s=0.0)

TEXTS = {
    "Room": "the room was {} and the bed was hard",
    "Room > Noise": "it was {} and loud all night, the street noise kept us awake",
    "Food": "breakfast was {}, the coffee cold and the eggs were fine",
}
WORDS = ("fine", "awful", "great", "small", "odd", "good", "poor", "nice", "grim", "plain")


def label_comments(
    db: Database, dataset_id: str, said: Mapping[str, Sequence[str]], *, dismissed: bool = False
) -> None:
    """Assign labels to comments by their ids, as if a person had reviewed them just now."""
    now = now_us()
    with db.write() as tx:
        known = {name for _, name, _, _ in annotations.label_keys(tx, dataset_id)}
        fresh = sorted({name for names in said.values() for name in names} - known)
        rows = [
            {
                "dataset_id": dataset_id,
                "group_name": "default",
                "name": name,
                "rank": len(known) + rank,
                "body": f'{{"name":"{name}"}}',
                "created_us": now,
            }
            for rank, name in enumerate(fresh)
        ]
        if rows:
            tx.execute(sa.insert(label_def), rows)
        keys = {name: key for key, name, _, _ in annotations.label_keys(tx, dataset_id)}
        revision = annotations.take_revision(tx, dataset_id, now)
        places = _places(tx, list(said))
        for comment_id, names in said.items():
            source, pos = places[comment_id]
            here = (label_mark.c.dataset_id == dataset_id) & (label_mark.c.pos == pos)
            tx.execute(sa.delete(label_mark).where(here))
            mine = annotated_comment.c.dataset_id == dataset_id, annotated_comment.c.pos == pos
            tx.execute(sa.delete(annotated_comment).where(*mine))
            row = {
                "dataset_id": dataset_id,
                "pos": pos,
                "source": source,
                "revision": revision,
                "reviewed": True,
                "labelled_us": now,
                "updated_us": now,
            }
            tx.execute(sa.insert(annotated_comment).values(**row))
            for name in names:
                mark = {
                    "dataset_id": dataset_id,
                    "pos": pos,
                    "label": keys[name],
                    "dismissed": dismissed,
                    "negative": False,
                    "body": "{}",
                }
                tx.execute(sa.insert(label_mark).values(**mark))


def _places(tx: Reader, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    query = sa.select(comment.c.id, comment.c.source, comment.c.pos).where(comment.c.id.in_(ids))
    return {row.id: (row.source, row.pos) for row in tx.execute(query)}


def make_hotel(client: Client, *, each: int = 10) -> str:
    """Make a dataset of `each` comments a label, ids `Room-0` and so on; return its id."""
    make_source(client)
    batch = [
        make_comment(f"{name.replace(' > ', '.')}-{number}", text.format(WORDS[number % 10]))
        for name, text in TEXTS.items()
        for number in range(each)
    ]
    sync(client, batch)
    return make_dataset(client)


def label_hotel(db: Database, dataset_id: str, *, first: int = 0, each: int = 6) -> None:
    """Label comments `first` to `first + each` of every label."""
    said = {
        f"{name.replace(' > ', '.')}-{number}": [name]
        for name in TEXTS
        for number in range(first, first + each)
    }
    label_comments(db, dataset_id, said)


def make_learner(db: Database, folder: Path, *, pace: Pace = EAGER, name: str = "test") -> Learner:
    """Return a learner; `folder` holds the encoders, if there are any."""
    return Learner(db, Predictor(db, folder), name=name, pace=pace)


def learn(db: Database, folder: Path) -> None:
    """Learn until there is nothing more to learn."""
    learner = make_learner(db, folder)
    for _ in range(500):
        if learner.run_once():
            continue
        with db.read() as tx:
            rows = learning.list_all(tx)
        if not any(row.is_stale and not row.failures for row in rows):
            return
        time.sleep(0.01)  # a learner waits a part of the time that the last training took
    raise AssertionError("the learner does not come to rest")


def install_tiny(folder: Path) -> Path:
    """Install an encoder with random weights as the English one; return the folder."""
    files = published(make_bert())
    recipe = make_recipe(files, name="minilm", static=False)
    install(
        "minilm", folder, source=write_files(folder / "files", files), recipes={"minilm": recipe}
    )
    return folder
