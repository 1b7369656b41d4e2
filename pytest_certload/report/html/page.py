"""What does a reader learn in ten seconds? The verdict first, then run by run."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import IO

from pytest_certload.errors import ReportError
from pytest_certload.report.record import RunRecord
from pytest_certload.report.terminal import stack_line
from pytest_certload.report.whole_file import write_whole
from pytest_certload.units import hundredths

from . import words
from .judged import certainty, mark
from .markup import Markup, element, join
from .sections import load_line, run_section
from .tables import Column, table

__all__ = ["page", "write_report"]

_TITLE = "Load tests"


def write_report(
    records: Sequence[RunRecord],
    path: Path,
    *,
    title: str | None = None,
    not_made: Sequence[tuple[str, str]] = (),
    option: str = "--certload-html",
) -> None:
    """Write one self-contained HTML file; it appears whole or not at all, and replaces an earlier one.

    Args:
        records: The runs, in their order; none make a page that says so.
        path: The file. Its folder is made if need be.
        title: Of the page; default: ``Load tests``.
        not_made: Load tests that failed beside their runs, as when none was made: node id and reason.
        option: What named the file, for the error.

    Raises:
        ReportError: It cannot be written.
    """
    document = page(records, title=title, not_made=not_made).encode()

    def fill(file: IO[bytes]) -> None:
        file.write(document)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, fill)
    except OSError as error:
        raise ReportError(
            f"{option} {path}: the report cannot be written ({error.strerror or error}); "
            "name a file in a folder that is writable and has space left"
            f"{', or off' if option.startswith('--certload') else ''}"
        ) from error


def page(
    records: Sequence[RunRecord],
    *,
    title: str | None = None,
    not_made: Sequence[tuple[str, str]] = (),
) -> str:
    """The whole document; see ``write_report``."""
    style, script = _asset("style.css"), _asset("script.js")
    title = title or _TITLE
    anchors = [f"run-{number}" for number in range(1, len(records) + 1)]
    body = element(
        "body",
        element("a", "To the runs", href="#runs", class_="skip"),
        _top(records, title),
        element(
            "main",
            _verdict(records, anchors, not_made),
            element(
                "div",
                *(run_section(r, anchor=a) for r, a in zip(records, anchors, strict=True)),
                id="runs",
            ),
        ),
        element("footer", *_foot(records)),
        Markup(f"<script>{script}</script>"),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element(
            "meta",
            http_equiv="Content-Security-Policy",
            content=(
                "default-src 'none'; style-src 'unsafe-inline'; "
                f"script-src 'sha256-{_digest(script)}'; base-uri 'none'; form-action 'none'"
            ),
        ),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content="pytest-certload"),
        element("title", f"{_headline(records, not_made)} · {title}"),
        Markup(f"<style>{style}</style>"),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _headline(records: Sequence[RunRecord], not_made: Sequence[tuple[str, str]]) -> str:
    if not not_made:
        return _headline_of_runs(records)
    tests = f"{len(not_made)} load test{'' if len(not_made) == 1 else 's'} failed"
    if not records:
        return f"{tests}, and no load was made"
    return f"{tests} beside {'it' if len(records) == 1 else 'them'}: {_small(_headline_of_runs(records))}"


def _small(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"


def _headline_of_runs(records: Sequence[RunRecord]) -> str:
    if not records:
        return "No load was made"
    states = Counter(record.state for record in records)
    total = len(records)
    if states["passed"] == total:
        return f"All {total} loads passed" if total > 1 else "The load passed"
    # What is not over cannot have passed, but it has not failed either.
    word, number = next(
        (word, states[word]) for word in ("failed", "interrupted", "running") if states[word]
    )
    if total == 1:
        return {"failed": "The load failed", "interrupted": "The load was interrupted"}.get(
            word, "The load is running"
        )
    verb = {"failed": "failed", "interrupted": "interrupted", "running": "not over"}[word]
    return f"{number} of {total} loads {verb}"


def _worst(records: Sequence[RunRecord]) -> str:
    states = {record.state for record in records}
    return next((s for s in ("failed", "interrupted", "running", "passed") if s in states), "none")


def _top(records: Sequence[RunRecord], title: str) -> Markup:
    when = _moment(records[0].started_at) if records else ""
    stacks = dict.fromkeys(_stack(record) for record in records)
    return element(
        "header",
        element(
            "div",
            element("p", title, class_="title"),
            element("p", *(join(stacks, "; "),), class_="stack") if records else None,
        ),
        element(
            "div",
            element("time", when, datetime=records[0].started_at) if records else None,
            element("button", "Dark", type="button", id="theme", hidden=True),
            class_="right",
        ),
        class_="top",
    )


def _stack(record: RunRecord) -> str:
    # A record by hand may know nothing of what it ran on.
    known = record.stack.keys() >= {"stack", "server"} or "base_url" in record.stack
    return stack_line(record.stack) if known else "stack not known"


def _moment(iso: str) -> str:
    return f"{iso[:10]} {iso[11:16]} UTC"


def _verdict(
    records: Sequence[RunRecord], anchors: Sequence[str], not_made: Sequence[tuple[str, str]]
) -> Markup:
    broke = [
        element("li", element("p", mark(passed=False), " ", nodeid, ": ", element("b", reason)))
        for nodeid, reason in not_made
    ]
    broke += [item for r, a in zip(records, anchors, strict=True) for item in _breaches(r, a)]
    doubts = list(_doubts(records, anchors))
    return element(
        "section",
        element("h1", _headline(records, not_made)),
        element("ul", *broke, class_="broke") if broke else None,
        element(
            "div",
            element("h2", "Before you rely on it"),
            element("ul", *doubts),
            class_="doubts",
        )
        if doubts
        else None,
        _overview(records, anchors) if records else _nothing(),
        class_=f"verdict {'failed' if not_made else _worst(records)}",
    )


def _nothing() -> Markup:
    return element("p", "This session made no load, so there is nothing to judge.", class_="none")


def _where(record: RunRecord, anchor: str) -> Markup:
    return element("a", record.scenario, href=f"#{anchor}")


def _breach(where: Markup, what: str, wanted: str) -> Markup:
    return element("p", mark(passed=False), " ", where, ": ", element("b", what), wanted)


def _breaches(record: RunRecord, anchor: str) -> Iterator[Markup]:
    """What broke, by how much, and whether it is noise."""
    missed = [threshold for threshold in record.thresholds if not threshold.passed]
    for threshold in missed:
        step = f" of {threshold.step}" if threshold.step else ""
        by = f"missed by {threshold.missed_by}" if threshold.missed_by else ""
        sure = f"95 % sure: {threshold.interval}" if threshold.interval else ""
        yield element(
            "li",
            _breach(
                _where(record, anchor),
                f"{threshold.metric}{step} {threshold.actual}",
                f", wanted {threshold.condition}",
            ),
            element("p", "; ".join(filter(None, (by, sure, certainty(threshold)))), class_="why"),
        )
    figures = record.comparison.figures if record.comparison else ()
    worse = [figure for figure in figures if not figure.passed]
    for figure in worse:
        assert record.comparison is not None
        step = f" of {figure.step}" if figure.step else ""
        change = (
            "" if figure.change is None else f" by {hundredths(abs(figure.change))} {figure.unit}"
        )
        yield element(
            "li",
            _breach(
                _where(record, anchor),
                f"{figure.metric}{step} is {figure.verdict}{change}",
                f" than baseline {record.comparison.baseline}, held to {figure.limit}",
            ),
        )
    if record.state in ("failed", "interrupted") and not missed and not worse:
        yield element(
            "li",
            element("p", mark(passed=False), " ", _where(record, anchor), ": ",
                    element("b", record.failure or record.state)),
        )  # fmt: skip


def _doubts(records: Sequence[RunRecord], anchors: Sequence[str]) -> Iterator[Markup]:
    """What else one must know; what is the same for several runs is said once."""
    said: dict[str, list[Markup]] = {}
    for record, anchor in zip(records, anchors, strict=True):
        for doubt in _doubts_of(record):
            said.setdefault(doubt, []).append(_where(record, anchor))
    for doubt, places in said.items():
        whose = "all runs" if len(places) == len(records) > 1 else join(places, ", ")
        yield element("li", whose, ": ", doubt)


def _doubts_of(record: RunRecord) -> Iterator[str]:
    if record.validity in ("suspect", "invalid"):
        word = "the generator was disturbed" if record.validity == "suspect" else "not to be judged"
        yield f"{word}: {'; '.join(record.validity_reasons)}"
    elif record.validity == "unjudged":
        yield "nobody judged the generator, as the run was cut short"
    undecided = [
        f"{t.metric}{f' of {t.step}' if t.step else ''} {t.condition}"
        for t in record.thresholds
        if t.passed and not t.decided
    ]
    if record.comparison is not None:
        undecided += [
            f"{f.metric}{f' of {f.step}' if f.step else ''} at most {f.limit} above the baseline's"
            for f in record.comparison.figures
            if f.limit and f.passed and not f.decided
        ]
    if undecided:
        names = ", ".join(undecided)
        yield f"passed, but so few samples do not decide it: {names}"
    if record.unsettled_seconds is not None:
        yield (
            f"the warm-up was too short: response times were still coming down for "
            f"{words.seconds(record.unsettled_seconds)} of the measured window"
        )
    if record.percentile_error is not None:
        yield (
            f"percentiles are within ±{record.percentile_error * 100:g} %: samples were sketched, "
            "not kept, so there is no timeline"
        )
    if record.reduced:
        yield f"reduced, not the full contract: {', '.join(record.reduced)}"
    if record.comparison is not None and record.comparison.differences:
        yield f"the baseline ran elsewhere: {'; '.join(record.comparison.differences)}"


def _overview(records: Sequence[RunRecord], anchors: Sequence[str]) -> Markup:
    rows = []
    for record, anchor in zip(records, anchors, strict=True):
        times = record.iterations.response_time
        held = sum(threshold.passed for threshold in record.thresholds)
        total = len(record.thresholds)
        rows.append(
            (
                _where(record, anchor),
                element("span", record.state, class_=f"badge {record.state}"),
                *(words.duration(value) for value in (times.p50, times.p95, times.p99)),
                words.share(record.iterations.error_rate),
                element("span", f"{held} of {total}", class_=None if held == total else "bad"),
                record.validity,
                load_line(record),
            )
        )
    columns = [
        Column("scenario", "words"), Column("verdict", "words"), Column("p50"), Column("p95"),
        Column("p99"), Column("errors"), Column("thresholds held"), Column("generator", "words"),
        Column("load", "words"),
    ]  # fmt: skip
    return table("All runs", columns, rows, most=len(rows))


def _foot(records: Sequence[RunRecord]) -> Iterator[Markup]:
    versions = dict.fromkeys(
        record.environment["pytest_certload"]
        for record in records
        if "pytest_certload" in record.environment
    )
    made = f"pytest-certload {', '.join(versions)}" if versions else "pytest-certload"
    yield element(
        "p",
        f"{made}. Response time counts from the due time, so that a server that stalls cannot hide it. "
        "Percentiles are nearest ranks. Intervals are 95 % sure and know that requests which follow one another "
        "are alike.",
    )
