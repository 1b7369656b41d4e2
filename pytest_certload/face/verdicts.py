"""What comes of a load test? Its proof, its baseline, its runs' verdict and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_certload.errors import BaselineError, CertloadError, ReportError

from .runs import Runs
from .voice import Voice

if TYPE_CHECKING:
    from pytest_certload.bookkeeping import Run

__all__ = ["Verdicts"]


class Verdicts:
    """Judges load tests that are over.

    Attributes:
        add_suite_property: pytest's ``record_testsuite_property``, once a test has asked for load.
    """

    def __init__(self, config: pytest.Config, runs: Runs, voice: Voice) -> None:
        self._config = config
        self._runs = runs
        self._voice = voice
        self.add_suite_property: Callable[[str, object], None] | None = None
        self._was_called = False
        #: Of the test that runs, or was the last one: why parts of it failed, which the test outlives.
        self._failed_parts: list[str] = []

    def begin(self) -> None:
        """A test begins, perhaps once more."""
        self._was_called, self._failed_parts = False, []

    @contextmanager
    def calling(self) -> Iterator[None]:
        """While a test is called."""
        try:
            yield
        finally:
            self._was_called = True

    def take_end(self, call: pytest.CallInfo[None]) -> bool:
        """Whether nothing more is judged of a test: it was called itself, or it never will be.

        Other reports of calls, made in between, are of its parts, such as subtests. Each end is told once.
        """
        if call.when != "call":
            return call.when == "setup" and call.excinfo is not None
        ended, self._was_called = self._was_called, False
        return ended

    def note_part(self, report: pytest.TestReport) -> None:
        """A part of a test is over. If it failed, the test has, too, though it goes on and raises nothing."""
        if report.failed:
            self._failed_parts.append(f"a part of the test failed: {_said(report)}")

    def _failure(self, item: pytest.Item, call: pytest.CallInfo[None] | None) -> str | None:
        """Why a test has failed, in a line; None: it has not."""
        if call is not None and call.excinfo is not None:
            return _first_line(call.excinfo)
        # A test case of unittest raises nothing: it hands its errors over when its report is made.
        handed_over = getattr(item, "_excinfo", None)
        if handed_over:
            return _first_line(handed_over[0])
        return self._failed_parts[0] if self._failed_parts else None

    def require_proof(self, item: pytest.Item) -> None:
        """Fail a load test that raised nothing, and misses thresholds or proves nothing all the same.

        Raises:
            ThresholdsMissed: Thresholds that were written as text do not hold.
        """
        if self._runs.kept is None or not self._has_load(item) or self._failure(item, None):
            return
        self._runs.kept.close_thresholds(item.nodeid)
        reason = self._runs.kept.unproven(item.nodeid, had_load=True)
        missed = self._runs.kept.missed(item.nodeid, also=reason or "")
        if missed is not None:
            raise missed
        if reason:
            pytest.fail(reason, pytrace=False)

    def require_baseline(self, item: pytest.Item) -> None:
        """Fail a load test that got worse than its baseline allows; save the runs of one that did not."""
        if not self._has_load(item) or self._failure(item, None):
            return
        from pytest_certload.baselines.comparison import breaches

        runs = self._runs.of_test(item.nodeid)
        worse: list[str] = []
        for run in runs:
            try:
                run.comparison = self._runs.wishes.compare(run.lasting_record())
            except BaselineError as error:
                worse.append(str(error))
                continue
            if run.comparison is not None:
                than = f"scenario {run.name} is worse than baseline {run.comparison.baseline}"
                worse += [f"{than}: {breach}" for breach in breaches(run.comparison)]
        if not worse:
            worse += self._runs.wishes.save([run.lasting_record() for run in runs])
        if worse:
            pytest.fail("\n".join(worse), pytrace=False)

    def _has_load(self, item: pytest.Item) -> bool:
        """Whether a test has asked for load: by a parameter, or while it ran (``getfixturevalue``)."""
        return self._runs.kept is not None and self._runs.kept.has_begun(item.nodeid)

    def _compare_failed(self, run: Run) -> None:
        """Put a run beside its baseline whose test has failed already: since when is it so?"""
        try:
            run.comparison = self._runs.wishes.compare(run.lasting_record())
        except BaselineError as error:
            # It may be the very reason why the test has failed, and that is told.
            if str(error) not in (run.failure or ""):
                self._voice.announce(f"not compared: {error}")

    def close_runs(self, item: pytest.Item, call: pytest.CallInfo[None]) -> CertloadError | None:
        """Give the test's runs their verdict, write them, and attach their junit properties."""
        kept = self._runs.kept
        if kept is None or item.nodeid in kept.over:
            return None
        from pytest_certload.report.junit import junit_properties

        problem: CertloadError | None = None
        kept.over.add(item.nodeid)
        failure = self._failure(item, call)
        runs = self._runs.of_test(item.nodeid)
        missing = [run.name for run in runs if _misses(run)]
        for run in runs:
            if run.state == "running":
                run.state, run.failure = "passed" if failure is None else "failed", failure
                if run.failure is not None and missing and run.name not in missing:
                    # It is a figure of another run of this test that is spoken of.
                    run.failure = f"{', '.join(missing)}: {run.failure}"
            if failure is not None:
                if run.comparison is None:
                    self._compare_failed(run)
                self._runs.wishes.leave_out(run.lasting_record())
            try:
                kept.save(run)
            except ReportError as error:
                problem = error
                if run.state == "passed":
                    run.state, run.failure = "failed", str(error)
            self._add_properties(item, junit_properties(run.record()))
        return problem

    def _add_properties(self, item: pytest.Item, properties: list[tuple[str, str]]) -> None:
        """Give the junit file a run's figures where its schema lets them stand.

        In xunit2, pytest's default, only a suite may have properties; their names carry the scenario.
        """
        if not self._config.pluginmanager.has_plugin("junitxml"):
            return
        if self._config.getini("junit_family") != "xunit2":
            item.user_properties.extend(properties)
        elif self.add_suite_property is not None:
            for name, value in properties:
                self.add_suite_property(name, value)


def _misses(run: Run) -> bool:
    """Whether a condition that was put on the run does not hold."""
    return run.result is not None and any(not j.passed for j in run.result.judgements)


def _first_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    return (error.exconly(tryshort=True).splitlines() or [type(error.value).__name__])[0]


def _said(report: pytest.TestReport) -> str:
    """The first line of a failure."""
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = (report.longreprtext if crash is None else str(crash.message)).strip().splitlines()
    return lines[0] if lines else "see its report"
