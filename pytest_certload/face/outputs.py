"""What is told at the end of a session? The closing table, the report, and other formats."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_certload import gate
from pytest_certload.errors import ReportError
from pytest_certload.options import Settings
from pytest_certload.redaction import Redactor

from .paths import relative
from .runs import Runs
from .voice import Voice

if TYPE_CHECKING:
    from pytest_certload.report.otel import Push

__all__ = ["Outputs"]


class Outputs:
    """What a session leaves behind, and its last words."""

    def __init__(self, settings: Settings, redactor: Redactor, runs: Runs, voice: Voice) -> None:
        self._settings = settings
        self._redactor = redactor
        self._runs = runs
        self._voice = voice
        self._not_made: list[tuple[str, str]] = []
        self._push: Push | None = None
        self._report_lines: list[str] = []

    def note_failure(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Remember a load test that failed beside its runs, as when it made none."""
        if not report.failed or not gate.is_scale(item):
            return
        if report.when == "teardown" or not self._runs.of_test(item.nodeid):
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = str(report.longrepr) if crash is None else crash.message
            first = next(iter(reason.strip().splitlines()), "")
            self._not_made.append((self._redactor.text(item.nodeid), first))

    def push(self, *, last: bool = False) -> None:
        """Let a collector have the runs that are over; that it does not answer is a note."""
        if "otel" not in self._settings.format or self._runs.kept is None:
            return
        if self._push is None:
            from pytest_certload.report.otel import Push

            # What collectors are told may be the key to them.
            self._redactor.learn_list(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS"))
            self._redactor.learn_list(os.environ.get("OTEL_EXPORTER_OTLP_METRICS_HEADERS"))
            self._push = Push()
        runs = self._runs.kept.runs
        over = [run for run in runs if run.result is not None and run.state != "running"]
        problem = self._push.offer([run.record() for run in over], last=last)
        # What fails now is tried once more at the end.
        if problem is not None and last:
            self._voice.note(f"{problem}; the summaries have all of it")

    def write_session(self, session: pytest.Session, *, selected: int) -> None:
        """Write what is written of all runs together; what cannot be written fails the session."""
        formats = self._settings.format
        if not formats or not selected or session.config.option.collectonly:
            return
        from pytest_certload.report.outputs import append_job_summary, write_session_formats

        self.push(last=True)
        records = self._runs.records()
        try:
            files = write_session_formats(
                records, formats, self._settings.results, not_made=self._not_made
            )
        except ReportError as error:
            self._voice.note(str(error))
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            return
        page = os.environ.get("GITHUB_STEP_SUMMARY")
        for summary in files:
            if page and summary.name == "summary.md":
                problem = append_job_summary(summary, Path(page))
                if problem is not None:
                    self._voice.note(problem)

    def write_report(self) -> None:
        """Write the session's HTML report; one that cannot be written changes no result."""
        file = self._settings.report_file
        records = self._runs.records()
        if file is None or not (records or self._not_made):
            return
        from pytest_certload.report.html import write_report

        try:
            write_report(records, file, not_made=self._not_made)
        except ReportError as error:
            self._report_lines = [str(error)]
        else:
            (shown,) = relative([file])
            self._report_lines = [f"report to look at: {shown}"]

    def closing_lines(self, width: int, *, unicode: bool) -> list[str]:
        """The closing table."""
        if self._runs.kept is None:
            return []
        from pytest_certload.report.terminal import closing_table, files_line

        runs = [run for run in self._runs.kept.runs if run.result is not None]
        if not runs:
            return []
        lines = closing_table(
            [run.record() for run in runs],
            width=width,
            unicode=unicode,
            wrap=self._voice.on_terminal,
        )
        lines += [
            f"threshold {threshold.text!r} was about no load of this session: none had such a step or scenario"
            for threshold in self._settings.thresholds
            if threshold not in self._runs.kept.met
        ]
        for run in runs:
            if run.state == "interrupted":
                # Pytest makes no report of its test.
                self._runs.wishes.leave_out(run.lasting_record())
        lines += self._runs.wishes.closing_lines()
        where = files_line(relative([file for run in runs for file in run.files]))
        if where is not None:
            lines.append(where)
        return self._voice.showable([*lines, *self._report_lines])
