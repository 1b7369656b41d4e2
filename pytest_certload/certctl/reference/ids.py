"""How are new rows called? By their kind, the time, and a number that no other worker gives."""

from __future__ import annotations

import itertools
import time

__all__ = ["Ids"]


class Ids:
    """Makes ids, for one worker.

    Args:
        worker: Number of this worker, and
        workers: how many there are: no two give the same id to a row.
    """

    def __init__(self, worker: int, workers: int) -> None:
        self._numbers = itertools.count(worker, workers)

    def new(self, kind: str) -> str:
        """An id of a kind, such as ``job-1764000000000000000-7``."""
        return f"{kind}-{time.time_ns()}-{next(self._numbers)}"
