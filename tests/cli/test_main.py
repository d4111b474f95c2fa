"""The command itself: help, exit codes, completion, logs, settings."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lodestream.cli.logs import JsonFormatter, log_config
from lodestream.cli.main import main
from lodestream.cli.options import Commands, Deferred
from lodestream.settings import Settings, environment_of, read_settings


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        yield (*path, name)
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))


EVERY = sorted(commands(main))


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    usage, _, text = result.stdout.partition("\n\n")
    assert usage.startswith("Usage: ")
    assert text.strip()


def test_every_command_that_lists_can_print_json() -> None:
    for path in EVERY:
        if path[-1] in ("list", "status", "doctor", "verify", "migrate"):
            assert "--json" in CliRunner().invoke(main, [*path, "--help"]).stdout, path


def test_a_deferred_command_has_the_summary_of_its_own_help() -> None:
    def deferred(group: click.Group) -> Iterator[tuple[str, Deferred]]:
        context = click.Context(group)
        if isinstance(group, Commands):
            yield from group.deferred.items()
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            if isinstance(found, click.Group):
                yield from deferred(found)

    found = list(deferred(main))
    assert len(found) > 10
    for name, one in found:
        whole = one.load().get_short_help_str(1000)
        assert one.summary.rstrip(".") == whole.rstrip("."), name


_IMPORTED = """
import sys
from lodestream.cli.main import main
try:
    main(["stream", "status", "a/b", "--url", "http://127.0.0.1:1"])
except SystemExit as error:
    print(error.code, *sorted({one.partition(".")[0] for one in sys.modules}))
    print(*(one for one in sys.modules if one.startswith("lodestream.")))
"""


def test_a_command_over_http_imports_no_library_of_the_server() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTED], capture_output=True, text=True, check=True
    )
    code, *libraries = done.stdout.splitlines()[0].split()
    assert code == "3"
    assert "msgspec" in libraries
    heavy = {"alembic", "asyncio", "numpy", "onnxruntime", "psycopg", "sqlalchemy", "uvicorn"}
    assert heavy.isdisjoint(libraries)
    rooms = {one.split(".")[1] for one in done.stdout.splitlines()[1].split()}
    assert rooms == {"cli", "client", "domain"}


def test_an_unknown_command_is_called_wrongly() -> None:
    assert CliRunner().invoke(main, ["unknown"]).exit_code == 2


def test_a_database_that_does_not_answer_is_exit_code_3() -> None:
    url = "postgresql://postgres@127.0.0.1:1/none"
    for command in (["migrate"], ["user", "list"], ["stream", "verify"], ["worker"]):
        result = CliRunner().invoke(main, [*command, "--database-url", url])
        assert result.exit_code == 3, (command, result.output)
        assert len(result.stderr.splitlines()) == 1
        assert "lodestream doctor" in result.stderr


def test_a_database_url_that_cannot_be_read_is_called_wrongly() -> None:
    result = CliRunner().invoke(main, ["migrate", "--database-url", "mysql://host/name"])
    assert result.exit_code == 2
    assert "mysql" in result.stderr


def test_a_setting_that_cannot_be_read_is_named() -> None:
    result = CliRunner(env={"LODESTREAM_PORT": "many"}).invoke(main, ["migrate"])
    assert result.exit_code == 2
    assert "LODESTREAM_PORT: 'many' is not a int" in result.stderr


def test_a_data_folder_that_cannot_be_made_is_told() -> None:
    for command in (["migrate"], ["serve", "--port", "0"]):
        result = CliRunner().invoke(main, [*command, "--data", "/proc/lodestream"])
        assert result.exit_code == 1, result.output
        assert "/proc/lodestream" in result.stderr


def test_migrating_makes_the_schema_once(tmp_path: Path) -> None:
    def migrate(*more: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["migrate", "--data", str(tmp_path), *more])
        return result.exit_code, result.stdout

    code, said = migrate("--check", "--json")
    assert code == 1
    assert json.loads(said)["now"] is None
    code, said = migrate()
    assert (code, said.startswith("schema (none) became ")) == (0, True)
    assert migrate("--check")[0] == 0
    assert migrate()[1].endswith("is current\n")


def test_a_newer_schema_is_not_touched(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["migrate", "--data", str(tmp_path)]).exit_code == 0
    import sqlite3

    with sqlite3.connect(tmp_path / "lodestream.sqlite3") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffff'")
    connection.close()
    for command in (["migrate"], ["serve", "--port", "0"]):
        result = CliRunner().invoke(main, [*command, "--data", str(tmp_path)])
        assert result.exit_code == 1
        assert "newer than this program" in result.stderr
    result = CliRunner().invoke(main, ["worker", "--data", str(tmp_path)])
    assert result.exit_code == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert f"_LODESTREAM_COMPLETE={shell}_complete" in result.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n", "-c", result.stdout], check=True)


def test_completion_offers_commands_and_options() -> None:
    def offered(words: str) -> list[str]:
        given = {
            "_LODESTREAM_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        result = CliRunner(env=given).invoke(main, [], prog_name="lodestream")
        return [one.partition(",")[2] for one in result.stdout.splitlines()]

    assert offered("lodestream stream v") == ["verify"]
    assert offered("lodestream serve --po") == ["--port"]


def test_settings_survive_the_way_through_the_environment(tmp_path: Path) -> None:
    settings = Settings(port=1234, data=tmp_path, durable_advance=True, max_rate=2.5, workers=3)
    given = environment_of(settings)
    assert read_settings(given) == settings
    assert set(given) <= {name for name in given if name.startswith("LODESTREAM_")}
    assert read_settings({}) == Settings()


def _logged(error: Exception | None = None, **extra: object) -> dict[str, object]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("lodestream.test")
    logger.addHandler(handler)
    logger.error("it %s", "happened", exc_info=error, extra=extra)
    (line,) = stream.getvalue().splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def test_a_log_line_is_json_with_what_was_passed_along() -> None:
    line = _logged(request_id="r-1", took_ms=1.5, path=Path("x"))
    assert str(line.pop("time")).endswith("Z")
    assert line == {
        "level": "error",
        "logger": "lodestream.test",
        "message": "it happened",
        "request_id": "r-1",
        "took_ms": 1.5,
        "path": "x",
    }


def test_what_an_exception_says_is_never_logged() -> None:
    try:
        try:
            raise KeyError("the text of a comment")
        except KeyError as inner:
            raise ValueError("a secret token") from inner
    except ValueError as error:
        line = _logged(error)
    told = json.dumps(line)
    assert "secret" not in told
    assert "comment" not in told
    classes = [one["class"] for one in line["error"]]  # type: ignore[attr-defined]
    assert classes == ["builtins.ValueError", "builtins.KeyError"]
    assert os.path.basename(__file__) in told  # noqa: PTH119 (only the name)


def test_an_unknown_log_level_is_refused() -> None:
    with pytest.raises(ValueError, match="Unable to configure"):
        logging.config.dictConfig(log_config("loud"))
