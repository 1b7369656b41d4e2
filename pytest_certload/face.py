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
from pytest_certload.errors import CertloadError, ReportError, ScaleFailure
from pytest_certload.options import Settings

if TYPE_CHECKING:
    from pytest_certload.bookkeeping import Bookkeeper
    from pytest_certload.report.live import LiveState
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
        left_out: How many load tests ``-m`` did not select.
        selected: How many load tests are going to run.
        state_origin: Where the state of the stack's data comes from, in words.
        add_suite_property: pytest's ``record_testsuite_property``, once a test has asked for load.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self.settings = settings
        self.left_out = 0
        self.selected = 0
        self.add_suite_property: Callable[[str, object], None] | None = None
        self.state_origin = ""
        self._stack: Stack | None = None
        self._bookkeeper: Bookkeeper | None = None
        self._screen: Screen | None = None
        self._logged = 0.0
        #: By test: what its assertions say already.
        self._told: dict[str, set[str]] = {}

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
            self._bookkeeper = Bookkeeper(settings=self.settings, announce=self.announce, live=live)
        return self._bookkeeper

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
        """Nothing can be proven on a stack of which a part has died in an earlier test."""
        how = None if self._bookkeeper is None else self._bookkeeper.dead_stack
        if how is not None and "certload_stack" in getattr(item, "fixturenames", ()):
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
            except ReportError as error:
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
                reporter.write_line(f"certload: {text}")

    @contextmanager
    def keeping(self, stack: Stack) -> Iterator[None]:
        """Hand the stack to load tests, each time in its seeded state, while the body runs."""
        self._stack = stack
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
        if self._stack is None or self._stack.restore is None or not gate.uses_stack(item):
            return
        if gate.read_mark(item).state == "keep":
            self.state_origin = _AS_LEFT
        else:
            self.state_origin = self._stack.restore()

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
        """Fail a load test that raised nothing and proves nothing all the same."""
        if not gate.uses_load(item) or self._bookkeeper is None:
            return
        reason = self._bookkeeper.unproven(item.nodeid, had_load=True)
        if reason:
            pytest.fail(reason, pytrace=False)

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

        told = self._told.pop(item.nodeid, set())
        for run in self._bookkeeper.of_test(item.nodeid):
            if run.result is not None:
                text = failure_text(
                    run.record(), files=_relative(run.files), told=told, unicode=self.unicode
                )
                (text,) = self._showable([text])
                add_section(report, f"certload {run.name}", text)

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

    # At the end.

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
        where = files_line(_relative([file for run in runs for file in run.files]))
        return self._showable(lines if where is None else [*lines, where])


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


def add_section(report: Any, title: str, text: str) -> None:
    """Append to the failure's text, where terminal and junit both show it whole."""
    if hasattr(report.longrepr, "addsection"):
        report.longrepr.addsection(title, text)
    else:
        before = f"{report.longrepr}\n" if report.longrepr else ""
        report.longrepr = f"{before}--- {title} ---\n{text}"
