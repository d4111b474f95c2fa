"""Two groups of a dataset's comments compared by their labels, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET, Raw, Struct, UnsetType

from lodestream.actions.volumes import Counter, Volume
from lodestream.api.calls import Call
from lodestream.api.datasets import named_dataset_id
from lodestream.api.selections import select_in_dataset
from lodestream.domain.attributes import AttributeFilters
from lodestream.domain.comparison import Difference, difference
from lodestream.store.db import Reader
from lodestream.store.query import newest_of_threads
from lodestream.store.statistics import measure

Pair = tuple[float, float]


class ComparisonRequest(Struct, forbid_unknown_fields=True):
    """Which comments to compare with which; a group without filters is all comments."""

    cohort_a: Raw | UnsetType = UNSET
    cohort_b: Raw | UnsetType = UNSET
    attribute_filters_a: AttributeFilters = []
    attribute_filters_b: AttributeFilters = []
    thread_mode: bool = False


class Significance(Struct):
    """Whether the label is more frequent in B, and more often positive there."""

    proportion: Difference
    positivity: Difference


class LabelComparison(Struct):
    """The expected numbers of comments with a label in A and in B, by sentiment."""

    positive: Pair
    negative: Pair
    significance: Significance


class Comparison(Struct):
    """Both groups, A before B."""

    num_comments: tuple[int, int]
    label_counts: dict[str, LabelComparison]


class ComparisonReply(Struct):
    """How two groups of comments differ."""

    compare: Comparison
    status: str = "ok"


def compare(call: Call[ComparisonRequest]) -> ComparisonReply:
    """Compare the labels of two groups of comments; threads count by their newest comment."""
    body = call.body
    dataset_id = named_dataset_id(call)
    with call.service.db.read() as tx:
        groups = (
            _count(call, tx, dataset_id, body.cohort_a, body.attribute_filters_a, "cohort_a"),
            _count(call, tx, dataset_id, body.cohort_b, body.attribute_filters_b, "cohort_b"),
        )
    (comments_a, labels_a), (comments_b, labels_b) = groups
    return ComparisonReply(
        Comparison(
            (comments_a, comments_b),
            {
                name: _compared(one, comments_a, labels_b[name], comments_b)
                for name, one in labels_a.items()
            },
        )
    )


def _count(
    call: Call[ComparisonRequest],
    tx: Reader,
    dataset_id: str,
    cohort: Raw | UnsetType,
    attribute_filters: AttributeFilters,
    where: str,
) -> tuple[int, Mapping[str, Volume]]:
    selection = select_in_dataset(call, tx, dataset_id, cohort, attribute_filters, where=where)
    if call.body.thread_mode:
        selection = newest_of_threads(selection)
    return measure(tx, selection).comments, Counter(tx, dataset_id, selection).count()


def _compared(a: Volume, comments_a: int, b: Volume, comments_b: int) -> LabelComparison:
    return LabelComparison(
        (a.positive, b.positive),
        (a.negative, b.negative),
        Significance(
            difference(a.total, comments_a, b.total, comments_b),
            difference(a.positive, a.total, b.positive, b.total),
        ),
    )
