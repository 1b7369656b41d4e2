"""A server or Postgres that is killed in the middle of a load: the test fails at once and tells all."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.scenarios.inner import PATIENT, ROOT

# The iteration writes: each answer carries a nonce, which is a row by then.
SOURCE = """
import os
import signal
import time
from pathlib import Path

import pytest


@pytest.mark.scale
async def test_nonces(load, certctl, certload_stack, certload_database):
    victim = {{part.name: part.pid for part in certload_stack.parts}}["{victim}"]
    nonces, answered = load.ledger("nonces"), []

    async def nonce(iteration):
        async with iteration.client.head(certctl.acme("new-nonce")) as response:
            iteration.expect(response, 200)
            nonces.acknowledged(response.headers["Replay-Nonce"])
        answered.append(iteration.index)
        if len(answered) == 100:
            Path("killed").write_text(f"{{victim}} {{time.time()}}")
            os.kill(victim, signal.SIGKILL)

    async def survived(result):
        await result.effects(nonces, certload_database, "SELECT nonce FROM acme_nonces")

    load.after_death(survived)
    await load.constant_arrival_rate(nonce, rate=50, duration="5m")


@pytest.mark.scale(state="keep")
async def test_that_wants_what_was_left(load, certload_stack):
    Path("kept").touch()


@pytest.mark.scale
async def test_later(load, certctl, certload_database):
    assert await certload_database.fetchval("SELECT count(*) FROM acme_nonces") == 0

    async def nonce(iteration):
        async with iteration.client.head(certctl.acme("new-nonce")) as response:
            iteration.expect(response, 200)

    result = await load.constant_arrival_rate(nonce, rate=50, duration="1s")
    assert result.errors == 0


@pytest.mark.parametrize("number", [1])
def test_that_needs_no_stack(number):
    pass
"""

CRASH = """
import os
import signal
import time
from pathlib import Path

import pytest


@pytest.mark.scale
async def test_crash(load, certload_stack, certload_database):
    victim = await certload_database.fetchval(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' "
        "AND application_name <> 'certload' LIMIT 1"
    )

    async def ask(iteration):
        if iteration.index == 50:
            Path("killed").write_text(str(time.time()))
            os.kill(victim, signal.SIGKILL)
        async with iteration.client.get("/api/v1/auth/check") as response:
            await response.read()
            iteration.expect(response, 200)

    result = await load.constant_arrival_rate(ask, rate=50, duration="4s")
    assert result.error_rate < 0.9
"""


@dataclass(frozen=True, kw_only=True)
class Session:
    status: int
    output: str
    folder: Path

    def summary(self, name: str) -> Any:
        return json.loads((self.folder / f"results/summary-{name}.json").read_text("utf-8"))


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files that Postgres's own user may pass through; empty in the end."""
    folder = Path(tempfile.mkdtemp(prefix="certload-test-"))
    folder.chmod(0o711)
    try:
        yield folder
        assert list(folder.iterdir()) == []
        assert processes_in(folder) == []
    finally:
        shutil.rmtree(folder)


def processes_in(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join([*process.cmdline(), process.cwd()])
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if str(folder) in words:
            found.append(words)
    return found


def makers_of_shared_memory() -> set[int]:
    """Ids of the processes that made a segment which is still there."""
    _, *lines = Path("/proc/sysvipc/shm").read_text("ascii").splitlines()
    return {int(line.split()[4]) for line in lines}


def run(source: str, folder: Path, temporary: Path) -> Session:
    (folder / "test_death.py").write_text(source)
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-m", "scale or parametrize", "test_death.py"),
            *(
                "-p",
                "no:cacheprovider",
                "--certload-stack=embedded",
                "--junitxml=junit.xml",
                *PATIENT,
            ),
        ],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Session(
        status=finished.returncode,
        output=finished.stdout + finished.stderr,
        folder=folder,
    )


@pytest.mark.parametrize(("victim", "called"), [("server", "the server"), ("postgres", "Postgres")])
def test_a_part_that_is_killed(victim: str, called: str, temporary: Path, tmp_path: Path) -> None:
    session = run(SOURCE.format(victim=victim), tmp_path, temporary)
    assert session.status == pytest.ExitCode.TESTS_FAILED, session.output
    pid, moment = (tmp_path / "killed").read_text().split()
    assert (tmp_path / "results/summary-nonces.json").stat().st_mtime - float(moment) < 60
    assert int(pid) not in makers_of_shared_memory()
    words = session.output
    assert "1 failed, 2 passed, 1 error" in words
    document = session.summary("nonces")
    processes = {process["name"]: process for process in document["proof"]["processes"]}
    assert list(processes) == ["server", "postgres", "generator"]
    dead = processes.pop(victim)
    since = float(moment) - datetime.fromisoformat(document["started_at"]).timestamp()
    assert since - 0.1 <= dead["died_at"] < since + 10
    said = f"{called} died {dead['died_at']:.1f} s into the load"
    assert f"certload: {said}" in words, "it is said at once"
    assert f"StackDied: {said}" in words

    assert document["state"] == "failed"
    assert document["failure"].startswith(f"pytest_certload.errors.StackDied: {said}")
    assert document["validity"] == "unjudged"
    acknowledged = document["iterations"]["ok"]
    # Between the kill and the look that saw it none need have been due.
    assert 100 <= acknowledged <= document["iterations"]["count"]
    assert (
        f"(killed by SIGKILL); {acknowledged} iterations were acknowledged before, 0 after" in words
    )
    assert since - 0.1 <= document["duration_seconds"] < since + 20
    assert dead["death"] == "killed by SIGKILL"
    assert dead["cpu_seconds"] > 0
    assert {process["death"] for process in processes.values()} == {None}
    (effects,) = document["proof"]["effects"]
    assert effects["acknowledged"] == acknowledged
    assert effects["lost"] == 0
    assert f"survived: nonces: {effects['present']:,} of {effects['present']:,}" in words
    assert ("Postgres was started again on its data" in words) == (victim == "postgres")

    suite = ET.parse(tmp_path / "junit.xml").getroot()[0]
    properties = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert properties[f"certload.nonces.{victim}.death"] == "killed by SIGKILL"
    assert float(str(properties[f"certload.nonces.{victim}.died_at"])) == pytest.approx(
        dead["died_at"]
    )
    failures = [failure.get("message") or "" for failure in suite.iter("failure")]
    assert ["StackDied" in message for message in failures] == [True]

    # The stack is put back for the test after it, and for none that wants what was left.
    assert not (tmp_path / "kept").exists()
    assert "the stack of this session is dead since an earlier test" in words


def test_a_backend_that_is_killed(temporary: Path, tmp_path: Path) -> None:
    session = run(CRASH, tmp_path, temporary)
    assert session.status == pytest.ExitCode.OK, session.output
    summary = session.summary("crash")
    processes = {p["name"]: p for p in summary["proof"]["processes"]}
    assert processes["postgres"]["death"] is None
    (event,) = processes["postgres"]["events"]
    told = re.fullmatch(
        r"crash recovery ([\d.]+) s into the load: .* was terminated by signal 9: Killed", event
    )
    assert told is not None, event
    started = datetime.fromisoformat(summary["started_at"]).timestamp()
    since = float((tmp_path / "killed").read_text()) - started
    assert since - 0.2 <= float(told[1]) < since + 10
    assert f"postgres: crash recovery {told[1]} s" in session.output
