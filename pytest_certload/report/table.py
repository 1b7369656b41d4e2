"""How do the figures of runs stand beneath each other? In columns that are the same for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_certload.stats.summary import INTERVALS, LatencySummary, StepSummary
from pytest_certload.stats.uncertainty import smallest_count
from pytest_certload.units import format_duration, format_rate

from .record import RunRecord
from .tone import Toned

__all__ = ["figure_tables", "footnotes"]

FIGURES = ("p50", "p90", "p95", "p99", "max")
_KINDS = ("response time", "service time")
#: A longer name is cut before the table becomes too wide by it; not shorter than this.
_LEAST_NAME = 16


def figure_tables(
    records: Sequence[RunRecord], *, width: int, unicode: bool = True
) -> list[list[str]]:
    """A table for each run, with the same columns: a row a step where there is room, else a block.

    Args:
        records: The runs.
        width: Columns there are.
        unicode: Whether a name that is cut may end in an ellipsis.
    """
    rows = [list(_rows(record)) for record in records]
    every = [row for table in rows for row in table]
    for layout in (_wide, _stacked):
        tables = layout(rows, width, unicode)
        if tables is not None:
            return tables
    return [list(_narrow(table)) for table in rows] if every else []


def footnotes(records: Sequence[RunRecord]) -> Iterator[str]:
    """What a dash stands for, once, where there is one."""
    latencies = [
        latency
        for record in records
        for _, step in _rows(record)
        for latency in (step.response_time, step.service_time)
    ]
    if any(getattr(latency, figure) is None for latency in latencies for figure in FIGURES):
        needed = ", ".join(f"p{percent} needs {smallest_count(percent)}" for percent in INTERVALS)
        yield f"-: the samples are too few for it ({needed})"


def _rows(record: RunRecord) -> Iterator[tuple[str, StepSummary]]:
    yield "iterations", record.iterations
    yield from ((step.name, step) for step in record.steps)


def _wide(
    tables: Sequence[Sequence[tuple[str, StepSummary]]], width: int, unicode: bool
) -> list[list[str]] | None:
    head = ["count", "rate", "errors", "", *FIGURES]
    cells = [[_cells(step) for _, step in table] for table in tables]
    flat = [head, *(row for table in cells for step in table for row in step)]
    widths = [max(len(row[column]) for row in flat) for column in range(len(head))]
    rest = sum(widths) + 2 * len(widths)
    longest = max(len(name) for table in tables for name, _ in table)
    name_width = min(longest, max(width - rest, 0))
    if name_width < min(longest, _LEAST_NAME):
        return None

    def line(name: str, row: Sequence[str]) -> str:
        aligned = (
            # Words stand to the left, figures to the right.
            cell.ljust(size) if column == 3 else cell.rjust(size)
            for column, (cell, size) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join([_cut(name, name_width, unicode).ljust(name_width), *aligned]).rstrip()

    return [
        [
            line("", head),
            *(
                Toned(line(name if number == 0 else "", row), _tone(step))
                for (name, step), rows in zip(table, of_table, strict=True)
                for number, row in enumerate(rows)
            ),
        ]
        for table, of_table in zip(tables, cells, strict=True)
    ]


def _stacked(
    tables: Sequence[Sequence[tuple[str, StepSummary]]], width: int, unicode: bool
) -> list[list[str]] | None:
    head = ["", *FIGURES]
    flat = [
        head,
        *(
            [f"  {kind}", *_latency(latency)]
            for table in tables
            for _, step in table
            for kind, latency in _times(step)
        ),
    ]
    widths = [max(len(row[column]) for row in flat) for column in range(len(head))]
    if sum(widths) + 2 * (len(widths) - 1) > width:
        return None

    def line(row: Sequence[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        figures = (cell.rjust(size) for cell, size in others)
        return "  ".join([first[0].ljust(first[1]), *figures])

    return [
        [
            line(head),
            *(
                text
                for name, step in table
                for text in (
                    Toned(_counts(name, step, width, unicode), _tone(step)),
                    *(line([f"  {kind}", *_latency(times)]) for kind, times in _times(step)),
                )
            ),
        ]
        for table in tables
    ]


def _narrow(table: Sequence[tuple[str, StepSummary]]) -> Iterator[str]:
    """For whoever has no columns to spare: what is too long goes on in the next line."""
    for name, step in table:
        yield Toned(_counts(name, step, None, unicode=True), _tone(step))
        for kind, times in _times(step):
            figures = zip(FIGURES, _latency(times), strict=True)
            # A figure and its unit stay together.
            told = ", ".join(f"{label}\xa0{value}".replace(" ", "\xa0") for label, value in figures)
            yield f"  {kind}: {told}"


def _counts(name: str, step: StepSummary, width: int | None, unicode: bool) -> str:
    counts = f": {step.count:,}, {format_rate(step.rate)}, {step.errors:,} errors"
    if width is not None:
        name = _cut(name, max(width - len(counts), _LEAST_NAME), unicode)
    return f"{name}{counts}"


def _cells(step: StepSummary) -> list[list[str]]:
    counts = [f"{step.count:,}", format_rate(step.rate), f"{step.errors:,}"]
    return [
        [*(counts if number == 0 else ["", "", ""]), kind, *_latency(times)]
        for number, (kind, times) in enumerate(_times(step))
    ]


def _times(step: StepSummary) -> Iterator[tuple[str, LatencySummary]]:
    yield from zip(_KINDS, (step.response_time, step.service_time), strict=True)


def _latency(latency: LatencySummary) -> list[str]:
    values = (getattr(latency, figure) for figure in FIGURES)
    return ["-" if value is None else format_duration(value) for value in values]


def _cut(name: str, width: int, unicode: bool) -> str:
    if len(name) <= width:
        return name
    # What tells names apart is more often at their end.
    begin, end = (width - 1) // 3, width - 1 - (width - 1) // 3
    return f"{name[:begin]}{'…' if unicode else '~'}{name[-end:]}"


def _tone(step: StepSummary) -> str:
    return "yellow" if step.errors else ""
