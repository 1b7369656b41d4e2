"""How is the ruler measured? ``python -m bench``: every generator, one run, side by side."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import floor, k6, locust, plot, wrk
from bench.bars import judge
from bench.errors import BenchError
from bench.figures import Findings
from bench.generators import Absent, Generator
from bench.lab import Lab
from bench.machine import this_machine
from bench.measurements import MEASUREMENTS, Measurement
from bench.ours import Ours, transports
from bench.plan import Plan, default_plan, quick_plan
from bench.record import Record, write_record
from bench.report import render

#: What might be measured, whether it is there or not.
_TOOLS = ("aiohttp", "fast", "k6", "locust", "floor", "wrk")


def generators() -> tuple[list[Generator], list[Absent]]:
    """Those that are there, in the order of the tables, and those that are not."""
    present: list[Generator] = [Ours(transport=name) for name in transports()]
    absent = [
        Absent(name=name, reason="this version of the engine has no such transport")
        for name in ("aiohttp", "fast")
        if name not in transports()
    ]
    for found in (k6.find(), locust.find(), floor.find(), wrk.find()):
        if isinstance(found, Absent):
            absent.append(found)
        else:
            present.append(found)
    return present, absent


def _choice(text: str, allowed: Sequence[str], what: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in allowed]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown) or 'nothing'} is no {what}; choose from {', '.join(allowed)}"
        )
    return names


def _parser() -> argparse.ArgumentParser:
    measurements = tuple(measurement.name for measurement in MEASUREMENTS)
    tools = (*_TOOLS, *(name for name in transports() if name not in _TOOLS))
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short loads, one round")
    parser.add_argument(
        "--only",
        metavar="NAME,…",
        type=lambda text: _choice(text, measurements, "measurement"),
        default=list(measurements),
        help=f"these measurements: {', '.join(measurements)} (default: all)",
    )
    parser.add_argument(
        "--tools",
        metavar="NAME,…",
        type=lambda text: _choice(text, tools, "tool"),
        default=list(tools),
        help=f"these generators: {', '.join(tools)} (default: all that are there)",
    )
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=int,
        choices=range(1, 21),
        help="repetitions, 1 to 20 (default: 3, with --quick 1)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("bench-results"),
        help="for bench.json and bench.svg (default: bench-results)",
    )
    return parser


def run(
    chosen: Sequence[Measurement],
    tools: Sequence[Generator],
    absent: Sequence[Absent],
    plan: Plan,
) -> Record:
    """Make the measurements, in order; what had been found before one failed is kept."""
    machine = this_machine()
    started_at, begin = datetime.now(UTC), time.monotonic()
    findings = Findings()
    failure = None
    with tempfile.TemporaryDirectory(prefix="certload-bench.") as folder:
        try:
            lab = Lab(Path(folder))
            for measurement in chosen:
                print(f"{time.monotonic() - begin:4.0f} s  {measurement.title}", flush=True)
                findings += measurement.measure(lab, tools, plan)
        except BenchError as error:
            failure = str(error)
    return Record(
        started_at=started_at.isoformat(timespec="seconds"),
        seconds=time.monotonic() - begin,
        machine=machine,
        plan=plan,
        tools={tool.name: tool.version for tool in tools},
        left_out=tuple(absent),
        findings=findings,
        bars=judge(findings.figures),
        failure=failure,
    )


def main(words: Sequence[str] | None = None) -> int:
    """Run the bench and return the exit code: 1 when not all of it could be measured, else 0.

    A missed bar is a result, not a failure.
    """
    arguments = _parser().parse_args(words)
    present, absent = generators()
    tools = [tool for tool in present if tool.name in arguments.tools]
    absent = [tool for tool in absent if tool.name in arguments.tools]
    for tool in absent:
        print(f"left out: {tool.name}: {tool.reason}")
    plan = (quick_plan if arguments.quick else default_plan)(arguments.rounds)
    arguments.out.mkdir(parents=True, exist_ok=True)
    chosen = [measurement for measurement in MEASUREMENTS if measurement.name in arguments.only]
    record = run(chosen, tools, absent, plan)
    print(f"\n{render(record)}\n\n{write_record(record, arguments.out)}")
    hindrance = plot.missing()
    print(f"no picture: {hindrance}" if hindrance else plot.draw(record, arguments.out))
    return 1 if record.failure else 0


if __name__ == "__main__":
    sys.exit(main())
