"""Sinks from the command line, against a running server that delivers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cli.conftest import Demo, objects
from tests.sinks.targets import Index, eventually, serving

SINK = ("demo/hotel", "all", "search")


def shown(demo: Demo) -> Any:
    return json.loads(demo.ok("sink", "get", *SINK, "--json"))


def test_the_life_of_a_sink(demo: Demo, tmp_path: Path) -> None:
    index = Index()
    with serving(index) as cluster:
        file = tmp_path / "sink.json"
        settings = {"kind": "elasticsearch", "url": cluster.url, "index": "hotel"}
        file.write_text(json.dumps(settings))
        made = demo.ok(
            "sink", "create", *SINK, "--file", str(file), "--start", "beginning", "--json"
        )
        assert json.loads(made)["configuration"] == settings
        eventually(lambda: shown(demo)["unread"] == 0, within_s=60)
        assert len(index.documents) == 240
        assert demo.ok("sink", "test", *SINK) == "The target was reached.\n"
        header, line = demo.ok("sink", "list", *SINK[:2]).splitlines()
        assert header.split()[:4] == ["NAME", "KIND", "STATE", "UNREAD"]
        assert line.split()[:4] == ["search", "elasticsearch", "idle", "0"]
        tried = objects(demo.ok("sink", "attempts", *SINK, "--limit", "1", "--json"))
        assert [one["result"] for one in tried] == ["delivered"]
        demo.ok("sink", "disable", *SINK)
        assert shown(demo)["state"] == "disabled"
        assert "240" in demo.ok("sink", "reset", *SINK, "--to", "beginning")
        instant = ("--to", "2000-01-01T00:00:00Z", "--json")
        assert json.loads(demo.ok("sink", "reset", *SINK, *instant))["unread"] == 240
        changed = demo.ok("sink", "update", *SINK, "--max-failures", "9", "--json")
        assert json.loads(changed)["max_failures"] == 9
        demo.ok("sink", "enable", *SINK)
        eventually(lambda: shown(demo)["unread"] == 0, within_s=60)
    told = demo.run("sink", "test", *SINK)
    assert (told.exit_code, "cannot be used" in told.output) == (1, True)
    demo.ok("sink", "delete", *SINK, "--yes")
    assert demo.ok("sink", "list", *SINK[:2], "--json") == ""
