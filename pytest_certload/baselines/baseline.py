"""What of a run is kept, so that later ones can be compared with it? Figures, and no samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from pytest_certload.errors import BaselineError
from pytest_certload.plain import read_record
from pytest_certload.report.record import RunRecord
from pytest_certload.stats.difference import Estimate
from pytest_certload.stats.summary import StepSummary

from .machine import Machine

__all__ = ["Baseline", "PercentileFigure", "StepBaseline", "from_record"]

_PERCENTS = (50, 90, 95, 99)
#: Facts of a stack that are new with each run, or say nothing of its pace.
_PASSING = frozenset({"reason", "base_url"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class PercentileFigure:
    """A percentile of the response time, nanoseconds.

    Attributes:
        value: The estimate.
        low, high: Where the true one lies, 95 % sure; None: it is not bounded there, or not known.
        effective: As how many independent samples they counted; None: not known.
    """

    value: int
    low: int | None
    high: int | None
    effective: int | None

    @property
    def estimate(self) -> Estimate:
        """For comparing. Logarithms want figures above zero, and nothing takes less than a nanosecond."""
        return Estimate(
            value=max(1, self.value),
            low=None if self.low is None else max(1, self.low),
            high=None if self.high is None else max(1, self.high),
        )


@dataclass(frozen=True, kw_only=True)
class StepBaseline:
    """The figures of a step, or of whole iterations.

    Attributes:
        name: The step's, or the scenario's.
        count, errors: Everything that was due; of it, what did not succeed.
        rate: Over per second.
        percentiles: Of the response time, by names such as ``p95``; those that so many samples support.
    """

    name: str
    count: int
    errors: int
    rate: float
    percentiles: Mapping[str, PercentileFigure]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One run, as far as later ones are compared with it.

    Attributes:
        scenario: The scenario's name.
        saved_at: When it was saved, ISO 8601 in UTC; of a run that was not saved, when it was made.
        version: Of pytest-certload that measured it.
        measured_at: Begin of the measured window, ISO 8601 in UTC.
        validity: ``valid``, or of a run that was not saved another of ``RunRecord.validity``.
        state: As in ``RunRecord``.
        executor, parameters, reduced: The load, as in ``RunRecord``.
        machine: On which it was measured; None: an old summary, which does not say.
        stack: What ran under test, without what is new in each run.
        data: Fingerprint of the data that it started from; None: not known.
        environment: Versions of the load generator.
        duration_seconds: Length of the measured window.
        offered, dropped, unfinished, offered_rate, achieved_rate: As in ``RunRecord``.
        memory: The most octets that ``server``, ``postgres`` and ``generator`` took, as far as known.
        iterations, steps: The figures.
        nodeid: Of the test that made it, without what pytest was called with; None: an older baseline,
            which does not say.
    """

    scenario: str
    saved_at: str
    version: str
    measured_at: str
    validity: str
    state: str
    executor: str
    parameters: Mapping[str, str | int | float]
    reduced: tuple[str, ...]
    machine: Machine | None
    stack: Mapping[str, str]
    data: str | None
    environment: Mapping[str, str]
    duration_seconds: float
    offered: int
    dropped: int
    unfinished: int
    offered_rate: float
    achieved_rate: float
    memory: Mapping[str, int]
    iterations: StepBaseline
    steps: tuple[StepBaseline, ...]
    nodeid: str | None = None

    def part(self, step: str | None) -> StepBaseline | None:
        """The figures of a step, or of whole iterations; None: there is no such step."""
        if step is None:
            return self.iterations
        return next((part for part in self.steps if part.name == step), None)

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON; ``from_dict`` is its exact inverse. Keys stand in the order above."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Baseline:
        """Read it back.

        Raises:
            BaselineError: It is not such a document.
        """
        try:
            return read_record(cls, document)
        except ValueError as error:
            raise BaselineError(f"it is no baseline: {error}") from error


def from_record(record: RunRecord, *, saved_at: str | None = None) -> Baseline:
    """What of a run is kept.

    Args:
        record: The run.
        saved_at: ISO 8601 in UTC; default: when it was made.
    """
    state = record.proof.state
    host = urlsplit(record.stack.get("base_url", "")).hostname or ""
    stack = {name: text for name, text in record.stack.items() if name not in _PASSING}
    if host and host not in _LOOPBACK:
        stack["host"] = host
    return Baseline(
        scenario=record.scenario,
        saved_at=saved_at or record.started_at,
        version=record.environment.get("pytest_certload", "unknown"),
        measured_at=record.started_at,
        validity=record.validity,
        state=record.state,
        executor=record.executor,
        parameters=dict(record.parameters),
        reduced=record.reduced,
        machine=Machine.from_facts(record.environment),
        stack=stack,
        data=None if state is None else state.fingerprint,
        environment={
            name: text
            for name, text in record.environment.items()
            if not name.startswith("machine_")
        },
        duration_seconds=record.duration_seconds,
        offered=record.offered,
        dropped=record.dropped,
        unfinished=record.unfinished,
        offered_rate=record.offered_rate,
        achieved_rate=record.achieved_rate,
        memory={
            part.name: part.memory_peak
            for part in record.proof.processes
            if part.memory_peak is not None
        },
        iterations=_kept(record.iterations),
        steps=tuple(_kept(step) for step in record.steps),
        nodeid=record.nodeid,
    )


def _kept(step: StepSummary) -> StepBaseline:
    intervals = {f"p{found.percent:g}": found for found in step.intervals}
    percentiles = {}
    for percent in _PERCENTS:
        name = f"p{percent}"
        value = getattr(step.response_time, name)
        if value is not None:
            found = intervals.get(name)
            percentiles[name] = PercentileFigure(
                value=value,
                low=None if found is None else found.low,
                high=None if found is None else found.high,
                effective=None if found is None else found.effective,
            )
    return StepBaseline(
        name=step.name,
        count=step.count,
        errors=step.errors,
        rate=step.rate,
        percentiles=percentiles,
    )
