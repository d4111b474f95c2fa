"""Definitions of labels and field types, as a change of them is remembered: what differs."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from lodestream.domain.fields import EntityDef


class LabelRow(Struct, frozen=True):
    """A label's definition with all that is stored beside it."""

    key: int
    group: str
    name: str
    rank: int
    created_us: int
    body: Raw


class Definitions(Struct, frozen=True, omit_defaults=True):
    """Those definitions of a dataset that a change touched, before or after it."""

    labels: tuple[LabelRow, ...] = ()
    entity_defs: tuple[EntityDef, ...] = ()


def changed_types(
    before: tuple[EntityDef, ...], after: tuple[EntityDef, ...]
) -> tuple[Definitions, Definitions]:
    """Return the field types that differ, as they were and as they are."""
    old, new = {one.id: one for one in before}, {one.id: one for one in after}
    return (
        Definitions(entity_defs=tuple(o for o in before if new.get(o.id) != o)),
        Definitions(entity_defs=tuple(o for o in after if old.get(o.id) != o)),
    )


decode_definitions = msgspec.json.Decoder(Definitions).decode
