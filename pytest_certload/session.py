"""How does a test make load? ``Load``, the object behind the ``load`` fixture, and the bookkeeping.

Nothing in here knows pytest: node ids and settings come in as plain data.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_certload.engine.clock import SystemClock
from pytest_certload.engine.executors.constant_arrival_rate import ConstantArrivalRate
from pytest_certload.engine.executors.constant_vus import ConstantVUs
from pytest_certload.engine.runner import Progress, ScenarioRun, WorkerReport
from pytest_certload.engine.scenario import (
    IterationFunction,
    Scenario,
    check_iteration_function,
    observe_response,
)
from pytest_certload.errors import ConfigurationError, InvalidRun, ScenarioError
from pytest_certload.options import Settings
from pytest_certload.report.record import ErrorRecord, RunRecord, ThresholdRecord
from pytest_certload.report.summary_files import write_summary
from pytest_certload.samples import Outcome
from pytest_certload.stack import Endpoint, check_host
from pytest_certload.stats.live import LiveWindow
from pytest_certload.stats.summary import LatencySummary, summarize_latency
from pytest_certload.units import parse_duration
from pytest_certload.verdict.measure import Measure
from pytest_certload.verdict.result import RunResult

if TYPE_CHECKING:
    from pytest_certload.engine.executors import Executor

__all__ = ["Bookkeeper", "Load", "Run"]

#: Judging one of these is what makes errors part of the verdict.
_ERROR_METRICS = frozenset({"errors", "error rate", "ok"})


@dataclass(kw_only=True)
class Run:
    """The bookkeeping of one load: what was asked, what came of it, and where the files lie."""

    nodeid: str
    scenario: Scenario
    reduced: tuple[str, ...]
    stack: Mapping[str, str]
    result: RunResult | None = None
    state: str = "running"
    failure: str | None = None
    files: tuple[Path, ...] = ()

    def record(self) -> RunRecord:
        """The document that every report is written from."""
        result = self.result
        assert result is not None, "a run has a record once it has ended"
        report = result.report
        return RunRecord(
            nodeid=self.nodeid,
            scenario=self.scenario.name,
            executor=self.scenario.executor.kind,
            parameters=dict(self.scenario.executor.parameters),
            state=self.state,
            reduced=self.reduced,
            started_at=report.started_at.isoformat(timespec="milliseconds"),
            duration_seconds=report.duration.total_seconds,
            drain_seconds=report.drain.total_seconds,
            offered=report.offered,
            started=report.started,
            finished=report.finished,
            dropped=report.dropped,
            unfinished=report.unfinished,
            offered_rate=float(result.offered_rate),
            achieved_rate=float(result.achieved_rate),
            backlog_peak=report.backlog_peak,
            in_flight_peak=report.in_flight_peak,
            lateness=_lateness(report),
            iterations=result.summary,
            steps=tuple(step.summary for step in result.steps.values()),
            thresholds=tuple(
                ThresholdRecord(
                    metric=j.metric,
                    step=j.step,
                    condition=j.condition,
                    actual=j.actual,
                    passed=j.passed,
                )
                for j in dict.fromkeys(result.judgements)
            ),
            errors=tuple(
                ErrorRecord(
                    step=e.step,
                    outcome=e.outcome.label,
                    message=e.message,
                    count=e.count,
                    traceback=e.traceback,
                )
                for e in report.errors
            ),
            failure=self.failure,
            stack=dict(self.stack),
            environment=_environment(),
        )


def _lateness(report: WorkerReport) -> LatencySummary:
    rows = report.samples.iterations
    return summarize_latency(rows.lateness[rows.outcome != Outcome.DROPPED])


def _environment() -> dict[str, str]:
    return {
        "pytest_certload": version("pytest-certload"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": str(os.cpu_count() or 0),
    }


@dataclass(kw_only=True)
class Bookkeeper:
    """Every run of the session, and the names that are taken.

    Attributes:
        settings: The options.
        live: Shows where a run stands, once a second: scenario, progress, and p95 of the latest
            iterations in nanoseconds; None when nobody watches.
    """

    settings: Settings
    live: Callable[[str, Progress, int | None], None] | None = None
    runs: list[Run] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)

    def unique_name(self, wanted: str) -> str:
        """The name, with a number when it is taken: two runs never share a summary file."""
        name, number = wanted, 2
        while name in self._names:
            name, number = f"{wanted}-{number}", number + 1
        self._names.add(name)
        return name

    def of_test(self, nodeid: str) -> list[Run]:
        """The runs of one test."""
        return [run for run in self.runs if run.nodeid == nodeid]

    def run_of(self, measure: Measure) -> Run | None:
        """The run that a figure comes from."""
        for run in self.runs:
            if run.result is not None and measure.belongs_to(run.result.judgements):
                return run
        return None

    def save(self, run: Run) -> None:
        """Write the run's summary files.

        Raises:
            ReportError: They cannot be written.
        """
        run.files = write_summary(run.record(), self.settings.results)

    def unproven(self, nodeid: str, *, had_load: bool) -> str | None:
        """Why a test that raised nothing is not a pass after all; None when it is one."""
        runs = self.of_test(nodeid)
        if had_load and not runs:
            return (
                "the test asked for `load` and made none, so it proves nothing: "
                "is an `await` missing before load.…(…)?"
            )
        for run in runs:
            if run.result is None:
                return f"the load of scenario {run.scenario.name} never ended"
            errors = run.result.summary.errors
            judged = any(j.metric in _ERROR_METRICS for j in run.result.judgements)
            if errors and not judged:
                return (
                    f"{errors:,} of {run.result.summary.count:,} iterations of scenario "
                    f"{run.scenario.name} failed and the test does not judge it: "
                    "add `assert result.error_rate < …`"
                )
        return None


class Load:
    """Makes load. Await one of its methods in an async test.

    Attributes:
        runs: What this test has run so far.
    """

    def __init__(
        self,
        bookkeeper: Bookkeeper,
        *,
        nodeid: str,
        name: str,
        endpoint: Endpoint | None,
        stack: Mapping[str, str],
    ) -> None:
        self._bookkeeper = bookkeeper
        self._nodeid = nodeid
        self._name = name
        self._endpoint = endpoint
        self._stack = stack

    @property
    def runs(self) -> list[Run]:
        """What this test has run so far."""
        return self._bookkeeper.of_test(self._nodeid)

    def planned_iterations(self, *, rate: object, duration: object) -> int:
        """How many iterations a constant rate makes due, once the options have scaled it."""
        executor, _ = _scale(
            ConstantArrivalRate(rate=rate, duration=duration), self._bookkeeper.settings
        )
        assert isinstance(executor, ConstantArrivalRate)
        return executor.iterations

    async def constant_arrival_rate(
        self,
        iteration: IterationFunction,
        *,
        rate: object,
        duration: object,
        max_in_flight: int = 100,
        warm_up: object = 0,
        name: str | None = None,
        **options: Any,
    ) -> RunResult:
        """Offer iterations at a constant rate, whether or not earlier ones are answered.

        Args:
            iteration: ``async def f(iteration)``.
            rate: ``167``, ``"167/s"``, ``"100/min"``.
            duration: ``"5m"``, ``300`` (seconds), ``minutes(5)``.
            max_in_flight: Most iterations at once; later ones wait, and their response time
                counts from their due time.
            warm_up: Load before the measured window, left out of the results.
            name: Name in reports; default: the test's.
            **options: As for ``run``.

        Raises:
            ConfigurationError: An argument that cannot be used.
            InvalidRun: Not all of the load could be offered.
            ScenarioError: The scenario's own code raised.
        """
        __tracebackhide__ = True
        executor = ConstantArrivalRate(
            rate=rate, duration=duration, max_in_flight=max_in_flight, warm_up=warm_up
        )
        return await self._run(iteration, executor, name, options)

    async def constant_vus(
        self,
        iteration: IterationFunction,
        *,
        vus: int,
        duration: object,
        warm_up: object = 0,
        name: str | None = None,
        **options: Any,
    ) -> RunResult:
        """Keep a number of VUs busy, each running iterations one after the other.

        Args:
            iteration: ``async def f(iteration)``.
            vus: How many.
            duration: As for ``constant_arrival_rate``.
            warm_up: As for ``constant_arrival_rate``.
            name: Name in reports; default: the test's.
            **options: As for ``run``.

        Raises:
            ConfigurationError: An argument that cannot be used.
            ScenarioError: The scenario's own code raised.
        """
        __tracebackhide__ = True
        executor = ConstantVUs(vus=vus, duration=duration, warm_up=warm_up)
        return await self._run(iteration, executor, name, options)

    async def _run(
        self,
        iteration: IterationFunction,
        executor: Executor,
        name: str | None,
        options: dict[str, Any],
    ) -> RunResult:
        __tracebackhide__ = True
        check_iteration_function(iteration)
        scenario = Scenario(name=name or self._name, executor=executor, iteration=iteration)
        return await self.run(scenario, **options)

    async def run(
        self,
        scenario: Scenario,
        *,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: object = "30s",
        grace: object = "30s",
        seed: int = 0,
    ) -> RunResult:
        """Run a scenario and return its figures.

        Args:
            scenario: What to do and when.
            base_url: The server; default: the marker's, the stack's, or ``--certload-base-url``.
            headers: Sent with every request, beside the stack's token.
            timeout: Total time a request may take.
            grace: How long iterations may go on after the window has ended.
            seed: Seeds ``iteration.rng``.

        Raises:
            ConfigurationError: An argument or option that cannot be used, or no running asyncio loop.
            InvalidRun: Not all of the load could be offered.
            ScenarioError: The scenario's own code raised.
            ReportError: The summary cannot be written.
        """
        __tracebackhide__ = True
        _check_loop()
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", scenario.name):
            raise ConfigurationError(
                f"name: {scenario.name!r} is no scenario name; use letters, digits, - and _"
            )
        request_timeout = parse_duration(timeout, name="timeout")
        grace_period = parse_duration(grace, name="grace")
        endpoint = self._where(base_url)
        settings = self._bookkeeper.settings
        executor, reduced = _scale(scenario.executor, settings)
        scenario = replace(
            scenario, name=self._bookkeeper.unique_name(scenario.name), executor=executor
        )

        from pytest_certload.clients.http import classify, http_client

        all_headers = {**_authorisation(endpoint), **(headers or {})}
        client = http_client(
            base_url=endpoint.base_url,
            connections=executor.slots,
            timeout=request_timeout,
            ca_path=endpoint.ca_path,
            headers=all_headers,
            observer=_Responses,
        )
        window = LiveWindow()
        live = self._bookkeeper.live

        def show(progress: Progress) -> None:
            assert live is not None
            live(scenario.name, progress, window.p95())

        def note(_: int, response_time: int, outcome: Outcome) -> None:
            window.add(response_time, ok=outcome is Outcome.OK)

        run = Run(
            nodeid=self._nodeid,
            scenario=scenario,
            reduced=reduced,
            stack={**self._stack, "base_url": endpoint.base_url},
        )
        self._bookkeeper.runs.append(run)
        engine = ScenarioRun(
            scenario,
            client=client,
            clock=SystemClock(),
            classify=classify,
            grace=grace_period,
            seed=seed,
            on_progress=show if live else None,
            on_finish=note if live else None,
        )
        try:
            async with client:
                await engine.execute()
        except asyncio.CancelledError:
            run.state = "interrupted"
            run.failure = "interrupted before the load was over: the figures are partial"
            run.result = RunResult(engine.report())
            self._bookkeeper.save(run)
            raise
        run.result = RunResult(engine.report())
        self._bookkeeper.save(run)
        _judge_run(run.result)
        return run.result

    def _where(self, base_url: str | None) -> Endpoint:
        settings = self._bookkeeper.settings
        if base_url is not None:
            endpoint = Endpoint(base_url=base_url, ca_path=settings.ca, token=settings.token)
        elif self._endpoint is not None:
            return self._endpoint
        elif settings.base_url is not None:
            endpoint = Endpoint(
                base_url=settings.base_url, ca_path=settings.ca, token=settings.token
            )
        else:
            raise ConfigurationError(
                "load has no server to load: pass base_url=… to the call or to the scale marker, "
                "set --certload-base-url, or ask for the certload_stack fixture"
            )
        check_host(endpoint.base_url, settings.allow_host)
        return endpoint


class _Responses:
    """Told by the client of each request; its response is shown to the iteration that made it."""

    __slots__ = ()

    def connected(self, dns: int, connect: int, tls: int) -> None:
        """Of no interest."""

    def sent(self, at: int, reused: bool) -> None:
        """Of no interest."""

    def answered(self, response: Any, at: int) -> None:
        """See ``observe_response``."""
        observe_response(response)

    def received(self, size: int) -> None:
        """Of no interest."""


def _check_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "load needs a running asyncio event loop and there is none here; "
            "run the test with pytest-asyncio, not with another async framework"
        ) from None


def _authorisation(endpoint: Endpoint) -> dict[str, str]:
    return {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}


def _scale(executor: Executor, settings: Settings) -> tuple[Executor, tuple[str, ...]]:
    """The executor with the command line's values, and what that changed."""
    notes = []
    changes: dict[str, Any] = {}
    for name in ("duration", "rate", "vus"):
        wanted = getattr(settings, name)
        present = getattr(executor, name, None)
        if wanted is None or present is None or wanted == present:
            continue
        changes[name] = wanted
        notes.append(f"{name} {wanted} instead of {present}")
    if not changes:
        return executor, ()
    if isinstance(executor, ConstantArrivalRate):
        executor = ConstantArrivalRate(
            rate=changes.get("rate", executor.rate),
            duration=changes.get("duration", executor.duration),
            max_in_flight=executor.max_in_flight,
            warm_up=executor.warm_up,
        )
    elif isinstance(executor, ConstantVUs):
        executor = ConstantVUs(
            vus=changes.get("vus", executor.vus),
            duration=changes.get("duration", executor.duration),
            warm_up=executor.warm_up,
        )
    return executor, tuple(notes)


def _judge_run(result: RunResult) -> None:
    """Refuse a run that proves nothing, whatever the test would assert.

    Raises:
        ScenarioError: The scenario's own code raised.
        InvalidRun: Not all of the load was offered.
    """
    __tracebackhide__ = True
    report = result.report
    raised = [e for e in report.errors if e.outcome is Outcome.EXCEPTION]
    if raised:
        total = sum(e.count for e in raised)
        ended = ", so the load was ended" if report.broken else ""
        first = (raised[0].traceback or "").rstrip()
        raise ScenarioError(
            f"the scenario's own code raised {total:,} times{ended}; first: {raised[0].message}\n"
            f"{first}"
        )
    if report.dropped:
        raise InvalidRun(
            f"the offered load was not offered: {report.dropped:,} of {report.offered:,} iterations "
            f"never started, as {report.in_flight_peak:,} were in flight (max_in_flight) and the "
            "backlog was not worked off within the grace period; offer less, or allow more in flight"
        )
