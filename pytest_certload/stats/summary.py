"""What are the figures of one step? Counts, rate, errors, percentiles: plain data from samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_certload.samples import Connections, Outcome, Samples

from .percentile import percentile

__all__ = ["LatencySummary", "StepSummary", "summarize", "summarize_latency"]


@dataclass(frozen=True, kw_only=True)
class LatencySummary:
    """The distribution of one kind of time. All figures in nanoseconds; None without samples.

    Percentiles are values that were measured (nearest rank); ``mean`` is rounded to a nanosecond.
    """

    count: int
    mean: int | None
    min: int | None
    p50: int | None
    p90: int | None
    p95: int | None
    p99: int | None
    max: int | None


@dataclass(frozen=True, kw_only=True)
class StepSummary:
    """The figures of one step, or of whole iterations.

    Attributes:
        name: The step's name, or the scenario's for whole iterations.
        count: Everything that was due: successes, errors, unfinished and dropped ones.
        ok: How many succeeded.
        errors: ``count - ok``.
        error_rate: ``errors / count``, 0 to 1; None when nothing was due.
        rate: How many were over before the measured window ended, successes and errors, per second.
        statuses: How often each HTTP status came last, ascending; 0 stands for no answer.
        outcomes: How often each outcome came, by its label; outcomes that never came are absent.
        response_time: End minus due, of successes and of those who still waited at the end, who
            count as their age then.
        service_time: End minus sent, of successes and of those still served at the end.
        received_bytes: Octets of the response bodies.
        phases: Parts of the service time: ``first byte`` (until it came, of successes), and of the
            connections that had to be made, ``dns``, ``connect`` and ``tls``; those that came.
    """

    name: str
    count: int
    ok: int
    errors: int
    error_rate: float | None
    rate: float
    statuses: Mapping[int, int]
    outcomes: Mapping[str, int]
    response_time: LatencySummary
    service_time: LatencySummary
    received_bytes: int
    phases: Mapping[str, LatencySummary]


def summarize_latency(values: npt.NDArray[np.int64]) -> LatencySummary:
    """The distribution of times in nanoseconds, in any order."""
    if not len(values):
        return LatencySummary(
            count=0, mean=None, min=None, p50=None, p90=None, p95=None, p99=None, max=None
        )
    ordered = np.sort(values)
    return LatencySummary(
        count=len(ordered),
        mean=round(float(ordered.mean())),
        min=int(ordered[0]),
        p50=percentile(ordered, 50),
        p90=percentile(ordered, 90),
        p95=percentile(ordered, 95),
        p99=percentile(ordered, 99),
        max=int(ordered[-1]),
    )


def summarize(
    rows: Samples,
    *,
    name: str,
    window_seconds: float,
    window_end: int,
    connections: Connections | None = None,
) -> StepSummary:
    """The figures of rows that belong together.

    Args:
        rows: The rows of one step, or those of whole iterations.
        name: What they are called in reports.
        window_seconds: Length of the measured window; a window of 0 makes a rate of 0.
        window_end: When it ended, nanoseconds of the engine's clock.
        connections: Those that the rows made.
    """
    count = len(rows)
    succeeded = int(rows.ok.sum())
    outcomes = _counts(rows.outcome)
    never_over = np.isin(rows.outcome, (Outcome.DROPPED, Outcome.UNFINISHED))
    over = int(((rows.end <= window_end) & ~never_over).sum())
    return StepSummary(
        name=name,
        count=count,
        ok=succeeded,
        errors=count - succeeded,
        error_rate=(count - succeeded) / count if count else None,
        rate=over / window_seconds if window_seconds else 0.0,
        statuses=_counts(rows.status[rows.outcome != Outcome.DROPPED]),
        outcomes={Outcome(value).label: n for value, n in outcomes.items()},
        response_time=summarize_latency(rows.response_time[rows.felt]),
        service_time=summarize_latency(rows.service_time[rows.served]),
        received_bytes=int(rows.size.sum()),
        phases=_phases(rows, connections),
    )


def _phases(rows: Samples, connections: Connections | None) -> dict[str, LatencySummary]:
    answered = rows.ok & (rows.first_byte > 0)
    times = {"first byte": (rows.first_byte - rows.sent)[answered]}
    if connections is not None:
        for phase in ("dns", "connect", "tls"):
            taken: npt.NDArray[np.int64] = getattr(connections, phase)
            times[phase] = taken[taken > 0]
    return {phase: summarize_latency(values) for phase, values in times.items() if len(values)}


def _counts(column: npt.NDArray[np.int16] | npt.NDArray[np.uint8]) -> dict[int, int]:
    values, counts = np.unique(column, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
