"""Is the ruler good enough? The bars that this project sets itself, each held or missed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.figures import BASIS, Figure, find, number
from bench.measurements import overload, stall, sustained
from bench.measurements.fidelity import condition

__all__ = ["Bar", "judge"]

#: The transports that the bars are about.
SIMPLE, FAST = "aiohttp", "fast"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar.

    Attributes:
        text: What must hold.
        actual: What was measured, in words; why not, where it was not.
        holds: None when it could not be judged.
    """

    text: str
    actual: str
    holds: bool | None


class _Judge:
    """Looks figures up and makes bars of them; medians are what is judged."""

    def __init__(self, figures: Sequence[Figure]) -> None:
        self._figures = figures
        self._measured = {figure.measurement for figure in figures}
        self.bars: list[Bar] = []

    def _find(self, measurement: str, where: str, name: str, tool: str) -> Figure | None:
        return find(self._figures, measurement, where, name, tool)

    def limit(
        self,
        measurement: str,
        where: str,
        name: str,
        tool: str,
        *,
        least: float = float("-inf"),
        most: float = float("inf"),
    ) -> None:
        """The figure lies between ``least`` and ``most``, both included."""
        if measurement not in self._measured:
            return
        figure = self._find(measurement, where, name, tool)
        unit = figure.unit if figure else _unit(self._figures, measurement, name)
        if least == float("-inf"):
            wanted = f"≤ {number(most)} {unit}"
        elif most == float("inf"):
            wanted = f"≥ {number(least)} {unit}"
        else:
            wanted = f"{least:g} to {most:g} {unit}"
        text = f"{tool}: {name}, {where}: {wanted}"
        if figure is None:
            self.bars.append(Bar(text=text, actual=f"{tool} was not measured", holds=None))
            return
        value = figure.median
        self.bars.append(
            Bar(text=text, actual=f"{number(value)} {unit}".rstrip(), holds=least <= value <= most)
        )

    def share(
        self,
        measurement: str,
        where: str,
        name: str,
        tool: str,
        *,
        least: float = 0.0,
        most: float = float("inf"),
    ) -> None:
        """The figure is at least or at most so many times k6's."""
        if measurement not in self._measured:
            return
        wanted = f"≥ {least:g} ×" if most == float("inf") else f"≤ {most:g} ×"
        text = f"{tool}: {name}, {where}: {wanted} {BASIS}'s"
        figure = self._find(measurement, where, name, tool)
        basis = self._find(measurement, where, name, BASIS)
        if figure is None or basis is None:
            absent = tool if figure is None else BASIS
            self.bars.append(Bar(text=text, actual=f"{absent} was not measured", holds=None))
            return
        # Multiplied, not divided: k6's may be 0.
        holds = least * basis.median <= figure.median <= most * basis.median
        actual = f"{number(figure.median)} to {number(basis.median)} {figure.unit}".rstrip()
        self.bars.append(Bar(text=text, actual=actual, holds=holds))


def _unit(figures: Sequence[Figure], measurement: str, name: str) -> str:
    for figure in figures:
        if (figure.measurement, figure.name) == (measurement, name):
            return figure.unit
    return ""


def judge(figures: Sequence[Figure]) -> tuple[Bar, ...]:
    """Every bar of the measurements that were made."""
    judge = _Judge(figures)
    slow, middle, high = (condition(rate) for rate in (167, 1000, 5000))
    for where in (slow, middle, high):
        judge.limit("fidelity", where, "lag p99", FAST, most=0.5)
    for where in (slow, middle):
        judge.limit("fidelity", where, "lag p99", SIMPLE, most=1)
    for where in (middle, high):
        judge.share("fidelity", where, "lag p99", FAST, most=0.2)
    judge.limit("sustained", sustained.CONDITION, "held", FAST, least=15_000)
    judge.share("sustained", sustained.CONDITION, "held", FAST, least=2)
    judge.limit("sustained", sustained.CONDITION, "held", SIMPLE, least=4_000)
    judge.share("cost", middle, "CPU per request", FAST, most=0.6)
    judge.share("cost", high, "CPU per request", FAST, most=0.5)
    for tool in (FAST, SIMPLE):
        for where in (middle, high):
            judge.share("cost", where, "peak memory", tool, most=1)
        for name in ("p95", "p99"):
            judge.limit("stall", stall.CONDITION, f"error of {name}", tool, least=-5, most=5)
        judge.limit("overload", overload.CONDITION, "memory growth", tool, most=100)
    return tuple(judge.bars)
