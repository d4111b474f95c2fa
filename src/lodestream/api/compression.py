"""Content encodings: replies by `Accept-Encoding`, request bodies within a bound."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from gzip import BadGzipFile, GzipFile
from typing import Any, BinaryIO, Final

import zstandard
from isal import igzip, isal_zlib

from lodestream.domain.errors import InvalidInput, TooLarge

SMALLEST_BYTES: Final = 2048
_CHUNK: Final = 1 << 16
_WINDOW: Final = 1 << 14
_MOST_MEMBERS: Final = 10_000


def encode_body(body: bytes, accept_encoding: bytes) -> tuple[bytes, bytes | None]:
    """Compress a reply if it is worth it and the client asks; return it with its encoding."""
    if len(body) < SMALLEST_BYTES or not accept_encoding or accept_encoding == b"identity":
        return body, None
    accepted = _accepted(accept_encoding)
    if b"zstd" in accepted:
        return zstandard.ZstdCompressor(level=1).compress(body), b"zstd"
    if b"gzip" in accepted or b"*" in accepted:
        return igzip.compress(body, compresslevel=1, mtime=0), b"gzip"
    return body, None


def encode_parts(
    parts: Iterator[bytes], accept_encoding: bytes
) -> tuple[Iterator[bytes], bytes | None]:
    """Compress a body that comes in parts if the client asks; return it with its encoding."""
    accepted = _accepted(accept_encoding)
    if b"zstd" in accepted:
        return _encoded(parts, zstandard.ZstdCompressor(level=1).compressobj()), b"zstd"
    if b"gzip" in accepted or b"*" in accepted:
        return _encoded(parts, isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)), b"gzip"
    return parts, None


def _encoded(parts: Iterator[bytes], machine: Any) -> Iterator[bytes]:
    for part in parts:
        if packed := machine.compress(part):
            yield packed
    yield machine.flush()


def _accepted(header: bytes) -> frozenset[bytes]:
    names = set()
    for item in header.lower().split(b","):
        name, _, parameter = item.partition(b";")
        if parameter.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"):
            names.add(name.strip())
    return frozenset(names)


def decode_body(body: bytes, content_encoding: bytes, *, limit: int) -> bytes:
    """Decompress a request body, never producing more than `limit` bytes.

    Raises TooLarge beyond that, InvalidInput for broken data or an unknown encoding.
    """
    encoding = content_encoding.strip().lower()
    if encoding in (b"", b"identity"):
        return body
    try:
        if encoding in (b"gzip", b"x-gzip"):
            return _inflate(body, 31, limit)
        if encoding == b"deflate":
            return _inflate(body, 15, limit)
        if encoding == b"zstd":
            return _unzstd(body, limit)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise InvalidInput(f"the body is not valid {encoding.decode()}: {error}") from None
    raise InvalidInput(f"unknown content encoding {encoding[:32].decode('latin-1')!r}")


def decode_file(body: BinaryIO, content_encoding: bytes, target: BinaryIO, limit: int) -> None:
    """Decompress a body that lies in a file into another, as `decode_body` does one in memory.

    The target is left at its beginning. Raises TooLarge, InvalidInput.
    """
    encoding = content_encoding.strip().lower()
    try:
        size = 0
        for chunk in _chunks_of(body, encoding):
            size += len(chunk)
            _check_size(size, limit)
            target.write(chunk)
    except (zlib.error, zstandard.ZstdError, EOFError, BadGzipFile) as error:
        raise InvalidInput(f"the body is not valid {encoding.decode()}: {error}") from None
    target.seek(0)


def _chunks_of(body: BinaryIO, encoding: bytes) -> Iterator[bytes]:
    if encoding in (b"gzip", b"x-gzip"):
        with GzipFile(fileobj=body, mode="rb") as unpacked:
            while chunk := unpacked.read(_CHUNK):
                yield chunk
    elif encoding == b"deflate":
        machine = zlib.decompressobj(15)
        while chunk := body.read(_WINDOW):
            yield machine.decompress(chunk)
        if not machine.eof:
            raise EOFError("it ends too early")
    elif encoding == b"zstd":
        zstd = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        with zstd.stream_reader(body, read_across_frames=True, closefd=False) as reader:
            while chunk := reader.read(_CHUNK):
                yield chunk
    else:
        raise InvalidInput(f"unknown content encoding {encoding[:32].decode('latin-1')!r}")


def _inflate(body: bytes, window_bits: int, limit: int) -> bytes:
    parts: list[bytes] = []
    size = at = members = 0
    machine: Any = None
    # What follows a member is copied when it ends: by windows, or many small ones would cost much.
    while at < len(body) or machine is not None:
        if machine is None:
            machine = zlib.decompressobj(window_bits)
            members += 1
            if members > _MOST_MEMBERS:
                raise EOFError("it has too many parts")
        window = body[at : at + _WINDOW]
        if not window:
            raise EOFError("it ends too early")
        part = machine.decompress(window, limit + 1 - size)
        size += len(part)
        _check_size(size, limit)
        parts.append(part)
        at += len(window) - len(machine.unused_data)
        if machine.eof:
            machine = None
    if not members:
        raise EOFError("it is empty")
    return b"".join(parts)


def _unzstd(body: bytes, limit: int) -> bytes:
    parts, size = [], 0
    # A bounded window keeps the memory of a hostile frame bounded too.
    machine = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    with machine.stream_reader(body, read_across_frames=True) as reader:
        while chunk := reader.read(_CHUNK):
            size += len(chunk)
            _check_size(size, limit)
            parts.append(chunk)
    return b"".join(parts)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"the decompressed body is larger than {limit} bytes")
