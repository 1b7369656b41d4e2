"""How are arrivals offered as they once really came? From a file of recorded times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pytest_certload.engine.arrivals import ArrivalExecutor, WhenFull
from pytest_certload.engine.recording import read_recording
from pytest_certload.errors import ConfigurationError
from pytest_certload.units import Duration, Rate, parse_duration

from . import check_window

__all__ = ["ReplayedArrivals"]


@dataclass(frozen=True, kw_only=True, init=False)
class ReplayedArrivals(ArrivalExecutor):
    """Iterations become due at the times of a recording, the first at its begin.

    Args:
        path: A text file with one time a line: seconds (``12.345``), or ISO 8601 with a time zone
            (``2026-01-31T12:00:00.123Z``). Empty lines and lines that begin with ``#`` are passed over.
        speed: 2 replays it in half the time.
        duration: Replay no more than the first so much; default: all of it.
        max_in_flight, when_full: As for ``ArrivalExecutor``.
        warm_up: So much of the recording's begin is left out of the results.

    Raises:
        ConfigurationError: The file cannot be read, a line is not a time, or times go back.
    """

    kind = "replayed_arrivals"

    path: Path
    speed: float
    duration: Duration
    max_in_flight: int
    when_full: WhenFull
    warm_up: Duration
    _due: npt.NDArray[np.int64] = field(repr=False, compare=False)

    def __init__(
        self,
        *,
        path: Path | str,
        speed: object = 1,
        duration: object = None,
        max_in_flight: int = 100,
        when_full: WhenFull = "queue",
        warm_up: object = 0,
    ) -> None:
        if isinstance(speed, bool) or not isinstance(speed, (int, float)) or not 0 < speed < 1e9:
            raise ConfigurationError(f"speed: {speed!r} is not a number above 0")
        object.__setattr__(self, "path", Path(path))
        object.__setattr__(self, "speed", speed)
        self._set_common(max_in_flight=max_in_flight, when_full=when_full, warm_up=warm_up)
        # Read here, so that a bad file is told before anything is started.
        factor = Fraction(str(speed))
        offsets = read_recording(self.path)
        object.__setattr__(self, "_due", due := _divided(offsets, factor))
        if duration is None:
            # The window ends just after the last arrival.
            length = Duration(int(due[-1]) + 1 - self.warm_up)
        else:
            length = parse_duration(duration)
        object.__setattr__(self, "duration", length)
        if duration is None and length <= 0:
            raise ConfigurationError(f"warm_up: {self.warm_up} is all of the recording {path}")
        check_window(length)

    @property
    def parameters(self) -> Mapping[str, str | int | float]:
        """See ``Executor.parameters``."""
        return {"path": str(self.path), "speed": self.speed, **self._common_parameters}

    def replaced(
        self,
        *,
        duration: Duration | None = None,
        rate: Rate | None = None,
        vus: int | None = None,
        warm_up: Duration | None = None,
    ) -> ReplayedArrivals:
        """See ``Executor.replaced``."""
        return ReplayedArrivals(
            path=self.path,
            speed=self.speed,
            duration=self.duration if duration is None else duration,
            max_in_flight=self.max_in_flight,
            when_full=self.when_full,
            warm_up=self.warm_up if warm_up is None else warm_up,
        )

    def due(self, seed: int) -> npt.NDArray[np.int64]:
        """See ``ArrivalExecutor.due``."""
        return self._due[self._due < self.warm_up + self.duration]


def _divided(offsets: npt.NDArray[np.int64], speed: Fraction) -> npt.NDArray[np.int64]:
    """Offsets at another speed, exactly.

    Raises:
        ConfigurationError: The last one is further away than 64 bits can tell.
    """
    last, most = int(offsets[-1]), np.iinfo(np.int64).max
    if last * speed.denominator // speed.numerator > most:
        raise ConfigurationError(
            f"speed: at {float(speed):g} the recording would last longer than 292 years"
        )
    if last * speed.denominator <= most:
        return offsets * speed.denominator // speed.numerator
    # Such as 1/3, whose 16 decimal places are a number of their own: numpy's integers would wrap round.
    whole = (int(offset) * speed.denominator // speed.numerator for offset in offsets)
    return np.fromiter(whole, np.int64, len(offsets))
