"""The stored form of comments."""

from __future__ import annotations

import msgspec

from lodestream.domain.comments import (
    CommentNew,
    FrontMaker,
    attachments_of,
    prepare,
    source_tag,
)


def test_markup_that_looks_like_a_field_hides_no_attachment() -> None:
    source = 'x","attachments":[],"y'
    new = msgspec.json.decode(
        msgspec.json.encode(
            {
                "id": "a",
                "timestamp": "2024-01-01T00:00:00Z",
                "messages": [{"body": {"text": source, "text_markup": [{"attachments": []}]}}],
                "attachments": [{"name": "n", "size": 1, "content_type": "t"}],
            }
        ),
        type=CommentNew,
    )
    incoming = prepare(new, salt=1, tag=source_tag(1))
    front = FrontMaker("0" * 16).make(incoming, 1 << 40)
    assert [one.name for one in attachments_of(front)] == ["n"]
