"""Datasets: sources seen together, with their taxonomy (contract: datasets-labelling, 2)."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from lodestream.domain.audit import DatasetRef
from lodestream.domain.errors import InvalidInput, Unprocessable
from lodestream.domain.fields import (
    EntityDef,
    EntityDefChange,
    EntityDefNew,
    GeneralField,
    GeneralFieldChange,
    GeneralFieldNew,
)
from lodestream.domain.ids import HEX16
from lodestream.domain.labels import LabelDefNew, LabelGroup, LabelGroupNew
from lodestream.domain.opaque import check_opaque

MODEL_FAMILIES: Final = (
    "english",
    "english-dev",
    "german",
    "german-dev",
    "random",
    "transformer-english",
    "transformer-xlm",
)
DatasetFlag = Literal[
    "conversational_filters",
    "external_moon_llm",
    "generative_extraction",
    "generative_prelabelling",
    "gpt4",
    "llm_assisted_labelling",
    "qos",
    "zero_shot_labels",
    "ixp",
]
LabelPropertyId = Literal["0000000000000001", "0000000000000002"]
Locale = Annotated[str, Meta(min_length=1, max_length=16)]
_ZONE = (
    r"^(?:[A-Za-z_\-]+(?:/[A-Za-z_\-]+)?(?:/[A-Za-z_\-]+)?"
    r"|Etc/[A-Za-z0-9+\-]+(?:/[A-Za-z0-9]+)?"
    r"|GMT0|GMT-0|GMT\+0|CST6CDT|EST5EDT|MST7MDT|PST8PDT)$"
)
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Timezone = Annotated[str, Meta(max_length=128, pattern=_ZONE)]


class LocalePreference(Struct, frozen=True, forbid_unknown_fields=True):
    """Which locale to use for a language."""

    language: Locale
    locale: Locale


class Locales(Struct, frozen=True, forbid_unknown_fields=True):
    """Locales for display."""

    default: Locale = "en"
    preferences: Annotated[tuple[LocalePreference, ...], Meta(max_length=1024)] = ()


class IterativeConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How a long document is read in pieces."""

    max_num_calls: Annotated[int, Meta(ge=1, le=2**31 - 1)] | UnsetType | None = UNSET
    chunk_size: Annotated[int, Meta(ge=1, le=2**31 - 1)] | UnsetType | None = UNSET


_OF_KIND: Final = {
    "cm": frozenset[str](),
    "doc_path_ixp": frozenset({"num_pages_per_chunk"}),
    "gpt_ixp": frozenset(
        {
            "model_version",
            "input_config",
            "system_prompt_override",
            "frequency_penalty",
            "temperature",
            "top_p",
            "seed",
            "flags",
            "iterative_config",
            "attribution_method",
        }
    ),
}


class ModelConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The kind of model; all but `cm` is kept and returned only."""

    kind: Literal["cm", "doc_path_ixp", "gpt_ixp"] = "cm"
    num_pages_per_chunk: Int64 | UnsetType | None = UNSET
    model_version: Literal["gpt_4o_2024_05_13"] | UnsetType | None = UNSET
    input_config: dict[str, Raw] | UnsetType | None = UNSET
    system_prompt_override: str | UnsetType | None = UNSET
    frequency_penalty: float | UnsetType | None = UNSET
    temperature: float | UnsetType | None = UNSET
    top_p: float | UnsetType | None = UNSET
    seed: Int64 | UnsetType | None = UNSET
    flags: (
        Annotated[
            tuple[
                Literal[
                    "append_taxonomy_descriptions",
                    "append_type_descriptions",
                    "append_group_descriptions",
                    "append_field_descriptions",
                ],
                ...,
            ],
            Meta(max_length=1024),
        ]
        | UnsetType
    ) = UNSET
    iterative_config: IterativeConfig | UnsetType | None = UNSET
    attribution_method: Literal["table_heuristic", "word_ids"] | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Check that only what belongs to the kind is there. Raises ValueError."""
        given = {name for name in _ALL_OF_KINDS if getattr(self, name) is not UNSET}
        foreign = given - _OF_KIND[self.kind]
        if foreign:
            raise ValueError(f"a model config of kind {self.kind!r} has no {min(foreign)!r}")
        for name, value in (self.input_config or {}).items():
            check_opaque(value, where=f"input_config.{name}")
        if self.kind == "gpt_ixp" and self.flags is UNSET:
            raise ValueError("a model config of kind 'gpt_ixp' needs `flags`")


_ALL_OF_KINDS: Final = frozenset[str]().union(*_OF_KIND.values())


class Settings(Struct, frozen=True):
    """Settings of a dataset that nothing is looked up by."""

    flags: tuple[DatasetFlag, ...] = ()
    label_properties: tuple[LabelPropertyId, ...] = ()
    timezone: str = "UTC"
    preferred_locales: Locales = Locales()
    model_config: ModelConfig = ModelConfig()
    debug_config_json: str | None = None


class SourceMember(Struct, frozen=True):
    """A source of a dataset. `key` is its number inside the database."""

    key: int
    id: str
    project_id: str


class Dataset(Struct, frozen=True):
    """A dataset with its taxonomy. `sources` are in the order in which they were set."""

    id: str
    project_id: str
    owner: str
    name: str
    title: str
    description: str
    model_family: str
    has_sentiment: bool
    settings: Settings
    created_us: int
    updated_us: int
    sources: tuple[SourceMember, ...] = ()
    label_groups: tuple[LabelGroup, ...] = ()
    entity_defs: tuple[EntityDef, ...] = ()
    general_fields: tuple[GeneralField, ...] = ()

    @property
    def ref(self) -> DatasetRef:
        """Names for the audit log."""
        return DatasetRef(self.id, self.name, self.title, self.project_id)


Title = Annotated[str, Meta(max_length=128)]
Description = Annotated[str, Meta(max_length=16_384)]
SourceIds = Annotated[list[Annotated[str, Meta(pattern=HEX16)]], Meta(max_length=1024)]


class _Given(Struct, forbid_unknown_fields=True, kw_only=True):
    title: Title | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    source_ids: SourceIds | UnsetType = UNSET
    model_family: Annotated[str, Meta(max_length=1024)] | UnsetType = UNSET
    entity_kinds: (
        Annotated[list[Annotated[str, Meta(max_length=256)]], Meta(max_length=1024)] | UnsetType
    ) = UNSET
    flags: Annotated[list[DatasetFlag], Meta(max_length=1024)] | UnsetType = field(
        name="_dataset_flags", default=UNSET
    )
    label_properties: Annotated[list[LabelPropertyId], Meta(max_length=1024)] | UnsetType = field(
        name="_label_properties", default=UNSET
    )
    timezone: Timezone | UnsetType = field(name="_timezone", default=UNSET)
    preferred_locales: Locales | UnsetType = field(name="_preferred_locales", default=UNSET)
    model_config: ModelConfig | UnsetType = field(name="_model_config", default=UNSET)


class DatasetNew(_Given, kw_only=True):
    """A dataset, as a client creates it."""

    has_sentiment: bool = True
    entity_defs: Annotated[list[EntityDefNew], Meta(max_length=1024)] = []
    general_fields: Annotated[list[GeneralFieldNew], Meta(max_length=1024)] = []
    label_groups: Annotated[list[LabelGroupNew], Meta(max_length=1024)] = []
    label_defs: Annotated[list[LabelDefNew], Meta(max_length=1024)] = []
    copy_annotations_from: Annotated[str, Meta(pattern=HEX16)] | UnsetType = UNSET
    debug_config_json: Annotated[str, Meta(max_length=1024)] | UnsetType = UNSET
    experimental_async_fork_dataset: bool | UnsetType = UNSET


class DatasetChange(_Given, kw_only=True):
    """What a client changes; the lists of fields are full lists."""

    entity_defs: Annotated[list[EntityDefChange], Meta(max_length=1024)] | UnsetType = UNSET
    general_fields: Annotated[list[GeneralFieldChange], Meta(max_length=1024)] | UnsetType = UNSET
    debug_config_json: Annotated[str, Meta(max_length=1024)] | UnsetType | None = UNSET
    default_label_group_instructions: Annotated[str, Meta(max_length=4096)] | UnsetType = field(
        name="_default_label_group_instructions", default=UNSET
    )


def check_given(given: DatasetNew | DatasetChange) -> None:
    """Check what the types cannot say.

    Raises InvalidInput for an unknown model family, Unprocessable for an unknown time zone.
    """
    family = given.model_family
    if family is not UNSET and family not in MODEL_FAMILIES:
        raise InvalidInput(f"'{family}' is not one of {list(MODEL_FAMILIES)}")
    if given.timezone is not UNSET:
        require_zone(given.timezone)


def require_zone(name: str) -> ZoneInfo:
    """Return the time zone of this IANA name. Raises Unprocessable if there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Unprocessable(f"No such time zone: {name}") from None


def changed_settings(before: Settings, given: DatasetNew | DatasetChange) -> Settings:
    """Return the settings with those that are given."""
    return Settings(
        flags=before.flags if given.flags is UNSET else tuple(dict.fromkeys(given.flags)),
        label_properties=(
            before.label_properties
            if given.label_properties is UNSET
            else tuple(dict.fromkeys(given.label_properties))
        ),
        timezone=before.timezone if given.timezone is UNSET else given.timezone,
        preferred_locales=(
            before.preferred_locales
            if given.preferred_locales is UNSET
            else given.preferred_locales
        ),
        model_config=before.model_config if given.model_config is UNSET else given.model_config,
        debug_config_json=(
            before.debug_config_json
            if given.debug_config_json is UNSET
            else given.debug_config_json
        ),
    )
