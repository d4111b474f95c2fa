"""Attribute filters: the second, flat kind of filter (contract: comment-filter, section 5).

Labels and fields come from annotations and predictions, attachments stand in the comment itself.
No label property is computed, so no comment has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from lodestream.domain.comments import Attachment
from lodestream.domain.errors import InvalidInput
from lodestream.domain.ids import HEX16

Text = Annotated[str, Meta(max_length=65_536)]
Texts = Annotated[list[Text], Meta(min_length=1, max_length=128)]
FieldTypeIds = Annotated[list[Annotated[str, Meta(pattern=HEX16)]], Meta(max_length=128)]
_ATTRIBUTE = (
    r"^(?:labels|entities|label_property_id:[0-9a-f]{16}"
    r"|attachment_property_(?:num_attachments(?:_with_contents|_without_contents)?"
    r"|types|names|extensions|size|total_size))$"
)


class _Test(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    pass


class StringAnyOf(_Test, frozen=True, tag="string_any_of"):
    """One of the values is in the list."""

    any_of: Texts


class StringNoneOf(_Test, frozen=True, tag="string_none_of"):
    """None of the values is in the list."""

    none_of: Texts


class StringSearch(_Test, frozen=True, tag="string_search"):
    """One of the values contains the text."""

    query: Text


class NumberInRange(_Test, frozen=True, tag="number_range"):
    """One of the values lies in a range that includes its ends; None is no bound."""

    minimum: float | UnsetType | None = UNSET
    maximum: float | UnsetType | None = UNSET


class FieldsPresent(_Test, frozen=True, tag="assigned_predicted_present"):
    """Which field types are assigned, predicted or neither."""

    any_assigned: FieldTypeIds
    any_predicted: FieldTypeIds
    none_present: FieldTypeIds


Test = StringAnyOf | StringNoneOf | StringSearch | NumberInRange | FieldsPresent


class AttributeFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """One attribute and the test that its values must pass."""

    attribute: Annotated[str, Meta(pattern=_ATTRIBUTE)]
    filter: Test


AttributeFilters = Annotated[list[AttributeFilter], Meta(max_length=128)]

_TEXT: Final = (StringAnyOf, StringNoneOf)
_SEARCHED: Final = (*_TEXT, StringSearch)
_NUMBER: Final = (NumberInRange,)


LabelsTest = StringAnyOf | StringNoneOf


class Requirements(Struct, frozen=True):
    """What attribute filters ask for: `never` if no comment passes them, of labels, and so on."""

    never: bool
    attachments: Callable[[Sequence[Attachment]], bool] | None
    labels: tuple[LabelsTest, ...] = ()
    fields: tuple[FieldsPresent, ...] = ()


def read_attributes(filters: Sequence[AttributeFilter]) -> Requirements:
    """Return what attribute filters, all of which must hold, ask of a comment.

    Raises InvalidInput if a test does not suit its attribute.
    """
    never = False
    labels: list[LabelsTest] = []
    fields: list[FieldsPresent] = []
    tests: list[tuple[Callable[[Sequence[Attachment]], list[str] | list[int]], Test]] = []
    for index, one in enumerate(filters):
        if not isinstance(one.filter, _suitable(one.attribute)):
            raise InvalidInput(
                f"attribute_filters[{index}]: this kind of filter does not suit {one.attribute!r}"
            )
        values = _ATTACHMENT_VALUES.get(one.attribute)
        if values is not None:
            tests.append((values, one.filter))
        elif isinstance(one.filter, FieldsPresent):
            fields.append(one.filter)
        elif isinstance(one.filter, StringAnyOf | StringNoneOf):
            labels.append(one.filter)
        else:
            never = never or not _holds(one.filter, [])

    def hold(attachments: Sequence[Attachment]) -> bool:
        return all(_holds(test, read(attachments)) for read, test in tests)

    return Requirements(never, hold if tests else None, tuple(labels), tuple(fields))


def _suitable(attribute: str) -> tuple[type, ...]:
    if attribute == "entities":
        return (FieldsPresent,)
    if attribute == "labels":
        return _TEXT
    if attribute.rpartition("_")[2] in ("types", "names", "extensions"):
        return _SEARCHED
    return _NUMBER


def _holds(test: Test, values: Sequence[str] | Sequence[int]) -> bool:
    assert not isinstance(test, FieldsPresent)  # of fields, which are no values of this kind
    if isinstance(test, NumberInRange):
        minimum, maximum = test.minimum, test.maximum
        if minimum in (UNSET, None) and maximum in (UNSET, None):
            return True
        return any(
            (minimum is UNSET or minimum is None or number >= minimum)
            and (maximum is UNSET or maximum is None or number <= maximum)
            for number in values
            if isinstance(number, int)
        )
    texts = {text.casefold() for text in values if isinstance(text, str)}
    if isinstance(test, StringSearch):
        return any(test.query.casefold() in text for text in texts)
    listed = test.any_of if isinstance(test, StringAnyOf) else test.none_of
    is_listed = not texts.isdisjoint(text.casefold().removeprefix(".") for text in listed)
    return is_listed if isinstance(test, StringAnyOf) else not is_listed


def _extension(name: str) -> str:
    return name.rpartition(".")[2] if "." in name else ""


def _has_content(attachment: Attachment) -> bool:
    return attachment.content_hash is not UNSET


_ATTACHMENT_VALUES: Final[dict[str, Callable[[Sequence[Attachment]], list[str] | list[int]]]] = {
    "attachment_property_num_attachments": lambda found: [len(found)],
    "attachment_property_num_attachments_with_contents": lambda found: [
        sum(_has_content(one) for one in found)
    ],
    "attachment_property_num_attachments_without_contents": lambda found: [
        sum(not _has_content(one) for one in found)
    ],
    "attachment_property_types": lambda found: [one.content_type for one in found],
    "attachment_property_names": lambda found: [one.name for one in found],
    "attachment_property_extensions": lambda found: [_extension(one.name) for one in found],
    "attachment_property_size": lambda found: [one.size for one in found],
    "attachment_property_total_size": lambda found: [sum(one.size for one in found)],
}
