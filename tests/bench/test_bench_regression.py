"""A slowdown of a tenth is found, and equal runs are called equal: in small, with fewer pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.real_pairs import Pair, Plan, make_runs, pairs_of, told_of
from bench.regression import RATE, SECONDS, SERVERS, Server, detection, main
from tests.unit.test_baselines import baseline

KINDS = ("before", "equal", "slower")


@pytest.mark.parametrize("server", [s for s in SERVERS if s.bar], ids=lambda server: server.name)
def test_a_tenth_is_found_and_equals_are_not_called_different(server: Server) -> None:
    found = detection(server, pairs=20, count=RATE * SECONDS, seed=5)
    assert found.found >= 0.95
    # Of 200 pairs it is one in twenty at most; so few may have one more by chance.
    assert found.different <= 0.1
    assert found.smallest < 0.11


def test_what_cannot_be_seen_is_said() -> None:
    (busy,) = (server for server in SERVERS if server.name == "M/M/1, load 70%")
    found = detection(busy, pairs=6, count=4_000, seed=5)
    assert found.smallest > 0.3


def test_the_table_has_every_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pairs", "2", "--count", "200"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:27].strip() for line in lines[3 : 3 + len(SERVERS)]] == [s.name for s in SERVERS]
    assert any(line.startswith("bar missed: ") for line in lines)


def test_what_pairs_of_runs_say_is_counted() -> None:
    told = told_of(
        [
            (baseline(100), baseline(101)),
            (baseline(100), baseline(120, validity="suspect")),
            (baseline(100), baseline(104, width=0.001)),
            (baseline(100), baseline(70)),
        ]
    )
    assert (told.pairs, told.higher, told.lower, told.failed) == (4, 2, 1, 1)
    assert told.least == pytest.approx(-0.3)
    assert told.greatest == pytest.approx(0.2)
    assert told.suspect == 1
    assert "4 pairs: 2 higher, 1 lower, p95:5% failed 1" in str(told)


def test_real_runs_are_made_once_and_compared(tmp_path: Path) -> None:
    plan = Plan(pairs=1, rate=200, seconds=0.5, slowdown=1.0, folder=tmp_path / "runs")
    said: list[str] = []
    make_runs(plan, most=2, say=said.append)
    assert pairs_of(plan) == [], "its third run is missing"
    make_runs(plan, say=said.append)
    assert [line.partition(" ")[0] for line in said if "p95" in line] == ["1/2", "2/2", "1/1"]
    (pair,) = pairs_of(plan)
    assert [run.iterations.count for run in (pair.before, pair.equal, pair.slower)] == [100] * 3
    # Their median, which few samples tell: 20 ms, and 40 ms on the slower server.
    before, after = (run.iterations.percentiles["p50"].value for run in (pair.before, pair.slower))
    assert before >= 20_000_000
    assert after >= 40_000_000


@pytest.mark.parametrize(
    ("equal", "slower", "missed"),
    [
        (100, 110, []),
        (108, 110, ["bar missed: 1 of 1 equal pairs called different"]),
        (100, 100, ["bar missed: 0 of 1 slowdowns of 10% found"]),
    ],
)
def test_runs_that_are_there_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    equal: int,
    slower: int,
    missed: list[str],
) -> None:
    pair = Pair(
        **{kind: baseline(p95) for kind, p95 in zip(KINDS, (100, equal, slower), strict=True)}
    )
    monkeypatch.setattr("bench.regression.make_runs", lambda plan, **options: None)
    monkeypatch.setattr("bench.regression.pairs_of", lambda plan: [pair])
    assert main(["--engine", "1", "--folder", str(tmp_path)]) == bool(missed)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("bar missed")] == missed


def test_before_a_pair_is_whole_there_is_nothing_to_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--engine", "2", "--runs", "0", "--folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "no pair is whole yet"
