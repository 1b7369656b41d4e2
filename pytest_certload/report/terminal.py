"""What does a person read? The live line, the closing table, and the text of a failure.

Pure functions from figures to lines; who prints them, and where, is the face's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_certload.proof.findings import StateFinding
from pytest_certload.stats.summary import LatencySummary, StepSummary
from pytest_certload.units import format_duration, format_rate

from .record import GeneratorRecord, RunRecord

__all__ = ["LiveState", "closing_table", "failure_text", "live_line", "run_text", "stack_line"]

_FIGURES = ("p50", "p90", "p95", "p99", "max")
_MOST_ERRORS = 10
_FAILURE_WIDTH = 100
_SETTING = "postgres_"


@dataclass(frozen=True, kw_only=True)
class LiveState:
    """Where a run stands.

    Attributes:
        scenario: Its name.
        elapsed, duration: Seconds since the load began; of the whole load.
        offered_rate, achieved_rate: Iterations due, and started, per second so far.
        in_flight: Iterations at work.
        backlog: Iterations that are due and wait for a slot.
        errors: Iterations that failed so far.
        p95: Of the latest response times, nanoseconds; None without samples.
    """

    scenario: str
    elapsed: float
    duration: float
    offered_rate: float
    achieved_rate: float
    in_flight: int
    backlog: int
    errors: int
    p95: int | None


def live_line(state: LiveState, *, width: int) -> str:
    """The one line that is rewritten while the load runs, cut to ``width`` columns."""
    p95 = "-" if state.p95 is None else format_duration(state.p95)
    return (
        f"{state.scenario} {_clock(state.elapsed)}/{_clock(state.duration)}"
        f"  offered {format_rate(state.offered_rate)}, achieved {format_rate(state.achieved_rate)}"
        f"  in flight {state.in_flight:,}  backlog {state.backlog:,}"
        f"  errors {state.errors:,}  p95 {p95}"
    )[:width]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def closing_table(records: Sequence[RunRecord], *, width: int, unicode: bool) -> list[str]:
    """The figures of every run: a heading, a row a step, a line a threshold; what it ran on, once.

    Args:
        records: The runs, in their order.
        width: Columns there are; a table that is wider is stacked.
        unicode: Whether ticks and crosses can be shown; else ``ok`` and ``FAIL``.
    """
    lines: list[str] = []
    stack = ""
    for record in records:
        if lines:
            lines.append("")
        if stack_line(record.stack) != stack:
            stack = stack_line(record.stack)
            lines += [stack, ""]
        lines += [
            f"{record.scenario}: {record.state}",
            *(f"  {line}" for line in _offer(record)),
            *(f"  {line}" for line in _figures(record, width - 2)),
            *(f"  {line}" for line in _thresholds(record, unicode=unicode)),
        ]
    return lines


def stack_line(facts: Mapping[str, str]) -> str:
    """What ran under test, in a line.

    Args:
        facts: As in ``RunRecord.stack``: all of a stack's, or the ``base_url`` alone.
    """
    if "stack" not in facts:
        return f"against {facts['base_url']}"
    image = f" ({facts['image']})" if "image" in facts else ""
    postgres = f", Postgres {facts['postgres']}" if "postgres" in facts else ""
    cores = f", {facts['cpu_count']} CPUs" if "cpu_count" in facts else ""
    return f"on the {facts['stack']} stack: {facts['server']}{image}{postgres}{cores}"


def failure_text(record: RunRecord, *, files: Sequence[Path] = ()) -> str:
    """What a failed test is told beside its assertion: the run's figures and where they lie."""
    lines = [
        *_offer(record),
        *_figures(record, _FAILURE_WIDTH),
        *_thresholds(record, unicode=False),
        *run_text(record),
    ]
    if files:
        lines.append(f"report: {', '.join(str(file) for file in files)}")
    return "\n".join(lines)


def run_text(record: RunRecord) -> list[str]:
    """What the table has no room for: worst steps, statuses, errors, and what ran under test."""
    return [*_worst(record), *_errors(record), *_state(record.proof.state), *_stack(record)]


def _offer(record: RunRecord) -> Iterator[str]:
    parameters = dict(record.parameters)
    seconds = format_duration(record.duration_seconds * 1e9)
    what = (
        f"{parameters['vus']:,} VUs"
        if "vus" in parameters
        else f"offered {format_rate(record.offered_rate)}, "
        f"achieved {format_rate(record.achieved_rate)}"
    )
    yield f"{record.executor}: {what} for {seconds}"
    yield (
        f"{record.offered:,} due, {record.finished:,} finished, {record.dropped:,} dropped, "
        f"{record.unfinished:,} unfinished; in flight up to {record.in_flight_peak:,}, "
        f"backlog up to {record.backlog_peak:,}"
    )
    if record.generator is not None:
        yield f"generator {record.validity}: {_generator(record.generator)}"
    for reason in record.validity_reasons:
        yield f"{record.validity}: {reason}"
    if record.percentile_error is not None:
        error = f"{record.percentile_error * 100:g}"
        yield f"percentiles ±{error} %: samples were sketched, not kept"
    if record.reduced:
        yield f"reduced, not the full contract: {', '.join(record.reduced)}"
    if record.state == "interrupted":
        yield "interrupted: the figures are partial"


def _generator(own: GeneratorRecord) -> str:
    lag = "" if own.lag.p99 is None else f"lag p99 {format_duration(own.lag.p99)}, "
    return (
        f"{lag}event loop p99 {format_duration(own.loop_lag_p99)} late, {_share(own.cpu_share)} of a "
        f"core, garbage collection at most {format_duration(own.gc_longest)}"
    )


def _figures(record: RunRecord, width: int) -> list[str]:
    rows = [("iterations", record.iterations), *((step.name, step) for step in record.steps)]
    table = _table(rows)
    return table if len(table[0]) <= width else list(_stacked(rows))


def _table(rows: Sequence[tuple[str, StepSummary]]) -> list[str]:
    cells = [["", "count", "rate", "errors", "", *_FIGURES]]
    for name, step in rows:
        counts = [f"{step.count:,}", format_rate(step.rate), f"{step.errors:,}"]
        cells.append([name, *counts, "response time", *_latency(step.response_time)])
        cells.append(["", "", "", "", "service time", *_latency(step.service_time)])
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    # Words stand to the left, figures to the right.
    return [
        "  ".join(
            cell.ljust(size) if column in (0, 4) else cell.rjust(size)
            for column, (cell, size) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]


def _stacked(rows: Iterable[tuple[str, StepSummary]]) -> Iterator[str]:
    for name, step in rows:
        yield f"{name}: {step.count:,}, {format_rate(step.rate)}, {step.errors:,} errors"
        for kind, latency in (("response", step.response_time), ("service", step.service_time)):
            figures = zip(_FIGURES, _latency(latency), strict=True)
            yield f"  {kind:8} " + "  ".join(f"{label} {value}" for label, value in figures)


def _latency(latency: LatencySummary) -> list[str]:
    values = (getattr(latency, figure) for figure in _FIGURES)
    return ["-" if value is None else format_duration(value) for value in values]


def _thresholds(record: RunRecord, *, unicode: bool) -> Iterator[str]:
    held, missed = ("✓", "✗") if unicode else ("ok  ", "FAIL")
    for threshold in record.thresholds:
        where = f"{threshold.step}: " if threshold.step else ""
        yield (
            f"{held if threshold.passed else missed} {where}{threshold.metric} "
            f"{threshold.condition} ({threshold.actual})"
        )
    if record.failure and all(threshold.passed for threshold in record.thresholds):
        yield f"{missed} {record.failure}"


def _worst(record: RunRecord) -> Iterator[str]:
    steps = record.steps or (record.iterations,)
    failing = sorted((step for step in steps if step.errors), key=lambda step: -step.errors)
    for step in failing[:3]:
        statuses = ", ".join(
            f"{status or 'no answer'} ×{count:,}" for status, count in step.statuses.items()
        )
        yield (
            f"worst: {step.name}: {step.errors:,} of {step.count:,} failed "
            f"({_share(step.error_rate)}); statuses: {statuses}"
        )
    measured = [step for step in record.steps if step.response_time.p95 is not None]
    if len(measured) > 1:
        slowest = max(measured, key=lambda step: step.response_time.p95 or 0)
        p95 = format_duration(slowest.response_time.p95 or 0)
        yield f"slowest: {slowest.name}: response time p95 {p95}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.3g} %"


def _errors(record: RunRecord) -> Iterator[str]:
    for error in record.errors[:_MOST_ERRORS]:
        times = "once" if error.count == 1 else f"{error.count:,} times"
        where = f" in {error.step}" if error.step and error.step != record.scenario else ""
        yield f"{error.outcome}{where}, {times}: {error.message}"
    rest = record.errors[_MOST_ERRORS:]
    if rest:
        count = sum(error.count for error in rest)
        yield f"{len(rest)} more kinds of error, {count:,} in all: see the report"


def _state(state: StateFinding | None) -> Iterator[str]:
    if state is None:
        return
    rows = f"{sum(state.rows.values()):,} rows in {len(state.rows):,} tables"
    yield f"state at the begin: {state.fingerprint or 'not known'}, {rows} ({state.origin})"
    yield from (f"state, not seen: {reason}" for reason in state.missing)


def _stack(record: RunRecord) -> Iterator[str]:
    settings = {k: v for k, v in record.stack.items() if k.startswith(_SETTING)}
    yield f"stack: {_facts({k: v for k, v in record.stack.items() if k not in settings})}"
    if settings:
        yield f"postgres settings: {_facts(settings)}"
    yield f"generator: {_facts(record.environment)}"


def _facts(values: Mapping[str, str]) -> str:
    return ", ".join(f"{key.removeprefix(_SETTING)} {value}" for key, value in values.items())
