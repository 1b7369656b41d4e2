"""Had the run settled when it was measured? When it had, if it was measured too early."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .percentile import percentile
from .uncertainty import interval

__all__ = ["settled_after"]

_BATCHES = 50
#: Beginnings that are no more than so much slower than the rest are its noise.
_FACTOR = 1.1


def settled_after(times: npt.NDArray[np.int64], due: npt.NDArray[np.int64]) -> int | None:
    """When response times had come down to what they stayed at, as far as they had to.

    The run is cut in fifty batches, and the point is sought behind which the mean of the batches has the
    least standard error (the rule MSER: White, "An effective truncation heuristic for bias reduction in
    simulation output", Simulation 69, 1997), in the first half of the run. A beginning counts as unsettled
    when its median is a tenth above that of the rest and the 95 % intervals of the two do not meet: a
    beginning that was quicker makes no figure look better than it is for long, and is no matter of warm-up.

    Args:
        times: Nanoseconds, in the order in which they were due.
        due: When each was due, nanoseconds, ascending.

    Returns:
        Nanoseconds from the first one's due time; None when the run was settled all along, or is too short
        to tell.
    """
    size = len(times) // _BATCHES
    if not size:
        return None
    batches = times[: size * _BATCHES].reshape(_BATCHES, size).mean(axis=1)
    errors = [float(np.var(batches[cut:])) / (_BATCHES - cut) for cut in range(_BATCHES // 2 + 1)]
    cut = int(np.argmin(errors)) * size
    if not cut:
        return None
    before, after = times[:cut], times[cut:]
    slow, usual = percentile(before, 50), percentile(after, 50)
    assert slow is not None
    assert usual is not None
    if slow <= usual * _FACTOR:
        return None
    low, high = interval(before, 50).low, interval(after, 50).high
    if low is None or high is None or low <= high:
        return None
    return int(due[cut] - due[0])
