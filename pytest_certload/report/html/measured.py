"""What was measured? Over time, by step, by percentile, the slowest, and the errors."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_certload.report.record import RunRecord
from pytest_certload.stats.summary import LatencySummary, StepSummary
from pytest_certload.units import format_rate

from . import words
from .charts import draw, draw_all
from .markup import Markup, element, join
from .plots import RunPlots
from .tables import Column, block, fold, table

__all__ = ["curve", "errors", "over_time", "slowest", "steps"]

_FIGURES = ("p50", "p90", "p95", "p99", "max")
#: With more steps than these the small plots are folded.
_OPEN_STEPS = 4


def over_time(plots: RunPlots) -> Markup:
    """How it went, on one axis."""
    latency = plots.latency()
    drawn = draw_all([latency, plots.rates(), plots.queue(), plots.errors()])
    if not drawn:
        return block(
            "Over time",
            element(
                "p",
                "Not known: samples were sketched and not kept, or there are none "
                "(--certload-samples keep).",
                class_="none",
            ),
        )
    hint = "From the begin of the measured window; what lies outside of it is shaded."
    return block("Over time", drawn, hint=hint)


def steps(record: RunRecord, plots: RunPlots) -> Markup | None:
    """The figures of each step, and how they went."""
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
    return block(
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


def curve(plots: RunPlots) -> Markup | None:
    """The percentile curves; None without samples."""
    plot = plots.curve()
    return None if plot is None else block("Percentiles", draw(plot))


def slowest(record: RunRecord) -> Markup | None:
    """The longest response times; None when samples were not kept."""
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
    return block("Slowest requests", table("Slowest requests", columns, rows))


def errors(record: RunRecord) -> Markup:
    """Kinds of error, and the steps that failed."""
    steps = record.steps or (record.iterations,)
    if not record.errors and not record.iterations.errors:
        return block("Errors", element("p", "None.", class_="none"))
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
    return block(
        "Errors",
        table("Errors by kind", columns, rows) if rows else None,
        table("Failed steps", heads, statuses) if statuses else None,
        hint="Kinds are counted with the warm-up, steps without." if rows and statuses else None,
    )
