"""Sources: named collections of comments in one project."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from lodestream.domain.audit import SourceRef

SourceKind = Literal["call", "chat", "unknown", "ixp_design", "ixp_runtime"]
Language = Literal["en", "de", "xlm"]


class Source(Struct, frozen=True):
    """A source. `key` is its number inside the database, `id` the one outside.

    `modified_us` is the last change of its settings or its content; `comments` how many it holds.
    """

    key: int
    id: str
    project_id: str
    owner: str
    name: str
    language: str
    title: str
    description: str
    should_translate: bool
    sensitive_properties: tuple[str, ...]
    kind: str
    bucket_id: str | None
    email_transform_tag: str | None
    email_transform_version: int | None
    created_us: int
    updated_us: int
    modified_us: int
    comments: int

    @property
    def ref(self) -> SourceRef:
        """Names for the audit log."""
        return SourceRef(self.id, self.name, self.title, self.project_id)


def hidden_properties(sensitive: tuple[str, ...]) -> frozenset[str]:
    """Return the full names of the user properties that a source marks as sensitive.

    A name in the list may come with or without its type.
    """
    names: set[str] = set()
    for name in sensitive:
        if name.startswith(("string:", "number:")):
            names.add(name)
        else:
            names.update((f"string:{name}", f"number:{name}"))
    return frozenset(names)
