"""The bench itself, in small: real generators, a real server, one second of load."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import floor, k6, locust, wrk
from bench.__main__ import main
from bench.errors import GeneratorFailed
from bench.generators import Absent, Generator, Order, Reported
from bench.lab import Lab, Trial
from bench.lag import fidelity, punctuality
from bench.measurements.cost import cost
from bench.ours import Ours
from bench.stamper import Faults

ORDER = Order(rate=200, seconds=1.0, slots=20, grace=5.0)


@pytest.fixture(scope="module")
def lab(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


def test_our_engine_is_measured_and_the_estimator_tells_its_true_lag(lab: Lab) -> None:
    generator = Ours(transport="aiohttp", numbered=True)
    trial = lab.trial(generator, ORDER)
    assert (trial.reported.requests, trial.reported.errors, trial.reported.dropped) == (200, 0, 0)
    seen = fidelity(trial.stamps.arrival, rate=200, seconds=1)
    assert (seen.offered, seen.arrived, seen.missing) == (200, 200, 0)
    assert trial.usage.peak_memory > 20_000_000
    assert trial.usage.peak_descriptors >= 5
    assert 0 < cost(trial).cpu_per_request < 1 / 200

    # The engine's clock is the server's, so the distance from the due times is known.
    samples = generator.samples(trial.folder)
    if (samples["start"] - samples["due"]).max() < 5_000_000:
        # Else it may say that the machine held it up.
        assert trial.reported.verdict == "passed"
    assert sorted(trial.stamps.number.tolist()) == list(range(200))
    due = np.sort(samples["due"])
    true = trial.stamps.arrival - due
    estimated = punctuality(trial.stamps.arrival, rate=200).lag
    assert (true > 0).all()
    # They differ by what all arrivals have in common, and by nothing else.
    assert estimated == pytest.approx(true - true.min(), abs=10)


def check(lab: Lab, found: Generator) -> Trial:
    trial = lab.trial(found, ORDER)
    assert trial.reported.errors == 0
    assert trial.reported.p50 is not None
    assert trial.usage.peak_memory > 0
    return trial


def test_k6_is_measured(lab: Lab) -> None:
    found = k6.find()
    if isinstance(found, Absent):
        pytest.skip(f"needs k6: {found.reason}")
    trial = check(lab, found)
    assert trial.reported.requests == len(trial.stamps)
    # It may begin one iteration more at the very end, and leaves what is due then and late.
    assert 0 < trial.reported.requests + (trial.reported.dropped or 0) <= 201


def test_the_floor_is_measured(lab: Lab) -> None:
    found = floor.find()
    assert not isinstance(found, Absent), "the lab needs a compiler as well"
    reported = check(lab, found).reported
    assert (reported.requests, reported.dropped, reported.unfinished) == (200, 0, 0)


def test_the_floor_tells_what_a_stall_did(lab: Lab) -> None:
    faults = Faults(stall_at=0.2, stall_for=0.3)
    trial = lab.trial(floor.Floor(), ORDER, faults=faults)
    assert trial.reported.p99 is not None
    assert 200 < trial.reported.p99 < 1000 * trial.usage.wall_seconds


def test_the_others_are_measured_where_they_are(lab: Lab) -> None:
    for found in (locust.find(), wrk.find()):
        if not isinstance(found, Absent):
            assert check(lab, found).reported.dropped is None


class TwoMilliseconds:
    """A lab whose server takes 2 ms, and whose generator says 3.5 ms."""

    def trial(self, generator: Generator, order: Order, **_: object) -> Any:
        service = np.full(100, 2_000_000, dtype=np.int64)
        return SimpleNamespace(
            stamps=SimpleNamespace(service=service), reported=SimpleNamespace(p50=3.5, p99=None)
        )


def test_what_a_generator_reports_beyond_a_known_latency() -> None:
    from bench.measurements import bias
    from bench.plan import Plan

    plan = Plan(
        rounds=1, start=0, window=1, bias_window=0.5, overload_window=1, probe=1,
        tries=1, precision=2, ceiling_window=1,
    )  # fmt: skip
    two: Any = TwoMilliseconds()
    findings = bias.measure(two, [Ours(transport="aiohttp")], plan)
    (median,) = findings.figures
    assert (median.name, median.median) == ("median", 1.5)


def test_a_load_that_was_made_is_not_made_again(lab: Lab) -> None:
    generator = Ours(transport="aiohttp", numbered=True)
    assert lab.trial(generator, ORDER) is lab.trial(generator, ORDER)


class Broken:
    """A generator whose command does not work."""

    name, version, ours, constant_rate = "broken", "0", False, True

    def __init__(self, code: str) -> None:
        self.code = code

    def command(self, order: Order, base_url: str, folder: Path) -> list[str]:
        return [sys.executable, "-c", self.code]

    def reported(self, folder: Path) -> Reported:
        raise AssertionError("never asked")


def test_a_generator_that_fails_says_why(lab: Lab) -> None:
    with pytest.raises(GeneratorFailed, match=r"broken ended with 3:\nno such luck"):
        lab.trial(Broken("import sys; print('no such luck', file=sys.stderr); sys.exit(3)"), ORDER)


def test_a_generator_that_hangs_is_ended(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alive = tmp_path / "alive"

    class Waiting(subprocess.Popen[bytes]):
        """Its time is over as soon as it works, however long the machine takes for that."""

        def wait(self, timeout: float | None = None) -> int:
            if timeout is None:
                return super().wait()
            limit = time.monotonic() + 60
            while not (alive.exists() and alive.read_text("utf-8")):
                assert time.monotonic() < limit, "it never began"
                time.sleep(0.02)
            raise subprocess.TimeoutExpired(self.args, timeout)

    monkeypatch.setattr("bench.lab.subprocess.Popen", Waiting)
    code = f"import os, signal; open({str(alive)!r}, 'w').write(str(os.getpid())); signal.pause()"
    with pytest.raises(GeneratorFailed, match=r"did not end within 36 s"):
        lab.trial(Broken(code), ORDER)
    pid = int(alive.read_text("utf-8"))
    # Gone, or on its way to be collected by whoever collects orphans.
    status = Path(f"/proc/{pid}/status")
    limit = time.monotonic() + 60
    while status.exists() and "State:\tZ" not in status.read_text("utf-8"):
        assert time.monotonic() < limit, "it goes on"
        time.sleep(0.05)


def test_the_command_measures_writes_and_names_what_it_left_out(
    compiler: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wrk, "find", lambda: Absent(name="wrk", reason="nobody installed it"))
    arguments = ["--quick", "--only", "ceiling", "--tools", "wrk", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert "left out: wrk: nobody installed it" in capsys.readouterr().out
    document = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    assert document["left_out"] == {"wrk": "nobody installed it"}
    assert document["figures"] == []


@pytest.mark.parametrize(
    "arguments", [["--only", "nonsense"], ["--tools", "ab"], ["--rounds", "0"], ["--only", ""]]
)
def test_a_command_line_that_makes_no_sense_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "choose from" in capsys.readouterr().err
