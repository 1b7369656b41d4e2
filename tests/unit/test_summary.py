from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pytest_certload.samples import Connections, Observation, Outcome, Samples
from pytest_certload.stats.distribution import ExactTimes
from pytest_certload.stats.figures import figures_of
from pytest_certload.stats.summary import StepSummary
from pytest_certload.stats.summary import summarize as summarize_figures
from pytest_certload.stats.uncertainty import interval

MS = 1_000_000
NO_CONNECTIONS = Connections.from_table(np.empty((0, 5), np.int64))


def summarize(
    samples: Samples,
    *,
    name: str,
    window_seconds: float,
    window_end: int,
    connections: Connections = NO_CONNECTIONS,
) -> StepSummary:
    figures = figures_of(samples, connections, window_end=window_end)
    return summarize_figures(figures.iterations, name=name, window_seconds=window_seconds)


def row(end_ms: int, *, status: int = 200, outcome: Outcome = Outcome.OK) -> Observation:
    return Observation(
        step=0, index=0, due=0, start=2 * MS, end=end_ms * MS, status=status, outcome=outcome
    )


def rows(*observations: Observation) -> Samples:
    return Samples.from_observations(observations, steps=("storm",))


def test_errors_are_counted_and_never_latency_samples() -> None:
    summary = summarize(
        rows(
            *(row(n) for n in range(10, 20)),
            row(5, status=500, outcome=Outcome.UNEXPECTED_STATUS),
            row(30_000, status=0, outcome=Outcome.TIMEOUT),
        ),
        name="storm",
        window_seconds=2,
        window_end=2_000 * MS,
    )
    assert (summary.count, summary.ok, summary.errors) == (12, 10, 2)
    assert summary.error_rate == pytest.approx(1 / 6)
    assert summary.rate == 5.5, "the time-out came after the window"
    assert summary.statuses == {0: 1, 200: 10, 500: 1}
    assert summary.outcomes == {"ok": 10, "unexpected status": 1, "timeout": 1}
    assert summary.response_time.count == 10
    assert (summary.response_time.min, summary.response_time.max) == (10 * MS, 19 * MS)
    assert (summary.service_time.min, summary.service_time.max) == (8 * MS, 17 * MS)
    assert summary.response_time.p50 == 14 * MS
    assert summary.response_time.mean == 14.5 * MS


def test_what_never_got_over_is_an_error_and_no_throughput() -> None:
    summary = summarize(
        rows(
            row(10),
            row(9, status=0, outcome=Outcome.DROPPED),
            row(9, status=0, outcome=Outcome.UNFINISHED),
        ),
        name="storm",
        window_seconds=1,
        window_end=1_000 * MS,
    )
    assert (summary.count, summary.ok, summary.errors, summary.rate) == (3, 1, 2, 1)
    assert summary.statuses == {0: 1, 200: 1}, "a dropped iteration asked for nothing"


def test_who_still_waited_at_the_end_is_as_old_as_they_were_then() -> None:
    """Left out, they would make a server that never answers look quick."""
    summary = summarize(
        rows(
            row(10),
            row(60_000, status=0, outcome=Outcome.UNFINISHED),
            row(50_000, status=0, outcome=Outcome.DROPPED),  # never got a slot
            row(0, status=0, outcome=Outcome.DROPPED),  # refused when it was due
            row(30_000, status=0, outcome=Outcome.TIMEOUT),
        ),
        name="storm",
        window_seconds=1,
        window_end=1_000 * MS,
    )
    assert summary.response_time.count == 3
    assert (summary.response_time.p50, summary.response_time.max) == (50_000 * MS, 60_000 * MS)
    assert summary.service_time.count == 2
    assert summary.service_time.max == 59_998 * MS


def test_service_time_counts_from_the_send_and_its_parts_are_told_apart() -> None:
    sent = Observation(
        step=0, index=0, due=0, start=2 * MS, sent=3 * MS, first_byte=8 * MS, end=9 * MS, size=40
    )
    unsent = Observation(step=0, index=1, due=0, start=2 * MS, end=4 * MS)
    made = Connections(
        index=np.array([0, 1]),
        step=np.zeros(2, np.int16),
        dns=np.array([0, 0]),
        connect=np.array([MS, 3 * MS]),
        tls=np.array([0, 7 * MS]),
    )
    summary = summarize(
        rows(sent, unsent), name="storm", window_seconds=1, window_end=1_000 * MS, connections=made
    )
    assert (summary.service_time.min, summary.service_time.max) == (2 * MS, 6 * MS)
    assert summary.received_bytes == 40
    assert {name: phase.max for name, phase in summary.phases.items()} == {
        "first byte": 5 * MS,
        "connect": 3 * MS,
        "tls": 7 * MS,
    }


def test_a_rate_is_of_what_was_over_within_the_window() -> None:
    late = [row(n * 100) for n in range(1, 21)]
    assert summarize(rows(*late), name="s", window_seconds=1, window_end=1_000 * MS).rate == 10


def test_nothing_at_all() -> None:
    summary = summarize(rows(), name="storm", window_seconds=0, window_end=0)
    assert (summary.count, summary.errors, summary.error_rate, summary.rate) == (0, 0, None, 0)
    assert summary.response_time.count == 0
    assert summary.response_time.p95 is None


def test_times_are_read_when_they_are_asked_for_and_not_kept() -> None:
    reads = 0

    def read() -> npt.NDArray[np.int64]:
        nonlocal reads
        reads += 1
        return np.arange(1_000, 0, -1)

    times = ExactTimes(read, lambda: np.arange(1_000, 0, -1))
    assert (times.count, times.min, times.max, times.mean) == (1_000, 1, 1_000, 500.5)
    assert (times.percentile(50), times.percentile(95), reads) == (500, 950, 1)
    assert times.percentiles([95, 99.9, 10]) == [950, 999, 100]
    assert (times.percentile(10), reads) == (100, 2)
    found = times.interval(95)
    assert found == interval(np.arange(1, 1_001), 95), "in the order in which they were due"
    assert (times.interval(50) is not None, reads) == (True, 3)
    assert times.below([1, 2, 1_001]) == [0, 1, 1_000]
