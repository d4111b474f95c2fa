"""Every constant of a validation, in one place."""

from __future__ import annotations

from msgspec import Struct


class ValidationSettings(Struct, frozen=True, kw_only=True):
    """Every constant of a validation. The values used are stored with its result."""

    seed: int = 0
    min_comments_threshold: int = 20
    """Training examples from which on a label counts in means and gets thresholds."""
    wanted_examples: int = 25
    examples_step: int = 10
    max_curve_points: int = 200
    few_test_examples: int = 30
    """Below so many test examples, average precision gets an interval."""
    bootstrap_samples: int = 1000
    calibration_bins: int = 15
    beta_high_precision: float = 0.5
    beta_high_recall: float = 2.0
    sampled_recalls: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    max_cooccurrence_labels: int = 200
    max_label_cooccurrence: int = 10
    estimate_below: int = 200
    """Below so many reviewed comments, left-out scores give an estimate of the metrics."""

    amber_from: float = 0.5
    blue_from: float = 0.7
    excellent_from: float = 0.9
    search_tolerated: float = 0.5
    search_penalty: float = 0.2
    biased_from_examples: int = 10
    few_examples: int = 10
    likely_from: float = 0.2
    confident_from: float = 0.5
    wanted_candidates: int = 10
    confused_share: float = 0.3
    confused_comments: int = 3
    max_confused: int = 3
    merge_from: float = 0.8
    poor_recall: float = 0.5
    doubted_below: float = 0.1
    expected_above: float = 0.9
    inconsistent_share: float = 0.1

    bins: tuple[int, int, int] = (50, 70, 90)
    weight_all: float = 0.35
    weight_lowest: float = 0.2
    weight_coverage: float = 0.2
    weight_balance: float = 0.25
    lowest_share: float = 0.1
    alone_share: float = 0.1
    default_threshold: float = 0.5
    themes_share: float = 0.2
    """Share of unreviewed comments in themes from which on `discover` is advised."""
    max_label_actions: int = 20

    bias_min: int = 50
    bias_max: int = 10_000
    bias_folds: int = 5
    bias_c: float = 1.0
    bias_model_share: float = 0.8
    shuffle_wanted: float = 0.2
    search_free: float = 0.1
    search_span: float = 0.4
    bias_model_wanted: float = 0.85
    weight_floor: float = 0.1
    weight_ceiling: float = 10.0

    action_comments: int = 20
    diversify_from: int = 200
    themes_wanted: int = 20
    max_actions: int = 100
    max_actions_of_label: int = 3
    search_words: int = 3
    min_comments: int = 50
    """Comments below which a plan begins with getting more of them."""
