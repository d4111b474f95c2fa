"""From annotations to versions and predictions."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lodestream.actions import learning as actions
from lodestream.actions.learning import Learner, Pace
from lodestream.actions.predict import Predictor
from lodestream.actions.training import NEW_LABEL_GRACE_US, gather, targets_of
from lodestream.domain.models import Model
from lodestream.ml.artifact import load
from lodestream.ml.scores import unpack
from lodestream.store import comments, derived, learning, models
from lodestream.store.db import Database
from lodestream.store.derived import PREDICTIONS, RENDERED
from lodestream.store.tables import annotated_comment, comment_text
from tests.build import delete_ids, make_comment, make_stream, sync
from tests.client import Client
from tests.learning import EAGER, label_comments, label_hotel, learn, make_hotel, make_learner


def newest(db: Database, dataset_id: str) -> Model:
    with db.read() as tx:
        found = models.find_newest(tx, dataset_id)
    assert found is not None
    return found


def kept(db: Database, dataset_id: str) -> dict[str, dict[str, float]]:
    """Return the kept predictions of the newest version, by comment id."""
    model = newest(db, dataset_id)
    with db.read() as tx:
        sources = [key for key, _ in learning.sources_of(tx, dataset_id)]
        positions = derived.positions_of(tx, sources)
        packed = PREDICTIONS.read(tx, model.key, positions)
        ids = learning.ids_at(tx, sources, positions)
    rows = [packed[pos] for pos in positions if pos in packed]
    scores, _ = unpack(rows, len(model.labels), has_sentiment=model.has_sentiment)
    found = [ids[pos] for pos in positions if pos in packed]
    return {
        name: dict(zip(model.labels, map(float, row), strict=True))
        for name, row in zip(found, scores, strict=True)
    }


def test_labelled_comments_make_a_version_that_labels_the_rest(
    client: Client, db: Database, tmp_path: Path
) -> None:
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    learn(db, tmp_path)
    model = newest(db, dataset_id)
    assert model.version == 1
    assert model.labels == ("Food", "Room", "Room > Noise")
    assert model.reviewed_counts == {"Food": 6, "Room": 12, "Room > Noise": 6}
    found = kept(db, dataset_id)
    assert len(found) == 30
    for name, best in (("Food-8", "Food"), ("Room.Noise-8", "Room > Noise"), ("Room-8", "Room")):
        assert max(found[name], key=lambda label: found[name][label]) in (best, "Room")
        assert found[name][best] > 0.5
    assert all(one["Room"] >= one["Room > Noise"] for one in found.values())


def test_nothing_is_learned_twice(client: Client, db: Database, tmp_path: Path) -> None:
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    learn(db, tmp_path)
    learn(db, tmp_path)
    assert newest(db, dataset_id).version == 1


def test_a_new_annotation_makes_the_next_version(
    client: Client, db: Database, tmp_path: Path
) -> None:
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    learn(db, tmp_path)
    label_hotel(db, dataset_id, first=6, each=1)
    learn(db, tmp_path)
    assert newest(db, dataset_id).version == 2


def test_the_same_annotations_make_the_same_model(
    client: Client, db: Database, tmp_path: Path
) -> None:
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    learn(db, tmp_path)
    label_hotel(db, dataset_id)
    learn(db, tmp_path)
    with db.read() as tx:
        bodies = {
            one.version: models.find_file(tx, one.key, "head")
            for one in models.list_models(tx, dataset_id)
        }
        prints = {one.fingerprint for one in models.list_models(tx, dataset_id)}
    assert set(bodies) == {1, 2}
    assert len(prints) == 1
    # The revision stands in the manifest; everything that predicts is the same.
    (_, first), (_, second) = (load(body or b"") for body in bodies.values())
    assert first.keys() == second.keys()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_a_dataset_is_trained_when_it_has_been_quiet(
    client: Client, db: Database, tmp_path: Path
) -> None:
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    assert not make_learner(db, tmp_path, pace=Pace(quiet_s=3600, most_s=3600)).run_once()
    assert make_learner(db, tmp_path, pace=Pace(quiet_s=3600, most_s=0)).run_once()


def test_labels_alone_make_a_version(client: Client, db: Database, tmp_path: Path) -> None:
    dataset_id = make_hotel(client)
    path = "/api/_private/datasets/acme/support/labels/default"
    client.ok("PUT", path, {"label_defs": [{"name": "Breakfast", "instructions": "eggs, coffee"}]})
    learn(db, tmp_path)
    assert newest(db, dataset_id).labels == ("Breakfast",)
    assert all(0 <= one["Breakfast"] <= 1 for one in kept(db, dataset_id).values())


def test_a_comment_that_comes_later_is_predicted(
    client: Client, db: Database, tmp_path: Path
) -> None:
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    learn(db, tmp_path)
    sync(client, [make_comment("late", "breakfast was cold, the coffee too")])
    learn(db, tmp_path)
    assert kept(db, dataset_id)["late"]["Food"] > 0.5


def test_a_changed_comment_is_predicted_anew(client: Client, db: Database, tmp_path: Path) -> None:
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    learn(db, tmp_path)
    assert kept(db, dataset_id)["Food-9"]["Food"] > 0.5
    sync(client, [make_comment("Food-9", "loud all night, the street noise kept us awake")])
    learn(db, tmp_path)
    found = kept(db, dataset_id)["Food-9"]
    assert found["Room > Noise"] > found["Food"]
    with db.read() as tx:
        assert derived.changed(tx, limit=10) == []


def test_predictions_of_a_deleted_comment_are_removed(
    client: Client, db: Database, tmp_path: Path
) -> None:
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    learn(db, tmp_path)
    before = kept(db, dataset_id)
    delete_ids(client, "Food-9")
    learn(db, tmp_path)
    assert set(before) - set(kept(db, dataset_id)) == {"Food-9"}


def test_old_versions_are_dropped_with_their_predictions_but_pinned_ones_stay(
    client: Client, db: Database, tmp_path: Path
) -> None:
    dataset_id = make_hotel(client)
    for number in range(6):
        label_hotel(db, dataset_id, first=number, each=1)
        learn(db, tmp_path)
        if number == 0:
            with db.write() as tx:
                models.update(tx, newest(db, dataset_id).key, pinned=True)
    with db.read() as tx:
        assert [one.version for one in models.list_models(tx, dataset_id)] == [6, 5, 4, 1]
        everything = models.list_models(tx, dataset_id, include_deleted=True)
        assert [one.version for one in everything] == [6, 5, 4, 3, 2, 1]
        assert PREDICTIONS.owners(tx) == [everything[0].key]


def test_a_pinned_version_that_a_stream_uses_is_rendered_for_it(
    client: Client, db: Database, tmp_path: Path
) -> None:
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    learn(db, tmp_path)
    with db.write() as tx:
        models.update(tx, newest(db, dataset_id).key, pinned=True)
    shown = [{"name": ["Food"], "threshold": 0.5}]
    make_stream(client, model={"version": 1, "label_thresholds": shown})
    learn(db, tmp_path)
    with db.read() as tx:
        ((key, _, _),) = models.list_renderings(tx)
        positions = derived.positions_of(
            tx, [one for one, _ in learning.sources_of(tx, dataset_id)]
        )
        assert len(RENDERED.read(tx, key, positions)) == len(positions) == 30
    client.ok("POST", "/api/v1/datasets/acme/support/streams/all", {"stream": {"model": None}})
    learn(db, tmp_path)
    with db.read() as tx:
        assert models.list_renderings(tx) == []
        assert RENDERED.read(tx, key, positions) == {}


def test_what_a_stopped_learner_began_another_finishes(
    client: Client, db: Database, tmp_path: Path
) -> None:
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    steps = 0

    def stop_soon() -> None:
        nonlocal steps
        steps += 1
        if steps == stop_at:
            raise KeyboardInterrupt

    for stop_at in range(1, 30):
        steps = 0
        learner = Learner(
            db,
            Predictor(db, tmp_path),
            name=f"dies-{stop_at}",
            pace=Pace(quiet_s=0),
            go_on=stop_soon,
        )
        try:
            while learner.run_once():
                pass
        except KeyboardInterrupt:
            with db.read() as tx:
                for one in models.list_models(tx, dataset_id):
                    assert models.find_file(tx, one.key, "head") is not None
        else:
            break
    else:
        pytest.fail("the learner never came to its end")
    assert len(kept(db, dataset_id)) == 30


def test_two_learners_train_a_dataset_once(client: Client, db: Database, tmp_path: Path) -> None:
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    learners = [make_learner(db, tmp_path, name=f"learner-{number}") for number in range(2)]
    threads = [threading.Thread(target=one.run_once) for one in learners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    learn(db, tmp_path)
    assert newest(db, dataset_id).version == 1


def test_a_training_that_newer_annotations_overtake_is_given_up(
    client: Client, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "NOTE_EVERY_S", 0.0)
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    said = []

    def say_more() -> None:
        with db.read() as tx:
            found = learning.find(tx, dataset_id)
        if found is not None and found.stage == "training" and not said:
            said.append(found.revision)
            label_hotel(db, dataset_id, first=6, each=1)

    learner = Learner(db, Predictor(db, tmp_path), name="test", pace=EAGER, go_on=say_more)
    assert learner.run_once()
    with db.read() as tx:
        assert models.find_newest(tx, dataset_id) is None
    learn(db, tmp_path)
    model = newest(db, dataset_id)
    assert model.version == 1
    assert model.input_revision > said[0]
    assert model.reviewed_counts["Food"] == 7


def test_a_failed_training_is_told_and_tried_again_later(
    client: Client, db: Database, tmp_path: Path
) -> None:
    dataset_id = make_hotel(client)
    label_hotel(db, dataset_id)
    with db.write() as tx:
        places = derived.positions_of(tx, [one for one, _ in learning.sources_of(tx, dataset_id)])
        front = comments.read_fronts(tx, places[:1])[places[0]]
        damaged = front.replace(b'"messages":', b'"messages":!')
        here = comment_text.c.pos == places[0]
        tx.execute(comment_text.update().where(here).values(body=damaged))
    assert not make_learner(db, tmp_path).run_once()
    with db.read() as tx:
        found = learning.find(tx, dataset_id)
    assert found is not None
    assert found.failures == 1
    assert found.error
    assert found.retry_us > found.changed_us
    assert found.stage is None


def test_a_label_newer_than_a_review_is_no_negative_there(
    client: Client, db: Database, tmp_path: Path
) -> None:
    dataset_id = make_hotel(client)
    label_comments(db, dataset_id, {"Food-0": ["Food"]})
    with db.write() as tx:
        old = annotated_comment.c.labelled_us - NEW_LABEL_GRACE_US - 1
        tx.execute(annotated_comment.update().values(labelled_us=old))
    label_comments(db, dataset_id, {"Room-0": ["Room"]})
    with db.read() as tx:
        material = gather(tx, dataset_id)
    assert material is not None
    targets, known, complete = targets_of(material)
    by_uid = {uid.partition(".")[2]: row for row, uid in enumerate(material.uids)}
    assert material.labels == ("Food", "Room")
    assert known[by_uid["Food-0"]].tolist() == [True, False]
    assert known[by_uid["Room-0"]].tolist() == [True, True]
    assert targets[by_uid["Room-0"]].tolist() == [0, 1]
    assert complete.all()
