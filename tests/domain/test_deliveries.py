"""What follows from attempts to deliver: splitting, waiting, giving up."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lodestream.domain.deliveries import (
    LONGEST_ASKED_WAIT_S,
    LONGEST_WAIT_S,
    Done,
    Failed,
    Later,
    Outcome,
    Refused,
    Rejected,
    Step,
    Tries,
    decide,
    give_up,
    probe_depth,
    wait_after,
)


def tries(**values: Any) -> Tries:
    return Tries(
        **{
            "head": None,
            "failures": 0,
            "waits": 0,
            "size": 8,
            "max_size": 64,
            "max_failures": 3,
            **values,
        }
    )


class Target:
    """A target that takes comments by the batch, but for some; it may be down for a while.

    `bad` maps comments to how they fail. `whole` means that one bad comment fails the whole call.
    """

    def __init__(self, bad: dict[int, type[Any]], *, whole: bool, down: set[int]) -> None:
        self.bad, self.whole, self.down = bad, whole, down
        self.taken: list[int] = []
        self.calls = 0

    def deliver(self, places: list[int]) -> list[Outcome]:
        self.calls += 1
        if self.calls in self.down:
            return [Later("down")] * len(places)
        found: list[Outcome] = [self.bad[p]("bad") if p in self.bad else Done() for p in places]
        if self.whole and any(not isinstance(one, Done) for one in found):
            kind = next(type(one) for one in found if not isinstance(one, Done))
            return [(Failed if kind is Rejected else kind)("whole")] * len(places)
        for place, outcome in zip(places, found, strict=True):
            if isinstance(outcome, Done):
                self.taken.append(place)
        return found


def run(target: Target, count: int, *, size: int, rounds: int) -> tuple[int, list[int]]:
    """Follow the steps as the courier does; return the cursor, and what was given up."""
    position, dead = 0, []
    state = tries(size=size, max_size=size)
    for _ in range(rounds):
        places = list(range(position + 1, min(position + state.size, count) + 1))
        if not places:
            break
        step = decide(state, places, target.deliver(places))
        if step.wants_proof:
            depth = probe_depth(step.failures, state.max_failures)
            behind = list(range(position + 2, min(position + 1 + depth, count) + 1))
            if behind and isinstance(target.deliver(behind[-1:])[0], Done):
                assert step.problem is not None
                step = give_up(step.problem)
        dead += [places[one.index] for one in step.dead]
        assert step.passed == step.delivered + len(step.dead)
        position += step.passed
        state = Tries(step.head, step.failures, step.waits, step.size, size, state.max_failures)
    return position, dead


KINDS = st.sampled_from([Failed, Refused, Rejected])


@given(
    bad=st.dictionaries(st.integers(1, 40), KINDS, max_size=6),
    whole=st.booleans(),
    down=st.sets(st.integers(1, 60), max_size=20),
    size=st.integers(1, 16),
)
def test_every_comment_is_taken_in_order_or_given_up_for_a_reason(
    bad: dict[int, type[Any]], whole: bool, down: set[int], size: int
) -> None:
    # The last two are good, so that what is before them can be told from an outage.
    target = Target(bad, whole=whole, down=down)
    position, dead = run(target, 42, size=size, rounds=1000)
    assert position == 42
    assert sorted(dead) == sorted(bad)
    first_seen = list(dict.fromkeys(target.taken))
    assert sorted(first_seen) == [place for place in range(1, 43) if place not in bad]
    swapped = [b for a, b in itertools.pairwise(first_seen) if b < a]
    # Only behind a comment that fails may a later one come first: to tell it from an outage.
    assert not swapped or any(kind is not Refused for kind in bad.values())


@given(kind=st.sampled_from([Later, Failed]), size=st.integers(1, 16))
def test_an_outage_gives_up_nothing(kind: type[Any], size: int) -> None:
    target = Target(dict.fromkeys(range(1, 30), kind), whole=False, down=set())
    assert run(target, 29, size=size, rounds=200) == (0, [])


def test_what_is_refused_alone_is_given_up_after_the_last_failure() -> None:
    state = tries(size=1, max_failures=3)
    for failures in (1, 2):
        step = decide(state, [7], [Refused("no")])
        assert (step.passed, step.failures, step.head, step.dead) == (0, failures, 7, ())
        assert step.wait_s == wait_after(failures)
        state = tries(size=1, head=7, failures=step.failures, waits=step.waits)
    step = decide(state, [7], [Refused("no")])
    assert (step.passed, step.delivered, len(step.dead)) == (1, 0, 1)


def test_failures_count_for_the_comment_that_failed_alone() -> None:
    step = decide(tries(size=1, head=6, failures=2), [7], [Refused("no")])
    assert (step.failures, step.dead) == (1, ())
    among_others = decide(tries(head=7, failures=2), [7, 8], [Refused("no"), Refused("no")])
    assert (among_others.failures, among_others.dead, among_others.wait_s) == (2, (), 0.0)


def test_a_batch_that_fails_is_split_until_one_is_left() -> None:
    sizes, size = [], 64
    while size > 1:
        step = decide(tries(size=size), list(range(size)), [Failed("no")] * size)
        assert step.wait_s == 0
        size = step.size
        sizes.append(size)
    assert sizes == [16, 4, 1]


def test_the_cursor_stops_before_what_the_target_cannot_take_now() -> None:
    outcomes: list[Outcome] = [Done(), Rejected("bad"), Done(), Later("busy", after_s=7), Done()]
    step: Step = decide(tries(waits=4), [1, 2, 3, 4, 5], outcomes)
    assert (step.passed, step.delivered) == (3, 2)
    assert [one.index for one in step.dead] == [1]
    assert (step.wait_s, step.waits) == (7, 1)


def test_waits_grow_to_a_bound_and_what_is_asked_for_has_one_too() -> None:
    waits = [wait_after(n) for n in range(1, 40)]
    assert waits[:4] == [1, 2, 4, 8]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT_S
    step = decide(tries(), [1], [Later("busy", after_s=1e9)])
    assert step.wait_s == LONGEST_ASKED_WAIT_S
