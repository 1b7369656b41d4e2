"""How sure is a percentile? An interval from order statistics, as wide as the samples are alike.

Requests that follow one another share a queue, so their times are alike, and a thousand of them say
less than a thousand independent ones. How much less is measured: the samples that are at most the
percentile are ones, the others zeros, and the integrated autocorrelation time of that sequence says
how many samples count as one.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from .percentile import percentile, rank

__all__ = ["CONFIDENCE", "Interval", "interval", "intervals", "share_interval", "smallest_count"]

CONFIDENCE = 0.95
#: As many standard deviations to either side hold as much of a normal distribution.
_SURE = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
#: The levels at which the samples' likeness is measured, as far as they lie below the percentile: far
#: out in the tail too few are left to see it.
_LEVELS = (50.0, 75.0, 90.0, 95.0)
#: The level that bounds those below it which nothing else does.
_HIGHEST = 99.0
#: So many independent samples beyond the percentile show by themselves how alike they are, and bound it.
_ENOUGH_BEYOND = 30
#: With fewer the run is cut in as many parts, each of which has so many samples beyond the percentile.
_PARTS = 10
_BEYOND_IN_PART = 10
#: What a run did not see lies so many times farther out than its parts lie apart, times the chance of that.
_UNSEEN = 3


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Where the percentile of the process lies that the samples came from.

    Attributes:
        low, high: Values that were measured, or as far beyond those as parts of the run say; None: the
            samples are too few to bound it there.
        effective: As how many independent samples these count.
        confidence: How often such an interval holds the truth.
    """

    low: int | None
    high: int | None
    effective: int
    confidence: float = CONFIDENCE


class _Order:
    """Order statistics of times, each put into its place when it is asked for.

    To sort ten million times takes four times as long as to find the dozen that are wanted, as each that is
    found bounds where the next ones lie.
    """

    def __init__(self, times: npt.NDArray[np.int64]) -> None:
        self._placed = times.copy()
        #: Positions of those that are in their place, and the ends around all.
        self._known = [-1, len(times)]

    def at(self, rank: int) -> int:
        """The time at a rank, counted from 1."""
        position = rank - 1
        place = bisect_left(self._known, position)
        if self._known[place] != position:
            begin = self._known[place - 1] + 1
            self._placed[begin : self._known[place]].partition(position - begin)
            self._known.insert(place, position)
        return int(self._placed[position])


def smallest_count(percent: float) -> int:
    """How many samples a percentile needs so that it is not just the greatest or the least of them.

    Args:
        percent: Between 0 and 100; 0 and 100 are the least and the greatest, and need one.

    Raises:
        ValueError: The percentage is outside 0 to 100.
    """
    rank(1, percent)
    tail = min(percent, 100 - percent)
    return math.ceil(round(100 / tail, 9)) if tail else 1


def interval(times: npt.NDArray[np.int64], percent: float) -> Interval:
    """The interval of one percentile, see ``intervals``."""
    return intervals(times, [percent])[percent]


def intervals(times: npt.NDArray[np.int64], percents: Iterable[float]) -> dict[float, Interval]:
    """The intervals of percentiles, whatever the distribution, 95 % sure.

    The number of independent samples below the percentile is binomial, so the percentile lies between
    the order statistics at that distribution's quantiles (David and Nagaraja, "Order Statistics", 3rd
    ed., 2003, 7.1). Of samples that are alike so many count as one as the integrated autocorrelation
    time says, see ``_autocorrelation_time``. If that leaves few beyond the percentile, or none, the
    percentiles of the run's parts bound it where they are nearer, see ``_ends_of_parts``.

    Args:
        times: In the order in which they were due.
        percents: Each from 0 to 100.

    Raises:
        ValueError: A percentage is outside 0 to 100.
    """
    ordered, measured = _Order(times), dict[int, float]()
    return {percent: _interval(times, ordered, percent, measured) for percent in percents}


def _interval(
    times: npt.NDArray[np.int64],
    ordered: _Order,
    percent: float,
    measured: dict[int, float],
) -> Interval:
    """One of the intervals. ``measured`` is what ``_likenesses`` found so far."""
    count = len(times)
    if not count:
        rank(1, percent)
        return Interval(low=None, high=None, effective=0)
    greatest = ordered.at(count)
    if percent in (0, 100):
        # Beyond the extremes that were seen there may be others.
        ends = (None, ordered.at(1)) if percent == 0 else (greatest, None)
        return Interval(low=ends[0], high=ends[1], effective=count)
    likeness = _likenesses(times, ordered, percent, measured)
    own = max(1, int(count / likeness[percent]))
    # Where few independent samples lie beyond the percentile, too few are left to see there how alike they
    # are: it is read from below it, too.
    enough = own * min(percent, 100 - percent) / 100 >= _ENOUGH_BEYOND
    nearest = max((level for level in likeness if level < percent), default=percent)
    seen = (likeness[percent], likeness[nearest]) if enough else likeness.values()
    effective = max(1, int(count / max(seen)))
    below, above = _ranks(effective, percent)
    # An independent sample stands for as many of all: the lower end is the first of those, the upper one
    # the last, and what was measured lies between them.
    estimate = rank(count, percent)
    first = min(math.floor((below - 1) * count / effective) + 1, estimate)
    last = max(math.ceil(above * count / effective), estimate)
    low = ordered.at(first) if below >= 1 else None
    high = ordered.at(last) if above <= effective and last <= count else None
    if effective * min(percent, 100 - percent) / 100 < _ENOUGH_BEYOND:
        least, most = _ends_of_parts(times, percent, effective)
        low, high = _nearer(max, low, least), _nearer(min, high, most)
        if high is None and _ranks(own, percent)[1] <= own:
            # If it is below the percentile that samples are alike, and those beyond it come by themselves,
            # they are enough to say that the greatest is beyond it.
            high = greatest
    if high is None and percent < _HIGHEST:
        # What bounds a higher percentile bounds a lower one. It can be known better: in the tail samples may
        # come by themselves where those below it are alike.
        high = _interval(times, ordered, _HIGHEST, measured).high
    return Interval(low=low, high=high, effective=effective)


def share_interval(found: int, count: int) -> tuple[float, float]:
    """Where the share lies that these were found of, 95 % sure, if one does not go with the other.

    Wilson's score interval ("Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22, 1927), which also holds for shares near 0 and 1:
    of 1,000 of which none failed, up to 0.4 % may fail.

    Args:
        found: How many of them, from 0 to ``count``.
        count: How many there were, at least 1.
    """
    share, square = found / count, _SURE**2 / count
    middle = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    # Rounding must not push the share itself out of its interval.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def _likenesses(
    times: npt.NDArray[np.int64],
    ordered: _Order,
    percent: float,
    measured: dict[int, float],
) -> dict[float, float]:
    """How many samples count as one, at least 1, at each level that is looked at.

    Args:
        times, ordered: The times, and their order statistics.
        percent: The level of the percentile.
        measured: The same by the value of each level, as far as it was measured before; added to.
    """
    levels = {level for level in _LEVELS if level <= percent} | {min(percent, _LEVELS[0]), percent}
    limits = {level: ordered.at(rank(len(times), level)) for level in levels}
    for limit in limits.values():
        if limit not in measured:
            measured[limit] = _autocorrelation_time(times <= limit)
    return {level: measured[limit] for level, limit in limits.items()}


def _nearer(choose: Callable[[int, int], int], one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other)


def _ends_of_parts(
    times: npt.NDArray[np.int64], percent: float, effective: int
) -> tuple[int | None, int | None]:
    """The ends of an interval by the percentiles of consecutive parts of the run.

    The percentile of the whole lies between those of the parts ("sectioning": Asmussen and Glynn,
    "Stochastic Simulation", 2007, III.5; Nakayama, "Confidence intervals for quantiles using sectioning
    when applying variance-reduction techniques", ACM Transactions on Modeling and Computer Simulation 24,
    2014), and how far these lie apart says how much it wanders, in nanoseconds and not in ranks: times
    that hardly vary, and drift by a hair for minutes, are all alike and yet well known. What the run did not
    see may lie farther out, the more so the likelier it is that no independent sample was beyond the
    percentile: three times as far as the parts lie apart, the farthest at either side left out as it may
    have been disturbed, times that chance, is enough on every queue of ``bench.coverage``; no theorem says so.

    Returns:
        None twice if the run is too short to be cut; None below if that end is not above 0.
    """
    share = percent / 100
    if len(times) * min(share, 1 - share) < _PARTS * _BEYOND_IN_PART:
        return None, None
    parts = (percentile(part, percent) for part in np.array_split(times, _PARTS))
    least, *some, most = sorted(part for part in parts if part is not None)
    apart = some[-1] - some[0]
    low = math.floor(least - _UNSEEN * (1 - share) ** effective * apart)
    high = math.ceil(most + _UNSEEN * share**effective * apart)
    return low if low > 0 else None, high


def _autocorrelation_time(ones: npt.NDArray[np.bool_]) -> float:
    """The integrated autocorrelation time of a sequence, one standard error longer, at least 1.

    It is estimated by the initial monotone sequence (Geyer, "Practical Markov Chain Monte Carlo",
    Statistical Science 7, 1992) of the means of blocks, in which a slow drift stands out that the noise from
    one sample to the next would hide. Blocks are as long as the cube root of the sequence (Flegal and
    Jones, "Batch means and spectral variance estimators in Markov chain Monte Carlo", Annals of Statistics 38,
    2010). The standard error is Sokal's ("Monte Carlo Methods in Statistical Mechanics", 1997): an estimate
    that is too short makes an interval that is too narrow.
    """
    block = round(len(ones) ** (1 / 3))
    size = len(ones) // block
    means = ones[: size * block].reshape(size, block).mean(axis=1)
    spread = float(ones.mean() * (1 - ones.mean()))
    centred = means - means.mean()
    if size < 2 or not spread or not centred.any():
        return 1.0
    length = 1 << (2 * size - 1).bit_length()
    spectrum = np.fft.rfft(centred, length)
    covariance = np.fft.irfft(spectrum * spectrum.conj(), length)[:size] / size
    pairs = covariance[0 : size - 1 : 2] + covariance[1:size:2]
    negative = np.flatnonzero(pairs <= 0)
    pairs = np.minimum.accumulate(pairs[: negative[0]] if len(negative) else pairs)
    time = block * (2 * float(pairs.sum()) - float(covariance[0])) / spread
    if time <= 1:
        return 1.0
    window = 2 * len(pairs)
    return float(time * (1 + math.sqrt(2 * (2 * window + 1) / size)))


@lru_cache(maxsize=256)
def _ranks(count: int, percent: float) -> tuple[int, int]:
    """Ranks among independent samples that hold the percentile between them; 0 and ``count + 1``: none."""
    share = percent / 100
    middle, reach = count * share, 10 * math.sqrt(count * share * (1 - share)) + 10
    # All of the binomial distribution that is worth counting.
    first, last = max(0, math.floor(middle - reach)), min(count, math.ceil(middle + reach))
    numbers = np.arange(first, last)
    odds = np.log(count - numbers) - np.log(numbers + 1) + math.log(share) - math.log1p(-share)
    log = np.concatenate([[0.0], np.cumsum(odds)])
    chances = np.exp(log - log.max())
    below = np.cumsum(chances / chances.sum())
    tail = (1 - CONFIDENCE) / 2
    return (
        first + int(np.searchsorted(below, tail)),
        first + int(np.searchsorted(below, 1 - tail)) + 1,
    )
