"""The sample e-mails of other projects, and builders of small ones."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "data" / "emails"


def sample(name: str) -> bytes:
    """Return the bytes of a sample, by its path below the folder of samples."""
    return (FOLDER / name).read_bytes()


def samples(pattern: str) -> list[str]:
    """Return the names of samples, in order."""
    return sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob(pattern))


def mime(*lines: str, charset: str = "utf-8") -> bytes:
    """Return lines as a message."""
    return "\r\n".join(lines).encode(charset)
