"""What does a CI system learn from the junit file? A run's figures as properties of its test case."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pytest_certload.proof.findings import BacklogFinding, DatabaseFinding, EffectsFinding
from pytest_certload.stats.summary import LatencySummary, StepSummary

from .record import ComparisonRecord, GeneratorRecord, RunRecord

__all__ = ["junit_properties"]

_COUNTS = ("acknowledged", "lost", "unseen", "ambiguous", "strangers", "duplicated", "repeated")
_BOUNDED = (95, 99)
_FIGURES = ("p50", "p90", "p95", "p99", "max", "mean")
#: What no XML 1.0 document may hold (2.2, Char).
_NO_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


def junit_properties(record: RunRecord) -> list[tuple[str, str]]:
    """Name and value of every property: seconds, octets, rates per second, shares from 0 to 1.

    Figures without samples are left out, so a present value is always a measured one. Names are
    ``certload.<scenario>.…`` and ``certload.<scenario>.<step>.…``.
    """
    prefix = f"certload.{record.scenario}"
    properties = [
        (f"{prefix}.state", record.state),
        (f"{prefix}.full_contract", "false" if record.reduced else "true"),
        (f"{prefix}.validity", record.validity),
        (f"{prefix}.duration", _decimal(record.duration_seconds)),
        (f"{prefix}.offered", str(record.offered)),
        (f"{prefix}.dropped", str(record.dropped)),
        (f"{prefix}.unfinished", str(record.unfinished)),
        (f"{prefix}.offered_rate", _decimal(record.offered_rate)),
        (f"{prefix}.achieved_rate", _decimal(record.achieved_rate)),
        *_percentile_error(prefix, record.percentile_error),
        *_thresholds(prefix, record),
        *_comparison(f"{prefix}.baseline", record.comparison),
        *_generator(f"{prefix}.generator", record.generator),
        *_processes(prefix, record),
        *_database(f"{prefix}.database", record.proof.database),
        *_backlogs(prefix, record.proof.backlogs),
        *_step(prefix, record.iterations),
    ]
    if record.proof.state is not None:
        fingerprint, origin = record.proof.state.fingerprint, record.proof.state.origin
        properties.append((f"{prefix}.begin.fingerprint", fingerprint or ""))
        properties.append((f"{prefix}.begin.origin", origin))
    for step in record.steps:
        properties += _step(f"{prefix}.{step.name}", step)
    for found in record.proof.effects:
        properties += _effects(f"{prefix}.effects.{_word(found.name)}", found)
    properties += [(f"{prefix}.stack.{key}", value) for key, value in record.stack.items()]
    # Pytest sees to values; a step may be called by anything.
    return [(_NO_XML.sub(_spelled, name), value) for name, value in properties]


def _spelled(found: re.Match[str]) -> str:
    return f"#x{ord(found[0]):02X}"


def _percentile_error(prefix: str, error: float | None) -> Iterator[tuple[str, str]]:
    if error is not None:
        yield f"{prefix}.percentile_error", _decimal(error)


def _thresholds(prefix: str, record: RunRecord) -> Iterator[tuple[str, str]]:
    """Each condition by its number, and how many there are, were missed, are not decided."""
    thresholds = record.thresholds
    yield f"{prefix}.thresholds", str(len(thresholds))
    yield f"{prefix}.thresholds.missed", str(sum(not t.passed for t in thresholds))
    yield f"{prefix}.thresholds.undecided", str(sum(not t.decided for t in thresholds))
    for number, threshold in enumerate(thresholds, 1):
        name = f"{prefix}.threshold.{number}"
        where = f"{threshold.step}: " if threshold.step else ""
        sure = f"; {threshold.interval}" if threshold.interval else ""
        yield name, f"{where}{threshold.metric} {threshold.condition} ({threshold.actual}{sure})"
        yield f"{name}.passed", _truth(threshold.passed)
        yield f"{name}.decided", _truth(threshold.decided)
    if record.unsettled_seconds is not None:
        yield f"{prefix}.unsettled", _decimal(record.unsettled_seconds)


def _comparison(prefix: str, compared: ComparisonRecord | None) -> Iterator[tuple[str, str]]:
    if compared is None:
        return
    yield prefix, compared.baseline
    for figure in compared.figures:
        step = f"{figure.step}." if figure.step else ""
        name = f"{prefix}.{step}{_word(figure.metric)}"
        for what, value in (("change", figure.change), ("low", figure.low), ("high", figure.high)):
            if value is not None:
                yield f"{name}.{what}", _decimal(value)
        yield f"{name}.verdict", figure.verdict
        yield f"{name}.passed", _truth(figure.passed)


def _generator(prefix: str, own: GeneratorRecord | None) -> Iterator[tuple[str, str]]:
    if own is not None:
        yield from _latency(f"{prefix}.lag", own.lag)
        yield f"{prefix}.cpu_share", _decimal(own.cpu_share)
        yield f"{prefix}.loop_lag.p99", _decimal(own.loop_lag_p99 / 1e9)


def _processes(prefix: str, record: RunRecord) -> Iterator[tuple[str, str]]:
    for part in record.proof.processes:
        if part.cores is not None:
            yield f"{prefix}.{part.name}.cores", _decimal(part.cores)
        if part.memory_peak is not None:
            yield f"{prefix}.{part.name}.memory_peak", str(part.memory_peak)
        if part.death is not None:
            yield f"{prefix}.{part.name}.death", part.death
            yield f"{prefix}.{part.name}.died_at", _decimal(part.died_at or 0.0)
    if record.proof.limit is not None:
        yield f"{prefix}.limit", record.proof.limit


def _database(prefix: str, found: DatabaseFinding | None) -> Iterator[tuple[str, str]]:
    if found is not None:
        yield f"{prefix}.cost_share", _decimal(found.cost_share)
        if found.cache_hit_share is not None:
            yield f"{prefix}.cache_hit_share", _decimal(found.cache_hit_share)
        if found.active_mean is not None:
            yield f"{prefix}.active_mean", _decimal(found.active_mean)


def _backlogs(prefix: str, backlogs: Iterable[BacklogFinding]) -> Iterator[tuple[str, str]]:
    for found in backlogs:
        name = f"{prefix}.{found.name.replace(' ', '_')}"
        yield f"{name}.wanted", str(found.wanted)
        yield f"{name}.done", str(found.done)
        yield f"{name}.peak", str(found.peak)
        if found.caught_up is not None:
            yield f"{name}.caught_up", _decimal(found.caught_up)
        for share, seconds in found.done_after.items():
            if seconds is not None:
                yield f"{name}.done_after.{share}", _decimal(seconds)


def _step(prefix: str, step: StepSummary) -> Iterator[tuple[str, str]]:
    yield f"{prefix}.count", str(step.count)
    yield f"{prefix}.errors", str(step.errors)
    if step.error_rate is not None:
        yield f"{prefix}.error_rate", _decimal(step.error_rate)
    yield f"{prefix}.rate", _decimal(step.rate)
    yield from _latency(f"{prefix}.response_time", step.response_time)
    for interval in step.intervals:
        if interval.percent in _BOUNDED:
            name = f"{prefix}.response_time.p{interval.percent:g}"
            for end, value in (("low", interval.low), ("high", interval.high)):
                if value is not None:
                    yield f"{name}.{end}", _decimal(value / 1e9)
    yield from _latency(f"{prefix}.service_time", step.service_time)


def _latency(prefix: str, latency: LatencySummary) -> Iterator[tuple[str, str]]:
    for figure in _FIGURES:
        value = getattr(latency, figure)
        if value is not None:
            yield f"{prefix}.{figure}", _decimal(value / 1e9)


def _effects(prefix: str, found: EffectsFinding) -> Iterator[tuple[str, str]]:
    for name in _COUNTS:
        count = getattr(found, name)
        if count is not None:
            yield f"{prefix}.{name}", str(count)


def _word(name: str) -> str:
    """``renewal jobs`` → ``renewal-jobs``."""
    return re.sub(r"\W+", "-", name).strip("-")


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _decimal(value: float) -> str:
    """A plain decimal: no exponent, which some readers of junit do not take."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return text or "0"
