"""What are the figures of a run made from? Counts and distributions, whether samples were kept or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_certload.samples import ITERATION, Connections, Outcome, Samples

from .distribution import Distribution, ExactTimes

__all__ = [
    "PHASES",
    "Counts",
    "RunFigures",
    "StepFigures",
    "failures",
    "figures_of",
    "times_of",
    "times_of_connections",
    "waits_of",
]

#: Parts of the service time.
PHASES = ("first byte", "dns", "connect", "tls")

Column = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.intp]
Times = dict[str, Column]
#: How many iterations failed, by the steps of theirs that did.
Failures = Mapping[frozenset[str], int]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What is counted of rows that belong together.

    Attributes:
        count: Everything that was due.
        outcomes: How often each outcome came; those that never came are absent.
        statuses: How often each HTTP status came last, of those that were started.
        begun: How many were started before the measured window ended.
        over: How many were over by then, successes and errors.
        received_bytes: Octets of the response bodies.
    """

    count: int = 0
    outcomes: Mapping[Outcome, int]
    statuses: Mapping[int, int]
    begun: int = 0
    over: int = 0
    received_bytes: int = 0

    @classmethod
    def of(cls, rows: Samples, *, window_end: int, among: Mask | None = None) -> Counts:
        """Count rows.

        Args:
            rows: Those of one step, or of whole iterations.
            window_end: When the measured window ended, nanoseconds of the engine's clock.
            among: Which of the rows; None: all.
        """
        # Where they stand, found once, is quicker than a mask for each column.
        some = slice(None) if among is None or among.all() else np.flatnonzero(among)
        outcome = rows.outcome[some]
        started = outcome != Outcome.DROPPED
        was_over = started & (outcome != Outcome.UNFINISHED)
        return cls(
            count=len(outcome),
            outcomes={Outcome(value): n for value, n in _counted(outcome).items()},
            statuses=_counted(rows.status[some][started]),
            begun=int((rows.start[some][started] < window_end).sum()),
            over=int((rows.end[some][was_over] <= window_end).sum()),
            received_bytes=int(rows.size[some].sum()),
        )

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            count=self.count + other.count,
            outcomes=_added(self.outcomes, other.outcomes),
            statuses=_added(self.statuses, other.statuses),
            begun=self.begun + other.begun,
            over=self.over + other.over,
            received_bytes=self.received_bytes + other.received_bytes,
        )

    def of_outcome(self, outcome: Outcome) -> int:
        """How often an outcome came."""
        return self.outcomes.get(outcome, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class StepFigures:
    """The figures of one step, or of whole iterations.

    Attributes:
        counts: What is counted.
        times: Each kind's distribution: ``response time``, ``service time`` and the ``PHASES``; of
            whole iterations also ``lateness`` and ``lag``, the lateness of those that found a free
            slot.
    """

    counts: Counts
    times: Mapping[str, Distribution]

    @classmethod
    def join(cls, parts: Sequence[StepFigures]) -> StepFigures:
        """All of them together; there is at least one."""
        first, *others = parts
        return cls(
            counts=sum((part.counts for part in others), first.counts),
            times={
                kind: times.joined(part.times[kind] for part in others)
                for kind, times in first.times.items()
            },
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class RunFigures:
    """The figures of the measured window of one run.

    Attributes:
        name: The scenario's.
        iterations: Figures of whole iterations.
        steps: Figures of each named step, in the order in which they were first seen.
        failures: How many iterations failed, by the steps of theirs that did.
    """

    name: str
    iterations: StepFigures
    steps: Mapping[str, StepFigures]
    failures: Failures

    @property
    def percentile_error(self) -> float | None:
        """The most by which percentiles may be off, as a share of them; None: they are exact."""
        return self.iterations.times["response time"].error

    def step(self, name: str) -> StepFigures:
        """The figures of a step; empty ones of a step that never ran."""
        if name in self.steps:
            return self.steps[name]
        return StepFigures(
            counts=Counts(outcomes={}, statuses={}),
            times={kind: ExactTimes(np.empty(0, np.int64)) for kind in self.iterations.times},
        )

    def failed_elsewhere(self, steps: Iterable[str]) -> int:
        """How many iterations failed without a failure of any of these steps."""
        named = frozenset(steps)
        return sum(count for failed, count in self.failures.items() if not failed & named)

    @classmethod
    def join(cls, parts: Mapping[str, RunFigures], *, name: str) -> RunFigures:
        """Several scenarios that ran together: their iterations are its iterations.

        What was over is what was over in its own scenario's window.

        Args:
            parts: Each scenario's, by its name; a step ``login`` is called ``scenario.login`` here.
            name: The name of the whole.
        """
        failed: Counter[frozenset[str]] = Counter()
        for scenario, part in parts.items():
            for steps, count in part.failures.items():
                failed[frozenset(f"{scenario}.{step}" for step in steps)] += count
        return cls(
            name=name,
            iterations=StepFigures.join([part.iterations for part in parts.values()]),
            steps={
                f"{scenario}.{step}": figures
                for scenario, part in parts.items()
                for step, figures in part.steps.items()
            },
            failures=failed,
        )


def figures_of(samples: Samples, connections: Connections, *, window_end: int) -> RunFigures:
    """The exact figures of samples that were kept.

    Args:
        samples: The rows of the measured window.
        connections: Those that its iterations made.
        window_end: When the window ended, nanoseconds of the engine's clock.
    """

    def step(number: int, made: Connections, kinds: Mapping[str, _Kind]) -> StepFigures:
        times = {kind: how.exact(samples, number) for kind, how in kinds.items()}
        phases = {kind: ExactTimes(taken) for kind, taken in times_of_connections(made).items()}
        counts = Counts.of(samples, window_end=window_end, among=samples.step == number)
        return StepFigures(counts=counts, times=times | phases)

    return RunFigures(
        name=samples.steps[0],
        iterations=step(ITERATION, connections, _KINDS | _WAITS),
        steps={
            name: step(number, connections.select(connections.step == number), _KINDS)
            for number, name in enumerate(samples.steps[1:], 1)
        },
        failures={
            frozenset(samples.steps[number] for number in numbers): count
            for numbers, count in failures(samples).items()
        },
    )


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """A kind of time: of which rows it counts, and from when until when it is, given where those stand."""

    counts: Callable[[Samples], Mask]
    begin: Callable[[Samples, Positions], Column]
    end: Callable[[Samples, Positions], Column]

    def of(self, rows: Samples, among: Mask | None = None) -> Column:
        """The times, nanoseconds, of those among rows of which it counts."""
        places = self._places(rows, among)
        times = self.end(rows, places)
        times -= self.begin(rows, places)
        return times

    def exact(self, samples: Samples, step: int) -> ExactTimes:
        """The times of a step's rows, which are read from the samples when they are asked for."""
        return ExactTimes(
            lambda: self.of(samples, samples.step == step),
            lambda: samples.due[self._places(samples, samples.step == step)],
        )

    def _places(self, rows: Samples, among: Mask | None) -> Positions:
        counts = self.counts(rows)
        return np.flatnonzero(counts if among is None else counts & among)


def _column(name: str) -> Callable[[Samples, Positions], Column]:
    def read(rows: Samples, places: Positions) -> Column:
        column: Column = getattr(rows, name)
        return column[places]

    return read


def _sent_or_begun(rows: Samples, places: Positions) -> Column:
    begin = rows.sent[places]
    unsent = begin <= 0
    begin[unsent] = rows.start[places[unsent]]
    return begin


_KINDS = {
    "response time": _Kind(counts=lambda rows: rows.felt, begin=_column("due"), end=_column("end")),
    "service time": _Kind(
        counts=lambda rows: rows.served, begin=_sent_or_begun, end=_column("end")
    ),
    "first byte": _Kind(
        counts=lambda rows: rows.ok & (rows.first_byte > 0),
        begin=_column("sent"),
        end=_column("first_byte"),
    ),
}
_WAITS = {
    "lateness": _Kind(
        counts=lambda rows: np.not_equal(rows.outcome, Outcome.DROPPED),
        begin=_column("due"),
        end=_column("start"),
    ),
    "lag": _Kind(
        counts=lambda rows: np.not_equal(rows.outcome, Outcome.DROPPED) & ~rows.queued,
        begin=_column("due"),
        end=_column("start"),
    ),
}


def times_of(rows: Samples) -> Times:
    """The times of each kind, nanoseconds, of the rows of which it counts."""
    return {kind: how.of(rows) for kind, how in _KINDS.items()}


def waits_of(iterations: Samples) -> Times:
    """How late iterations began, and how late those that found a free slot, nanoseconds."""
    return {kind: how.of(iterations) for kind, how in _WAITS.items()}


def times_of_connections(made: Connections) -> Times:
    """How long each phase of making connections took, of those that needed it, nanoseconds."""
    phases: dict[str, Any] = {phase: getattr(made, phase) for phase in ("dns", "connect", "tls")}
    return {phase: taken[taken > 0] for phase, taken in phases.items()}


def failures(samples: Samples) -> Counter[frozenset[int]]:
    """How many iterations failed, by the numbers of the steps of theirs that did.

    Args:
        samples: Rows of iterations, with all rows of their steps.
    """
    failed = ~samples.ok
    whole = samples.step == 0
    iterations = samples.index[failed & whole]
    of_steps = failed & ~whole & np.isin(samples.index, iterations)
    width = len(samples.steps)
    pairs = np.unique(samples.index[of_steps] * width + samples.step[of_steps])
    indices, steps = np.divmod(pairs, width)
    _, firsts, lengths = np.unique(indices, return_index=True, return_counts=True)
    counts: Counter[frozenset[int]] = Counter()
    counts[frozenset()] = len(iterations) - len(firsts)
    # An error mostly ends its iteration, so that one step of it failed.
    alone = steps[firsts[lengths == 1]]
    for step, count in _counted(alone).items():
        counts[frozenset((step,))] = count
    for first, length in zip(
        firsts[lengths > 1].tolist(), lengths[lengths > 1].tolist(), strict=True
    ):
        counts[frozenset(steps[first : first + length].tolist())] += 1
    return +counts


def _counted(column: npt.NDArray[Any]) -> dict[int, int]:
    # Small numbers: to count them takes a quarter of the time that sorting them does.
    counts = np.bincount(column)
    values = np.flatnonzero(counts)
    return dict(zip(values.tolist(), counts[values].tolist(), strict=True))


def _added(one: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, int]:
    keys = sorted(one.keys() | other.keys())
    return {key: one.get(key, 0) + other.get(key, 0) for key in keys}
