"""Paths of sinks, kept below the one folder that the operator gave for them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lodestream.domain.errors import Unprocessable
from lodestream.domain.sinks import check_path

SETTING: Final = "LODESTREAM_SINK_FOLDER"


def below(root: Path | None, path: str) -> Path:
    """Return a path below the folder. Raises Unprocessable if there is none, or it leads out."""
    if root is None:
        raise Unprocessable(
            f"this server writes no files for sinks: the operator allows a folder with {SETTING}"
        )
    check_path(path)
    found = (root / path).resolve()
    if not found.is_relative_to(root.resolve()):
        raise Unprocessable(f"{path[:200]!r} leads out of the sink folder")
    return found
