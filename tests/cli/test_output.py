"""Tables, JSON lines and progress."""

from __future__ import annotations

import io
import sys

import pytest

from lodestream.cli.output import Progress, duration, print_json, print_table, show_one

ROWS = [
    {"name": "a", "count": 7, "model": {"version": 3}, "tags": ["x", "y"]},
    {"name": "日本", "count": 1200, "model": None, "tags": []},
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_table_is_aligned_whatever_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS, ("name", "count", "model.version", "tags"))
    assert capsys.readouterr().out.splitlines() == [
        "NAME  COUNT  MODEL.VERSION  TAGS",
        "a         7  3              x y",
        "日本   1200  -              -",
    ]


def test_a_table_is_cut_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = Terminal()
    monkeypatch.setattr(sys, "stdout", narrow)
    monkeypatch.setenv("COLUMNS", "30")
    row = {"id": "0123456789abcdef", "title": "A title that is longer than the terminal"}
    print_table([row], ("id", "title"))
    assert max(map(len, narrow.getvalue().splitlines())) == 30
    assert narrow.getvalue().splitlines()[1].endswith("…")


def test_what_others_wrote_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"title": "red\x1b[31m\nnext\r"}], ("title",))
    assert capsys.readouterr().out == "TITLE\nred [31m next\n"


def test_json_is_one_object_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json([{"a": "ü"}, {"b": [1, None]}])
    assert capsys.readouterr().out == '{"a":"ü"}\n{"b":[1,null]}\n'


def test_one_thing_has_a_line_for_each_value(capsys: pytest.CaptureFixture[str]) -> None:
    show_one(ROWS[0], as_json=False, columns=("name", "model.version", "none"))
    assert capsys.readouterr().out == "name           a\nmodel.version  3\nnone           -\n"


def test_progress_tells_rate_and_time_left() -> None:
    progress = Progress("import", "comments", total=1000)
    progress.advance(50, step=250)
    assert progress.text(10.0) == (
        "import [######------------------]  25% 50 comments, 5/s, 30s left"
    )
    assert Progress("export", "comments").text(1.0) == "export 0 comments, 0/s"


@pytest.mark.parametrize(("shown", "seen"), [(True, True), (False, False)])
def test_progress_is_shown_on_a_terminal_unless_told_not_to(
    monkeypatch: pytest.MonkeyPatch, shown: bool, seen: bool
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Progress("import", "comments", total=2, shown=shown) as progress:
        progress.advance(2)
    assert ("100% 2 comments" in screen.getvalue()) is seen
    assert (screen.getvalue() == "") is not seen


def test_progress_is_not_shown_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("import", "comments", total=1) as progress:
        progress.advance(1)
        progress.say("line 3: wrong")
    assert capsys.readouterr().err == "line 3: wrong\n"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0s"), (59, "59s"), (200, "3m20s"), (3660, "1h01m"), (183_600, "2d03h")],
)
def test_a_duration_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said
