"""`lodestream encoder`, as an operator calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lodestream.cli import encoder as command
from lodestream.cli.main import main
from lodestream.ml.encoder_install import install
from lodestream.ml.encoder_recipes import RECIPES
from tests.cli.conftest import objects
from tests.ml.tiny_bert import make_bert, make_recipe, published, write_files


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with an encoder."""
    files = published(make_bert())
    source = write_files(tmp_path / "files", files)
    folder = tmp_path / "data" / "encoders"
    install("minilm", folder, source=source, recipes={"minilm": make_recipe(files)})
    return tmp_path / "data"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["encoder", *arguments])


def test_the_names_are_those_of_the_recipes() -> None:
    assert tuple(RECIPES) == command.NAMES


def test_list(data: Path) -> None:
    result = run("list", "--data", str(data))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0].split()[:3] == ["NAME", "SPACE", "DIM"]
    assert result.stdout.splitlines()[1].split()[0] == "minilm"


def test_list_as_json(data: Path) -> None:
    (row,) = objects(run("list", "--json", "--data", str(data)).stdout)
    assert row["name"] == "minilm"
    assert row["space"].startswith("minilm-")
    assert row["static"].startswith("static-")
    assert row["licence"] == "Apache-2.0"
    assert row["experimental"] is False


def test_list_of_nothing_tells_what_to_do(tmp_path: Path) -> None:
    assert "no encoder is installed" in run("list", "--data", str(tmp_path)).stdout
    assert objects(run("list", "--json", "--data", str(tmp_path)).stdout) == []


def test_what_is_installed_is_not_installed_again(data: Path) -> None:
    result = run("install", "minilm", "--data", str(data), "--from", str(data))
    assert result.exit_code == 0
    assert "minilm is installed already" in result.stdout


def test_files_other_than_those_published_are_refused(data: Path) -> None:
    before = run("list", "--json", "--data", str(data)).stdout
    files = str(data.parent / "files")
    result = run("install", "minilm", "--force", "--data", str(data), "--from", files)
    assert result.exit_code == 1
    assert "model.safetensors is not the published file" in result.stderr
    assert run("list", "--json", "--data", str(data)).stdout == before


def test_a_file_that_is_missing_is_a_usage_error(tmp_path: Path) -> None:
    result = run("install", "minilm", "--data", str(tmp_path), "--from", str(tmp_path / "none"))
    assert result.exit_code == 2


def test_an_unknown_encoder_is_a_usage_error(tmp_path: Path) -> None:
    result = run("install", "gpt", "--data", str(tmp_path))
    assert result.exit_code == 2
    assert "'minilm', 'multilingual'" in result.stderr


def test_remove(data: Path) -> None:
    assert run("remove", "minilm", "--data", str(data)).stdout == "removed minilm\n"
    result = run("remove", "minilm", "--data", str(data))
    assert result.exit_code == 1
    assert "is not installed" in result.stderr
