"""Scores as they are stored and as they are sent."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lodestream.domain.models import Thresholds
from lodestream.ml.scores import (
    Renderer,
    pack,
    settled,
    shown_probability,
    total_sentiments,
    unpack,
)

LABELS = ("Claim", "Claim > Status", 'Überfällig "sehr"')
shapes = st.tuples(st.integers(0, 5), st.just(len(LABELS)))
probabilities = shapes.flatmap(lambda s: arrays(np.float32, s, elements=st.floats(0, 1, width=32)))


@given(probabilities)
def test_packing_moves_a_probability_by_half_a_step_at_most(values: np.ndarray) -> None:
    back, mood = unpack(pack(values, None), len(LABELS), has_sentiment=False)
    assert mood is None
    assert np.abs(back - values).max(initial=0) <= 0.5 / 65_535 + 1e-7


@given(probabilities)
def test_packing_keeps_the_order_of_parent_and_child(values: np.ndarray) -> None:
    values[:, 0] = values.max(axis=1, initial=0)
    back, _ = settled(values, None)
    assert (back[:, :1] >= back).all()


def test_sentiment_is_kept_beside_the_probability() -> None:
    values = np.array([[0.5, 0.25, 1.0]], np.float32)
    moods = np.array([[-1.0, 0.0, 0.5]], np.float32)
    back, mood = unpack(pack(values, moods), 3, has_sentiment=True)
    assert mood is not None
    assert np.abs(mood - moods).max() <= 0.5 / 127 + 1e-6
    assert np.abs(back - values).max() < 1e-4


def render(thresholds: dict[str, float] | None, *rows: list[float]) -> list[object]:
    values = np.array(rows, np.float32)
    return [
        json.loads(one)
        for one in Renderer(LABELS, thresholds, has_sentiment=False).render(pack(values, None))
    ]


def test_labels_come_by_falling_probability_and_with_their_levels() -> None:
    (found,) = render(None, [0.9, 0.95, 0.0])
    assert found == [
        {"name": ["Claim", "Status"], "probability": 0.949996},
        {"name": ["Claim"], "probability": 0.899992},
        {"name": ['Überfällig "sehr"'], "probability": 0.0},
    ]


def test_only_labels_that_reach_their_threshold_are_shown() -> None:
    (found,) = render({"Claim": 0.9, "Unknown": 0.0}, [0.95, 0.99, 1.0])
    assert found == [{"name": ["Claim"], "probability": 0.949996}]
    assert render({"Claim": 0.96}, [0.95, 0.99, 1.0]) == [[]]


def test_a_threshold_copied_from_an_answer_lets_that_answer_pass() -> None:
    rng = np.random.default_rng(1)
    values = rng.random((200, 1), np.float32)
    shown = [
        json.loads(one)
        for one in Renderer(["A"], None, has_sentiment=False).render(pack(values, None))
    ]
    for value, labels in zip(values, shown, strict=True):
        again = Renderer(["A"], {"A": labels[0]["probability"]}, has_sentiment=False)
        assert json.loads(again.render(pack(value[None], None))[0]) == labels


def test_no_rows_render_to_nothing() -> None:
    assert Renderer(LABELS, None, has_sentiment=True).render([]) == []


def test_small_probabilities_are_plain_decimals() -> None:
    (row,) = Renderer(["A"], None, has_sentiment=False).render(
        pack(np.array([[2e-5]], np.float32), None)
    )
    assert row == b'[{"name":["A"],"probability":0.000015}]'


def test_a_row_without_any_probability_shows_no_label() -> None:
    assert render(None, [0.0, 0.0, 0.0], [0.0, 0.0, 0.5])[0] == []


def test_labels_tell_which_automatic_thresholds_they_reach() -> None:
    auto = {"Claim": Thresholds(0.9, 0.5, 0.1), "Claim > Status": Thresholds(0.9, 0.8, 0.7)}
    renderer = Renderer(LABELS, None, has_sentiment=True, auto=auto)
    moods = np.zeros((1, 3), np.float32)
    (found,) = renderer.render(pack(np.array([[0.6, 0.5, 0.95]], np.float32), moods))
    assert [one["auto_thresholds"] for one in json.loads(found)] == [
        [],  # has none
        ["high_recall", "balanced"],
        [],
    ]


@given(probabilities)
def test_a_stored_probability_reaches_itself(values: np.ndarray) -> None:
    rows = pack(values, None)
    back, _ = unpack(rows, len(LABELS), has_sentiment=False)
    for row, exact in zip(rows, back.tolist(), strict=True):
        shown = zip(LABELS, map(shown_probability, exact), strict=True)
        auto = {name: Thresholds(one, one, one) for name, one in shown}
        (found,) = Renderer(LABELS, None, has_sentiment=False, auto=auto).render([row])
        assert all(len(one["auto_thresholds"]) == 3 for one in json.loads(found))


def test_a_comments_sentiment_is_the_mean_of_its_labels() -> None:
    values = np.array([[0.5, 0.0, 1.0], [0.0, 0.0, 0.0]], np.float32)
    moods = np.array([[-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], np.float32)
    found = total_sentiments(pack(values, moods), 3)
    assert abs(found[0] - 1 / 3) < 1e-4
    assert found[1] == 0.0
    assert total_sentiments([], 3) == []
    assert total_sentiments(pack(np.zeros((2, 0), "f4"), np.zeros((2, 0), "f4")), 0) == [0.0, 0.0]
