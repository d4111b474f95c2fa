"""Uploaded files, by the SHA-256 of their content, in one folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_CHUNK = 1 << 18


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

    def read_part(self, content_hash: str, start: int, size_bytes: int) -> Iterator[bytes] | None:
        """Return pieces of `size_bytes` of content from `start` on, or None if it is not there.

        Content that is removed meanwhile is read to its end all the same.
        """
        try:
            file = self.path(content_hash).open("rb")
        except FileNotFoundError:
            return None
        return _Pieces(file, start, size_bytes)

    def delete(self, content_hash: str) -> None:
        """Remove content; nothing happens if it is not there."""
        self.path(content_hash).unlink(missing_ok=True)


class _Pieces(Iterator[bytes]):
    """A part of a file, which is closed at its end or when nobody wants more of it."""

    def __init__(self, file: IO[bytes], start: int, size_bytes: int) -> None:
        self._file = file
        self._left = size_bytes
        file.seek(start)

    def __next__(self) -> bytes:
        piece = self._file.read(min(_CHUNK, self._left)) if self._left > 0 else b""
        self._left -= len(piece)
        if not piece:
            self.close()
            raise StopIteration
        return piece

    def close(self) -> None:
        """Let go of the file."""
        self._left = 0
        self._file.close()

    def __del__(self) -> None:
        self._file.close()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
