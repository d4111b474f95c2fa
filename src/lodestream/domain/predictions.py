"""What of a model's predictions is shown."""

from __future__ import annotations

import msgspec

from lodestream.domain.streams import StreamModel


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
