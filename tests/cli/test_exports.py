"""`lodestream export` against a server in a process of its own."""

from __future__ import annotations

import asyncio
import csv
import http.server
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
from python_calamine import CalamineWorkbook

from lodestream.cli.exports import _csv_rows
from lodestream.client import AsyncClient, BadRequest, Client, Unreachable
from tests.cli.conftest import Demo, objects


@pytest.fixture
def dataset(demo: Demo) -> tuple[str, str]:
    (one,) = objects(demo.ok("dataset", "list", "--json"))[:1]
    return "--dataset", f"{one['owner']}/{one['name']}"


def csv_ids(content: str | bytes) -> list[str]:
    text = content.decode() if isinstance(content, bytes) else content
    return [row["id"] for row in csv.DictReader(io.StringIO(text, newline=""))]


def test_every_format_holds_every_comment(
    demo: Demo, dataset: tuple[str, str], tmp_path: Path
) -> None:
    found: dict[str, list[str]] = {}
    for kind in ("csv", "jsonl", "parquet", "xlsx"):
        file = tmp_path / f"out.{kind}"
        (told,) = objects(demo.ok("export", *dataset, str(file), "--json"))
        content = file.read_bytes()
        assert (told["format"], told["bytes"], told["file"]) == (kind, len(content), str(file))
        if kind == "csv":
            found[kind] = csv_ids(content)
        elif kind == "jsonl":
            found[kind] = [json.loads(line)["comment"]["id"] for line in content.splitlines()]
        elif kind == "parquet":
            found[kind] = parquet.read_table(file)["id"].to_pylist()
        else:
            sheet = CalamineWorkbook.from_path(str(file)).get_sheet_by_index(0).to_python()
            found[kind] = [str(row[0]) for row in sheet[1:]]
        assert told["comments"] == len(found[kind]) > 0
    assert len({tuple(ids) for ids in found.values()}) == 1
    assert [one.name for one in tmp_path.glob("*part*")] == []
    # On standard output, too, where only the file may stand.
    assert csv_ids(demo.ok("export", *dataset, "--format", "csv")) == found["csv"]


def test_filters_narrow_what_is_written(demo: Demo, dataset: tuple[str, str]) -> None:
    every = demo.ok("export", *dataset, "--format", "csv")
    times = sorted(row["timestamp"] for row in csv.DictReader(io.StringIO(every, newline="")))
    middle = times[len(times) // 2]
    early = demo.ok("export", *dataset, "--format", "csv", "--to-timestamp", middle)
    late = demo.ok("export", *dataset, "--format", "csv", "--from-timestamp", middle)
    assert len(csv_ids(early)) == sum(one <= middle for one in times)
    assert len(csv_ids(late)) == sum(one >= middle for one in times)
    bare = ("--format", "csv", "--no-threads", "--no-annotations", "--no-properties")
    header = demo.ok("export", *dataset, *bare, "--model", "none").splitlines()[0]
    assert header.split(",")[-1] == "last_modified"


def test_a_table_goes_in_again_and_comes_out_equal(
    demo: Demo, dataset: tuple[str, str], tmp_path: Path
) -> None:
    plain = ("--model", "none", "--no-annotations", "--no-threads")
    first, again = tmp_path / "first.csv", tmp_path / "again.csv"
    demo.ok("export", *dataset, *plain, str(first))
    demo.ok("source", "create", "demo/again")
    demo.ok("dataset", "create", "demo/again", "--source", "demo/again")
    single = ("id", "timestamp", "subject", "from", "to", "cc", "thread_id")
    columns = [*(f"{one}={one}" for one in single), "message=body"]
    columns += ["number_property=Stays", "string_property=Channel", "string_property=Topic"]
    options = [word for one in columns for word in ("--column", one)]
    demo.ok("import", "--source", "demo/again", *options, str(first))
    demo.ok("export", "--dataset", "demo/again", *plain, str(again))

    def rows(file: Path) -> list[dict[str, str]]:
        with file.open(encoding="utf-8", newline="") as table:
            found = list(csv.DictReader(table))
        # What the server makes itself, and what an import has no column for.
        own = ("uid", "source", "created_at", "last_modified", "sent_at")
        return [{name: row[name] for name in row if name not in own} for row in found]

    assert rows(first) == rows(again) != []


def test_what_cannot_be_is_told(demo: Demo, dataset: tuple[str, str], tmp_path: Path) -> None:
    for wrong in (
        (*dataset,),
        ("--format", "csv"),
        (*dataset, "--format", "csv", "a", "--output", "b"),
        (*dataset, "--format", "csv", "--filter", "["),
        (*dataset, "--format", "csv", "--model", "newest"),
    ):
        assert demo.run("export", *wrong).exit_code == 2, wrong
    file = tmp_path / "out.csv"
    file.write_text("before")
    for refused in (("--model", "99"), ("--filter", '{"nonsense": 1}')):
        assert demo.run("export", *dataset, str(file), *refused).exit_code == 1
    assert demo.run("export", *dataset, str(tmp_path / "none" / "out.csv")).exit_code == 1
    assert file.read_text() == "before"
    assert not list(tmp_path.glob(".out*"))


def test_a_download_is_the_same_compressed_and_not(demo: Demo, dataset: tuple[str, str]) -> None:
    path = f"/api/lodestream/v1/datasets/{dataset[1]}/export"
    found = []
    for gzip in (False, True):
        with (
            Client(demo.url, demo.token, gzip=gzip) as client,
            client.download("POST", path, {"format": "jsonl"}) as answer,
        ):
            assert ("content-encoding" in answer.headers) == gzip
            found.append(b"".join(answer))
    assert found[0] == found[1] == asyncio.run(_awaited(demo, path))
    with Client(demo.url, demo.token) as client, pytest.raises(BadRequest, match="format"):
        client.download("POST", path, {"format": "doc"})


async def _awaited(demo: Demo, path: str) -> bytes:
    async with AsyncClient(demo.url, demo.token, gzip=True) as client:
        with pytest.raises(BadRequest, match="format"):
            await client.download("POST", path, {"format": "doc"})
        async with await client.download("POST", path, {"format": "jsonl"}) as answer:
            return b"".join([part async for part in answer])


class _BreaksOff(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"4\r\nid\r\n\r\n")
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def broken_server() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _BreaksOff)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_that_breaks_off_does_not_appear(
    demo: Demo, broken_server: str, tmp_path: Path
) -> None:
    file = tmp_path / "out.csv"
    file.write_text("before")
    result = demo.run("export", "--dataset", "a/b", str(file), "--url", broken_server)
    assert result.exit_code == 3
    assert "broke off" in result.stderr
    assert file.read_text() == "before"
    assert not list(tmp_path.glob(".out*"))

    async def awaited() -> None:
        async with (
            AsyncClient(broken_server, "token") as client,
            await client.download("POST", "/", {}) as answer,
        ):
            assert b"".join([part async for part in answer])

    with pytest.raises(Unreachable, match="broke off"):
        asyncio.run(awaited())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_rows_are_counted_however_they_are_divided(size: int) -> None:
    text = io.StringIO(newline="")
    rows = [["id", "te\nxt"], ["1", 'a "quoted"\r\ntext\n'], ["2", ""], ["3", '"']]
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    content = text.getvalue().encode()
    count = _csv_rows()
    assert sum(count(content[at : at + size]) for at in range(0, len(content), size)) == 3
