"""What does a test get back from a load? Figures that can be asserted, for the whole and a step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pytest_certload.engine.runner import WorkerReport, merge
from pytest_certload.errors import ConfigurationError, IntegrityFailed
from pytest_certload.proof.effects import look_up, prove
from pytest_certload.proof.findings import EffectsFinding, Proof
from pytest_certload.proof.keys import PackedKeys
from pytest_certload.proof.ledger import Ledger
from pytest_certload.samples import ITERATION, Outcome, Samples
from pytest_certload.stats.curve import Curve, curve_of
from pytest_certload.stats.distribution import Distribution
from pytest_certload.stats.figures import StepFigures
from pytest_certload.stats.slowest import SlowRequest, slowest_of
from pytest_certload.stats.steady import settled_after
from pytest_certload.stats.summary import StepSummary, summarize
from pytest_certload.stats.timeline import Timeline, timeline_of
from pytest_certload.stats.uncertainty import share_interval, smallest_count
from pytest_certload.units import Duration, parse_duration

from .backlogs import BacklogResult
from .effects import Verdict, judge_rows, judge_sightings
from .held import judge, judge_absent, missed
from .measure import Bounds, Judgement, Judgements, Kind, Measure
from .policy import Policy
from .thresholds import Threshold, parse_thresholds

if TYPE_CHECKING:
    from pytest_certload.database import SessionDatabase
    from pytest_certload.proof.sightings import Sightings

__all__ = ["CombinedResult", "Latency", "RunResult", "StepResult"]


#: An upper bound on one of these holds errors down, and a lower bound on the success rate.
_ERROR_METRICS = frozenset({"errors", "error rate"})


class Latency:
    """Percentiles of one kind of time, over the iterations or steps of which it counts."""

    def __init__(
        self,
        times: Distribution,
        *,
        name: str,
        step: str | None,
        judgements: Judgements,
    ) -> None:
        self._times = times
        self._name = name
        self._step = step
        self._judgements = judgements

    def p(self, percent: float) -> Measure:
        """The percentile, such as ``p(99.9)``: nearest rank, a value that was really measured.

        With ``--certload-samples sketch`` it is near to one, and says how near.
        """
        __tracebackhide__ = True
        times, label = self._times, f"p{percent:g}"
        needed = smallest_count(percent)
        if 0 < times.count < needed:
            why = f"{label} needs {needed:,} samples, not {times.count:,}"
            return self._measure(times.max, label, too_few=why)
        return self._measure(
            times.percentile(percent),
            label,
            error=times.error,
            bounds=lambda: self._bounds(percent),
        )

    def _bounds(self, percent: float) -> Bounds | None:
        found = self._times.interval(percent)
        return None if found is None else (found.low, found.high)

    @property
    def p50(self) -> Measure:
        """The median."""
        return self.p(50)

    @property
    def p90(self) -> Measure:
        """The 90th percentile."""
        return self.p(90)

    @property
    def p95(self) -> Measure:
        """The 95th percentile."""
        return self.p(95)

    @property
    def p99(self) -> Measure:
        """The 99th percentile."""
        return self.p(99)

    @property
    def min(self) -> Measure:
        """The shortest."""
        return self._measure(self._times.min, "min")

    @property
    def max(self) -> Measure:
        """The longest."""
        return self._measure(self._times.max, "max")

    @property
    def mean(self) -> Measure:
        """The arithmetic mean."""
        return self._measure(self._times.mean, "mean")

    def _measure(
        self,
        value: float | None,
        label: str,
        *,
        error: float | None = None,
        bounds: Callable[[], Bounds | None] | None = None,
        too_few: str | None = None,
    ) -> Measure:
        return Measure(
            value,
            kind=Kind.DURATION,
            metric=f"{self._name} {label}",
            step=self._step,
            judgements=self._judgements,
            error=error,
            bounds=bounds,
            too_few=too_few,
        )

    def __repr__(self) -> str:
        return f"<{self._name}: p50 {self.p50}, p95 {self.p95}, p99 {self.p99}, max {self.max}>"


class StepResult:
    """The figures of one step, or of whole iterations.

    ``p50`` … ``max`` are of the response time, from the due time: what a user felt.
    ``service_time`` is from the send. Both count successes, and what was still unfinished at the end
    as its age then; everything else is an error and no latency.

    ``first_byte`` is from the send until the first byte of the answer. ``dns``, ``connect`` and
    ``tls`` are of the connections that had to be made.

    Attributes:
        name: The step's name.
    """

    def __init__(self, report: WorkerReport, *, step: str | None, judgements: Judgements) -> None:
        self._judgements = judgements
        self._step = step
        figures = report.figures.iterations if step is None else report.figures.step(step)
        self.name = report.figures.name if step is None else step
        self._figures = figures
        self._window_seconds = report.duration.total_seconds

        def latency(kind: str) -> Latency:
            return Latency(figures.times[kind], name=kind, step=step, judgements=judgements)

        self.response_time = latency("response time")
        self.service_time = latency("service time")
        self.first_byte = latency("first byte")
        self.dns = latency("dns")
        self.connect = latency("connect")
        self.tls = latency("tls")

    @cached_property
    def summary(self) -> StepSummary:
        """All figures as plain data."""
        return summarize(self._figures, name=self.name, window_seconds=self._window_seconds)

    def _measure(self, value: float | None, kind: Kind, metric: str) -> Measure:
        return Measure(
            value, kind=kind, metric=metric, step=self._step, judgements=self._judgements
        )

    def p(self, percent: float) -> Measure:
        """A percentile of the response time."""
        __tracebackhide__ = True
        return self.response_time.p(percent)

    @property
    def p50(self) -> Measure:
        """The median response time."""
        return self.response_time.p50

    @property
    def p90(self) -> Measure:
        """The 90th percentile of the response time."""
        return self.response_time.p90

    @property
    def p95(self) -> Measure:
        """The 95th percentile of the response time."""
        return self.response_time.p95

    @property
    def p99(self) -> Measure:
        """The 99th percentile of the response time."""
        return self.response_time.p99

    @property
    def min(self) -> Measure:
        """The shortest response time."""
        return self.response_time.min

    @property
    def max(self) -> Measure:
        """The longest response time."""
        return self.response_time.max

    @property
    def mean(self) -> Measure:
        """The mean response time."""
        return self.response_time.mean

    @property
    def count(self) -> Measure:
        """How many there were, errors included."""
        return self._counted(self._figures.counts.count, "count")

    @property
    def finished(self) -> Measure:
        """How many were started and over in time, successes and errors."""
        counts = self._figures.counts
        never_over = (Outcome.DROPPED, Outcome.UNFINISHED)
        finished = counts.count - sum(counts.of_outcome(outcome) for outcome in never_over)
        return self._counted(finished, "finished")

    @property
    def ok(self) -> Measure:
        """How many succeeded."""
        return self._counted(self._ok, "ok")

    @property
    def _ok(self) -> int:
        return self._figures.counts.of_outcome(Outcome.OK)

    @property
    def errors(self) -> Measure:
        """How many did not succeed, for whatever reason."""
        return self._counted(self._figures.counts.count - self._ok, "errors")

    @property
    def error_rate(self) -> Measure:
        """Share that did not succeed, 0 to 1; no samples when nothing was due."""
        return self._share(self._figures.counts.count - self._ok, "error rate")

    @property
    def success_rate(self) -> Measure:
        """Share that succeeded, 0 to 1; no samples when nothing was due."""
        return self._share(self._ok, "success rate")

    @property
    def server_error_rate(self) -> Measure:
        """Share answered with a status from 500 to 599, 0 to 1."""
        server = sum(n for status, n in self.statuses.items() if 500 <= status <= 599)
        return self._share(server, "server error rate")

    def _share(self, found: int, metric: str) -> Measure:
        count = self._figures.counts.count
        return Measure(
            found / count if count else None,
            kind=Kind.SHARE,
            metric=metric,
            step=self._step,
            judgements=self._judgements,
            bounds=lambda: share_interval(found, count),
        )

    @property
    def rate(self) -> Measure:
        """How many were over before the measured window ended, per second."""
        over, window = self._figures.counts.over, self._window_seconds
        return self._counted(over / window if window else 0.0, "rate", Kind.RATE)

    def _counted(self, number: float, metric: str, kind: Kind = Kind.COUNT) -> Measure:
        """What is counted of a step that never ran is nothing, and not 0: it may be misspelt."""
        known = self._step is None or self._figures.counts.count
        return self._measure(number if known else None, kind, metric)

    @property
    def statuses(self) -> Mapping[int, int]:
        """How often each HTTP status came; 0 stands for no answer."""
        return self._figures.counts.statuses

    def __repr__(self) -> str:
        return f"<{self.name}: {self.count} ({self.errors} errors), {self.response_time!r}>"


class RunResult(StepResult):
    """What one load came to. Its own figures are those of whole iterations.

    Attributes:
        report: The engine's raw account of the run.
        judgements: Every condition that was put on a figure, in order.
        proof: What has been found beside the answers.
        given: The name that the test gave it: a later run of that name has a number behind its own.
    """

    def __init__(
        self,
        report: WorkerReport,
        proof: Proof | None = None,
        policy: Policy | None = None,
        *,
        given: str | None = None,
    ) -> None:
        policy = policy or Policy()
        judgements = Judgements(policy.undecided)
        self.report = report
        self._policy = policy
        self.proof = Proof() if proof is None else proof
        self.judgements = judgements
        self._caught_up = False
        super().__init__(report, step=None, judgements=judgements)
        self.given = self.name if given is None else given
        self._steps = {
            name: StepResult(report, step=name, judgements=judgements)
            for name in report.figures.steps
        }

    @property
    def samples(self) -> Samples:
        """Every observation of the measured window.

        Raises:
            ConfigurationError: They were not kept (``--certload-samples sketch``).
        """
        return self.report.samples

    @cached_property
    def timeline(self) -> Timeline | None:
        """How the run went, in parts of equal length; None when samples were not kept."""
        report = self.report
        if report.kept is None:
            return None
        return timeline_of(report.samples, begin=report.window_begin, end=report.window_end)

    @cached_property
    def slowest(self) -> tuple[SlowRequest, ...]:
        """The longest response times, the longest first; none when samples were not kept."""
        report = self.report
        return () if report.kept is None else slowest_of(report.samples, begin=report.window_begin)

    @cached_property
    def curves(self) -> Mapping[str, Curve]:
        """The percentile curves of ``response time`` and ``service time``."""
        times = self.report.figures.iterations.times
        return {kind: curve_of(times[kind]) for kind in ("response time", "service time")}

    @cached_property
    def settled_after(self) -> Duration | None:
        """How much longer the warm-up should have been; None: the run was settled all along.

        Not known, and so None, when samples were not kept.
        """
        if self.report.kept is None:
            return None
        samples = self.report.samples
        felt = np.flatnonzero(samples.felt & (samples.step == ITERATION))
        felt = felt[np.argsort(samples.due[felt], kind="stable")]
        due, times = samples.due[felt], samples.end[felt]
        del felt  # as large as they are
        times -= due
        found = settled_after(times, due)
        return None if found is None else Duration(found)

    @cached_property
    def steps_together(self) -> StepSummary | None:
        """The figures of all named steps together; None: there are none."""
        report = self.report
        if len(self._steps) < 2:
            return next((step.summary for step in self._steps.values()), None)
        return summarize(
            StepFigures.join(list(report.figures.steps.values())),
            name="steps",
            window_seconds=report.duration.total_seconds,
        )

    @property
    def steps(self) -> Mapping[str, StepResult]:
        """The named steps, in the order in which they were first seen."""
        return self._steps

    def step(self, name: str) -> StepResult:
        """The figures of a step. One that never ran has no samples, so no condition on it holds."""
        if name not in self._steps:
            return StepResult(self.report, step=name, judgements=self.judgements)
        return self._steps[name]

    @property
    def started_at(self) -> datetime:
        """When the measured window began, UTC."""
        return self.report.started_at

    @property
    def duration(self) -> Duration:
        """Length of the measured window."""
        return self.report.duration

    @property
    def offered(self) -> Measure:
        """Iterations that were due."""
        return self._measure(self.report.offered, Kind.COUNT, "offered")

    @property
    def dropped(self) -> Measure:
        """Iterations that were due and never started."""
        return self._measure(self.report.dropped, Kind.COUNT, "dropped")

    @property
    def dropped_rate(self) -> Measure:
        """Iterations due and never started, per second of the measured window."""
        return self._per_second(self.report.dropped, "dropped rate")

    @property
    def unanswered_rate(self) -> Measure:
        """Share of the requests that got no answer, 0 to 1, warm-up included.

        Also of those that the client has sent again by itself, as their connection was lost: the iteration
        knows nothing of it, and its users' clients would have done the same.
        """
        requests, unanswered = self.report.requests, self.report.unanswered
        share = unanswered / requests if requests else None
        return self._measure(share, Kind.SHARE, "unanswered rate")

    @property
    def offered_rate(self) -> Measure:
        """Iterations due per second of the measured window."""
        return self._per_second(self.report.offered, "offered rate")

    @property
    def achieved_rate(self) -> Measure:
        """Iterations started per second of the measured window."""
        return self._per_second(self.report.started_in_window, "achieved rate")

    def _per_second(self, count: int, metric: str) -> Measure:
        window = self.report.duration.total_seconds
        return self._measure(count / window if window else None, Kind.RATE, metric)

    def unjudged_errors(self, elsewhere: Collection[str | None] = ()) -> int:
        """How many iterations failed in a way that no condition of the test holds down.

        A condition on the errors or the error rate of the run covers all of them, one on a step's
        covers those of that step.

        Args:
            elsewhere: Steps whose errors the result of all scenarios together holds down; None: all steps.
        """
        judged = self._steps_judged() | set(elsewhere)
        if None in judged:
            return 0
        return self.report.figures.failed_elsewhere(name for name in judged if name is not None)

    def _steps_judged(self) -> set[str | None]:
        return {
            judgement.step
            for judgement in self.judgements
            if (judgement.metric in _ERROR_METRICS and judgement.condition.startswith(("<", "==")))
            or (judgement.metric == "success rate" and judgement.condition.startswith((">", "==")))
        }

    def hold(self, *thresholds: object) -> None:
        """Hold thresholds that are written as text: all of them, and then fail if any does not hold.

        Args:
            *thresholds: ``"p(95)<500"``, a list, or k6's ``{"http_req_duration": ["p(95)<500"]}``.

        Raises:
            ThresholdsMissed: Some do not hold; the message lists them all.
            ConfigurationError: One that cannot be read.
        """
        __tracebackhide__ = True
        held = parse_thresholds(thresholds, name="hold")
        for threshold in held:
            if threshold.abort_on_fail:
                raise ConfigurationError(
                    f"hold: {threshold.text!r}: the load is over, so abort_on_fail cannot end it; put it "
                    "on the scale marker, or into thresholds=… of the load"
                )
        judgements = self.judge(held)
        if not all(judgement.passed for judgement in judgements):
            raise missed({self.name: judgements})

    def judge(self, thresholds: Sequence[Threshold]) -> list[Judgement]:
        """Put thresholds on the figures and keep what comes of it; what is not here holds none."""
        judgements = []
        for threshold in thresholds:
            bearers = self.bearers(threshold)
            for bearer in bearers:
                judgement = judge(bearer, threshold)
                bearer._judgements.append(judgement)
                judgements.append(judgement)
            if not bearers:
                judgement = judge_absent(self, threshold)
                self.judgements.append(judgement)
                judgements.append(judgement)
        return judgements

    def bearers(self, threshold: Threshold) -> Sequence[StepResult]:
        """Whose figures a threshold is about; none: it names a step or a scenario that is not here."""
        if threshold.scenario not in (None, self.given, self.name):
            return ()
        if threshold.step is None:
            return (self,)
        step = self.steps.get(threshold.step)
        # It may have run in the warm-up alone.
        return () if step is None or step.count.value is None else (step,)

    def figure(self, what: str, value: Duration | int) -> Measure:
        """A figure that the test measured itself; a condition on it is told like any other.

        ``assert result.figure("CPU time of signing", ms(0.2)) < ms(2)``

        Args:
            what: What it is.
            value: A duration, or a count.
        """
        kind = Kind.DURATION if isinstance(value, Duration) else Kind.COUNT
        return self._measure(value, kind, what)

    def integrity(
        self, what: str, *, actual: object, expected: object, fewer: int = 0, more: int = 0
    ) -> None:
        """Hold that the data is right afterwards; the report shows it with a tick or a cross.

        Args:
            what: What is compared, such as ``agents seen in the database``.
            actual: What the database says.
            expected: What it must say.
            fewer, more: By how much less or more it may be, of numbers: what failed iterations may have
                done, or not done, such as ``result.unacknowledged``.

        Raises:
            IntegrityFailed: They differ.
            ConfigurationError: ``fewer`` or ``more`` is below 0, or of what is no number.
        """
        __tracebackhide__ = True
        wanted, passed = _plain(expected), bool(actual == expected)
        if fewer or more:
            if not isinstance(actual, int) or not isinstance(expected, int) or min(fewer, more) < 0:
                raise ConfigurationError(
                    f"integrity({what!r}, fewer={fewer!r}, more={more!r}): they are numbers from 0 on, "
                    f"and go with numbers, not with {actual!r} and {expected!r}"
                )
            wanted = f"{expected - fewer:,} to {expected + more:,}"
            passed = expected - fewer <= actual <= expected + more
        judgement = Judgement(
            metric=what,
            step=None,
            condition=f"in {wanted}" if fewer or more else f"== {wanted}",
            actual=_plain(actual),
            passed=passed,
        )
        self.judgements.append(judgement)
        if not judgement.passed:
            raise IntegrityFailed(f"{what}: {judgement.actual}, expected {wanted}")

    async def effects(
        self,
        ledger: Ledger,
        database: SessionDatabase,
        sql: str,
        *args: object,
        keys_per_iteration: int = 1,
        limit: object = None,
    ) -> EffectsFinding:
        """Hold that what was acknowledged is in the database, once, and nothing else.

        What nobody acknowledged may be there as far as failed iterations explain it, whose answers got
        lost; none that the ledger was not even asked for, if it knows.

        Args:
            ledger: What was acknowledged: ``load.ledger("orders")``.
            database: Where it must be: ``certload_database``, ``certctl.database``.
            sql: Query for one key a row; neither more nor less than what this load should have left.
            *args: Its parameters.
            keys_per_iteration: The most keys that one failed iteration may have left behind.
            limit: As long as something is missing the query is asked again, at most so long; default:
                ``--certload-effects-limit``.

        Returns:
            What was found; the reports show it.

        Raises:
            IntegrityFailed: Something is lost, there twice, or there for no reason; the message
                names examples of all that is wrong.
            ConfigurationError: An argument that cannot be used.
            StackError: The database cannot be asked.
        """
        __tracebackhide__ = True
        if isinstance(keys_per_iteration, bool) or not isinstance(keys_per_iteration, int):
            raise ConfigurationError(f"keys_per_iteration: {keys_per_iteration!r} is no number")
        patience = (
            self._policy.effects_limit if limit is None else parse_duration(limit, name="limit")
        )
        found = await prove(
            ledger, database, sql, *args, limit=patience, began=self.report.window_begin
        )
        self._hold(
            found,
            judge_rows(found, failed=self.unacknowledged, keys_per_iteration=keys_per_iteration),
        )
        return found

    async def traces(
        self,
        ledger: Ledger,
        read: Callable[[], Awaitable[Iterable[object]]],
        *,
        where: str,
        limit: object = None,
    ) -> EffectsFinding:
        """Hold that what was acknowledged has left its trace outside of a database: in a server's log.

        As ``effects``: each key once, and nothing else but what failed iterations explain.

        Args:
            ledger: What was acknowledged.
            read: ``async def read()``: all keys that are there, neither more nor less than what this
                load should have left.
            where: Where they must be, for the message: ``nginx's log``.
            limit: As long as something is missing it is read again, at most so long; default:
                ``--certload-effects-limit``.

        Returns:
            What was found; the reports show it.

        Raises:
            IntegrityFailed: A trace is missing, there twice, or there for no reason.
            ConfigurationError: An argument that cannot be used.
        """
        __tracebackhide__ = True
        patience = (
            self._policy.effects_limit if limit is None else parse_duration(limit, name="limit")
        )

        async def keys() -> PackedKeys:
            found = PackedKeys()
            for key in await read():
                found.append(key)
            return found

        found = await look_up(ledger, keys, limit=patience, began=self.report.window_begin)
        self._hold(
            found, judge_rows(found, failed=self.unacknowledged, keys_per_iteration=1, where=where)
        )
        return found

    async def sightings(
        self,
        ledger: Ledger,
        sightings: Sightings,
        *,
        allow_unseen: float = 0,
        limit: object = None,
    ) -> EffectsFinding:
        """Hold that each acknowledged operation on state that is overwritten was seen in the database.

        Args:
            ledger: What was asked for, and acknowledged.
            sightings: Watched the load: ``load.watch(sightings)``.
            allow_unseen: Share of the operations, 0 to 1, that no reading need be able to tell as the
                key's next one came too soon.
            limit: As long as the last operation on some key was not seen, the state is read again;
                at most so long; default: ``--certload-effects-limit``.

        Returns:
            What was found; the reports show it.

        Raises:
            IntegrityFailed: An operation never showed, or of too many no reading could tell.
            ConfigurationError: An argument that cannot be used.
        """
        __tracebackhide__ = True
        if isinstance(allow_unseen, bool) or not 0 <= allow_unseen < 1:
            raise ConfigurationError(
                f"allow_unseen: {allow_unseen!r} is no share from 0 to below 1"
            )
        patience = (
            self._policy.effects_limit if limit is None else parse_duration(limit, name="limit")
        )
        found = await sightings.prove(ledger, limit=patience, began=self.report.window_begin)
        self._hold(found, judge_sightings(found, allow_unseen=allow_unseen))
        return found

    @property
    def unacknowledged(self) -> int:
        """The most iterations that may have done their work, or half of it, though nobody said so.

        Those that failed or were never over, and requests that were sent again without an answer, warm-up
        included: by so much may what is found in a database differ from what was acknowledged.
        """
        return self.report.failed + self.report.unaccounted

    def _hold(self, found: EffectsFinding, verdict: Verdict) -> None:
        __tracebackhide__ = True
        self.proof.effects.append(found)
        self.judgements.extend(verdict.judgements)
        if verdict.breaches:
            raise IntegrityFailed(str(verdict))

    def caught_up(self) -> None:
        """Hold that all the work was done that the server puts off: of every backlog that looked on.

        How late it was is in the report, and no condition.

        Raises:
            ConfigurationError: No backlog looked on.
            IntegrityFailed: Some of it was never done, or it is wrong.
        """
        __tracebackhide__ = True
        backlogs = self.proof.backlogs
        if not backlogs:
            raise ConfigurationError(
                "caught_up() has nothing to hold: let a backlog look on before the load, "
                "load.watch(Backlog(…))"
            )
        faults = []
        for backlog in backlogs:
            fault = backlog.fault
            self.judgements.append(
                Judgement(
                    metric=backlog.name,
                    step=None,
                    condition=f"all {backlog.wanted:,}, and in order",
                    actual=fault or f"{backlog.done:,}",
                    passed=fault is None,
                )
            )
            if fault is not None:
                faults.append(f"{backlog.name}: {fault}")
        self._caught_up = True
        if faults:
            raise IntegrityFailed("; ".join(faults))

    def backlog(self, name: str) -> BacklogResult:
        """How fast work was done that waited when the load began.

        Args:
            name: Of the backlog that looked on, such as ``renewal jobs``.

        Raises:
            ConfigurationError: None of that name looked on, or its work did not wait then.
        """
        for found in self.proof.backlogs:
            if found.name == name:
                return BacklogResult(found, self.judgements)
        names = ", ".join(repr(found.name) for found in self.proof.backlogs) or "none"
        raise ConfigurationError(f"backlog: {name!r} did not look on at this load; {names} did")

    def unjudged_backlogs(self) -> list[str]:
        """The backlogs that were never done, or wrong, and that the test does not judge."""
        if self._caught_up:
            return []
        return [backlog.name for backlog in self.proof.backlogs if backlog.fault is not None]


class CombinedResult(RunResult):
    """What several scenarios that ran together came to. Its own figures are those of all together.

    Attributes:
        scenarios: The figures of each one, by its name: ``result.scenarios["browse"]``, or shorter
            ``result["browse"]``.
    """

    def __init__(
        self,
        scenarios: Mapping[str, RunResult],
        proof: Proof | None = None,
        policy: Policy | None = None,
        *,
        name: str,
    ) -> None:
        self.scenarios = scenarios
        merged = merge({key: r.report for key, r in scenarios.items()}, name=name)
        super().__init__(merged, proof, policy)

    def __getitem__(self, name: str) -> RunResult:
        """The figures of one scenario.

        Raises:
            KeyError: None of that name was run; the message names those that were.
        """
        if name not in self.scenarios:
            raise KeyError(f"{name!r} is none of the scenarios {', '.join(self.scenarios)}")
        return self.scenarios[name]

    def judged_of(self, scenario: str) -> set[str | None]:
        """The steps of a scenario whose errors are held down here; None: all of them."""
        judged = self._steps_judged()
        if None in judged:
            return {None}
        begin = f"{scenario}."
        return {name.removeprefix(begin) for name in judged if name and name.startswith(begin)}

    def bearers(self, threshold: Threshold) -> Sequence[StepResult]:
        """See ``RunResult.bearers``: a step is every scenario's that has one of that name."""
        if threshold.scenario is None and (threshold.step is None or threshold.step in self.steps):
            return super().bearers(threshold)
        return [
            bearer for result in self.scenarios.values() for bearer in result.bearers(threshold)
        ]


def _plain(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
