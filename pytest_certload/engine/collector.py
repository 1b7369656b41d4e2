"""When may Python's garbage collector stop the load? At moments of ours, briefly, and on the record."""

from __future__ import annotations

import gc
import time
from types import TracebackType
from typing import Self

__all__ = ["QuietCollector"]


class QuietCollector:
    """While it is entered, the collector runs only when ``tidy()`` is called, and looks at new objects only.

    A full collection walks every object of the process, tens of milliseconds in which nothing is sent
    and no answer is read. So what there is already is set aside (``gc.freeze``), automatic collection
    is off, and only the youngest generation is collected.

    Attributes:
        pauses: Length of each collection while it was entered, nanoseconds, in order.
    """

    def __init__(self) -> None:
        self.pauses: list[int] = []
        self._was_enabled = False
        self._began = 0

    def __enter__(self) -> Self:
        self._was_enabled = gc.isenabled()
        gc.disable()
        gc.collect()
        gc.freeze()
        gc.callbacks.append(self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        gc.callbacks.remove(self._note)
        gc.unfreeze()
        if self._was_enabled:
            gc.enable()

    def tidy(self) -> None:
        """Collect the cyclic garbage among the newest objects."""
        gc.collect(0)

    def _note(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.monotonic_ns()
        else:
            self.pauses.append(time.monotonic_ns() - self._began)
