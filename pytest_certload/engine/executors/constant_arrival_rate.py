"""How is a constant arrival rate offered? The open model: arrivals do not wait for answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_certload.engine import schedule
from pytest_certload.engine.arrivals import RatedArrivals
from pytest_certload.units import Duration

__all__ = ["ConstantArrivalRate"]


@dataclass(frozen=True, kw_only=True, init=False)
class ConstantArrivalRate(RatedArrivals):
    """Iterations become due at a constant rate, whether or not earlier ones are answered.

    Arguments and errors are those of ``RatedArrivals``.
    """

    kind = "constant_arrival_rate"

    def due(self, seed: int) -> npt.NDArray[np.int64]:
        """See ``ArrivalExecutor.due``."""
        return schedule.constant(self.rate, Duration(self.warm_up + self.duration))
