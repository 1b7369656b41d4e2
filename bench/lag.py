"""How late were the arrivals? From stamps alone, by the same estimator for every generator.

A generator promises arrival *i* at ``origin + i / rate``. Its origin is its own secret, so it is
estimated in its favour: the latest origin that lets no arrival come early,

    origin = min over i of (stamp_i - i / rate)

A late arrival cannot move this minimum, and one punctual arrival suffices to fix it. Every lag is
then at least 0; what all arrivals have in common (the way to the server, mostly) is not in it. So
this is not the distance from the generator's clock but the unevenness that a server meets.

Arrivals carry no number, so the *i*-th to come is taken for the *i*-th that was due, unless some are
missing. A delay that is never made up is then taken for requests that were left out, again in the
generator's favour: arrival *i* is held against due time *i* + *s*, where *s* grows from 0 to at most
the number missing, and only as far as no later arrival would come early by it. What is missing is
counted instead of being timed.

Generators need a moment to start (connections, caches, virtual users). Arrivals due in the first
part of a run, the same for all, are left out of the lags; they count for what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

__all__ = ["SHARES", "Fidelity", "Punctuality", "fidelity", "punctuality"]

#: The shares at which ``Fidelity.curve`` is taken: dense where the tail is.
SHARES: tuple[float, ...] = tuple(
    float(x) for x in np.concatenate([np.linspace(0, 0.98, 50), np.linspace(0.981, 1, 20)])
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Punctuality:
    """Each arrival against its due time, nanoseconds since the origin.

    Attributes:
        due: When it should have come.
        lag: How much later it came, never below 0.
    """

    due: npt.NDArray[np.float64]
    lag: npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How true a constant rate was. Lags in nanoseconds, of what was due after the start.

    Attributes:
        offered: Arrivals that were promised, from the very beginning.
        arrived: Arrivals that came, from the very beginning.
        in_time: Of those, how many came before the end of the run, or at most so much later as
            ``fidelity`` was told to allow.
        achieved_rate: Arrivals a second after the start, from the first to the last.
        p50, p99, max: Lag.
        curve: Lag at ``SHARES``, for a picture of the distribution.
    """

    offered: int
    arrived: int
    in_time: int
    achieved_rate: float
    p50: float
    p99: float
    max: float
    curve: tuple[float, ...]

    @property
    def missing(self) -> int:
        """Arrivals that never came."""
        return max(0, self.offered - self.arrived)


def punctuality(stamps: npt.NDArray[np.int64], *, rate: float, missing: int = 0) -> Punctuality:
    """Hold arrivals against a constant rate.

    Args:
        stamps: Arrivals, nanoseconds of any clock, ascending, at least one.
        rate: What was promised, arrivals a second.
        missing: How many were promised and never came.
    """
    gap = 1e9 / rate
    index = np.arange(len(stamps))
    # Relative to the first, so that a float has nanoseconds to spare.
    since_first = (stamps - stamps[0]).astype(np.float64)
    since_origin = since_first - (since_first - index * gap).min()
    # Stamps are whole nanoseconds: one that is early by its rounding alone is on time.
    behind = np.floor((since_origin + 2) / gap) - index
    never_made_up = np.minimum.accumulate(behind[::-1])[::-1]
    due = (index + np.clip(never_made_up, 0, missing)) * gap
    return Punctuality(due=due, lag=np.maximum(since_origin - due, 0))


def fidelity(
    stamps: npt.NDArray[np.int64],
    *,
    rate: float,
    seconds: float,
    start: float = 0.0,
    allowance: int = 0,
) -> Fidelity:
    """How true a constant rate was.

    Args:
        stamps: Arrivals as for ``punctuality``.
        rate: What was promised, arrivals a second.
        seconds: For how long.
        start: So many of these seconds are left out of the lags.
        allowance: Nanoseconds after the end of the run in which an arrival still is in time.

    Raises:
        BenchError: Hardly anything arrived after the start, so nothing can be said.
    """
    offered = round(rate * seconds)
    if not len(stamps):
        raise BenchError("no request arrived: there is nothing to measure")
    seen = punctuality(stamps, rate=rate, missing=max(0, offered - len(stamps)))
    counted = seen.due >= start * 1e9
    lag, when = seen.lag[counted], stamps[counted]
    if len(lag) < 2:
        raise BenchError(f"{len(lag)} requests arrived after the start: too few to measure")
    quantiles: Any = np.quantile(lag, SHARES)
    return Fidelity(
        offered=offered,
        arrived=len(stamps),
        in_time=int((seen.due + seen.lag <= seconds * 1e9 + allowance).sum()),
        achieved_rate=(len(lag) - 1) * 1e9 / max(1, int(when[-1] - when[0])),
        p50=float(np.quantile(lag, 0.5)),
        p99=float(np.quantile(lag, 0.99)),
        max=float(lag.max()),
        curve=tuple(float(x) for x in quantiles),
    )
