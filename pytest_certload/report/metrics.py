"""Which figures of a run are metrics, and what are they called? One list, for every monitoring system.

Names and units are OpenMetrics': base units, in the name; a share from 0 to 1 is a ratio.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytest_certload.stats.summary import LatencySummary, StepSummary

from .record import RunRecord

__all__ = ["QUANTILES", "Family", "Kind", "Labels", "Point", "families_of"]

Kind = Literal["gauge", "counter", "summary", "info"]
Labels = tuple[tuple[str, str], ...]

#: The quantiles of a summary, and which figures they are.
QUANTILES: Mapping[str, str] = {
    "0.0": "min",
    "0.5": "p50",
    "0.9": "p90",
    "0.95": "p95",
    "0.99": "p99",
    "1.0": "max",
}
_EFFECTS = (
    "acknowledged", "present", "lost", "unseen", "ambiguous", "strangers", "duplicated", "repeated",
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One value of a metric.

    Attributes:
        labels: Whose it is.
        value: In the metric's unit; of a summary the sum of all times.
        quantiles: Of a summary: each quantile that is known.
        count: Of a summary: of how many times.
    """

    labels: Labels
    value: float
    quantiles: tuple[tuple[str, float], ...] = ()
    count: int = 0


@dataclass(kw_only=True)
class Family:
    """A metric and all of its values.

    Attributes:
        name: With its unit at the end, without the suffixes of samples such as ``_total``.
        kind: What it is.
        help: A sentence.
        unit: As it stands in the name; empty: it has none.
        points: Its values; no two have the same labels.
    """

    name: str
    kind: Kind
    help: str
    unit: str = ""
    points: dict[Labels, Point] = field(default_factory=dict)

    def add(self, labels: Labels, value: float | None) -> None:
        """Add a value, unless it is not known. Of two with the same labels a counter has the sum, a gauge the least."""
        if value is None:
            return
        before = self.points.get(labels)
        if before is not None:
            value = before.value + value if self.kind == "counter" else min(before.value, value)
        self.points[labels] = Point(labels, value)

    def add_times(self, labels: Labels, times: LatencySummary) -> None:
        """Add a distribution, unless it has no samples."""
        if times.mean is None:
            return
        known = [(q, getattr(times, figure)) for q, figure in QUANTILES.items()]
        self.points[labels] = Point(
            labels,
            times.mean * times.count / 1e9,
            tuple((quantile, value / 1e9) for quantile, value in known if value is not None),
            times.count,
        )


def families_of(records: Iterable[RunRecord]) -> list[Family]:
    """Every metric of these runs that has a value, in a fixed order; none without a run."""
    book = _Book()
    for record in records:
        book.scenario = record.scenario
        for page in (
            _about,
            _verdict,
            _load,
            _figures,
            _generator,
            _processes,
            _proof,
            _comparison,
        ):
            page(book, record)
    return list(book.families.values())


class _Book:
    """Where values are entered. Those of a metric that does not exist yet make it."""

    def __init__(self) -> None:
        self.families: dict[str, Family] = {}
        self.scenario = ""

    def info(self, name: str, text: str, /, **labels: str) -> None:
        self._family(name, "info", text, "").add(tuple(labels.items()), 1)

    def run_info(self, name: str, text: str, /, **labels: str) -> None:
        self.info(name, text, scenario=self.scenario, **labels)

    def gauge(
        self, name: str, text: str, value: float | None, /, unit: str = "", **labels: str
    ) -> None:
        if value is not None:
            self._family(name, "gauge", text, unit).add(self._labels(labels), value)

    def counter(
        self, name: str, text: str, value: float | None, /, unit: str = "", **labels: str
    ) -> None:
        if value is not None:
            self._family(name, "counter", text, unit).add(self._labels(labels), value)

    def times(self, name: str, text: str, times: LatencySummary, /, **labels: str) -> None:
        if times.count:
            self._family(name, "summary", text, "seconds").add_times(self._labels(labels), times)

    def _labels(self, more: Mapping[str, str]) -> Labels:
        return (("scenario", self.scenario), *more.items())

    def _family(self, name: str, kind: Kind, text: str, unit: str) -> Family:
        return self.families.setdefault(name, Family(name=name, kind=kind, help=text, unit=unit))


def _about(book: _Book, record: RunRecord) -> None:
    book.info(
        "certload",
        "What measured, and on what.",
        **{_label(name): value for name, value in record.environment.items()},
    )
    book.run_info(
        "certload_run",
        "What was run, against what, and what came of it.",
        nodeid=record.nodeid,
        executor=record.executor,
        state=record.state,
        validity=record.validity,
        started_at=record.started_at,
        reduced=", ".join(record.reduced),
    )
    # Names of facts may be any; the own ones come last and win.
    facts = {_label(name): value for name, value in record.stack.items()}
    book.info(
        "certload_target",
        "What ran under test.",
        **{**facts, "scenario": record.scenario},
    )


def _verdict(book: _Book, record: RunRecord) -> None:
    book.gauge("certload_passed", "Whether the test of the run passed.", record.state == "passed")
    book.gauge(
        "certload_valid", "Whether the run may be judged.", record.validity in ("valid", "suspect")
    )
    book.gauge(
        "certload_full_contract",
        "Whether the run was the one that the test states, reduced by no option.",
        not record.reduced,
    )
    for threshold in record.thresholds:
        labels = {"metric": threshold.metric, "condition": threshold.condition}
        if threshold.step is not None:
            labels["step"] = threshold.step
        book.gauge(
            "certload_threshold_held", "Whether a condition held.", threshold.passed, **labels
        )
        book.gauge(
            "certload_threshold_decided",
            "Whether the samples are enough to tell whether a condition held.",
            threshold.decided,
            **labels,
        )


def _load(book: _Book, record: RunRecord) -> None:
    book.gauge(
        "certload_window_seconds", "The measured window.", record.duration_seconds, unit="seconds"
    )
    book.gauge(
        "certload_drain_seconds",
        "From the end of the window until the last iteration was over.",
        record.drain_seconds,
        unit="seconds",
    )
    for what, count in (
        ("due", record.offered),
        ("started", record.started),
        ("finished", record.finished),
        ("dropped", record.dropped),
        ("unfinished", record.unfinished),
    ):
        book.counter(
            "certload_offer", "Iterations of the window, by what became of them.", count, what=what
        )
    unit = "iterations_per_second"
    book.gauge(f"certload_offered_{unit}", "Arrival rate, due.", record.offered_rate, unit=unit)
    book.gauge(
        f"certload_achieved_{unit}", "Arrival rate, started.", record.achieved_rate, unit=unit
    )
    book.gauge("certload_backlog_peak", "The most that waited for a slot.", record.backlog_peak)
    book.gauge("certload_in_flight_peak", "The most at once.", record.in_flight_peak)
    book.gauge(
        "certload_unsettled_seconds",
        "How much longer the warm-up should have been.",
        record.unsettled_seconds,
        unit="seconds",
    )
    book.times("certload_lateness_seconds", "Start minus due.", record.lateness)


def _figures(book: _Book, record: RunRecord) -> None:
    _step(book, "certload_iteration", "whole iterations", record.iterations, {})
    for step in record.steps:
        _step(book, "certload_step", "a step", step, {"step": step.name})


def _step(
    book: _Book, prefix: str, whose: str, step: StepSummary, labels: Mapping[str, str]
) -> None:
    for outcome, count in step.outcomes.items():
        book.counter(
            f"{prefix}_outcomes", f"Outcomes of {whose}.", count, outcome=outcome, **labels
        )
    for status, count in step.statuses.items():
        book.counter(
            f"{prefix}_statuses",
            f"The last HTTP status of {whose}; 0 is no answer.",
            count,
            status=str(status),
            **labels,
        )
    book.gauge(
        f"{prefix}_error_ratio",
        f"Share of {whose} that failed.",
        step.error_rate,
        unit="ratio",
        **labels,
    )
    book.gauge(
        f"{prefix}_over_per_second",
        f"How many of {whose} were over before the window ended, a second.",
        step.rate,
        unit="per_second",
        **labels,
    )
    book.counter(
        f"{prefix}_received_bytes",
        f"Response bodies of {whose}.",
        step.received_bytes,
        unit="bytes",
        **labels,
    )
    book.times(
        f"{prefix}_response_time_seconds",
        f"End minus due of {whose}: what a user felt.",
        step.response_time,
        **labels,
    )
    book.times(
        f"{prefix}_service_time_seconds", f"End minus sent of {whose}.", step.service_time, **labels
    )
    for interval in step.intervals:
        for bound, value in (("low", interval.low), ("high", interval.high)):
            book.gauge(
                f"{prefix}_response_time_bound_seconds",
                f"Between which bounds a response time's quantile of {whose} lies, 95 % sure.",
                None if value is None else value / 1e9,
                unit="seconds",
                percentile=f"{interval.percent:g}",
                bound=bound,
                **labels,
            )
    for phase, times in step.phases.items():
        book.times(
            f"{prefix}_phase_seconds", f"A part of the service time of {whose}.", times,
            phase=phase, **labels,
        )  # fmt: skip


def _generator(book: _Book, record: RunRecord) -> None:
    own = record.generator
    if own is None:
        return
    book.times(
        "certload_generator_lag_seconds", "How late iterations began that found a slot.", own.lag
    )
    book.gauge(
        "certload_generator_cpu_ratio",
        "The generator's share of a core.",
        own.cpu_share,
        unit="ratio",
    )
    book.gauge(
        "certload_generator_steal_ratio",
        "The share of the machine's CPU time that its host gave to others.",
        own.steal_share,
        unit="ratio",
    )


def _processes(book: _Book, record: RunRecord) -> None:
    for part in record.proof.processes:
        book.gauge(
            "certload_process_cores", "CPU time of a part a second.", part.cores, part=part.name
        )
        book.counter(
            "certload_process_cpu_seconds",
            "CPU time of a part.",
            part.cpu_seconds,
            unit="seconds",
            part=part.name,
        )
        book.gauge(
            "certload_process_memory_peak_bytes",
            "The most resident memory of a part.",
            part.memory_peak,
            unit="bytes",
            part=part.name,
        )
        book.gauge(
            "certload_process_alive",
            "Whether a part outlived the load.",
            part.death is None,
            part=part.name,
        )


def _proof(book: _Book, record: RunRecord) -> None:
    for effect in record.proof.effects:
        for what in _EFFECTS:
            book.counter(
                "certload_effects",
                "What acknowledged operations left behind in the database.",
                getattr(effect, what),
                effect=effect.name,
                what=what,
            )
    for backlog in record.proof.backlogs:
        for what in ("wanted", "done"):
            book.counter(
                "certload_deferred_work",
                "Work that the server does after it has answered.",
                getattr(backlog, what),
                work=backlog.name,
                what=what,
            )
        book.gauge(
            "certload_deferred_work_caught_up_seconds",
            "From the end of the load until all work was done.",
            backlog.caught_up,
            unit="seconds",
            work=backlog.name,
        )
        for share, seconds in backlog.done_after.items():
            book.gauge(
                "certload_waiting_work_done_seconds",
                "From the begin of the load until so much of the work was done that waited then.",
                seconds,
                unit="seconds",
                work=backlog.name,
                percent=share,
            )
    found = record.proof.database
    if found is None:
        return
    for what in ("commits", "rollbacks", "deadlocks"):
        book.counter(
            "certload_database_transactions", "Transactions.", getattr(found, what), what=what
        )
    book.counter("certload_database_wal_bytes", "Write-ahead log.", found.wal_bytes, unit="bytes")
    book.gauge(
        "certload_database_cache_hit_ratio",
        "Share of the pages that were in Postgres' cache.",
        found.cache_hit_share,
        unit="ratio",
    )
    book.gauge("certload_database_active", "Connections at work, the mean.", found.active_mean)
    for wait in found.waits:
        book.gauge(
            "certload_database_wait_ratio",
            "What active connections waited for.",
            wait.share,
            unit="ratio",
            event=wait.event,
        )


def _comparison(book: _Book, record: RunRecord) -> None:
    compared = record.comparison
    if compared is None:
        return
    for figure in compared.figures:
        labels = {"baseline": compared.baseline, "metric": figure.metric}
        if figure.step is not None:
            labels["step"] = figure.step
        # Two shares differ by a difference; as a share of the baseline's it would read as another figure.
        name, how = (
            ("certload_baseline_difference_ratio", "as a difference of two shares")
            if figure.kind == "share"
            else ("certload_baseline_change_ratio", "as a share of that")
        )
        book.gauge(
            name,
            f"By how much a figure differs from the baseline's, {how}.",
            figure.change,
            unit="ratio",
            **labels,
        )
        book.gauge(
            "certload_baseline_held", "Whether a change kept its limit.", figure.passed, **labels
        )


def _label(name: str) -> str:
    """What may be a label's name: ``cpu count`` → ``cpu_count``. Those with two underscores are reserved."""
    label = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    return label if label and not label[0].isdigit() else f"fact_{label}"
