"""What is known about a run once it is over? One frozen, versioned document.

Every report is written from it, so two reports of a run cannot disagree.  Its JSON form is
described by ``summary.schema.json`` beside this file and in docs/summary-schema.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pytest_certload.engine.watchdog import SelfReport
from pytest_certload.errors import ReportError
from pytest_certload.plain import read_record
from pytest_certload.proof.findings import ProofRecord
from pytest_certload.stats.curve import Curve
from pytest_certload.stats.slowest import SlowRequest
from pytest_certload.stats.summary import LatencySummary, StepSummary
from pytest_certload.stats.timeline import Timeline

__all__ = [
    "SCHEMA_VERSION",
    "ComparedFigure",
    "ComparisonRecord",
    "ErrorRecord",
    "GeneratorRecord",
    "RunRecord",
    "ThresholdRecord",
    "window_begin",
]

#: Raised whenever a field comes, goes away or changes its meaning.
SCHEMA_VERSION = 4


@dataclass(frozen=True, kw_only=True)
class ThresholdRecord:
    """A condition that the test put on a figure, and whether it held.

    Attributes:
        metric: Such as ``response time p95``, or what an integrity check compares.
        step: The step's name; None for whole iterations.
        condition: Such as ``< 500 ms``.
        actual: Such as ``412 ms``; ``no samples`` when there was nothing to judge.
        passed: Whether it held, as far as that was decided (``--certload-undecided``).
        missed_by: By how much it was missed, in words; None when it was not.
        interval: Where the true figure lies, 95 % sure, in words; None when that is not known.
        decided: Whether the samples are enough to tell.
        expression: As it was written, for one that was written as text, such as
            ``http_req_duration: p(95)<500``; None: a comparison in Python.
        limit: What it was compared with: nanoseconds, a share, a count or a rate; None: it is no figure.
    """

    metric: str
    step: str | None
    condition: str
    actual: str
    passed: bool
    missed_by: str | None = None
    interval: str | None = None
    decided: bool = True
    expression: str | None = None
    limit: float | None = None


@dataclass(frozen=True, kw_only=True)
class ErrorRecord:
    """One kind of error.

    Attributes:
        step: The step it came in; the scenario's name when it came outside of every step.
        outcome: Such as ``unexpected status`` or ``timeout``.
        message: The first one's message.
        count: How often the kind came, warm-up included.
        traceback: The first one's, for exceptions of the scenario's own code; else None.
    """

    step: str
    outcome: str
    message: str
    count: int
    traceback: str | None


@dataclass(frozen=True, kw_only=True)
class GeneratorRecord(SelfReport):
    """How the load generator fared: what it saw of itself, and its lag beside it.

    Attributes:
        lag: How late iterations began that found a free slot, nanoseconds.
    """

    lag: LatencySummary


@dataclass(frozen=True, kw_only=True)
class ComparedFigure:
    """A figure beside the baseline's.

    Attributes:
        metric: Such as ``response time p95`` or ``error rate``.
        step: The step's name; None for whole iterations.
        kind: ``duration`` (nanoseconds), ``share`` (0 to 1) or ``rate`` (per second).
        before, after: The baseline's, and this run's.
        change: ``after / before - 1``, None where before is 0; of a share ``after - before``.
        low, high: Where the true change lies, 95 % sure; None: not known.
        verdict: ``higher``, ``lower``, ``same`` (no difference that the samples show) or ``unknown``.
        limit: What the change was held to, such as ``p95:10%``; None: nothing.
        passed: Whether it held.
        decided: Whether the samples are enough to tell.
    """

    metric: str
    step: str | None
    kind: str
    before: float
    after: float
    change: float | None
    low: float | None
    high: float | None
    verdict: str
    limit: str | None
    passed: bool
    decided: bool = True

    @property
    def unit(self) -> str:
        """What a hundredth of the change is called: a share of a share would be read as another one."""
        return "points" if self.kind == "share" else "%"


@dataclass(frozen=True, kw_only=True)
class ComparisonRecord:
    """A run beside a baseline.

    Attributes:
        baseline: Its name.
        saved_at: When it was saved, ISO 8601 in UTC.
        version: Of pytest-certload that measured it.
        differences: What differs between the two beside the figures, in words: machine, stack, load.
        figures: One by one.
    """

    baseline: str
    saved_at: str
    version: str
    differences: tuple[str, ...]
    figures: tuple[ComparedFigure, ...]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One load: what was asked, what came of it, and on what it ran.

    Attributes:
        nodeid: The test's node id.
        scenario: The scenario's name, unique in the session.
        executor: Its kind, such as ``constant_arrival_rate``; ``combined``: several together.
        parameters: The executor's, as they were run: durations in seconds, rates per second.
        state: ``running``, ``passed``, ``failed`` or ``interrupted`` (then figures are partial).
        reduced: What the options changed, such as ``duration 20s instead of 5m``, what a check before the
            load found that the server cannot do, or that the load ended early; not empty means that the run
            is not the full contract.
        started_at: Begin of the measured window, ISO 8601 in UTC.
        duration_seconds: Length of the measured window.
        drain_seconds: From its end until the last iteration was over.
        offered: Iterations due in the window.
        started, finished: Of those, started; over before the grace period ended.
        dropped, unfinished: Due and never started; cancelled at the end of the grace period.
        requests, unanswered: Handed to the socket, warm-up included; of these, how many got no answer, those
            among them that the client has sent again by itself. None: not known.
        offered_rate, achieved_rate: Due, and started, per second of the window.
        backlog_peak, in_flight_peak: The most that waited for a slot; the most at once.
        percentile_error: The most by which percentiles may be off, as a share of them; None: they
            are exact.
        lateness: Start minus due.
        validity: ``valid``, ``suspect`` or ``invalid``: whether the run may be judged; ``unjudged``
            when it was cut short.
        validity_reasons: Why it is not valid.
        generator: How the load generator fared; None when nobody watched it.
        iterations: Figures of whole iterations.
        steps: Figures of each named step.
        thresholds: Every condition the test put on a figure, in order.
        timeline: How it went, part by part; None when samples were not kept.
        curves: The percentile curves of ``response time`` and ``service time`` of whole iterations.
        slowest: The longest response times; none when samples were not kept.
        unsettled_seconds: How much longer the warm-up should have been, as response times were still
            coming down in the measured window; None: they were not, or it is not known.
        comparison: The run beside a baseline; None: it was compared with none.
        proof: What was found beside the answers.
        errors: Kinds of error, the most frequent first.
        failure: Why the test failed, in one line; None when it did not.
        stack: What ran under test, without secrets.
        environment: Versions and machine of the load generator.
        steps_together: Figures of all named steps together; None: there are none.
        schema_version: Of this document.
    """

    nodeid: str
    scenario: str
    executor: str
    parameters: Mapping[str, str | int | float]
    state: str
    reduced: tuple[str, ...]
    started_at: str
    duration_seconds: float
    drain_seconds: float
    offered: int
    started: int
    finished: int
    dropped: int
    unfinished: int
    requests: int | None
    unanswered: int | None
    offered_rate: float
    achieved_rate: float
    backlog_peak: int
    in_flight_peak: int
    percentile_error: float | None
    lateness: LatencySummary
    validity: str
    validity_reasons: tuple[str, ...]
    generator: GeneratorRecord | None
    iterations: StepSummary
    steps: tuple[StepSummary, ...]
    thresholds: tuple[ThresholdRecord, ...]
    timeline: Timeline | None
    curves: Mapping[str, Curve]
    slowest: tuple[SlowRequest, ...]
    unsettled_seconds: float | None
    comparison: ComparisonRecord | None
    proof: ProofRecord
    errors: tuple[ErrorRecord, ...]
    failure: str | None
    stack: Mapping[str, str]
    environment: Mapping[str, str]
    steps_together: StepSummary | None = None
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """The document as plain data for JSON; ``from_dict`` is its exact inverse."""
        document = {"schema_version": self.schema_version, **asdict(self)}
        together = document["steps_together"]
        for step in (document["iterations"], *document["steps"], *([together] if together else ())):
            step["statuses"] = {str(status): n for status, n in step["statuses"].items()}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in document.items()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> RunRecord:
        """Read a document back.

        Raises:
            ReportError: It is of a newer schema, or not such a document.
        """
        if not isinstance(document, Mapping):
            raise ReportError("this is not a summary of pytest-certload: it is no object")
        version = document.get("schema_version")
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise ReportError(
                f"a summary of schema version {version!r} cannot be read here, only up to "
                f"{SCHEMA_VERSION}; use the pytest-certload that wrote it, or a newer one"
            )
        if version < 2:
            document = _from_version_1(document)
        if version < 3:
            document = {"proof": asdict(ProofRecord()), **document}
        if version < 4:
            document = {
                "requests": None,
                "unanswered": None,
                "timeline": None,
                "curves": {},
                "slowest": (),
                "unsettled_seconds": None,
                "comparison": None,
                "steps_together": None,
                **document,
            }
        try:
            return read_record(cls, {**document, "schema_version": SCHEMA_VERSION})
        except ValueError as error:
            raise ReportError(f"this is not a summary of pytest-certload: {error}") from error


def window_begin(record: RunRecord) -> float:
    """Where the measured window begins, seconds from the begin of the load: moments of a proof count from there."""
    known = (record.parameters.get(name) for name in ("warm_up_seconds", "start_seconds"))
    return sum(float(seconds) for seconds in known if isinstance(seconds, (int, float)))


def _from_version_1(document: Mapping[str, Any]) -> dict[str, Any]:
    """What version 1 did not have is filled in as not known."""
    added = {"phases": {}, "received_bytes": 0}
    steps = document.get("steps")
    return {
        "validity": "unjudged",
        "validity_reasons": [],
        "generator": None,
        "percentile_error": None,
        **document,
        "iterations": _with(added, document.get("iterations")),
        "steps": [_with(added, step) for step in steps] if isinstance(steps, list) else steps,
    }


def _with(added: Mapping[str, object], step: object) -> object:
    return {**added, **step} if isinstance(step, Mapping) else step
