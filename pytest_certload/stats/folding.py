"""How do samples become figures without being kept? A part at a time, into counts and sketches.

An iteration is folded in when its own row has come, together with the rows of its steps, which come
before it. So whether the iteration was due in the measured window, and which of its steps failed, is
known exactly; what waits for its iteration's row is what is in flight, however long the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pytest_certload.samples import ITERATION, ROW, Connections, Samples

from .figures import (
    PHASES,
    Counts,
    RunFigures,
    StepFigures,
    Times,
    failures,
    times_of,
    times_of_connections,
    waits_of,
)
from .sketch import SketchedTimes

__all__ = ["Fold"]

_TIMES = ("response time", "service time", *PHASES)
_WAITS = ("lateness", "lag")


class _Accumulator:
    """The figures of one step so far."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self._counts = Counts(outcomes={}, statuses={})
        self._times = {kind: SketchedTimes() for kind in kinds}

    def add(self, counts: Counts, times: Times) -> None:
        self._counts += counts
        for kind, values in times.items():
            self._times[kind].add(values)

    def figures(self) -> StepFigures:
        return StepFigures(counts=self._counts, times=dict(self._times))


class Fold:
    """Takes rows in the order in which they come, and keeps none of an iteration that is over.

    A step that is recorded after its iteration's own row, by a task that outlives it, waits until the
    end; then it is folded in as well, and its failure counts as one of no step.

    Args:
        name: The scenario's.

    Attributes:
        begin, end: The window that is measured: iterations due from ``begin`` to before ``end``,
            nanoseconds of the engine's clock.
        window_end: When it ended; before ``end`` when it was cut short.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.begin = self.end = self.window_end = 0
        self._iterations = _Accumulator((*_TIMES, *_WAITS))
        self._steps: dict[str, _Accumulator] = {}
        self._failures: Counter[frozenset[str]] = Counter()
        self._rows: npt.NDArray[np.void] = np.empty(0, ROW)
        self._connections = np.empty((0, 5), np.int64)
        self._first, self._last = np.iinfo(np.int64).max, -1

    def measure(self, begin: int, end: int) -> None:
        """Say which window is measured, before the first row comes."""
        self.begin, self.end, self.window_end = begin, end, end

    def add(
        self,
        rows: npt.NDArray[np.void],
        connections: npt.NDArray[np.int64],
        *,
        steps: Sequence[str],
    ) -> None:
        """Fold rows in.

        Args:
            rows: Of dtype ``ROW``; copied.
            connections: A row each, see ``Connections.from_table``; those of iterations that are not
                over yet may be among them.
            steps: Names of the steps that were seen so far, the scenario's first.
        """
        rows = np.concatenate([self._rows, rows])
        connections = np.concatenate([self._connections, connections])
        whole = rows[rows["step"] == ITERATION]
        over = np.isin(rows["index"], whole["index"])
        over_connections = np.isin(connections[:, 0], whole["index"])
        self._rows = rows[~over]
        self._connections = connections[~over_connections]

        inside = whole["index"][(whole["due"] >= self.begin) & (whole["due"] < self.end)]
        if not len(inside):
            return
        self._first = min(self._first, int(inside.min()))
        self._last = max(self._last, int(inside.max()))
        rows = rows[over & np.isin(rows["index"], inside)]
        made = connections[over_connections & np.isin(connections[:, 0], inside)]
        samples = Samples.from_rows([rows], steps=tuple(steps))
        self._fold(samples, Connections.from_table(made))
        for numbers, count in failures(samples).items():
            self._failures[frozenset(steps[number] for number in numbers)] += count

    def _fold(self, samples: Samples, made: Connections) -> None:
        self._fold_step(self._iterations, samples.iterations, made, waits_of(samples.iterations))
        for number, name in enumerate(samples.steps[1:], 1):
            rows = samples.select(samples.step == number)
            of_step = made.select(made.step == number)
            if len(rows) or len(of_step):
                if name not in self._steps:
                    self._steps[name] = _Accumulator(_TIMES)
                self._fold_step(self._steps[name], rows, of_step, {})

    def _fold_step(
        self, accumulator: _Accumulator, rows: Samples, made: Connections, more: Times
    ) -> None:
        counts = Counts.of(rows, window_end=self.window_end)
        accumulator.add(counts, times_of(rows) | times_of_connections(made) | more)

    def so_far(self) -> RunFigures:
        """The figures of the iterations that are over; what is folded in later goes into them, too."""
        return RunFigures(
            name=self._name,
            iterations=self._iterations.figures(),
            steps={name: step.figures() for name, step in self._steps.items()},
            failures=self._failures,
        )

    def figures(self, *, steps: Sequence[str]) -> RunFigures:
        """The figures of all that was folded in; the run is over, and every iteration's row came.

        Args:
            steps: As for ``add``, of the whole run.
        """
        left, self._rows = self._rows, self._rows[:0]
        left = left[(left["index"] >= self._first) & (left["index"] <= self._last)]
        none = Connections.from_table(self._connections[:0])
        self._fold(Samples.from_rows([left], steps=tuple(steps)), none)
        return RunFigures(
            name=self._name,
            iterations=self._iterations.figures(),
            steps={
                name: self._steps.get(name, _Accumulator(_TIMES)).figures() for name in steps[1:]
            },
            failures=self._failures,
        )
