"""How is this project's own engine told to make a load? As a worker of its own, through ``Load``.

    python -m bench.ours --transport aiohttp --url http://127.0.0.1:8080 --rate 1000 --seconds 10 \
        --slots 100 --folder DIR

The worker does what the ``load`` fixture does, its summary files included, without pytest around it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import GeneratorFailed
from bench.generators import BODY, HEADERS, PATH, Order, Reported
from pytest_certload import clients
from pytest_certload.bookkeeping import Bookkeeper
from pytest_certload.engine.scenario import Iteration
from pytest_certload.errors import InvalidRun
from pytest_certload.options import OPTIONS, Settings
from pytest_certload.session import Load

__all__ = ["Ours", "transports"]

_RESULT = "ours.json"
_SAMPLES = "samples.npz"


def transports() -> tuple[str, ...]:
    """The names of the engine's transports; an engine that offers no choice has aiohttp."""
    listed: Iterable[str] = getattr(clients, "TRANSPORTS", ("aiohttp",))
    return tuple(listed)


@dataclass(frozen=True, kw_only=True)
class Ours:
    """The ``Generator`` that is measured, with one of its transports.

    Attributes:
        transport: Its name, one of ``transports()``.
        numbered: Every request says which iteration it belongs to, and the samples are kept.
    """

    transport: str
    numbered: bool = False

    @property
    def name(self) -> str:
        """See ``Generator.name``."""
        return self.transport

    @property
    def version(self) -> str:
        """See ``Generator.version``."""
        return version("pytest-certload")

    @property
    def ours(self) -> bool:
        """See ``Generator.ours``."""
        return True

    @property
    def constant_rate(self) -> bool:
        """See ``Generator.constant_rate``."""
        return True

    def command(self, order: Order, base_url: str, folder: Path) -> list[str]:
        """See ``Generator.command``."""
        return [
            *(sys.executable, "-m", "bench.ours"),
            *("--transport", self.transport),
            *("--url", base_url),
            *("--rate", str(order.rate)),
            *("--seconds", str(order.seconds)),
            *("--slots", str(order.slots)),
            *("--grace", str(order.grace)),
            *("--folder", str(folder)),
            *(["--numbered"] if self.numbered else []),
        ]

    def reported(self, folder: Path) -> Reported:
        """See ``Generator.reported``."""
        try:
            return Reported(**json.loads((folder / _RESULT).read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise GeneratorFailed(f"{self.name} left no result: {error}") from error

    def samples(self, folder: Path) -> dict[str, Any]:
        """The columns index, due, start and end of a numbered run, nanoseconds of CLOCK_MONOTONIC.

        Raises:
            GeneratorFailed: It left none.
        """
        try:
            with np.load(folder / _SAMPLES) as columns:
                return dict(columns)
        except (OSError, ValueError) as error:
            raise GeneratorFailed(f"{self.name} left no samples: {error}") from error


# The worker's side.


def _settings(folder: Path) -> Settings:
    """As if nobody had set an option, except where the results go."""
    values: dict[str, Any] = {
        option.field: option.parse(option.default, folder) if option.default is not None else None
        for option in OPTIONS
    }
    values |= {option.field: () for option in OPTIONS if option.several}
    return Settings(**{**values, "results": folder / "results"})


async def _work(arguments: argparse.Namespace) -> None:
    async def plain(iteration: Iteration) -> None:
        async with iteration.client.post(PATH, data=body, headers=HEADERS) as response:
            iteration.expect(response, 200)

    async def numbered(iteration: Iteration) -> None:
        headers = {**HEADERS, "X-Seq": str(iteration.index)}
        async with iteration.client.post(PATH, data=body, headers=headers) as response:
            iteration.expect(response, 200)

    body = BODY.encode()
    folder: Path = arguments.folder
    load = Load(
        Bookkeeper(settings=_settings(folder)),
        nodeid="bench",
        name="bench",
        endpoint=None,
        stack={},
    )
    choice = {"transport": arguments.transport} if hasattr(clients, "TRANSPORTS") else {}
    verdict = "passed"
    try:
        await load.constant_arrival_rate(
            numbered if arguments.numbered else plain,
            rate=arguments.rate,
            duration=arguments.seconds,
            max_in_flight=arguments.slots,
            base_url=arguments.url,
            grace=arguments.grace,
            **choice,
        )
    except InvalidRun as refusal:
        verdict = f"InvalidRun: {refusal}"
    result = load.runs[-1].result
    assert result is not None, "a run that ended or was refused has a result"
    quantiles = (float(result.p50), float(result.p95), float(result.p99))
    p50, p95, p99 = (None if math.isnan(x) else x * 1000 for x in quantiles)
    report = result.report
    reported = {
        "requests": report.started,
        "errors": int(result.errors) - report.dropped - report.unfinished,
        "unfinished": report.unfinished,
        "dropped": report.dropped,
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "verdict": verdict,
    }
    (folder / _RESULT).write_text(json.dumps(reported), encoding="utf-8")
    if arguments.numbered:
        rows = result.samples.iterations
        np.savez(folder / _SAMPLES, index=rows.index, due=rows.due, start=rows.start, end=rows.end)


def main() -> None:
    """Make the load that the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.ours", description=__doc__)
    parser.add_argument("--transport", choices=transports(), required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--grace", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--numbered", action="store_true")
    asyncio.run(_work(parser.parse_args()))


if __name__ == "__main__":
    main()
