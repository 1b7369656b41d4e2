"""Where do observations go while the load runs? Into growing typed columns and an error book.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np

from pytest_certload.samples import ITERATION, Outcome, Samples

__all__ = ["ErrorBook", "ErrorEntry", "Recorder"]

_MAX_ENTRIES = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorEntry:
    """One kind of error: how often it came, and its first appearance in full.

    ``traceback`` is the first traceback, for errors raised by the scenario's own code only.
    """

    step: str
    outcome: Outcome
    message: str
    count: int
    traceback: str | None


class ErrorBook:
    """Counts errors by kind, so that fifty thousand equal ones make one line.

    At most 100 kinds are kept apart; further ones are counted together.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[object, ...], int] = {}
        self._first: dict[tuple[object, ...], tuple[str, Outcome, str, str | None]] = {}

    def count(self, key: tuple[object, ...]) -> bool:
        """Count one error of a kind. True when the kind is new and wants ``describe``."""
        known = key in self._counts
        self._counts[key] = self._counts.get(key, 0) + 1
        if not known and len(self._first) >= _MAX_ENTRIES:
            del self._counts[key]
            other = ("other",)
            self._counts[other] = self._counts.get(other, 0) + 1
            self._first.setdefault(other, ("", Outcome.EXCEPTION, "other kinds of error", None))
            return False
        return not known

    def describe(
        self,
        key: tuple[object, ...],
        *,
        step: str,
        outcome: Outcome,
        message: str,
        traceback: str | None,
    ) -> None:
        """Keep the first appearance of a kind."""
        self._first[key] = (step, outcome, message, traceback)

    def entries(self) -> tuple[ErrorEntry, ...]:
        """Every kind, the most frequent first."""
        rows = [
            ErrorEntry(step=s, outcome=o, message=m, count=self._counts[key], traceback=t)
            for key, (s, o, m, t) in self._first.items()
        ]
        return tuple(sorted(rows, key=lambda row: -row.count))


class Recorder:
    """Appends observations to typed columns: 40 bytes a row, no object kept a row."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._steps: dict[str, int] = {}
        self._step = array("h")
        self._index = array("q")
        self._due = array("q")
        self._start = array("q")
        self._end = array("q")
        self._status = array("h")
        self._outcome = array("B")
        self.errors = ErrorBook()

    def step_number(self, name: str) -> int:
        """The number of a step, given out at its first use."""
        number = self._steps.get(name)
        if number is None:
            number = self._steps[name] = len(self._steps) + ITERATION + 1
        return number

    def add(
        self, step: int, index: int, due: int, start: int, end: int, status: int, outcome: int
    ) -> None:
        """Append one observation; see ``Samples`` for the columns."""
        self._step.append(step)
        self._index.append(index)
        self._due.append(due)
        self._start.append(start)
        self._end.append(end)
        self._status.append(status)
        self._outcome.append(outcome)

    def samples(self) -> Samples:
        """The columns so far, copied and frozen."""
        return Samples(
            steps=(self._name, *self._steps),
            step=np.array(self._step, np.int16),
            index=np.array(self._index, np.int64),
            due=np.array(self._due, np.int64),
            start=np.array(self._start, np.int64),
            end=np.array(self._end, np.int64),
            status=np.array(self._status, np.int16),
            outcome=np.array(self._outcome, np.uint8),
        )
