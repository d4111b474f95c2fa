"""The feed of a dataset: merged in order, cut where it has to be, and never past what it saw."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.sql import Literal
from sqlalchemy.engine import CursorResult

from lodestream.store import feed as feed_module
from lodestream.store.db import Database
from lodestream.store.feed import Batch, Feed
from lodestream.store.tables import comment, comment_text, counter

Place = tuple[int, int, bool]  # position, source, whether it matches

# A comment matches when its timestamp is 1: the feed does not care what a condition tests.
MATCHES = comment.c.timestamp_us == 1


def store(db: Database, places: Sequence[Place]) -> None:
    """Append comments, as a transaction that holds the order does."""
    with db.write(catalogue=False) as tx:
        if not places:
            return
        tx.execute(
            sa.insert(comment),
            [
                {"source": source, "pos": pos, "timestamp_us": int(matches), "id": f"c{pos}"}
                for pos, source, matches in places
            ],
        )
        tx.execute(
            sa.insert(comment_text), [{"pos": pos, "body": b"b%d" % pos} for pos, _, _ in places]
        )
        last = max(pos for pos, _, _ in places)
        tx.execute(sa.update(counter).where(counter.c.name == "position").values(value=last))


def clear(db: Database) -> None:
    with db.write(catalogue=False) as tx:
        for table in (comment, comment_text):
            tx.execute(sa.delete(table))


def expected(
    places: Sequence[Place],
    sources: Sequence[int],
    after: int,
    size: int,
    *,
    filtered: bool,
    most: int,
    cap: int,
) -> Batch:
    """What a feed has to return, by looking at every comment."""
    rows: list[tuple[int, bytes]] = []
    skipped, end, examined = 0, after, 0
    standing = [place for place in sorted(places) if place[1] in sources and place[0] > after]
    for pos, _, matches in standing:
        if len(rows) == size or (filtered and (skipped == most or examined == cap)):
            break
        examined += 1
        end = pos
        if matches or not filtered:
            rows.append((pos, b"b%d" % pos))
        else:
            skipped += 1
    return Batch(rows, skipped, end, examined == len(standing))


def as_tuple(batch: Batch) -> tuple[Any, ...]:
    rows = [(pos, bytes(body)) for pos, body in batch.rows]
    return rows, batch.filtered, batch.end, batch.at_end


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Place], list[int]]:
    """Comments of up to five sources, from even to badly skewed, and the sources of a dataset."""
    weights = draw(st.sampled_from([[1, 1, 1, 1, 1], [40, 1, 1, 1, 0], [1, 8, 0, 0, 0]]))
    pool = [source for source, weight in enumerate(weights, 1) for _ in range(weight)]
    members = st.tuples(st.integers(1, 3), st.sampled_from(pool), st.booleans())
    runs = draw(st.lists(st.tuples(members, st.integers(1, 30)), max_size=12))
    places: list[Place] = []
    pos = 0
    for (gap, source, matches), times in runs:
        for _ in range(times):
            pos += gap
            places.append((pos, source, matches))
    sources = draw(st.lists(st.sampled_from([1, 2, 3, 4, 5]), unique=True, max_size=5))
    return places, sources


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    world=worlds(),
    filtered=st.booleans(),
    size=st.integers(1, 40),
    most=st.none() | st.integers(1, 60),
    cap=st.sampled_from([1, 7, 50, 10_000]),
    start=st.floats(0, 1),
)
@example(
    # The only match stands behind a long run of another source.
    world=([(pos, 1, False) for pos in range(1, 60)] + [(60, 2, True)], [1, 2]),
    filtered=True,
    size=1,
    most=59,
    cap=10_000,
    start=0.0,
)
def test_a_feed_returns_what_looking_at_every_comment_returns(
    db: Database,
    world: tuple[list[Place], list[int]],
    filtered: bool,
    size: int,
    most: int | None,
    cap: int,
    start: float,
) -> None:
    places, sources = world
    clear(db)
    store(db, places)
    last = places[-1][0] if places else 0
    after = int(start * last)
    feed = Feed(db, sources, MATCHES if filtered else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed_module, "SCAN_CAP", cap)
        while True:
            batch = feed.read(after, size, max_filtered=most)
            bound = (most, len(places) + 1) if most is not None else (len(places) + 1, cap)
            wanted = expected(
                places, sources, after, size, filtered=filtered, most=bound[0], cap=bound[1]
            )
            assert as_tuple(batch) == as_tuple(wanted)
            if batch.at_end:
                break
            # A usable position: the next call goes on behind it.
            assert batch.end > after
            after = batch.end
    standing = sum(1 for pos, source, _ in places if source in sources and pos > after)
    assert feed.count_after(after) == standing
    assert feed.has_after(after) == (standing > 0)


class Interrupting:
    """A connection after whose statement number `at` something else happens in the database."""

    def __init__(self, connection: Any, at: int, event: Callable[[], None]) -> None:
        self._connection = connection
        self._until = at
        self._event = event

    def execute(self, *args: Any, **more: Any) -> Any:
        rows = Rows(self._connection.execute(*args, **more))
        self._until -= 1
        if self._until == 0:
            self._event()
        return rows

    def cursor(self, **more: Any) -> Interrupting:
        return Interrupting(self._connection.cursor(**more), self._until, self._event)


class Rows:
    """A result that was read before anything else could happen."""

    def __init__(self, cursor: CursorResult[Any]) -> None:
        self._rows = cursor.fetchall()

    def fetchall(self) -> Sequence[Any]:
        return self._rows


@pytest.mark.parametrize("members", [[1], [1, 2, 3]])
@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize(("size", "most"), [(3, None), (3, 5), (30, 900), (500, 500)])
def test_what_is_stored_during_a_read_never_ends_up_before_its_end(
    db: Database,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    most: int | None,
    filtered: bool,
    members: list[int],
) -> None:
    """The batch's id would be advanced to: whatever lies before it must have been looked at."""
    before: list[Place] = [(pos, 1 + pos % 2, pos % 20 == 0) for pos in range(1, 121)]
    during: list[Place] = [(pos, 1 + pos % 3, pos % 2 == 0) for pos in range(121, 221)]
    standing = [place for place in before + during if place[1] in members]
    for statement in itertools.count(1):
        clear(db)
        store(db, before)
        feed = Feed(db, members, MATCHES if filtered else None)
        happened: list[bool] = []

        def write(happened: list[bool] = happened) -> None:
            store(db, during)
            happened.append(True)

        after = 0
        interrupting = Interrupting(db.probe(), statement, write)
        with monkeypatch.context() as patch:
            patch.setattr(db, "probe", lambda interrupting=interrupting: interrupting)
            batch = feed.read(after, size, max_filtered=most)
        if not happened:
            assert statement > 1, "no read was interrupted"
            break
        seen = {pos for pos, _ in batch.rows}
        must = {pos for pos, _, matches in standing if matches or not filtered}
        assert {pos for pos in must if pos <= batch.end} == seen
        assert batch.filtered + len(seen) == sum(pos <= batch.end for pos, *_ in standing)


def test_a_comment_deleted_while_a_batch_is_read_is_left_out(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(db, [(pos, 1 + pos % 2, True) for pos in range(1, 11)])
    feed = Feed(db, [1, 2], None)

    def remove() -> None:
        with db.write(catalogue=False) as tx:
            tx.execute(sa.delete(comment).where(comment.c.pos == 5))
            tx.execute(sa.delete(comment_text).where(comment_text.c.pos == 5))

    for statement in range(1, 4):
        interrupting = Interrupting(db.probe(), statement, remove)
        with monkeypatch.context() as patch:
            patch.setattr(db, "probe", lambda interrupting=interrupting: interrupting)
            batch = feed.read(0, 100)
        assert [pos for pos, _ in batch.rows if pos != 5] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert [pos for pos, _ in batch.rows] == [1, 2, 3, 4, 6, 7, 8, 9, 10]


class Recording:
    """A connection that notes the statements it runs."""

    def __init__(self, connection: Any, statements: list[tuple[str, Any]]) -> None:
        self._connection = connection
        self._statements = statements

    def execute(self, text: str, params: Any, **more: Any) -> Any:
        self._statements.append((text, params))
        return self._connection.execute(text, params, **more)

    def cursor(self, **more: Any) -> Recording:
        return Recording(self._connection.cursor(**more), self._statements)


SOURCES, EACH = 40, 500


@pytest.fixture
def large(db: Database) -> Database:
    """Twenty thousand comments of forty sources, in turn; every fifth matches."""
    store(
        db,
        [(pos, 1 + pos % SOURCES, pos // SOURCES % 5 == 0) for pos in range(1, SOURCES * EACH + 1)],
    )
    if not db.is_sqlite:
        with db.write(catalogue=False) as tx:
            tx.execute(sa.text("ANALYZE comment, comment_text"))
    return db


READS = [
    (members, filtered, most)
    for members in ([3], list(range(1, SOURCES + 1)))
    for filtered in (False, True)
    for most in (None, 64)
]


def statements_of_reads(db: Database, patch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Every statement of reads of all kinds, from the beginning, the middle and the end."""
    statements: list[tuple[str, Any]] = []
    recording = Recording(db.probe(), statements)
    patch.setattr(db, "probe", lambda: recording)
    for members, filtered, most in READS:
        feed = Feed(db, members, MATCHES if filtered else None)
        for after in (0, SOURCES * EACH // 2, SOURCES * EACH - 100):
            assert feed.read(after, 16, max_filtered=most).end > after
            feed.has_after(after)
    patch.undo()
    assert len(statements) >= len(READS)
    return statements


def test_reads_search_by_keys_and_neither_scan_nor_sort(
    large: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = statements_of_reads(large, monkeypatch)
    explain = _sqlite_faults if large.is_sqlite else _postgresql_faults
    faults = {
        (text, fault) for text, params in statements for fault in explain(large, text, params)
    }
    assert not faults


def _sqlite_faults(db: Database, text: str, params: Any) -> list[str]:
    plan = db.probe().execute("EXPLAIN QUERY PLAN " + text, params).fetchall()
    steps = [row[3] for row in plan]
    return [step for step in steps if step.startswith(("SCAN", "USE TEMP B-TREE"))]


def _postgresql_faults(db: Database, text: str, params: Any) -> list[str]:
    """What a generic plan does wrong: it has to be good without knowing the values."""
    if isinstance(params, tuple):
        text, params = text.replace("%s", "%(only)s::BIGINT[]"), {"only": params[0]}
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
    for number, name in enumerate(names, 1):
        text = text.replace(f"%({name})s", f"${number}")
    connection = db.probe()
    values = ", ".join(Literal(params[name]).as_string(connection) for name in names)
    connection.execute("SET plan_cache_mode = force_generic_plan")
    connection.execute(f"PREPARE probed AS {text}")
    arguments = f"({values})" if names else ""
    query = f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE probed{arguments}"
    (((plan,),),) = (connection.execute(query).fetchall(),)
    connection.execute("DEALLOCATE probed")
    compiled = ["compiled before it is run"] if "JIT" in plan[0] else []
    return compiled + list(_faults_of(plan[0]["Plan"]))


def _faults_of(node: dict[str, Any]) -> Iterator[str]:
    on = node.get("Relation Name")
    if on in ("comment", "comment_text"):
        touched = node["Actual Rows"] * node["Actual Loops"]
        touched += node.get("Rows Removed by Filter", 0) * node["Actual Loops"]
        if node["Node Type"] == "Seq Scan" or touched > SOURCES * EACH / 8:
            yield f"{node['Node Type']} of {on}: {touched} rows"
    for part in node.get("Plans", ()):
        yield from _faults_of(part)
