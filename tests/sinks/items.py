"""Stream results for sinks, made by hand."""

from __future__ import annotations

import json
from typing import Any

from lodestream.domain.places import comment_sequence_id
from lodestream.sinks.results import Item

SOURCE_ID = "18ba5ce699f8da1f"


def item(
    comment_id: str = "c1",
    *,
    pos: int = 1 << 61,
    labels: dict[str, float] | None = None,
    **more: Any,
) -> Item:
    """A result with one message; `more` are fields of the comment."""
    uid = f"{SOURCE_ID}.{comment_id}"
    comment = {
        "uid": uid,
        "source_id": SOURCE_ID,
        "created_at": "2024-01-01T00:00:00.000000Z",
        "id": comment_id,
        "timestamp": "2024-01-01T00:00:00Z",
        "messages": [
            {
                "from": "ann@example.com",
                "to": ["bob@example.com", "cy@example.com"],
                "sent_at": "2024-01-01T00:00:00Z",
                "subject": {"text": "Policy"},
                "body": {"text": "Where is it?"},
            }
        ],
        "user_properties": {"string:Folder": "Inbox", "number:Size": 3},
        **more,
    }
    place = comment_sequence_id(pos, int(SOURCE_ID, 16)).decode()
    result: dict[str, Any] = {"comment": comment, "sequence_id": place}
    if labels is not None:
        result["labels"] = [
            {"name": name.split(" > "), "probability": value} for name, value in labels.items()
        ]
        result["entities"] = [
            {"id": "b1", "name": "policy-number", "formatted_value": "881", "spans": []}
        ]
    return Item(uid, place, json.dumps(result).encode())
