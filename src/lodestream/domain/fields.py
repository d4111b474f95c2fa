"""Field types (`entity_defs` on the wire) and general fields of a dataset.

(Contract: datasets-labelling, sections 4 and 5.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Annotated, Final, Literal
from uuid import uuid4

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from lodestream.domain.errors import InvalidInput, Unprocessable
from lodestream.domain.ids import HEX16, is_id, new_id

KINDS: Final = (
    "beazley_claim_reference",
    "beazley_policy_number",
    "bic",
    "broker_name",
    "broker_number",
    "cancellation_date",
    "cconsol",
    "client_system_id",
    "colt_bcn",
    "colt_invoice_number",
    "colt_ocn",
    "colt_premises_number",
    "coma",
    "country",
    "currency",
    "cusip",
    "date",
    "db_cinq_id",
    "db_css_ticket",
    "db_domain_id",
    "db_market_reference",
    "db_nominal_quantity",
    "db_system_name",
    "db_trade_reference",
    "demo_location",
    "demo_order_number",
    "email",
    "email_address",
    "hiscox_apc_policy_number",
    "hiscox_broker_number_de",
    "hiscox_broker_number_fr",
    "hiscox_policy_number_de",
    "hiscox_policy_number_fr",
    "hiscox_quote_number_de",
    "hiscox_quote_number_fr",
    "insured_name",
    "isin",
    "jpm_trade_id",
    "lei",
    "money",
    "mtm",
    "extraction_number",
    "extraction_boolean",
    "extraction_choice",
    "numeral",
    "nwm_netting_rpa_unique_id",
    "nwm_netting_rpa_value_date",
    "org",
    "person",
    "policy_number",
    "reinfer_dev_email_end",
    "rxm",
    "sedol",
    "thames_water_meter_reading",
    "topco_po_number",
    "topco_quantity_with_unit",
    "topco_upc_number",
    "trade_id",
    "turnover",
    "ubs_authsso_login",
    "ubs_collateral_synthetic_id",
    "ubs_dcs_building_code",
    "ubs_mirror_id",
    "ubs_userclass",
    "uk_postcode",
    "url",
    "us_state",
    "value_date",
)
"""Every built-in kind of field there is in the vendor's schema."""

BUILTIN_IDS: Final[Mapping[str, str]] = {
    kind: blake2b(kind.encode(), digest_size=8, person=b"field kind").hexdigest() for kind in KINDS
}
"""The ids of the built-in kinds: the same on every server, so that exports keep their meaning."""

_BUILTIN_KINDS: Final[Mapping[str, str]] = {builtin: kind for kind, builtin in BUILTIN_IDS.items()}

FieldFlag = Literal["appears_verbatim", "allow_out_of_domain"]
Name = Annotated[str, Meta(max_length=64)]
ChoiceText = Annotated[str, Meta(min_length=1, max_length=128)]
_UUID = r"^\{?[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\}?$"


class ChoiceNew(Struct, forbid_unknown_fields=True):
    """One of the values that a field may take, with other words for it."""

    name: ChoiceText
    values: Annotated[list[ChoiceText], Meta(max_length=16)]
    id: Annotated[str, Meta(pattern=_UUID)] | UnsetType | None = UNSET


class Template(Struct, frozen=True, forbid_unknown_fields=True):
    """A pattern and what its matches stand for."""

    template: Annotated[str, Meta(min_length=1, max_length=1024)]
    pattern: Annotated[str, Meta(min_length=1, max_length=2048)]


class Regex(Struct, frozen=True, forbid_unknown_fields=True):
    """Either one pattern or several templates."""

    pattern: Annotated[str, Meta(min_length=1, max_length=2048)] | UnsetType = UNSET
    templates: Annotated[tuple[Template, ...], Meta(min_length=1, max_length=128)] | UnsetType = (
        UNSET
    )

    def __post_init__(self) -> None:
        """Check that it is one of the two forms. Raises ValueError."""
        if (self.pattern is UNSET) is (self.templates is UNSET):
            raise ValueError("needs either `pattern` or `templates`")


class RulesNew(Struct, forbid_unknown_fields=True):
    """Rules by which a field is found."""

    suppressors: Annotated[list[Annotated[str, Meta(max_length=128)]], Meta(max_length=128)] = []
    choices: Annotated[list[ChoiceNew], Meta(max_length=128)] = []
    regex: Regex | None = None


class EntityDefNew(Struct, forbid_unknown_fields=True):
    """A field type, as it is given when a dataset is created."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    title: Name
    inherits_from: Annotated[list[str], Meta(max_length=1)]
    trainable: bool
    id: UnsetType | None = UNSET
    color: Annotated[int, Meta(ge=0, le=2**31 - 1)] | UnsetType = UNSET
    rules: RulesNew | UnsetType | None = UNSET
    flags: Annotated[list[FieldFlag], Meta(max_length=2)] | UnsetType = field(
        name="_entity_def_flags", default=UNSET
    )
    instructions: Annotated[str, Meta(max_length=2048)] | UnsetType = UNSET


class EntityDefChange(EntityDefNew):
    """A field type, a new one or, by its id or else its name, one that exists."""

    id: Annotated[str, Meta(pattern=HEX16)] | UnsetType | None = UNSET  # type: ignore[assignment]


class Choice(Struct, frozen=True):
    """One of the values that a field may take."""

    id: str
    name: str
    values: tuple[str, ...]


class Rules(Struct, frozen=True):
    """Rules by which a field is found."""

    suppressors: tuple[str, ...]
    choices: tuple[Choice, ...]
    regex: Regex | None


class EntityDef(Struct, frozen=True):
    """A field type, as it is stored and, but for some flags, as clients see it."""

    id: str
    color: int
    name: str
    title: str
    inherits_from: tuple[str, ...]
    trainable: bool
    flags: tuple[FieldFlag, ...] = field(name="_entity_def_flags", default=())
    rules: Rules | UnsetType = UNSET
    instructions: str | UnsetType = UNSET


class GeneralFieldNew(Struct, forbid_unknown_fields=True):
    """A general field, as it is given when a dataset is created."""

    api_name: Annotated[str, Meta(min_length=1, max_length=64)]
    field_type_id: Annotated[str, Meta(pattern=HEX16)] | UnsetType | None = UNSET
    field_type_name: Name | UnsetType | None = UNSET
    title: Name | UnsetType = UNSET


class GeneralFieldChange(GeneralFieldNew):
    """A general field, a new one or, by its `field_id` or else its name, one that exists."""

    field_id: Annotated[str, Meta(pattern=HEX16)] | UnsetType | None = UNSET


class GeneralField(Struct, frozen=True):
    """A general field, as it is stored and as clients see it."""

    field_id: str
    field_type_id: str
    field_type_name: str
    api_name: str
    title: str


class FieldTypes:
    """The field types of a dataset, and the built-in ones, by id and by name."""

    def __init__(self, entity_defs: Iterable[EntityDef]) -> None:
        own = list(entity_defs)
        self._names = {**_BUILTIN_KINDS, **{one.id: one.name for one in own}}
        self._ids = {**BUILTIN_IDS, **{one.name: one.id for one in own}}

    def resolve(self, type_id: str | None, name: str | None, *, where: str) -> tuple[str, str]:
        """Return id and name of a field type. An id that is not known yields to the name.

        Raises Unprocessable, with `where` before the message, if neither is known.
        """
        if type_id is not None and type_id in self._names:
            return type_id, self._names[type_id]
        if name is not None and name in self._ids:
            return self._ids[name], name
        wanted = name if name is not None else type_id
        raise Unprocessable(f"{where}: no such field type: {wanted!r}")

    def retyped(self, fields: Sequence[GeneralField]) -> tuple[GeneralField, ...]:
        """Return general fields with the present names of their types.

        Raises Unprocessable if a type is gone.
        """
        found = []
        for one in fields:
            where = f"general field {one.api_name!r}"
            _, name = self.resolve(one.field_type_id, None, where=where)
            found.append(msgspec.structs.replace(one, field_type_name=name))
        return tuple(found)


def merged_entity_defs(
    stored: Sequence[EntityDef], wanted: Sequence[EntityDefNew], *, keep: Sequence[EntityDef] = ()
) -> tuple[EntityDef, ...]:
    """Return the field types that a full list asks for; known ones keep id and color.

    Those to `keep` stay although they are not in the list.

    Raises InvalidInput for an unknown kind and for a name or id that comes twice.
    """
    by_id = {one.id: one for one in stored}
    by_name = {one.name: one for one in stored}
    colors = [one.color for one in stored]
    colors += [one.color for one in wanted if one.color is not UNSET]
    next_color = max(colors, default=-1) + 1
    found = list(keep)
    for one in wanted:
        # Other servers' ids come with packages; such a definition is known by its name.
        before = by_id.get(one.id or "") or by_name.get(one.name)
        color = one.color
        if color is UNSET:
            color = next_color if before is None else before.color
            next_color += before is None
        found.append(_entity_def(before, one, color))
    require_unique([one.name for one in found], "entity_defs: two have the name")
    require_unique([one.id for one in found], "entity_defs: two have the id")
    return tuple(found)


def with_kinds(stored: Sequence[EntityDef], kinds: Sequence[str]) -> tuple[EntityDef, ...]:
    """Return the field types with one for each built-in kind that has none yet.

    Raises InvalidInput for an unknown kind.
    """
    names = {one.name for one in stored}
    found = list(stored)
    for kind in dict.fromkeys(kinds):
        new = EntityDefNew(name=kind, title=kind, inherits_from=[kind], trainable=False)
        if kind not in names:
            color = max((one.color for one in found), default=-1) + 1
            found.append(_entity_def(None, new, color))
    return tuple(found)


def merged_general_fields(
    stored: Sequence[GeneralField], wanted: Sequence[GeneralFieldNew], types: FieldTypes
) -> tuple[GeneralField, ...]:
    """Return the general fields that a full list asks for; known ones keep their id.

    Raises InvalidInput for a name that comes twice and for a field without a type, Unprocessable
    for an unknown type.
    """
    by_id = {one.field_id: one for one in stored}
    by_name = {one.api_name: one for one in stored}
    found = []
    for one in wanted:
        where = f"general field {one.api_name!r}"
        before = by_id.get(getattr(one, "field_id", None) or "") or by_name.get(one.api_name)
        type_id, name = one.field_type_id or None, one.field_type_name or None
        if type_id is None and name is None:
            if before is None:
                raise InvalidInput(f"{where}: needs a field_type_id or a field_type_name")
            type_id, name = before.field_type_id, before.field_type_name
        type_id, name = types.resolve(type_id, name, where=where)
        title = one.title
        if title is UNSET:
            title = one.api_name if before is None else before.title
        found.append(
            GeneralField(
                field_id=new_id() if before is None else before.field_id,
                field_type_id=type_id,
                field_type_name=name,
                api_name=one.api_name,
                title=title,
            )
        )
    require_unique([one.api_name for one in found], "general_fields: two have the name")
    require_unique([one.field_id for one in found], "general_fields: two have the id")
    return tuple(found)


def _entity_def(before: EntityDef | None, new: EntityDefNew, color: int) -> EntityDef:
    flags: Sequence[FieldFlag] = () if before is None else before.flags
    rules: Rules | UnsetType = UNSET if before is None else before.rules
    instructions: str | UnsetType = UNSET if before is None else before.instructions
    if new.rules is not UNSET:
        rules = UNSET if new.rules is None else _rules(new.rules)
    return EntityDef(
        id=new_id() if before is None else before.id,
        color=color,
        name=new.name,
        title=new.title,
        inherits_from=tuple(_base_id(base) for base in new.inherits_from),
        trainable=new.trainable,
        flags=tuple(dict.fromkeys(flags if new.flags is UNSET else new.flags)),
        rules=rules,
        instructions=instructions if new.instructions is UNSET else new.instructions,
    )


def _base_id(base: str) -> str:
    # An id that is not known here may have been exported elsewhere, and stays as it is.
    if base in BUILTIN_IDS:
        return BUILTIN_IDS[base]
    if is_id(base):
        return base
    raise InvalidInput(f"inherits_from: '{base}' is not one of {', '.join(KINDS)}")


def _rules(new: RulesNew) -> Rules:
    choices = tuple(
        Choice(one.id or str(uuid4()), one.name, tuple(one.values)) for one in new.choices
    )
    return Rules(tuple(new.suppressors), choices, new.regex)


def require_unique(values: Sequence[str], message: str) -> None:
    """Raise InvalidInput, with the message and the value, if a value comes twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise InvalidInput(f"{message} {value!r}")
        seen.add(value)


def copied_fields(
    entity_defs: Sequence[EntityDef], general_fields: Sequence[GeneralField]
) -> tuple[tuple[EntityDef, ...], tuple[GeneralField, ...], dict[str, str]]:
    """Return copies with ids of their own, and the new id of each field type by its old one."""
    ids = {one.id: new_id() for one in entity_defs}
    replace = msgspec.structs.replace
    types = tuple(
        replace(
            one,
            id=ids[one.id],
            inherits_from=tuple(ids.get(base, base) for base in one.inherits_from),
        )
        for one in entity_defs
    )
    fields = tuple(
        replace(
            one,
            field_id=new_id(),
            field_type_id=ids.get(one.field_type_id, one.field_type_id),
        )
        for one in general_fields
    )
    return types, fields, ids
