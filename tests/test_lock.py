"""The lock file answers for everything that pyproject.toml asks for, and names no place."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
# A package may be pinned once for older and once for newer versions of Python.
PINNED = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)( ;)?", LOCK, flags=re.MULTILINE)


@pytest.mark.parametrize(
    "text",
    [
        *PROJECT["project"]["dependencies"],
        *PROJECT["dependency-groups"]["dev"],
        *PROJECT["build-system"]["requires"],
    ],
)
def test_the_locked_version_satisfies_the_requirement(text: str) -> None:
    wanted = Requirement(text)
    versions = [one for name, one, _ in PINNED if name == canonicalize_name(wanted.name)]
    assert versions
    assert all(wanted.specifier.contains(one, prereleases=True) for one in versions)


def test_every_pin_has_hashes() -> None:
    blocks = re.split(r"^(?=\S+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(PINNED)
    assert all("--hash=sha256:" in block for block in blocks)


def test_what_is_pinned_twice_is_pinned_for_different_interpreters() -> None:
    names = [name for name, _, _ in PINNED]
    twice = {name for name in names if names.count(name) > 1}
    assert all(marker for name, _, marker in PINNED if name in twice)


def test_the_lock_names_no_address_and_no_path() -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links|-f\s", LOCK)
