"""A load that is watched on a real terminal, and one whose output goes to a log."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from pytest_certload.report import live

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.skipif(not hasattr(pty, "fork"), reason="needs pseudo-terminals")

TEST = """
import logging
import pytest
from pytest_certload import seconds

@pytest.mark.scale(base_url="{url}")
async def test_storm(load):
    async def ask(iteration):
        if iteration.index == 40:
            logging.getLogger("shop").warning("half way")
            print("printed by the test")
        async with iteration.client.get("/fine") as response:
            iteration.expect(response, 200)

    result = await load.constant_arrival_rate(ask, rate=30, duration={duration})
    assert result.p95 < seconds({limit})
    assert result.error_rate < 0.001

@pytest.mark.slow
def test_after():
    pass
"""
LIVE = re.compile(r"storm  .*\d:\d\d/\d:\d\d")
_NOT_INHERITED = ("CI", "COLUMNS", "LINES", "PY_COLORS", "NO_COLOR", "FORCE_COLOR")


class Seen:
    """What a terminal was sent, and what it shows in the end, line by line."""

    def __init__(self, sent: str) -> None:
        self.sent = sent
        rows: list[str] = [""]
        row = column = 0
        for up, erase, other, text in re.findall(
            r"\x1b\[(\d*)A|\x1b\[(J)|(\x1b\[[\d;]*[a-zA-Z])|(.)", sent, re.DOTALL
        ):
            if erase:
                rows[row] = rows[row][:column]
                del rows[row + 1 :]
            elif up:
                row -= int(up)
            elif text == "\r":
                column = 0
            elif text == "\n":
                row += 1
                if row == len(rows):
                    rows.append("")
            elif text and not other:
                rows[row] = rows[row][:column].ljust(column) + text + rows[row][column + 1 :]
                column += 1
        self.rows = [line.rstrip() for line in rows]
        self.text = "\n".join(self.rows)


def watch(
    pytester: pytest.Pytester,
    *arguments: str,
    columns: int = 120,
    narrower: int | None = None,
    interrupt: bool = False,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Seen:
    """Run pytest on a terminal of its own; once the live view is there, make it narrower, or press Ctrl-C."""
    process, terminal = pty.fork()
    if not process:
        keep = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
        os.chdir(pytester.path)
        # A shell's background job has it ignored, and hands that down.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execvpe(
            sys.executable,
            [sys.executable, "-m", "pytest", "-m", "scale or slow", *arguments],
            {
                **keep,
                "TERM": "xterm-256color",
                "PYTHONPATH": os.pathsep.join(sys.path),
                **environment,
            },
        )
    resize(terminal, columns)
    try:
        sent = read_all(terminal, narrower, interrupt)
    except BaseException:
        os.kill(process, signal.SIGKILL)
        raise
    finally:
        os.close(terminal)
        os.waitpid(process, 0)
    return Seen(sent.decode())


def read_all(terminal: int, narrower: int | None, interrupt: bool) -> bytes:
    """All that it is sent until the other side has ended."""
    sent = b""
    deadline = time.monotonic() + 120
    while True:
        assert select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0], sent
        try:
            part = os.read(terminal, 65536)
        except OSError:
            # Linux says so when the other side has closed it.
            break
        if not part:
            break
        sent += part
        if not LIVE.search(re.sub(r"\x1b\[[\d;]*m", "", sent.decode(errors="ignore"))):
            continue
        if narrower is not None:
            resize(terminal, narrower)
            narrower = None
        if interrupt:
            os.write(terminal, b"\x03")
            interrupt = False
    return sent


def resize(terminal: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))


def drawn(seen: Seen) -> list[str]:
    """Each time that the first live line was drawn."""
    return LIVE.findall(re.sub(r"\x1b\[[\d;]*m", "", seen.sent))


@pytest.fixture(autouse=True)
def shop(pytester: pytest.Pytester, target: Target) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers = slow\n")
    sell(pytester, target)


def sell(
    pytester: pytest.Pytester, target: Target, duration: float = 2.2, limit: float = 25
) -> None:
    pytester.makepyfile(test_it=TEST.format(url=target.base_url, duration=duration, limit=limit))


def test_it_is_drawn_each_second_and_leaves_nothing_behind(
    pytester: pytest.Pytester, target: Target
) -> None:
    sell(pytester, target, duration=5)
    seen = watch(pytester)
    assert len(drawn(seen)) >= 2
    assert re.search(r"in flight.*errors .*p50 .*p95 .*p99 ", seen.sent)
    assert "/0:05" in seen.sent
    assert "/0:05" not in seen.text
    assert "\x1b[32m" in seen.sent
    assert "2 passed" in seen.rows[-2] + seen.rows[-1]
    begin = seen.rows.index("test_it.py")
    assert seen.rows[begin + 1].startswith("certload: storm: 150 iterations are due")
    assert seen.rows[begin + 2] == "."
    assert re.fullmatch(r"test_it\.py \. +\[100%\]", seen.rows[begin + 3])


@pytest.mark.parametrize("arguments", [("-v",), ("--capture=sys",)])
def test_pytest_goes_on_where_it_was(pytester: pytest.Pytester, arguments: tuple[str, ...]) -> None:
    seen = watch(pytester, *arguments)
    assert drawn(seen)
    assert not LIVE.search(seen.text)
    assert "2 passed" in seen.text
    if "-v" in arguments:
        assert re.search(r"^test_it.py::test_storm PASSED", seen.text, re.MULTILINE)


def test_what_is_logged_in_between_stays(pytester: pytest.Pytester, target: Target) -> None:
    sell(pytester, target, duration=5)
    seen = watch(pytester, "-o", "log_cli=true")
    assert len(drawn(seen)) >= 2
    assert re.search(r"^WARNING +shop:test_it.py:\d+ half way$", seen.text, re.MULTILINE)
    assert "live log call" in seen.text
    assert not LIVE.search(seen.text)


def test_a_failure_is_told_as_ever(pytester: pytest.Pytester, target: Target) -> None:
    sell(pytester, target, limit=0)
    seen = watch(pytester, "-x")
    assert drawn(seen)
    assert not LIVE.search(seen.text)
    assert re.search(r"^E +assert response time p95 = ", seen.text, re.MULTILINE)
    assert "printed by the test" in seen.text
    assert "1 failed" in seen.text


def test_it_is_gone_after_ctrl_c(pytester: pytest.Pytester, target: Target) -> None:
    sell(pytester, target, duration=60)
    seen = watch(pytester, interrupt=True)
    assert drawn(seen)
    assert not LIVE.search(seen.text)
    assert "KeyboardInterrupt" in seen.text
    assert "storm: interrupted" in seen.text


def test_what_the_test_prints_is_not_written_over(pytester: pytest.Pytester) -> None:
    seen = watch(pytester, "-s")
    assert not drawn(seen)
    assert re.search(r"^printed by the test$", seen.text, re.MULTILINE)


def test_a_terminal_that_becomes_narrower_keeps_what_stood_there(
    pytester: pytest.Pytester, target: Target
) -> None:
    sell(pytester, target, duration=5)
    seen = watch(pytester, narrower=50)
    lines = drawn(seen)
    assert lines
    assert re.search(r"^certload: storm: 150 iterations are due", seen.text, re.MULTILINE)
    assert "2 passed" in seen.text
    # The line of the wide terminal stays, as nobody knows where it is; those after it are wiped.
    assert len(LIVE.findall(seen.text)) == 1


@pytest.mark.parametrize(
    ("arguments", "environment"), [(("--color=no",), {}), ((), {"NO_COLOR": "1"})]
)
def test_it_has_no_colour_where_there_is_to_be_none(
    pytester: pytest.Pytester, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    seen = watch(pytester, *arguments, environment=environment)
    assert drawn(seen)
    assert not re.search(r"\x1b\[[\d;]*m", seen.sent)


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}], ids=["-q", "dumb"])
def test_there_is_none(pytester: pytest.Pytester, environment: dict[str, str]) -> None:
    seen = watch(pytester, *([] if environment else ["-q"]), environment=environment)
    assert not drawn(seen)
    assert "2 passed" in seen.text


def test_a_log_has_a_plain_line_every_ten_seconds(
    pytester: pytest.Pytester, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    sell(pytester, target, duration=4.2)
    monkeypatch.setattr("pytest_certload.face.voice._LOG_SECONDS", 1.5)
    result = pytester.runpytest("-m", "scale")
    result.assert_outcomes(passed=1, deselected=1)
    lines = [line for line in result.outlines if " of 0:04, " in line]
    assert 1 <= len(lines) <= 3, "it is looked at four times"
    line = re.compile(
        r"certload: storm 0:0\d of 0:04, (0:0\d left|until all are answered); offered \S+/s, "
        r"achieved \S+/s; in flight \d+, backlog \d+, errors 0; "
        r"last seconds p50 \S+ [mµ]?s, p95 \S+ [mµ]?s, p99 \S+ [mµ]?s"
    )
    assert [text for text in lines if not line.fullmatch(text)] == []
    assert "\x1b" not in result.stdout.str()
    assert live.__name__ in sys.modules


def test_a_quiet_log_has_none(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_certload.face.voice._LOG_SECONDS", 0.5)
    result = pytester.runpytest("-m", "scale", "-q")
    result.assert_outcomes(passed=1, deselected=1)
    assert " of 0:02, " not in result.stdout.str()
