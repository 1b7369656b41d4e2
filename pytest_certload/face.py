"""What does a user of pytest see of a load test? Refusals, the live line, failures, the closing table.

One ``Face`` a pytest session. What is heavy to import is imported once a load test is there.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_certload import gate
from pytest_certload.errors import (
    BaselineError,
    CertloadError,
    ReportError,
    ScaleFailure,
    ThresholdsMissed,
)
from pytest_certload.options import Settings

if TYPE_CHECKING:
    from pytest_certload.baselines.wishes import Wishes
    from pytest_certload.bookkeeping import Bookkeeper, Run
    from pytest_certload.report.live import LiveState
    from pytest_certload.report.otel import Push
    from pytest_certload.report.screen import Screen
    from pytest_certload.stack import Stack

__all__ = ["FACE", "Face"]

#: Frames in these folders are not the user's.
_NOT_THE_USERS = (
    str(Path(__file__).parent),
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)


#: A log has a line of a load so often; a tick may come a little early.
_LOG_SECONDS = 9.5
_AS_FOUND = "external: as it was found"
_AS_LEFT = "as earlier tests left it"


class Face:
    """The plugin's state in one pytest session.

    Attributes:
        settings: The options.
        redactor: Takes secrets out of all that is shown or written.
        left_out: How many load tests ``-m`` did not select.
        selected: How many load tests are going to run.
        state_origin: Where the state of the stack's data comes from, in words.
        notes: What went wrong beside the tests, a line each.
        add_suite_property: pytest's ``record_testsuite_property``, once a test has asked for load.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self.settings = settings
        self.redactor = settings.redactor()
        self.left_out = 0
        self.selected = 0
        self.add_suite_property: Callable[[str, object], None] | None = None
        self.state_origin = ""
        self.notes: list[str] = []
        self._not_made: list[tuple[str, str]] = []
        self._push: Push | None = None
        self._stack: Stack | None = None
        self._item: pytest.Item | None = None
        self._bookkeeper: Bookkeeper | None = None
        self._screen: Screen | None = None
        self._logged = 0.0
        #: By test: what its assertions say already.
        self._told: dict[str, set[str]] = {}
        self._report_lines: list[str] = []
        self._wishes: Wishes | None = None

    @property
    def unicode(self) -> bool:
        """Whether pytest's terminal, and so a failure's text, can show more than ASCII."""
        encoding = getattr(self._reporter and self._reporter._tw._file, "encoding", None) or "ascii"
        return "utf" in encoding.lower().replace("-", "")

    def _showable(self, lines: list[str]) -> list[str]:
        """In ASCII where a terminal has no more; pytest would escape all of it, line ends too."""
        from pytest_certload.report.tone import in_ascii

        return lines if self.unicode else [in_ascii(line) for line in lines]

    @property
    def bookkeeper(self) -> Bookkeeper:
        """The session's runs; made when the first load test asks."""
        if self._bookkeeper is None:
            from pytest_certload.bookkeeping import Bookkeeper

            live = None
            if not self._quiet and self._reporter is not None:
                live = self.live
                if self._rewritable:
                    # Now, as a load must not wait for an import.
                    from pytest_certload.report.screen import Screen

                    self._screen = Screen(self._reporter._tw)
            self._bookkeeper = Bookkeeper(
                settings=self.settings,
                announce=self.announce,
                live=live,
                redactor=self.redactor,
            )
        return self._bookkeeper

    @property
    def wishes(self) -> Wishes:
        """What the session is asked to do with baselines; made when the first load test asks."""
        if self._wishes is None:
            from pytest_certload.baselines.store import Store
            from pytest_certload.baselines.wishes import Wishes

            name, limits = self.settings.compare or (None, ())
            self._wishes = Wishes(
                store=Store(folder=self.settings.baselines),
                baseline=name,
                limits=limits,
                anyway=self.settings.compare_anyway,
                undecided=self.settings.undecided,
                save_as=self.settings.save,
            )
        return self._wishes

    # Selection.

    def refuse_workers(self) -> None:
        """Two loads at once measure each other, so load tests run in one process.

        Raises:
            pytest.UsageError: Load tests are asked for together with pytest-xdist's workers.
        """
        option = self._config.option
        if self._workers() and gate.names_scale(option.markexpr or ""):
            raise pytest.UsageError(
                f"-n {getattr(option, 'numprocesses', None)}: load tests share the machine with "
                "nobody, or they measure each other; run them with -n 0"
            )

    def _workers(self) -> bool:
        option = self._config.option
        return bool(getattr(option, "numprocesses", None) or getattr(option, "tx", None))

    def refuse_worker(self, item: pytest.Item) -> None:
        """The same in a worker, for ``-m`` expressions that do not name ``scale``."""
        if hasattr(self._config, "workerinput") and gate.is_scale(item):
            pytest.fail(
                "load tests share the machine with nobody, or they measure each other; "
                "run them with -n 0",
                pytrace=False,
            )

    def refuse_dead_stack(self, item: pytest.Item) -> None:
        """Nothing can be proven on a stack of which a part has died, until it is put back."""
        how = None if self._bookkeeper is None else self._bookkeeper.dead_stack
        if how is None or self._puts_back(item):
            return
        if "certload_stack" in getattr(item, "fixturenames", ()):
            pytest.fail(
                f"the stack of this session is dead since an earlier test: {how}; run this one again",
                pytrace=False,
            )

    def choose(self, items: list[pytest.Item]) -> None:
        """Leave out the load tests that ``-m`` does not select, and check those that it does.

        Raises:
            pytest.UsageError: A load test that could not prove anything, or results that could
                not be written.
        """
        keep, left_out = gate.split(items, self._config.option.markexpr or "")
        self.left_out = len(left_out)
        if left_out:
            self._config.hook.pytest_deselected(items=left_out)
            items[:] = keep
        chosen = [item for item in items if gate.is_scale(item)]
        self.selected = len(chosen)
        if chosen and not self._config.pluginmanager.has_plugin("asyncio"):
            raise pytest.UsageError(
                "load tests are run by pytest-asyncio, which is switched off (-p no:asyncio)"
            )
        for item in chosen:
            gate.check_item(item)
        if chosen and not self._config.option.collectonly:
            from pytest_certload.report.summary_files import check_writable

            try:
                check_writable(self.settings.results)
                self.wishes.check()
            except (BaselineError, ReportError) as error:
                raise pytest.UsageError(str(error)) from None

    def header_lines(self) -> list[str]:
        """What is said at the top of a session that asks for load tests by name."""
        if not gate.names_scale(self._config.option.markexpr or ""):
            return []
        (results,) = _relative([self.settings.results])
        return [f"certload: stack {self.settings.stack}, results in {results}"]

    def collection_lines(self) -> list[str]:
        """What is said after the collection."""
        lines = []
        if self.left_out:
            lines.append(
                f"certload: {_load_tests(self.left_out)} left out; run with: pytest -m scale"
            )
        markexpr, keyword = self._config.option.markexpr or "", self._config.option.keyword
        if not self.selected and gate.names_scale(markexpr):
            also = f" and -k {keyword!r}" if keyword else ""
            remedy = "another -k" if keyword else "mark one with @pytest.mark.scale"
            lines.append(
                f"certload: -m {markexpr!r}{also} select{'' if also else 's'} no load test here; "
                f"{remedy}, or name the folder that has them"
            )
        return lines

    # While a test runs.

    @contextmanager
    def _terminal(self) -> Iterator[Any]:
        reporter = self._reporter
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        if reporter is None:
            yield None
        elif capture is None:
            yield reporter
        else:
            with capture.global_and_fixture_disabled():
                yield reporter

    @property
    def _reporter(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    @property
    def _rewritable(self) -> bool:
        """Whether lines can be rewritten: on a terminal that nobody writes to without pytest's writer."""
        captured = getattr(self._config.option, "capture", "no") in ("fd", "sys")
        return captured and self._reporter.isatty and os.environ.get("TERM") not in (None, "dumb")

    @property
    def _quiet(self) -> bool:
        # The option is the terminal plugin's, and that can be switched off.
        return getattr(self._config.option, "verbose", 0) < 0

    def announce(self, text: str) -> None:
        """One line for the reader, such as what the stack is; none with ``-q``."""
        if self._quiet:
            return
        with self._terminal() as reporter:
            if reporter is not None:
                reporter.ensure_newline()
                reporter.write_line(f"certload: {self.redactor.text(text)}")

    @contextmanager
    def keeping(self, stack: Stack) -> Iterator[None]:
        """Hand the stack to load tests, each time in its seeded state, while the body runs."""
        self._stack = stack
        self.redactor.learn(stack.endpoint.token, *stack.secrets)
        self.redactor.learn_dsn(stack.dsn)
        from pytest_certload.stack.model import AS_SEEDED

        self.state_origin = AS_SEEDED if stack.restore else _AS_FOUND
        try:
            yield
        finally:
            self._stack = None

    def restore_state(self, item: pytest.Item) -> None:
        """Put the stack back to its seeded state before a test that makes load on it.

        Raises:
            StackError: It cannot be put back.
        """
        self._item = item
        if self._puts_back(item):
            self._restore(item)
            if self._bookkeeper is not None:
                self._bookkeeper.dead_stack = None
        elif self._may_put_back(item):
            self.state_origin = _AS_LEFT

    def give_environment(self) -> None:
        """Let the server of a stack that has just come up run with what its first test asks for.

        Raises:
            StackError: It does not start so.
        """
        item = self._item
        if item is not None and self._puts_back(item) and gate.read_mark(item).server_env:
            self._restore(item)

    def _restore(self, item: pytest.Item) -> None:
        assert self._stack is not None
        assert self._stack.restore is not None
        environment = gate.read_mark(item).server_env
        self.redactor.learn_environment(environment.items())
        self.state_origin = self._stack.restore(environment)

    def _may_put_back(self, item: pytest.Item) -> bool:
        stack = self._stack
        return stack is not None and stack.restore is not None and gate.uses_stack(item)

    def _puts_back(self, item: pytest.Item) -> bool:
        return self._may_put_back(item) and gate.read_mark(item).state != "keep"

    def announce_stack(self, stack: Stack) -> None:
        """What is up, and how fast its Postgres may be."""
        from pytest_certload.report.terminal import stack_line

        self.announce(f"ready {stack_line(stack.describe())}")
        if stack.postgres_settings:
            settings = (f"{name} {value}" for name, value in stack.postgres_settings.items())
            self.announce(f"Postgres settings: {', '.join(settings)}")

    def live(self, state: LiveState | None) -> None:
        """Show where a load stands: at the terminal's bottom, else in a line every ten seconds."""
        from pytest_certload.report.live import live_lines, live_text

        if self._screen is None:
            if state is None:
                self._logged = 0.0
            elif state.elapsed - self._logged >= _LOG_SECONDS:
                self._logged = state.elapsed
                self.announce(live_text(state))
            return
        with self._terminal() as reporter:
            if state is None:
                self._screen.wipe()
                return
            if not self._screen.shown:
                reporter.ensure_newline()
                if reporter._tw.width_of_current_line:
                    reporter._tw.line()
            width, _ = self._screen.size()
            self._screen.draw(live_lines(state, width=width - 1, unicode=self.unicode))

    # When a test is over.

    def require_proof(self, item: pytest.Item) -> None:
        """Fail a load test that raised nothing, and misses thresholds or proves nothing all the same.

        Raises:
            ThresholdsMissed: Thresholds that were written as text do not hold.
        """
        if not gate.uses_load(item) or self._bookkeeper is None:
            return
        self._bookkeeper.close_thresholds(item.nodeid)
        reason = self._bookkeeper.unproven(item.nodeid, had_load=True)
        missed = self._bookkeeper.missed(item.nodeid, also=reason or "")
        if missed is not None:
            raise missed
        if reason:
            pytest.fail(reason, pytrace=False)

    def require_baseline(self, item: pytest.Item) -> None:
        """Fail a load test that got worse than its baseline allows; save the runs of one that did not."""
        if self._bookkeeper is None or not gate.uses_load(item):
            return
        from pytest_certload.baselines.comparison import breaches

        runs = [run for run in self._bookkeeper.of_test(item.nodeid) if run.result is not None]
        worse: list[str] = []
        for run in runs:
            try:
                run.comparison = self.wishes.compare(run.record())
            except BaselineError as error:
                worse.append(str(error))
                continue
            if run.comparison is not None:
                than = f"scenario {run.name} is worse than baseline {run.comparison.baseline}"
                worse += [f"{than}: {breach}" for breach in breaches(run.comparison)]
        if not worse:
            for run in runs:
                try:
                    self.wishes.save(run.record())
                except BaselineError as error:
                    worse.append(str(error))
        if worse:
            pytest.fail("\n".join(worse), pytrace=False)

    def _compare_failed(self, run: Run) -> None:
        """Put a run beside its baseline whose test has failed already: since when is it so?"""
        try:
            run.comparison = self.wishes.compare(run.record())
        except BaselineError as error:
            # It may be the very reason why the test has failed, and that is told.
            if str(error) not in (run.failure or ""):
                self.announce(f"not compared: {error}")

    def close_runs(self, item: pytest.Item, call: pytest.CallInfo[None]) -> CertloadError | None:
        """Give the test's runs their verdict, write them, and attach their junit properties."""
        if self._bookkeeper is None:
            return None
        from pytest_certload.report.junit import junit_properties

        problem: CertloadError | None = None
        for run in self._bookkeeper.of_test(item.nodeid):
            if run.result is None:
                continue
            if run.state == "running":
                run.state, run.failure = _verdict(call)
            if call.excinfo is not None:
                if run.comparison is None:
                    self._compare_failed(run)
                self.wishes.leave_out(run.record())
            try:
                self._bookkeeper.save(run)
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

    def explain(self, item: pytest.Item, call: pytest.CallInfo[None], report: Any) -> None:
        """Say what failed in the words of the run, without frames of this package."""
        error = call.excinfo
        if error is None or not report.failed:
            return
        if isinstance(error.value, (CertloadError, ScaleFailure)):
            report.longrepr = _short(error)
        if self._bookkeeper is None or call.when != "call":
            return
        from pytest_certload.report.terminal import failure_text

        missed = self._bookkeeper.missed(item.nodeid)
        if missed is not None and not isinstance(error.value, ThresholdsMissed):
            add_section(report, "certload thresholds", str(missed))
        told = self._told.pop(item.nodeid, set())
        for run in self._bookkeeper.of_test(item.nodeid):
            if run.result is not None:
                text = failure_text(
                    run.record(), files=_relative(run.files), told=told, unicode=self.unicode
                )
                (text,) = self._showable([text])
                add_section(report, f"certload {run.name}", text)

    def redact(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Take secrets out of a load test's report: its failure, and what it printed and logged."""
        if not gate.touches_load(item):
            return
        report.longrepr = _redacted(report.longrepr, self.redactor.text)
        report.sections = _redacted(report.sections, self.redactor.text)
        report.user_properties = _redacted(report.user_properties, self.redactor.text)

    def explain_comparison(self, op: str, left: object, right: object) -> list[str] | None:
        """The lines of a failed ``assert`` on a figure; None when it is about something else."""
        from pytest_certload.verdict.measure import Measure

        measure = left if isinstance(left, Measure) else right
        if not isinstance(measure, Measure) or self._bookkeeper is None:
            return None
        run = self._bookkeeper.run_of(measure)
        if run is None or run.result is None:
            return None
        from pytest_certload.bookkeeping import threshold_of
        from pytest_certload.report.explain import explain, fitting, told_as

        threshold = threshold_of(run.result.judgements[-1])
        found = explain(run.record(), threshold, unicode=self.unicode)
        lines = [told_as(threshold), *found.headline]
        lines = lines[: fitting(lines)]
        self._told.setdefault(run.nodeid, set()).update(lines)
        return self._showable(lines)

    # In other formats.

    def note_failure(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Remember a load test that failed beside its runs, as when it made none."""
        if not report.failed or not gate.is_scale(item) or not self.settings.format:
            return
        runs = [] if self._bookkeeper is None else self._bookkeeper.of_test(item.nodeid)
        if report.when != "call" or all(run.result is None for run in runs):
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = str(report.longrepr) if crash is None else crash.message
            first = next(iter(reason.strip().splitlines()), "")
            self._not_made.append((self.redactor.text(item.nodeid), first))

    def push(self, *, last: bool = False) -> None:
        """Let a collector have the runs that are over; that it does not answer is a note."""
        if "otel" not in self.settings.format or self._bookkeeper is None:
            return
        if self._push is None:
            from pytest_certload.report.otel import Push

            # What collectors are told may be the key to them.
            self.redactor.learn_list(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS"))
            self.redactor.learn_list(os.environ.get("OTEL_EXPORTER_OTLP_METRICS_HEADERS"))
            self._push = Push()
        runs = self._bookkeeper.runs
        over = [run for run in runs if run.result is not None and run.state != "running"]
        problem = self._push.offer([run.record() for run in over], last=last)
        # What fails now is tried once more at the end.
        if problem is not None and last:
            self._note(f"{problem}; the summaries have all of it")

    def write_session(self, session: pytest.Session) -> None:
        """Write what is written of all runs together; what cannot be written fails the session."""
        formats = self.settings.format
        if not formats or not self.selected or self._config.option.collectonly:
            return
        from pytest_certload.report.outputs import append_job_summary, write_session_formats

        self.push(last=True)
        records = [] if self._bookkeeper is None else self._bookkeeper.records()
        try:
            files = write_session_formats(
                records, formats, self.settings.results, not_made=self._not_made
            )
        except ReportError as error:
            self._note(str(error))
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            return
        page = os.environ.get("GITHUB_STEP_SUMMARY")
        for summary in files:
            if page and summary.name == "summary.md":
                problem = append_job_summary(summary, Path(page))
                if problem is not None:
                    self._note(problem)

    def _note(self, text: str) -> None:
        line = self.redactor.text(f"warning: {text}")
        if line not in self.notes:
            self.notes.append(line)

    # At the end.

    def write_report(self) -> None:
        """Write the session's HTML report; one that cannot be written changes no result."""
        file = self.settings.report_file
        records = [] if self._bookkeeper is None else self._bookkeeper.records()
        if file is None or not records:
            return
        from pytest_certload.report.html import write_report

        try:
            write_report(records, file)
        except ReportError as error:
            self._report_lines = [str(error)]
        else:
            (shown,) = _relative([file])
            self._report_lines = [f"report to look at: {shown}"]

    def closing_lines(self, width: int, *, unicode: bool) -> list[str]:
        """The closing table."""
        if self._bookkeeper is None:
            return []
        from pytest_certload.report.terminal import closing_table, files_line

        runs = [run for run in self._bookkeeper.runs if run.result is not None]
        if not runs:
            return []
        lines = closing_table(
            [run.record() for run in runs],
            width=width,
            unicode=unicode,
            wrap=self._reporter is not None and self._reporter.isatty,
        )
        lines += [
            f"threshold {threshold.text!r} was about no load of this session: none had such a step or scenario"
            for threshold in self.settings.thresholds
            if threshold not in self._bookkeeper.met
        ]
        lines += self.wishes.closing_lines()
        where = files_line(_relative([file for run in runs for file in run.files]))
        if where is not None:
            lines.append(where)
        return self._showable([*lines, *self._report_lines])


FACE = pytest.StashKey[Face]()


def _load_tests(count: int) -> str:
    return f"{count} load test{'s' if count != 1 else ''}"


def _verdict(call: pytest.CallInfo[None]) -> tuple[str, str | None]:
    if call.excinfo is None:
        return "passed", None
    return "failed", call.excinfo.exconly(tryshort=True).splitlines()[0]


def _relative(files: Sequence[Path]) -> list[Path]:
    here = Path.cwd()
    return [f.relative_to(here) if f.is_relative_to(here) else f for f in files]


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
