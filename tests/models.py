"""Builders of model versions: made on the spot from a few texts, without waiting for a learner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from lodestream.domain.models import (
    Definitions,
    Model,
    NewModel,
    Thresholds,
    TrainingAction,
    Validated,
)
from lodestream.domain.times import now_us
from lodestream.ml.artifact import dump
from lodestream.ml.head import TrainingSet, train
from lodestream.ml.scores import pack
from lodestream.ml.validate import validate
from lodestream.ml.validation_data import ValidationData
from lodestream.store import datasets, derived, learning, models
from lodestream.store.db import Database, Reader
from lodestream.store.uids import find_places
from tests.build import DATASET
from tests.client import Client
from tests.ml.validations import FACTS, make_data

LABELS = ("Claim", "Claim > Status", "Thanks")
EXAMPLES = (
    ("where is my claim", ("Claim", "Claim > Status")),
    ("has my claim been decided", ("Claim", "Claim > Status")),
    ("what became of the claim from may", ("Claim", "Claim > Status")),
    ("when will you pay the claim", ("Claim", "Claim > Status")),
    ("i want to claim for a broken window", ("Claim",)),
    ("here is a claim for my car", ("Claim",)),
    ("please open a claim, water in the cellar", ("Claim",)),
    ("thank you very much", ("Thanks",)),
    ("thanks a lot for your help", ("Thanks",)),
    ("many thanks, that was quick", ("Thanks",)),
    ("thank you, the claim was paid", ("Thanks", "Claim")),
    ("my address has changed", ()),
    ("please send the contract again", ()),
    ("is the office open on friday", ()),
    ("the invoice is wrong", ()),
    ("cancel my contract", ()),
)


def database(client: Client) -> Database:
    """The database of the server that a client calls."""
    return client.app.service.db


def dataset_id(client: Client, full_name: str = DATASET) -> str:
    """The id of a dataset."""
    found: str = client.ok("GET", f"/api/v1/datasets/{full_name}")["dataset"]["id"]
    return found


def make_head(
    labels: Sequence[str] = LABELS,
    examples: Sequence[tuple[str, Sequence[str]]] = EXAMPLES,
    *,
    has_sentiment: bool = False,
) -> bytes:
    """Train a model of words alone; return its file. Labels of a thankful text are positive."""
    targets = np.zeros((len(examples), len(labels)), np.int8)
    for row, (text, assigned) in enumerate(examples):
        for name in assigned:
            negative = has_sentiment and "thank" not in text
            targets[row, labels.index(name)] = -1 if negative else 1
    head = train(
        TrainingSet(
            texts=[text for text, _ in examples],
            vectors=None,
            labels=tuple(labels),
            targets=targets,
            known=np.ones_like(targets, np.bool_),
            has_sentiment=has_sentiment,
            label_texts=list(labels),
            label_vectors=None,
        )
    )
    return dump(*head.to_arrays())


def add_model(
    client: Client,
    full_name: str = DATASET,
    *,
    pinned: bool = False,
    labels: Sequence[str] = LABELS,
    examples: Sequence[tuple[str, Sequence[str]]] = EXAMPLES,
    has_sentiment: bool = False,
    head: bytes | None = None,
) -> int:
    """Publish a new version of a dataset; return its number."""
    return publish(
        database(client),
        dataset_id(client, full_name),
        pinned=pinned,
        labels=labels,
        reviewed_counts={name: sum(name in some for _, some in examples) for name in labels},
        has_sentiment=has_sentiment,
        head=head or make_head(labels, examples, has_sentiment=has_sentiment),
    )


def publish(
    db: Database,
    owner: str,
    *,
    head: bytes,
    pinned: bool = False,
    labels: Sequence[str] = LABELS,
    reviewed_counts: Mapping[str, int] = {},
    has_sentiment: bool = False,
) -> int:
    """Publish a new version of the dataset with this id; return its number."""
    with db.write() as tx:
        dataset = datasets.get(tx, owner)
        newest = models.find_newest(tx, owner)
        version = 1 if newest is None else newest.version + 1
        values = NewModel(
            dataset_id=owner,
            trained_us=now_us(),
            duration_s=1.5,
            input_us=now_us(),
            input_revision=version,
            fingerprint="f00d",
            space=None,
            has_sentiment=has_sentiment,
            labels=tuple(labels),
            definitions=Definitions(tuple(dataset.label_groups), tuple(dataset.entity_defs)),
            reviewed_counts=dict(reviewed_counts),
        )
        key = models.insert(tx, values, version=version, head=head)
        models.update(tx, key, pinned=pinned)
    return version


def find_model(client: Client, version: int, full_name: str = DATASET) -> Model:
    """Return a version as it is stored."""
    owner = dataset_id(client, full_name)
    with database(client).read() as tx:
        return models.get(tx, owner, version)


def delete_model(client: Client, version: int, full_name: str = DATASET) -> None:
    """Delete the files of a version, as a learner does with old ones."""
    key = find_model(client, version, full_name).key
    with database(client).write() as tx:
        models.delete_files(tx, key)


def set_scores(
    client: Client,
    version: int,
    scores: Mapping[str, Sequence[float]],
    sentiments: Mapping[str, Sequence[float]] | None = None,
    full_name: str = DATASET,
) -> None:
    """Make a version's kept predictions of comments, by uid, say what a test wants."""
    model = find_model(client, version, full_name)
    with database(client).read() as tx:
        places = _positions(client, tx, model, scores)
    rows = []
    for uid, values in scores.items():
        mood = None if sentiments is None else np.array([sentiments[uid]], np.float32)
        (packed,) = pack(np.array([values], np.float32), mood)
        rows.append((places[uid], packed))
    with database(client).write() as tx:
        derived.PREDICTIONS.write(tx, model.key, rows)


def reach_all(client: Client, version: int, uid: str, full_name: str = DATASET) -> None:
    """Note that the comments of a source are predicted up to and including this one."""
    model = find_model(client, version, full_name)
    with database(client).write() as tx:
        (position,) = _positions(client, tx, model, [uid]).values()
        key = dict(_source_keys(tx, model.dataset_id))[uid.partition(".")[0]]
        derived.PREDICTIONS.reach(tx, model.key, key, position)


def set_thresholds(
    client: Client, version: int, thresholds: Mapping[str, Thresholds], full_name: str = DATASET
) -> None:
    """Give labels of a version automatic thresholds, as a validation does."""
    save_validation(client, version, full_name=full_name, thresholds=thresholds)


def save_validation(
    client: Client,
    version: int,
    data: ValidationData | None = None,
    *,
    full_name: str = DATASET,
    thresholds: Mapping[str, Thresholds] | None = None,
    action_uids: Sequence[str] | None = None,
) -> None:
    """Store the validation of a version; made of `data`, but for what else is given."""
    model = find_model(client, version, full_name)
    validate_model(database(client), model, data, thresholds=thresholds, action_uids=action_uids)


def validate_model(
    db: Database,
    model: Model,
    data: ValidationData | None = None,
    *,
    thresholds: Mapping[str, Thresholds] | None = None,
    action_uids: Sequence[str] | None = None,
) -> None:
    """Store the validation of a version; see `save_validation`."""
    if data is None:
        data = make_data(labels=model.labels)
    facts = replace(FACTS, dataset_id=model.dataset_id, version=model.version)
    found = validate(replace(data, facts=facts))
    encode = msgspec.json.encode
    given = thresholds
    if given is None:
        given = {
            name: Thresholds(one.high_precision, one.balanced, one.high_recall)
            for name, one in found.thresholds.items()
            if one is not None
        }
    with db.write() as tx:
        models.save_validation(
            tx,
            model.key,
            Validated(
                validation=encode(found.summary),
                statistics=encode(found.statistics),
                details=encode(found.details),
                thresholds=dict(given),
                labels={name: encode(one) for name, one in found.labels.items()},
                actions=tuple(
                    TrainingAction(
                        one.action.id,
                        rank,
                        choice,
                        encode(one.action),
                        one.comment_uids if action_uids is None else tuple(action_uids),
                    )
                    for rank, entry in enumerate(found.plan)
                    for choice, one in enumerate(entry)
                ),
            ),
        )


def _positions(client: Client, tx: Reader, model: Model, uids: Any) -> dict[str, int]:
    keys = dict(_source_keys(tx, model.dataset_id))
    salt = client.app.service.catalogue.salt()
    return {u: p.pos for u, p in find_places(tx, uids, source_keys=keys, salt=salt).items()}


def _source_keys(tx: Reader, dataset: str) -> list[tuple[str, int]]:
    return [(source_id, key) for key, source_id in learning.sources_of(tx, dataset)]
