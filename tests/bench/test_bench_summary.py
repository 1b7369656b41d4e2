"""The cost of a summary is measured, whether samples are kept or folded: in small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.summary import BAR_BYTES, Cost, made_up, main, summarized


@pytest.mark.parametrize("keep", [True, False])
def test_all_rows_are_summarized(tmp_path: Path, keep: bool) -> None:
    rows = made_up(30_001, steps=("enrol", "fetch"))
    cost = summarized(rows, tmp_path, steps=("enrol", "fetch"), keep=keep)
    summary = json.loads((tmp_path / "summary-bench.json").read_text("utf-8"))
    assert [part["count"] for part in (summary["iterations"], *summary["steps"])] == [10_000] * 3
    assert 0 < summary["iterations"]["errors"] < 100
    assert cost.seconds > 0
    assert bool(cost.meanwhile) is not keep
    assert cost.peak >= cost.before > 0


def test_a_missed_bar_is_said() -> None:
    cost = Cost(meanwhile=0.0, seconds=1.0, cpu=1.0, before=10**9, peak=10**9 + BAR_BYTES + 1)
    assert cost.missed
    assert str(cost).endswith("than the 1,000 MB there were; bar missed")
    assert not Cost(meanwhile=9.0, seconds=1.0, cpu=1.0, before=10**9, peak=10**9).missed


def test_each_case_has_a_process(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "3000"]) == 0
    cases = [line.partition(":")[0] for line in capfd.readouterr().out.splitlines()]
    assert cases == ["kept, one step", "kept, two named steps", "sketched"]
