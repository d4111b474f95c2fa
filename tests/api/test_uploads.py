"""Files in and out, piece by piece: what they take in memory, and what is left of them on disk."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.api.test_attachments import (
    FORM,
    RAW,
    attached,
    form,
    make_comment,
    make_source,
    read,
    slot_path,
    sync,
)
from tests.client import Client

MIB = 1 << 20
SIZE = 16 * MIB
MOST = 5 * MIB


def pieces(size: int) -> Iterator[bytes]:
    """Yield content of which no two pieces are the same."""
    for number in range(size // 65_536):
        yield number.to_bytes(4, "big") * 16_384


class Streamed:
    """One request whose body and answer are never held whole."""

    def __init__(self, client: Client, method: str, path: str, headers: dict[str, str]) -> None:
        sent = {"authorization": f"Bearer {client.token}", **headers}
        self._client = client
        self._scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "client": None,
        }
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.size = 0
        self.digest = sha256()
        self.content = b""
        self.peak = 0

    def run(self, body: Iterator[bytes] | None = None) -> Streamed:
        parts = body or iter(())
        is_read = False

        async def receive() -> Any:
            nonlocal is_read
            if is_read:
                await asyncio.Event().wait()  # the client stays
            part = next(parts, b"")
            is_read = not part
            return {"type": "http.request", "body": part, "more_body": bool(part)}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.status, self.headers = message["status"], dict(message["headers"])
                return
            part = message.get("body", b"")
            self.size += len(part)
            self.digest.update(part)
            self.content = part if self.size < 1000 else b""

        tracemalloc.start()
        try:
            self._client.loop.run(self._client.app(self._scope, receive, send))
            self.peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        return self


@pytest.mark.parametrize("as_form", [True, False])
def test_a_large_file_goes_in_and_out_in_little_memory(
    client: Client, tmp_path: Path, as_form: bool
) -> None:
    source_id = make_source(client)
    expected = sha256(b"".join(pieces(SIZE))).hexdigest()
    head, tail = form(b"").split(b"\r\n\r\n")

    def body() -> Iterator[bytes]:
        if as_form:
            yield head + b"\r\n\r\n"
        yield from pieces(SIZE)
        if as_form:
            yield tail

    up = Streamed(client, "PUT", slot_path(source_id), FORM if as_form else RAW).run(body())
    assert up.status == 200, up.content
    assert expected.encode() in up.content
    assert up.peak < MOST
    assert sorted(one.name for one in (tmp_path / "files").iterdir()) == [expected[:2]]
    sync(client, make_comment(attachments=[attached(b"", content_hash=expected)]))
    path = "/api/v1/attachments/" + read(client)["attachments"][0]["attachment_reference"]
    down = Streamed(client, "GET", path, {}).run()
    assert (down.size, down.digest.hexdigest()) == (SIZE, expected)
    assert down.headers[b"content-length"] == str(SIZE).encode()
    assert down.peak < MOST
    head_only = Streamed(client, "HEAD", path, {}).run()
    assert head_only.headers[b"content-length"] == str(SIZE).encode()
    assert head_only.size == 0


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_compressed_form_is_unpacked_on_its_way(client: Client, pack: Any) -> None:
    source_id = make_source(client)
    content = b"".join(pieces(SIZE))
    packed = pack(form(content))
    encoding = "zstd" if pack is zstandard.compress else "gzip"
    parts = (packed[at : at + 65_536] for at in range(0, len(packed), 65_536))
    headers = FORM | {"content-encoding": encoding}
    del content
    up = Streamed(client, "PUT", slot_path(source_id), headers).run(parts)
    assert up.status == 200, up.content
    assert up.peak < MOST + (8 * MIB if encoding == "zstd" else 0)  # the window of the encoding


def test_a_broken_upload_leaves_nothing_behind(client: Client, tmp_path: Path) -> None:
    source_id = make_source(client)
    whole = form(b"".join(pieces(2 * MIB)))
    answer = client.put(slot_path(source_id), whole[:-20], headers=FORM)
    assert answer.status == 400
    assert not (tmp_path / "files").exists()
    packed = client.put(
        slot_path(source_id),
        gzip.compress(whole)[:-20],
        headers=FORM | {"content-encoding": "gzip"},
    )
    assert packed.status == 400
    assert {one.name.partition(".")[0] for one in tmp_path.iterdir()} <= {"lodestream", "encoders"}


def test_who_may_not_upload_is_told_so_before_what_is_wrong_with_the_form(client: Client) -> None:
    assert client.put(slot_path("0" * 16), b"no form", headers=FORM).status == 404


def test_of_a_form_the_file_alone_is_kept(client: Client) -> None:
    content = b"a\r\n--frontie\r\n--" * 50_000
    other = b'--frontier\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    whole = other + form(content)[: -len(b"--frontier--\r\n")] + form(b"second")
    answer = client.put(slot_path(make_source(client)), whole, headers=FORM)
    assert answer.json["content_hash"] == sha256(content).hexdigest()


def test_a_form_that_goes_away_is_closed(client: Client, tmp_path: Path) -> None:
    source_id = make_source(client)

    async def ask() -> list[Any]:
        messages = [
            {"type": "http.request", "body": b"x" * 3 * MIB, "more_body": True},
            {"type": "http.disconnect"},
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.sleep(0)
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "PUT",
            "path": slot_path(source_id),
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {client.token}".encode())],
            "client": None,
        }
        await client.app(scope, receive, send)
        return sent

    assert client.loop.run(ask())[0]["status"] == 400
    assert not (tmp_path / "files").exists()
