"""Recordings: telling their format by their first bytes. Nothing is decoded or converted."""

from __future__ import annotations

from typing import Final

_STARTS: Final = (
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"#!AMR", "audio/amr"),
    (b".snd", "audio/basic"),
    (b"caff", "audio/x-caf"),
    (b"\x1aE\xdf\xa3", "audio/webm"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "audio/x-ms-wma"),
)


def audio_type(content: bytes) -> str | None:
    """Return the media type of a recording, or None if it is in no format known for audio."""
    for start, kind in _STARTS:
        if content.startswith(start):
            return kind
    if content[8:12] == b"WAVE" and content[:4] in (b"RIFF", b"RF64"):
        return "audio/x-wav"
    if content[:4] == b"FORM" and content[8:12] in (b"AIFF", b"AIFC"):
        return "audio/aiff"
    if content[4:8] == b"ftyp":
        return "audio/mp4"
    if len(content) > 1 and content[0] == 0xFF and content[1] & 0xE0 == 0xE0:
        # An MPEG frame begins with eleven set bits; layer 0 is that of AAC in ADTS.
        return "audio/mpeg" if content[1] & 0x06 else "audio/aac"
    return None
