"""How do independent users arrive? At random, at a constant mean rate: a Poisson process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_certload.engine import schedule
from pytest_certload.engine.arrivals import RatedArrivals
from pytest_certload.units import Duration

__all__ = ["PoissonArrivalRate"]


@dataclass(frozen=True, kw_only=True, init=False)
class PoissonArrivalRate(RatedArrivals):
    """Iterations become due at random moments, on average at a rate: users who know nothing of one another.

    The gaps between arrivals are exponentially distributed, so arrivals come in bunches, which a
    constant rate never shows. The run's seed decides them all. Arguments and errors are those of
    ``RatedArrivals``.
    """

    kind = "poisson_arrival_rate"

    def due(self, seed: int) -> npt.NDArray[np.int64]:
        """See ``ArrivalExecutor.due``."""
        return schedule.poisson(self.rate, Duration(self.warm_up + self.duration), seed)
