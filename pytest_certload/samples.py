"""In which form are measurements kept? One row an observation, one numpy column a property.

Raw samples are the record; percentiles, rates and verdicts are derived from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ITERATION", "Observation", "Outcome", "Samples"]

#: Step number of the row that stands for the whole iteration.
ITERATION = 0

IntColumn = npt.NDArray[np.int64]


class Outcome(IntEnum):
    """What became of an iteration or step. Only ``OK`` gives a latency sample."""

    OK = 0
    UNEXPECTED_STATUS = 1
    CHECK_FAILED = 2
    TIMEOUT = 3
    CONNECTION_ERROR = 4
    EXCEPTION = 5
    #: Due, but never started.
    DROPPED = 6
    #: Started, and cancelled when the grace period ended.
    UNFINISHED = 7

    @property
    def label(self) -> str:
        """The name in reports: ``unexpected status``."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One row. Times are nanoseconds of the engine's clock.

    ``due`` is when the schedule wanted it, ``start`` when it began, ``end`` when it was over;
    ``status`` is the last HTTP status seen, 0 for none.
    """

    step: int
    index: int
    due: int
    start: int
    end: int
    status: int = 0
    outcome: Outcome = Outcome.OK


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Frozen columns of one scenario's observations, all of one length.

    Attributes:
        steps: Step names; column ``step`` indexes them. Entry 0, the
            scenario's name, stands for the whole iteration.
        step: int16, index into ``steps``.
        index: int64, global iteration index.
        due, start, end: int64, nanoseconds of the engine's clock.
        status: int16, last HTTP status, 0 for none.
        outcome: uint8, an ``Outcome``.
    """

    steps: tuple[str, ...]
    step: npt.NDArray[np.int16]
    index: IntColumn
    due: IntColumn
    start: IntColumn
    end: IntColumn
    status: npt.NDArray[np.int16]
    outcome: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        lengths = {len(column) for column in self._columns().values()}
        if len(lengths) != 1:
            raise ValueError(f"columns of different lengths: {sorted(lengths)}")
        for column in self._columns().values():
            column.setflags(write=False)

    def __len__(self) -> int:
        return len(self.step)

    def __repr__(self) -> str:
        return f"<Samples: {len(self)} rows, steps {', '.join(self.steps)}>"

    def _columns(self) -> dict[str, npt.NDArray[Any]]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "steps"}

    @classmethod
    def from_observations(
        cls, observations: Sequence[Observation], *, steps: tuple[str, ...]
    ) -> Samples:
        """Build columns from rows; for tests and small data."""
        return cls(
            steps=steps,
            step=np.array([o.step for o in observations], np.int16),
            index=np.array([o.index for o in observations], np.int64),
            due=np.array([o.due for o in observations], np.int64),
            start=np.array([o.start for o in observations], np.int64),
            end=np.array([o.end for o in observations], np.int64),
            status=np.array([o.status for o in observations], np.int16),
            outcome=np.array([o.outcome for o in observations], np.uint8),
        )

    def select(self, mask: npt.NDArray[np.bool_]) -> Samples:
        """The rows where ``mask`` is true."""
        columns = {name: column[mask] for name, column in self._columns().items()}
        return Samples(steps=self.steps, **columns)

    def of_step(self, name: str) -> Samples:
        """The rows of one named step; ``iterations`` gives the whole iterations.

        Raises:
            KeyError: No step of that name was seen.
        """
        if name not in self.steps[1:]:
            raise KeyError(name)
        return self.select(self.step == self.steps.index(name, 1))

    @property
    def iterations(self) -> Samples:
        """The rows that stand for whole iterations."""
        return self.select(self.step == ITERATION)

    def window(self, begin: int, end: int) -> Samples:
        """The iterations due from ``begin`` (inclusive) to ``end`` (exclusive), with their steps.

        A step belongs where its iteration does, also when it began later. Iterations are numbered
        in the order of their due times.
        """
        inside = self.iterations
        inside = inside.select((inside.due >= begin) & (inside.due < end))
        if not len(inside):
            return self.select(np.zeros(len(self), np.bool_))
        first, last = inside.index.min(), inside.index.max()
        return self.select((self.index >= first) & (self.index <= last))

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """True where the outcome is ``OK``."""
        return np.equal(self.outcome, Outcome.OK)

    @property
    def response_time(self) -> IntColumn:
        """End minus due, nanoseconds: what a user felt."""
        return self.end - self.due

    @property
    def service_time(self) -> IntColumn:
        """End minus start, nanoseconds: what the server took."""
        return self.end - self.start

    @property
    def lateness(self) -> IntColumn:
        """Start minus due, nanoseconds: what the wait for a slot took."""
        return self.start - self.due
