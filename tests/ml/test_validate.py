"""A whole validation: from reviews and probabilities to what is stored and sent."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from lodestream.domain.validation import (
    CustomTrainingAction,
    DatasetTrainingAction,
    LabelTrainingAction,
    PlannedAction,
    TrainingAction,
    ValidationResult,
)
from lodestream.domain.validation_settings import ValidationSettings
from lodestream.ml.metrics import bootstrap_interval, find_curve
from lodestream.ml.plan import diversify
from lodestream.ml.split import split_comments
from lodestream.ml.validate import validate
from lodestream.ml.validation_data import Themes, Unreviewed, ValidationData
from tests.ml.validations import make_data, make_scores, make_vectors


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for one in value.values():
            yield from numbers_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from numbers_in(one)
    elif isinstance(value, float):
        yield value


def assert_sane(data: ValidationData, found: ValidationResult) -> None:
    plain = msgspec.to_builtins(found)
    assert all(math.isfinite(one) for one in numbers_in(plain))
    decoded = msgspec.json.decode(msgspec.json.encode(found), type=ValidationResult)
    assert decoded == found
    assert list(found.summary.labels) == list(found.labels) == list(data.labels)
    rating = found.summary.model_rating
    assert 0 <= rating.score <= 100
    assert all(0 <= factor.score <= 100 for factor in rating.factors)
    assert {factor.kind for factor in rating.factors} == {
        "biased",
        "coverage",
        "lowest_label_health",
        "overall_label_health",
    }
    for label in found.labels.values():
        assert len(label.thresholds) == len(label.precisions) == len(label.recalls) <= 200
        assert np.all(np.diff(label.thresholds) < 0)
        assert np.all(np.diff(label.recalls) >= 0)
        assert (label.thresholds[-1], label.recalls[-1]) == (0, 1)
    known = {*data.reviewed.uids, *data.unreviewed.uids}
    for one in planned(found):
        assert len(set(one.comment_uids)) == len(one.comment_uids) <= 20
        assert known.issuperset(one.comment_uids)
    ids = [str(UUID(one.action.id)) for one in planned(found)]
    assert len(set(ids)) == len(ids)


def planned(found: ValidationResult) -> list[PlannedAction]:
    return [one for entry in found.plan for one in entry]


def plans_of(found: ValidationResult) -> list[str]:
    """What the plan says, in short."""
    return [name_of(one.action) for one in planned(found)]


def name_of(action: TrainingAction) -> str:
    match action:
        case LabelTrainingAction():
            return f"{action.plan.action.kind} {action.plan.label}"
        case DatasetTrainingAction() | CustomTrainingAction():
            return action.plan


def uids_of(found: ValidationResult, name: str) -> tuple[str, ...]:
    return next(one.comment_uids for one in planned(found) if name_of(one.action) == name)


def test_a_validation_measures_what_it_was_given() -> None:
    data = make_data()

    found = validate(data)

    assert_sane(data, found)
    test = data.split.test
    assert found.details.evaluated == len(test)
    precisions = []
    for place, label in enumerate(data.labels):
        truth = data.reviewed.targets[test, place] == 1
        wanted = average_precision_score(truth, data.test_probability[:, place])
        summary, metrics = found.summary.labels[label], found.labels[label]
        assert summary.average_precision == metrics.average_precision == pytest.approx(wanted)
        assert summary.reviewed_size == (data.reviewed.targets[:, place] == 1).sum()
        assert summary.train_size + summary.test_size == summary.reviewed_size
        assert summary.test_size == metrics.test_expected_count == truth.sum()
        assert summary.optimal_thresholds == metrics.optimal_thresholds == found.thresholds[label]
        assert summary.optimal_thresholds is not None
        wrong = truth != (data.test_probability[:, place] >= summary.optimal_thresholds.balanced)
        assert metrics.test_error_count == wrong.sum()
        precisions.append(wanted)
    assert found.summary.mean_average_precision_safe == pytest.approx(np.mean(precisions))
    assert (found.summary.train_size, found.summary.test_size) == (400 - len(test), len(test))
    assert len(found.summary.recalls) == len(found.summary.mean_precision_curve_safe) == 101


def test_the_same_data_gives_the_same_bytes() -> None:
    first, second = (msgspec.json.encode(validate(make_data())) for _ in range(2))

    assert first == second


def test_the_settings_that_were_used_are_recorded() -> None:
    chosen = ValidationSettings(min_comments_threshold=500)

    found = validate(make_data(), chosen)

    assert found.details.settings == chosen
    assert found.summary.min_comments_threshold == 500
    assert found.summary.mean_average_precision_safe is None
    assert found.summary.model_rating.quality == "none"


def test_a_label_is_safe_from_20_training_examples_and_one_for_test() -> None:
    data = make_data(labels=["A", "B", "C"], reviewed=200)
    is_test = np.isin(np.arange(200), data.split.test)
    assigned = np.zeros((200, 3), np.bool_)
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    assigned[train[:20], 0] = assigned[test[0], 0] = True
    assigned[train[:19], 1] = assigned[test[0], 1] = True
    assigned[train[:20], 2] = True

    found = validate(make_data(labels=["A", "B", "C"], reviewed=200, assigned=assigned))

    assert [found.details.labels[name].safe for name in "ABC"] == [True, False, False]
    assert found.summary.mean_average_precision_safe == found.labels["A"].average_precision
    assert found.thresholds["B"] is None
    assert found.details.labels["B"].sampled == ()
    assert found.labels["C"].average_precision is None
    assert found.labels["C"].thresholds == (1.0, 0.0)


def test_comments_that_are_not_complete_do_not_count() -> None:
    data = make_data()
    complete = np.arange(400) % 2 == 0
    partly = replace(data, reviewed=replace(data.reviewed, complete=complete))

    found = validate(partly)

    assert_sane(partly, found)
    assert found.summary.reviewed_size == 200
    assert found.summary.train_size == complete[data.split.train].sum()
    assert found.summary.test_size == complete[data.split.test].sum()
    assert found.details.evaluated == complete[data.split.test].sum()
    assert found.labels["A"].reviewed_size == data.reviewed.targets[complete, 0].sum()


def test_what_is_not_known_of_a_label_does_not_count() -> None:
    data = make_data()
    known = np.ones_like(data.reviewed.known)
    known[:, 0] = data.reviewed.targets[:, 0] == 1  # Nobody ever said that A is absent.
    found = validate(replace(data, reviewed=replace(data.reviewed, known=known)))

    assert found.labels["A"].average_precision == 1
    assert found.labels["A"].test_error_count == 0
    assert found.labels["B"] == validate(data).labels["B"]


def test_a_negative_sentiment_is_an_example_too() -> None:
    data = make_data()
    targets = np.where(np.arange(400)[:, None] % 2, -1, 1) * data.reviewed.targets
    signed = replace(data, reviewed=replace(data.reviewed, targets=targets.astype(np.int8)))

    assert validate(signed).summary == validate(data).summary


def test_training_texts_are_taken_out_of_the_test() -> None:
    texts = ["Hello  there", "hello there"] * 200

    data = make_data(texts=texts)
    found = validate(data)

    assert_sane(data, found)
    assert len(data.split.test) == found.details.evaluated == 0
    assert found.details.duplicates == len(data.split.duplicates) == found.summary.test_size
    assert found.labels["A"].average_precision is None
    assert found.labels["A"].test_size > 0
    assert found.details.labels["A"].left_out_average_precision is not None


def test_a_model_that_was_shown_the_test_rows_looks_better() -> None:
    # What leaking would do: a nearest neighbour knows every row it has seen, and here no other.
    random = np.random.default_rng(0)
    assigned = random.random((600, 1)) < 0.3
    vectors = make_vectors(600, 64, random)
    data = make_data(labels=["A"], reviewed=600, assigned=assigned)

    def nearest(rows: NDArray[np.intp]) -> NDArray[np.float32]:
        similar = vectors[data.split.test] @ vectors[rows].T
        return assigned[rows][similar.argmax(axis=1)].astype(np.float32)

    honest = validate(replace(data, test_probability=nearest(data.split.train)))
    leaking = validate(replace(data, test_probability=nearest(np.arange(600))))

    assert leaking.labels["A"].average_precision == 1
    assert (honest.labels["A"].average_precision or 0) < 0.5


SHAPES = st.fixed_dictionaries(
    {
        "labels": st.sampled_from([(), ("A",), ("A", "A > B"), ("A", "A > B", "C", "C > D > E")]),
        "reviewed": st.sampled_from([0, 1, 5, 60, 130]),
        "unreviewed": st.sampled_from([0, 1, 49, 60]),
        "share": st.sampled_from([0.0, 0.02, 0.5, 1.0]),
        "skill": st.sampled_from([0.0, 4.0, 60.0, -60.0]),
        "dim": st.sampled_from([None, 4]),
        "origins": st.sampled_from(
            [(None,), ("shuffle",), ("text_search", "teach", None), ("rebalance", "shuffle")]
        ),
        "seed": st.integers(0, 5),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SHAPES)
def test_whatever_the_dataset_the_result_is_sane(shape: dict[str, Any]) -> None:
    data = make_data(**shape)

    assert_sane(data, validate(data))


@pytest.mark.parametrize("text", ["", "same", "🙂🙃", "退款请求"])
def test_comments_that_all_say_the_same_have_a_sane_result(text: str) -> None:
    data = make_data(reviewed=120, unreviewed=80, texts=[text] * 120, dim=None)
    sample = replace(data.unreviewed, texts=[text] * 80)
    same = replace(data, unreviewed=sample)

    assert_sane(same, validate(same))


def test_identical_vectors_tell_nothing_apart() -> None:
    data = make_data(reviewed=100, unreviewed=100)
    ones = np.full((100, 16), 0.25, np.float32)
    same = replace(
        data,
        reviewed=replace(data.reviewed, vectors=ones),
        unreviewed=replace(data.unreviewed, vectors=ones),
    )

    found = validate(same)

    assert_sane(same, found)
    factors = {factor.kind: factor for factor in found.summary.model_rating.factors}
    assert {one.kind: one.value for one in factors["biased"].contributors}[
        "bias_model_score"
    ] == pytest.approx(1)


def test_an_empty_dataset_has_a_result_without_quality() -> None:
    found = validate(make_data(labels=(), reviewed=0, unreviewed=0))

    assert found.summary.model_rating.quality == "none"
    assert found.statistics.dataset_quality == "none"
    assert (found.statistics.balance, found.statistics.coverage) == (None, None)
    assert (found.summary.recalls, found.summary.mean_precision_curve_safe) == ((), ())
    assert plans_of(found)[:2] == ["insufficient-verbatims", "insufficient-labels"]


def test_many_labels_take_no_space_for_pairs() -> None:
    labels = [f"L{number}" for number in range(3000)]

    data = make_data(labels=labels, reviewed=60, unreviewed=60, share=0.001)
    found = validate(data)

    assert_sane(data, found)
    assert not isinstance(found.summary.cooccurrence, msgspec.UnsetType)
    assert len(found.summary.cooccurrence.row_major_matrix) == 200 * 200
    assert len(found.plan) == 100


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("test_probability", np.zeros((3, 3), np.float32), "test_probability: the shape"),
        ("everything", np.full((9, 3), np.nan, np.float32), "everything: not all"),
        ("everything", np.full((9, 3), 1.5, np.float32), "everything: not all"),
        ("split", split_comments(["a"], ["b"]), "split: the shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_data(**{field: value})


def test_a_label_names_those_that_come_with_it_and_not_itself() -> None:
    assigned = np.zeros((100, 3), np.bool_)
    assigned[:20, 0] = assigned[:15, 2] = assigned[:5, 1] = True

    found = validate(make_data(reviewed=100, assigned=assigned)).summary

    together = found.labels["A"].cooccurrence
    assert not isinstance(together, msgspec.UnsetType)
    assert (together.label_indices, together.rates) == ((2, 1), (0.75, 0.25))
    assert not isinstance(found.cooccurrence, msgspec.UnsetType)
    assert found.cooccurrence.label_indices == (0, 1, 2)
    assert found.cooccurrence.row_major_matrix[:3] == (1, 0.25, 0.75)


# What is told beside the pages


def test_few_test_examples_give_an_interval() -> None:
    found = validate(make_data(share=0.1, skill=1.0)).details.labels["A"]
    many = validate(make_data(reviewed=1000, share=0.4)).details.labels["A"]

    assert found.few_test_examples
    assert found.interval is not None
    assert 0 <= found.interval[0] < found.interval[1] <= 1
    assert (many.few_test_examples, many.interval) == (False, None)


def test_the_interval_is_that_of_the_comments_that_are_known() -> None:
    data = make_data(share=0.2, skill=1.0)
    has = data.reviewed.targets == 1
    known = has | (np.arange(400) % 4 == 0)[:, None]

    partly = replace(data, reviewed=replace(data.reviewed, known=known))
    found = validate(partly).details.labels["A"].interval

    rows = data.split.test
    usable = known[rows, 0]
    curve = find_curve(has[rows, 0][usable], data.test_probability[usable, 0])
    assert curve is not None
    assert found == bootstrap_interval(curve, int(usable.sum()))


def test_few_reviewed_comments_give_an_estimate_from_left_out_scores() -> None:
    few, many = make_data(reviewed=150), make_data(reviewed=400)
    wanted = [
        average_precision_score(few.reviewed.targets[:, place], few.reviewed.left_out[:, place])
        for place in range(3)
    ]

    assert validate(few).details.estimated_mean_average_precision == pytest.approx(np.mean(wanted))
    assert validate(many).details.estimated_mean_average_precision is None


def test_errors_are_weighted_by_how_much_a_comment_is_like_unreviewed_ones() -> None:
    data = make_data(labels=["A"], reviewed=500, skill=0.0)
    strange = data.reviewed.targets[:, 0] == 1
    vectors = data.reviewed.vectors
    assert vectors is not None
    assert data.unreviewed.vectors is not None
    # Comments with the label say what unreviewed ones do; so their errors stand for more.
    told_apart = np.where(strange[:, None], [[1.0, 0.0]], [[0.0, 1.0]]).astype(np.float32)
    new = np.tile(np.array([[1.0, 0.0]], np.float32), (300, 1))
    found = validate(
        replace(
            data,
            reviewed=replace(data.reviewed, vectors=told_apart),
            unreviewed=replace(data.unreviewed, vectors=new),
        )
    ).details.labels["A"]

    assert found.weighted_false_negatives is not None
    assert found.weighted_false_positives is not None
    assert found.weighted_false_negatives >= found.false_negatives
    assert found.weighted_false_positives < found.false_positives


def test_comments_found_by_searching_lower_the_balance() -> None:
    fair = validate(make_data(origins=["shuffle"]))
    searched = validate(make_data(origins=["shuffle", "shuffle", "text_search"]))

    assert (searched.statistics.balance or 0) < (fair.statistics.balance or 0)


def test_a_sample_of_the_unreviewed_stands_for_all_of_them() -> None:
    data = with_sample([[0.3, 0.0]] * 5 + [[0.0, 0.0]] * 95)
    # 12 examples of A, 9 of them kept: then it matters whether 10 more are to be found.
    targets = data.reviewed.targets.copy()
    targets[9:, 0] = 0
    few = replace(data, reviewed=replace(data.reviewed, targets=targets))
    larger = replace(few, unreviewed=replace(few.unreviewed, size=200))

    assert "search_for_examples A" in plans_of(validate(few))
    assert "teach_unreviewed A" in plans_of(validate(larger))


def test_labels_are_confused_where_it_is_known_that_one_is_absent() -> None:
    # A is predicted for all comments with B, and B is right.
    assigned = np.zeros((600, 2), np.bool_)
    assigned[:200, 0] = assigned[200:300, 1] = True
    data = make_data(labels=["A", "B"], reviewed=600, assigned=assigned)
    scores = assigned[data.split.test].astype(np.float32)
    scores[scores[:, 1] == 1, 0] = 1.0
    confusing = replace(data, test_probability=scores)
    known = np.ones_like(assigned)
    known[200:300, 0] = False
    unsaid = replace(confusing, reviewed=replace(data.reviewed, known=known))

    def warned(each: ValidationData) -> bool:
        smart = validate(each).summary.labels["A"].health.smart
        return smart is not None and any(one.kind == "confused" for one in smart.warnings)

    assert warned(confusing)
    assert not warned(unsaid)


# The plan


def test_themes_come_first_until_they_were_looked_at() -> None:
    uids = [[f"new.{theme * 5 + at}" for at in range(5)] for theme in range(30)]
    data = make_data(unreviewed=150)

    found = validate(replace(data, themes=Themes(uids, seen=12, share=0.6)))
    done = validate(replace(data, themes=Themes(uids, seen=20, share=0.1)))

    assert plans_of(found)[0] == "discover"
    assert uids_of(found, "discover")[:2] == ("new.60", "new.65")
    assert "discover" not in plans_of(done)


def test_labels_that_need_examples_come_by_volume() -> None:
    shares = np.array([0.02, 0.04, 0.4])
    assigned = np.random.default_rng(1).random((300, 3)) < shares
    data = make_data(labels=["A", "B", "C"], reviewed=300, assigned=assigned)
    everything = make_scores(assigned, np.random.default_rng(2))

    found = validate(replace(data, everything=everything))

    labels = [
        one.action.plan.label
        for one in planned(found)
        if isinstance(one.action, LabelTrainingAction)
    ]
    assert list(dict.fromkeys(labels))[:2] == ["B", "A"]
    assert "C" not in labels


def test_shuffle_is_advised_until_its_share_is_reached() -> None:
    assert "shuffle" in plans_of(validate(make_data(origins=["teach"])))
    assert "shuffle" not in plans_of(validate(make_data(origins=["shuffle"])))


def test_a_plan_has_the_same_ids_for_the_same_version_only() -> None:
    data = make_data(share=0.02)
    later = replace(data, facts=replace(data.facts, version=4))

    first, again, other = (
        [one.action.id for one in planned(validate(each))] for each in (data, data, later)
    )

    assert first == again
    assert set(first).isdisjoint(other)


def with_sample(scores: list[list[float]], texts: list[str] | None = None) -> ValidationData:
    """A dataset whose label A has few examples, with given unreviewed comments."""
    count = len(scores)
    assigned = np.zeros((100, 2), np.bool_)
    assigned[:12, 0] = assigned[:60, 1] = True
    data = make_data(labels=["A", "B"], reviewed=100, assigned=assigned, origins=["teach"])
    sample = Unreviewed(
        uids=[f"new.{number}" for number in range(count)],
        texts=texts or [f"text {number}" for number in range(count)],
        probability=np.array(scores, np.float32),
        size=count,
    )
    return replace(data, unreviewed=sample)


def test_confirming_shows_the_most_probable_first() -> None:
    scores = [[number / 100, 0.0] for number in range(100)]

    found = validate(with_sample(scores))

    wanted = [f"new.{number}" for number in range(99, 79, -1)]
    assert list(uids_of(found, "confirm_top_predicted A")) == wanted


def test_teaching_shows_what_the_model_is_least_sure_of() -> None:
    scores = [[0.2, 0.0], [0.45, 0.0], [0.9, 0.0], [0.52, 0.0]]
    data = with_sample(scores)
    toned = replace(data, facts=replace(data.facts, has_sentiment=True))

    assert uids_of(validate(data), "teach_unreviewed A")[:2] == ("new.3", "new.1")
    assert uids_of(validate(toned), "teach_unreviewed A")[:2] == ("new.3", "new.1")
    sure = with_sample([[0.5, 0.0], [0.67, 0.0]])
    toned = replace(sure, facts=replace(sure.facts, has_sentiment=True))
    assert uids_of(validate(sure), "teach_unreviewed A")[0] == "new.0"
    assert uids_of(validate(toned), "teach_unreviewed A")[0] == "new.1"


def test_searching_shows_comments_with_the_words_of_the_label() -> None:
    data = with_sample([[0.0, 0.0]] * 3, ["no news", "a parcel went missing", "Missing parcel!"])
    assigned = data.reviewed.targets.copy()
    assigned[:, 0] = 0
    assigned[:4, 0] = 1
    texts = ["the parcel is missing" if row < 4 else "the bill" for row in range(100)]
    few = replace(
        data,
        reviewed=replace(data.reviewed, targets=assigned, texts=texts),
        search_terms={},
    )

    found = validate(few)

    action = next(
        one.action for one in planned(found) if name_of(one.action) == "search_for_examples A"
    )
    assert isinstance(action, LabelTrainingAction)
    assert set(str(action.search_term).split()) == {"missing", "parcel", "the"}
    assert set(uids_of(found, "search_for_examples A")) == {"new.1", "new.2"}
    told = validate(replace(few, search_terms={"A": "news"}))
    assert uids_of(told, "search_for_examples A") == ("new.0",)


def test_correcting_shows_reviews_that_the_model_doubts_and_missing_the_reverse() -> None:
    data = make_data(labels=["A"], reviewed=200, skill=0.0)

    found = validate(data)

    left_out, has = data.reviewed.left_out[:, 0], data.reviewed.targets[:, 0] == 1
    rows = np.arange(200)
    doubted = sorted(rows[has], key=lambda row: left_out[row])[:20]
    expected = sorted(rows[~has], key=lambda row: -left_out[row])[:20]
    uids = data.reviewed.uids
    assert uids_of(found, "correct_label A") == tuple(uids[row] for row in doubted)
    assert uids_of(found, "missing_label A") == tuple(uids[row] for row in expected)


def test_neglected_comments_are_those_no_label_tells_about_and_have_text() -> None:
    data = with_sample([[0.0, 0.9], [0.0, 0.1], [0.0, 0.0]], ["one", "two", " "])

    assert uids_of(validate(data), "low_confidence") == ("new.1", "new.0")


def test_chosen_comments_differ_from_each_other() -> None:
    score = np.array([0.9, 0.89, 0.5, 0.1])
    vectors = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)

    assert diversify(score, vectors, 3).tolist() == [0, 2, 3]
    assert diversify(score, vectors, 9).tolist() == [0, 2, 3, 1]


def test_a_large_dataset_is_measured_in_seconds() -> None:
    labels = [f"L{number:03}" for number in range(50)]
    data = make_data(labels=labels, reviewed=2000, unreviewed=2000, share=0.05, dim=64)

    begin = time.process_time()
    found = validate(data)

    # Ten times what it takes; a loop over pairs of comments or labels would take longer.
    assert time.process_time() - begin < 5
    assert len(json.dumps(msgspec.to_builtins(found.summary))) < 500_000
