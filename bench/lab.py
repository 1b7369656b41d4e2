"""How is one load made and watched? A fresh stamping server, a metered generator, and their files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.errors import GeneratorFailed
from bench.generators import Generator, Order, Reported
from bench.stamper import Faults, Stamper, Stamps, build_stamper

__all__ = ["Lab", "Trial", "Usage"]

ROOT = Path(__file__).resolve().parent.parent
_METER = Path(__file__).with_name("meter.py")
#: For start and reports; a generator that takes longer than its window, grace and this hangs.
_SPARE_SECONDS = 30.0
#: What no generator in a closed loop reaches on one thread.
_CLOSED_LOOP_RATE = 400_000


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a generator's process cost, from its start to its end.

    Attributes:
        exit_code: Of the command.
        wall_seconds: How long it took.
        peak_memory: Most resident bytes.
        peak_descriptors: Most open descriptors that were seen.
        cpu: Readings ``(when, CPU time so far)``, nanoseconds, forty a second; ``when`` on the
            clock of the stamps.
    """

    exit_code: int
    wall_seconds: float
    peak_memory: int
    peak_descriptors: int
    cpu: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One load: what the server saw, what the generator said, what it cost, where its files are."""

    generator: str
    order: Order
    stamps: Stamps
    reported: Reported
    usage: Usage
    folder: Path


class Lab:
    """Makes loads, each once: who asks for one again gets what came of it.

    So the measurements that look at the same load share it.

    Args:
        folder: For everything that is written; the caller's to remove.

    Raises:
        BenchError: The server cannot be built.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = build_stamper(folder)
        self._made = 0
        self._trials: dict[tuple[str, Order, Faults, int], Trial] = {}

    def trial(
        self, generator: Generator, order: Order, *, faults: Faults | None = None, round_: int = 0
    ) -> Trial:
        """Make a load and return what came of it.

        Args:
            generator: Who makes it.
            order: The load.
            faults: What is wrong with the server.
            round_: Tells repetitions apart.

        Raises:
            GeneratorFailed: The generator failed or did not end in time.
            BenchError: The server failed.
        """
        faults = faults or Faults()
        key = (generator.name, order, faults, round_)
        if key not in self._trials:
            self._trials[key] = self._make(generator, order, faults)
        return self._trials[key]

    def _make(self, generator: Generator, order: Order, faults: Faults) -> Trial:
        self._made += 1
        folder = self._folder / f"{self._made:03}-{generator.name}"
        folder.mkdir()
        rate = order.rate if generator.constant_rate else _CLOSED_LOOP_RATE
        records = 1000 + round(1.5 * rate * (order.seconds + 1))
        dump = folder / "stamps"
        with Stamper(self._program, dump=dump, records=records, faults=faults) as server:
            command = generator.command(order, server.base_url, folder)
            usage = _run(command, folder, order.seconds + order.grace + _SPARE_SECONDS)
            if usage.exit_code:
                raise GeneratorFailed(
                    f"{generator.name} ended with {usage.exit_code}:\n{_last_words(folder)}"
                )
            return Trial(
                generator=generator.name,
                order=order,
                stamps=server.stop(),
                reported=generator.reported(folder),
                usage=usage,
                folder=folder,
            )


def _run(command: list[str], folder: Path, seconds: float) -> Usage:
    """Run a generator under the meter, in a process group of its own that is gone afterwards."""
    result = folder / "usage.json"
    environment = {**os.environ, "K6_NO_USAGE_REPORT": "true"}
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_METER), str(result), *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise GeneratorFailed(
                f"{Path(command[0]).name} did not end within {seconds:g} s"
            ) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if not result.exists():
        raise GeneratorFailed(f"{command[0]} could not be metered:\n{_last_words(folder)}")
    told = json.loads(result.read_text("utf-8"))
    return Usage(**{**told, "cpu": tuple((when, cpu) for when, cpu in told["cpu"])})


def _last_words(folder: Path) -> str:
    return (folder / "stderr").read_text("utf-8", "replace").rstrip()[-2000:]
