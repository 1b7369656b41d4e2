"""Where do observations go while the load runs? Into preallocated rows and an error book.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

import numpy as np
import numpy.typing as npt

from pytest_certload.samples import ITERATION, ROW, Connections, Outcome, Samples
from pytest_certload.stats.figures import RunFigures
from pytest_certload.stats.folding import Fold

__all__ = ["ErrorBook", "ErrorEntry", "FoldingRecorder", "Recorder"]

#: The columns of ``ROW``, in its order.
_pack = Struct("<hhBBxx7q").pack_into
_ROW_SIZE = ROW.itemsize
_CHUNK_ROWS = 1 << 12
_CHUNK = _CHUNK_ROWS * _ROW_SIZE

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

    At most 100 kinds are kept apart; further ones are counted together, by their outcome.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[object, ...], int] = {}
        self._first: dict[tuple[object, ...], tuple[str, Outcome, str, str | None]] = {}

    def count(self, key: tuple[object, ...], outcome: Outcome) -> bool:
        """Count one error of a kind. True when the kind is new and wants ``describe``."""
        known = key in self._counts
        self._counts[key] = self._counts.get(key, 0) + 1
        if not known and len(self._first) >= _MAX_ENTRIES:
            del self._counts[key]
            other = ("other", outcome)
            self._counts[other] = self._counts.get(other, 0) + 1
            self._first.setdefault(other, ("", outcome, "other kinds of this error", None))
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
    """Packs observations into chunks that are allocated beforehand: 64 bytes a row, no object.

    Args:
        name: The scenario's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._steps: dict[str, int] = {}
        self._full: list[bytearray] = []
        self._chunk = bytearray(_CHUNK)
        self._offset = 0
        self._connections = array("q")
        self.errors = ErrorBook()

    def __len__(self) -> int:
        return len(self._full) * _CHUNK_ROWS + self._offset // ROW.itemsize

    def step_number(self, name: str) -> int:
        """The number of a step, given out at its first use."""
        number = self._steps.get(name)
        if number is None:
            number = self._steps[name] = len(self._steps) + ITERATION + 1
        return number

    def add(
        self,
        step: int,
        status: int,
        outcome: int,
        flags: int,
        index: int,
        due: int,
        start: int,
        sent: int,
        first_byte: int,
        end: int,
        size: int,
    ) -> None:
        """Append one observation; see ``Samples`` for the columns."""
        offset = self._offset
        _pack(
            self._chunk,
            offset,
            step,
            status,
            outcome,
            flags,
            index,
            due,
            start,
            sent,
            first_byte,
            end,
            size,
        )
        offset += _ROW_SIZE
        if offset == _CHUNK:
            self._begin_chunk()
            offset = 0
        self._offset = offset

    def _begin_chunk(self) -> None:
        self._full.append(self._chunk)
        self._chunk = bytearray(_CHUNK)

    def add_connection(
        self, index: int, step: str | None, dns: int, connect: int, tls: int
    ) -> None:
        """Take note of a connection that an iteration had to make."""
        number = ITERATION if step is None else self.step_number(step)
        self._connections.extend((index, number, dns, connect, tls))

    def samples(self) -> Samples:
        """The rows so far, as frozen columns."""
        return self.snapshot()()[0]

    def snapshot(self) -> Callable[[], tuple[Samples, Connections]]:
        """The rows and connections of now; to copy them into columns may be left to another thread."""
        chunks = [*self._full, self._chunk[: self._offset]]
        names, table = self._names, self._table()

        def columns() -> tuple[Samples, Connections]:
            rows = [np.frombuffer(chunk, ROW) for chunk in chunks]
            return Samples.from_rows(rows, steps=names), Connections.from_table(table)

        return columns

    @property
    def _names(self) -> tuple[str, ...]:
        return (self._name, *self._steps)

    def connections(self) -> Connections:
        """The connections that were made so far."""
        return Connections.from_table(self._table())

    def _table(self) -> npt.NDArray[np.int64]:
        return np.array(self._connections, np.int64).reshape(-1, 5)


class FoldingRecorder(Recorder):
    """A recorder that has one chunk, folds it into figures when it is full, and fills it again.

    Args:
        name: The scenario's name.

    Attributes:
        fold: What the chunks are folded into.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.fold = Fold(name)

    def _begin_chunk(self) -> None:
        self._fold_rows(_CHUNK)

    def _fold_rows(self, size: int) -> None:
        rows = np.frombuffer(self._chunk, ROW, count=size // _ROW_SIZE)
        connections, self._connections = self._table(), array("q")
        self.fold.add(rows, connections, steps=self._names)

    def so_far(self) -> RunFigures:
        """The figures of the iterations that are over; further rows go into the same ones."""
        self._fold_rows(self._offset)
        self._offset = 0
        return self.fold.so_far()

    def figures(self) -> RunFigures:
        """The figures of all rows, once the run is over."""
        self._fold_rows(self._offset)
        self._offset = 0
        return self.fold.figures(steps=self._names)
