"""How many times fell where? Counts in bins whose bounds grow by a constant factor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from .distribution import Distribution

__all__ = ["Histogram", "histogram_of"]

#: Bounds within a decade: Renard's series R10 (ISO 3), ten steps of a constant ratio that print shortly.
_SERIES = (100, 125, 160, 200, 250, 315, 400, 500, 630, 800)
#: The least bound above 0, nanoseconds: shorter times fall into one bin.
_LEAST = 1_000


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Times counted in bins, ten a decade; from the bin of the shortest to that of the longest.

    Attributes:
        edges: Nanoseconds, ascending; one more than there are bins.
        counts: How many times are in each bin: of those that are not below its edge, and below the next.
    """

    edges: tuple[int, ...]
    counts: tuple[int, ...]


def histogram_of(times: Distribution) -> Histogram | None:
    """The histogram of times; None when there are none."""
    if times.min is None or times.max is None:
        return None
    edges = [0]
    for edge in _bounds():
        if edge <= times.min:
            edges = [edge]
        else:
            edges.append(edge)
            if edge > times.max:
                break
    below = times.below(edges)
    return Histogram(
        edges=tuple(edges),
        counts=tuple(more - less for less, more in pairwise(below)),
    )


def _bounds() -> Iterator[int]:
    decade = _LEAST
    while True:
        yield from (step * decade // 100 for step in _SERIES)
        decade *= 10
