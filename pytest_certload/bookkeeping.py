"""What was run in this session, and what came of it? The bookkeeping behind every report.

Nothing in here knows pytest: node ids and settings come in as plain data.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from pytest_certload.baselines.machine import this_machine
from pytest_certload.engine.runner import WorkerReport
from pytest_certload.errors import ThresholdsMissed
from pytest_certload.export import write_samples
from pytest_certload.options import Settings
from pytest_certload.proof.findings import Proof
from pytest_certload.proof.ledger import Ledger
from pytest_certload.redaction import Redactor
from pytest_certload.report.live import LiveState
from pytest_certload.report.outputs import write_run_formats
from pytest_certload.report.record import (
    ComparisonRecord,
    ErrorRecord,
    GeneratorRecord,
    RunRecord,
    ThresholdRecord,
)
from pytest_certload.report.summary_files import write_summary
from pytest_certload.samples import Outcome
from pytest_certload.stats.summary import summarize_latency
from pytest_certload.verdict.diagnosis import Validity, generator_lag
from pytest_certload.verdict.held import missed
from pytest_certload.verdict.measure import Judgement, Measure
from pytest_certload.verdict.result import CombinedResult, RunResult
from pytest_certload.verdict.thresholds import Threshold

__all__ = ["Bookkeeper", "Run", "threshold_of"]


@dataclass(kw_only=True)
class Run:
    """The bookkeeping of one load: what was asked, what came of it, and where the files lie.

    Attributes:
        nodeid: The test's node id.
        name: The scenario's, unique in the session.
        given: As the test called it.
        lasting: The name under which it is kept beyond the session: that of its first attempt.
        executor, parameters: As in ``RunRecord``.
        reduced: What the options changed, or the server cannot do.
        stack: What it runs on.
        result: Its figures, once it is over.
        validity: Whether it may be judged, likewise.
        state, failure: As in ``RunRecord``.
        files: Where its summary lies, and its samples if they are exported.
        exported: The latter of these.
        must_be_answered: Whether a run that saw no answer proves nothing.
        proof: What has been found beside the answers.
        superseded: Its test was begun once more.
        comparison: The run beside a baseline, if it was compared with one.
        redactor: Takes secrets out of the record.
    """

    nodeid: str
    name: str
    given: str
    lasting: str
    executor: str
    parameters: Mapping[str, str | int | float]
    reduced: tuple[str, ...]
    stack: Mapping[str, str]
    result: RunResult | None = None
    validity: Validity | None = None
    state: str = "running"
    failure: str | None = None
    files: tuple[Path, ...] = ()
    exported: tuple[Path, ...] = ()
    must_be_answered: bool = True
    superseded: bool = False
    proof: Proof = field(default_factory=Proof)
    comparison: ComparisonRecord | None = None
    redactor: Redactor = field(default_factory=Redactor)

    def record(self) -> RunRecord:
        """The document that every report is written from, without secrets."""
        return self.redactor.record(self._record())

    def lasting_record(self) -> RunRecord:
        """The same, as baselines have it: a test that is run again is compared with what it was saved as."""
        return replace(self.record(), scenario=self.lasting)

    def _record(self) -> RunRecord:
        result = self.result
        assert result is not None, "a run has a record once it has ended"
        report = result.report
        return RunRecord(
            nodeid=self.nodeid,
            scenario=self.name,
            executor=self.executor,
            parameters=dict(self.parameters),
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
            requests=report.requests,
            unanswered=report.unanswered,
            offered_rate=_per_second(report.offered, report),
            achieved_rate=_per_second(report.started_in_window, report),
            backlog_peak=report.backlog_peak,
            in_flight_peak=report.in_flight_peak,
            percentile_error=report.figures.percentile_error,
            lateness=summarize_latency(report.figures.iterations.times["lateness"]),
            validity=self.validity.state if self.validity else "unjudged",
            validity_reasons=self.validity.reasons if self.validity else (),
            generator=_generator(report),
            iterations=result.summary,
            steps=tuple(step.summary for step in result.steps.values()),
            thresholds=tuple(threshold_of(j) for j in dict.fromkeys(result.judgements)),
            timeline=result.timeline,
            curves=result.curves,
            slowest=result.slowest,
            unsettled_seconds=(
                None if result.settled_after is None else result.settled_after.total_seconds
            ),
            comparison=self.comparison,
            proof=self.proof.record(),
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
            steps_together=result.steps_together,
        )


def _unjudged(run: Run) -> str | None:
    """What was raised for a run that nothing can be judged by, which the test may have caught; None: nothing."""
    result = run.result
    if run.state == "interrupted":
        return f"the load of scenario {run.name} was interrupted before it was over"
    if run.state == "failed":
        return f"the load of scenario {run.name} failed: {run.failure}"
    if run.validity is not None and run.validity.state == "invalid":
        return f"the load of scenario {run.name} is invalid: {run.validity.reasons[0]}"
    if result is not None and any(e.outcome is Outcome.EXCEPTION for e in result.report.errors):
        return f"the code of scenario {run.name} raised an exception"
    if any(part.death for part in run.proof.processes):
        return f"a part of the stack died under the load of scenario {run.name}"
    return None


def threshold_of(judgement: Judgement) -> ThresholdRecord:
    """A condition, and whether it held, as reports have it."""
    return ThresholdRecord(**asdict(judgement))


def _per_second(count: int, report: WorkerReport) -> float:
    """A run that ended in its warm-up has a window of 0, and a rate of 0."""
    window = report.duration.total_seconds
    return count / window if window else 0.0


def _generator(report: WorkerReport) -> GeneratorRecord | None:
    own = report.generator
    if own is None:
        return None
    return GeneratorRecord(lag=summarize_latency(generator_lag(report)), **asdict(own))


def _environment() -> dict[str, str]:
    return {
        "pytest_certload": version("pytest-certload"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": str(os.cpu_count() or 0),
        **this_machine().facts(),
    }


@dataclass(kw_only=True)
class Bookkeeper:
    """Every run of the session, and the names that are taken.

    Attributes:
        settings: The options.
        live: Shows where a load stands, once a second, and is told None when it is over; None when
            nobody watches.
        announce: Says a line to whoever watches the session.
        ledgers: Those of each test, by its node id.
        over: The tests, by their node ids, whose runs have their verdict.
        redactor: Takes secrets out of all that is written.
        dead_stack: How the session's stack died, and in which test; None: it lives.
        awaited: The thresholds of each test's marker, by its node id, that no run of it had figures for.
        met: The thresholds of the options that some run had figures for.
    """

    settings: Settings
    announce: Callable[[str], None] = lambda text: None
    redactor: Redactor = field(default_factory=Redactor)
    live: Callable[[LiveState | None], None] | None = None
    dead_stack: str | None = None
    runs: list[Run] = field(default_factory=list)
    ledgers: dict[str, list[Ledger]] = field(default_factory=dict)
    awaited: dict[str, list[Threshold]] = field(default_factory=dict)
    met: set[Threshold] = field(default_factory=set)
    over: set[str] = field(default_factory=set)
    _names: set[str] = field(default_factory=set)
    _lasting: dict[tuple[str, str, int], str] = field(default_factory=dict)
    _begun: set[str] = field(default_factory=set)

    def unique_name(self, wanted: str) -> str:
        """The name, with a number when it is taken: two runs never share a summary file."""
        name = _free(self.redactor.name(wanted), self._names)
        self._names.add(name)
        return name

    def lasting_name(self, nodeid: str, given: str) -> str:
        """The name of a test's next run that an earlier attempt of the test had, too."""
        which = (nodeid, given, sum(run.given == given for run in self.of_test(nodeid)))
        if which not in self._lasting:
            self._lasting[which] = _free(self.redactor.name(given), self._lasting.values())
        return self._lasting[which]

    def records(self) -> list[RunRecord]:
        """Of every run that has figures."""
        return [run.record() for run in self.runs if run.result is not None]

    def of_test(self, nodeid: str) -> list[Run]:
        """The runs of one test, of its latest attempt."""
        return [run for run in self.runs if run.nodeid == nodeid and not run.superseded]

    def begin_test(self, nodeid: str, thresholds: Sequence[Threshold]) -> None:
        """A test begins, perhaps once more: what an earlier attempt came to is reported, and judges this one not.

        Args:
            nodeid: Its node id.
            thresholds: Those of its marker.
        """
        for run in self.of_test(nodeid):
            run.superseded = True
        self.ledgers.pop(nodeid, None)
        self.over.discard(nodeid)
        self.awaited[nodeid] = list(thresholds)
        self._begun.add(nodeid)

    def has_begun(self, nodeid: str) -> bool:
        """Whether a test has asked for load."""
        return nodeid in self._begun

    def run_of(self, measure: Measure) -> Run | None:
        """The run that a figure comes from."""
        for run in self.runs:
            if run.result is not None and measure.belongs_to(run.result.judgements):
                return run
        return None

    def save(self, run: Run) -> None:
        """Write the run's summary files; the first time also its samples, which do not change.

        Raises:
            ReportError: They cannot be written.
        """
        record, results = run.record(), self.settings.results
        run.files = (
            *write_summary(record, results),
            *write_run_formats(record, self.settings.format, results),
            *run.exported,
        )
        if not run.exported:
            run.exported = self._export(run)
            run.files += run.exported

    def _export(self, run: Run) -> tuple[Path, ...]:
        form, result = self.settings.export, run.result
        # Several scenarios together have no samples beside those of each.
        if form is None or result is None or isinstance(result, CombinedResult):
            return ()
        return (
            write_samples(
                result.report,
                nodeid=run.nodeid,
                directory=self.settings.results,
                form=form,
                redact=self.redactor.text,
            ),
        )

    def thresholds_of(
        self, test: Sequence[Threshold], call: Sequence[Threshold]
    ) -> list[Threshold]:
        """Those of a call, of its test's marker, and of the options, each once."""
        return list(dict.fromkeys([*call, *test, *self.settings.thresholds]))

    def hold(
        self,
        nodeid: str,
        result: RunResult,
        *,
        test: Sequence[Threshold],
        call: Sequence[Threshold],
        decided: Mapping[Threshold, Judgement],
    ) -> list[Judgement]:
        """Put all thresholds on the figures of a run.

        One of the marker or the options that names a step or scenario which this run does not have is
        left to the other runs of the test, or of the session.

        Args:
            nodeid: The test's node id.
            result: The run's figures.
            test: The thresholds of the test's marker.
            call: Those of the call.
            decided: What ended the load already.
        """
        judgements: list[Judgement] = []
        for threshold in self.thresholds_of(test, call):
            if threshold in decided:
                result.judgements.append(decided[threshold])
                judgements.append(decided[threshold])
            elif threshold in call or result.bearers(threshold):
                judgements += result.judge([threshold])
            else:
                continue
            self.met.add(threshold)
            if threshold in self.awaited.get(nodeid, ()):
                self.awaited[nodeid].remove(threshold)
        return judgements

    def close_thresholds(self, nodeid: str) -> None:
        """Let the thresholds of a test's marker fail that no run of it had figures for."""
        results = [run.result for run in self.of_test(nodeid) if run.result is not None]
        if results:
            results[-1].judge(self.awaited.pop(nodeid, ()))

    def missed(self, nodeid: str, *, also: str = "") -> ThresholdsMissed | None:
        """The failure that lists every threshold of a test that does not hold; None when all do.

        Args:
            nodeid: The test's node id.
            also: What else is wrong.
        """
        held = {
            run.name: [j for j in run.result.judgements if j.expression is not None]
            for run in self.of_test(nodeid)
            if run.result is not None
        }
        if all(judgement.passed for judgements in held.values() for judgement in judgements):
            return None
        return missed(held, after=also)

    def unproven(self, nodeid: str, *, had_load: bool) -> str | None:
        """Why a test that raised nothing is not a pass after all; None when it is one."""
        runs = self.of_test(nodeid)
        if had_load and not runs:
            return (
                "the test asked for `load` and made none, so it proves nothing: "
                "is an `await` missing before load.…(…)?"
            )
        results = [run.result for run in runs if run.result is not None]
        for judgement in (judgement for result in results for judgement in result.judgements):
            # Thresholds that were written as text fail the test by themselves.
            if not judgement.passed and judgement.expression is None:
                return (
                    f"{judgement}, and the test went on: is an `assert` missing? Compare "
                    "float(…) with what is no condition"
                )
        judged_together = {
            id(part): result.judged_of(scenario)
            for result in results
            if isinstance(result, CombinedResult)
            for scenario, part in result.scenarios.items()
        }
        for run in runs:
            result = run.result
            if result is None:
                return f"the load of scenario {run.name} never ended"
            unjudged = _unjudged(run)
            if unjudged:
                return f"{unjudged}, and the test went on: it proves nothing"
            late = result.unjudged_backlogs()
            if late:
                return (
                    f"{', '.join(late)} of scenario {run.name} are missing or wrong and the test "
                    "does not judge it: add `result.caught_up()`"
                )
            if isinstance(result, CombinedResult):
                continue
            if run.must_be_answered and result.summary.ok and set(result.statuses) == {0}:
                return (
                    f"no iteration of scenario {run.name} saw an answer on iteration.client, so "
                    "nothing was asked: is an `await` missing there? If it speaks by a client of its "
                    "own, say so: load.…(…, must_be_answered=False)"
                )
            errors = result.unjudged_errors(judged_together.get(id(result), ()))
            if errors:
                return (
                    f"{errors:,} of {result.summary.count:,} iterations of scenario "
                    f"{run.name} failed and the test does not judge it: "
                    "add `assert result.error_rate < …`"
                )
        for ledger in self.ledgers.pop(nodeid, ()):
            noted = len(ledger.acknowledgements)
            if ledger.compared is None:
                return (
                    f"ledger {ledger.name} was compared with nothing, so it proves nothing: add "
                    "`await result.effects(ledger, database, sql)`, `result.sightings(…)` or `result.traces(…)`"
                )
            if ledger.compared < noted:
                return (
                    f"ledger {ledger.name} was compared when it had {ledger.compared:,} of {noted:,} "
                    "acknowledgements: compare it once the last load that notes into it is over"
                )
        return None


def _free(wanted: str, taken: Collection[str]) -> str:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    return name
