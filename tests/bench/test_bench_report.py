from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import plot
from bench.bars import judge
from bench.figures import Collector, Curve, Figure, Findings, find, number, ratio
from bench.generators import Absent
from bench.lag import SHARES
from bench.machine import this_machine
from bench.plan import quick_plan
from bench.record import Record, write_record
from bench.report import render


def figures(measurement: str, *rows: tuple[str, str, str, str, list[float]]) -> tuple[Figure, ...]:
    collector = Collector(measurement=measurement)
    for condition, name, unit, tool, values in rows:
        for value in values:
            collector.add(condition, name, unit, tool, value)
    return collector.figures()


@pytest.fixture
def record() -> Record:
    found = figures(
        "fidelity",
        ("1,000/s", "lag p99", "ms", "fast", [0.2, 0.4, 0.3]),
        ("1,000/s", "lag p99", "ms", "aiohttp", [1.5]),
        ("1,000/s", "lag p99", "ms", "k6", [6.0, 2.0, 3.0]),
    ) + figures(
        "sustained",
        ("one process", "held", "/s", "fast", [16_000]),
        ("one process", "held", "/s", "k6", [9000]),
    )
    findings = Findings(
        figures=found,
        curves=(Curve(tool="fast", condition="1,000/s", lag_ms=SHARES),),
        notes=("overload, fast: passed",),
    )
    return Record(
        started_at="2001-01-01T00:00:00+00:00",
        seconds=1.5,
        machine=this_machine(),
        plan=quick_plan(),
        tools={"fast": "1", "k6": "2"},
        left_out=(Absent(name="wrk", reason="not there"),),
        findings=findings,
        bars=judge(found),
    )


def test_the_table_shows_medians_ranges_and_ratios(record: Record) -> None:
    text = render(record)
    assert "lag p99 ms  0.3 (0.2–0.4) ×0.1  1.5 ×0.5  3 (2–6)" in text
    assert "held /s      16,000 ×1.78  9,000" in text
    assert "left out: wrk: not there" in text
    assert "overload, fast: passed" in text


def test_bars_are_held_missed_or_not_judged(record: Record) -> None:
    bars = {bar.text: (bar.holds, bar.actual) for bar in record.bars}
    assert bars["fast: lag p99, 1,000/s: ≤ 0.5 ms"] == (True, "0.3 ms")
    assert bars["aiohttp: lag p99, 1,000/s: ≤ 1 ms"] == (False, "1.5 ms")
    assert bars["fast: lag p99, 1,000/s: ≤ 0.2 × k6's"] == (True, "0.3 to 3 ms")
    assert bars["fast: held, one process: ≥ 2 × k6's"] == (False, "16,000 to 9,000 /s")
    assert bars["fast: lag p99, 167/s: ≤ 0.5 ms"] == (None, "fast was not measured")
    assert not any("memory" in text for text in bars), "a measurement that was not asked for"
    text = render(record)
    assert "✓ fast: lag p99, 1,000/s: ≤ 0.5 ms" in text
    assert "✗ fast: held, one process: ≥ 2 × k6's" in text
    assert "– fast: lag p99, 167/s: ≤ 0.5 ms" in text


def test_the_document_says_all_of_it(record: Record, tmp_path: Path) -> None:
    document = json.loads(write_record(record, tmp_path).read_text("utf-8"))
    assert document["schema"] == 1
    assert document["left_out"] == {"wrk": "not there"}
    first = document["figures"][0]
    assert (first["tool"], first["median"], first["low"], first["high"]) == ("fast", 0.3, 0.2, 0.4)
    assert first["ratio_to_k6"] == pytest.approx(0.1)
    assert len(document["curves"]["shares"]) == len(document["curves"]["lag_ms"][0]["lag_ms"])
    assert set(document["machine"]) == {
        "cpu", "cores", "memory", "kernel", "python", "load_average"
    }  # fmt: skip


def test_a_picture_is_drawn_or_said_to_be_impossible(record: Record, tmp_path: Path) -> None:
    hindrance = plot.missing()
    if hindrance is None:
        assert "<svg" in plot.draw(record, tmp_path).read_text("utf-8")
    else:
        assert "matplotlib" in hindrance


def test_ratios_that_would_say_nothing_are_none() -> None:
    found = figures(
        "m",
        ("c", "zero", "", "k6", [0]),
        ("c", "zero", "", "fast", [1]),
        ("c", "share", "%", "k6", [50]),
        ("c", "share", "%", "fast", [50]),
        ("c", "alone", "", "fast", [1]),
    )
    assert [ratio(found, figure) for figure in found] == [None] * 5
    assert find(found, "m", "c", "alone", "k6") is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.12345, "0.123"), (99.94, "99.9"), (99.96, "100"), (12345.6, "12,346")],
)
def test_numbers_for_readers(value: float, text: str) -> None:
    assert number(value) == text
