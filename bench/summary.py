"""How long does the summary of ten million samples take, and how much memory? ``python -m bench.summary``.

The rows of a load are made up as its recorder keeps them; measured is what comes after the last of them:
columns, figures, intervals, timeline, curves, the slowest, and both summary files. Memory is what that takes
beside the rows. Linux only. Exit code 1: a bar is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pytest_certload.bookkeeping import Run
from pytest_certload.engine.runner import WorkerReport
from pytest_certload.report.summary_files import write_summary
from pytest_certload.samples import ROW, Connections, Outcome, Samples
from pytest_certload.stats.figures import RunFigures, figures_of
from pytest_certload.stats.folding import Fold
from pytest_certload.units import Duration
from pytest_certload.verdict.diagnosis import diagnose
from pytest_certload.verdict.result import RunResult

__all__ = ["Cost", "made_up", "main", "summarized"]

COUNT = 10_000_000
BAR_SECONDS, BAR_BYTES = 5.0, 1_000_000_000
_RATE = 10_000
_STEPS = ("enrol", "fetch")
_CHUNK = 1 << 12
_MS = 1_000_000
_NO_CONNECTIONS = Connections.from_table(np.empty((0, 5), np.int64))
_FAILED = 0.001

Kept = tuple[Samples, Connections]
Rows = list[npt.NDArray[np.void]]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a summary cost.

    Attributes:
        meanwhile: Seconds that were spent while the load went on, to fold samples that are not kept.
        seconds: From the last row to the files.
        cpu: CPU time of that, seconds: what it would take at best if nothing else ran.
        before: Bytes that the process held before, the rows among them.
        peak: The most bytes that it held meanwhile.
    """

    meanwhile: float
    seconds: float
    cpu: float
    before: int
    peak: int

    @property
    def added(self) -> int:
        """How many bytes more than before."""
        return self.peak - self.before

    @property
    def missed(self) -> bool:
        """Whether it took longer, or more memory, than it may."""
        return self.seconds > BAR_SECONDS or self.added > BAR_BYTES

    def __str__(self) -> str:
        folded = f"{self.meanwhile:.1f} s during the load, " if self.meanwhile else ""
        return (
            f"{folded}{self.seconds:.1f} s at its end ({self.cpu:.1f} s of CPU time), {self.added / 1e6:,.0f} MB more than the "
            f"{self.before / 1e6:,.0f} MB there were" + ("; bar missed" if self.missed else "")
        )


def made_up(count: int, *, steps: Sequence[str] = (), seed: int = 1) -> Rows:
    """Rows of a load as a recorder has them, in the order in which they came.

    Args:
        count: How many, those of steps among them; less what is left of a last iteration.
        steps: Names of the steps that each iteration has, one after the other.
        seed: Of the times.
    """
    random = np.random.default_rng(seed)
    parts = len(steps) + 1
    count -= count % parts
    chunks = []
    for first in range(0, count, _CHUNK):
        numbers = np.arange(first, min(first + _CHUNK, count))
        index, part = np.divmod(numbers, parts)
        rows = np.zeros(len(numbers), ROW)
        # The iteration's own row comes after those of its steps.
        rows["step"] = (part + 1) % parts
        rows["index"] = index
        rows["due"] = index * (1_000_000_000 // _RATE)
        rows["start"] = rows["due"] + random.integers(0, _MS // 10, len(rows))
        rows["sent"] = rows["start"] + _MS // 100
        took = 2 * _MS * random.lognormal(0, 0.5, len(rows))
        rows["end"] = rows["sent"] + took.astype(np.int64)
        rows["first_byte"] = rows["end"] - _MS // 100
        rows["size"], rows["status"] = 200, 200
        failed = random.random(len(rows)) < _FAILED
        rows["status"][failed], rows["outcome"][failed] = 503, Outcome.UNEXPECTED_STATUS
        chunks.append(rows)
    return chunks


def summarized(rows: Rows, folder: Path, *, steps: Sequence[str] = (), keep: bool = True) -> Cost:
    """Summarize made-up rows, as a run does when it is over, and tell what that cost.

    Args:
        rows: What ``made_up`` made.
        folder: For the summary files.
        steps: As for ``made_up``.
        keep: Whether the samples are kept, or each chunk is folded into sketches while the load goes on.
    """
    names = ("bench", *steps)
    end = int(rows[-1]["due"][-1]) + 1
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak begins anew
    begin = time.perf_counter()
    fold = None if keep else _folded(rows, names, end)
    over, cpu = time.perf_counter(), time.process_time()
    if fold is not None:
        report = _report(fold.figures(steps=names), None, end)
    else:
        samples = Samples.from_rows(rows, steps=names).window(0, end)
        figures = figures_of(samples, _NO_CONNECTIONS, window_end=end)
        report = _report(figures, (samples, _NO_CONNECTIONS), end)
    diagnose(report)
    run = Run(
        nodeid="bench",
        name="bench",
        given="bench",
        lasting="bench",
        executor="constant-arrival-rate",
        parameters={},
        reduced=(),
        stack={"base_url": "http://127.0.0.1"},
        result=RunResult(report),
    )
    write_summary(run.record(), folder)
    return Cost(
        meanwhile=over - begin if fold else 0.0,
        seconds=time.perf_counter() - over,
        cpu=time.process_time() - cpu,
        before=before,
        peak=_resident("VmHWM"),
    )


def _folded(rows: Rows, names: tuple[str, ...], end: int) -> Fold:
    fold = Fold(names[0])
    fold.measure(0, end)
    for chunk in rows:
        fold.add(chunk, np.empty((0, 5), np.int64), steps=names)
    return fold


def _report(figures: RunFigures, kept: Kept | None, end: int) -> WorkerReport:
    count = figures.iterations.counts.count
    return WorkerReport(
        figures=figures,
        kept=kept,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        duration=Duration(end),
        window_begin=0,
        window_end=end,
        drain=Duration(0),
        offered=count,
        started=count,
        started_in_window=figures.iterations.counts.begun,
        finished=count,
        dropped=0,
        unfinished=0,
        backlog_peak=0,
        in_flight_peak=50,
        errors=(),
        interrupted=False,
        broken=False,
        scheduled=True,
    )


def _resident(name: str) -> int:
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text("ascii").splitlines()
        if line.startswith(f"{name}:")
    )
    return int(line.split()[1]) * 1024


def main(words: Sequence[str] | None = None) -> int:
    """Print what it costs. Returns 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.summary", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help=f"samples (default: {COUNT})")
    parser.add_argument(
        "--only", choices=[*_CASES], help="one of the cases (default: each in a process of its own)"
    )
    arguments = parser.parse_args(words)
    if arguments.only is None:
        command = [sys.executable, "-m", "bench.summary", "--count", str(arguments.count), "--only"]
        return max([subprocess.run([*command, case], check=False).returncode for case in _CASES])
    steps, keep = _CASES[arguments.only]
    rows = made_up(arguments.count, steps=steps)
    with tempfile.TemporaryDirectory(prefix="certload-bench-") as folder:
        cost = summarized(rows, Path(folder), steps=steps, keep=keep)
    print(f"{arguments.only}: {sum(map(len, rows)):,} samples: {cost}", flush=True)
    return int(cost.missed)


#: The steps of each case, and whether samples are kept.
_CASES: dict[str, tuple[tuple[str, ...], bool]] = {
    "kept, one step": ((), True),
    "kept, two named steps": (_STEPS, True),
    "sketched": (_STEPS, False),
}


if __name__ == "__main__":
    raise SystemExit(main())
