"""And with real requests? Pairs of runs of this project's engine on the stamping server.

``python -m bench.regression --engine 10`` makes them: two runs on a server that takes as long, and one on a server
that takes a tenth longer, each compared as ``--certload-compare`` does.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.generators import Order
from bench.lab import Lab
from bench.ours import Ours
from bench.stamper import Faults
from pytest_certload.baselines.baseline import Baseline, from_record
from pytest_certload.baselines.comparison import compare
from pytest_certload.baselines.limits import parse_limit
from pytest_certload.report.record import ComparedFigure, RunRecord

__all__ = ["Told", "made_pairs", "told_of"]

_SERVICE_US = 20_000
_SLOTS = 100
_LIMIT = parse_limit("p95:5%")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the comparisons of so many pairs said of p95.

    Attributes:
        pairs: How many.
        higher, lower: Called so.
        failed: By ``p95:5%``.
        least, greatest: The changes, as shares.
        suspect: How many of the runs were disturbed, as their generator said.
    """

    pairs: int
    higher: int
    lower: int
    failed: int
    least: float
    greatest: float
    suspect: int

    def __str__(self) -> str:
        return (
            f"{self.pairs} pairs: {self.higher} higher, {self.lower} lower, p95:5% failed {self.failed}; "
            f"changes {self.least:+.1%} to {self.greatest:+.1%}; {self.suspect} of the runs suspect"
        )


def made_pairs(
    *, pairs: int, rate: int, seconds: float, slowdown: float
) -> tuple[list[tuple[Baseline, Baseline]], list[tuple[Baseline, Baseline]]]:
    """Make the loads: pairs on equal servers, and on a second one that is slower.

    Raises:
        BenchError: The server cannot be built or fails, or the generator does.
    """
    order = Order(rate=rate, seconds=seconds, slots=_SLOTS)
    usual = Faults(service_us=_SERVICE_US)
    slower = Faults(service_us=round(_SERVICE_US * (1 + slowdown)))
    with tempfile.TemporaryDirectory(prefix="certload-bench-") as folder:
        lab = Lab(Path(folder))

        def run(faults: Faults, number: int) -> Baseline:
            trial = lab.trial(Ours(transport="fast"), order, faults=faults, round_=number)
            summary = trial.folder / "results" / "summary-bench.json"
            return from_record(RunRecord.from_dict(json.loads(summary.read_text("utf-8"))))

        # In turn, so that what slowly changes on the machine meets all alike.
        made = [
            (run(usual, 2 * pair), run(usual, 2 * pair + 1), run(slower, pair))
            for pair in range(pairs)
        ]
    return [(b, same) for b, same, _ in made], [(b, slow) for b, _, slow in made]


def told_of(pairs: Sequence[tuple[Baseline, Baseline]]) -> Told:
    """What comparing the second of each with the first says."""
    figures = [_p95(before, after) for before, after in pairs]
    changes = [figure.change or 0.0 for figure in figures]
    return Told(
        pairs=len(pairs),
        higher=sum(figure.verdict == "higher" for figure in figures),
        lower=sum(figure.verdict == "lower" for figure in figures),
        failed=sum(not figure.passed for figure in figures),
        least=min(changes),
        greatest=max(changes),
        suspect=sum(run.validity != "valid" for pair in pairs for run in pair),
    )


def _p95(before: Baseline, after: Baseline) -> ComparedFigure:
    found = compare(after, before, name="bench", limits=[_LIMIT])
    (figure,) = (figure for figure in found.figures if figure.limit)
    return figure
