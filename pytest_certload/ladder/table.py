"""What did each rung buy? A document for programs, and from it alone a page for people."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from pytest_certload.baselines.baseline import from_record
from pytest_certload.baselines.comparison import compare, is_whole
from pytest_certload.baselines.machine import Machine
from pytest_certload.redaction import Redactor
from pytest_certload.report.record import ComparedFigure, RunRecord
from pytest_certload.report.terminal import stack_line
from pytest_certload.units import format_duration, format_rate, hundredths

from .climb import Climbed

__all__ = ["SCHEMA_VERSION", "WRITTEN", "ladder_document", "ladder_page"]

#: Raised whenever a field of the document comes, goes away or changes its meaning.
SCHEMA_VERSION = 2
WRITTEN = "<!-- written by `certload ladder`, not by hand -->"
_COMPARED = ("p95", "p99")
_HEADINGS = ("rung", "p95", "beside the first", "p99", "rate", "errors", "database", "verdict")
_NOT_KNOWN = "–"

Document = Mapping[str, Any]


def ladder_document(climbed: Sequence[Climbed], words: Sequence[str]) -> dict[str, Any]:
    """All that was found, as plain data for JSON.

    Times are nanoseconds; ``database`` is the time that Postgres spent on statements an iteration. ``change`` is
    a percentile beside that of the same scenario on the first rung, with the interval in which the
    true change lies, 95 % sure; None on the first rung, where either has too few samples, or where the load of
    either was not offered to its end. Secrets
    among pytest's words and the server's variables are taken out.
    """
    first = {record.scenario: record for record in climbed[0].records} if climbed else {}
    records = [record for one in climbed for record in one.records]
    made_on = records[0] if records else None
    document = {
        "schema_version": SCHEMA_VERSION,
        "pytest": list(words),
        "measured_at": min((r.started_at for r in records), default=None),
        "measured_until": max((r.started_at for r in records), default=None),
        "machine": str(Machine.from_facts(made_on.environment) or "not known") if made_on else None,
        "stack": stack_line(made_on.stack) if made_on else None,
        "reduced": sorted({note for record in records for note in record.reduced}),
        "rungs": [
            {
                "name": one.rung.name,
                "postgres": dict(one.rung.postgres),
                "server": dict(one.rung.server),
                "exit_code": one.exit_code,
                "seconds": round(one.seconds, 1),
                "trouble": one.trouble,
                "runs": [
                    _run(record, None if number == 0 else first.get(record.scenario))
                    for record in one.records
                ],
            }
            for number, one in enumerate(climbed)
        ],
    }
    return _redactor(climbed, words).record(document)


def _redactor(climbed: Sequence[Climbed], words: Sequence[str]) -> Redactor:
    redactor = Redactor()
    for one in climbed:
        redactor.learn_environment(one.rung.server.items())
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        value = value if equals else following
        if name == "--certload-token":
            redactor.learn(value)
        elif name == "--certload-dsn":
            redactor.learn_dsn(value)
        elif name == "--certload-server-env":
            variable, _, text = value.partition("=")
            redactor.learn_environment([(variable, text)])
    return redactor


def _run(record: RunRecord, first: RunRecord | None) -> dict[str, Any]:
    times, database = record.iterations.response_time, record.proof.database
    seconds = database.statement_seconds if database else None
    count = record.iterations.count
    return {
        "scenario": record.scenario,
        "state": record.state,
        "validity": record.validity,
        "missed": [
            f"{one.metric} {one.condition}" + (f" of step {one.step}" if one.step else "")
            for one in record.thresholds
            if not one.passed
        ],
        "failure": record.failure,
        "count": count,
        "errors": record.iterations.errors,
        "p50": times.p50,
        "p95": times.p95,
        "p99": times.p99,
        "offered_rate": record.offered_rate,
        "rate": record.iterations.rate,
        "database": None if seconds is None or not count else round(seconds * 1e9 / count),
        "change": _changes(record, first),
    }


def _changes(record: RunRecord, first: RunRecord | None) -> dict[str, Any]:
    if first is None or not (_says_something(record) and _says_something(first)):
        return dict.fromkeys(_COMPARED)
    # The stacks differ, on purpose; what else does is for whoever reads the summaries.
    found = compare(from_record(record), from_record(first), name="the first rung", anyway=True)
    return {
        name: next(
            (
                {"change": f.change, "low": f.low, "high": f.high, "verdict": f.verdict}
                for f in found.figures
                if _is_of_whole(f, name)
            ),
            None,
        )
        for name in _COMPARED
    }


def _says_something(record: RunRecord) -> bool:
    """Whether the load was offered to its end, to a stack that lived as long."""
    died = any(part.death is not None for part in record.proof.processes)
    return not died and is_whole(from_record(record))


def _is_of_whole(figure: ComparedFigure, name: str) -> bool:
    return figure.step is None and figure.metric == f"response time {name}"


def ladder_page(document: Document) -> str:
    """The document as a page in Markdown."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Document) -> Iterator[str]:
    yield "# The ladder: what each setting buys"
    yield ""
    yield WRITTEN
    yield ""
    rungs = document["rungs"]
    yield (
        f"Each rung is a session of `pytest {shlex.join(document['pytest'])}` with a stack of its own: the same "
        "load, other settings. They are compared with the first rung by its p95, with the interval in which "
        "the true change lies, 95 % sure. *database* is the time that Postgres spent on statements an iteration."
    )
    yield ""
    if document["measured_at"]:
        first, last = (document[name][:10] for name in ("measured_at", "measured_until"))
        when = first if first == last else f"{first} to {last}"
        yield f"Measured {when} on {document['machine']}, {document['stack']}."
        yield ""
    if document["reduced"]:
        yield f"**Reduced**, not what the tests state: {'; '.join(document['reduced'])}."
        yield ""
    yield from _table([("rung", "settings of Postgres", "the server's"), *map(_settings, rungs)])
    scenarios = dict.fromkeys(run["scenario"] for rung in rungs for run in rung["runs"])
    for scenario in scenarios:
        yield ""
        yield f"## {scenario}"
        yield ""
        yield from _table(
            [
                _HEADINGS,
                *(
                    _row(rung["name"], run)
                    for rung in rungs
                    for run in rung["runs"]
                    if run["scenario"] == scenario
                ),
            ],
            right=range(1, 7),
        )
    troubles = [rung for rung in rungs if rung["trouble"]]
    if troubles:
        yield ""
        yield "## Figures that are missing"
        yield ""
        yield from (f"- {_cell(rung['name'])}: {_cell(rung['trouble'])}" for rung in troubles)


def _table(rows: Sequence[Sequence[str]], *, right: range = range(0)) -> Iterator[str]:
    heading, *others = rows
    rule = ["---:" if column in right else "---" for column in range(len(heading))]
    for row in (heading, rule, *others):
        yield f"| {' | '.join(row)} |"


def _settings(rung: Document) -> tuple[str, ...]:
    given = (
        ", ".join(f"`{_cell(name)} = {_cell(value)}`" for name, value in rung[part].items())
        for part in ("postgres", "server")
    )
    return (_cell(rung["name"]), *(text or "as the stack has them" for text in given))


def _row(name: str, run: Document) -> tuple[str, ...]:
    share = f"{hundredths(run['errors'] / run['count'])} %" if run["count"] else _NOT_KNOWN
    return (
        _cell(name),
        _time(run["p95"]),
        _change(run["change"]["p95"]),
        _time(run["p99"]),
        format_rate(run["rate"]) + _short_of(run),
        share,
        _time(run["database"]),
        _verdict(run),
    )


def _time(nanoseconds: float | None) -> str:
    return _NOT_KNOWN if nanoseconds is None else format_duration(nanoseconds)


def _short_of(run: Document) -> str:
    """What was offered, where less came through: a rate that rounding alone takes away is none."""
    offered = run["offered_rate"]
    return f" of {format_rate(offered)}" if run["rate"] < 0.99 * offered else ""


def _change(change: Document | None) -> str:
    if change is None or change["change"] is None:
        return _NOT_KNOWN
    ends = (change["low"], change["high"])
    where = "" if ends == (None, None) else f" ({_percent(ends[0])} to {_percent(ends[1])})"
    return f"{_percent(change['change'])} %{where}, {change['verdict']}"


def _percent(share: float | None) -> str:
    return "?" if share is None else hundredths(share, signed=True)


def _verdict(run: Document) -> str:
    validity = "" if run["validity"] == "valid" else f", {run['validity']}"
    if run["state"] == "passed":
        return f"passed{validity}"
    why = "; ".join(run["missed"]) or run["failure"] or "no condition was missed"
    return f"**{run['state']}**{validity}: {_cell(why)}"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
