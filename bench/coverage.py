"""Do the intervals hold the truth as often as they say? ``python -m bench.coverage``.

Queues whose percentiles are known are simulated again and again, and the intervals counted that hold
them; beside it stand the naive intervals, which take all samples for independent ones.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_certload.stats.uncertainty import interval

__all__ = ["QUEUES", "Coverage", "Queue", "coverage", "main"]

PERCENTS = (50.0, 95.0, 99.0)
_TICKS = 1_000_000  # nanoseconds in the unit of time of the simulations
_LONG_RUN = 4_000_000

Times = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Something that answers requests.

    Attributes:
        name: In the table.
        simulate: Makes the response times of so many runs of so many requests, in order.
        truth: Its percentiles.
    """

    name: str
    simulate: Callable[[np.random.Generator, int, int], Times]
    truth: Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How often the intervals held the truth.

    Attributes:
        held: Share of those that did; one that is open at an end holds all beyond.
        naive: The same of the naive intervals.
        open: Share of those without an upper end, as the samples were too few.
        effective: As how many samples they counted, the median.
    """

    held: float
    naive: float
    open: float
    effective: int


def _waiting(service: Times, gaps: Times, wait: Times) -> Times:
    """Response times by Lindley's recursion, all runs at once; ``wait`` is the first one's."""
    times = np.empty_like(service)
    for number in range(service.shape[1]):
        times[:, number] = wait + service[:, number]
        wait = np.maximum(0.0, times[:, number] - gaps[:, number])
    return times


def _random_arrivals(load: float) -> Queue:
    """M/M/1: random arrivals, one server with random service times of 1 on average."""

    def simulate(random: np.random.Generator, runs: int, count: int) -> Times:
        service = random.exponential(1, (runs, count))
        gaps = random.exponential(1 / load, (runs, count))
        begin = np.where(random.random(runs) < load, random.exponential(1 / (1 - load), runs), 0.0)
        return _waiting(service, gaps, begin)

    def truth(percent: float) -> float:
        return -math.log(1 - percent / 100) / (1 - load)

    return Queue(name=f"M/M/1, load {load:.0%}", simulate=simulate, truth=truth)


def _measured_once(
    simulate: Callable[[np.random.Generator, int, int], Times],
) -> Callable[[float], float]:
    """The truth of what has no formula: the percentiles of a very long run."""
    kept: list[Times] = []

    def truth(percent: float) -> float:
        if not kept:
            kept.append(np.sort(simulate(np.random.default_rng(0), 1, _LONG_RUN)[0]))
        return float(kept[0][int(percent / 100 * _LONG_RUN)])

    return truth


def _two_modes(random: np.random.Generator, runs: int, count: int) -> Times:
    """One request in ten takes another way, ten times as long."""
    times = random.lognormal(0, 0.3, (runs, count))
    times[random.random((runs, count)) < 0.1] += 10
    return times


def _stalls(random: np.random.Generator, runs: int, count: int) -> Times:
    """The server stands still now and then: who comes meanwhile waits for the rest of it."""
    times = random.exponential(1, (runs, count))
    for run in times:
        begin = int(random.exponential(_BETWEEN_STALLS))
        while begin < count:
            length = 1 + int(random.exponential(_STALL))
            rest = np.arange(length, 0, -1)[: count - begin]
            run[begin : begin + len(rest)] += rest
            begin += length + int(random.exponential(_BETWEEN_STALLS))
    return times


_BETWEEN_STALLS = 400
_STALL = 40

QUEUES = (
    *(_random_arrivals(load) for load in (0.3, 0.5, 0.7, 0.8, 0.9)),
    Queue(name="two modes", simulate=_two_modes, truth=_measured_once(_two_modes)),
    Queue(name="stalls", simulate=_stalls, truth=_measured_once(_stalls)),
)


def coverage(queue: Queue, percent: float, *, runs: int, count: int, seed: int) -> Coverage:
    """Simulate a queue again and again, and count.

    Args:
        queue: The queue.
        percent: The percentile.
        runs: How often.
        count: Requests of a run.
        seed: Of the simulation.
    """
    times = queue.simulate(np.random.default_rng(seed), runs, count) * _TICKS
    truth = queue.truth(percent) * _TICKS
    held = naive = unbounded = 0
    effective = []
    for run in times.astype(np.int64):
        found = interval(run, percent)
        held += (found.low or 0) <= truth <= (math.inf if found.high is None else found.high)
        unbounded += found.high is None
        effective.append(found.effective)
        low, high = _naive(np.sort(run), percent)
        naive += low <= truth <= high
    return Coverage(
        held=held / runs,
        naive=naive / runs,
        open=unbounded / runs,
        effective=int(np.median(effective)),
    )


def _naive(ordered: npt.NDArray[np.int64], percent: float) -> tuple[int, int]:
    """The normal approximation of the interval of as many independent samples."""
    count, share = len(ordered), percent / 100
    width = 1.96 * math.sqrt(count * share * (1 - share))
    first, last = (math.floor(count * share - width), math.ceil(count * share + width))
    return int(ordered[max(0, first - 1)]), int(ordered[min(count, last) - 1])


def main(words: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="of each queue (default: 1000)")
    parser.add_argument("--count", type=int, default=50_000, help="requests a run (default: 50000)")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(words)
    print(f"{arguments.runs} runs of {arguments.count:,} requests, intervals of 95 %")
    print(
        f"{'':18}"
        + "".join(
            f"{f'p{percent:g}':>12}{'naive':>8}{'open':>8}{'as many':>9}" for percent in PERCENTS
        )
    )
    for queue in QUEUES:
        cells = []
        for percent in PERCENTS:
            found = coverage(
                queue, percent, runs=arguments.runs, count=arguments.count, seed=arguments.seed
            )
            cells.append(
                f"{found.held:>12.1%}{found.naive:>8.1%}{found.open:>8.1%}{found.effective:>9,}"
            )
        print(f"{queue.name:18}" + "".join(cells), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
