"""Which labels are shown, and from which probability on."""

from __future__ import annotations

from typing import Any

import pytest

from lodestream.domain.models import Thresholds
from lodestream.domain.predictions import least_probabilities

LABELS = ("A", "A > B", "C")
AUTO = {"A": Thresholds(0.9, 0.5, 0.2), "C": Thresholds(0.8, 0.4, 0.3)}


@pytest.mark.parametrize(
    ("threshold", "wanted", "least"),
    [
        (None, [], {"A": 0.25, "A > B": 0.25, "C": 0.25}),
        (0.0, [], {"A": 0.0, "A > B": 0.0, "C": 0.0}),
        (0.7, [], {"A": 0.7, "A > B": 0.7, "C": 0.7}),
        ("auto", [], {"A": 0.2, "C": 0.3}),
        (None, [("A", None), ("C", 0.9)], {"A": 0.25, "C": 0.9}),
        (0.1, [("A", None), ("C", 0.9)], {"A": 0.1, "C": 0.9}),
        ("auto", [("A", 0.1), ("A > B", None), ("C", None)], {"A": 0.1, "C": 0.3}),
        ("auto", [("A > B", 0.6)], {"A > B": 0.6}),
        (None, [("A", 0.9), ("A", 0.3)], {"A": 0.3}),
    ],
)
def test_each_label_has_its_least_probability(threshold: Any, wanted: Any, least: Any) -> None:
    assert least_probabilities(LABELS, threshold, wanted, AUTO) == least


def test_labels_of_another_version_show_nothing() -> None:
    found = least_probabilities(LABELS, None, [("Old", 0.1)], {})
    assert not set(LABELS) & set(found)
