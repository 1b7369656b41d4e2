"""How does a reader see the results? Tables for the terminal: a row a figure, a column a tool."""

from __future__ import annotations

from collections.abc import Sequence

from bench.bars import Bar
from bench.figures import BASIS, Figure, find, number, ratio
from bench.measurements import MEASUREMENTS
from bench.record import Record

__all__ = ["render"]

_MARKS = {True: "✓", False: "✗", None: "–"}


def render(record: Record) -> str:
    """The whole report."""
    machine = record.machine
    lines = [
        f"{machine.cpu}, {machine.cores} cores, Linux {machine.kernel}, Python {machine.python}",
        f"load average at the begin {machine.load_average}; {record.started_at}, "
        f"{record.seconds:.0f} s",
        ", ".join(f"{name} {version}" for name, version in record.tools.items()),
        *(f"left out: {absent.name}: {absent.reason}" for absent in record.left_out),
        f"median of the rounds (lowest–highest) ×ratio to {BASIS}",
    ]
    figures = record.findings.figures
    for measurement in MEASUREMENTS:
        own = [figure for figure in figures if figure.measurement == measurement.name]
        if not own:
            continue
        lines += ["", measurement.title]
        for where in dict.fromkeys(figure.condition for figure in own):
            lines += _table(where, [figure for figure in own if figure.condition == where])
    if record.findings.notes:
        lines += ["", *record.findings.notes]
    if record.bars:
        lines += ["", "Bars", *_bars(record.bars)]
    if record.failure:
        lines += ["", f"ended early: {record.failure}"]
    return "\n".join(lines)


def _table(where: str, figures: Sequence[Figure]) -> list[str]:
    tools = list(dict.fromkeys(figure.tool for figure in figures))
    rows = [[where, *tools]]
    for name in dict.fromkeys(figure.name for figure in figures):
        row = []
        for tool in tools:
            figure = find(figures, figures[0].measurement, where, name, tool)
            row.append("" if figure is None else _cell(figure, ratio(figures, figure)))
        unit = next(figure.unit for figure in figures if figure.name == name)
        rows.append([f"{name} {unit}".rstrip(), *row])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]


def _cell(figure: Figure, ratio: float | None) -> str:
    text = number(figure.median)
    if len(figure.values) > 1:
        text += f" ({number(figure.low)}–{number(figure.high)})"
    return text if ratio is None else f"{text} ×{number(ratio)}"


def _bars(bars: Sequence[Bar]) -> list[str]:
    width = max(len(bar.text) for bar in bars)
    return [f"  {_MARKS[bar.holds]} {bar.text.ljust(width)}  {bar.actual}" for bar in bars]
