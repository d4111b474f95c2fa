"""Sinks of kind file."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lodestream.domain.deliveries import Done, Later
from lodestream.domain.errors import Unprocessable
from lodestream.domain.sinks import File
from lodestream.sinks.file import FileSink
from lodestream.sinks.results import Columns
from tests.sinks.items import item

LABELS = Columns(("Claim",), binary=False, least_probability=0.5)
SINK_ID = "0123456789abcdef"


def sink_of(root: Path, kind: str = "jsonl", folder: str = "out/daily") -> FileSink:
    settings = File(folder, format=kind)  # type: ignore[arg-type]
    return FileSink(settings, sink_id=SINK_ID, columns=LABELS, root=root)


def names(root: Path) -> list[str]:
    return sorted(one.name for one in (root / "out/daily").iterdir())


def test_json_lines_hold_the_results_as_they_are(tmp_path: Path) -> None:
    given = [item("a", pos=(1 << 61)), item("b", pos=(1 << 61) + 1)]
    assert sink_of(tmp_path).deliver(given) == [Done(), Done()]
    [name] = names(tmp_path)
    assert name.endswith("-2000000000000000-01234567.jsonl")
    lines = (tmp_path / "out/daily" / name).read_bytes().splitlines()
    assert lines == [one.json for one in given]


def test_csv_and_parquet_have_a_row_for_each_comment(tmp_path: Path) -> None:
    given = [item("a", labels={"Claim": 0.5}), item("b", user_properties={"string:X": 'a "b",\n'})]
    for kind in ("csv", "parquet"):
        assert sink_of(tmp_path, kind).deliver(given) == [Done(), Done()]
    as_csv, as_parquet = names(tmp_path)
    with (tmp_path / "out/daily" / as_csv).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["a", "b"]
    assert rows[1]["property:X"] == 'a "b",\n'
    assert float(rows[0]["label:Claim"]) == 0.5
    table = pq.read_table(tmp_path / "out/daily" / as_parquet).to_pylist()
    assert [row["id"] for row in table] == ["a", "b"]
    assert (table[0]["label:Claim"], table[0]["attachment_count"]) == (0.5, 0)
    assert (table[0]["number:Size"], table[1]["number:Size"]) == (3, None)


def test_a_delivery_that_is_repeated_replaces_its_file(tmp_path: Path) -> None:
    sink = sink_of(tmp_path)
    sink.deliver([item("a", pos=5)])
    sink.deliver([item("a", pos=5), item("b", pos=6)])
    [name] = names(tmp_path)
    lines = (tmp_path / "out/daily" / name).read_text().splitlines()
    assert [json.loads(line)["comment"]["id"] for line in lines] == ["a", "b"]


def test_nothing_half_written_is_ever_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(_file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", dies)
        found = sink_of(tmp_path).deliver([item("a")])
    assert isinstance(found[0], Later)
    assert all(name.startswith(".") for name in names(tmp_path))
    sink_of(tmp_path).deliver([item("a")])
    assert [name for name in names(tmp_path) if name.startswith(".")] == [], "it was tidied up"


def test_files_are_on_the_disk_before_they_have_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: (steps.append("sync"), real_sync(file))[1])
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (steps.append("name"), real_replace(self, to))[1]
    )
    sink_of(tmp_path).deliver([item("a")])
    assert steps == ["sync", "name", "sync"]


@pytest.mark.parametrize("folder", ["../x", "/etc", "a/../../x", "a//b", ".x", "a\\b", "link/x"])
def test_no_path_leads_out_of_the_folder(tmp_path: Path, folder: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(Unprocessable):
        sink_of(root, folder=folder)
    with pytest.raises(Unprocessable, match="LODESTREAM_SINK_FOLDER"):
        FileSink(File("x"), sink_id=SINK_ID, columns=LABELS, root=None)
