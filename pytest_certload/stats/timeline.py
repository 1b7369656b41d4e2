"""How did a run go, second by second? Counts and percentiles of equal parts of the window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_certload.samples import ITERATION, Outcome, Samples

from .percentile import percentiles

__all__ = ["StepTimeline", "Timeline", "timeline_of"]

#: Widths of a part, nanoseconds: the first is taken that makes few enough of them.
_WIDTHS = tuple(
    round(seconds * 1e9)
    for seconds in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1200, 3600)
)
_MOST_PARTS = 300
#: So many parts are made at once: all of them would take as much memory as two columns.
_AT_ONCE = 50
#: Steps beyond these have no timeline; their figures are all there.
_MOST_STEPS = 12


@dataclass(frozen=True, kw_only=True)
class StepTimeline:
    """What became of that which was due in each part of the window, of one step or whole iterations.

    Attributes:
        name: The step's, or the scenario's for whole iterations.
        count: How many.
        errors: How many of them failed.
        p50, p95, p99, max: Of their response times, nanoseconds; None where there is none. These are
            the nearest ranks of what there is, however little: to be looked at, not to be judged.
    """

    name: str
    count: tuple[int, ...]
    errors: tuple[int, ...]
    p50: tuple[int | None, ...]
    p95: tuple[int | None, ...]
    p99: tuple[int | None, ...]
    max: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The measured window in parts of equal length; the last may be shorter.

    Attributes:
        width: Length of a part, seconds.
        due: Iterations that were due in each part.
        started: Iterations that were started in it, whenever they were due.
        in_flight: Iterations at work when it ended.
        backlog: Iterations that were due and waited for a slot when it ended.
        iterations: Whole iterations, by when they were due.
        steps: The same of the first dozen steps, by when they began.
    """

    width: float
    due: tuple[int, ...]
    started: tuple[int, ...]
    in_flight: tuple[int, ...]
    backlog: tuple[int, ...]
    iterations: StepTimeline
    steps: tuple[StepTimeline, ...]


def timeline_of(samples: Samples, *, begin: int, end: int) -> Timeline | None:
    """The timeline of samples that were kept.

    Args:
        samples: The rows of the measured window.
        begin, end: When it began and ended, nanoseconds of the engine's clock.

    Returns:
        None for a window that has no length.
    """
    if end <= begin:
        return None
    width = next((w for w in _WIDTHS if (end - begin) <= w * _MOST_PARTS), _WIDTHS[-1])
    parts = min(-(-(end - begin) // width), 10 * _MOST_PARTS)
    whole = np.equal(samples.step, ITERATION)
    dropped = whole & np.equal(samples.outcome, Outcome.DROPPED)
    started = whole & ~dropped

    def by(moments: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many of some moments there were by the end of each part."""
        # To divide takes a fifteenth of the time that looking for them among the ends would.
        part = moments - begin
        part //= width
        part[moments >= end] = parts
        np.clip(part, 0, parts, out=part)
        counts: npt.NDArray[np.int64] = np.cumsum(np.bincount(part, minlength=parts + 1))
        return counts[:parts]

    due_by, dropped_by = by(samples.due[whole]), by(samples.end[dropped])
    started_by, over_by = by(samples.start[started]), by(samples.end[started])

    def step(number: int) -> StepTimeline:
        return _step(samples, number, begin=begin, width=width, parts=parts)

    return Timeline(
        width=width / 1e9,
        due=_plain(np.diff(due_by, prepend=0)),
        started=_plain(np.diff(started_by, prepend=0)),
        in_flight=_plain(started_by - over_by),
        backlog=_plain(np.maximum(0, due_by - dropped_by - started_by)),
        iterations=step(ITERATION),
        steps=tuple(step(number) for number in range(1, len(samples.steps))[:_MOST_STEPS]),
    )


def _step(samples: Samples, number: int, *, begin: int, width: int, parts: int) -> StepTimeline:
    # Columns by themselves: all rows of a step beside all of the run would take half as much memory again.
    rows = np.equal(samples.step, number)
    offset = samples.due[rows]
    offset -= begin
    offset //= width
    # A step may begin after the window's end, when its iteration was due in it.
    part = np.clip(offset, 0, parts - 1, out=offset).astype(np.int16)
    del offset
    felt = rows & samples.felt
    p50, p95, p99, most = zip(
        *(
            percentiles(some, (50, 95, 99, 100))
            for some in _by_part(part[felt[rows]], samples.response_time[felt], parts)
        ),
        strict=True,
    )
    return StepTimeline(
        name=samples.steps[number],
        count=_plain(np.bincount(part, minlength=parts)),
        errors=_plain(np.bincount(part[~samples.ok[rows]], minlength=parts)),
        p50=p50,
        p95=p95,
        p99=p99,
        max=most,
    )


def _by_part(
    part: npt.NDArray[np.int16], times: npt.NDArray[np.int64], parts: int
) -> Iterator[npt.NDArray[np.int64]]:
    for first in range(0, parts, _AT_ONCE):
        last = min(first + _AT_ONCE, parts)
        some = np.flatnonzero((part >= first) & (part < last))
        # Sixteen bits are sorted by radix, in linear time.
        order = some[np.argsort(part[some], kind="stable")]
        bounds = np.searchsorted(part[order], np.arange(first + 1, last, dtype=part.dtype))
        yield from np.split(times[order], bounds)


def _plain(column: npt.NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(column.tolist())
