"""The commands of the page on exports run as they stand, after the tutorial's first steps."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from python_calamine import CalamineWorkbook

from tests.docs.test_examples import Reader
from tests.docs.test_labelling import STEPS


def test_exporting_by_the_page(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    try:
        reader.type("lodestream serve\n")
        reader.type(STEPS)
        reader.follow("docs/howto/export.md")
    finally:
        reader.stop()

    def rows(name: str) -> list[dict[str, str]]:
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    for name in ("support.csv", "part.csv", "binary.csv"):
        assert [(row["id"], row["body"]) for row in rows(name)] == [("mail-1", "Money back")], name
    assert "thread_position" not in rows("part.csv")[0]
    assert rows("mine.csv") == []
    sheet = CalamineWorkbook.from_path(str(tmp_path / "support.xlsx")).get_sheet_by_index(0)
    assert [row[0] for row in sheet.to_python()] == ["id", "mail-1"]
    told = json.loads(reader.said("lodestream export --dataset DefaultProject/support support.csv"))
    assert (told["format"], told["comments"]) == ("xlsx", 1)
    line = json.loads(reader.said("lodestream export --dataset DefaultProject/support --format"))
    assert line["comment"]["id"] == "mail-1"
