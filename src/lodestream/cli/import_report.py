"""What an import did or would do, told to people and to programs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import IO, Any, Final

import click

from lodestream.cli.options import Failed
from lodestream.cli.output import Progress
from lodestream.formats.found import Bad

MOST_TOLD: Final = 1000
RESULTS: Final = ("new", "updated", "unchanged")


@dataclass
class Report:
    """Counts of an import, and what could not go in."""

    progress: Progress
    errors: IO[str] | None = None
    stop_on_error: bool = False
    is_dry: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    read: int = 0
    refused: int = 0
    refused_to_read: int = 0  # without those of which only the annotations were refused
    told: list[dict[str, str]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    columns: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def count(self, reply: dict[str, Any]) -> None:
        """Note what an answer says that became of a batch."""
        for name in RESULTS:
            self.counts[name] += reply[name]

    def refuse(self, bad: Bad, *, is_stored: bool = False) -> None:
        """Note something that cannot go in; of a comment that `is_stored`, what was said of it.

        Raises Failed if the import is to end there.
        """
        self.refused += 1
        self.refused_to_read += not is_stored
        problem = f"{bad.where}: {bad.reason}"
        if self.stop_on_error:
            raise Failed(problem)
        if len(self.told) < MOST_TOLD:
            self.told.append({"where": bad.where, "reason": bad.reason})
            self.progress.say(problem)
        elif self.refused == MOST_TOLD + 1:
            self.progress.say("more is refused than is listed here; --errors lists all")
        if self.errors is not None:
            written = {"where": bad.where, "reason": bad.reason, "content": _shown(bad.content)}
            self.errors.write(json.dumps(written, ensure_ascii=False) + "\n")

    def note(self, text: str) -> None:
        """Tell something that is no error, once."""
        if text not in self.notes:
            self.notes.append(text)
            self.progress.say(text)

    def leave_out(self, names: tuple[str, ...]) -> None:
        """Note names of values that the server does not know."""
        self.left_out.update(names)

    def finish(self, *, as_json: bool) -> None:
        """Print the report. Raises Failed if anything was refused."""
        self.progress.finish()
        if as_json:
            click.echo(json.dumps(self._as_json(), ensure_ascii=False))
        else:
            self._print()
        if self.refused:
            raise Failed(f"{self.refused} refused")

    @property
    def repeated(self) -> int:
        """How many were there twice, so that the last of them counts."""
        if self.counts["unknown"] or self.counts["e-mails stored"]:
            return 0
        return max(0, self.read - self.refused_to_read - sum(self.counts[n] for n in RESULTS))

    def _print(self) -> None:
        for name, count in sorted(self.left_out.items()):
            click.echo(f"left out {count} times: {name}")
        for role, column in self.columns.items():
            if column:
                shown = ", ".join(column) if isinstance(column, list) else column
                click.echo(f"{role}: {shown}")
        known = [f"{self.counts[name]} {name}" for name in RESULTS]
        if self.is_dry and self.counts["unknown"]:
            known = [f"{self.counts['unknown']} of which it is not known whether they are new"]
        more = [
            f"{self.counts[name]} {name}"
            for name in ("annotated", "attachments", "e-mails stored")
            if self.counts[name]
        ]
        more += [f"{self.repeated} there twice"] if self.repeated else []
        said = ", ".join(known + more)
        said += f", {self.refused} refused" if self.refused else ""
        click.echo(f"nothing is stored; it would be: {said}" if self.is_dry else said)

    def _as_json(self) -> dict[str, Any]:
        return {
            "dry_run": self.is_dry,
            "read": self.read,
            **{name: self.counts[name] for name in RESULTS},
            **{name: count for name, count in self.counts.items() if name not in RESULTS},
            "repeated": self.repeated,
            "refused": self.refused,
            "refusals": self.told,
            "left_out": dict(self.left_out),
            "columns": self.columns,
            "notes": self.notes,
        }


def _shown(content: Any) -> Any:
    if isinstance(content, bytes):
        return content.decode("utf-8", "replace").rstrip("\r\n")
    return content
