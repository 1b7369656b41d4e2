"""What those who watch a load see, and that it leaves no trace in what others write."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from _pytest._io import TerminalWriter
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.engine.runner import Progress
from pytest_certload.report.live import LiveBoard, LiveState, Piece, live_lines, live_text
from pytest_certload.report.screen import Screen
from pytest_certload.samples import Outcome
from pytest_certload.stats.live import LiveWindow, Recent
from pytest_certload.units import Duration, seconds

MS = 1_000_000
STATE = LiveState(
    scenario="storm",
    elapsed=75.4,
    duration=300,
    offered_rate=167,
    achieved_rate=150,
    in_flight=12,
    backlog=1234,
    errors=5,
    recent=Recent(
        p50=2 * MS, p95=4_200_000, p99=20 * MS, trend=(1 * MS, 2 * MS, None, 4 * MS, 8 * MS)
    ),
)


def texts(lines: Sequence[Sequence[Piece]]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


class TestTheLines:
    def test_are_two_where_there_is_room(self) -> None:
        assert texts(live_lines(STATE, width=100, unicode=True)) == [
            "storm  ━━━━━───────────────  1:15/5:00  3:45 left  offered 167/s  achieved 150/s",
            "in flight 12  backlog 1,234  errors 5  p50 2 ms  p95 4.2 ms  p99 20 ms  ▂▃ ▅█",
        ]
        assert texts(live_lines(STATE, width=80, unicode=False)) == [
            "storm  =====...............  1:15/5:00  3:45 left  offered 167/s  achieved 150/s",
            "in flight 12  backlog 1,234  errors 5  p50 2 ms  p95 4.2 ms  p99 20 ms  .- +@",
        ]

    def test_say_the_most_important_where_there_is_none(self) -> None:
        assert texts(live_lines(STATE, width=45, unicode=True)) == [
            "storm  achieved 150/s  errors 5  p95 4.2 ms"
        ]
        assert texts(live_lines(STATE, width=20, unicode=True)) == ["storm  errors 5"]

    def test_colour_what_is_wrong(self) -> None:
        first, second = live_lines(STATE, width=150, unicode=True)
        assert {colour for text, colour in second if "errors" in text} == {"red"}
        assert {colour for text, colour in second if "backlog" in text} == {"yellow"}
        assert {colour for text, colour in first if "achieved" in text} == {"yellow"}
        first, second = live_lines(
            replace(STATE, errors=0, backlog=0, achieved_rate=167), width=150, unicode=True
        )
        assert {colour for _, colour in first} == {"", "bold", "green"}
        assert {colour for _, colour in second} == {"", "cyan"}

    @given(st.integers(1, 250), st.booleans(), st.text("abc-", min_size=1, max_size=90))
    def test_fit(self, width: int, unicode: bool, name: str) -> None:
        lines = texts(live_lines(replace(STATE, scenario=name), width=width, unicode=unicode))
        assert len(lines) == (2 if width >= 80 else 1)
        assert all(0 < len(line) <= width for line in lines)
        if not unicode:
            assert all(line.replace("µ", "u").isascii() for line in lines)

    def test_in_a_log_are_plain(self) -> None:
        assert live_text(STATE) == (
            "storm 1:15 of 5:00, 3:45 left; offered 167/s, achieved 150/s; in flight 12, "
            "backlog 1,234, errors 5; last seconds p50 2 ms, p95 4.2 ms, p99 20 ms"
        )
        late = replace(STATE, elapsed=301, recent=Recent(p50=None, p95=None, p99=None, trend=()))
        assert "5:01 of 5:00, until all are answered; " in live_text(late)
        assert live_text(late).endswith("p50 -, p95 -, p99 -")


class TestTheWindow:
    def test_forgets_what_is_old_and_ignores_errors(self) -> None:
        window = LiveWindow(seconds=2)
        assert window.turn() == Recent(p50=None, p95=None, p99=None, trend=(None,))
        for second in range(4):
            for value in range(100):
                window.note(Outcome.OK, 0, 1000 * second + value)
                window.note(Outcome.TIMEOUT, 0, 10**9)
            recent = window.turn()
        assert recent == Recent(p50=2099, p95=3089, p99=3097, trend=(None, 94, 1094, 2094, 3094))

    def test_looks_at_few_of_very_many(self) -> None:
        window = LiveWindow()
        for value in range(100_000):
            window.note(Outcome.OK, 0, value)
        recent = window.turn()
        assert recent.p95 is not None
        assert abs(recent.p95 - 95_000) <= 200
        assert len(window._latest[-1]) <= 1_000


def progress(elapsed: float, **figures: int) -> Progress:
    values = {
        name: figures.get(name, 0)
        for name in ("offered", "started", "finished", "in_flight", "backlog", "errors")
    }
    return Progress(elapsed=seconds(elapsed), duration=seconds(60), **values)


class TestTheBoard:
    def test_adds_up_what_runs_together_and_shows_it_once_a_second(self) -> None:
        shown: list[LiveState | None] = []
        clock = 100.0
        board = LiveBoard(shown.append, total=Duration(seconds(60)), now=lambda: clock)
        one, two = board.teller("one"), board.teller("two")
        for second in count(1):
            clock = 100.0 + second
            if second <= 10:
                one(progress(second, offered=50 * second, started=40 * second, in_flight=3))
            two(progress(second, offered=10 * second, started=10 * second, errors=second))
            if second == 10:
                assert len(shown) == 10
                state = shown[-1]
                assert state is not None
                assert state.scenario == "2 scenarios"
                assert (state.elapsed, state.duration) == (10, 60)
                assert (state.offered_rate, state.in_flight) == (60, 3)
            if second == 20:
                break
        state = shown[-1]
        assert state is not None
        assert (state.offered_rate, state.in_flight, state.errors) == (10, 0, 20)
        board.close()
        assert shown[-1] is None

    def test_rates_are_of_the_last_seconds(self) -> None:
        shown: list[LiveState | None] = []
        clock = 0.0
        board = LiveBoard(shown.append, total=Duration(seconds(60)), now=lambda: clock)
        tell = board.teller("one")
        offered = 0
        for second in range(1, 11):
            clock = float(second)
            offered += 10 if second <= 5 else 100
            tell(progress(second, offered=offered, started=second))
        state = shown[-1]
        assert state is not None
        assert (state.scenario, state.offered_rate, state.achieved_rate) == ("one", 100, 1)


class Terminal(io.StringIO):
    """What a terminal shows: a screen of lines, and a cursor."""

    encoding = "utf-8"

    def rows(self) -> list[str]:
        rows: list[list[str]] = [[]]
        row = column = 0
        for found in re.finditer(r"\x1b\[(\d*)([A-Za-z])|(.)", self.getvalue(), re.DOTALL):
            number, command, text = found.groups()
            match command or text:
                case "A" if command:
                    row = max(0, row - int(number or 1))
                case "J" if command:
                    rows[row] = rows[row][:column]
                    del rows[row + 1 :]
                case "m" if command:
                    pass
                case "\r":
                    column = 0
                case "\n":
                    row, column = row + 1, 0
                    if row == len(rows):
                        rows.append([])
                case _:
                    line = rows[row]
                    line.extend(" " * (column - len(line)))
                    line[column : column + 1] = [text]
                    column += 1
        return ["".join(line).rstrip() for line in rows]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "24")
    return Terminal()


TWO: Sequence[Sequence[Piece]] = [[("first ", "red"), ("one", "")], [("second", "")]]
ONE: Sequence[Sequence[Piece]] = [[("alone", "")]]


class TestTheScreen:
    def test_rewrites_its_lines_in_place(self, terminal: Terminal) -> None:
        screen = Screen(TerminalWriter(terminal))
        terminal.write("before\n")
        for _ in range(3):
            screen.draw(TWO)
            assert terminal.rows() == ["before", "first one", "second"]
        screen.draw(ONE)
        assert terminal.rows() == ["before", "alone"]
        screen.wipe()
        assert not screen.shown
        assert terminal.rows() == ["before", ""]

    def test_makes_way_for_who_writes_in_between(self, terminal: Terminal) -> None:
        writer = TerminalWriter(terminal)
        screen = Screen(writer)
        screen.draw(TWO)
        writer.line("a warning")
        assert terminal.rows() == ["a warning", ""]
        screen.draw(TWO)
        assert terminal.rows() == ["a warning", "first one", "second"]
        writer.write("F")
        writer.line()
        assert terminal.rows() == ["a warning", "F", ""]
        assert writer._file is terminal

    def test_leaves_alone_what_a_narrower_terminal_has_moved(
        self, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        screen = Screen(TerminalWriter(terminal))
        terminal.write("before\n")
        screen.draw(TWO)
        monkeypatch.setenv("COLUMNS", "8")
        screen.draw(ONE)
        assert terminal.rows() == ["before", "first one", "second", "alone"]
        screen.wipe()
        assert terminal.rows() == ["before", "first one", "second", ""]

    def test_has_one_line_where_there_are_few_rows(
        self, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LINES", "4")
        Screen(TerminalWriter(terminal)).draw(TWO)
        assert terminal.rows() == ["first one"]

    def test_has_no_colour_where_pytest_has_none(self, terminal: Terminal) -> None:
        writer: Any = TerminalWriter(terminal)
        writer.hasmarkup = False
        Screen(writer).draw(TWO)
        assert terminal.getvalue() == "first one\nsecond"
        writer = TerminalWriter(other := Terminal())
        writer.hasmarkup = True
        Screen(writer).draw(TWO)
        assert other.getvalue() == "\x1b[31mfirst \x1b[0mone\nsecond"

    def test_what_cannot_be_shown_ends_no_load(self) -> None:
        raw = io.BytesIO()
        file = io.TextIOWrapper(raw, encoding="ascii")
        Screen(TerminalWriter(file)).draw([[("p95 87 µs", "")]])
        assert raw.getvalue() == b"p95 87 ?s"

    def test_wiping_nothing_writes_nothing(self, terminal: Terminal) -> None:
        Screen(TerminalWriter(terminal)).wipe()
        assert terminal.getvalue() == ""
