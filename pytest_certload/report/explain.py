"""Why did a condition not hold? What broke, when, and what the stack did then, the most telling first.

Pure functions from a run's record and one of its conditions to lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, median

from pytest_certload.stats.summary import StepSummary
from pytest_certload.stats.timeline import StepTimeline
from pytest_certload.units import format_duration

from .blocks import histogram_lines
from .hints import hint
from .record import ErrorRecord, RunRecord, ThresholdRecord, window_begin
from .when import Spell, Spells, format_moment, format_spells, spells_of, unanswered

__all__ = ["Explanation", "error_line", "explain", "fitting", "silence", "told_as"]

#: What pytest shows of an assertion without -vv; its own first words take some of the characters.
_MOST_LINES = 8
_MOST_LETTERS = 600
_MOST_SLOW = 5
_MESSAGE = 200
_MOST_STEPS = 3
_WIDTH = 80
#: The database is looked at twice a second, processes are read once a second and tell of the second before.
_LOOK = 0.5
_READING = 1.0
_RESPONSE_TIME = "response time "
_ERRORS = frozenset({"errors", "error rate", "server error rate", "ok"})
#: Which column of a timeline tells of a figure: never one that could hold in every part when it does not.
_COLUMNS = {"p50": "p50", "p90": "p95", "p95": "p95", "p99": "p99", "mean": "p95"}


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a condition did not hold.

    Attributes:
        headline: What happened, when, and what the stack did then; a few lines.
        detail: A histogram, and the slowest requests.
    """

    headline: tuple[str, ...] = ()
    detail: tuple[str, ...] = ()


def told_as(threshold: ThresholdRecord) -> str:
    """The condition in a line: the figure, its interval, what was wanted, by how much it was missed."""
    where = f" of step {threshold.step}" if threshold.step else ""
    sure = f" ({threshold.interval}, 95 % sure)" if threshold.interval else ""
    text = f"{threshold.metric}{where} = {threshold.actual}{sure}, wanted {threshold.condition}"
    if threshold.missed_by:
        text += f" (missed by {threshold.missed_by})"
    return text if threshold.decided else f"{text}; not decided by so few samples"


def explain(record: RunRecord, threshold: ThresholdRecord, *, unicode: bool) -> Explanation:
    """Explain a condition that did not hold; nothing is told of one that is about something else.

    Args:
        record: The run.
        threshold: One of its conditions, or any that may be put on its figures.
        unicode: Whether blocks can be shown; else ASCII.
    """
    summary = _summary(record, threshold.step)
    if summary is None:
        seen = ", ".join(step.name for step in record.steps) or "none"
        return Explanation(
            headline=(f"step {threshold.step!r} was never finished; steps that were: {seen}",)
        )
    # Without a success there are no times, and the errors say why.
    if threshold.metric in _ERRORS or (summary.errors and not summary.response_time.count):
        spells = _error_spells(record, threshold.step)
        return Explanation(
            headline=(
                *_when_errors(spells, summary),
                *_kinds(record, threshold.step),
                *_failing(record, threshold.step),
                *_then(record, spells),
                *_disturbed(record),
            )
        )
    if threshold.metric.startswith(_RESPONSE_TIME) and threshold.limit is not None:
        spells = _slow_spells(record, threshold)
        return Explanation(
            headline=(
                *_when_slow(record, threshold, spells),
                *silence(record, threshold.limit),
                *_then(record, spells),
                *_disturbed(record),
            ),
            detail=(
                *_histogram(summary, threshold, unicode=unicode),
                *_slowest(record, threshold.step),
            ),
        )
    return Explanation(headline=tuple(_disturbed(record)))


def fitting(lines: Sequence[str]) -> int:
    """How many of the lines of an assertion pytest shows, without leaving any out."""
    letters = 0
    for number, line in enumerate(lines):
        letters += len(line)
        if number and (number >= _MOST_LINES or letters > _MOST_LETTERS):
            return number
    return len(lines)


def _summary(record: RunRecord, step: str | None) -> StepSummary | None:
    if step is None:
        return record.iterations
    return next((found for found in record.steps if found.name == step), None)


def _timeline(record: RunRecord, step: str | None) -> StepTimeline | None:
    if record.timeline is None:
        return None
    if step is None:
        return record.timeline.iterations
    return next((found for found in record.timeline.steps if found.name == step), None)


# When response times were too long.


def _column(threshold: ThresholdRecord) -> str:
    return _COLUMNS.get(threshold.metric.removeprefix(_RESPONSE_TIME), "max")


def _values(record: RunRecord, threshold: ThresholdRecord) -> tuple[int | None, ...]:
    timeline = _timeline(record, threshold.step)
    return () if timeline is None else getattr(timeline, _column(threshold))


def _slow_spells(record: RunRecord, threshold: ThresholdRecord) -> Spells | None:
    limit, sign = threshold.limit, threshold.condition.split(" ")[0]
    if record.timeline is None or limit is None or sign not in ("<", "<="):
        return None
    wrong = [
        None if value is None else value > limit or (value == limit and sign == "<")
        for value in _values(record, threshold)
    ]
    return spells_of(wrong, width=record.timeline.width, length=record.duration_seconds)


def _when_slow(
    record: RunRecord, threshold: ThresholdRecord, spells: Spells | None
) -> Iterator[str]:
    if spells is None or record.timeline is None:
        return
    label = _column(threshold)
    values, width = _values(record, threshold), record.timeline.width
    inside: list[int] = []
    outside: list[int] = []
    for number, value in enumerate(values):
        if value is not None:
            begin = number * width
            within = any(s.begin <= begin < s.end for s in spells.found)
            (inside if within else outside).append(value)
    text = format_spells(spells)
    if spells.all_along:
        text += f", {label} {format_duration(median(inside))} in a usual moment"
    else:
        text += f": {label} up to {format_duration(max(inside))}"
        if outside:
            text += f"; outside of {'it' if len(spells.found) == 1 else 'them'} "
            text += format_duration(median(outside))
    yield text
    yield from _climb(record, threshold, values, spells)


def _climb(
    record: RunRecord, threshold: ThresholdRecord, values: Sequence[int | None], spells: Spells
) -> Iterator[str]:
    """A server that does not keep up: the longer the run, the longer its answers take."""
    known = [value for value in values if value is not None]
    fifth = len(known) // 5
    if fifth < 2 or not spells.until_end:
        return
    fifths = [median(known[n * fifth : (n + 1) * fifth]) for n in range(5)]
    if fifths == sorted(fifths) and fifths[4] > 3 * fifths[0] and fifths[3] > 2 * fifths[1]:
        waiting = f"; {record.backlog_peak:,} waited at most" if record.backlog_peak else ""
        yield (
            f"it climbs, from {format_duration(fifths[0])} to {format_duration(fifths[4])}: the "
            f"server does not keep up{waiting}"
        )


def silence(record: RunRecord, limit: float) -> Iterator[str]:
    """When nothing was answered for longer than half of a limit, in nanoseconds."""
    if record.timeline is None:
        return
    found = unanswered(record.timeline, length=record.duration_seconds)
    if found is None or found[0].length * 1e9 < limit / 2:
        return
    spell, waiting = found
    yield (
        f"nothing was answered for {format_duration(round(spell.length, 2) * 1e9)}, from "
        f"{format_moment(spell.begin)} to {format_moment(spell.end)}, while {waiting:,} waited"
    )


# When there were errors.


def _error_spells(record: RunRecord, step: str | None) -> Spells | None:
    timeline = _timeline(record, step)
    if timeline is None or record.timeline is None:
        return None
    wrong = [
        bool(errors) if count else None
        for count, errors in zip(timeline.count, timeline.errors, strict=True)
    ]
    return spells_of(wrong, width=record.timeline.width, length=record.duration_seconds)


def _when_errors(spells: Spells | None, summary: StepSummary) -> Iterator[str]:
    if not summary.errors:
        return
    text = f"{summary.errors:,} of {summary.count:,} failed"
    yield text if spells is None else f"{text}: {format_spells(spells)}"


def _kinds(record: RunRecord, step: str | None) -> Iterator[str]:
    kinds = [error for error in record.errors if step is None or error.step == step]
    for error in kinds[:1]:
        yield error_line(error, record.scenario)
        meaning = hint(error.message)
        if meaning is not None:
            yield f"  {meaning}"
    if kinds[1:]:
        others = Counter[str]()
        for error in kinds[1:]:
            others[error.outcome] += error.count
        yield "also " + ", ".join(f"{kind} ×{count:,}" for kind, count in others.most_common(3))


def error_line(error: ErrorRecord, scenario: str) -> str:
    """One kind of error: what, where, how often, and the first one's message."""
    times = "once" if error.count == 1 else f"{error.count:,} times"
    where = f" in {error.step}" if error.step and error.step != scenario else ""
    # A parser's message may be a drawing of many lines; the summary has it whole.
    message = " ".join(error.message.split())
    if len(message) > _MESSAGE:
        message = f"{message[:_MESSAGE]}…"
    return f"{error.outcome}{where}, {times}: {message}"


def _failing(record: RunRecord, step: str | None) -> Iterator[str]:
    """Which steps they came in; a single one is in the kind's line already."""
    failing = sorted((s for s in record.steps if s.errors), key=lambda s: -s.errors)
    if step is None and len(failing) > 1:
        told = ", ".join(f"{s.name} {s.errors:,} of {s.count:,}" for s in failing[:_MOST_STEPS])
        yield f"in {told}" + (", …" if failing[_MOST_STEPS:] else "")


# What the stack did then.


def _then(record: RunRecord, spells: Spells | None) -> Iterator[str]:
    """What the database waited for, and what the processes did, in the spells and else."""
    if spells is None:
        return
    from_begin = window_begin(record)
    spell = None if spells.all_along else spells.longest
    if spell is not None:
        spell = Spell(begin=spell.begin + from_begin, end=spell.end + from_begin)
    yield from _database_then(record, spell)
    yield from _processes_then(record, spell)


def _database_then(record: RunRecord, spell: Spell | None) -> Iterator[str]:
    database = record.proof.database
    if database is None:
        return
    then = [
        look
        for look in database.moments
        if spell is None or spell.begin - _LOOK / 2 <= look.at <= spell.end + _LOOK / 2
    ]
    if not then:
        return
    when = "database" if spell is None else "database then"
    waits = Counter[str]()
    for look in then:
        if look.wait is not None:
            waits[look.wait] += look.active
    others = [look.active for look in database.moments if look not in then]
    usual = f"; else {mean(others):.1f} at work" if others else ""
    if not waits:
        yield f"{when}: idle, so the requests did not get there{usual}"
        return
    ((wait, _),) = waits.most_common(1)
    what = "CPU, no wait" if wait == "CPU" else f"waits for {wait}"
    blocked = max(look.blocked for look in then)
    locked = f", {blocked:,} waited for a lock" if blocked else ""
    active = mean(look.active for look in then)
    yield f"{when}: mostly {what}; {active:.1f} connections at work{locked}{usual}"


def _processes_then(record: RunRecord, spell: Spell | None) -> Iterator[str]:
    if spell is None:
        # All along is what the run's own line says.
        return
    told = []
    for part in record.proof.processes:
        then: list[float] = []
        others: list[float] = []
        for reading in part.moments:
            within = spell.begin < reading.at and reading.at - _READING < spell.end
            (then if within else others).append(reading.cores)
        if then:
            usual = f" (else {mean(others):.2f})" if others else ""
            told.append(f"{part.name} {mean(then):.2f}{usual}")
    if len(told) > 1:
        # The generator alone tells nothing of the stack.
        yield f"cores in use then: {', '.join(told)}"


def _disturbed(record: RunRecord) -> Iterator[str]:
    if record.validity == "suspect":
        yield from (f"the generator was disturbed: {r}" for r in record.validity_reasons)


# The detail.


def _histogram(summary: StepSummary, threshold: ThresholdRecord, *, unicode: bool) -> Iterator[str]:
    if summary.histogram is None:
        return
    what = f"step {threshold.step}" if threshold.step else "whole iterations"
    yield f"response times of {what}:"
    for line in histogram_lines(summary.histogram, limit=threshold.limit, unicode=unicode):
        yield f"  {line}"


def _slowest(record: RunRecord, step: str | None) -> Iterator[str]:
    slowest = [slow for slow in record.slowest if step is None or slow.step == step]
    if not slowest:
        return
    yield "the slowest requests:"
    cells = [
        (
            format_duration(slow.response_time),
            f"due at {format_moment(slow.due)}",
            slow.step if slow.step != record.scenario else "",
            f"iteration {slow.iteration:,}",
            f"status {slow.status}" if slow.status else "no answer",
            "" if slow.outcome == "ok" else slow.outcome,
            f"waited {format_duration(slow.response_time - slow.service_time)} to be sent"
            if slow.response_time - slow.service_time > slow.response_time / 10
            else "",
        )
        for slow in slowest[:_MOST_SLOW]
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        line = "  ".join(
            cell.rjust(size) if column == 0 else cell.ljust(size)
            for column, (cell, size) in enumerate(zip(row, widths, strict=True))
            if size
        )
        yield f"  {line}".rstrip()
