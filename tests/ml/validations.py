"""Builders of what a validation is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from lodestream.domain.validation import OptimalThresholds
from lodestream.ml.health import Evidence
from lodestream.ml.metrics import Curve, find_curve
from lodestream.ml.split import split_comments
from lodestream.ml.validation_data import Facts, Reviewed, Unreviewed, ValidationData

WORDS = ("invoice", "refund", "late", "parcel", "thanks", "broken", "price", "return")

FACTS = Facts(
    dataset_id="0123456789abcdef",
    version=3,
    fingerprint="f00d",
    model_kind="default",
    training_time_s=1.5,
    input_updated_at="2024-02-01T11:59:00.000000Z",
    trained_time="2024-02-01T12:00:00.000000Z",
)


def make_vectors(count: int, dim: int, random: np.random.Generator) -> NDArray[np.float32]:
    vectors = random.normal(size=(count, dim))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def make_scores(
    assigned: NDArray[np.bool_], random: np.random.Generator, *, skill: float = 4.0
) -> NDArray[np.float32]:
    """Probabilities of a model that knows the truth, with noise."""
    logit = skill * (assigned - 0.5) + random.normal(size=assigned.shape)
    return np.asarray(1 / (1 + np.exp(-logit)), np.float32)


def make_texts(count: int, random: np.random.Generator, *, start: int = 0) -> list[str]:
    return [f"case {start + at}: " + " ".join(random.choice(WORDS, 6)) for at in range(count)]


def make_data(
    *,
    labels: Sequence[str] = ("A", "B", "C"),
    reviewed: int = 400,
    unreviewed: int = 300,
    share: float = 0.3,
    skill: float = 4.0,
    dim: int | None = 16,
    origins: Sequence[str | None] = ("shuffle",),
    seed: int = 0,
    assigned: NDArray[np.bool_] | None = None,
    texts: Sequence[str] | None = None,
    **changes: Any,
) -> ValidationData:
    """Return a dataset with random reviews, and a model of the given skill."""
    random = np.random.default_rng(seed)
    names, columns = tuple(labels), len(labels)
    truth = random.random((reviewed, columns)) < share if assigned is None else assigned
    new = random.random((unreviewed, columns)) < share
    uids = [f"source.{number}" for number in range(reviewed)]
    some_texts = make_texts(reviewed, random) if texts is None else texts
    split = split_comments(uids, some_texts)
    unseen = make_scores(new, random, skill=skill)
    found = ValidationData(
        labels=names,
        reviewed=Reviewed(
            uids=uids,
            texts=some_texts,
            targets=truth.astype(np.int8),
            known=np.ones_like(truth),
            complete=np.ones(reviewed, np.bool_),
            origin=[origins[row % len(origins)] for row in range(reviewed)],
            left_out=make_scores(truth, random, skill=skill),
            vectors=None if dim is None else make_vectors(reviewed, dim, random),
        ),
        split=split,
        test_probability=make_scores(truth[split.test], random, skill=skill),
        everything=np.concatenate([unseen, make_scores(truth, random, skill=skill)]),
        unreviewed=Unreviewed(
            uids=[f"new.{number}" for number in range(unreviewed)],
            texts=make_texts(unreviewed, random, start=reviewed),
            probability=unseen,
            size=unreviewed,
            vectors=None if dim is None else make_vectors(unreviewed, dim, random),
        ),
        size=reviewed + unreviewed,
        facts=FACTS,
    )
    return replace(found, **changes)


def make_evidence(labels: Sequence[str] = ("A", "B", "C"), **changes: Any) -> Evidence:
    """Return evidence of labels that are all well: 40 training examples, precision 0.95."""
    count = len(labels)

    def each(value: float) -> NDArray[Any]:
        return np.full(count, value)

    values: dict[str, Any] = {
        "labels": tuple(labels),
        "train": np.full(count, 40),
        "test": np.full(count, 10),
        "reviewed": np.full(count, 50),
        "curves": [make_curve()] * count,
        "thresholds": [OptimalThresholds(0.8, 0.5, 0.2)] * count,
        "precision": each(0.95),
        "left_out_precision": each(0.9),
        "recall": each(0.9),
        "searched": each(0.0),
        "doubted": np.zeros(count, np.int64),
        "expected": np.zeros(count, np.int64),
        "likely": each(100.0),
        "confident": each(100.0),
        "volume": each(100.0),
        "confusion": csr_array((count, count)),
        "confused": csr_array((count, count)),
        "cooccurrence": csr_array((count, count)),
    }
    return Evidence(**(values | changes))


def make_curve() -> Curve:
    found = find_curve(np.array([True, False]), np.array([0.9, 0.1], np.float32))
    assert found is not None
    return found


def matrix(count: int, cells: Mapping[tuple[int, int], float]) -> csr_array:
    """Return a sparse matrix with the given cells."""
    dense = np.zeros((count, count))
    for cell, value in cells.items():
        dense[cell] = value
    return csr_array(dense)
