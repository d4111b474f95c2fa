"""Invitations (RFC 5545) as a few lines of text, for mails that have nothing else."""

from __future__ import annotations

import re
from typing import Final

_FOLD: Final = re.compile(r"\n[ \t]")
_LINE: Final = re.compile(
    r"^(SUMMARY|DTSTART|DTEND|LOCATION|DESCRIPTION|ORGANIZER)(?:;[^:\n]{0,400})?:(.*)$",
    re.MULTILINE | re.IGNORECASE,
)
_ESCAPE: Final = re.compile(r"\\([\\;,nN])")
_TIME: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d\dZ?)?")
_LABELS: Final = {"dtstart": "Start", "dtend": "End", "location": "Where", "organizer": "Organizer"}


def text_of_calendar(text: str) -> str:
    """Return title, time, place and description of the first event of a calendar."""
    begin = text.find("BEGIN:VEVENT")
    event = text[max(begin, 0) : max(begin, 0) + 65_536]
    found: dict[str, str] = {}
    for name, value in _LINE.findall(_FOLD.sub("", event)):
        found.setdefault(name.lower(), _ESCAPE.sub(_unescaped, value).strip())
    lines = [found["summary"]] if found.get("summary") else []
    for name, label in _LABELS.items():
        value = found.get(name, "")
        time = _TIME.fullmatch(value) if name.startswith("dt") else None
        if time is not None:
            day = "-".join(time.groups()[:3])
            value = day if time[4] is None else f"{day} {time[4]}:{time[5]}"
        if value:
            lines.append(f"{label}: {value.removeprefix('mailto:').removeprefix('MAILTO:')}")
    if found.get("description"):
        lines += ["", found["description"]]
    return "\n".join(lines)


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] in "nN" else match[1]
