"""Did a token bucket let through what it should? What answers prove, however long they were on their way.

A bucket holds up to ``burst`` tokens and gets ``rate`` a second; who finds one takes it and is let through,
who finds none is refused. When a request was at the bucket nobody knows but that it was between the moments
in which it was sent and answered. A refusal shows an empty bucket; so between two of them the number that was
let through follows from the time in between, whoever was held up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Asked", "beyond"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A request that was answered.

    Attributes:
        sent, answered: When, in nanoseconds of one clock.
        let_through: Whether it was; else it was refused.
    """

    sent: int
    answered: int
    let_through: bool


def beyond(
    asked: Sequence[Asked], *, rate: float, burst: int, unanswered: int = 0
) -> tuple[int, int]:
    """How many were surely let through beyond what a bucket allows, and refused beyond what it may.

    Args:
        asked: All requests that were answered, in any order.
        rate: Tokens a second.
        burst: Tokens that the bucket holds.
        unanswered: So many more may have been let through.

    Returns:
        Both 0: the answers may be those of such a bucket.
    """
    through = [one for one in asked if one.let_through]
    refused = sorted((one for one in asked if not one.let_through), key=lambda one: one.sent)
    if not asked:
        return 0, 0
    if not refused:
        most = burst + _tokens(rate, max(a.answered for a in asked) - min(a.sent for a in asked))
        return max(0, len(through) - _whole(most)), 0

    empty = min(refused, key=lambda one: one.answered)
    after = [one for one in through if one.sent > empty.answered]
    last = max((one.answered for one in after), default=empty.answered)
    most = 1 + _tokens(rate, last - empty.sent)

    again = refused[-1]
    between = sum(o.answered > empty.sent and o.sent < again.answered for o in through)
    # What a full bucket cannot hold is nobody's; it is not full before so many tokens came.
    spilt = sum(
        max(0.0, _tokens(rate, _span(one, other)) - burst) for one, other in pairwise(refused)
    )
    least = _tokens(rate, again.sent - empty.answered) - spilt - 1
    return (
        max(0, len(after) - _whole(most)),
        max(0, -_whole(-least) - between - unanswered),
    )


def _tokens(rate: float, nanoseconds: int) -> float:
    return rate * nanoseconds / 1e9


def _whole(tokens: float) -> int:
    # A token that is there but for a rounding error is there.
    return math.floor(tokens + 1e-6)


def _span(one: Asked, other: Asked) -> int:
    """At most so long was the time from one to the other."""
    return max(one.answered, other.answered) - min(one.sent, other.sent)
