"""Records in which tests each operation succeeds: `python -m tests.contract.record_proofs`.

It runs the tests that call the API in this process and writes proofs.json, from which
docs/generate.py makes the compatibility page. Tests that go through every route alike are named
there once, and not recorded.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from lodestream.api.app import App

PROOFS = Path(__file__).parent / "proofs.json"
GENERAL = ("test_refusals", "test_hostile", "test_schemathesis", "test_limits")
MOST_NAMED = 3


class Recorder:
    """A pytest plugin that counts, by operation, the test modules in whose tests it succeeds."""

    def __init__(self) -> None:
        self.seen: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def note(self, operation: str) -> None:
        """Count a success in the test that runs just now; what fixtures do does not count."""
        test, _, phase = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")
        module = test.partition("::")[0]
        if phase == "(call)" and not any(one in module for one in GENERAL):
            self.seen[operation][module] += 1

    def proofs(self) -> dict[str, list[str]]:
        """Return the modules of each operation in which it succeeds most."""
        return {
            operation: [module for module, _ in modules.most_common(MOST_NAMED)]
            for operation, modules in sorted(self.seen.items())
        }


def main() -> int:
    """Run the tests with the recorder, and write what it saw if all passed."""
    recorder = Recorder()
    after = App._after

    def noting(app: App, route: Any, method: str, status: int, *rest: Any) -> None:
        after(app, route, method, status, *rest)
        if route is not None and status < 300:
            recorder.note(route.operation)

    App._after = noting  # type: ignore[method-assign]
    chosen = [
        "tests/actions",
        "tests/api",
        "tests/cli/test_integrations.py",
        "tests/cli/test_sinks.py",
        "tests/cli/test_verbs.py",
        "tests/contract",
        "tests/worker",
        "-k",
        "not postgresql and not schemathesis and not operations",
    ]
    code = pytest.main(["-p", "no:cacheprovider", *chosen], plugins=[recorder])
    if code == 0:
        PROOFS.write_text(json.dumps(recorder.proofs(), indent=1) + "\n", encoding="utf-8")
    return int(code)


if __name__ == "__main__":
    raise SystemExit(main())
