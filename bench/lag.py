"""How late were the arrivals? From stamps alone, by the same estimator for every generator.

A generator promises arrival *i* at ``origin + i / rate``. Its origin is its own secret, so it is
estimated in its favour: the latest origin that lets no arrival come early,

    origin = min over i of (stamp_i - i / rate)

A late arrival cannot move this minimum, and one punctual arrival suffices to fix it. Every lag is
then at least 0; what all arrivals have in common (the way to the server, mostly) is not in it. So
this is not the distance from the generator's clock but the unevenness that a server meets.

Arrivals are counted, not matched: ``lag_i`` says how long after it should have the server had seen
*i* + 1 requests. A generator that leaves some out is behind for the rest of its run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

__all__ = ["Fidelity", "fidelity", "lags"]


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How true a constant rate was. Lags in nanoseconds.

    Attributes:
        offered: Arrivals that were promised.
        arrived: Arrivals that came.
        achieved_rate: Arrivals a second, from the first to the last.
        p50, p99, max: Lag.
        curve: Lag at the shares of ``Fidelity.SHARES``, for a picture of the distribution.
    """

    offered: int
    arrived: int
    achieved_rate: float
    p50: float
    p99: float
    max: float
    curve: tuple[float, ...]

    @property
    def missing(self) -> int:
        """Arrivals that never came."""
        return max(0, self.offered - self.arrived)


#: The shares at which ``Fidelity.curve`` is taken: dense where the tail is.
SHARES: tuple[float, ...] = tuple(
    float(x) for x in np.concatenate([np.linspace(0, 0.98, 50), np.linspace(0.981, 1, 20)])
)


def lags(stamps: npt.NDArray[np.int64], rate: float) -> npt.NDArray[np.float64]:
    """The lag of each arrival, nanoseconds, none below 0.

    Args:
        stamps: Arrivals, nanoseconds of any clock, ascending, at least one.
        rate: What was promised, arrivals a second.
    """
    # Relative to the first, so that a float has nanoseconds to spare.
    behind: npt.NDArray[np.float64] = (stamps - stamps[0]) - np.arange(len(stamps)) * (1e9 / rate)
    result: npt.NDArray[np.float64] = behind - behind.min()
    return result


def fidelity(stamps: npt.NDArray[np.int64], *, rate: float, seconds: float) -> Fidelity:
    """How true a constant rate was.

    Args:
        stamps: Arrivals as for ``lags``.
        rate: What was promised, arrivals a second.
        seconds: For how long.

    Raises:
        BenchError: There are fewer than two arrivals, so nothing can be said.
    """
    if len(stamps) < 2:
        raise BenchError(f"only {len(stamps)} requests arrived: there is nothing to measure")
    lag = lags(stamps, rate)
    span = int(stamps[-1] - stamps[0])
    quantiles: Any = np.quantile(lag, SHARES)
    return Fidelity(
        offered=round(rate * seconds),
        arrived=len(stamps),
        achieved_rate=(len(stamps) - 1) * 1e9 / max(span, 1),
        p50=float(np.quantile(lag, 0.5)),
        p99=float(np.quantile(lag, 0.99)),
        max=float(lag.max()),
        curve=tuple(float(x) for x in quantiles),
    )
