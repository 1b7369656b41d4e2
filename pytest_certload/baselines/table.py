"""What was measured, on one page? The table of all baselines in Markdown, between two markers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_certload.errors import BaselineError
from pytest_certload.report.whole_file import write_text
from pytest_certload.units import format_duration, format_rate, hundredths

from .baseline import Baseline, PercentileFigure
from .store import History

__all__ = ["BEGIN", "END", "baseline_table", "put_into", "write_into"]

BEGIN = "<!-- baselines: written by `certload baseline-table --write`, not by hand -->"
END = "<!-- end of baselines -->"
_HEADINGS = (
    "scenario", "load", "stack", "p50", "p95", "p99", "errors", "peak memory", "samples", "date",
    "version", "machine", "baseline",
)  # fmt: skip
_TO_THE_RIGHT = frozenset({"p50", "p95", "p99", "errors", "samples"})
_EMPTY = "No baseline has been saved yet."


def baseline_table(histories: Sequence[History]) -> str:
    """The latest run of each scenario, baseline and machine, a row each; in Markdown."""
    if not histories:
        return _EMPTY
    ordered = sorted(histories, key=lambda h: (h.machine.folder, h.name, h.scenario))
    rows = [_HEADINGS, tuple("---:" if h in _TO_THE_RIGHT else "---" for h in _HEADINGS)]
    rows += [_row(history) for history in ordered]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def put_into(text: str, table: str) -> str:
    """A page with the table between its markers.

    Raises:
        BaselineError: The page has no such markers.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BaselineError(f"the page lacks the lines {BEGIN!r} and {END!r}; add them")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def write_into(page: Path, table: str) -> bool:
    """Put the table into a page. Returns whether that changed it.

    Raises:
        BaselineError: The page has no markers, or cannot be read or written.
    """
    try:
        old = page.read_text("utf-8")
        new = put_into(old, table)
        if new != old:
            write_text(page, new)
    except OSError as error:
        raise BaselineError(f"{page}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BaselineError(f"{page} is not UTF-8: {error}") from error
    except BaselineError as error:
        raise BaselineError(f"{page}: {error}") from error
    return new != old


def _row(history: History) -> tuple[str, ...]:
    run = history.latest
    percentiles = run.iterations.percentiles
    return tuple(
        text.replace("|", "\\|")
        for text in (
            history.scenario,
            _load(run),
            _stack(run),
            *(_figure(percentiles.get(name)) for name in ("p50", "p95", "p99")),
            _errors(run),
            ", ".join(f"{name} {octets / 1e6:,.0f} MB" for name, octets in run.memory.items())
            or "not known",
            f"{run.iterations.count:,}",
            run.measured_at[:10],
            run.version,
            str(history.machine),
            history.name,
        )
    )


def _load(run: Baseline) -> str:
    vus = run.parameters.get("vus")
    what = format_rate(run.offered_rate) if vus is None else f"{vus:,} VUs"
    reduced = ", reduced" if run.reduced else ""
    return f"{what} for {format_duration(run.duration_seconds * 1e9)}{reduced}"


def _stack(run: Baseline) -> str:
    parts = (run.stack.get("stack"), run.stack.get("server"), _postgres(run))
    return ", ".join(part for part in parts if part) or run.stack.get("host") or "none"


def _postgres(run: Baseline) -> str | None:
    found = run.stack.get("postgres")
    return found and f"Postgres {found}"


def _figure(figure: PercentileFigure | None) -> str:
    if figure is None:
        return "too few"
    value = format_duration(figure.value)
    if figure.low is None or figure.high is None:
        return value
    return f"{value} ({format_duration(figure.low)} – {format_duration(figure.high)})"


def _errors(run: Baseline) -> str:
    part = run.iterations
    return f"{hundredths(part.errors / part.count)} %" if part.count else "none due"
