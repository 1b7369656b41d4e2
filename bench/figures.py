"""In which form are results kept? One figure a quantity, generator and condition, round by round."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["BASIS", "Collector", "Curve", "Figure", "Findings", "find", "number", "ratio"]

#: The generator that others are compared with.
BASIS = "k6"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One quantity of one generator under one condition.

    Attributes:
        measurement: Which measurement it belongs to, such as ``fidelity``.
        condition: Under which load, such as ``1,000/s``.
        name: What was measured, such as ``lag p99``.
        unit: Of the values: ``ms``, ``µs``, ``/s``, ``MB``, ``%``, ``s``, or nothing for a count.
        tool: The generator.
        values: One a round, at least one.
    """

    measurement: str
    condition: str
    name: str
    unit: str
    tool: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The lowest of the rounds."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The highest of the rounds."""
        return max(self.values)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """How lag is distributed: ``lag_ms`` at the shares of ``bench.lag.SHARES``, median of rounds."""

    tool: str
    condition: str
    lag_ms: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a measurement found: figures, curves, and notes in words."""

    figures: tuple[Figure, ...] = ()
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        return Findings(
            figures=self.figures + other.figures,
            curves=self.curves + other.curves,
            notes=self.notes + other.notes,
        )


@dataclass(kw_only=True)
class Collector:
    """Gathers the values of one measurement while its rounds go on."""

    measurement: str
    _values: dict[tuple[str, str, str, str], list[float]] = field(default_factory=dict)

    def add(self, condition: str, name: str, unit: str, tool: str, value: float) -> None:
        """Add one round's value; see ``Figure``."""
        self._values.setdefault((condition, name, unit, tool), []).append(value)

    def figures(self) -> tuple[Figure, ...]:
        """What has been gathered, in the order of its first appearance."""
        return tuple(
            Figure(
                measurement=self.measurement,
                condition=condition,
                name=name,
                unit=unit,
                tool=tool,
                values=tuple(values),
            )
            for (condition, name, unit, tool), values in self._values.items()
        )


def find(
    figures: Iterable[Figure], measurement: str, condition: str, name: str, tool: str
) -> Figure | None:
    """The figure of that place, None when it was not measured."""
    for figure in figures:
        key = (figure.measurement, figure.condition, figure.name, figure.tool)
        if key == (measurement, condition, name, tool):
            return figure
    return None


def ratio(figures: Iterable[Figure], figure: Figure) -> float | None:
    """The figure's median over k6's.

    None where it says nothing: for k6's own figure, where k6 has none, for shares in per cent, and
    where either is not above 0.
    """
    if figure.tool == BASIS or figure.unit == "%":
        return None
    basis = find(figures, figure.measurement, figure.condition, figure.name, BASIS)
    if basis is None or min(basis.median, figure.median) <= 0:
        return None
    return figure.median / basis.median


def number(value: float) -> str:
    """A figure for readers: three significant digits, whole above a hundred, thousands apart."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"
