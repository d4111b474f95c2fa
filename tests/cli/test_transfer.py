"""`lodestream backup`, `restore` and `copy`, as an operator calls them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lodestream.cli.main import main
from lodestream.store.db import Database
from lodestream.store.dialect import sqlite_url
from tests.conftest import make_user


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one user beside the system's."""
    folder = tmp_path / "data"
    assert run("migrate", "--data", str(folder)).exit_code == 0
    db = Database(sqlite_url(folder / "lodestream.sqlite3"))
    make_user(db, "secret-token")
    db.close()
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def users(data: Path) -> str:
    return run("user", "list", "--json", "--data", str(data)).stdout


def test_backup_and_restore(data: Path, tmp_path: Path) -> None:
    made = run("backup", str(tmp_path / "backup"), "--data", str(data))
    assert (made.exit_code, made.stderr) == (0, "")
    assert "0 comments, 0 streams, 0 files" in made.stdout

    back = run("restore", str(tmp_path / "backup"), "--data", str(tmp_path / "new"))

    assert (back.exit_code, back.stderr) == (0, "")
    assert users(tmp_path / "new") == users(data)


def test_restore_into_what_is_not_empty_is_refused(data: Path, tmp_path: Path) -> None:
    run("backup", str(tmp_path / "backup"), "--data", str(data))
    before = users(data)

    result = run("restore", str(tmp_path / "backup"), "--data", str(data))

    assert result.exit_code == 1
    assert "not empty" in result.stderr
    assert users(data) == before


def test_copy_tells_the_counts(data: Path, tmp_path: Path) -> None:
    source = f"sqlite:///{data}/lodestream.sqlite3"
    target = f"sqlite:///{tmp_path}/copy/lodestream.sqlite3"

    result = run("copy", "--from", source, "--to", target)

    assert (result.exit_code, result.stderr) == (0, "")
    assert "           2  account\n" in result.stdout
    assert "counts on both sides are the same" in result.stdout
    assert users(tmp_path / "copy") == users(data)


def test_copy_refuses_an_unknown_kind_of_database(tmp_path: Path) -> None:
    result = run("copy", "--from", "mysql://localhost/x", "--to", f"sqlite:///{tmp_path}/x")
    assert result.exit_code == 2
    assert "unknown kind of database" in result.stderr
