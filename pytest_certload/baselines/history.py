"""How did a figure come along? The runs that were saved under a name, as a table with a plot in text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from pytest_certload.errors import BaselineError
from pytest_certload.stats.difference import in_proportion
from pytest_certload.units import format_duration, format_rate, hundredths

from .baseline import Baseline, PercentileFigure, StepBaseline
from .comparison import profile_differences
from .store import History

__all__ = ["PERCENTILES", "history_lines", "sparkline"]

PERCENTILES = ("p50", "p90", "p95", "p99")
_BARS = "▁▂▃▄▅▆▇█"
_PLOT = 32
_HEADINGS = ("saved at", "version", *PERCENTILES, "errors", "rate", "change")


def history_lines(
    history: History, *, figure: str = "p95", step: str | None = None, width: int = _PLOT
) -> list[str]:
    """The runs of one scenario on one machine, the oldest first: figures, change, and the plot.

    Args:
        history: What was saved.
        figure: The percentile that is plotted with its interval; one of ``PERCENTILES``.
        step: The step; None: whole iterations.
        width: Columns of the plot.

    Raises:
        BaselineError: No run has such a step.
    """
    parts = [(run, part) for run in history.saved if (part := run.part(step)) is not None]
    if not parts:
        known = dict.fromkeys(s.name for run in history.saved for s in run.steps)
        raise BaselineError(
            f"scenario {history.scenario} of baseline {history.name} has no step {step}; "
            f"steps are {', '.join(known) or 'none'}"
        )
    figures = [part.percentiles.get(figure) for _, part in parts]
    values = [None if f is None else f.value for f in figures]
    where = f", step {step}" if step else ""
    plots = _plots(figures, width)
    changes = ["", *(_change(*pair, figure) for pair in itertools.pairwise(parts))]
    table = [
        [*_HEADINGS, f"{figure}, 95 % sure"],
        *(
            [*_cells(run, part), change, plot]
            for (run, part), change, plot in zip(parts, changes, plots, strict=True)
        ),
    ]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [
        f"{history.scenario}{where}, on {history.machine}",
        f"  {figure} {sparkline(values)}  {_range(values)}",
        *(
            "  "
            + "  ".join(
                cell.ljust(size) if column in (0, 1, len(row) - 1) else cell.rjust(size)
                for column, (cell, size) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        ),
    ]


def sparkline(values: Sequence[float | None]) -> str:
    """A bar a value, from the least to the greatest; a blank where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    least, span = min(known), max(known) - min(known)
    top = len(_BARS) - 1
    return "".join(
        " " if value is None else _BARS[round((value - least) / span * top) if span else 0]
        for value in values
    )


def _range(values: Sequence[int | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "too few samples"
    return f"{format_duration(min(known))} to {format_duration(max(known))}"


def _cells(run: Baseline, part: StepBaseline) -> list[str]:
    found = (part.percentiles.get(name) for name in PERCENTILES)
    return [
        run.saved_at[:16].replace("T", " "),
        run.version,
        *("-" if figure is None else format_duration(figure.value) for figure in found),
        f"{part.errors:,}",
        format_rate(part.rate),
    ]


def _change(
    before: tuple[Baseline, StepBaseline], after: tuple[Baseline, StepBaseline], figure: str
) -> str:
    """Against the run before; of another stack or load, that is said."""
    (old, old_part), (new, new_part) = before, after
    one, other = new_part.percentiles.get(figure), old_part.percentiles.get(figure)
    if one is None or other is None:
        return ""
    found = in_proportion(one.estimate, other.estimate)
    differing = [text.partition(":")[0] for text in profile_differences(new, old)]
    also = f", another {' and '.join(differing)}" if differing else ""
    return f"{hundredths(found.value, signed=True)} % {found.verdict}{also}"


def _plots(figures: Sequence[PercentileFigure | None], width: int) -> list[str]:
    """A line each: the interval, and the estimate as a dot in it, on one scale for all."""
    ends = [
        end
        for figure in figures
        if figure is not None
        for end in (figure.low, figure.value, figure.high)
        if end is not None
    ]
    if not ends:
        return ["" for _ in figures]
    least, span = min(ends), max(1, max(ends) - min(ends))

    def column(value: int) -> int:
        return round((value - least) / span * (width - 1))

    lines = []
    for figure in figures:
        cells = [" "] * width
        if figure is not None:
            # An end that is not known reaches to the margin.
            low = 0 if figure.low is None else column(figure.low)
            high = width - 1 if figure.high is None else column(figure.high)
            cells[low : high + 1] = "─" * (high + 1 - low)
            cells[column(figure.value)] = "●"
        lines.append("".join(cells).rstrip())
    return lines
