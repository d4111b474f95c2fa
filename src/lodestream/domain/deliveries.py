"""What follows from an attempt to deliver comments: pure rules, without clock and chance.

A target answers for each comment of a batch, in order:

    Done       it is stored there, durably
    Later      the target cannot take any comment now: it is down, busy or set up wrongly
    Failed     it did not work, and nobody says whether because of this comment
    Refused    the target says that this comment is at fault
    Rejected   the target says so for good: asking again cannot help

The cursor moves past comments that are done or given up, and never past another. A comment is given
up (a *dead letter*) when it is rejected, when it was refused alone often enough, or when it failed
alone often enough *and* the target accepted another one meanwhile: so an outage, however it shows,
gives up nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

PROBE_DEPTH: Final = 16
"""How many comments behind a failing one are tried in turn to tell it from an outage."""

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 300.0
LONGEST_ASKED_WAIT_S: Final = 3600.0
_SHRINK: Final = 4


class Done(Struct, frozen=True):
    """The comment is stored at the target."""


class Later(Struct, frozen=True):
    """The target takes nothing now; ask again, not before `after_s` if given."""

    reason: str
    detail: str = ""
    after_s: float | None = None


class Failed(Struct, frozen=True):
    """It did not work; the comment may or may not be the cause."""

    reason: str
    detail: str = ""


class Refused(Struct, frozen=True):
    """The target refuses what was sent."""

    reason: str
    detail: str = ""


class Rejected(Struct, frozen=True):
    """The target refuses this very comment, for good."""

    reason: str
    detail: str = ""


Problem = Later | Failed | Refused | Rejected
Outcome = Done | Problem


class Gone(Exception):
    """The target wants no more deliveries, ever: the sink is to be disabled."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Tries(Struct, frozen=True):
    """How a sink stands: see `domain.sinks.Sink` for the first four."""

    head: int | None
    failures: int
    waits: int
    size: int
    max_size: int
    max_failures: int


class DeadLetter(Struct, frozen=True):
    """A comment that is given up, by its place in the batch."""

    index: int
    problem: Problem


class Step(Struct, frozen=True):
    """What to do after an attempt.

    The first `passed` comments are behind the cursor from now on; `delivered` of them are at the
    target, the others are `dead`. `problem` stopped the comment after them. `wait_s` is how long to
    wait before the next attempt. `wants_proof`: if another comment is accepted, `give_up` says what
    follows instead.
    """

    passed: int
    delivered: int
    dead: tuple[DeadLetter, ...]
    problem: Problem | None
    wait_s: float
    head: int | None
    failures: int
    waits: int
    size: int
    wants_proof: bool = False


def decide(tries: Tries, places: Sequence[int], outcomes: Sequence[Outcome]) -> Step:
    """Return what follows from the outcomes of a batch of comments at `places`, at least one."""
    passed, delivered, dead = _passed(outcomes)
    if passed == len(outcomes):
        size = min(tries.size * _SHRINK, tries.max_size)
        return Step(passed, delivered, dead, None, 0.0, None, 0, 0, size)
    problem = outcomes[passed]
    assert not isinstance(problem, Done | Rejected)
    head = places[passed]
    failures = tries.failures if head == tries.head else 0
    waits = 1 if passed else tries.waits + 1
    if isinstance(problem, Later):
        wait_s = wait_after(waits)
        if problem.after_s is not None:
            wait_s = max(wait_s, min(problem.after_s, LONGEST_ASKED_WAIT_S))
        return Step(passed, delivered, dead, problem, wait_s, head, failures, waits, tries.size)
    if len(outcomes) > 1:
        # Which comment is at fault will show when fewer of them are tried together.
        size = max(1, (len(outcomes) - passed) // _SHRINK)
        return Step(passed, delivered, dead, problem, 0.0, head, failures, tries.waits, size)
    failures += 1
    step = Step(0, 0, (), problem, wait_after(waits), head, failures, waits, 1)
    if failures < tries.max_failures:
        return step
    if isinstance(problem, Refused):
        return give_up(problem)
    return Step(0, 0, (), problem, wait_after(waits), head, failures, waits, 1, wants_proof=True)


def give_up(problem: Problem) -> Step:
    """Return the step past a comment that was tried alone and is given up."""
    return Step(1, 0, (DeadLetter(0, problem),), problem, 0.0, None, 0, 0, 1)


def probe_depth(failures: int, max_failures: int) -> int:
    """Return which comment behind the failing one is tried next: another one each time."""
    return (failures - max_failures) % PROBE_DEPTH + 1


def wait_after(attempts: int) -> float:
    """Return the wait in seconds after this many attempts in a row that did not get on."""
    return float(min(FIRST_WAIT_S * 2 ** min(attempts - 1, 20), LONGEST_WAIT_S))


def _passed(outcomes: Sequence[Outcome]) -> tuple[int, int, tuple[DeadLetter, ...]]:
    delivered, dead = 0, []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Done):
            delivered += 1
        elif isinstance(outcome, Rejected):
            dead.append(DeadLetter(index, outcome))
        else:
            return index, delivered, tuple(dead)
    return len(outcomes), delivered, tuple(dead)
