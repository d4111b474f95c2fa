"""What a training reads, and what it makes of it."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from lodestream.domain.comments import comment_of, uid_of
from lodestream.domain.labels import decode_label, parents_of
from lodestream.domain.models import Definitions, NewModel
from lodestream.domain.times import now_us
from lodestream.store import comments, datasets, learning
from lodestream.store.annotations import Reviewed, label_keys, reviewed_for_training
from lodestream.store.db import Reader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lodestream.ml.encoders import Encoder
    from lodestream.ml.head import Head, TrainingSet

NEW_LABEL_GRACE_US: Final = 24 * 3600 * 1_000_000
"""A label that is made later than this after a review says nothing about the reviewed comment.

Labels that are made during the same labelling session are negatives where they are absent.
"""

_LIBRARIES: Final = ("lodestream", "numpy", "onnxruntime", "scipy", "tokenizers")
_READ_AT_ONCE: Final = 1024


@dataclass(frozen=True)
class Material:
    """Everything that a training reads, as of one moment.

    `positions`, `uids`, `texts` and `reviews` belong together; comments that say nothing about any
    label are left out. `created_us` is when each label came to be.
    """

    dataset_id: str
    family: str
    has_sentiment: bool
    revision: int
    changed_us: int
    labels: tuple[str, ...]
    label_texts: tuple[str, ...]
    created_us: tuple[int, ...]
    definitions: Definitions
    names: Mapping[int, str]
    positions: tuple[int, ...]
    uids: tuple[str, ...]
    texts: tuple[str, ...]
    reviews: tuple[Reviewed, ...]


def gather(tx: Reader, dataset_id: str) -> Material | None:
    """Read what there is to learn from; None if the dataset is gone or has no label."""
    dataset = datasets.find_by_id(tx, dataset_id)
    state = learning.find(tx, dataset_id)
    keys = [one for one in label_keys(tx, dataset_id) if _trainable(one[3])]
    if dataset is None or state is None or not keys:
        return None
    created, texts = _labels([(name, created_us, body) for _, name, created_us, body in keys])
    names = {key: name for key, name, _, _ in keys}
    sources = dict(learning.sources_of(tx, dataset_id))
    reviews = [
        one
        for one in reviewed_for_training(tx, dataset_id)
        if one.source in sources and (one.marks or one.uninformative_explicit)
    ]
    fronts: dict[int, tuple[str, str]] = {}
    for start in range(0, len(reviews), _READ_AT_ONCE):
        chunk = [one.pos for one in reviews[start : start + _READ_AT_ONCE]]
        fronts.update(_read(tx, chunk))
    reviews = [one for one in reviews if one.pos in fronts]
    return Material(
        dataset_id=dataset_id,
        family=dataset.model_family,
        has_sentiment=dataset.has_sentiment,
        revision=state.revision,
        changed_us=state.changed_us,
        labels=tuple(created),
        label_texts=tuple(texts[name] for name in created),
        created_us=tuple(created.values()),
        definitions=Definitions(tuple(dataset.label_groups), tuple(dataset.entity_defs)),
        names=names,
        positions=tuple(one.pos for one in reviews),
        uids=tuple(fronts[one.pos][0] for one in reviews),
        texts=tuple(fronts[one.pos][1] for one in reviews),
        reviews=tuple(reviews),
    )


def _read(tx: Reader, positions: Sequence[int]) -> dict[int, tuple[str, str]]:
    from lodestream.ml.text import model_input  # here, as all of `ml`: see `actions.predict`

    fronts = comments.read_fronts(tx, positions)
    return {pos: (uid_of(one), model_input(comment_of(one))) for pos, one in fronts.items()}


def _trainable(body: str) -> bool:
    return decode_label(body).trainable is not False


def _labels(
    found: Sequence[tuple[str, int, str]],
) -> tuple[dict[str, int], dict[str, str]]:
    """Return when each label came to be, sorted by name, and the text that describes each.

    A parent that has no definition of its own is as old as its oldest child.
    """
    created: dict[str, int] = {}
    texts: dict[str, str] = {}
    for name, created_us, body in found:
        instructions = decode_label(body).instructions or ""
        texts[name] = f"{name.replace(' > ', ', ')}. {instructions}".strip()
        for one in (name, *parents_of(name)):
            created[one] = min(created_us, created.get(one, created_us))
            texts.setdefault(one, one.replace(" > ", ", ") + ".")
    return dict(sorted(created.items())), texts


def training_set(
    material: Material,
    encoder: Encoder | None,
    vectors: NDArray[np.float32] | None,
    rows: Sequence[int] | None = None,
) -> TrainingSet:
    """Return the material as arrays, or only these of its rows.

    `vectors` are those of the encoder for every row of the material, shape (n, dim).
    """
    from lodestream.ml.head import TrainingSet

    targets, known, _ = targets_of(material)
    label_vectors = None if encoder is None else encoder.encode(material.label_texts)
    chosen = list(range(len(material.texts))) if rows is None else list(rows)
    return TrainingSet(
        texts=[material.texts[row] for row in chosen],
        vectors=None if vectors is None else vectors[chosen],
        labels=material.labels,
        targets=targets[chosen],
        known=known[chosen],
        has_sentiment=material.has_sentiment,
        label_texts=material.label_texts,
        label_vectors=label_vectors,
    )


def targets_of(
    material: Material,
) -> tuple[NDArray[np.int8], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (targets, known, complete) of the reviewed comments.

    `targets` is 1 where a label or one below it is assigned (-1 with negative sentiment), else 0;
    `known` tells which of them count, both of shape (n, n_labels); `complete`, of shape (n,), tells
    which comments say something about every label.
    """
    import numpy as np

    shape = (len(material.reviews), len(material.labels))
    targets = np.zeros(shape, np.int8)
    known = np.zeros(shape, np.bool_)
    complete = np.zeros(shape[0], np.bool_)
    column = {name: index for index, name in enumerate(material.labels)}
    created = np.asarray(material.created_us, np.int64)
    for row, review in enumerate(material.reviews):
        marks = [one for one in review.marks if one[0] in material.names]
        complete[row] = review.uninformative_explicit or any(not one[1] for one in marks)
        if complete[row]:
            known[row] = created <= (review.labelled_us or 0) + NEW_LABEL_GRACE_US
        for label, dismissed, negative in marks:
            name = material.names[label]
            if dismissed:
                known[row, column[name]] = True
                continue
            for level in (name, *parents_of(name)):
                at = row, column[level]
                known[at] = True
                # A parent is positive as soon as one of its assigned children is.
                targets[at] = -1 if negative and targets[at] != 1 else 1
    return targets, known, complete


def version_of(
    material: Material, head: Head, space: str | None, *, duration_s: float
) -> tuple[NewModel, bytes, bytes]:
    """Return what a training publishes: the version, its file, and its left-out scores."""
    from lodestream.ml.artifact import dump

    targets, _, _ = targets_of(material)
    counts = (targets != 0).sum(axis=0)
    fingerprint = fingerprint_of(material, space)
    manifest, arrays = head.to_arrays()
    manifest["made_from"] = {
        "fingerprint": fingerprint,
        "model_family": material.family,
        "space": space,
        "reviewed": len(material.positions),
        "revision": material.revision,
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
    values = NewModel(
        dataset_id=material.dataset_id,
        trained_us=now_us(),
        duration_s=duration_s,
        input_us=material.changed_us,
        input_revision=material.revision,
        fingerprint=fingerprint,
        space=space,
        has_sentiment=material.has_sentiment,
        labels=material.labels,
        definitions=material.definitions,
        reviewed_counts={
            name: int(number) for name, number in zip(material.labels, counts, strict=True)
        },
    )
    return values, dump(manifest, arrays), left_out_file(material.positions, head)


def left_out_file(positions: Sequence[int], head: Head) -> bytes:
    """Return the left-out scores of the training rows as a file, to find doubtful annotations."""
    import numpy as np

    from lodestream.ml.artifact import dump

    return dump(
        {"what": "left-out probabilities of the reviewed comments"},
        {
            "positions": np.asarray(positions, np.int64),
            "left_out": np.asarray(head.left_out, np.float16),
        },
    )


def fingerprint_of(material: Material, space: str | None) -> str:
    """Return a hash of everything that determines the model."""
    parts: list[Any] = [
        material.family,
        space,
        material.has_sentiment,
        material.labels,
        material.label_texts,
        sorted(
            (uid, _digest(text), _marks(one, material))
            for uid, text, one in zip(material.uids, material.texts, material.reviews, strict=True)
        ),
    ]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _marks(review: Reviewed, material: Material) -> list[Any]:
    marks = [
        (material.names[label], dismissed, negative)
        for label, dismissed, negative in review.marks
        if label in material.names
    ]
    return [review.uninformative_explicit, sorted(marks)]
