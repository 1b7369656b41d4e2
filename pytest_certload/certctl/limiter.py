"""Did a limiter let through what it should? What answers prove, however long they were on their way.

A token bucket holds up to ``burst`` tokens and gets ``rate`` a second; who finds one takes it and is let
through, who finds less than one is refused. When a request was at the bucket nobody knows but that it was between the
moments in which it was sent and answered. A refusal shows an empty bucket; so between two of them the number
that was let through follows from the time in between, whoever was held up. It is for limiters that look at
their clock when it is the request's turn, as certctl's does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Answered", "beyond"]

#: From so many refusals on, at most, it is counted what was let through after them.
_MOST_BEGINNINGS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A request that was answered.

    Attributes:
        sent, answered: When, in nanoseconds of one clock.
        let_through: Whether the limiter let it through, whatever came of it then; else it was refused.
    """

    sent: int
    answered: int
    let_through: bool


def beyond(
    answers: Sequence[Answered], *, rate: float, burst: int, unanswered: int = 0
) -> tuple[int, int]:
    """How many were surely let through beyond what a bucket allows, and refused beyond what it may.

    Args:
        answers: All requests that were answered, in any order.
        rate: Tokens a second.
        burst: Tokens that the bucket holds.
        unanswered: So many more may have been let through.

    Returns:
        Both 0: the answers may be those of such a bucket.
    """
    through = sorted((a for a in answers if a.let_through), key=lambda one: one.answered)
    refused = sorted((a for a in answers if not a.let_through), key=lambda one: one.sent)
    # Those that took long say little of when the bucket was empty, but there may be no others for a while.
    quick = [r for r in refused if rate * (r.answered - r.sent) / 1e9 < burst / 10]
    below = max(_below(through, some, rate, burst) for some in (quick, refused))
    return (
        max(_above(through, some, rate, burst) for some in (quick, refused)),
        max(0, below - unanswered),
    )


def _above(
    through: Sequence[Answered], refused: Sequence[Answered], rate: float, burst: int
) -> int:
    most = 0
    if through:
        begin = min(one.sent for one in through)
        most = _too_many(through, begin, rate, burst)
    step = math.ceil(len(refused) / _MOST_BEGINNINGS) or 1
    for empty in refused[::step]:
        after = [one for one in through if one.sent > empty.answered]
        # Less than one token was left.
        most = max(most, _too_many(after, empty.sent, rate, 1))
    return most


def _too_many(through: Sequence[Answered], begin: int, rate: float, left: int) -> int:
    """Of those that were let through since then, in the order of their answers, at any moment."""
    numbers = (
        number - _whole(left + _tokens(rate, one.answered - begin))
        for number, one in enumerate(through, 1)
    )
    return max(0, max(numbers, default=0))


def _below(
    through: Sequence[Answered], refused: Sequence[Answered], rate: float, burst: int
) -> int:
    if len(refused) < 2:
        return 0
    first, last = min(refused, key=lambda one: one.answered), refused[-1]
    between = sum(o.answered >= first.sent and o.sent <= last.answered for o in through)
    # What a full bucket cannot hold is nobody's; after a refusal it is not full before all but one came.
    spilt = sum(
        max(0.0, _tokens(rate, _span(one, other)) - (burst - 1)) for one, other in pairwise(refused)
    )
    least = _tokens(rate, last.sent - first.answered) - spilt - 1
    return -_whole(-least) - between


def _tokens(rate: float, nanoseconds: int) -> float:
    return rate * nanoseconds / 1e9


def _whole(tokens: float) -> int:
    # A token that is there but for a rounding error is there.
    return math.floor(tokens + 1e-6)


def _span(one: Answered, other: Answered) -> int:
    """At most so long was the time from one to the other."""
    return max(one.answered, other.answered) - min(one.sent, other.sent)
