"""What is told of one run? Section by section, each None when the run has nothing of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_certload.proof.findings import (
    BacklogFinding,
    DatabaseFinding,
    EffectsFinding,
    ProcessFinding,
)
from pytest_certload.report.record import ComparedFigure, RunRecord, ThresholdRecord
from pytest_certload.stats.summary import IntervalSummary, LatencySummary, StepSummary
from pytest_certload.units import format_rate

from . import words
from .charts import Plot, bullet, draw
from .markup import Markup, element, join
from .plots import RunPlots
from .tables import Column, facts, fold, table

__all__ = ["certainty", "load_line", "mark", "run_section"]

_FIGURES = ("p50", "p90", "p95", "p99", "max")
_SETTING = "postgres_"
_QUERY = 400
#: With more steps than these the small plots are folded.
_OPEN_STEPS = 4


def mark(passed: bool, *, decided: bool = True) -> Markup:
    """A tick, a cross or a question mark, with its word for who does not see it."""
    if not passed:
        return element("span", "✗", element("span", " failed", class_="unseen"), class_="mark bad")
    if not decided:
        return element(
            "span",
            "?",
            element("span", " passed, not decided", class_="unseen"),
            class_="mark doubt",
        )
    return element("span", "✓", element("span", " passed", class_="unseen"), class_="mark good")


def certainty(threshold: ThresholdRecord) -> str:
    """Whether what a threshold says may be noise, in words."""
    if not threshold.decided:
        return "may be noise: so few samples do not decide"
    return "counted, no noise" if threshold.interval is None else "beyond noise"


def load_line(record: RunRecord) -> str:
    """What load it was, in a line."""
    long = words.seconds(record.duration_seconds)
    vus = record.parameters.get("vus")
    if vus is not None:
        return f"{words.plural(int(vus), 'VU')} for {long}"
    return (
        f"offered {format_rate(record.offered_rate)}, achieved "
        f"{format_rate(record.achieved_rate)} for {long}"
    )


def run_section(record: RunRecord, *, anchor: str) -> Markup:
    """All of one run."""
    plots = RunPlots(record, anchor)
    parts: list[Markup | None] = [
        _head(record, anchor),
        _tiles(record),
        _thresholds(record),
        _comparison(record),
        _over_time(plots),
        _steps(record, plots),
        _curve(plots),
        _slowest(record),
        _errors(record),
        _effects(record),
        _backlogs(record, plots),
        _database(record, plots),
        _processes(record, plots),
        _generator(record),
        _setting(record),
    ]
    return element(
        "section", *parts, class_=f"run {record.state}", id=anchor, aria_labelledby=f"{anchor}-name"
    )


def _block(title: str, *content: object, hint: str | None = None) -> Markup:
    return element(
        "section",
        element("h3", title),
        element("p", hint, class_="hint") if hint else None,
        *content,
        class_="block",
    )


def _drawn(plots: Sequence[Plot | None]) -> Markup:
    return join(draw(plot) for plot in plots if plot is not None)


def _head(record: RunRecord, anchor: str) -> Markup:
    return element(
        "header",
        element(
            "h2",
            element("span", record.scenario, id=f"{anchor}-name"),
            " ",
            element("span", record.state, class_=f"badge {record.state}"),
        ),
        element(
            "p",
            f"{record.executor.replace('_', ' ')}: {load_line(record)}. {record.offered:,} due, "
            f"{record.finished:,} finished, {record.dropped:,} dropped, "
            f"{record.unfinished:,} unfinished.",
            class_="lead",
        ),
        element("p", element("code", record.nodeid), class_="nodeid"),
        element("p", record.failure, class_="failure") if record.failure else None,
    )


def _tiles(record: RunRecord) -> Markup:
    whole = record.iterations
    known = {interval.percent: interval for interval in whole.intervals}
    tiles = [
        _tile(
            f"response time p{percent}",
            words.duration(getattr(whole.response_time, f"p{percent}")),
            _interval(known.get(percent)),
        )
        for percent in (50, 95, 99)
    ]
    tiles.append(
        _tile(
            "longest",
            words.duration(whole.response_time.max),
            f"mean {words.duration(whole.response_time.mean)}",
        )
    )
    tiles.append(
        _tile(
            "achieved rate",
            format_rate(record.achieved_rate),
            f"offered {format_rate(record.offered_rate)}",
        )
    )
    tiles.append(
        _tile(
            "error rate",
            words.share(whole.error_rate),
            f"{whole.errors:,} of {whole.count:,}",
            bad=bool(whole.errors),
        )
    )
    return element("dl", *tiles, class_="tiles")


def _tile(name: str, value: str, below: str, *, bad: bool = False) -> Markup:
    return element(
        "div",
        element("dt", name),
        element("dd", value, class_="value bad" if bad else "value"),
        element("dd", below or "\u00a0", class_="below"),
    )


def _interval(found: IntervalSummary | None) -> str:
    if found is None:
        return ""
    if found.low is None or found.high is None:
        if found.low is not None:
            return f"at least {words.duration(found.low)}"
        return "" if found.high is None else f"at most {words.duration(found.high)}"
    low, high = words.duration(found.low), words.duration(found.high)
    unit = high.rpartition(" ")[2]
    return f"{low.removesuffix(f' {unit}')} – {high}"


def _thresholds(record: RunRecord) -> Markup:
    if not record.thresholds:
        return _block(
            "Thresholds", element("p", "The test put no condition on a figure.", class_="none")
        )
    rows = [
        (
            element(
                "span",
                mark(threshold.passed, decided=threshold.decided),
                " ",
                _figure_name(threshold),
                _remark(threshold),
            ),
            threshold.actual,
            threshold.condition,
            threshold.interval or "",
            _against(threshold),
        )
        for threshold in sorted(record.thresholds, key=lambda t: (t.passed, t.decided))
    ]
    columns = [
        Column("figure", "words wide"),
        Column("measured"),
        Column("wanted"),
        Column("95 % interval"),
        Column("against the limit", "words"),
    ]
    return _block("Thresholds", table("Thresholds", columns, rows))


def _figure_name(threshold: ThresholdRecord) -> Markup:
    if threshold.step is None:
        return join([threshold.metric])
    return join([threshold.metric, element("span", f" of {threshold.step}", class_="soft")])


def _against(threshold: ThresholdRecord) -> object:
    actual, limit = words.quantity(threshold.actual), words.quantity(threshold.condition)
    if actual is None or limit is None or actual[0] != limit[0] or not limit[1]:
        return ""
    ratio = actual[1] / limit[1]
    said = f"{ratio * 100:,.0f} % of the limit" if ratio < 10 else f"{ratio:,.0f} times the limit"
    drawn = bullet(
        actual[1], limit[1], _bounds(threshold.interval), held=threshold.passed, label=said
    )
    return element("span", drawn, element("span", said, class_="soft"), class_="against")


def _bounds(interval: str | None) -> tuple[float, float] | None:
    low, dash, high = (interval or "").partition(" – ")
    if not dash:
        return None
    last = words.quantity(high)
    # The unit is said once, when it is the same.
    first = words.quantity(low) or words.quantity(f"{low} {high.rpartition(' ')[2]}")
    return (first[1], last[1]) if first and last else None


def _remark(threshold: ThresholdRecord) -> Markup | None:
    if threshold.passed and threshold.decided:
        return None
    missed = f"missed by {threshold.missed_by}; " if threshold.missed_by else ""
    look = "doubt" if threshold.passed else "bad"
    return element("span", f"{missed}{certainty(threshold)}", class_=f"remark {look}")


def _comparison(record: RunRecord) -> Markup | None:
    found = record.comparison
    if found is None:
        return None
    rows = [
        (
            element("span", mark(figure.passed), " ", _compared_name(figure)),
            _compared(figure, figure.before),
            _compared(figure, figure.after),
            _change(figure.change),
            ""
            if figure.low is None or figure.high is None
            else f"{_change(figure.low)} to {_change(figure.high)}",
            {"same": "no difference to be seen", "unknown": "not known"}.get(
                figure.verdict, figure.verdict
            ),
            figure.limit or "",
        )
        for figure in found.figures
    ]
    columns = [
        Column("figure", "words"), Column("baseline"), Column("this run"), Column("change"),
        Column("95 % interval"), Column("verdict", "words"), Column("held to", "words"),
    ]  # fmt: skip
    differences = [element("li", f"not alike: {text}") for text in found.differences]
    return _block(
        f"Compared with baseline {found.baseline}",
        element("ul", *differences, class_="remarks") if differences else None,
        table(f"Compared with baseline {found.baseline}", columns, rows),
        hint=f"Saved {found.saved_at} by pytest-certload {found.version}.",
    )


def _compared_name(figure: ComparedFigure) -> Markup:
    if figure.step is None:
        return join([figure.metric])
    return join([figure.metric, element("span", f" of {figure.step}", class_="soft")])


def _compared(figure: ComparedFigure, value: float) -> str:
    match figure.kind:
        case "duration":
            return words.duration(value)
        case "share":
            return words.share(value)
        case "rate":
            return format_rate(value)
        case _:
            return words.count(value)


def _change(value: float | None) -> str:
    return words.NONE if value is None else f"{value * 100:+.1f} %".replace("-", "−")


def _over_time(plots: RunPlots) -> Markup:
    latency = plots.latency()
    drawn = _drawn([latency, plots.rates(), plots.queue(), plots.errors()])
    if not drawn:
        return _block(
            "Over time",
            element(
                "p",
                "Not known: samples were sketched and not kept, or there are none "
                "(--certload-samples keep).",
                class_="none",
            ),
        )
    hint = "From the begin of the measured window; what lies outside of it is shaded."
    return _block("Over time", drawn, hint=hint)


def _steps(record: RunRecord, plots: RunPlots) -> Markup | None:
    steps = record.steps or (record.iterations,)
    rows: list[tuple[object, ...]] = []
    for step in [record.iterations, *record.steps] if record.steps else steps:
        whole = step is record.iterations
        name = element("b", "iterations") if whole else element("span", step.name)
        counts = (
            f"{step.count:,}",
            format_rate(step.rate),
            element("span", f"{step.errors:,}", class_="bad") if step.errors else "0",
        )
        rows.append((name, *counts, *_latency(step.response_time), *_service(step)))
    columns = [
        Column("step", "words"),
        Column("count"),
        Column("rate"),
        Column("errors"),
        *(Column(figure) for figure in _FIGURES),
        *(Column(f"service {figure}") for figure in ("p50", "p95", "p99")),
    ]
    small = [element("div", draw(plot), class_="small") for plot in plots.step_latency()]
    grid = element("div", *small, class_="grid") if small else None
    if grid is not None and len(small) > _OPEN_STEPS:
        grid = fold(f"Response time of {len(small)} steps over time", grid)
    return _block(
        "Steps" if record.steps else "Response and service time",
        table("Response and service time", columns, rows),
        grid,
        _more(steps),
        hint="Response time counts from when it was due, service time from when it was sent.",
    )


def _latency(latency: LatencySummary) -> list[str]:
    return [words.duration(getattr(latency, figure)) for figure in _FIGURES]


def _service(step: StepSummary) -> list[str]:
    times = step.service_time
    return [words.duration(value) for value in (times.p50, times.p95, times.p99)]


def _more(steps: Sequence[StepSummary]) -> Markup | None:
    rows = [
        (
            step.name,
            phase,
            f"{times.count:,}",
            *_latency(times),
        )
        for step in steps
        for phase, times in step.phases.items()
    ]
    if not rows:
        return None
    columns = [Column("step", "words"), Column("part of the service time", "words"), Column("count"),
               *(Column(figure) for figure in _FIGURES)]  # fmt: skip
    return fold("Connections and first bytes", table("Parts of the service time", columns, rows))


def _curve(plots: RunPlots) -> Markup | None:
    plot = plots.curve()
    return None if plot is None else _block("Percentiles", draw(plot))


def _slowest(record: RunRecord) -> Markup | None:
    if not record.slowest:
        return None
    rows = [
        (
            slow.step,
            f"{slow.due:,.3f} s",
            words.duration(slow.response_time),
            words.duration(slow.service_time),
            slow.status or "no answer",
            slow.outcome,
            f"{slow.iteration:,}",
        )
        for slow in record.slowest
    ]
    columns = [
        Column("step", "words"), Column("due"), Column("response time"), Column("service time"),
        Column("status"), Column("outcome", "words"), Column("iteration"),
    ]  # fmt: skip
    return _block("Slowest requests", table("Slowest requests", columns, rows))


def _errors(record: RunRecord) -> Markup:
    steps = record.steps or (record.iterations,)
    if not record.errors and not record.iterations.errors:
        return _block("Errors", element("p", "None.", class_="none"))
    total = sum(error.count for error in record.errors) or 1
    rows = [
        (
            join(
                [
                    error.outcome,
                    element("span", f" in {error.step}", class_="soft")
                    if error.step and error.step != record.scenario
                    else "",
                ]
            ),
            f"{error.count:,}",
            words.share(error.count / total),
            join(
                [
                    element("span", error.message, class_="message"),
                    fold("Traceback", element("pre", error.traceback)) if error.traceback else "",
                ]
            ),
        )
        for error in record.errors
    ]
    columns = [
        Column("kind", "words"),
        Column("count"),
        Column("share"),
        Column("the first one's message", "words"),
    ]
    failing = [step for step in steps if step.errors]
    statuses = [
        (
            step.name,
            f"{step.errors:,}",
            words.share(step.error_rate),
            ", ".join(f"{status or 'no answer'} × {n:,}" for status, n in step.statuses.items()),
            ", ".join(f"{outcome} × {n:,}" for outcome, n in step.outcomes.items()),
        )
        for step in failing
    ]
    heads = [
        Column("step", "words"),
        Column("failed"),
        Column("error rate"),
        Column("last status", "words"),
        Column("outcomes", "words"),
    ]
    return _block(
        "Errors",
        table("Errors by kind", columns, rows) if rows else None,
        table("Failed steps", heads, statuses) if statuses else None,
        hint="Kinds are counted with the warm-up, steps without." if rows and statuses else None,
    )


def _effects(record: RunRecord) -> Markup | None:
    if not record.proof.effects:
        return None
    rows = [
        (
            join([mark(not (found.lost or found.duplicated)), " ", found.name]),
            f"{found.acknowledged:,}",
            f"{found.present:,}",
            *(_bad_count(value) for value in (found.lost, found.unseen, found.duplicated)),
            words.count(found.repeated),
            f"{found.ambiguous:,}",
            words.seconds(found.waited),
        )
        for found in record.proof.effects
    ]
    columns = [
        Column("acknowledged work", "words"), Column("acknowledged"), Column("in the database"),
        Column("lost"), Column("unseen"), Column("duplicated"), Column("acknowledged twice"),
        Column("never acknowledged"), Column("waited"),
    ]  # fmt: skip
    return _block(
        "Was the work done?",
        table("Effects in the database", columns, rows),
        *_examples(record.proof.effects),
        hint="What the server acknowledged, key by key, against what the database has.",
    )


def _bad_count(value: int) -> Markup | str:
    return element("span", f"{value:,}", class_="bad") if value else "0"


def _examples(effects: Sequence[EffectsFinding]) -> Iterator[Markup]:
    for found in effects:
        if found.examples:
            lines = [element("li", example) for example in found.examples]
            yield fold(f"Examples of {found.name}", element("ul", *lines))


def _backlogs(record: RunRecord, plots: RunPlots) -> Markup | None:
    if not record.proof.backlogs:
        return None
    rows = [_backlog(found) for found in record.proof.backlogs]
    columns = [
        Column("work after the answer", "words"), Column("wanted"), Column("done"),
        Column("most behind"), Column("last one done", "words"),
    ]  # fmt: skip
    return _block(
        "Hidden backlog",
        table("Hidden backlog", columns, rows),
        _drawn([plots.behind(found) for found in record.proof.backlogs]),
        hint="Work that the server does after it has answered.",
    )


def _backlog(found: BacklogFinding) -> tuple[object, ...]:
    when = (
        f"not within {found.limit:g} s"
        if found.caught_up is None
        else f"{words.seconds(found.caught_up)} after the load"
    )
    return (
        join([mark(found.fault is None), " ", found.name]),
        f"{found.wanted:,}",
        f"{found.done:,}",
        f"{found.peak:,}",
        join([when, element("span", f"; {found.broken}", class_="bad") if found.broken else ""]),
    )


def _database(record: RunRecord, plots: RunPlots) -> Markup | None:
    found = record.proof.database
    if found is None:
        return None
    return _block(
        "Database",
        facts(list(_transactions(found))),
        _drawn([plots.waits()]),
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


def _processes(record: RunRecord, plots: RunPlots) -> Markup | None:
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
    return _block(
        "CPU and memory",
        element(
            "ul", *(element("li", line) for line in (*lines, *_events(parts))), class_="remarks"
        )
        if lines or any(_events(parts))
        else None,
        _drawn([plots.cpu(), plots.memory()]),
        table("What each process took of the machine", columns, rows),
        _missing([f"{part.name}: {reason}" for part in parts for reason in part.missing]),
    )


def _events(parts: Sequence[ProcessFinding]) -> Iterator[str]:
    for part in parts:
        if part.death is not None:
            yield f"{part.name} died {part.died_at or 0:.1f} s into the load: {part.death}"
        for event in part.events:
            yield f"{part.name}: {event}"


def _generator(record: RunRecord) -> Markup:
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
    return _block(
        "Load generator",
        element(
            "p", element("span", record.validity, class_=f"badge {record.validity}"), " ", verdict
        ),
        element("ul", *reasons, class_="remarks") if reasons else None,
        facts(pairs) if pairs else None,
    )


def _setting(record: RunRecord) -> Markup:
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
    return _block("What it ran on", fold("Stack, state, load, machine and checks", *content))
