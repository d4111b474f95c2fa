"""Uploaded files, by the SHA-256 of their content, in one folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 20


class BlobStore:
    """Files under `root/ab/abcdef…`. A file is complete and on disk before it has its name."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, chunks: Iterator[bytes]) -> tuple[str, int]:
        """Store content; return its SHA-256 in hex and its size in bytes."""
        self._root.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        handle, name = tempfile.mkstemp(dir=self._root, prefix="incoming-")
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            content_hash = digest.hexdigest()
            target = self.path(content_hash)
            target.parent.mkdir(exist_ok=True)
            Path(name).replace(target)
            _sync_folder(target.parent)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return content_hash, size

    def path(self, content_hash: str) -> Path:
        """Return where the content with this SHA-256 lies, if it is there."""
        return self._root / content_hash[:2] / content_hash

    def read(self, content_hash: str) -> bytes | None:
        """Return content, or None if it is not there."""
        try:
            return self.path(content_hash).read_bytes()
        except FileNotFoundError:
            return None

    def read_part(self, content_hash: str, start: int, size_bytes: int) -> bytes | None:
        """Return `size_bytes` of content from `start` on, or None if it is not there."""
        try:
            with self.path(content_hash).open("rb") as file:
                file.seek(start)
                return file.read(size_bytes)
        except FileNotFoundError:
            return None

    def delete(self, content_hash: str) -> None:
        """Remove content; nothing happens if it is not there."""
        self.path(content_hash).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
