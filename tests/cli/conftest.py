"""A demonstration to talk to, started once, and a way to call commands in this process."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from lodestream.cli.main import main
from lodestream.store.dialect import database_url
from tests.processes import ServerProcess, environment, free_port


def objects(text: str) -> list[Any]:
    """Return what `--json` printed: one object on each line."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(autouse=True)
def no_contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where contexts are kept: not where those of whoever runs the tests are."""
    file = tmp_path / "own" / "contexts.json"
    monkeypatch.setenv("LODESTREAM_CONTEXTS_FILE", str(file))
    return file


@dataclass(frozen=True)
class Demo:
    """`lodestream demo` in a process of its own."""

    url: str
    token: str
    data: Path
    said: str

    def run(self, *arguments: str, given: str | bytes | None = None) -> Result:
        """Call a command that talks to it."""
        where = {"LODESTREAM_URL": self.url, "LODESTREAM_TOKEN": self.token}
        return CliRunner(env=where).invoke(main, arguments, input=given)

    def ok(self, *arguments: str, given: str | bytes | None = None) -> str:
        """Call a command, insist on success, and return what it printed."""
        result = self.run(*arguments, given=given)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
        return result.stdout


@pytest.fixture
def empty_postgres(postgres: str) -> Iterator[str]:
    """The URL of a database in which nothing is."""
    name = f"lodestream_empty_{secrets.token_hex(6)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield (
            database_url(postgres)
            .set(database=name, drivername="postgresql")
            .render_as_string(hide_password=False)
        )
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    server = ServerProcess(folder, environment(free_port()), command=["demo", "--data", "kept"])
    said = server.log.read_text()
    token = re.search(r"Bearer (ls_[\w-]+)", said)
    assert token is not None, said
    yield Demo(server.url, token[1], folder / "kept", said)
    server.stop()
