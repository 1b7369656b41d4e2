"""Where does a session speak? At pytest's terminal: lines as it goes, and a live view of each load."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_certload.redaction import Redactor

if TYPE_CHECKING:
    from pytest_certload.report.live import LiveState
    from pytest_certload.report.screen import Screen

__all__ = ["Voice"]

#: A log has a line of a load so often; a tick may come a little early.
_LOG_SECONDS = 9.5


class Voice:
    """What is said while the session runs.

    Args:
        config: pytest's.
        redactor: Takes secrets out of what is said.

    Attributes:
        notes: What went wrong beside the tests, a line each, for the end.
    """

    def __init__(self, config: pytest.Config, redactor: Redactor) -> None:
        self._config = config
        self._redactor = redactor
        self.notes: list[str] = []
        self._screen: Screen | None = None
        self._logged = 0.0

    @property
    def unicode(self) -> bool:
        """Whether pytest's terminal, and so a failure's text, can show more than ASCII."""
        encoding = getattr(self._reporter and self._reporter._tw._file, "encoding", None) or "ascii"
        return "utf" in encoding.lower().replace("-", "")

    def showable(self, lines: list[str]) -> list[str]:
        """In ASCII where a terminal has no more; pytest would escape all of it, line ends too."""
        from pytest_certload.report.tone import in_ascii

        return lines if self.unicode else [in_ascii(line) for line in lines]

    def begin_live(self) -> Callable[[LiveState | None], None] | None:
        """Who shows where a load stands; None when nobody wants to know, as with ``-q``."""
        if self._quiet or self._reporter is None:
            return None
        if self._rewritable:
            # Now, as a load must not wait for an import.
            from pytest_certload.report.screen import Screen

            self._screen = Screen(self._reporter._tw)
        return self.live

    @property
    def _reporter(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    @property
    def on_terminal(self) -> bool:
        """Whether people read along, who can make their window wider."""
        return self._reporter is not None and self._reporter.isatty

    @property
    def _rewritable(self) -> bool:
        """Whether lines can be rewritten: on a terminal that nobody writes to without pytest's writer."""
        captured = getattr(self._config.option, "capture", "no") in ("fd", "sys")
        return captured and self._reporter.isatty and os.environ.get("TERM") not in (None, "dumb")

    @property
    def _quiet(self) -> bool:
        # The option is the terminal plugin's, and that can be switched off.
        return getattr(self._config.option, "verbose", 0) < 0

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

    def announce(self, text: str) -> None:
        """One line for the reader, such as what the stack is; none with ``-q``."""
        if self._quiet:
            return
        with self._terminal() as reporter:
            if reporter is not None:
                reporter.ensure_newline()
                reporter.write_line(f"certload: {self._redactor.text(text)}")

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

    def note(self, text: str) -> None:
        """What went wrong beside the tests; said once, at the end."""
        line = self._redactor.text(f"warning: {text}")
        if line not in self.notes:
            self.notes.append(line)
