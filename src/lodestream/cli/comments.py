"""Comments of a source as JSON Lines, in the vendor's shape: the plain form of `export`.

A line is `{"comment": {…}}` and, if a dataset is named, what people said of the comment there:
`labelling`, `entities` and `moon_forms`. What `export` writes `import` reads, here and with the
vendor's own command line client.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from lodestream.cli.output import Progress
from lodestream.cli.remote import dataset_name, source_name
from lodestream.client import Client
from lodestream.client.calls import full_name

PAGE: Final = 256

_SENT: Final = {
    "labelling": ("group", "assigned", "dismissed", "uninformative"),
    "entities": ("assigned", "dismissed"),
}
_ENTITY: Final = ("name", "formatted_value", "spans")
_CAPTURED: Final = ("name", "formatted_value", "spans", "document_spans", "confirmed")
_LABELLED_AT_ONCE: Final = 128


def _labellings(dataset: str) -> str:
    return f"/api/_private/datasets/{full_name(dataset)}/labellings"


class Written(Protocol):
    """What lines are written to."""

    def write(self, data: bytes, /) -> object:
        """Write all of it."""
        ...


def write_comments(
    client: Client, source: str, dataset: str | None, file: Written, progress: Progress
) -> None:
    """Write the comments of a source as lines, with what was said of them in a dataset."""
    path = f"/api/_private/sources/{full_name(source_name(client, source))}/comments"
    labellings = None if dataset is None else _labellings(dataset_name(client, dataset))
    query = {"limit": PAGE, "include_markup": "true"}
    after: str | None = None
    while True:
        page = query if after is None else {**query, "after": after}
        reply = client.call("GET", f"{path}?{urlencode(page)}")
        said = _annotations(client, labellings, reply["comments"]) if labellings else {}
        for comment in reply["comments"]:
            found = {"comment": comment, **said.get(comment["uid"], {})}
            file.write(json.dumps(found, ensure_ascii=False).encode() + b"\n")
        progress.advance(len(reply["comments"]))
        after = reply.get("continuation")
        if after is None:
            break


def _annotations(
    client: Client, labellings: str, comments: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return what people said of those comments of which they said anything, by uid."""
    uids = [comment["uid"] for comment in comments if comment["has_annotations"]]
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(uids), _LABELLED_AT_ONCE):
        wanted = [("id", uid) for uid in uids[start : start + _LABELLED_AT_ONCE]]
        query = urlencode([*wanted, ("allow_missing", "true")])
        for one in client.call("GET", f"{labellings}?{query}")["results"]:
            found[one["comment"]["uid"]] = _to_be_sent(one)
    return found


def _to_be_sent(one: dict[str, Any]) -> dict[str, Any]:
    """Return the annotations of a comment in the form in which they are sent back."""

    def only(value: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
        return {name: value[name] for name in names if name in value}

    sent: dict[str, Any] = {
        "labelling": [only(group, _SENT["labelling"]) for group in one["labelling"]],
        "entities": {
            name: [only(entity, _ENTITY) for entity in one["entities"][name]]
            for name in _SENT["entities"]
        },
    }
    if "moon_forms" in one:
        sent["moon_forms"] = [
            {
                "group": group["group"],
                "assigned": [
                    {
                        "label": form["label"],
                        "captures": [
                            {"fields": [only(field, _CAPTURED) for field in capture["fields"]]}
                            for capture in form["captures"]
                        ],
                    }
                    for form in group["assigned"]
                ],
            }
            for group in one["moon_forms"]
        ]
    return sent
