"""What was found beside the answers, and on what did it all run?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pytest_certload.proof.findings import (
    BacklogFinding,
    DatabaseFinding,
    EffectsFinding,
    ProcessFinding,
)
from pytest_certload.report.pace import pace
from pytest_certload.report.record import RunRecord

from . import words
from .charts import draw_all
from .judged import mark
from .markup import Markup, element, join
from .plots import RunPlots
from .tables import Column, block, facts, fold, table

__all__ = ["backlogs", "database", "effects", "generator", "processes", "setting"]

_SETTING = "postgres_"
_QUERY = 400
#: What is judged of effects, as the conditions call it.
_JUDGED = (
    "(?:lost|unseen|duplicated|acknowledged more than once|that nobody (?:acknowledged|asked for))"
)


def effects(record: RunRecord) -> Markup | None:
    """What was acknowledged, and is it there? None when nobody looked."""
    if not record.proof.effects:
        return None
    rows = [
        (
            join([mark(_held(record, found)), " ", found.name]),
            f"{found.acknowledged:,}",
            f"{found.present:,}",
            *(_bad_count(value) for value in (found.lost, found.unseen, found.duplicated)),
            words.count(found.repeated),
            f"{found.ambiguous:,}",
            words.count(found.strangers),
            words.seconds(found.waited),
        )
        for found in record.proof.effects
    ]
    columns = [
        Column("acknowledged work", "words"), Column("acknowledged"), Column("there"),
        Column("lost"), Column("unseen"), Column("duplicated"), Column("acknowledged twice"),
        Column("never acknowledged"), Column("never asked for"), Column("waited"),
    ]  # fmt: skip
    return block(
        "Was the work done?",
        table("Effects", columns, rows),
        *_examples(record.proof.effects),
        hint="What the server acknowledged, key by key, against what the database, or a log, has.",
    )


def _held(record: RunRecord, found: EffectsFinding) -> bool:
    """Whether all that was said of it held, and something was: work that was only looked for is judged here."""
    own = re.compile(rf"{re.escape(found.name)} {_JUDGED}")
    said = [t.passed for t in record.thresholds if own.fullmatch(t.metric)]
    return all(said) if said else found.acknowledged > 0 and not (found.lost or found.duplicated)


def _bad_count(value: int) -> Markup | str:
    return element("span", f"{value:,}", class_="bad") if value else "0"


def _examples(effects: Sequence[EffectsFinding]) -> Iterator[Markup]:
    for found in effects:
        if found.examples:
            lines = [element("li", example) for example in found.examples]
            yield fold(f"Examples of {found.name}", element("ul", *lines))


def backlogs(record: RunRecord, plots: RunPlots) -> Markup | None:
    """The work after the answers; None when nobody looked on."""
    if not record.proof.backlogs:
        return None
    rows = [_backlog(found) for found in record.proof.backlogs]
    columns = [
        Column("work after the answer", "words"), Column("wanted"), Column("done"),
        Column("most behind"), Column("last one done", "words"),
    ]  # fmt: skip
    return block(
        "Work after the answers",
        table("Work after the answers", columns, rows),
        draw_all([plots.behind(found) for found in record.proof.backlogs]),
        hint="Work that the server does after it has answered, or that waits for it when the load begins.",
    )


def _backlog(found: BacklogFinding) -> tuple[object, ...]:
    when = (
        f"not within {found.limit:g} s"
        if found.caught_up is None
        else f"{words.seconds(found.caught_up)} after the load"
    )
    if found.done_after:
        when = pace(found)
    return (
        join([mark(found.fault is None), " ", found.name]),
        f"{found.wanted:,}",
        f"{found.done:,}",
        f"{found.peak:,}",
        join([when, element("span", f"; {found.broken}", class_="bad") if found.broken else ""]),
    )


def database(record: RunRecord, plots: RunPlots) -> Markup | None:
    """What Postgres says; None without one."""
    found = record.proof.database
    if found is None:
        return None
    return block(
        "Database",
        facts(list(_transactions(found))),
        draw_all([plots.waits()]),
        _waits(found),
        _statements(found, record.iterations.count or 1),
        _tables(found),
        _missing(found.missing),
    )


def _transactions(found: DatabaseFinding) -> Iterator[tuple[str, str]]:
    mean = found.active_mean
    figures = (
        ("commits", words.count(found.commits)),
        ("rollbacks", words.count(found.rollbacks)),
        ("deadlocks", words.count(found.deadlocks)),
        ("at work, mean", words.NONE if mean is None else f"{mean:.2f}"),
        ("at work, most", words.count(found.active_peak)),
        ("blocked, most", words.count(found.blocked_peak)),
        ("cache hits", words.share(found.cache_hit_share, 4)),
        ("read from files", words.octets(found.read_bytes)),
        ("written to files", words.octets(found.written_bytes)),
        ("write-ahead log", words.octets(found.wal_bytes)),
        ("cost of looking", words.share(found.cost_share, 2)),
        ("settings", found.settings or words.NONE),
    )
    yield from (figure for figure in figures if figure[1] != words.NONE)


def _waits(found: DatabaseFinding) -> Markup | None:
    if not found.waits:
        return None
    rows = [(wait.event, words.share(wait.share), _share_bar(wait.share)) for wait in found.waits]
    columns = [Column("wait", "words"), Column("share"), Column("", "words")]
    return fold("Waits", table("What connections at work waited for", columns, rows))


def _share_bar(value: float) -> Markup:
    return element(
        "span", element("span", style=f"width:{max(0.0, min(value, 1.0)) * 100:.1f}%"), class_="share",
        aria_hidden="true",
    )  # fmt: skip


def _statements(found: DatabaseFinding, iterations: int) -> Markup | None:
    if not found.statements:
        return None
    rows = []
    for statement in found.statements:
        part = statement.seconds / found.statement_seconds if found.statement_seconds else None
        rows.append(
            (
                element("code", _cut(statement.query), class_="query"),
                words.share(part, 2),
                f"{statement.calls:,}",
                f"{statement.calls / iterations:,.2f}",
                words.seconds(statement.seconds / statement.calls if statement.calls else None),
                f"{statement.rows:,}",
                words.octets(statement.wal_bytes),
            )
        )
    columns = [
        Column("statement", "code"), Column("time"), Column("calls"), Column("an iteration"),
        Column("mean"), Column("rows"), Column("WAL"),
    ]  # fmt: skip
    return table("Statements that took most time", columns, rows)


def _cut(query: str) -> str:
    return query if len(query) <= _QUERY else f"{query[:_QUERY]}…"


def _tables(found: DatabaseFinding) -> Markup | None:
    if not found.tables:
        return None
    rows = [
        (
            element("code", changed.name),
            f"{changed.inserted:,}",
            f"{changed.updated:,}",
            words.share(changed.hot_share),
            f"{changed.deleted:,}",
            f"{changed.dead:,}",
            words.octets(changed.table_growth),
            words.octets(changed.index_growth),
        )
        for changed in found.tables
    ]
    columns = [
        Column("table", "words"), Column("inserted"), Column("updated"), Column("HOT"),
        Column("deleted"), Column("dead rows"), Column("grew"), Column("indexes grew"),
    ]  # fmt: skip
    return fold("Tables", table("Tables that changed", columns, rows))


def _missing(reasons: Sequence[str]) -> Markup | None:
    if not reasons:
        return None
    return element(
        "ul", *(element("li", f"not known: {reason}") for reason in reasons), class_="remarks"
    )


def processes(record: RunRecord, plots: RunPlots) -> Markup | None:
    """What each part took of the machine; None when that is not known."""
    parts = record.proof.processes
    if not parts:
        return None
    rows = [
        (
            part.name,
            words.NONE if part.cores is None else f"{part.cores:.2f}",
            words.seconds(part.cpu_seconds),
            words.octets(part.memory_peak),
            words.count(part.descriptors_peak),
            words.count(part.switches),
            words.count(part.forced_switches),
        )
        for part in parts
    ]
    columns = [
        Column("process", "words"), Column("cores"), Column("CPU time"), Column("memory, most"),
        Column("descriptors, most"), Column("switches"), Column("forced"),
    ]  # fmt: skip
    lines = [f"The limit was {record.proof.limit}."] if record.proof.limit else []
    return block(
        "CPU and memory",
        element(
            "ul", *(element("li", line) for line in (*lines, *_events(parts))), class_="remarks"
        )
        if lines or any(_events(parts))
        else None,
        draw_all([plots.cpu(), plots.memory()]),
        table("What each process took of the machine", columns, rows),
        _missing([f"{part.name}: {reason}" for part in parts for reason in part.missing]),
    )


def _events(parts: Sequence[ProcessFinding]) -> Iterator[str]:
    for part in parts:
        if part.death is not None:
            yield f"{part.name} died {part.died_at or 0:.1f} s into the load: {part.death}"
        for event in part.events:
            yield f"{part.name}: {event}"


def generator(record: RunRecord) -> Markup:
    """Whether the load generator kept its schedule."""
    own = record.generator
    reasons = [element("li", reason) for reason in record.validity_reasons]
    verdict = {
        "valid": "The generator kept its schedule, so the run may be judged.",
        "suspect": "The generator was disturbed, so read the figures with care.",
        "invalid": "The run may not be judged.",
    }.get(record.validity, "Nobody judged the generator: the run was cut short.")
    pairs: list[tuple[object, object]] = []
    if own is not None:
        pairs = [
            ("lag p50", words.duration(own.lag.p50)),
            ("lag p99", words.duration(own.lag.p99)),
            ("lag, most", words.duration(own.lag.max)),
            ("event loop late, p99", words.duration(own.loop_lag_p99)),
            ("event loop late, most", words.duration(own.loop_lag_max)),
            ("of a core", words.share(own.cpu_share)),
            ("seconds with a whole core", words.share(own.busy_share)),
            ("waited for a CPU", words.share(own.wait_share)),
            ("taken by the host", words.share(own.steal_share)),
            ("longest garbage collection", words.duration(own.gc_longest)),
            ("memory grew", words.octets(own.memory_growth)),
        ]
    return block(
        "Load generator",
        element(
            "p", element("span", record.validity, class_=f"badge {record.validity}"), " ", verdict
        ),
        element("ul", *reasons, class_="remarks") if reasons else None,
        facts(pairs) if pairs else None,
    )


def setting(record: RunRecord) -> Markup:
    """Stack, state of the data, load, machine, and the checks before the load."""
    settings = {k: v for k, v in record.stack.items() if k.startswith(_SETTING)}
    stack = [(k.replace("_", " "), v) for k, v in record.stack.items() if k not in settings]
    state = record.proof.state
    content: list[Markup] = [element("h4", "Stack"), facts(stack)]
    if settings:
        pairs = [(k.removeprefix(_SETTING), v) for k, v in settings.items()]
        content += [element("h4", "Postgres settings"), facts(pairs)]
    if state is not None:
        rows = [(name, f"{n:,}") for name, n in state.rows.items()]
        content += [
            element("h4", "State at the begin"),
            facts(
                [("fingerprint", state.fingerprint or "not known"), ("origin", state.origin), *rows]
            ),
        ]
        missing = _missing(state.missing)
        content += [missing] if missing else []
    content += [
        element("h4", "Load"),
        facts(
            [
                *((name.replace("_", " "), value) for name, value in record.parameters.items()),
                ("started at", record.started_at),
                ("drain", words.seconds(record.drain_seconds)),
            ]
        ),
        element("h4", "Machine of the load generator"),
        facts(list(record.environment.items())),
    ]
    if record.proof.preflight:
        checks = [
            (
                join([mark(check.passed), " ", check.name]),
                check.detail,
                words.seconds(check.seconds),
            )
            for check in record.proof.preflight
        ]
        columns = [Column("check", "words"), Column("found", "words"), Column("took")]
        content += [
            element("h4", "Checks before the load"), table("Checks before the load", columns, checks)
        ]  # fmt: skip
    return block("What it ran on", fold("Stack, state, load, machine and checks", *content))
