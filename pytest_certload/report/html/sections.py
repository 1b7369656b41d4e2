"""What is told of one run? Its head, its figures at a glance, and all the rest in order."""

from __future__ import annotations

from pytest_certload.report.record import RunRecord
from pytest_certload.stats.summary import IntervalSummary
from pytest_certload.units import format_rate

from . import found, judged, measured, words
from .markup import Markup, element
from .plots import RunPlots

__all__ = ["load_line", "run_section"]


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
        judged.thresholds(record),
        judged.comparison(record),
        measured.over_time(plots),
        measured.steps(record, plots),
        measured.curve(plots),
        measured.slowest(record),
        measured.errors(record),
        found.effects(record),
        found.backlogs(record, plots),
        found.database(record, plots),
        found.processes(record, plots),
        found.generator(record),
        found.setting(record),
    ]
    return element(
        "section", *parts, class_=f"run {record.state}", id=anchor, aria_labelledby=f"{anchor}-name"
    )


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
