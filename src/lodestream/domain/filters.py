"""The comment filter: its grammar, and what it means (contract: comment-filter).

`parse_filter` reads the JSON of a filter; `matches` is the meaning of a parsed filter, in plain
Python. The store compiles the same structs to SQL; its tests compare the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from lodestream.domain import facets
from lodestream.domain.errors import InvalidInput
from lodestream.domain.facets import Role
from lodestream.domain.ids import HEX16
from lodestream.domain.times import parse_us

MAX_MEMBERS: Final = 128
# The contract sets no bound for the maps; this one keeps the SQL within what SQLite compiles.
MAX_KEYS: Final = 64


class Instant(int):
    """Microseconds since 1970 UTC; on the wire an ISO 8601 text."""


class Number(float):
    """A finite double; on the wire a number or, as command lines send it, a numeric string."""


Member = Annotated[str, Meta(min_length=1, max_length=65_536)]
Members = Annotated[tuple[Member, ...], Meta(max_length=MAX_MEMBERS)]
Numbers = Annotated[tuple[Number, ...], Meta(max_length=MAX_MEMBERS)]
Bound = Number | None | UnsetType


class _Predicate(Struct, frozen=True, forbid_unknown_fields=True):
    """An empty list means the same as no list."""


class StringFilter(_Predicate, frozen=True):
    """Which texts a value may be."""

    one_of: Members = ()
    not_one_of: Members = ()
    include_missing: bool | UnsetType = UNSET


class NullableStringFilter(_Predicate, frozen=True):
    """Which texts a value may be, where None stands for no value."""

    one_of: Annotated[tuple[Member | None, ...], Meta(max_length=MAX_MEMBERS)] = ()
    not_one_of: Annotated[tuple[Member | None, ...], Meta(max_length=MAX_MEMBERS)] = ()
    include_missing: bool | UnsetType = UNSET


class StringPropertyFilter(StringFilter, frozen=True):
    """Which texts a user property may be; domains are what follows its last `@`."""

    domain_one_of: Members = ()
    domain_not_one_of: Members = ()


class NumberRange(_Predicate, frozen=True):
    """A range that includes its ends; None is no bound."""

    minimum: Bound = UNSET
    maximum: Bound = UNSET


class NumberPropertyFilter(NumberRange, frozen=True):
    """Which numbers a user property may be."""

    one_of: Numbers = ()
    not_one_of: Numbers = ()
    include_missing: bool | UnsetType = UNSET


class TimestampFilter(_Predicate, frozen=True):
    """A range of instants that includes its ends."""

    minimum: Instant | UnsetType = UNSET
    maximum: Instant | UnsetType = UNSET


class ParticipantFilter(_Predicate, frozen=True):
    """Which participants a message may have."""

    one_of: Members = ()
    not_one_of: Members = ()
    domain_one_of: Members = ()
    domain_not_one_of: Members = ()
    organisation_one_of: Members = ()
    organisation_not_one_of: Members = ()


class RecipientFilter(ParticipantFilter, frozen=True):
    """Which participants one list of recipients may have."""

    include_missing: bool | UnsetType = UNSET


class MessagesFilter(_Predicate, frozen=True, rename={"from_": "from"}):
    """Who wrote and who received; the keys need not hold of one and the same message."""

    from_: ParticipantFilter | UnsetType = UNSET
    recipient: ParticipantFilter | UnsetType = UNSET
    to: RecipientFilter | UnsetType = UNSET
    cc: RecipientFilter | UnsetType = UNSET
    bcc: RecipientFilter | UnsetType = UNSET


class AnnotationsFilter(_Predicate, frozen=True):
    """Which labels are assigned."""

    labels: StringFilter | UnsetType = UNSET


class PresenceRule(_Predicate, frozen=True):
    """Whether a field, or any field of a kind, was found in the comment."""

    rule: Literal["present", "absent"]
    id: Member | UnsetType = UNSET
    kind: Member | UnsetType = UNSET

    def __post_init__(self) -> None:
        if (self.id is UNSET) is (self.kind is UNSET):
            raise ValueError("needs either `id` or `kind`")


class EntitiesFilter(_Predicate, frozen=True):
    """Which fields were found."""

    presence: Annotated[tuple[PresenceRule, ...], Meta(max_length=MAX_MEMBERS)] = ()


class ThreadFilter(_Predicate, frozen=True):
    """What holds of the comment's thread, or of the comment's place in it."""

    id: StringFilter | UnsetType = UNSET
    thread_position: NumberRange | UnsetType = UNSET
    num_messages: NumberRange | UnsetType = UNSET
    num_participants: NumberRange | UnsetType = UNSET
    duration: NumberRange | UnsetType = UNSET
    response_time: NumberRange | UnsetType = UNSET
    all_senders: StringFilter | UnsetType = UNSET
    all_recipients: StringFilter | UnsetType = UNSET
    first_sender: StringFilter | UnsetType = UNSET
    first_recipients: StringFilter | UnsetType = UNSET


SourceId = Annotated[str, Meta(pattern=HEX16)]
PropertyFilter = StringPropertyFilter | NumberPropertyFilter


class _Keys(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    timestamp: TimestampFilter | UnsetType = UNSET
    reviewed: Literal["only_reviewed", "only_unreviewed"] | UnsetType = UNSET
    sources: Annotated[tuple[SourceId, ...], Meta(max_length=MAX_MEMBERS)] = ()
    messages: MessagesFilter | UnsetType = UNSET
    trigger_exceptions: Annotated[dict[str, NullableStringFilter], Meta(max_length=MAX_KEYS)] = {}
    annotations: AnnotationsFilter | UnsetType = UNSET
    entities: EntitiesFilter | UnsetType = UNSET
    thread_properties: ThreadFilter | UnsetType = UNSET


class WireFilter(_Keys, frozen=True, kw_only=True):
    """A filter as it is sent."""

    # The prefix of the key decides which struct the value is.
    user_properties: Annotated[dict[str, Raw], Meta(max_length=MAX_KEYS)] = {}


class CommentFilter(_Keys, frozen=True, kw_only=True):
    """A filter; every key that is given must hold."""

    user_properties: dict[str, PropertyFilter] = {}


def parse_filter(raw: bytes | Raw, *, where: str = "comment_filter") -> CommentFilter:
    """Read a filter; `null` is the empty filter.

    Raises InvalidInput with a message that begins with the path, `where` and on.
    """
    wire: WireFilter | None = _decode(raw, WireFilter | None, where)
    if wire is None:
        return CommentFilter()
    properties: dict[str, PropertyFilter] = {}
    for name, value in wire.user_properties.items():
        path = f"{where}.user_properties[{name!r}]"
        kind, colon, rest = name.partition(":")
        if not colon or kind not in ("string", "number"):
            raise InvalidInput(f"{path}: key must start with 'string:' or 'number:'")
        if not rest:
            raise InvalidInput(f"{path}: the name after the colon is empty")
        if kind == "string":
            properties[name] = _decode(value, StringPropertyFilter, path)
        else:
            properties[name] = _decode(value, NumberPropertyFilter, path)
    keys = {name: getattr(wire, name) for name in _Keys.__struct_fields__}
    return CommentFilter(user_properties=properties, **keys)


def canonical_echo(raw: bytes | Raw, *, where: str = "comment_filter") -> bytes:
    """Return a filter as it is stored and sent back: as given, but without white space.

    A null filter becomes `{}`. What clients cannot read back — a null in place of a list or inside
    one — is refused, like everything else that is not a filter, with InvalidInput.
    """
    parse_filter(raw, where=where)
    compact = msgspec.json.format(bytes(raw), indent=-1)
    return b"{}" if compact == b"null" else compact


_T = TypeVar("_T")


def _decode(raw: bytes | Raw, wanted: type[_T] | Any, where: str) -> _T:
    try:
        value: _T = msgspec.json.decode(raw, type=wanted, dec_hook=_decode_scalar)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The message ends with the place: "Expected `str`, got `int` - at `$.sources[0]`".
        reason, _, place = str(error).partition(" - at `$")
        raise InvalidInput(f"{where}{place.removesuffix('`')}: {reason}") from None
    return value


def _decode_scalar(wanted: type, value: object) -> object:
    """Make an `Instant` or a `Number`; msgspec adds the path to a ValueError."""
    if wanted is Instant:
        if not isinstance(value, str):
            raise ValueError("Expected a timestamp")
        try:
            return Instant(parse_us(value))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"Expected a timestamp: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("Expected a number")
    try:
        number = Number(value.replace("_", "x") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        raise ValueError("Expected a number") from None
    if not math.isfinite(number):
        raise ValueError("Expected a finite number")
    return number


class Participants(Struct, frozen=True, rename={"from_": "from"}):
    """The participants of a message, or of all messages of a comment."""

    from_: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()

    def of(self, *roles: Role) -> tuple[str, ...]:
        """Return the participants in any of these roles."""
        lists = {"from": self.from_, "to": self.to, "cc": self.cc, "bcc": self.bcc}
        return tuple(participant for role in roles for participant in lists[role])


class ThreadInfo(Struct, frozen=True, kw_only=True):
    """A thread, as seen from one comment in it; times are in seconds."""

    id: str
    thread_position: int
    num_messages: int
    num_participants: int
    duration_s: float
    response_time_s: float | None
    all_senders: tuple[str, ...] = ()
    all_recipients: tuple[str, ...] = ()
    first_sender: tuple[str, ...] = ()
    first_recipients: tuple[str, ...] = ()


class FilterSubject(Struct, frozen=True, kw_only=True):
    """All of a comment that a filter can test."""

    timestamp_us: int
    source_id: str
    participants: Participants = Participants()
    user_properties: Mapping[str, str | int | float] = {}
    reviewed: bool = False
    assigned_labels: tuple[str, ...] = ()
    # Type of the exception, by each name under which a filter may speak of the stream.
    exceptions: Mapping[str, str] = {}
    entity_ids: tuple[str, ...] = ()
    entity_kinds: tuple[str, ...] = ()
    thread: ThreadInfo | None = None


def matches(comment_filter: CommentFilter, subject: FilterSubject) -> bool:
    """Tell whether a filter holds of a comment: the reference for every other evaluation."""
    f = comment_filter
    return (
        (f.timestamp is UNSET or _in_range(f.timestamp, {subject.timestamp_us}))
        and (f.reviewed is UNSET or (f.reviewed == "only_reviewed") is subject.reviewed)
        and (not f.sources or subject.source_id in f.sources)
        and all(_property_matches(n, p, subject) for n, p in f.user_properties.items())
        and (f.messages is UNSET or _messages_match(f.messages, subject.participants))
        and all(_exception_matches(k, p, subject) for k, p in f.trigger_exceptions.items())
        and (f.annotations is UNSET or _texts(f.annotations.labels, subject.assigned_labels))
        and (f.entities is UNSET or all(_present(r, subject) for r in f.entities.presence))
        and (f.thread_properties is UNSET or _thread_matches(f.thread_properties, subject.thread))
    )


def _lists_hold(
    one_of: AbstractSet[Any],
    not_one_of: AbstractSet[Any],
    values: AbstractSet[Any],
    include_missing: bool | UnsetType = UNSET,
) -> bool:
    """The rule of the contract's section 11, but for ranges."""
    if not values:
        return include_missing if include_missing is not UNSET else not one_of
    return (not one_of or not values.isdisjoint(one_of)) and values.isdisjoint(not_one_of)


def _in_range(bounds: NumberRange | TimestampFilter, values: AbstractSet[float]) -> bool:
    """Tell whether the value lies inside; no value lies inside if there is no bound."""
    minimum = None if bounds.minimum is UNSET else bounds.minimum
    maximum = None if bounds.maximum is UNSET else bounds.maximum
    if not values:
        return minimum is None and maximum is None
    return (minimum is None or max(values) >= minimum) and (
        maximum is None or min(values) <= maximum
    )


def _folded(texts: Iterable[str]) -> set[str]:
    return {facets.fold(text) for text in texts}


def _texts(predicate: StringFilter | UnsetType, values: Iterable[str]) -> bool:
    """Test texts that are compared exactly."""
    if predicate is UNSET:
        return True
    return _lists_hold(
        set(predicate.one_of), set(predicate.not_one_of), set(values), predicate.include_missing
    )


def _property_matches(name: str, predicate: PropertyFilter, subject: FilterSubject) -> bool:
    value = subject.user_properties.get(name)
    if isinstance(predicate, NumberPropertyFilter):
        numbers = {facets.as_double(value)} if isinstance(value, int | float) else set()
        if not numbers and predicate.include_missing is not UNSET:
            return predicate.include_missing
        return _lists_hold(set(predicate.one_of), set(predicate.not_one_of), numbers) and _in_range(
            predicate, numbers
        )
    text = facets.fold(value) if isinstance(value, str) else ""
    texts = {text} if text.strip() else set()
    domains = {domain for text in texts if (domain := facets.domain_of(text)) is not None}
    return _lists_hold(
        _folded(predicate.one_of), _folded(predicate.not_one_of), texts, predicate.include_missing
    ) and _derived_hold(
        _bare_domains(predicate.domain_one_of),
        _bare_domains(predicate.domain_not_one_of),
        domains,
        predicate.include_missing,
    )


def _derived_hold(
    one_of: AbstractSet[str],
    not_one_of: AbstractSet[str],
    values: AbstractSet[str],
    include_missing: bool | UnsetType,
) -> bool:
    """As `_lists_hold`, for domains and organisations.

    Without a list they are not asked for, so a value that has none is not missing anything.
    """
    return not (one_of or not_one_of) or _lists_hold(one_of, not_one_of, values, include_missing)


def _bare_domains(domains: Iterable[str]) -> set[str]:
    return {facets.bare_domain(domain) for domain in domains}


def _addresses(participants: Iterable[str]) -> set[str]:
    """Return the ways in which a filter may name these participants."""
    whole = _folded(participants)
    return whole | {facets.address_of(text) for text in whole}


def _messages_match(messages: MessagesFilter, participants: Participants) -> bool:
    tested: list[tuple[ParticipantFilter | UnsetType, tuple[Role, ...]]] = [
        (messages.from_, ("from",)),
        (messages.recipient, ("to", "cc", "bcc")),
        (messages.to, ("to",)),
        (messages.cc, ("cc",)),
        (messages.bcc, ("bcc",)),
    ]
    return all(
        predicate is UNSET or _participants_match(predicate, participants.of(*roles))
        for predicate, roles in tested
    )


def _participants_match(predicate: ParticipantFilter, participants: Iterable[str]) -> bool:
    missing = predicate.include_missing if isinstance(predicate, RecipientFilter) else UNSET
    addresses = {facets.address_of(facets.fold(text)) for text in participants}
    domains = {d for a in addresses if (d := facets.domain_of(a)) is not None}
    organisations: set[str] = set()
    for domain in domains:
        organisation = facets.organisation_of(domain)
        organisations |= {organisation, organisation.partition(".")[0]}
    return (
        _lists_hold(
            _folded(predicate.one_of),
            _folded(predicate.not_one_of),
            _addresses(participants),
            missing,
        )
        and _derived_hold(
            _bare_domains(predicate.domain_one_of),
            _bare_domains(predicate.domain_not_one_of),
            domains,
            missing,
        )
        and _derived_hold(
            _bare_domains(predicate.organisation_one_of),
            _bare_domains(predicate.organisation_not_one_of),
            organisations,
            missing,
        )
    )


def _exception_matches(key: str, predicate: NullableStringFilter, subject: FilterSubject) -> bool:
    tag = subject.exceptions.get(key)
    if tag is None and predicate.include_missing is not UNSET:
        return predicate.include_missing
    return _lists_hold(set(predicate.one_of), set(predicate.not_one_of), {tag})


def _present(rule: PresenceRule, subject: FilterSubject) -> bool:
    found = rule.id in subject.entity_ids or rule.kind in subject.entity_kinds
    return found is (rule.rule == "present")


def _thread_matches(f: ThreadFilter, thread: ThreadInfo | None) -> bool:
    def value(read: Callable[[ThreadInfo], float | None]) -> set[float]:
        found = read(thread) if thread else None
        return set() if found is None else {found}

    ranges: list[tuple[NumberRange | UnsetType, set[float]]] = [
        (f.thread_position, value(lambda t: t.thread_position)),
        (f.num_messages, value(lambda t: t.num_messages)),
        (f.num_participants, value(lambda t: t.num_participants)),
        (f.duration, value(lambda t: t.duration_s)),
        (f.response_time, value(lambda t: t.response_time_s)),
    ]
    people: list[tuple[StringFilter | UnsetType, tuple[str, ...]]] = [
        (f.all_senders, thread.all_senders if thread else ()),
        (f.all_recipients, thread.all_recipients if thread else ()),
        (f.first_sender, thread.first_sender if thread else ()),
        (f.first_recipients, thread.first_recipients if thread else ()),
    ]
    return (
        _texts(f.id, [thread.id] if thread else [])
        and all(bounds is UNSET or _in_range(bounds, values) for bounds, values in ranges)
        and all(
            predicate is UNSET
            or _lists_hold(
                _folded(predicate.one_of),
                _folded(predicate.not_one_of),
                _addresses(texts),
                predicate.include_missing,
            )
            for predicate, texts in people
        )
    )
