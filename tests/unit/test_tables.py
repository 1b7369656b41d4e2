"""The closing table where names are long, terminals narrow and scenarios many."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.report.record import ThresholdRecord
from pytest_certload.report.terminal import closing_table, files_line
from pytest_certload.report.tone import Toned, in_ascii, wrapped

from .test_report import MS, RECORD, SOME, step

PATH = "POST /api/v1/certificates/renewal-info/with/a/long/path/"
LONG = replace(
    RECORD,
    scenario="a-very-long-scenario-name-that-somebody-chose-" * 2,
    steps=(step(f"{PATH}one"), step(f"{PATH}two", replace(SOME, p99=None, max=123_456 * MS))),
)


def tones(lines: list[str]) -> dict[str, str]:
    return {line.strip(): getattr(line, "tone", "") for line in lines}


def test_columns_are_the_same_for_all_scenarios() -> None:
    lines = closing_table([RECORD, LONG] * 6, width=132, unicode=True)
    table = [line for line in lines if "time  " in line or " p50 " in line]
    # Twelve runs with a head, and a row for each time of whole iterations and two or three steps.
    assert len(table) == 12 + 12 * 2 * 3
    ends = [found.end() for found in re.finditer(r"\S+", table[0])]
    for line in table:
        for end in ends[3:]:
            assert line[end - 1] != " "
            assert line[end : end + 1] in ("", " ")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
def test_nothing_is_wider_than_the_terminal_but_a_long_word(width: int) -> None:
    lines = closing_table([RECORD, LONG] * 6, width=width, unicode=True, wrap=True)
    words = max(map(len, " ".join([*lines]).split()))
    for line in lines:
        assert len(line) <= width or len(line.strip()) == words or " " not in line.strip()
    text = "\n".join(lines)
    assert text.count("storm: failed") == 6
    assert "\xa0" not in text


def test_a_name_is_cut_where_its_end_still_tells_it_apart() -> None:
    lines = closing_table([LONG], width=104, unicode=True)
    assert [re.split("  +", line.strip())[0] for line in lines if "response time  " in line] == [
        "iterations",
        "POST /api/v…o/with/a/long/path/one",
        "POST /api/v…o/with/a/long/path/two",
    ]


def test_where_there_are_no_columns_a_figure_stays_with_its_unit() -> None:
    lines = closing_table([RECORD], width=40, unicode=True, wrap=True)
    at = lines.index("  iterations: 100, 50/s, 2 errors")
    assert lines[at + 1 : at + 3] == [
        "    response time: p50 4 ms, p90 8 ms,",
        "        p95 9 ms, p99 20 ms, max 30 ms",
    ]


def test_what_a_dash_stands_for_is_said_once() -> None:
    note = (
        "-: the samples are too few for it (p50 needs 2, p90 needs 10, p95 needs 20, p99 needs 100)"
    )
    assert closing_table([LONG, LONG], width=132, unicode=True).count(note) == 1
    assert note not in closing_table([RECORD], width=132, unicode=True)


def test_colours_say_what_is_wrong_and_files_have_none() -> None:
    doubtful = replace(RECORD.thresholds[0], decided=False)
    record = replace(RECORD, state="passed", thresholds=(*RECORD.thresholds, doubtful))
    lines = closing_table([record], width=132, unicode=True)
    found = tones(lines)
    assert found["storm: passed"] == "green"
    assert found["✓ response time p95 < 500 ms (9 ms)"] == "green"
    assert found["✗ new-nonce: error rate < 1 % (2 %)"] == "red"
    assert found["? response time p95 < 500 ms (9 ms; not decided by so few samples)"] == "yellow"
    assert found["suspect: the machine's host gave 12% of its CPU time to others"] == "yellow"
    assert found["preflight: 2 checks passed in 210 ms"] == ""
    assert not any("\x1b" in line for line in lines)
    assert tones(closing_table([replace(RECORD, state="interrupted")], width=99, unicode=True))[
        "storm: interrupted"
    ] == ("yellow")


@given(st.lists(st.text("ab -", max_size=60), max_size=5), st.integers(20, 60))
def test_wrapping_loses_no_word_and_no_colour(lines: list[str], width: int) -> None:
    toned = [Toned(line, "red") for line in lines]
    found = list(wrapped(toned, width))
    assert " ".join(found).split() == " ".join(lines).split()
    assert all(isinstance(line, Toned) and line.tone == "red" for line in found)


def test_a_terminal_without_unicode_is_shown_ascii() -> None:
    line = in_ascii(Toned("87 µs – 2 ms, 200 ×98 … 界", "red"))
    assert line == "87 us - 2 ms, 200 x98 ... ?"
    assert isinstance(line, Toned)
    assert line.tone == "red"


def test_the_last_line_names_the_files() -> None:
    files = [Path(f"results/summary-{name}.{kind}") for name in "ab" for kind in ("json", "txt")]
    assert files_line([]) is None
    assert files_line(files[:2]) == "files: results/summary-a.json, results/summary-a.txt"
    assert files_line([*files, Path("results/report.html")]) == (
        "files: results/summary-….json ×2, results/summary-….txt ×2, results/report.html"
    )


def test_a_missed_condition_that_is_not_decided_is_marked_as_missed() -> None:
    missed = ThresholdRecord(
        metric="response time p95",
        step=None,
        condition="< 5 ms",
        actual="9 ms",
        passed=False,
        decided=False,
    )
    lines = closing_table(
        [replace(RECORD, thresholds=(missed,), comparison=None)], width=132, unicode=False
    )
    assert lines[-1] == ("  FAIL response time p95 < 5 ms (9 ms; not decided by so few samples)")
