"""Which requests took longest, and when? The few at the far end of the tail, each by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pytest_certload.samples import ITERATION, Outcome, Samples

__all__ = ["SlowRequest", "slowest_of"]

_MOST = 10


@dataclass(frozen=True, kw_only=True)
class SlowRequest:
    """One of the longest response times.

    Attributes:
        step: The step's name; the scenario's for a whole iteration, in a scenario without steps.
        iteration: Its index.
        due: When it was due, seconds into the measured window.
        response_time, service_time: Nanoseconds, from when it was due and from when it was sent.
        status: The last HTTP status; 0 for none.
        outcome: What became of it, such as ``ok`` or ``unfinished``.
    """

    step: str
    iteration: int
    due: float
    response_time: int
    service_time: int
    status: int
    outcome: str


def slowest_of(samples: Samples, *, begin: int) -> tuple[SlowRequest, ...]:
    """The ten longest, the longest first: of the steps, or of whole iterations where there are none.

    Args:
        samples: The rows of the measured window.
        begin: When it began, nanoseconds of the engine's clock.
    """
    named = np.not_equal(samples.step, ITERATION)
    felt = np.flatnonzero(samples.felt & (named if named.any() else ~named))
    times = samples.end[felt]
    times -= samples.due[felt]
    few = min(_MOST, len(felt))
    longest = felt[np.argpartition(times, len(felt) - few)[len(felt) - few :]] if few else felt
    rows = samples.take(longest)
    # Of equal ones the earlier first, so that two reports of a run are alike.
    order = np.lexsort((rows.index, -rows.response_time))
    service = rows.service_time
    return tuple(
        SlowRequest(
            step=samples.steps[int(rows.step[row])],
            iteration=int(rows.index[row]),
            due=round((int(rows.due[row]) - begin) / 1e9, 6),
            response_time=int(rows.response_time[row]),
            service_time=int(service[row]),
            status=int(rows.status[row]),
            outcome=Outcome(int(rows.outcome[row])).label,
        )
        for row in order.tolist()
    )
