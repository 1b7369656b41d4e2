"""When did a run go wrong? Spells in its timeline: the parts that do not hold, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pytest_certload.stats.timeline import Timeline
from pytest_certload.units import format_duration

__all__ = ["Spell", "Spells", "format_moment", "format_spells", "spells_of", "unanswered"]

#: Spells that are so near to each other, as a share of the run, are one.
_NEAR = 0.02
#: A run that is wrong in so much of its parts is wrong all along.
_ALL_ALONG = 0.8
_MOST_TOLD = 3
#: So many answers must be missing before their absence tells something.
_MISSING = 5
#: So many times as long as answers usually take must there be none.
_SILENCE = 2


@dataclass(frozen=True, kw_only=True)
class Spell:
    """A stretch of the measured window, seconds from its begin."""

    begin: float
    end: float

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.begin


@dataclass(frozen=True, kw_only=True)
class Spells:
    """Where something did not hold.

    Attributes:
        found: The stretches, in order.
        share: Share of the parts with anything in them that did not hold.
        until_end: Whether the last one lasts until the end of the window.
        length: Of the window, seconds.
    """

    found: tuple[Spell, ...]
    share: float
    until_end: bool
    length: float

    @property
    def all_along(self) -> bool:
        """Whether that was nearly everywhere."""
        return self.share >= _ALL_ALONG

    @property
    def longest(self) -> Spell:
        """The longest stretch."""
        return max(self.found, key=lambda spell: spell.length)


def spells_of(
    wrong: Sequence[bool | None], *, width: float, length: float, near: float = _NEAR
) -> Spells | None:
    """Put neighbouring parts together.

    Args:
        wrong: Of each part whether it did not hold; None: there is nothing in it.
        width: Length of a part, seconds.
        length: Of the window, seconds; the last part may be shorter.
        near: Share of the window that spells may be apart and are still one.

    Returns:
        None when nothing was wrong.
    """
    known = [part for part in wrong if part is not None]
    if not any(known):
        return None
    gap = max(1, int(near * len(wrong)))
    runs: list[list[int]] = []
    empty = 0
    for number, part in enumerate(wrong):
        if part is None:
            # A part without requests keeps nobody apart.
            empty += 1
        if not part:
            continue
        if runs and number - runs[-1][1] - 1 <= gap + empty:
            runs[-1][1] = number
        else:
            runs.append([number, number])
        empty = 0
    found = tuple(
        Spell(begin=first * width, end=min((last + 1) * width, length)) for first, last in runs
    )
    return Spells(
        found=found,
        share=sum(known) / len(known),
        until_end=not any(part is False for part in wrong[runs[-1][1] + 1 :]),
        length=length,
    )


def format_spells(spells: Spells) -> str:
    """Such as ``from 12 s to 14 s``, ``again and again: 9 spells, …`` or ``all along``."""
    if spells.all_along:
        return f"all along, in {spells.share:.0%} of the run".replace("%", " %")
    count = len(spells.found)
    if count > _MOST_TOLD:
        return (
            f"again and again: {count} spells, {spells.share:.0%} of the run, the longest ".replace(
                "%", " %"
            )
            + _stretch(spells.longest)
        )
    told = [_stretch(spell) for spell in spells.found]
    if spells.until_end and spells.found[-1].length < spells.length:
        told[-1] = f"from {format_moment(spells.found[-1].begin)} until the end"
    return f"one spell, {told[0]}" if count == 1 else f"{count} spells, {', '.join(told)}"


def _stretch(spell: Spell) -> str:
    return f"from {format_moment(spell.begin)} to {format_moment(spell.end)}"


def format_moment(seconds: float) -> str:
    """A moment of the run: ``0 s``, ``12.35 s``, ``4m12s``."""
    return (
        f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
        if seconds < 60
        else format_duration(seconds * 1e9)
    )


def unanswered(timeline: Timeline, *, length: float) -> tuple[Spell, int] | None:
    """The longest time in which nothing was answered though requests waited, and how many did.

    Answers are missing when several of them would have come, and none came for longer than they take.
    """
    parts = len(timeline.due)
    before = (0, *timeline.in_flight)
    over = [
        started + flying - left
        for started, flying, left in zip(timeline.started, before, timeline.in_flight, strict=False)
    ]
    waiting = [a + b for a, b in zip(timeline.in_flight, timeline.backlog, strict=True)]
    best: tuple[int, int] | None = None
    first = None
    for number in range(parts + 1):
        silent = number < parts and over[number] == 0 and waiting[number] > 0
        if silent and first is None:
            first = number
        if not silent and first is not None:
            if best is None or number - first > best[1] - best[0]:
                best = first, number
            first = None
    if best is None:
        return None
    spell = Spell(begin=best[0] * timeline.width, end=min(best[1] * timeline.width, length))
    usual = median([p50 for p50 in timeline.iterations.p50 if p50 is not None] or [0]) / 1e9
    expected = sum(over) / length * spell.length if length else 0
    if expected < _MISSING or spell.length < _SILENCE * usual:
        return None
    return spell, max(waiting[best[0] : best[1]])
