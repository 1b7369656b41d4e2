"""And with real requests? Pairs of runs of this project's engine on the stamping server.

``python -m bench.regression --engine 20`` makes them: two runs on a server that takes as long, and one on a server
that takes a tenth longer, each compared as ``--certload-compare`` does.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
from pytest_certload.units import format_duration

__all__ = ["Pair", "Plan", "Told", "make_runs", "pairs_of", "told_of"]

_SERVICE_US = 20_000
_SLOTS = 100
_LIMIT = parse_limit("p95:5%")
#: The runs of a pair, one after the other, so that what slowly changes on the machine meets all alike.
_RUNS = ("before", "equal", "slower")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which runs are made.

    Attributes:
        pairs: How many pairs on equal servers, and on a second one that is slower; three runs each.
        rate: Requests a second.
        seconds: Length of a run.
        slowdown: By how much the slower server takes longer, as a share.
        folder: Where the summary of each run is kept.
    """

    pairs: int
    rate: int
    seconds: float
    slowdown: float
    folder: Path

    def files(self) -> Iterator[tuple[str, Path]]:
        """Each run's kind and summary, in the order in which they are made."""
        what = f"{self.rate}-per-s-{self.seconds:g}-s"
        slower = f"slower-by-{self.slowdown:g}"
        for pair in range(1, self.pairs + 1):
            for kind in _RUNS:
                name = slower if kind == "slower" else kind
                yield kind, self.folder / f"{what}-{pair:03}-{name}.json"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A run and two later ones: of a server that is equal, and of one that is slower."""

    before: Baseline
    equal: Baseline
    slower: Baseline


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


def make_runs(
    plan: Plan, *, most: int | None = None, say: Callable[[str], None] = lambda text: None
) -> None:
    """Make the loads whose summaries are not there yet, and keep each summary.

    Args:
        plan: Which.
        most: At most so many now; None: all.
        say: Told a line a run.

    Raises:
        BenchError: The server cannot be built or fails, or the generator does.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    files = list(plan.files())
    missing = [(kind, file) for kind, file in files if not file.exists()][:most]
    if len(missing) < len(files):
        say(f"{len(missing)} runs are to be made now, of {len(files)}")
    with tempfile.TemporaryDirectory(prefix="certload-bench-") as folder:
        lab = Lab(Path(folder))
        order = Order(rate=plan.rate, seconds=plan.seconds, slots=_SLOTS)
        for number, (kind, file) in enumerate(missing, 1):
            longer = 1 + plan.slowdown if kind == "slower" else 1
            faults = Faults(service_us=round(_SERVICE_US * longer))
            trial = lab.trial(Ours(transport="fast"), order, faults=faults, round_=number)
            text = (trial.folder / "results" / "summary-bench.json").read_text("utf-8")
            # Whole or not at all: what was interrupted is made again.
            unfinished = file.with_suffix(".part")
            unfinished.write_text(text, "utf-8")
            unfinished.replace(file)
            say(f"{number}/{len(missing)} {file.stem}: {_figure(_read(file))}")


def pairs_of(plan: Plan) -> list[Pair]:
    """The pairs whose three runs have been made."""
    files = [file for _, file in plan.files()]
    threes = zip(files[::3], files[1::3], files[2::3], strict=True)
    return [
        Pair(before=_read(before), equal=_read(equal), slower=_read(slower))
        for before, equal, slower in threes
        if before.exists() and equal.exists() and slower.exists()
    ]


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


def _read(file: Path) -> Baseline:
    return from_record(RunRecord.from_dict(json.loads(file.read_text("utf-8"))))


def _figure(run: Baseline) -> str:
    found = run.iterations.percentiles.get("p95")
    if found is None:
        return f"too few samples for p95, {run.validity}"
    ends = ("?" if end is None else format_duration(end) for end in (found.low, found.high))
    return (
        f"p95 {format_duration(found.value)} ({' to '.join(ends)}), as {found.effective} independent "
        f"samples, {run.validity}"
    )


def _p95(before: Baseline, after: Baseline) -> ComparedFigure:
    found = compare(after, before, name="bench", limits=[_LIMIT])
    (figure,) = (figure for figure in found.figures if figure.limit)
    return figure
