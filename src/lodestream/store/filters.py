"""A comment filter as SQL over the table `comment`.

Each test is a condition that is true, false or, where the comment has no facets at all, NULL; NULL
counts as false, and only `_not` negates. Plain columns are tested first, then properties and
participants by substring search (see `domain/facets.py`), then what needs another table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, UnsetType
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from lodestream.domain import facets
from lodestream.domain.facets import Role
from lodestream.domain.filters import (
    CommentFilter,
    MessagesFilter,
    NullableStringFilter,
    NumberPropertyFilter,
    NumberRange,
    ParticipantFilter,
    PresenceRule,
    RecipientFilter,
    StringFilter,
    StringPropertyFilter,
    ThreadFilter,
    TimestampFilter,
)
from lodestream.domain.labels import DEFAULT_GROUP
from lodestream.store.tables import (
    annotated_comment,
    comment,
    dataset_source,
    entity_def,
    field_mark,
    label_def,
    label_mark,
    stream_exception,
)

Condition = sa.ColumnElement[bool]

_RECIPIENTS: Final[tuple[Role, ...]] = ("to", "cc", "bcc")
# Beyond this many marks another way is cheaper, and no expression grows without bound.
_SEARCHES_SPELLED_OUT: Final = 16


@dataclass(frozen=True, slots=True)
class FilterScope:
    """What the names in a filter stand for, in one dataset or for one source."""

    source_keys: Mapping[str, int]  # source id to key
    stream_ids: Mapping[str, str]  # stream name to id
    dataset_id: str | None = None  # whose annotations are meant; None: those of any dataset


def compile_filter(
    comment_filter: CommentFilter, *, dialect_name: str, scope: FilterScope
) -> Condition | None:
    """Return the condition on `comment` under which a filter holds; None if it always does.

    The condition does not confine comments to the sources of `scope`: that is the query's part.
    """
    f = comment_filter
    access = _ACCESS[dialect_name]
    found: list[Condition | None] = []
    if f.timestamp is not UNSET:
        found.append(_timestamp(f.timestamp))
    if f.sources:
        keys = {scope.source_keys[i] for i in f.sources if i in scope.source_keys}
        found.append(access.is_in(comment.c.source, sorted(keys)) if keys else sa.false())
    found += _annotation_conditions(f, scope)
    for name, predicate in f.user_properties.items():
        key = facets.property_key(name)
        if isinstance(predicate, NumberPropertyFilter):
            found.append(_number_property(access, key, predicate))
        else:
            found.append(_string_property(access, key, predicate))
    if f.messages is not UNSET:
        found += _messages(access, f.messages)
    for name, exception in f.trigger_exceptions.items():
        found.append(_trigger_exception(access, name, exception, scope))
    if f.thread_properties is not UNSET:
        found += _thread(access, f.thread_properties)
    return _all(found)


def _annotation_conditions(f: CommentFilter, scope: FilterScope) -> list[Condition | None]:
    """Return the conditions on what people said. Predicted labels are no annotations."""
    found: list[Condition | None] = []
    if f.reviewed is not UNSET:
        reviewed = _is_reviewed(scope.dataset_id)
        found.append(reviewed if f.reviewed == "only_reviewed" else _not(reviewed))
    if f.annotations is not UNSET and f.annotations.labels is not UNSET:
        labels = f.annotations.labels
        found.append(
            _lists(
                labels.one_of,
                labels.not_one_of,
                lambda members: _is_assigned(scope.dataset_id, members),
                is_missing=_not(_is_assigned(scope.dataset_id, None)),
                include_missing=labels.include_missing,
            )
        )
    if f.entities is not UNSET:
        for rule in f.entities.presence:
            has = _has_field(scope.dataset_id, rule)
            found.append(has if rule.rule == "present" else _not(has))
    return found


def _is_reviewed(dataset_id: str | None) -> Condition:
    """Tell whether anything was said of the comment: in a dataset, or (None) in any it is in."""
    mark = annotated_comment.c
    here = sa.exists().where(mark.pos == comment.c.pos, mark.reviewed)
    if dataset_id is not None:
        return here.where(mark.dataset_id == dataset_id).correlate(comment)
    member = dataset_source.c
    return here.where(member.dataset_id == mark.dataset_id, member.source == mark.source).correlate(
        comment
    )


def _is_assigned(dataset_id: str | None, names: Sequence[str] | None) -> Condition:
    """Tell whether one of the labels, or (None) any label at all, is assigned."""
    mark = label_mark.c
    conditions = [mark.dataset_id == dataset_id, mark.pos == comment.c.pos, sa.not_(mark.dismissed)]
    if names is not None:
        defined = label_def.c
        keys = sa.select(defined.key).where(
            defined.dataset_id == dataset_id,
            defined.group_name == DEFAULT_GROUP,
            defined.name.in_(_storable(names)),
        )
        conditions.append(mark.label.in_(keys))
    return sa.exists().where(*conditions).correlate(comment)


def _has_field(dataset_id: str | None, rule: PresenceRule) -> Condition:
    """Tell whether a field of a type is assigned; the type is given by its id or its name."""
    mark = field_mark.c
    conditions = [mark.dataset_id == dataset_id, mark.pos == comment.c.pos, sa.not_(mark.dismissed)]
    if rule.id is not UNSET:
        conditions.append(mark.entity_def_id.in_(_storable([rule.id])))
    if rule.kind is not UNSET:
        defined = entity_def.c
        ids = sa.select(defined.id).where(
            defined.dataset_id == dataset_id, defined.name.in_(_storable([rule.kind]))
        )
        conditions.append(mark.entity_def_id.in_(ids))
    return sa.exists().where(*conditions).correlate(comment)


def _timestamp(bounds: TimestampFilter) -> Condition | None:
    column = comment.c.timestamp_us
    return _all(
        [
            None if bounds.minimum is UNSET else column >= int(bounds.minimum),
            None if bounds.maximum is UNSET else column <= int(bounds.maximum),
        ]
    )


def _string_property(
    access: _Access, key: str, predicate: StringPropertyFilter
) -> Condition | None:
    column = comment.c.facets
    is_missing = _not(access.has_key(column, key))
    condition = _lists(
        predicate.one_of,
        predicate.not_one_of,
        lambda members: access.is_text(column, key, _folded(members)),
        is_missing=is_missing,
        include_missing=predicate.include_missing,
    )
    if not (predicate.domain_one_of or predicate.domain_not_one_of):
        return condition
    text = sa.func.rtrim(access.text(column, key), ">")

    domains = _lists(
        predicate.domain_one_of,
        predicate.domain_not_one_of,
        # A bare domain has no @ before its end, so a text ends in at most one of these.
        lambda members: access.ends_with(
            text, ["@" + domain for domain in dict.fromkeys(map(facets.bare_domain, members))]
        ),
        is_missing=_not(access.position(text, "@") > 0),
        include_missing=predicate.include_missing,
    )
    return _all([condition, domains])


def _number_property(
    access: _Access, key: str, predicate: NumberPropertyFilter
) -> Condition | None:
    value = access.number(comment.c.facets, key)
    return _lists(
        predicate.one_of,
        predicate.not_one_of,
        lambda members: access.is_in(value, list(dict.fromkeys(map(facets.number_key, members)))),
        is_missing=value.is_(None),
        include_missing=predicate.include_missing,
        bounds=_range(value, predicate, facets.number_key),
    )


def _messages(access: _Access, messages: MessagesFilter) -> list[Condition | None]:
    tested: list[tuple[ParticipantFilter | UnsetType, tuple[Role, ...]]] = [
        (messages.from_, ("from",)),
        (messages.to, ("to",)),
        (messages.cc, ("cc",)),
        (messages.bcc, ("bcc",)),
        (messages.recipient, _RECIPIENTS),
    ]
    return [
        condition
        for predicate, roles in tested
        if predicate is not UNSET
        for condition in _participants(access, predicate, roles)
    ]


def _participants(
    access: _Access, predicate: ParticipantFilter, roles: tuple[Role, ...]
) -> list[Condition | None]:
    missing = predicate.include_missing if isinstance(predicate, RecipientFilter) else UNSET
    column = comment.c.facets

    def has(marks: Iterable[str]) -> Condition:
        return access.has_mark(column, list(dict.fromkeys(marks)))

    has_any = has(mark for role in roles for mark in facets.presence_marks(role))
    conditions = [
        _lists(
            predicate.one_of,
            predicate.not_one_of,
            lambda members: _has_participant(access, column, _participant_marks(roles, members)),
            is_missing=_not(has_any),
            include_missing=missing,
        )
    ]
    # Participants without a domain are not asked for one unless there is a list.
    has_domain = has(facets.domain_presence_mark(role) for role in roles)
    if predicate.domain_one_of or predicate.domain_not_one_of:
        conditions.append(
            _lists(
                predicate.domain_one_of,
                predicate.domain_not_one_of,
                lambda members: _has_participant(
                    access,
                    column,
                    list(dict.fromkeys(facets.domain_mark(r, m) for r in roles for m in members)),
                    by_domain=True,
                ),
                is_missing=_not(has_domain),
                include_missing=missing,
            )
        )
    if predicate.organisation_one_of or predicate.organisation_not_one_of:
        conditions.append(
            _lists(
                predicate.organisation_one_of,
                predicate.organisation_not_one_of,
                lambda members: has(
                    mark for r in roles for m in members for mark in facets.organisation_marks(r, m)
                ),
                is_missing=_not(has_domain),
                include_missing=missing,
            )
        )
    return conditions


def _has_participant(
    access: _Access,
    column: sa.ColumnElement[Any],
    marks: Sequence[str],
    *,
    by_domain: bool = False,
) -> Condition:
    """Tell whether any of the marks is there: marks of participants, or of domains.

    Few marks are searched for. For many it is cheaper to look up each entry among them.
    """
    if len(marks) <= _SEARCHES_SPELLED_OUT:
        return access.has_mark(column, marks)
    entries = access.entries(column)
    part: sa.ColumnElement[str] = entries.c.value
    if by_domain:
        part = sa.func.substr(part, access.position(part, "@"), type_=sa.Text)
    found = access.is_in(part, [mark.strip(facets.SEPARATOR) for mark in marks])
    return sa.exists().select_from(entries).where(found).correlate_except(entries)


def _participant_marks(roles: Iterable[Role], members: Iterable[str]) -> list[str]:
    marks = (facets.participant_mark(role, member) for role in roles for member in members)
    return list(dict.fromkeys(marks))


def _trigger_exception(
    access: _Access, name: str, predicate: NullableStringFilter, scope: FilterScope
) -> Condition | None:
    """Test the tag of one stream; a stream that does not exist has tagged nothing."""
    stream_id = name if name in scope.stream_ids.values() else scope.stream_ids.get(name)
    tag = stream_exception.c

    def tagged(*conditions: Condition) -> Condition:
        if stream_id is None:
            return sa.false()
        return (
            sa.exists()
            .where(tag.stream_id == stream_id, tag.pos == comment.c.pos, *conditions)
            .correlate(comment)
        )

    def is_any_of(members: Sequence[str | None]) -> Condition:
        types = _storable(member for member in members if member is not None)
        alternatives: list[Condition] = [sa.false()]
        if types:
            alternatives.append(tagged(access.is_in(tag.type, types)))
        # With `include_missing` only that word decides on comments without a tag.
        if None in members and predicate.include_missing is UNSET:
            alternatives.append(_not(tagged()))
        return sa.or_(*alternatives)

    return _lists(
        predicate.one_of,
        predicate.not_one_of,
        is_any_of,
        is_missing=_not(tagged()),
        include_missing=predicate.include_missing,
    )


def _thread(access: _Access, predicate: ThreadFilter) -> list[Condition | None]:
    """Test the thread: the comments of the same source and thread id.

    They stand in the order of timestamp and position. The response time is counted from the
    comment before; each comment counts as one message, and the first comment is the first message.
    """
    other = comment.alias("other")
    in_thread = sa.and_(
        other.c.source == comment.c.source, other.c.thread_id == comment.c.thread_id
    )
    place = sa.tuple_(comment.c.timestamp_us, comment.c.pos)
    other_place = (other.c.timestamp_us, other.c.pos)

    def value(expression: sa.ColumnElement[Any], *conditions: Condition) -> sa.ColumnElement[Any]:
        select = sa.select(expression).select_from(other).where(in_thread, *conditions)
        return select.correlate(comment).scalar_subquery()

    count = sa.func.count()
    spread = sa.func.max(other.c.timestamp_us) - sa.func.min(other.c.timestamp_us)
    previous = value(sa.func.max(other.c.timestamp_us), sa.tuple_(*other_place) < place)
    ranges: list[tuple[NumberRange | UnsetType, Callable[[], sa.ColumnElement[Any]]]] = [
        (predicate.thread_position, lambda: value(count, sa.tuple_(*other_place) <= place)),
        (predicate.num_messages, lambda: value(count)),
        (predicate.duration, lambda: _seconds(value(spread))),
        (predicate.response_time, lambda: _seconds(comment.c.timestamp_us - previous)),
        (predicate.num_participants, lambda: _num_participants(access, other, in_thread)),
    ]
    is_in_thread = comment.c.thread_id.is_not(None)
    conditions: list[Condition | None] = []
    for bounds, measure in ranges:
        if bounds is not UNSET:
            inside = _range(measure(), bounds, float)
            conditions.append(None if inside is None else sa.and_(is_in_thread, inside))
    if predicate.id is not UNSET:
        conditions.append(
            _lists(
                predicate.id.one_of,
                predicate.id.not_one_of,
                lambda members: access.is_in(comment.c.thread_id, _storable(members)),
                is_missing=comment.c.thread_id.is_(None),
                include_missing=predicate.id.include_missing,
            )
        )

    def anyone_has(marks: Sequence[str]) -> Condition:
        marked = access.has_mark(other.c.facets, marks)
        # In order, although any would do: without statistics SQLite else reads the whole source.
        select = sa.select(other.c.pos).where(in_thread, marked).order_by(*other_place).limit(1)
        return select.correlate(comment).scalar_subquery().is_not(None)

    in_order = sa.select(other.c.facets).where(in_thread).order_by(*other_place)
    first = in_order.limit(1).correlate(comment).scalar_subquery()

    def first_has(marks: Sequence[str]) -> Condition:
        return access.has_mark(first, marks)

    people: list[
        tuple[StringFilter | UnsetType, tuple[Role, ...], Callable[[Sequence[str]], Condition]]
    ] = [
        (predicate.first_sender, ("from",), first_has),
        (predicate.first_recipients, _RECIPIENTS, first_has),
        (predicate.all_senders, ("from",), anyone_has),
        (predicate.all_recipients, _RECIPIENTS, anyone_has),
    ]
    for people_predicate, roles, has in people:
        if people_predicate is not UNSET:
            conditions.append(_thread_people(people_predicate, roles, has))
    return conditions


def _thread_people(
    predicate: StringFilter, roles: tuple[Role, ...], has: Callable[[Sequence[str]], Condition]
) -> Condition | None:
    return _lists(
        predicate.one_of,
        predicate.not_one_of,
        lambda members: has(_participant_marks(roles, members)),
        is_missing=_not(has([mark for role in roles for mark in facets.presence_marks(role)])),
        include_missing=predicate.include_missing,
    )


def _num_participants(
    access: _Access, other: sa.FromClause, in_thread: Condition
) -> sa.ColumnElement[Any]:
    """Count the addresses in the thread, in whichever role."""
    entries = access.entries(other.c.facets)
    entry = entries.c.value
    name: sa.ColumnElement[Any] = entry
    for tag in facets.ADDRESS_TAGS + facets.TEXT_TAGS:
        name = sa.func.replace(name, tag, "")
    is_full_form = sa.func.substr(entry, 1, 1).in_(list(facets.FULL_FORM_TAGS))
    select = (
        sa.select(sa.func.count(sa.distinct(name)))
        .select_from(other)
        .join(entries, sa.true())
        .where(in_thread, entry != "", sa.not_(is_full_form))
    )
    return select.correlate(comment).scalar_subquery()


def _seconds(microseconds: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.cast(microseconds, sa.Double) / sa.literal(1e6, sa.Double)


def _lists(
    one_of: Sequence[Any],
    not_one_of: Sequence[Any],
    is_any_of: Callable[[Sequence[Any]], Condition],
    *,
    is_missing: Condition,
    include_missing: bool | UnsetType,
    bounds: Condition | None = None,
) -> Condition | None:
    """Return the rule of the contract's section 11; `is_any_of` is not true of a missing value."""
    required = [bounds] if bounds is not None else []
    if one_of:
        required.insert(0, is_any_of(one_of))
    conditions = [*required, _not(is_any_of(not_one_of))] if not_one_of else required
    if include_missing is False and not required:
        conditions.append(_not(is_missing))
    condition = _all(conditions)
    if include_missing is True and condition is not None:
        return sa.or_(condition, is_missing)
    return condition


def _range(
    value: sa.ColumnElement[Any], bounds: NumberRange, encode: Callable[[float], str | float]
) -> Condition | None:
    minimum = None if bounds.minimum in (None, UNSET) else encode(bounds.minimum)
    maximum = None if bounds.maximum in (None, UNSET) else encode(bounds.maximum)
    if minimum is not None and maximum is not None:
        return value.between(minimum, maximum)
    if minimum is not None:
        return value >= minimum
    return None if maximum is None else value <= maximum


def _folded(members: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(map(facets.fold, members)))


def _storable(members: Iterable[str]) -> list[str]:
    """Return the members without those that hold a NUL: PostgreSQL cannot even compare them."""
    return [member for member in dict.fromkeys(members) if "\x00" not in member]


def _all(conditions: Sequence[Condition | None]) -> Condition | None:
    given = [condition for condition in conditions if condition is not None]
    return sa.and_(*given) if given else None


def _not(condition: Condition) -> Condition:
    """Negate; what is NULL is not true, so its negation is."""
    return condition.is_not(sa.true())


class _Access(Protocol):
    """How a database looks into facets. All that differs between the two is below."""

    def has_key(self, column: sa.ColumnElement[Any], key: str) -> Condition:
        """Tell whether there is a property."""

    def text(self, column: sa.ColumnElement[Any], key: str) -> sa.ColumnElement[str]:
        """Return a string property, or NULL."""

    def is_text(self, column: sa.ColumnElement[Any], key: str, texts: Sequence[str]) -> Condition:
        """Tell whether a string property is one of the texts."""

    def number(self, column: sa.ColumnElement[Any], key: str) -> sa.ColumnElement[str]:
        """Return a number property as the digits that `number_key` makes, or NULL."""

    def has_mark(self, column: sa.ColumnElement[Any], marks: Sequence[str]) -> Condition:
        """Tell whether any of the marks of participants is there."""

    def entries(self, column: sa.ColumnElement[Any]) -> sa.FromClause:
        """Return a table whose column `value` holds the entries of participants."""

    def position(self, text: sa.ColumnElement[str], part: str) -> sa.ColumnElement[int]:
        """Return where a part begins, from 1; 0 if it is not there."""

    def ends_with(self, text: sa.ColumnElement[str], endings: Sequence[str]) -> Condition:
        """Tell whether a text ends in one of the endings."""

    def is_in(
        self, value: sa.ColumnElement[Any], members: Sequence[str] | Sequence[int]
    ) -> Condition:
        """Tell whether a value is one of the members, which are bound as one parameter."""


class _SqliteAccess:
    # Facets are searched as they are stored, as JSON text; so what is searched for is escaped too.

    def has_key(self, column: sa.ColumnElement[Any], key: str) -> Condition:
        return self._holds(column, f'"{key}":"')

    def text(self, column: sa.ColumnElement[Any], key: str) -> sa.ColumnElement[str]:
        return sa.func.json_extract(column, f'$."{key}"', type_=sa.Text)

    def is_text(self, column: sa.ColumnElement[Any], key: str, texts: Sequence[str]) -> Condition:
        if len(texts) > 2:  # From here on one extraction is cheaper than the searches.
            return self.is_in(self.text(column, key), texts)
        return sa.or_(*(self._holds(column, f'"{key}":"{_escaped(text)}"') for text in texts))

    def number(self, column: sa.ColumnElement[Any], key: str) -> sa.ColumnElement[str]:
        front = f'"{key}":"'
        start = sa.func.nullif(sa.func.instr(column, front, type_=sa.Integer), 0) + len(front)
        return sa.func.substr(column, start, 16, type_=sa.Text)

    def has_mark(self, column: sa.ColumnElement[Any], marks: Sequence[str]) -> Condition:
        escaped = [_escaped(mark) for mark in marks]
        if len(escaped) <= _SEARCHES_SPELLED_OUT:
            return sa.or_(*(self._holds(column, mark) for mark in escaped))
        each = self._each(escaped)
        found = sa.func.instr(column, each.c.value, type_=sa.Integer) > 0
        return sa.exists().select_from(each).where(found).correlate_except(each)

    def entries(self, column: sa.ColumnElement[Any]) -> sa.FromClause:
        quoted = sa.func.json_quote(sa.func.json_extract(column, "$.p"), type_=sa.Text)
        array = sa.literal("[") + sa.func.replace(quoted, facets.SEPARATOR, '","') + "]"
        return sa.func.json_each(array).table_valued("value", name="entry")

    def position(self, text: sa.ColumnElement[str], part: str) -> sa.ColumnElement[int]:
        return sa.func.instr(text, part, type_=sa.Integer)

    def ends_with(self, text: sa.ColumnElement[str], endings: Sequence[str]) -> Condition:
        each = self._each(endings)
        tail = sa.func.substr(text, -sa.func.length(each.c.value, type_=sa.Integer))
        return sa.exists().select_from(each).where(tail == each.c.value).correlate_except(each)

    def is_in(
        self, value: sa.ColumnElement[Any], members: Sequence[str] | Sequence[int]
    ) -> Condition:
        if len(members) == 1:
            return value == members[0]
        return value.in_(sa.select(self._each(members).c.value))

    def _each(self, members: Sequence[str] | Sequence[int]) -> sa.FromClause:
        return sa.func.json_each(msgspec.json.encode(members).decode()).table_valued("value")

    def _holds(self, column: sa.ColumnElement[Any], part: str) -> Condition:
        return sa.func.instr(column, part, type_=sa.Integer) > 0


class _PostgresAccess:
    def has_key(self, column: sa.ColumnElement[Any], key: str) -> Condition:
        found: Condition = sa.type_coerce(column, JSONB).has_key(key)
        return found

    def text(self, column: sa.ColumnElement[Any], key: str) -> sa.ColumnElement[str]:
        text: sa.ColumnElement[str] = sa.type_coerce(column, JSONB)[key].astext
        return text

    def is_text(self, column: sa.ColumnElement[Any], key: str, texts: Sequence[str]) -> Condition:
        return self.is_in(self.text(column, key), texts)

    def number(self, column: sa.ColumnElement[Any], key: str) -> sa.ColumnElement[str]:
        # Plain text again for SQLAlchemy, which else puts COLLATE where BETWEEN does not allow it.
        return sa.type_coerce(self.text(column, key).collate("C"), sa.Text())

    def has_mark(self, column: sa.ColumnElement[Any], marks: Sequence[str]) -> Condition:
        participants = self.text(column, "p")
        if len(marks) <= _SEARCHES_SPELLED_OUT:
            return sa.or_(*(self.position(participants, mark) > 0 for mark in marks))
        each = self._each(marks)
        found = sa.func.strpos(participants, each.c.value, type_=sa.Integer) > 0
        return sa.exists().select_from(each).where(found).correlate_except(each)

    def entries(self, column: sa.ColumnElement[Any]) -> sa.FromClause:
        array = sa.func.string_to_array(self.text(column, "p"), facets.SEPARATOR)
        return sa.func.unnest(array).table_valued("value", name="entry").render_derived()

    def position(self, text: sa.ColumnElement[str], part: str) -> sa.ColumnElement[int]:
        return sa.func.strpos(text, part, type_=sa.Integer)

    def ends_with(self, text: sa.ColumnElement[str], endings: Sequence[str]) -> Condition:
        each = self._each(endings)
        tail = sa.func.right(text, sa.func.length(each.c.value), type_=sa.Text)
        return sa.exists().select_from(each).where(tail == each.c.value).correlate_except(each)

    def is_in(
        self, value: sa.ColumnElement[Any], members: Sequence[str] | Sequence[int]
    ) -> Condition:
        if len(members) == 1:
            return value == members[0]
        type_ = sa.BigInteger() if members and isinstance(members[0], int) else sa.Text()
        return value == sa.any_(sa.literal(list(members), ARRAY(type_)))

    def _each(self, texts: Sequence[str]) -> sa.FromClause:
        array = sa.literal(list(texts), ARRAY(sa.Text))
        return sa.func.unnest(array).table_valued("value").render_derived()


_ACCESS: Final[Mapping[str, _Access]] = {
    "sqlite": _SqliteAccess(),
    "postgresql": _PostgresAccess(),
}


def _escaped(text: str) -> str:
    """Return a text as it stands between the quotes of a JSON string."""
    return msgspec.json.encode(text)[1:-1].decode()
