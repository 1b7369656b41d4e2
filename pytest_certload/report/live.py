"""What does somebody see who watches a load? Where it stands, in a line or two, once a second."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_certload.engine.runner import Progress
from pytest_certload.stats.live import LiveWindow, Recent
from pytest_certload.units import Duration, format_duration, format_rate

from .blocks import sparkline

__all__ = ["LiveBoard", "LiveState", "Piece", "live_lines", "live_text"]

#: A text, and its colour: a markup of pytest's terminal writer, or nothing.
Piece = tuple[str, str]

#: Rates are those of so many ticks.
_TICKS = 5
#: The board is shown once a second, whoever of several scenarios told something.
_EVERY = 0.9
#: A scenario that has not told anything for so long, seconds, is over.
_OVER = 2.5
_BAR = 20
_LEAST_BAR = 5
_NAME = 30
_TWO_LINES = 80
_BEHIND = 0.98


@dataclass(frozen=True, kw_only=True)
class LiveState:
    """Where a load stands.

    Attributes:
        scenario: Its name; of several, how many.
        elapsed, duration: Seconds since the load began; of the whole load, warm-up included.
        offered_rate, achieved_rate: Iterations due, and started, per second of the last seconds.
        in_flight: Iterations at work.
        backlog: Iterations that are due and wait for a slot.
        errors: Iterations that failed so far.
        recent: The latest response times.
    """

    scenario: str
    elapsed: float
    duration: float
    offered_rate: float
    achieved_rate: float
    in_flight: int
    backlog: int
    errors: int
    recent: Recent


class LiveBoard:
    """Puts together what the scenarios of a load tell, and shows it.

    Args:
        show: Called about once a second with where the load stands, and with None when it is over.
        total: How long the load is to be.
        now: Tells the time, seconds.

    Attributes:
        window: Has to be told of every iteration that is over.
    """

    def __init__(
        self,
        show: Callable[[LiveState | None], None],
        *,
        total: Duration,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.window = LiveWindow()
        self._show = show
        self._total = total.total_seconds
        self._now = now
        self._began: float | None = None
        self._shown = 0.0
        self._told: dict[str, deque[tuple[float, Progress]]] = {}

    def teller(self, name: str) -> Callable[[Progress], None]:
        """What a scenario tells where it stands."""
        ticks = self._told.setdefault(name, deque(maxlen=_TICKS + 1))

        def tell(progress: Progress) -> None:
            now = self._now()
            if self._began is None:
                self._began = self._shown = now - progress.elapsed.total_seconds
            ticks.append((now, progress))
            if now - self._shown >= _EVERY:
                self._shown = now
                self._show(self._state(now, self._began))

        return tell

    def close(self) -> None:
        """The load is over."""
        self._show(None)

    def _state(self, now: float, began: float) -> LiveState:
        known = [ticks for ticks in self._told.values() if ticks]
        running = [ticks for ticks in known if now - ticks[-1][0] < _OVER]
        names = list(self._told)
        return LiveState(
            scenario=names[0] if len(names) == 1 else f"{len(names)} scenarios",
            elapsed=now - began,
            duration=self._total,
            offered_rate=sum(_rate(ticks, lambda progress: progress.offered) for ticks in running),
            achieved_rate=sum(_rate(ticks, lambda progress: progress.started) for ticks in running),
            in_flight=sum(ticks[-1][1].in_flight for ticks in running),
            backlog=sum(ticks[-1][1].backlog for ticks in running),
            errors=sum(ticks[-1][1].errors for ticks in known),
            recent=self.window.turn(),
        )


def _rate(ticks: Sequence[tuple[float, Progress]], count: Callable[[Progress], int]) -> float:
    last = ticks[-1][1]
    # Before the first tick nothing was due.
    earlier, since = (0, 0) if len(ticks) <= _TICKS else (count(ticks[0][1]), ticks[0][1].elapsed)
    seconds = Duration(last.elapsed - since).total_seconds
    return (count(last) - earlier) / seconds if seconds > 0 else 0.0


def live_text(state: LiveState) -> str:
    """Where a load stands, in a line for a log."""
    recent = state.recent
    return (
        f"{state.scenario} {_clock(state.elapsed)} of {_clock(state.duration)}, {_left(state)}; "
        f"offered {_rounded(state.offered_rate)}, achieved {_rounded(state.achieved_rate)}; "
        f"in flight {state.in_flight:,}, backlog {state.backlog:,}, errors {state.errors:,}; "
        f"last seconds p50 {_time(recent.p50)}, p95 {_time(recent.p95)}, p99 {_time(recent.p99)}"
    )


def live_lines(state: LiveState, *, width: int, unicode: bool) -> list[list[Piece]]:
    """Where a load stands, for a terminal: two lines where it is wide enough, else one that fits.

    Args:
        state: Where it stands.
        width: Columns there are.
        unicode: Whether blocks can be shown; else ASCII.
    """
    recent = state.recent
    name = state.scenario
    if len(name) > _NAME:
        name = f"{name[: _NAME - 1]}{'…' if unicode else '~'}"
    behind = state.achieved_rate < state.offered_rate * _BEHIND
    # By what may be left out first.
    where: list[tuple[int, Piece]] = [
        (9, (name, "bold")),
        (5, (f"{_clock(state.elapsed)}/{_clock(state.duration)}", "")),
        (1, (_left(state), "")),
        (4, (f"offered {_rounded(state.offered_rate)}", "")),
        (6, (f"achieved {_rounded(state.achieved_rate)}", "yellow" if behind else "")),
    ]
    how: list[tuple[int, Piece]] = [
        (2, (f"in flight {state.in_flight:,}", "")),
        (3, (f"backlog {state.backlog:,}", "yellow" if state.backlog else "")),
        (8, (f"errors {state.errors:,}", "red" if state.errors else "")),
        (3, (f"p50 {_time(recent.p50)}", "")),
        (7, (f"p95 {_time(recent.p95)}", "")),
        (4, (f"p99 {_time(recent.p99)}", "")),
    ]
    if width < _TWO_LINES:
        return [_fit([*where, *how], width)]
    first, second = _fit(where, width), _fit(how, width)
    room = min(width - _length(first) - 2, _BAR)
    if room >= _LEAST_BAR:
        first[1:1] = [("  ", ""), (_bar(state, room, unicode=unicode), "green")]
    trend = sparkline(recent.trend[-_BAR - _BAR :], unicode=unicode)
    trend = trend[-max(width - _length(second) - 2, 0) :]
    if trend.strip() and _length(second) + 2 < width:
        second += [("  ", ""), (trend, "cyan")]
    return [first, second]


def _bar(state: LiveState, width: int, *, unicode: bool) -> str:
    done = round(width * min(state.elapsed / state.duration, 1)) if state.duration else width
    full, empty = ("━", "─") if unicode else ("=", ".")
    return full * done + empty * (width - done)


def _left(state: LiveState) -> str:
    left = state.duration - state.elapsed
    return f"{_clock(math.ceil(left))} left" if left > 0 else "until all are answered"


def _rounded(rate: float) -> str:
    """A rate of a few seconds has no fourth digit."""
    return format_rate(float(f"{rate:.3g}") if rate < 1000 else rate)


def _fit(facts: Sequence[tuple[int, Piece]], width: int) -> list[Piece]:
    """As many facts as there is room for, the most important ones, two columns apart."""
    kept = list(facts)
    while len(kept) > 1 and sum(len(text) + 2 for _, (text, _) in kept) - 2 > width:
        kept.remove(min(kept, key=lambda fact: fact[0]))
    pieces: list[Piece] = []
    for _, piece in kept:
        pieces += [("  ", ""), piece]
    text, colour = pieces[1]
    return [(text[:width], colour), *pieces[2:]]


def _length(pieces: Sequence[Piece]) -> int:
    return sum(len(text) for text, _ in pieces)


def _time(value: int | None) -> str:
    return "-" if value is None else format_duration(value)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(int(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
