"""What the README shows is what the code writes today, of runs that were made.

The summaries in ``readme/`` are of those runs; to keep them small and to name no machine, their ``curves``
are ``{}``, ``environment.platform`` is ``Linux``, and JSON is written without spaces. When an output changes, make
the run anew on a quiet machine: copy its ``results/summary-….json`` there, and its output into the README.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from pytest_certload.report.explain import explain, told_as
from pytest_certload.report.live import LiveState, live_lines
from pytest_certload.report.record import RunRecord
from pytest_certload.report.terminal import closing_table, failure_text, files_line
from pytest_certload.stats.live import Recent

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
DATA = Path(__file__).parent / "readme"


def record(scenario: str) -> RunRecord:
    return RunRecord.from_dict(json.loads((DATA / f"summary-{scenario}.json").read_text("utf-8")))


def block(first: str) -> list[str]:
    """The lines of the text block that begins so."""
    for text in re.findall(r"^```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        if text.startswith(first):
            return str(text).splitlines()
    raise AssertionError(f"the README has no output that begins with {first!r}")


def stands_in(shown: Iterable[str], written: Iterable[str]) -> None:
    """Each line is written, in that order; some may be left out."""
    rest = iter(written)
    for line in shown:
        assert any(line == other for other in rest), f"not written, or not there: {line!r}"


def test_the_failure() -> None:
    run = record("shop")
    (missed,) = (threshold for threshold in run.thresholds if not threshold.passed)
    said = [told_as(missed), *explain(run, missed, unicode=True).headline]
    files = [Path(f"results/summary-shop.{kind}") for kind in ("json", "txt")]
    section = failure_text(run, files=files, told=said, unicode=True).splitlines()
    shown = block(">       assert result.p95 < ms(200)")
    assertion = [line for line in shown if line.startswith("E ")]
    assert assertion == [
        f"E       assert {said[0]}",
        *(f"E         {line}" for line in said[1:]),
    ]
    at = next(n for n, line in enumerate(shown) if "- certload shop -" in line)
    stands_in(shown[at + 1 :], section)


def test_the_live_view() -> None:
    calm, stall = 6_500_000, 1_950_000_000
    state = LiveState(
        scenario="shop",
        elapsed=16.01,
        duration=20,
        offered_rate=50.12,
        achieved_rate=50.12,
        in_flight=1,
        backlog=0,
        errors=1,
        recent=Recent(
            p50=5_840_000,
            p95=1_750_000_000,
            p99=stall,
            trend=(*[calm] * 12, None, stall, calm, calm),
        ),
    )
    lines = live_lines(state, width=89, unicode=True)
    assert block("shop  ━") == ["".join(text for text, _ in line) for line in lines]


def test_the_closing_table() -> None:
    runs = [record(name) for name in ("acme-burst", "agent-storm", "bulk-renewal")]
    files = [
        Path(f"results/summary-{run.scenario}.{kind}") for kind in ("json", "txt") for run in runs
    ]
    report = "report to look at: results/report.html"
    written = [*closing_table(runs, width=80, unicode=True), files_line(files), report]
    assert block("on the embedded stack") == written
