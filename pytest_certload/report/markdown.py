"""What does the page of a CI job say of a session? Markdown for ``summary.md`` and GitHub's job summary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from pytest_certload.stats.summary import IntervalSummary, StepSummary
from pytest_certload.units import format_duration, format_rate, hundredths

from .record import ComparedFigure, ComparisonRecord, RunRecord, ThresholdRecord
from .terminal import stack_line

__all__ = ["markdown_text"]

_MOST_ERRORS = 5
_LONGEST = 300
_PERCENTILES = ((50, "p50"), (95, "p95"), (99, "p99"))
_BOUNDED = (95, 99)


def markdown_text(records: Sequence[RunRecord], not_made: Sequence[tuple[str, str]] = ()) -> str:
    """The verdict first, then each run.

    Args:
        records: The runs of the session, in order.
        not_made: Load tests that failed beside their runs, as when none was made: node id and reason.
    """
    return "\n".join(
        [
            f"## {_headline(records, not_made)}",
            "",
            *(f"- ❌ {_code(nodeid)}: {_plain(reason)}" for nodeid, reason in not_made),
            *([""] if not_made else []),
            *(line for record in records for line in _run(record)),
        ]
    ).rstrip("\n")


def _headline(records: Sequence[RunRecord], not_made: Sequence[tuple[str, str]]) -> str:
    failed = sum(record.state != "passed" for record in records)
    total = f"{len(records)} run{'' if len(records) == 1 else 's'}"
    if failed or not_made:
        parts = (
            [f"{failed} of {total} failed"] if failed else [f"{total} passed"] if records else []
        )
        if not_made:
            count = len(not_made)
            parts.append(f"{count} load test{'' if count == 1 else 's'} failed beside them")
        if not records:
            parts = [f"{len(not_made)} failed, and no load was made"]
        return f"❌ Load tests: {', '.join(parts)}"
    if not records:
        return "⚠️ Load tests: no load was made"
    reduced = sum(bool(record.reduced) for record in records)
    undecided = sum(not t.decided for record in records for t in record.thresholds)
    notes = [f"{reduced} reduced"] if reduced else []
    notes += (
        [f"{undecided} condition{'' if undecided == 1 else 's'} undecided"] if undecided else []
    )
    return f"✅ Load tests: {total} passed" + (f" ({', '.join(notes)})" if notes else "")


def _run(record: RunRecord) -> Iterator[str]:
    yield f"### {'✅' if record.state == 'passed' else '❌'} {_plain(record.scenario)}: {record.state}"
    yield ""
    breaches = [threshold for threshold in record.thresholds if not threshold.passed]
    if record.failure and not breaches:
        yield f"**{_plain(record.failure)}**"
        yield ""
    if breaches:
        yield from _conditions(breaches)
    if record.reduced:
        yield f"> ⚠️ Reduced, not the full contract: {_plain(', '.join(record.reduced))}"
        yield ""
    if record.validity in ("invalid", "suspect"):
        yield f"> ⚠️ The run is {record.validity}: {_plain('; '.join(record.validity_reasons))}"
        yield ""
    if record.unsettled_seconds is not None:
        for_so_long = format_duration(record.unsettled_seconds * 1e9)
        yield f"> ⚠️ Not settled: response times were coming down for {for_so_long}"
        yield ""
    yield _offer(record)
    yield ""
    yield from _table(record)
    yield from _compared(record.comparison)
    yield from _errors(record)
    held = [threshold for threshold in record.thresholds if threshold.passed]
    if held:
        yield f"<details><summary>{len(held)} of {len(record.thresholds)} conditions held</summary>"
        yield ""
        yield from _conditions(held)
        yield "</details>"
        yield ""
    if "base_url" in record.stack:
        yield _plain(stack_line(record.stack))
        yield ""


def _conditions(thresholds: Iterable[ThresholdRecord]) -> Iterator[str]:
    yield "| | condition | figure | 95 % sure | missed by |"
    yield "| --- | --- | --- | --- | --- |"
    for threshold in thresholds:
        where = f"{threshold.step}: " if threshold.step else ""
        mark = ("✅" if threshold.decided else "❔") if threshold.passed else "❌"
        doubt = "" if threshold.decided else " (not decided by so few samples)"
        yield _row(
            mark,
            f"{where}{threshold.metric} {threshold.condition}",
            threshold.actual,
            f"{threshold.interval or '–'}{doubt}",
            threshold.missed_by or "–",
        )
    yield ""


def _offer(record: RunRecord) -> str:
    seconds = format_duration(record.duration_seconds * 1e9)
    return (
        f"{_plain(record.executor)}: offered {format_rate(record.offered_rate)}, achieved "
        f"{format_rate(record.achieved_rate)} for {seconds}; {record.offered:,} due, "
        f"{record.finished:,} finished, {record.dropped:,} dropped, {record.unfinished:,} unfinished"
    )


def _table(record: RunRecord) -> Iterator[str]:
    names = " | ".join(label for _, label in _PERCENTILES)
    yield f"| response time | count | rate | errors | {names} | max |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, step in (
        ("iterations", record.iterations),
        *((step.name, step) for step in record.steps),
    ):
        yield _row(
            name,
            f"{step.count:,}",
            format_rate(step.rate),
            f"{step.errors:,}",
            *(_percentile(step, percent, label) for percent, label in _PERCENTILES),
            "–" if step.response_time.max is None else format_duration(step.response_time.max),
        )
    yield ""


def _percentile(step: StepSummary, percent: int, label: str) -> str:
    value = getattr(step.response_time, label)
    if value is None:
        return "–"
    found = next((i for i in step.intervals if i.percent == percent), None)
    bounds = _bounds(found) if found is not None and percent in _BOUNDED else ""
    return f"{format_duration(value)}{bounds}"


def _bounds(interval: IntervalSummary) -> str:
    low, high = (
        "?" if end is None else format_duration(end) for end in (interval.low, interval.high)
    )
    return f" ({low} – {high})"


def _compared(comparison: ComparisonRecord | None) -> Iterator[str]:
    if comparison is None:
        return
    yield f"Compared with baseline {_code(comparison.baseline)} of {_plain(comparison.saved_at)}:"
    yield ""
    yield "| | figure | change | 95 % sure | limit |"
    yield "| --- | --- | ---: | --- | --- |"
    for figure in comparison.figures:
        where = f"{figure.step}: " if figure.step else ""
        sure = f"{_change(figure.low, figure.unit)} … {_change(figure.high, figure.unit)}"
        yield _row(
            _mark(figure),
            f"{where}{figure.metric} {figure.verdict}",
            _change(figure.change, figure.unit),
            sure,
            figure.limit or "–",
        )
    yield ""
    if comparison.differences:
        yield f"> ⚠️ Not alike: {_plain('; '.join(comparison.differences))}"
        yield ""


def _mark(figure: ComparedFigure) -> str:
    """Of what is held to a limit."""
    if not figure.limit:
        return ""
    if not figure.passed:
        return "❌"
    return "✅" if figure.decided else "❔"


def _change(value: float | None, unit: str) -> str:
    return "?" if value is None else f"{hundredths(value, signed=True)} {unit}"


def _errors(record: RunRecord) -> Iterator[str]:
    if not record.errors:
        return
    for error in record.errors[:_MOST_ERRORS]:
        yield f"- {error.count:,} × {_plain(error.outcome)} in {_code(error.step)}: {_plain(error.message)}"
    rest = record.errors[_MOST_ERRORS:]
    if rest:
        yield f"- {len(rest)} more kinds of error, {sum(error.count for error in rest):,} in all"
    yield ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    """One line in which no character means anything to Markdown or HTML."""
    line = " ".join(text.split())
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST - 1]}…"
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]#|~@])", r"\\\1", line)


def _code(text: str) -> str:
    """A name as it is, in one line."""
    line = " ".join(text.split()).replace("`", "'").replace("|", "¦")
    return f"`{line[:_LONGEST]}`"
