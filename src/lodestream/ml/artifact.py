"""A trained model as one file: arrays and a manifest, without code.

The format is safetensors: a header of JSON, then the arrays. Reading it runs nothing, and the same
manifest and arrays always give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

_MANIFEST = "manifest"


class NotAnArtifact(ValueError):
    """These bytes are no model file, or a damaged one."""


def dump(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Put a manifest and named arrays into the bytes of one file.

    The manifest must be JSON: no NaN, keys are text. Neither the order of its keys nor that of the
    arrays changes the bytes.

    Raises ValueError if the manifest holds NaN or infinity.
    """
    text = json.dumps(manifest, sort_keys=True, ensure_ascii=False, allow_nan=False)
    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    return save_arrays(ordered, metadata={_MANIFEST: text})


def load(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Take the manifest and the arrays out of the bytes of a file.

    Raises NotAnArtifact if they are not what `dump` made.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        manifest = json.loads(header["__metadata__"][_MANIFEST])
        return dict(manifest), load_arrays(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as fault:
        raise NotAnArtifact(f"not a model file, or a damaged one: {fault}") from fault
