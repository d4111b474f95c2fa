"""Keys of comments: whether an entry is fresh or settled makes no difference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lodestream.store import keys
from lodestream.store.db import Database
from lodestream.store.tables import comment_key, fresh_comment_key

HASHES = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.lists(HASHES, min_size=1, max_size=8)),
        st.tuples(st.just("update"), st.integers(0, 50)),
        st.tuples(st.just("delete"), st.integers(0, 50)),
        st.tuples(st.just("settle"), st.none()),
    ),
    max_size=20,
)


@pytest.fixture
def empty(db: Database) -> Iterator[Database]:
    yield db
    clear(db)


def clear(db: Database) -> None:
    with db.write() as tx:
        tx.execute(sa.delete(comment_key))
        tx.execute(sa.delete(fresh_comment_key))


def count(db: Database, table: sa.Table) -> int:
    with db.read() as tx:
        return tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(deeds=DEEDS)
def test_entries_are_found_wherever_they_are(
    empty: Database, deeds: list[tuple[str, object]]
) -> None:
    clear(empty)
    model: dict[tuple[int, int], int] = {}
    pos = 0
    for deed, what in deeds:
        places = sorted(model)
        if deed == "settle":
            keys.settle(empty, least=1)
            assert count(empty, fresh_comment_key) == 0
            continue
        with empty.write(catalogue=False) as tx:
            if isinstance(what, list):
                rows = [(number, pos + i, 1) for i, number in enumerate(what)]
                pos += len(what)
                keys.insert(tx, rows)
                model.update({row[:2]: row[2] for row in rows})
            elif places and isinstance(what, int):
                place = places[what % len(places)]
                if deed == "update":
                    model[place] += 1
                    keys.update(tx, [(*place, model[place])])
                else:
                    del model[place]
                    keys.delete(tx, [place])
    with empty.read() as tx:
        found = keys.find(tx, [number for number, _ in model] + [7])
        paged = pages(tx)
    assert {
        (number, key.pos): key.digest for number, same in found.items() for key in same
    } == model
    assert paged == sorted(model)


def pages(tx: object) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    while some := keys.page(tx, after=found[-1] if found else None, limit=3):  # type: ignore[arg-type]
        found += some
    return found


def test_few_entries_are_left_where_they_are(empty: Database) -> None:
    with empty.write(catalogue=False) as tx:
        keys.insert(tx, [(number * 7, number, 0) for number in range(100)])
    assert keys.settle(empty, least=101) == 0
    assert count(empty, fresh_comment_key) == 100


def test_entries_are_settled_in_several_steps(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_SETTLED_AT_ONCE", 30)
    with empty.write(catalogue=False) as tx:
        keys.insert(tx, [(number * 7919 % 101, number, 0) for number in range(100)])
    assert keys.settle(empty, least=100) == 100
    assert (count(empty, fresh_comment_key), count(empty, comment_key)) == (0, 100)
