"""What does a person read? The closing table, and the text of a failure.

Pure functions from figures to lines; who prints them, and where, is the face's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pytest_certload.proof.findings import BacklogFinding, DatabaseFinding, StateFinding
from pytest_certload.units import format_duration, format_rate, hundredths

from .explain import error_line, explain, silence, told_as
from .hints import hint
from .pace import pace
from .record import ComparedFigure, ComparisonRecord, GeneratorRecord, RunRecord
from .table import figure_tables, footnotes
from .tone import Toned, indented, wrapped

__all__ = [
    "closing_table",
    "comparison_lines",
    "failure_text",
    "files_line",
    "preflight_text",
    "run_text",
    "stack_line",
    "why_text",
]

#: The colour of a run, by its state.
_TONES = {"passed": "green", "failed": "red", "interrupted": "yellow"}
_MOST_FILES = 4
_MOST_ERRORS = 10
_MOST_STATEMENTS = 5
_MOST_TABLES = 5
_QUERY_WIDTH = 120
_FAILURE_WIDTH = 100
_MOST_EXPLAINED = 3
#: Nanoseconds.
_LONG_SILENCE = 1e9
_SETTING = "postgres_"


def closing_table(
    records: Sequence[RunRecord], *, width: int, unicode: bool, wrap: bool = False
) -> list[str]:
    """The figures of every run: a heading, a row a step, a line a threshold; what it ran on, once.

    Args:
        records: The runs, in their order.
        width: Columns there are; a table that is wider is stacked.
        wrap: Whether other lines that are too long go on beneath; on a screen they should, in a file that
            is searched they should not.
        unicode: Whether ticks and crosses can be shown; else ``ok`` and ``FAIL``.
    """
    lines: list[str] = []
    stack = ""
    tables = figure_tables(records, width=width - 2, unicode=unicode)
    for record, table in zip(records, tables, strict=True):
        if lines:
            lines.append("")
        if stack_line(record.stack) != stack:
            stack = stack_line(record.stack)
            lines += [stack, ""]
        lines.append(Toned(f"{record.scenario}: {record.state}", _TONES.get(record.state, "")))
        for part in (
            _offer(record),
            table,
            _found(record),
            _thresholds(record, unicode=unicode),
            comparison_lines(record.comparison, unicode=unicode),
        ):
            lines += indented(part)
    notes = list(footnotes(records))
    if notes:
        lines += ["", *notes]
    # A space that must not be a line's end is one like others where it is read.
    return [_spaced(line) for line in (wrapped(lines, width) if wrap else lines)]


def _spaced(line: str) -> str:
    tone = line.tone if isinstance(line, Toned) else ""
    return Toned(line.replace("\xa0", " "), tone)


def files_line(files: Sequence[Path]) -> str | None:
    """Where the reports lie, in a line; None: there are none."""
    if not files:
        return None
    if len(files) <= _MOST_FILES:
        return f"files: {', '.join(str(file) for file in files)}"
    folders: dict[Path, Counter[str]] = {}
    for file in files:
        kind = f"{file.stem.split('-')[0]}-…{file.suffix}" if "-" in file.stem else file.name
        folders.setdefault(file.parent, Counter())[kind] += 1
    return "files: " + "; ".join(
        ", ".join(
            f"{folder / kind} ×{count}" if count > 1 else str(folder / kind)
            for kind, count in kinds.items()
        )
        for folder, kinds in folders.items()
    )


def comparison_lines(comparison: ComparisonRecord | None, *, unicode: bool) -> list[str]:
    """The run beside a baseline: what limits are on, the run's own percentiles, steps that changed.

    Args:
        comparison: None makes no lines.
        unicode: Whether ticks and crosses can be shown.
    """
    if comparison is None:
        return []
    lines = [f"beside baseline {comparison.baseline} of {comparison.saved_at[:10]}:"]
    lines += [f"  differs: {difference}" for difference in comparison.differences]
    for figure in comparison.figures:
        changed = figure.verdict in ("higher", "lower")
        own = figure.step is None and figure.kind != "rate"
        if figure.limit or own or (changed and figure.metric.endswith("p95")):
            lines.append(f"  {_compared(figure, unicode=unicode)}")
    return lines


def _compared(figure: ComparedFigure, *, unicode: bool) -> str:
    held, missed, doubtful = ("✓ ", "✗ ", "? ") if unicode else ("ok   ", "FAIL ", "ok?  ")
    mark = ""
    if figure.limit:
        mark = (held if figure.decided else doubtful) if figure.passed else missed
    where = f"{figure.step}: " if figure.step else ""
    show = _share if figure.kind == "share" else format_duration
    line = f"{mark}{where}{figure.metric} {show(figure.after)}, was {show(figure.before)}"
    if figure.change is not None:
        low, high = (
            "?" if end is None else hundredths(end, signed=True)
            for end in (figure.low, figure.high)
        )
        line += f": {hundredths(figure.change, signed=True)} {figure.unit} ({low} to {high}), {figure.verdict}"
    limit = f"; at most {figure.limit}" if figure.limit else ""
    doubt = "" if figure.decided else "; not decided by so few samples"
    return f"{line}{limit}{doubt}"


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


def failure_text(
    record: RunRecord,
    *,
    files: Sequence[Path] = (),
    told: Collection[str] = (),
    unicode: bool = False,
) -> str:
    """What a failed test is told beside its assertion: why, the run's figures, and where they lie.

    Args:
        record: The run.
        files: Where its report lies.
        told: Lines that the assertion says already; they are not said again.
        unicode: Whether blocks and ticks can be shown; else ASCII.
    """
    why = why_text(record, unicode=unicode)
    untold = [t for t in record.thresholds if t.passed or told_as(t) not in {*told, *why}]
    lines = [
        *(line for line in dict.fromkeys(why) if line not in told),
        *_offer(record),
        *figure_tables([record], width=_FAILURE_WIDTH, unicode=unicode)[0],
        *_found(record),
        *_thresholds(replace(record, thresholds=tuple(untold), failure=None), unicode=unicode),
        *comparison_lines(record.comparison, unicode=unicode),
        *(line for line in run_text(record) if line not in {*told, *why}),
        *footnotes([record]),
    ]
    if files:
        lines.append(f"report: {', '.join(str(file) for file in files)}")
    return "\n".join(lines)


def why_text(record: RunRecord, *, unicode: bool) -> list[str]:
    """Why the first few conditions did not hold; without such, whether nothing was answered for long.

    Args:
        record: The run.
        unicode: Whether blocks can be shown; else ASCII.
    """
    missed = [threshold for threshold in record.thresholds if not threshold.passed]
    if not missed:
        return list(silence(record, _LONG_SILENCE))
    lines: list[str] = []
    for threshold in missed[:_MOST_EXPLAINED]:
        found = explain(record, threshold, unicode=unicode)
        lines += [told_as(threshold), *found.headline, *found.detail]
    return lines


def run_text(record: RunRecord) -> list[str]:
    """What the table has no room for: worst steps, errors, what was found, what ran under test."""
    return [
        *_worst(record),
        *_errors(record),
        *_effects(record),
        *_database(record),
        *_process_details(record),
        *_state(record.proof.state),
        *_stack(record),
    ]


def preflight_text(record: RunRecord) -> list[str]:
    """The checks before the load, a line each."""
    return [
        f"preflight {'✓' if check.passed else '✗'} {check.name}: {check.detail}"
        for check in record.proof.preflight
    ]


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
    if record.unanswered:
        yield f"{record.unanswered:,} of {record.requests:,} requests got no answer"
    if record.generator is not None:
        yield f"generator {record.validity}: {_generator(record.generator)}"
    for reason in record.validity_reasons:
        yield Toned(f"{record.validity}: {reason}", "yellow")
    checks = record.proof.preflight
    if checks:
        # A load that was made had no other; what failed is told in the error instead of it.
        seconds = format_duration(sum(check.seconds for check in checks) * 1e9)
        yield f"preflight: {len(checks)} checks passed in {seconds}"
    if record.percentile_error is not None:
        error = f"{record.percentile_error * 100:g}"
        yield f"percentiles ±{error} %: samples were sketched, not kept"
    if record.reduced:
        yield f"reduced, not the full contract: {', '.join(record.reduced)}"
    if record.unsettled_seconds is not None:
        begun = format_duration(record.unsettled_seconds * 1e9)
        yield Toned(
            f"not settled: response times were coming down for {begun}; warm up for longer",
            "yellow",
        )
    if record.state == "interrupted":
        yield "interrupted: the figures are partial"
    yield from _processes(record)


def _processes(record: RunRecord) -> Iterator[str]:
    parts = record.proof.processes
    known = [part for part in parts if part.cores is not None]
    if known:
        cores = record.stack.get("cpu_count") or record.environment.get("cpu_count", "?")
        cpu = ", ".join(f"{part.name} {part.cores:.2f}" for part in known)
        memory = ", ".join(_megabytes(part.memory_peak) for part in known)
        yield f"cpu: {cpu} of {cores} cores; memory {memory} MB"
    if record.proof.limit is not None:
        yield f"limit: {record.proof.limit}"
    for part in parts:
        if part.death is not None:
            yield f"{part.name} died {part.died_at or 0:.1f} s into the load: {part.death}"
        for event in part.events:
            yield f"{part.name}: {event}"


def _megabytes(octets: int | None) -> str:
    return "-" if octets is None else f"{octets / 1e6:,.0f}"


def _generator(own: GeneratorRecord) -> str:
    lag = "" if own.lag.p99 is None else f"lag p99 {format_duration(own.lag.p99)}, "
    return (
        f"{lag}event loop p99 {format_duration(own.loop_lag_p99)} late, {_share(own.cpu_share)} of a "
        f"core, garbage collection at most {format_duration(own.gc_longest)}"
    )


def _thresholds(record: RunRecord, *, unicode: bool) -> Iterator[str]:
    held, missed, doubtful = ("✓", "✗", "?") if unicode else ("ok  ", "FAIL", "ok? ")
    for threshold in record.thresholds:
        where = f"{threshold.step}: " if threshold.step else ""
        sure = f"; {threshold.interval}" if threshold.interval else ""
        doubt = "" if threshold.decided else "; not decided by so few samples"
        mark, tone = (missed, "red")
        if threshold.passed:
            mark, tone = (held, "green") if threshold.decided else (doubtful, "yellow")
        yield Toned(
            f"{mark} {where}{threshold.metric} {threshold.condition} "
            f"({threshold.actual}{sure}{doubt})",
            tone,
        )
    if record.failure and all(threshold.passed for threshold in record.thresholds):
        yield Toned(f"{missed} {record.failure}", "red")


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


def _share(value: float | None, *, digits: int = 3) -> str:
    return "-" if value is None else f"{hundredths(value, digits)} %"


def _found(record: RunRecord) -> Iterator[str]:
    """What was found beside the answers, in a few lines."""
    if record.proof.database is not None:
        yield f"database: {_connections(record.proof.database)}"
    for backlog in record.proof.backlogs:
        yield f"{backlog.name}: {_backlog(backlog)}"


def _connections(found: DatabaseFinding) -> str:
    parts = []
    if found.active_mean is not None:
        waits = ", ".join(f"{wait.event} {_share(wait.share)}" for wait in found.waits[:3])
        parts.append(
            f"{found.active_mean:.1f} connections at work, {found.active_peak} at most"
            + (f" ({waits})" if waits else "")
        )
    if found.cache_hit_share is not None:
        parts.append(f"cache hits {_share(found.cache_hit_share, digits=4)}")
    parts.append(f"evidence {_share(found.cost_share, digits=2)}")
    return "; ".join(parts)


def _backlog(found: BacklogFinding) -> str:
    when = (
        "not all of them in time"
        if found.caught_up is None
        else f"the last one {format_duration(found.caught_up * 1e9)} after the load"
    )
    broken = f"; {found.broken}" if found.broken else ""
    if found.done_after:
        return f"{found.done:,} of {found.wanted:,}, {pace(found)}{broken}"
    return f"{found.done:,} of {found.wanted:,}, {found.peak:,} behind at most, {when}{broken}"


def _database(record: RunRecord) -> Iterator[str]:
    found = record.proof.database
    if found is None:
        return
    iterations = record.iterations.count or 1
    for statement in found.statements[:_MOST_STATEMENTS]:
        share = statement.seconds / found.statement_seconds if found.statement_seconds else None
        mean = format_duration(statement.seconds / statement.calls * 1e9)
        yield (
            f"statement: {_share(share)} of the time; {statement.calls:,} calls, "
            f"{statement.calls / iterations:.2f} an iteration, mean {mean}, "
            f"{statement.rows:,} rows, {statement.wal_bytes / iterations:,.0f} octets of WAL an "
            f"iteration: {statement.query[:_QUERY_WIDTH]}"
        )
    for table in found.tables[:_MOST_TABLES]:
        hot = "" if table.hot_share is None else f" ({_share(table.hot_share)} HOT)"
        yield (
            f"table {table.name}: {table.inserted:,} inserted, {table.updated:,} updated{hot}, "
            f"{table.deleted:,} deleted, {table.dead:,} dead; grew {table.table_growth:,} octets, "
            f"its indexes {table.index_growth:,}"
        )
    if found.wal_bytes is not None:
        yield (
            f"database: {_count(found.commits)} commits, {_count(found.rollbacks)} rollbacks, "
            f"{_count(found.deadlocks)} deadlocks; {found.wal_bytes:,} octets of WAL; "
            f"settings {found.settings or '-'}; read for {format_duration(found.cost * 1e9)}"
        )
    for missing in found.missing:
        yield f"database, missing: {missing}"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _errors(record: RunRecord) -> Iterator[str]:
    for error in record.errors[:_MOST_ERRORS]:
        yield error_line(error, record.scenario)
        meaning = hint(error.message)
        if meaning is not None:
            yield f"  {meaning}"
    rest = record.errors[_MOST_ERRORS:]
    if rest:
        count = sum(error.count for error in rest)
        yield f"{len(rest)} more kinds of error, {count:,} in all: see the report"


def _effects(record: RunRecord) -> Iterator[str]:
    for found in record.proof.effects:
        counts = {
            "lost": found.lost,
            "unseen": found.unseen,
            "acknowledged more than once": found.repeated,
            "duplicated": found.duplicated,
            "never acknowledged": found.ambiguous,
            "never asked for": found.strangers,
        }
        rest = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
        yield (
            f"effects: {found.present:,} of {found.acknowledged:,} acknowledged {found.name} are "
            f"there{rest}; asked {found.readings:,} times in "
            f"{format_duration(found.cost * 1e9)}, waited {format_duration(found.waited * 1e9)}"
        )
        yield from (f"  {example}" for example in found.examples)


def _process_details(record: RunRecord) -> Iterator[str]:
    for part in record.proof.processes:
        figures = (
            ("CPU time", None if part.cpu_seconds is None else f"{part.cpu_seconds:.2f} s"),
            ("memory at most", part.memory_peak and f"{_megabytes(part.memory_peak)} MB"),
            ("descriptors at most", _count(part.descriptors_peak)),
            ("context switches", _count(part.switches)),
            ("forced ones", _count(part.forced_switches)),
        )
        known = [f"{name} {value}" for name, value in figures if value not in (None, "-")]
        if known:
            yield f"{part.name}: {', '.join(known)}"
        for what in part.missing:
            yield f"{part.name}: not known: {what}"


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
