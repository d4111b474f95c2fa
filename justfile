# What is done here often. `just` alone lists it.

python := ".venv/bin/python"

[private]
default:
    @just --list

# Install this checkout and its tools into .venv
install:
    scripts/install

# What CI demands of the code, without the slow parts
check: install
    .venv/bin/ruff format --check .
    .venv/bin/ruff check .
    .venv/bin/mypy
    .venv/bin/lint-imports
    {{python}} -m pytest

# The tests; arguments go to pytest
test *args:
    ./test {{args}}

# A server on this checkout; arguments go to `lodestream serve`
serve *args: install
    .venv/bin/lodestream serve {{args}}

# The benchmark, with ratios beside the goals
bench *args: install
    {{python}} -m bench {{args}}

# How well the learning head learns; writes docs/explain/accuracy.md
accuracy *args: install
    {{python}} -m bench.accuracy {{args}}

# The generated pages of docs/reference
docs: install
    scripts/docs

# The wheel and the source archive, into dist/
build: install
    {{python}} -m hatchling build

# The lock file, from pyproject.toml
lock *args:
    scripts/lock {{args}}
