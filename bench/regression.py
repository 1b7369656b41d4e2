"""Is a slowdown of a tenth found, and are equal runs called equal? ``python -m bench.regression``.

Pairs of runs are simulated: two of the same server, and two of which the second is slower by a known
share. Counted is how often the comparison with a baseline calls the second one's p95 different.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.coverage import QUEUES, Times
from bench.real_pairs import Plan, make_runs, pairs_of, told_of
from pytest_certload.stats.difference import Difference, Estimate, in_proportion
from pytest_certload.stats.percentile import percentile
from pytest_certload.stats.uncertainty import interval

__all__ = ["SERVERS", "Detection", "Server", "detection", "main"]

RATE, SECONDS = 167, 60
SLOWDOWN = 0.10
#: How long a server stays at the pace it has wandered to.
_WANDER_SECONDS = 5
_TICKS = 1_000_000  # nanoseconds in the unit of time of the simulations
#: A method is good enough when it finds as many of the slowdowns, and calls at most the rest different.
_BAR = 0.95
#: How far a normal estimate must lie from zero, in standard errors, to be found different with 95 %
#: intervals in 19 of 20 runs.
_FOUND = 1.96 + 1.645


@dataclass(frozen=True, kw_only=True)
class Server:
    """Something that answers requests.

    Attributes:
        name: In the table.
        simulate: Makes the response times of so many runs of so many requests, in order.
        bar: Whether the bars are about it; of the others the figures say what cannot be seen.
    """

    name: str
    simulate: Callable[[np.random.Generator, int, int], Times]
    bar: bool


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What became of so many pairs of runs.

    Attributes:
        different: Share of the pairs of equal servers of which the second was called higher or lower.
        found: Share of the slower ones that were called higher.
        failed: Of the slower ones, share that ``p95:5%`` failed; of the equal ones, ``alarms``.
        alarms: See ``failed``.
        error: Standard error of the change, the median of what the intervals say.
        spread: Standard deviation of the changes of equal servers, which it should be.
    """

    different: float
    found: float
    failed: float
    alarms: float
    error: float
    spread: float

    @property
    def smallest(self) -> float:
        """The slowdown that is found in 19 of 20 runs, as a share."""
        return math.expm1(_FOUND * self.error)


def _alike(likeness: float, sigma: float) -> Server:
    """Log-normal times, each like the one before: a server whose pace changes slowly."""

    def simulate(random: np.random.Generator, runs: int, count: int) -> Times:
        return np.exp(sigma * _noise(random, runs, count, likeness))

    return Server(
        name=f"log-normal {sigma:g}, alike {likeness:g}", simulate=simulate, bar=likeness <= 0.8
    )


def _wandering() -> Server:
    """Times that hardly vary, and wander slowly: what the stamping server's were like."""

    def simulate(random: np.random.Generator, runs: int, count: int) -> Times:
        drift = _noise(random, runs, count, math.exp(-1 / (_WANDER_SECONDS * RATE)))
        return 20 + 0.1 * drift + random.gamma(2, 0.03, (runs, count))

    return Server(name="20 ms, wanders by 0.1 ms", simulate=simulate, bar=True)


def _noise(random: np.random.Generator, runs: int, count: int, likeness: float) -> Times:
    """Normal noise, each value like the one before."""
    noise = random.standard_normal((runs, count))
    if likeness:
        fresh = math.sqrt(1 - likeness**2)
        for number in range(1, count):
            noise[:, number] = likeness * noise[:, number - 1] + fresh * noise[:, number]
    return noise


def _queue(load: str, *, bar: bool) -> Server:
    name = f"M/M/1, load {load}"
    (queue,) = (queue for queue in QUEUES if queue.name == name)
    return Server(name=name, simulate=queue.simulate, bar=bar)


SERVERS = (
    _alike(0, 0.5),
    _alike(0.5, 0.5),
    _alike(0.8, 0.3),
    _wandering(),
    _queue("30%", bar=False),
    _queue("50%", bar=False),
    _queue("70%", bar=False),
    _queue("90%", bar=False),
)


def _p95(times: npt.NDArray[np.float64]) -> Estimate:
    run = (times * _TICKS).astype(np.int64)
    found = interval(run, 95)
    value = percentile(np.sort(run), 95)
    assert value is not None
    return Estimate(value=value, low=found.low, high=found.high)


def detection(
    server: Server, *, pairs: int, count: int, seed: int, slowdown: float = SLOWDOWN
) -> Detection:
    """Simulate pairs of runs, and count.

    Args:
        server: What answers.
        pairs: How many pairs of equal servers, and of slower ones.
        count: Requests of a run.
        seed: Of the simulation.
        slowdown: By how much all response times of the slower ones are longer, as a share.
    """
    times = server.simulate(np.random.default_rng(seed), 3 * pairs, count)
    before, equal, slower = times[:pairs], times[pairs : 2 * pairs], times[2 * pairs :]
    baselines = [_p95(run) for run in before]
    same = [in_proportion(_p95(run), b) for run, b in zip(equal, baselines, strict=True)]
    slow = [
        in_proportion(_p95(run * (1 + slowdown)), b)
        for run, b in zip(slower, baselines, strict=True)
    ]
    return Detection(
        different=_share(same, lambda d: d.verdict in ("higher", "lower")),
        found=_share(slow, lambda d: d.verdict == "higher"),
        failed=_share(slow, _fails),
        alarms=_share(same, _fails),
        error=float(np.median([_error(d) for d in same])),
        spread=float(np.std([math.log1p(d.value) for d in same])),
    )


def _fails(change: Difference) -> bool:
    """Whether ``p95:5%`` does."""
    return change.value > 0.05 and change.verdict == "higher"


def _share(changes: Sequence[Difference], is_so: Callable[[Difference], bool]) -> float:
    return sum(map(is_so, changes)) / len(changes)


def _error(change: Difference) -> float:
    if change.low is None or change.high is None:
        return math.inf
    return (math.log1p(change.high) - math.log1p(change.low)) / (2 * 1.96)


def main(words: Sequence[str] | None = None) -> int:
    """Print the table. Returns 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.regression", description=__doc__)
    parser.add_argument("--pairs", type=int, default=200, help="of each server (default: 200)")
    parser.add_argument(
        "--count", type=int, default=RATE * SECONDS, help="requests a run (default: 167/s × 60 s)"
    )
    parser.add_argument("--seed", type=int, default=1)
    real = parser.add_argument_group("real runs on the stamping server, instead of simulated ones")
    real.add_argument(
        "--engine", type=int, metavar="PAIRS", help="so many pairs, three runs a pair"
    )
    real.add_argument(
        "--seconds", type=float, default=SECONDS, help="length of a run (default: 60)"
    )
    real.add_argument(
        "--folder", type=Path, default=Path("bench-results") / "regression",
        help="keeps the summaries of runs; those that are there are not made again "
        "(default: bench-results/regression)",
    )  # fmt: skip
    real.add_argument(
        "--runs", type=int, metavar="N", help="make at most so many runs now (default: all)"
    )
    arguments = parser.parse_args(words)
    if arguments.engine is not None:
        plan = Plan(
            pairs=arguments.engine,
            rate=RATE,
            seconds=arguments.seconds,
            slowdown=SLOWDOWN,
            folder=arguments.folder,
        )
        return _engine(plan, arguments.runs)
    print(
        f"{arguments.pairs} pairs of runs of {arguments.count:,} requests; p95 of the second one as it "
        f"is, and {SLOWDOWN:.0%} slower"
    )
    print(
        f"{'':27}{'equal,':>11}{'slower,':>9}{'p95:5% fails':>16}{'error of':>10}{'its':>8}"
        f"{'smallest':>10}{'minutes':>9}"
    )
    print(
        f"{'':27}{'different':>11}{'found':>9}{'equal':>8}{'slower':>8}{'change':>10}{'spread':>8}"
        f"{'found':>10}{'for 10%':>9}"
    )
    missed = []
    for server in SERVERS:
        found = detection(server, pairs=arguments.pairs, count=arguments.count, seed=arguments.seed)
        # The error shrinks with the root of the length.
        longer = (_FOUND * found.error / math.log1p(SLOWDOWN)) ** 2
        minutes = longer * arguments.count / RATE / 60
        print(
            f"{server.name:27}{found.different:>11.1%}{found.found:>9.1%}{found.alarms:>8.1%}"
            f"{found.failed:>8.1%}{found.error:>10.1%}{found.spread:>8.1%}{found.smallest:>10.1%}"
            f"{minutes:>9.2g}",
            flush=True,
        )
        if found.different > 1 - _BAR:
            missed.append(f"{server.name}: {found.different:.1%} of equal pairs called different")
        if server.bar and found.found < _BAR:
            missed.append(f"{server.name}: {found.found:.1%} of the slowdowns found")
    print("smallest found: the slowdown that is found in 19 of 20 runs of this length")
    for text in missed:
        print(f"bar missed: {text}")
    return 1 if missed else 0


def _engine(plan: Plan, most: int | None) -> int:
    """Make real runs, and say what comparing them says. Returns 1 when a bar is missed."""
    print(f"{plan.pairs} pairs, runs of {plan.rate}/s for {plan.seconds:g} s, in {plan.folder}")
    make_runs(plan, most=most, say=partial(print, flush=True))
    pairs = pairs_of(plan)
    if not pairs:
        print("no pair is whole yet")
        return 0
    equal = told_of([(pair.before, pair.equal) for pair in pairs])
    slower = told_of([(pair.before, pair.slower) for pair in pairs])
    print(f"p95 of the second run of each pair beside the first\nequal:  {equal}\nslower: {slower}")
    missed = []
    if equal.higher + equal.lower > (1 - _BAR) * len(pairs):
        missed.append(f"{equal.higher + equal.lower} of {len(pairs)} equal pairs called different")
    if slower.higher < _BAR * len(pairs):
        missed.append(f"{slower.higher} of {len(pairs)} slowdowns of {plan.slowdown:.0%} found")
    for text in missed:
        print(f"bar missed: {text}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
