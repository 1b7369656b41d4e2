"""What does a CI system learn from the junit file? A run's figures as properties of its test case."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_certload.stats.summary import LatencySummary, StepSummary

from .record import GeneratorRecord, RunRecord

__all__ = ["junit_properties"]

_FIGURES = ("p50", "p90", "p95", "p99", "max", "mean")


def junit_properties(record: RunRecord) -> list[tuple[str, str]]:
    """Name and value of every property; times in seconds, rates per second, shares from 0 to 1.

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
        *_generator(f"{prefix}.generator", record.generator),
        *_step(prefix, record.iterations),
    ]
    if record.proof.state is not None:
        fingerprint, origin = record.proof.state.fingerprint, record.proof.state.origin
        properties.append((f"{prefix}.begin.fingerprint", fingerprint or ""))
        properties.append((f"{prefix}.begin.origin", origin))
    for step in record.steps:
        properties += _step(f"{prefix}.{step.name}", step)
    properties += [(f"{prefix}.stack.{key}", value) for key, value in record.stack.items()]
    return properties


def _percentile_error(prefix: str, error: float | None) -> Iterator[tuple[str, str]]:
    if error is not None:
        yield f"{prefix}.percentile_error", _decimal(error)


def _generator(prefix: str, own: GeneratorRecord | None) -> Iterator[tuple[str, str]]:
    if own is not None:
        yield from _latency(f"{prefix}.lag", own.lag)
        yield f"{prefix}.cpu_share", _decimal(own.cpu_share)
        yield f"{prefix}.loop_lag.p99", _decimal(own.loop_lag_p99 / 1e9)


def _step(prefix: str, step: StepSummary) -> Iterator[tuple[str, str]]:
    yield f"{prefix}.count", str(step.count)
    yield f"{prefix}.errors", str(step.errors)
    if step.error_rate is not None:
        yield f"{prefix}.error_rate", _decimal(step.error_rate)
    yield f"{prefix}.rate", _decimal(step.rate)
    yield from _latency(f"{prefix}.response_time", step.response_time)
    yield from _latency(f"{prefix}.service_time", step.service_time)


def _latency(prefix: str, latency: LatencySummary) -> Iterator[tuple[str, str]]:
    for figure in _FIGURES:
        value = getattr(latency, figure)
        if value is not None:
            yield f"{prefix}.{figure}", _decimal(value / 1e9)


def _decimal(value: float) -> str:
    """A plain decimal: no exponent, which some readers of junit do not take."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return text or "0"
