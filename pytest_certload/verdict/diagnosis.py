"""May the run be judged? Whether the generator made the load it says, or was the bottleneck itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pytest_certload.engine.runner import WorkerReport
from pytest_certload.stats.distribution import Distribution
from pytest_certload.units import format_duration, format_rate, ms

__all__ = ["Validity", "diagnose", "generator_lag"]

_SOME_LAG = ms(10)
_LONG_PAUSE = ms(50)
_MOST = 0.95
_HALF = 0.5
_TENTH = 0.1
_THIRD = 0.3


@dataclass(frozen=True, kw_only=True)
class Validity:
    """Whether a run may be judged.

    Attributes:
        state: ``valid``; ``suspect``: the generator was disturbed, so that latency is at most as high
            as it says; ``invalid``: the load was not offered as it should, or the generator set the
            pace, so neither a pass nor a fault of the server is proven.
        reasons: Why it is not valid, each with what to change.
    """

    state: Literal["valid", "suspect", "invalid"]
    reasons: tuple[str, ...]


def generator_lag(report: WorkerReport) -> Distribution:
    """How late iterations began that found a free slot: the generator's own lateness, nanoseconds."""
    return report.figures.iterations.times["lag"]


def diagnose(report: WorkerReport, *, allow_dropped: float = 0) -> Validity:
    """Judge the generator by what it saw of itself, before anything judges the server.

    Args:
        report: The run.
        allow_dropped: Share of the iterations, 0 to 1, that may be dropped.
    """
    invalid = tuple(_invalid(report, allow_dropped))
    if invalid:
        return Validity(state="invalid", reasons=invalid)
    suspect = tuple(_suspect(report))
    return Validity(state="suspect" if suspect else "valid", reasons=suspect)


def _invalid(report: WorkerReport, allow_dropped: float) -> Iterator[str]:
    if not report.offered:
        yield "nothing was due in the measured window: offer more, or longer"
        return
    pace = _generator_set_the_pace(report)
    if pace is not None:
        yield (
            f"the generator was the bottleneck, not the server: {pace}; offer less, use "
            "--certload-transport fast, or give the generator a machine with more to spare"
        )
    if report.dropped > allow_dropped * report.offered:
        served = report.finished / report.offered
        window = report.duration.total_seconds + report.drain.total_seconds
        rate = format_rate(report.finished / window) if window else "none"
        yield (
            f"the offered load was not offered: {report.dropped:,} of {report.offered:,} iterations "
            f"never started, as {report.in_flight_peak:,} were in flight (max_in_flight) and the "
            f"backlog was not worked off within the grace period; {served:.1%} were served, {rate}; "
            "offer less, or allow more in flight"
        )
    elif report.started_in_window < _MOST * report.started:
        share = report.started_in_window / report.started
        if report.backlog_peak:
            why = f"as {report.in_flight_peak:,} were in flight (max_in_flight)"
            remedy = "offer less, or allow more in flight"
        else:
            why = "though no one waited for a slot: the generator was held up"
            remedy = "offer load for longer, or give the generator a machine with more to spare"
        yield (
            f"the offered load was offered late: {share:.0%} of {report.started:,} iterations began "
            f"within the window, {why}, and the rest after it; {remedy}"
        )


def _generator_set_the_pace(report: WorkerReport) -> str | None:
    lag, felt = generator_lag(report).percentile(50), _response_time(report).percentile(50)
    if lag and felt and lag > _SOME_LAG and lag > _HALF * felt:
        return (
            f"half of the iterations that found a free slot began {format_duration(lag)} late or "
            f"more, of {format_duration(felt)} that they took"
        )
    own = report.generator
    if own is not None and own.busy_share > _HALF and not report.scheduled:
        return f"its event loop used a whole core in {own.busy_share:.0%} of the seconds"
    return None


def _suspect(report: WorkerReport) -> Iterator[str]:
    lag, felt = generator_lag(report).percentile(99), _response_time(report).percentile(99)
    if lag and felt and lag > _SOME_LAG and lag > _TENTH * felt:
        yield (
            f"one iteration in a hundred began {format_duration(lag)} late or more for the "
            "generator's own reasons, and its response time has that in it"
        )
    own = report.generator
    if own is None:
        return
    if own.busy_share > _TENTH:
        yield f"the generator used a whole core in {own.busy_share:.0%} of the seconds"
    if own.wait_share is not None and own.wait_share > _THIRD:
        yield f"for {own.wait_share:.0%} of the time other processes kept the generator from running"
    if own.steal_share is not None and own.steal_share > _TENTH:
        yield f"the machine's host gave {own.steal_share:.0%} of its CPU time to others"
    if own.gc_longest > _LONG_PAUSE:
        yield f"collecting garbage stopped the generator for {format_duration(own.gc_longest)}"


def _response_time(report: WorkerReport) -> Distribution:
    return report.figures.iterations.times["response time"]
