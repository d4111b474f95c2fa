"""What of a model's predictions is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from lodestream.domain.models import Thresholds
from lodestream.domain.streams import StreamModel

DEFAULT_THRESHOLD: Final = 0.25
"""Labels of at least this probability are shown to a caller who says nothing of thresholds."""


def thresholds_key(model: StreamModel) -> str:
    """Return a stream's thresholds as text: the same for streams that show the same.

    The text is a JSON array of [full label name, threshold], or `null` when every label is shown.
    """
    if not model.label_thresholds:
        return "null"
    least: dict[str, float] = {}
    for one in model.label_thresholds:
        name = " > ".join(one.name)
        least[name] = min(one.threshold, least.get(name, 1.0))
    return msgspec.json.encode(sorted(least.items())).decode()


def thresholds_of(key: str) -> dict[str, float] | None:
    """Return the thresholds that `thresholds_key` wrote; None: every label is shown."""
    found = msgspec.json.decode(key, type=list[tuple[str, float]] | None)
    return None if found is None else dict(found)


def least_probabilities(
    labels: Iterable[str],
    threshold: float | Literal["auto"] | None,
    wanted: Sequence[tuple[str, float | None]],
    automatic: Mapping[str, Thresholds],
) -> dict[str, float]:
    """Return the least probability at which each label is shown; labels left out are not shown.

    `threshold` is what a caller asks for in general, None: nothing. `wanted` are the labels that it
    names, each with a threshold of its own or None; if it names any, only those are shown. With
    "auto", a label is shown that reaches one of its automatic thresholds, `automatic`.
    (Contract: models-predictions, section 4.)
    """
    usual = DEFAULT_THRESHOLD if threshold is None else threshold
    least: dict[str, float] = {}
    for name, own in wanted or [(name, None) for name in labels]:
        if own is None:
            own = _lowest(automatic.get(name)) if usual == "auto" else usual
        if own is not None:
            least[name] = min(own, least.get(name, own))
    return least


def _lowest(thresholds: Thresholds | None) -> float | None:
    return None if thresholds is None else thresholds.high_recall


_HEAD: Final = b',"labels":'
_TAIL: Final = b',"entities":[]},'


def suffix_of(labels: bytes) -> bytes:
    """Return what follows the front of a comment in a fetched batch, up to the next front.

    `labels` is a JSON array of predicted labels. The comma at the end is one too many after the
    last comment of a batch.
    """
    return b"%s%s%s" % (_HEAD, labels, _TAIL)


def labels_in(suffix: bytes) -> bytes:
    """Return the JSON array of predicted labels that `suffix_of` put into a suffix."""
    return suffix[len(_HEAD) : -len(_TAIL)]
