"""Reading comments in parts, and label filters by packed scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from lodestream.domain.attributes import StringAnyOf, StringNoneOf
from lodestream.domain.models import Model, Thresholds
from lodestream.ml.scores import STEPS, shown_probability
from lodestream.store import models, query, sources
from lodestream.store.attribute_filters import labels_condition, least_steps
from lodestream.store.db import Database, Reader
from lodestream.store.statistics import Selection
from lodestream.store.tables import comment
from tests.build import make_comment, make_dataset, make_source, sync, sync_ids
from tests.client import Client
from tests.predictions import insert_model, positions_of


def everything(tx: Reader) -> Selection:
    return Selection(sources.list_sources(tx, projects=None), None)


@given(st.floats(0, 1))
def test_a_threshold_passes_what_is_shown_as_at_least_as_large(threshold: float) -> None:
    least = least_steps(threshold)
    assert shown_probability(least / STEPS) >= round(threshold, 6)
    assert least == 0 or shown_probability((least - 1) / STEPS) < round(threshold, 6)


def test_rows_come_in_parts(client: Client, db: Database) -> None:
    make_source(client)
    sync_ids(client, *(f"c{number}" for number in range(50)))
    with db.read() as tx:
        statement = sa.select(comment.c.pos).where(*everything(tx).where())
        parts = list(query.stream_rows(tx, statement, 20))
        # While one is read another may be.
        both = zip(
            query.stream_rows(tx, statement, 20), query.stream_rows(tx, statement, 20), strict=True
        )
        assert all(one == other for one, other in both)
    assert [len(part) for part in parts] == [20, 20, 10]
    assert sorted(pos for part in parts for (pos,) in part) == sorted(positions_of(db).values())


def test_nothing_is_read_of_no_sources(db: Database) -> None:
    nothing = Selection([], None)
    with db.read() as tx:
        assert list(query.rows_of(tx, nothing, comment.c.pos)) == []
        assert query.newest(tx, nothing, after=None, limit=5) == []
        assert list(query.assigned_labels(tx, "d", nothing)) == []


def test_the_newest_comments_continue_inside_an_index(client: Client, db: Database) -> None:
    from tests.store.test_statistics import fill, plans_of, scans

    fill(client)

    def read(tx: Reader, found: list[Any]) -> None:
        assert len(query.newest(tx, Selection(found, None), after=(2**60, 0), limit=5)) == 2

    assert scans(plans_of(db, read)) == []


@pytest.mark.parametrize("has_sentiment", [False, True])
def test_predicted_labels_are_those_above_their_thresholds(
    client: Client, db: Database, has_sentiment: bool
) -> None:
    random = np.random.default_rng(3)
    labels = [f"L{number}" for number in range(5)]
    make_source(client)
    table = np.round(random.random((60, 5)), 2)
    sync(client, [make_comment(f"c{number}") for number in range(60)])
    dataset_id = make_dataset(client)
    scores: dict[str, dict[str, Any]] = {
        f"c{number}": {
            name: (float(p), -0.5) if has_sentiment else float(p)
            for name, p in zip(labels, row, strict=True)
        }
        for number, row in enumerate(table)
    }
    insert_model(db, dataset_id, labels, scores, has_sentiment=has_sentiment)
    thresholds = {"L1": Thresholds(0.9, 0.75, 0.5), "L2": Thresholds(1.0, 1.0, 0.0)}
    least = np.array([0.5, 0.75, 1.0, 0.5, 0.5])
    # As they are shown: rounded to steps of 1/65535 first.
    shown = np.round(np.rint(table * STEPS) / STEPS, 6) >= least
    places = positions_of(db)
    with db.read() as tx:
        model: Model | None = models.find_newest(tx, dataset_id)
        for chosen in ([0], [1], [2, 4], [0, 1, 2, 3, 4]):
            names = [labels[one] for one in chosen]
            expected = {f"c{row}" for row in np.flatnonzero(shown[:, chosen].any(axis=1))}
            for test, wanted in (
                (StringAnyOf([*names, "Unknown"]), expected),
                (StringNoneOf([*names, "Unknown"]), scores.keys() - expected),
            ):
                condition = labels_condition(
                    test,
                    dialect_name=tx.dialect_name,
                    dataset_id=dataset_id,
                    keys={},
                    model=model,
                    thresholds=thresholds,
                )
                rows = tx.execute(sa.select(comment.c.pos).where(condition)).scalars()
                assert set(rows) == {places[name] for name in wanted}
