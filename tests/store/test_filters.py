"""Comment filters as SQL: on both databases they select what the reference says."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType
from sqlalchemy.engine import make_url

from lodestream.domain.facets import address_of, facets_of, fold
from lodestream.domain.filters import (
    FilterSubject,
    Participants,
    ThreadInfo,
    matches,
    parse_filter,
)
from lodestream.store.dialect import Prepared
from lodestream.store.filters import FilterScope, compile_filter
from lodestream.store.tables import (
    annotated_comment,
    comment,
    dataset,
    dataset_source,
    entity_def,
    field_mark,
    label_def,
    label_group,
    label_mark,
    metadata,
    project,
    source,
    stream,
    stream_exception,
)

SOURCES = {"18ba5ce699f8da1f": 1, "28ba5ce699f8da1f": 2}
STREAMS = {"urgent": "a" * 32, "late": "b" * 32}
SCOPE = FilterScope(source_keys=SOURCES, stream_ids=STREAMS, dataset_id="d")
# Parents first. A text thread id is compared exactly, so nothing of this depends on a collation.
TABLES = [
    project,
    dataset,
    stream,
    comment,
    stream_exception,
    source,
    dataset_source,
    label_group,
    label_def,
    entity_def,
    annotated_comment,
    label_mark,
    field_mark,
]
LABELS = {"A": 1, "A > B": 2, "Ünï": 3}
FIELD_TYPES = {"order": "1" * 16, "date": "2" * 16}


class Message(msgspec.Struct):
    from_: str | UnsetType = UNSET
    to: list[str] | UnsetType = UNSET
    cc: list[str] | UnsetType = UNSET
    bcc: list[str] | UnsetType = UNSET


class Comment(msgspec.Struct, kw_only=True):
    source_id: str = "18ba5ce699f8da1f"
    timestamp_us: int = 0
    messages: list[Message] = []
    user_properties: dict[str, str | float] = {}
    thread_id: str | None = None
    exceptions: dict[str, str] = {}  # stream name to type
    uninformative: bool = False
    labels: dict[str, bool] = {}  # name to whether it is dismissed
    fields: dict[str, bool] = {}  # name of the type to whether it is dismissed


@pytest.fixture(scope="session")
def sqlite_engine() -> Iterator[sa.Engine]:
    engine = sa.create_engine("sqlite://")
    yield from _with_tables(engine)


@pytest.fixture(scope="session")
def postgresql_engine() -> Iterator[sa.Engine]:
    text = os.environ.get(
        "LODESTREAM_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres"
    )
    schema = f"filters_{secrets.token_hex(4)}"
    url = make_url(text).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, connect_args={"options": f"-csearch_path={schema}"})
    try:
        with engine.begin() as connection:
            connection.execute(sa.schema.CreateSchema(schema))
    except sa.exc.OperationalError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NOT TESTED ON POSTGRESQL: {url} cannot be reached: {error.orig}")
    try:
        yield from _with_tables(engine)
    finally:
        with engine.begin() as connection:
            connection.execute(sa.schema.DropSchema(schema, cascade=True))
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> sa.Engine:
    found: sa.Engine = request.getfixturevalue(f"{request.param}_engine")
    return found


def _with_tables(engine: sa.Engine) -> Iterator[sa.Engine]:
    metadata.create_all(engine, tables=TABLES)
    made: dict[str, Any] = {"title": "", "description": "", "created_us": 0, "updated_us": 0}
    with engine.begin() as connection:
        connection.execute(project.insert().values(id="p", name="p", user_auto_join=False, **made))
        connection.execute(
            dataset.insert().values(
                id="d",
                project_id="p",
                name="d",
                model_family="",
                has_sentiment=False,
                settings="{}",
                **made,
            )
        )
        for name, stream_id in STREAMS.items():
            connection.execute(
                stream.insert().values(
                    id=stream_id, dataset_id="d", name=name, comment_filter="{}", position=0, **made
                )
            )
        _define(connection)
    yield engine
    engine.dispose()


def _define(connection: sa.Connection) -> None:
    """Store labels and field types, and what has the same names elsewhere."""
    for group in ("default", "other"):
        connection.execute(
            label_group.insert().values(dataset_id="d", name=group, rank=0, body="{}")
        )
        for name, key in LABELS.items():
            connection.execute(
                label_def.insert().values(
                    key=key if group == "default" else 100 + key,
                    dataset_id="d",
                    group_name=group,
                    name=name,
                    rank=key,
                    body="{}",
                    created_us=0,
                )
            )
    for name, type_id in FIELD_TYPES.items():
        connection.execute(
            entity_def.insert().values(dataset_id="d", id=type_id, name=name, rank=0, body="{}")
        )


def store(connection: sa.Connection, comments: Sequence[Comment]) -> None:
    """Store the comments at the positions 0, 1, …"""
    as_stored = _facets_text if connection.dialect.name == "sqlite" else _facets_value
    for pos, new in enumerate(comments):
        connection.execute(
            comment.insert().values(
                source=SOURCES[new.source_id],
                pos=pos,
                timestamp_us=new.timestamp_us,
                facets=as_stored(facets_of(new.messages, new.user_properties)),
                id=str(pos),
                thread_id=new.thread_id,
            )
        )
        for name, exception in new.exceptions.items():
            connection.execute(
                stream_exception.insert().values(
                    stream_id=STREAMS[name], pos=pos, type=exception, tagged_us=0, tagged_by="u"
                )
            )
        _annotate(connection, pos, new)


def _annotate(connection: sa.Connection, pos: int, new: Comment) -> None:
    """Store annotations, and others that another dataset has of the same comment."""
    for name, dismissed in new.labels.items():
        mark = {"pos": pos, "label": LABELS[name], "negative": False, "body": "{}"}
        connection.execute(
            label_mark.insert(),
            [
                {"dataset_id": "d", "dismissed": dismissed, **mark},
                {"dataset_id": "e", "dismissed": not dismissed, **mark},
            ],
        )
    for rank, (name, dismissed) in enumerate(new.fields.items()):
        connection.execute(
            field_mark.insert().values(
                dataset_id="d",
                pos=pos,
                rank=rank,
                entity_def_id=FIELD_TYPES[name],
                dismissed=dismissed,
                body="{}",
            )
        )
    source_key = SOURCES[new.source_id]
    connection.execute(
        annotated_comment.insert(),
        [
            {"dataset_id": one, "pos": pos, "source": source_key, "reviewed": found, **_NO_CHANGE}
            for one, found in (("d", is_reviewed(new)), ("e", not is_reviewed(new)))
        ],
    )


_NO_CHANGE = {"revision": 1, "updated_us": 0}


def is_reviewed(one: Comment) -> bool:
    return one.uninformative or bool(one.labels) or bool(one.fields)


def _facets_text(facets: bytes | None) -> Any:
    return None if facets is None else facets.decode()


def _facets_value(facets: bytes | None) -> Any:
    return sa.null() if facets is None else json.loads(facets)


def condition_of(value: Any, dialect_name: str) -> sa.ColumnElement[bool] | None:
    parsed = parse_filter(json.dumps(value).encode())
    return compile_filter(parsed, dialect_name=dialect_name, scope=SCOPE)


def selected(connection: sa.Connection, value: Any) -> set[int]:
    condition = condition_of(value, connection.dialect.name)
    query = sa.select(comment.c.pos)
    if condition is not None:
        query = query.where(condition)
    return set(connection.execute(query).scalars())


def expected(comments: Sequence[Comment], value: Any) -> set[int]:
    parsed = parse_filter(json.dumps(value).encode())
    return {pos for pos in range(len(comments)) if matches(parsed, subject_of(comments, pos))}


def subject_of(comments: Sequence[Comment], pos: int) -> FilterSubject:
    """Describe a comment for the reference."""
    one = comments[pos]
    by_name = dict(one.exceptions)
    by_id = {STREAMS[name]: type_ for name, type_ in by_name.items()}
    return FilterSubject(
        timestamp_us=one.timestamp_us,
        source_id=one.source_id,
        participants=participants_of([one]),
        user_properties=one.user_properties,
        exceptions=by_name | by_id,
        thread=None if one.thread_id is None else thread_of(comments, pos),
        reviewed=is_reviewed(one),
        assigned_labels=tuple(name for name, dismissed in one.labels.items() if not dismissed),
        entity_ids=tuple(FIELD_TYPES[n] for n, dismissed in one.fields.items() if not dismissed),
        entity_kinds=tuple(name for name, dismissed in one.fields.items() if not dismissed),
    )


def participants_of(comments: Sequence[Comment]) -> Participants:
    messages = [message for one in comments for message in one.messages]
    return Participants(
        from_=tuple(m.from_ for m in messages if m.from_ is not UNSET),
        to=tuple(p for m in messages if m.to is not UNSET for p in m.to),
        cc=tuple(p for m in messages if m.cc is not UNSET for p in m.cc),
        bcc=tuple(p for m in messages if m.bcc is not UNSET for p in m.bcc),
    )


def thread_of(comments: Sequence[Comment], pos: int) -> ThreadInfo:
    one = comments[pos]
    places = sorted(
        (other.timestamp_us, place)
        for place, other in enumerate(comments)
        if (other.source_id, other.thread_id) == (one.source_id, one.thread_id)
    )
    rank = places.index((one.timestamp_us, pos))
    everyone = participants_of([comments[place] for _, place in places])
    first = participants_of([comments[places[0][1]]])
    people = everyone.of("from", "to", "cc", "bcc")
    return ThreadInfo(
        id=one.thread_id or "",
        thread_position=rank + 1,
        num_messages=len(places),
        num_participants=len({address_of(fold(participant)) for participant in people}),
        duration_s=(places[-1][0] - places[0][0]) / 1e6,
        response_time_s=(one.timestamp_us - places[rank - 1][0]) / 1e6 if rank else None,
        all_senders=everyone.from_,
        all_recipients=everyone.of("to", "cc", "bcc"),
        first_sender=first.from_,
        first_recipients=first.of("to", "cc", "bcc"),
    )


# Few values, many of them awkward, so that comments and filters meet often.
PEOPLE = [
    "ann@example.org",
    "Ann B <ANN@Example.org>",
    "<ann@example.org>",
    "bob@mail.example.org",
    "example.x@foo.org",
    '"Zoë \\ Z" <zoë@müller.de>',
    "Speaker 1",
    "example.org",
    "x@localhost",
    "a@b@example.org",
    "a\x9cb@example.org",
    "odd@example.org>",
    "tab\t@example.org",
    "x@example.com.",
    "x@.",
    "a@",
    "@",
    "\x90example.org",
    "nul\x00@example.org",
    "del\x7fann@\x90example.org\x7f",
    "straße@example.org",
]
DOMAINS = [
    "example.org",
    "@EXAMPLE.org",
    "mail.example.org",
    "example",
    "org",
    "foo",
    "müller",
    "localhost",
    "b@example.org",
    "example.org>",
    "x",
    ".",
    "example.com.",
    "@",
    "strasse@example.org",
]
TEXTS = [
    "Claims",
    "CLAIMS",
    "strasse",
    "Straße",
    '"',
    '","sTeam":"claims"',
    "back\\slash",
    "new\nline",
    "nul\x00",
    " ",
    "İ",
    "\x7fann@\x90example.org\x7f",
    "😀",
]
NAMES = ["Team", "team", 'a"b', "a\\b", "%22", "a%22b", "$.x[0]", "p", "Größe", "a\nb", "?:%s"]
NUMBERS: list[Any] = [
    0,
    -0.0,
    7,
    7.0,
    "7",
    -1.5,
    0.1,
    0.30000000000000004,
    1e300,
    2**53 + 1,
    10**22,
]
THREADS = ["T1", "t1", "T'2", "%"]
TYPES = ["Wrong", "wrong", "it's"]

people = st.sampled_from(PEOPLE) | st.text(min_size=1, max_size=8)
texts = st.sampled_from(TEXTS) | st.text(max_size=8)
numbers = st.sampled_from([n for n in NUMBERS if not isinstance(n, str)]) | st.floats(
    allow_nan=False, allow_infinity=False
)
few_people = st.lists(people, max_size=3)
messages = st.builds(
    Message,
    from_=people | st.just(UNSET),
    to=few_people | st.just(UNSET),
    cc=few_people | st.just(UNSET),
    bcc=few_people | st.just(UNSET),
)
properties = st.dictionaries(
    st.sampled_from(NAMES).map("string:{}".format), texts, max_size=3
) | st.builds(
    lambda a, b: {**a, **b},
    st.dictionaries(st.sampled_from(NAMES).map("string:{}".format), texts, max_size=2),
    st.dictionaries(st.sampled_from(NAMES).map("number:{}".format), numbers, max_size=2),
)
comments = st.builds(
    Comment,
    source_id=st.sampled_from(sorted(SOURCES)),
    timestamp_us=st.integers(0, 5) | st.integers(10**15, 10**15 + 5_000_000),
    messages=st.lists(messages, max_size=2),
    user_properties=properties,
    thread_id=st.none() | st.sampled_from(THREADS),
    exceptions=st.dictionaries(st.sampled_from(sorted(STREAMS)), st.sampled_from(TYPES)),
    uninformative=st.booleans(),
    labels=st.dictionaries(st.sampled_from(sorted(LABELS)), st.booleans()),
    fields=st.dictionaries(st.sampled_from(sorted(FIELD_TYPES)), st.booleans()),
)


def lists(*keys: str, members: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    # Long lists are compiled in another way than short ones.
    few = st.lists(members, max_size=3)
    return {key: few | st.lists(members, min_size=17, max_size=24) for key in keys}


def predicate(
    lists: Mapping[str, st.SearchStrategy[Any]],
    *,
    bounds: st.SearchStrategy[Any] | None = None,
    missing: bool = True,
) -> st.SearchStrategy[dict[str, Any]]:
    optional = dict(lists)
    if missing:
        optional["include_missing"] = st.booleans()
    if bounds is not None:
        optional |= {"minimum": bounds, "maximum": bounds}
    return st.fixed_dictionaries({}, optional=optional)


member_texts = texts.filter(bool)
number_members = st.sampled_from(NUMBERS) | numbers
names_of_people = people | st.sampled_from(DOMAINS)
domains = st.sampled_from(DOMAINS)
participant_lists = (
    lists("one_of", "not_one_of", members=names_of_people)
    | lists("domain_one_of", "domain_not_one_of", members=domains)
    | lists("organisation_one_of", "organisation_not_one_of", members=domains)
)
participant_filter = predicate(participant_lists, missing=False)
recipient_filter = predicate(participant_lists)
person_filter = predicate(lists("one_of", "not_one_of", members=names_of_people))
string_property = predicate(
    lists("one_of", "not_one_of", members=member_texts)
    | lists("domain_one_of", "domain_not_one_of", members=domains)
)
number_property = predicate(
    lists("one_of", "not_one_of", members=number_members), bounds=st.none() | number_members
)
exception_filter = predicate(
    lists("one_of", "not_one_of", members=st.none() | st.sampled_from([*TYPES, "nul\x00"]))
)
count_range = predicate({}, bounds=st.none() | st.integers(0, 4), missing=False)
seconds_range = predicate(
    {}, bounds=st.none() | st.sampled_from([0, 1e-6, 2e-6, 1, 3.5]), missing=False
)
instants = st.sampled_from(
    [
        "1970-01-01T00:00:00",
        "1970-01-01T00:00:00.000003Z",
        "2001-09-09T01:46:42Z",
        "2030-01-01T00:00:00+01:00",
    ]
)
presence = st.fixed_dictionaries(
    {
        "rule": st.sampled_from(["present", "absent"]),
        "id": st.sampled_from([*FIELD_TYPES.values(), "e", "nul\x00"]),
    }
) | st.fixed_dictionaries(
    {
        "rule": st.sampled_from(["present", "absent"]),
        "kind": st.sampled_from([*FIELD_TYPES, "none", "nul\x00"]),
    }
)
filters = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": st.fixed_dictionaries({}, optional={"minimum": instants, "maximum": instants}),
        "sources": st.lists(st.sampled_from([*sorted(SOURCES), "0" * 16]), max_size=3),
        "reviewed": st.sampled_from(["only_reviewed", "only_unreviewed"]),
        "annotations": st.fixed_dictionaries(
            {},
            optional={
                "labels": predicate(
                    lists(
                        "one_of", "not_one_of", members=st.sampled_from([*LABELS, "No", "nul\x00"])
                    )
                )
            },
        ),
        "entities": st.fixed_dictionaries({"presence": st.lists(presence, max_size=2)}),
        "user_properties": st.dictionaries(
            st.sampled_from(NAMES).map("string:{}".format), string_property, max_size=2
        )
        | st.dictionaries(
            st.sampled_from(NAMES).map("number:{}".format), number_property, max_size=2
        ),
        "messages": st.fixed_dictionaries(
            {},
            optional={
                "from": participant_filter,
                "recipient": participant_filter,
                "to": recipient_filter,
                "cc": recipient_filter,
                "bcc": recipient_filter,
            },
        ),
        "trigger_exceptions": st.dictionaries(
            st.sampled_from([*STREAMS, *STREAMS.values(), "unknown"]), exception_filter, max_size=2
        ),
        "thread_properties": st.fixed_dictionaries(
            {},
            optional={
                "id": predicate(
                    lists("one_of", "not_one_of", members=st.sampled_from([*THREADS, "\x00"]))
                ),
                "thread_position": count_range,
                "num_messages": count_range,
                "num_participants": count_range,
                "duration": seconds_range,
                "response_time": seconds_range,
                "all_senders": person_filter,
                "all_recipients": person_filter,
                "first_sender": person_filter,
                "first_recipients": person_filter,
            },
        ),
    },
)
# One key at a time finds more than many keys together, which seldom hold of anything.
one_key = filters.flatmap(
    lambda whole: st.sampled_from([{key: whole[key]} for key in whole] or [{}])
)


# A failing case runs for long while it is made smaller; that is no fault of the strategy.
@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(
    stored=st.lists(comments, min_size=1, max_size=6),
    asked=st.lists(one_key | filters, min_size=1, max_size=6),
)
@example(
    stored=[Comment(messages=[Message(from_="example.x@foo.org")])],
    asked=[{"messages": {"from": {"organisation_one_of": ["example"]}}}],
)
@example(
    stored=[Comment(user_properties={"string:x": "\x7fann@\x90example.org\x7f"})],
    asked=[{"messages": {"from": {"one_of": ["ann@example.org"]}}}],
)
def test_the_database_selects_what_the_reference_says(
    engine: sa.Engine, stored: list[Comment], asked: list[Any]
) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        store(connection, stored)
        for value in asked:
            assert selected(connection, value) == expected(stored, value), value
        transaction.rollback()


def select_from(engine: sa.Engine, stored: Sequence[Comment], value: Any) -> set[int]:
    with engine.connect() as connection, connection.begin() as transaction:
        store(connection, stored)
        found = selected(connection, value)
        transaction.rollback()
    return found


def test_an_empty_filter_is_no_restriction() -> None:
    for value in ({}, {"messages": {"to": {}}}, {"user_properties": {"string:A": {}}}):
        assert condition_of(value, "sqlite") is None
        assert condition_of(value, "postgresql") is None


def test_an_exception_of_a_stream_is_found_by_name_and_by_id(engine: sa.Engine) -> None:
    stored = [Comment(), Comment(exceptions={"urgent": "Wrong"}), Comment(exceptions={"late": "x"})]
    for key in ("urgent", "a" * 32):
        tagged = {"trigger_exceptions": {key: {"not_one_of": [None]}}}
        assert select_from(engine, stored, tagged) == {1}
    assert select_from(engine, stored, {"trigger_exceptions": {"no": {"one_of": [None]}}}) == {
        0,
        1,
        2,
    }


def test_timestamp_means_the_time_of_the_message(engine: sa.Engine) -> None:
    last_year = Comment(timestamp_us=1_700_000_000_000_000)
    value = {"timestamp": {"minimum": "2023-01-01T00:00:00Z", "maximum": "2023-12-31T00:00:00Z"}}
    assert select_from(engine, [last_year, Comment()], value) == {0}


def test_the_upper_case_sender_with_a_display_name_has_its_domain(engine: sa.Engine) -> None:
    stored = [Comment(messages=[Message(from_="Ann <ANN@EXAMPLE.COM>")])]
    assert select_from(
        engine, stored, {"messages": {"from": {"domain_one_of": ["example.com"]}}}
    ) == {0}


def test_comments_without_annotations_are_unreviewed(engine: sa.Engine) -> None:
    assert select_from(engine, [Comment()], {"reviewed": "only_unreviewed"}) == {0}
    assert select_from(engine, [Comment()], {"reviewed": "only_reviewed"}) == set()


def test_marks_are_found_by_their_keys(sqlite_engine: sa.Engine) -> None:
    value: Any = {
        "reviewed": "only_reviewed",
        "annotations": {"labels": {"one_of": ["A"], "not_one_of": ["A > B"]}},
        "entities": {"presence": [{"kind": "order", "rule": "present"}]},
    }
    plan = "\n".join(plan_of(sqlite_engine, value))
    for table in ("annotated_comment", "label_mark", "field_mark"):
        assert f"SEARCH {table} USING PRIMARY KEY (dataset_id=? AND pos=?" in plan, plan


def test_the_largest_filter_still_runs(engine: sa.Engine) -> None:
    members = [f"member {n}" for n in range(128)]
    everything = {"one_of": members, "not_one_of": members, "include_missing": True}
    listed = ("domain", "organisation")
    people_lists = {
        f"{kind}_{rule}": members for kind in listed for rule in ("one_of", "not_one_of")
    }
    full = {"one_of": members, "not_one_of": members, **people_lists}
    domains_of_all_lengths = ["x" * n for n in range(1, 129)]
    value: Any = {
        "sources": sorted(SOURCES),
        "user_properties": {
            f"string:{n}": {
                **everything,
                "domain_one_of": domains_of_all_lengths,
                "domain_not_one_of": domains_of_all_lengths,
            }
            for n in range(64)
        },
        "messages": {"from": full, "recipient": full, "to": full, "cc": full, "bcc": full},
        "trigger_exceptions": {f"{n}": everything for n in range(64)},
        "thread_properties": {"all_senders": everything, "first_recipients": everything},
    }
    assert select_from(engine, [Comment()], value) == set()


def test_a_prepared_statement_runs_with_the_constants_of_the_filter(engine: sa.Engine) -> None:
    value = {
        "user_properties": {"string:100%": {"one_of": ["a%s", "b", "c"]}},
        "messages": {"from": {"one_of": [f"p{n}@example.org" for n in range(20)]}},
    }
    stored = Comment(
        user_properties={"string:100%": "A%S"}, messages=[Message(from_="P7@example.org")]
    )
    condition = condition_of(value, engine.dialect.name)
    assert condition is not None
    bound = comment.c.pos > sa.bindparam("after", type_=sa.BigInteger)
    query = Prepared(sa.select(comment.c.pos).where(bound, condition), engine.dialect.name)
    with engine.connect() as connection, connection.begin() as transaction:
        store(connection, [stored])
        driver = connection.connection.driver_connection
        assert query.rows(driver, after=-1) == [(0,)]
        assert query.rows(driver, after=0) == []
        transaction.rollback()


def plan_of(engine: sa.Engine, value: Any) -> list[str]:
    condition = condition_of(value, "sqlite")
    assert condition is not None
    query = sa.select(sa.func.count()).select_from(comment).where(comment.c.source == 1, condition)
    text = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
    with engine.connect() as connection:
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]


@pytest.mark.parametrize(
    "value",
    [
        {"user_properties": {"string:Team": {"one_of": ["a", "b", "c"], "include_missing": True}}},
        {"user_properties": {"number:NPS": {"minimum": 0, "not_one_of": [3]}}},
        {"messages": {"from": {"domain_not_one_of": ["a.b"]}, "recipient": {"one_of": ["c@d.e"]}}},
    ],
)
def test_properties_and_participants_are_tested_in_one_pass(
    sqlite_engine: sa.Engine, value: Any
) -> None:
    plan = plan_of(sqlite_engine, value)
    assert plan[0] == "SEARCH comment USING PRIMARY KEY (source=?)"
    assert not [line for line in plan if "CORRELATED" in line or "other" in line]


def test_threads_are_read_by_their_index(sqlite_engine: sa.Engine) -> None:
    ranges = ("thread_position", "num_messages", "num_participants", "duration", "response_time")
    people = ("all_senders", "all_recipients", "first_sender", "first_recipients")
    value = {
        "thread_properties": {key: {"minimum": 1} for key in ranges}
        | {key: {"one_of": ["a@b.c"]} for key in people}
    }
    plan = plan_of(sqlite_engine, value)
    reads = [line for line in plan if "SEARCH other" in line]
    assert len(reads) >= len(ranges) + len(people)
    assert all("comment_by_thread (source=? AND thread_id=?" in line for line in reads)
