"""What the doctor finds, and what it advises."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from lodestream.cli import doctor as module
from lodestream.cli.main import main
from lodestream.domain.places import TIE_BITS
from lodestream.store import jobs
from lodestream.store.db import Database
from lodestream.store.tables import counter
from tests.cli.conftest import Demo, objects
from tests.processes import free_port


def examine(*arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    given = ["doctor", "--json", *arguments]
    if "--port" not in given:
        given += ["--port", str(free_port())]
    result = CliRunner().invoke(main, given)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, {one["name"]: one for one in objects(result.stdout)}


@pytest.fixture
def where(db: Database, tmp_path: Path) -> tuple[str, ...]:
    """The options that lead to a migrated database."""
    url = db.url.render_as_string(hide_password=False)
    return ("--data", str(tmp_path), "--database-url", url)


def test_a_folder_that_is_still_to_be_made_is_no_problem(tmp_path: Path) -> None:
    code, found = examine("--data", str(tmp_path / "new" / "er"))
    assert code == 0
    assert found["data folder"]["state"] == "ok"
    assert found["database"]["state"] == "note"
    assert not (tmp_path / "new").exists()


def test_a_good_database_has_no_problem(where: tuple[str, ...]) -> None:
    code, found = examine(*where)
    assert code == 0, found
    assert {found[name]["state"] for name in ("database", "schema", "clock", "jobs")} == {"ok"}
    assert found["users"]["state"] == "note"


def test_a_folder_that_cannot_be_written_is_explained() -> None:
    code, found = examine("--data", "/proc/lodestream")
    assert code == 1
    assert "cannot write" in found["data folder"]["what"]
    assert "--data" in found["data folder"]["advice"]


def test_a_port_in_use_is_explained(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.listen(1)
        port = str(taken.getsockname()[1])
        code, found = examine("--data", str(tmp_path), "--port", port)
    assert code == 1
    assert "Address already in use" in found[f"port {port}"]["what"]
    assert "--port" in found[f"port {port}"]["advice"]


def test_a_port_that_our_own_server_has_is_no_problem(demo: Demo) -> None:
    port = demo.url.rpartition(":")[2]
    code, found = examine("--data", str(demo.data), "--port", port)
    assert code == 0, found
    assert "a Lodestream server answers" in found[f"port {port}"]["what"]


def test_a_database_that_is_not_reached_is_explained(tmp_path: Path) -> None:
    url = "postgresql://nobody:hidden@127.0.0.1:1/none"
    code, found = examine("--data", str(tmp_path), "--database-url", url)
    assert code == 1
    assert "does not answer" in found["database"]["what"]
    assert "hidden" not in json.dumps(found)


def test_a_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    (tmp_path / "lodestream.sqlite3").write_bytes(b"This is something else entirely. " * 100)
    code, found = examine("--data", str(tmp_path))
    assert code == 1
    assert found["database"]["state"] == "problem"


def test_an_unknown_kind_of_database_is_explained(tmp_path: Path) -> None:
    code, found = examine("--data", str(tmp_path), "--database-url", "mysql://host/name")
    assert code == 1
    assert "mysql" in found["database"]["what"]


@pytest.mark.parametrize(
    ("version", "advice"), [("ffff", "upgrade Lodestream"), (None, "lodestream migrate")]
)
def test_another_schema_is_explained(
    db: Database, where: tuple[str, ...], version: str | None, advice: str
) -> None:
    with db.write() as tx:
        tx.connection.exec_driver_sql("DELETE FROM alembic_version")
        if version is not None:
            tx.connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{version}')")
    code, found = examine(*where)
    assert code == 1
    assert advice in found["schema"]["advice"]


def test_a_clock_behind_what_is_stored_is_explained(db: Database, where: tuple[str, ...]) -> None:
    ahead = (time.time_ns() // 1000 + 3_600_000_000) << TIE_BITS
    with db.write() as tx:
        tx.execute(sa.update(counter).where(counter.c.name == "position").values(value=ahead))
    code, found = examine(*where)
    assert code == 1
    assert "s behind the newest comment" in found["clock"]["what"]
    assert "set the clock" in found["clock"]["advice"]


def test_jobs_that_fail_or_wait_are_told(db: Database, where: tuple[str, ...]) -> None:
    with db.write(catalogue=False) as tx:
        jobs.enqueue(tx, "collect_files", {}, due_us=1)
    code, found = examine(*where)
    assert (code, found["jobs"]["state"]) == (0, "note")
    with db.write(catalogue=False) as tx:
        claimed = jobs.claim(tx, worker="w", lease_s=60)
        assert claimed is not None
        jobs.postpone(tx, claimed.id, worker="w", delay_s=60, error="x")
    code, found = examine(*where)
    assert (code, found["jobs"]["what"]) == (1, "failing: 1 of collect_files")


def test_a_full_disk_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_FREE_BYTES", 1 << 62)
    code, found = examine("--data", str(tmp_path))
    assert code == 1
    assert "MiB are free" in found["disk"]["what"]


def test_people_get_lines_with_advice(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["doctor", "--data", str(tmp_path), "--port", str(free_port())]
    )
    assert result.exit_code == 0
    assert "note     database: " in result.stdout
    assert "→ `lodestream serve` makes it" in result.stdout
