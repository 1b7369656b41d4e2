"""In which form are measurements kept? One row an observation, one numpy column a property.

Raw samples are the record; percentiles, rates and verdicts are derived from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "ITERATION",
    "QUEUED",
    "REUSED",
    "ROW",
    "Connections",
    "Observation",
    "Outcome",
    "Samples",
]

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


#: Bits of the column ``flags``.
QUEUED = 1
REUSED = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One row, for tests and small data; see ``Samples`` for the columns."""

    step: int
    index: int
    due: int
    start: int
    end: int
    sent: int = 0
    first_byte: int = 0
    size: int = 0
    status: int = 0
    outcome: Outcome = Outcome.OK
    flags: int = 0


#: A row as the recorder packs it: 64 bytes.
ROW = np.dtype(
    [
        ("step", "<i2"),
        ("status", "<i2"),
        ("outcome", "u1"),
        ("flags", "u1"),
        ("_", "V2"),
        *((name, "<i8") for name in ("index", "due", "start", "sent", "first_byte", "end", "size")),
    ]
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Frozen columns of one scenario's observations, all of one length.

    Times are nanoseconds of the engine's clock.

    Attributes:
        steps: Step names; column ``step`` indexes them. Entry 0, the
            scenario's name, stands for the whole iteration.
        step: int16, index into ``steps``.
        index: int64, global iteration index.
        due: int64, when the schedule wanted it.
        start: int64, when it began.
        sent: int64, when its first request was handed to the socket; 0 when none was.
        first_byte: int64, when the first byte of its last response came; 0 when none did.
        end: int64, when it was over.
        size: int64, octets of the response bodies that were read.
        status: int16, last HTTP status, 0 for none.
        outcome: uint8, an ``Outcome``.
        flags: uint8, bits ``QUEUED`` (waited for a slot) and ``REUSED`` (all its requests went over
            connections that had carried one before).
    """

    steps: tuple[str, ...]
    step: npt.NDArray[np.int16]
    index: IntColumn
    due: IntColumn
    start: IntColumn
    sent: IntColumn
    first_byte: IntColumn
    end: IntColumn
    size: IntColumn
    status: npt.NDArray[np.int16]
    outcome: npt.NDArray[np.uint8]
    flags: npt.NDArray[np.uint8]

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
    def from_rows(cls, parts: Sequence[npt.NDArray[np.void]], *, steps: tuple[str, ...]) -> Samples:
        """Copy rows of dtype ``ROW``, in one or more parts, into columns."""
        names = [f.name for f in fields(cls) if f.name != "steps"]
        count = sum(len(part) for part in parts)
        columns = {name: np.empty(count, ROW[name]) for name in names}
        first = 0
        # A part after the other, so that each is fetched from memory once and not once a column.
        for part in parts:
            for name, column in columns.items():
                column[first : first + len(part)] = part[name]
            first += len(part)
        return cls(steps=steps, **columns)

    @classmethod
    def from_observations(
        cls, observations: Sequence[Observation], *, steps: tuple[str, ...]
    ) -> Samples:
        """Build columns from rows; for tests and small data."""
        rows = np.zeros(len(observations), ROW)
        for row, observation in zip(rows, observations, strict=True):
            for name in Observation.__dataclass_fields__:
                row[name] = getattr(observation, name)
        return cls.from_rows([rows], steps=steps)

    @classmethod
    def join(cls, parts: Mapping[str, Samples], *, name: str) -> Samples:
        """All rows of several scenarios that ran together.

        Args:
            parts: Each scenario's samples, by its name.
            name: The name of the whole. Iterations of every scenario are its iterations; a
                scenario's step ``login`` is called ``scenario.login``.
        """
        steps, numbers = [name], []
        for scenario, samples in parts.items():
            first = len(steps)
            steps += [f"{scenario}.{step}" for step in samples.steps[1:]]
            numbers.append(np.where(samples.step == ITERATION, 0, samples.step + first - 1))
        columns = [samples._columns() for samples in parts.values()]
        joined = {key: np.concatenate([c[key] for c in columns]) for key in columns[0]}
        joined["step"] = np.concatenate(numbers).astype(np.int16)
        return cls(steps=tuple(steps), **joined)

    def select(self, mask: npt.NDArray[np.bool_]) -> Samples:
        """The rows where ``mask`` is true."""
        if mask.all():
            return self  # nothing is copied for the common case of a run without warm-up
        return self.take(np.flatnonzero(mask))

    def take(self, positions: npt.NDArray[np.intp]) -> Samples:
        """The rows at these positions, in this order."""
        columns = {name: column[positions] for name, column in self._columns().items()}
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
        indices = self.index[(self.step == ITERATION) & (self.due >= begin) & (self.due < end)]
        if not len(indices):
            return self.select(np.zeros(len(self), np.bool_))
        first, last = indices.min(), indices.max()
        return self.select((self.index >= first) & (self.index <= last))

    @cached_property
    def ok(self) -> npt.NDArray[np.bool_]:
        """True where the outcome is ``OK``."""
        return np.equal(self.outcome, Outcome.OK)

    @property
    def queued(self) -> npt.NDArray[np.bool_]:
        """True where the iteration waited in the backlog for a slot."""
        return (self.flags & QUEUED).astype(np.bool_)

    @property
    def reused(self) -> npt.NDArray[np.bool_]:
        """True where all requests went over connections that had carried one before."""
        return (self.flags & REUSED).astype(np.bool_)

    @cached_property
    def felt(self) -> npt.NDArray[np.bool_]:
        """True where the response time counts: successes, and those who still waited at the end.

        The latter are as old as they were then, at least: leaving them out would make a server that
        never answers look quick. An iteration that was refused when it was due waited for nothing.
        """
        dropped = np.equal(self.outcome, Outcome.DROPPED)
        waiting = dropped | np.equal(self.outcome, Outcome.UNFINISHED)
        return self.ok | (waiting & (self.end > self.due))

    @cached_property
    def served(self) -> npt.NDArray[np.bool_]:
        """True where the service time counts: successes, and those still served at the end."""
        return self.ok | np.equal(self.outcome, Outcome.UNFINISHED)

    @property
    def response_time(self) -> IntColumn:
        """End minus due, nanoseconds: what a user felt."""
        return self.end - self.due

    @property
    def service_time(self) -> IntColumn:
        """End minus sent, nanoseconds: what the server took; from the start where nothing was sent."""
        return self.end - np.where(self.sent > 0, self.sent, self.start)

    @property
    def lateness(self) -> IntColumn:
        """Start minus due, nanoseconds: what the wait for a slot took."""
        return self.start - self.due


@dataclass(frozen=True, kw_only=True, eq=False)
class Connections:
    """The connections that were made, a row each; times in nanoseconds, int64.

    Attributes:
        index: The iteration that needed it.
        step: Its step, an index into ``Samples.steps``; int16.
        dns, connect, tls: How long looking up the name, connecting, and the TLS handshake took; 0
            for what was not needed.
    """

    index: IntColumn
    step: npt.NDArray[np.int16]
    dns: IntColumn
    connect: IntColumn
    tls: IntColumn

    def __len__(self) -> int:
        return len(self.index)

    def select(self, mask: npt.NDArray[np.bool_]) -> Connections:
        """The rows where ``mask`` is true."""
        return Connections(**{f.name: getattr(self, f.name)[mask] for f in fields(self)})

    @classmethod
    def from_table(cls, table: npt.NDArray[np.int64]) -> Connections:
        """Copy a table with a row each, its columns in the order of the attributes."""
        index, step, dns, connect, tls = table.T.copy()
        return cls(index=index, step=step.astype(np.int16), dns=dns, connect=connect, tls=tls)

    @classmethod
    def join(cls, parts: Sequence[Connections]) -> Connections:
        """All connections of several scenarios; which step made one is not kept."""
        names = [f.name for f in fields(cls)]
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        joined["step"] = np.full(len(joined["index"]), ITERATION, np.int16)
        return cls(**joined)
