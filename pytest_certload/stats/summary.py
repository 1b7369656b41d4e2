"""What are the figures of one step? Counts, rate, errors, percentiles: plain data from samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pytest_certload.samples import Outcome

from .distribution import Distribution
from .figures import PHASES, StepFigures
from .histogram import Histogram, histogram_of
from .uncertainty import smallest_count

__all__ = [
    "INTERVALS",
    "IntervalSummary",
    "LatencySummary",
    "StepSummary",
    "summarize",
    "summarize_latency",
]

#: The percentiles of the response time that are told with their intervals.
INTERVALS = (50, 90, 95, 99)


@dataclass(frozen=True, kw_only=True)
class LatencySummary:
    """The distribution of one kind of time. All figures in nanoseconds; None without samples.

    Percentiles are nearest ranks: values that were measured, or in a sketch near to one; None when the
    samples are too few to tell them from the longest one (``smallest_count``). ``mean`` is rounded to a
    nanosecond.
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
class IntervalSummary:
    """Where a percentile of the process lies that the samples came from, 95 % sure.

    Attributes:
        percent: Which percentile.
        low, high: Nanoseconds; None: the samples are too few to bound it there.
        effective: As how many independent samples these count.
    """

    percent: float
    low: int | None
    high: int | None
    effective: int


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
        intervals: Of the response time's percentiles that so many samples support; none of a sketch.
        histogram: Of the response time; None without samples.
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
    intervals: tuple[IntervalSummary, ...] = ()
    histogram: Histogram | None = None


def summarize_latency(times: Distribution) -> LatencySummary:
    """The figures of a distribution."""
    mean = times.mean

    def supported(percent: float) -> int | None:
        return times.percentile(percent) if times.count >= smallest_count(percent) else None

    return LatencySummary(
        count=times.count,
        mean=None if mean is None else round(mean),
        min=times.min,
        p50=supported(50),
        p90=supported(90),
        p95=supported(95),
        p99=supported(99),
        max=times.max,
    )


def summarize(figures: StepFigures, *, name: str, window_seconds: float) -> StepSummary:
    """The figures of one step, or of whole iterations, as plain data.

    Args:
        figures: What they are made from.
        name: What they are called in reports.
        window_seconds: Length of the measured window; a window of 0 makes a rate of 0.
    """
    counts, times = figures.counts, figures.times
    ok = counts.of_outcome(Outcome.OK)
    errors = counts.count - ok
    return StepSummary(
        name=name,
        count=counts.count,
        ok=ok,
        errors=errors,
        error_rate=errors / counts.count if counts.count else None,
        rate=counts.over / window_seconds if window_seconds else 0.0,
        statuses=counts.statuses,
        outcomes={outcome.label: n for outcome, n in counts.outcomes.items()},
        response_time=summarize_latency(times["response time"]),
        service_time=summarize_latency(times["service time"]),
        received_bytes=counts.received_bytes,
        phases={phase: summarize_latency(times[phase]) for phase in PHASES if times[phase].count},
        intervals=tuple(_intervals(times["response time"])),
        histogram=histogram_of(times["response time"]),
    )


def _intervals(times: Distribution) -> Iterator[IntervalSummary]:
    for percent in INTERVALS:
        if times.count >= smallest_count(percent):
            found = times.interval(percent)
            if found is not None:
                yield IntervalSummary(
                    percent=percent, low=found.low, high=found.high, effective=found.effective
                )
