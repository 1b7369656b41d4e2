"""How does a load test say why it failed? In the words of its runs, and without secrets."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_certload import gate
from pytest_certload.errors import CertloadError, ScaleFailure, ThresholdsMissed
from pytest_certload.redaction import Redactor

from .paths import relative
from .runs import Runs
from .voice import Voice

__all__ = ["Words", "add_section"]

#: Frames in these folders are not the user's.
_NOT_THE_USERS = (
    str(Path(__file__).parents[1]),
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)


class Words:
    """What stands in the reports of load tests."""

    def __init__(self, runs: Runs, voice: Voice, redactor: Redactor) -> None:
        self._runs = runs
        self._voice = voice
        self._redactor = redactor
        #: By test: what its assertions say already.
        self._told: dict[str, set[str]] = {}

    def explain(self, item: pytest.Item, call: pytest.CallInfo[None], report: Any) -> None:
        """Say what failed in the words of the run, without frames of this package."""
        error = call.excinfo
        if error is None or not report.failed:
            return
        if isinstance(error.value, (CertloadError, ScaleFailure)):
            report.longrepr = _short(error)
        if self._runs.kept is None or call.when != "call":
            return
        from pytest_certload.report.terminal import failure_text

        missed = self._runs.kept.missed(item.nodeid)
        if missed is not None and not isinstance(error.value, ThresholdsMissed):
            add_section(report, "certload thresholds", str(missed))
        told = self._told.pop(item.nodeid, set())
        for run in self._runs.of_test(item.nodeid):
            text = failure_text(
                run.record(), files=relative(run.files), told=told, unicode=self._voice.unicode
            )
            (text,) = self._voice.showable([text])
            add_section(report, f"certload {run.name}", text)

    def redact(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Take secrets out of a load test's report: its failure, and what it printed and logged."""
        if not gate.touches_load(item):
            return
        report.longrepr = _redacted(report.longrepr, self._redactor.text)
        report.sections = _redacted(report.sections, self._redactor.text)
        report.user_properties = _redacted(report.user_properties, self._redactor.text)

    def explain_comparison(self, op: str, left: object, right: object) -> list[str] | None:
        """The lines of a failed ``assert`` on a figure; None when it is about something else."""
        from pytest_certload.verdict.measure import Measure

        measure = left if isinstance(left, Measure) else right
        if not isinstance(measure, Measure) or self._runs.kept is None:
            return None
        run = self._runs.kept.run_of(measure)
        if run is None or run.result is None:
            return None
        from pytest_certload.bookkeeping import threshold_of
        from pytest_certload.report.explain import explain, fitting, told_as

        threshold = threshold_of(run.result.judgements[-1])
        found = explain(run.record(), threshold, unicode=self._voice.unicode)
        lines = [told_as(threshold), *found.headline]
        lines = lines[: fitting(lines)]
        self._told.setdefault(run.nodeid, set()).update(lines)
        return self._voice.showable(lines)


def _short(error: pytest.ExceptionInfo[BaseException]) -> Any:
    """The error at the user's own line; frames of this package tell a user nothing."""
    users = [entry for entry in error.traceback if not str(entry.path).startswith(_NOT_THE_USERS)]
    if not users:
        return error.getrepr(style="value", chain=False)
    last = users[-1]._rawentry
    return error.getrepr(
        style="short",
        # The message says the cause; what it was wrapped from is for this package's developers.
        chain=False,
        tbfilter=lambda info: info.traceback.filter(lambda entry: entry._rawentry is last),
    )


def _redacted(part: Any, redact: Callable[[str], str]) -> Any:
    """What pytest prints a failure from, with every text in it redacted; its own objects in their place."""
    if isinstance(part, str):
        return redact(part)
    if isinstance(part, (list, tuple)):
        return type(part)(_redacted(inner, redact) for inner in part)
    if hasattr(part, "toterminal"):
        for name, inner in vars(part).items():
            setattr(part, name, _redacted(inner, redact))
    return part


def add_section(report: Any, title: str, text: str) -> None:
    """Append to the failure's text, where terminal and junit both show it whole."""
    if hasattr(report.longrepr, "addsection"):
        report.longrepr.addsection(title, text)
    else:
        before = f"{report.longrepr}\n" if report.longrepr else ""
        report.longrepr = f"{before}--- {title} ---\n{text}"
