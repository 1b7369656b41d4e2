"""A plugin for inner sessions: limits of durations are wide, as what a busy machine adds is not what is looked for.

The first assertion that fails is the only one, so it would be said in place of what is.
"""

from __future__ import annotations

import pytest

from pytest_certload.units import Duration
from pytest_certload.verdict.measure import Measure

_WIDER = 20
#: What is looked for itself, such as ``response time p95``: its limit stays.
narrow: set[str] = set()


def pytest_configure(config: pytest.Config) -> None:
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    below = Measure.__lt__

    def below_wide(measure: Measure, limit: object) -> bool:
        __tracebackhide__ = True
        wide = isinstance(limit, Duration) and measure.metric not in narrow
        return below(measure, Duration(limit * _WIDER) if wide else limit)  # type: ignore[operator]

    patch.setattr(Measure, "__lt__", below_wide)
