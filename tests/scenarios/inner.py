"""What comes of the shipped scenarios when they run as a user runs them? Pytest in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: The machine is judged neither by its generator nor by how quick it is.
PATIENT = ("-p", "tests.inner.unhurried", "-p", "tests.inner.wide")
_START_SECONDS = 60
#: At most, of one scenario: its load, the server's start before it, and what is waited for after it.
_SCENARIO_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What a session said of one scenario.

    Attributes:
        told: What stands under its heading if it failed, else nothing.
        summary: Its summary, if it came so far.
        text: What was told, else its table, else all that the session said.
    """

    told: str
    summary: Mapping[str, object] | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a session of scenarios came to.

    Attributes:
        status: Pytest's exit code.
        output: All it said.
        results: The folder of its results.
    """

    status: int
    output: str
    results: Path

    def of(self, name: str, key: str | None = None) -> Scenario:
        """What was said of a scenario, or of the one of its runs that has this key."""
        run = name if key is None else f"{name}-{key}"
        told = _told(self.output).get(run, "")
        summary, table = (self.results / f"summary-{run}.{kind}" for kind in ("json", "txt"))
        passed = table.read_text("utf-8") if table.exists() else ""
        return Scenario(
            told=told,
            summary=json.loads(summary.read_text("utf-8")) if summary.exists() else None,
            text=told or passed or self.output,
        )


def scenario_of(test: str) -> str:
    """The scenario's name in reports: of ``test_agent_storm[5-a]`` it is ``agent-storm-5-a``."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", test.removeprefix("test_")).strip("-")


def file_of(scenario: str) -> Path:
    """The file whose test makes the scenario, which may be one of the test's parameters."""
    files = [
        file
        for file in (ROOT / "tests" / "scale").glob("test_*.py")
        if f"{scenario}-".startswith(f"{scenario_of(file.stem)}-")
    ]
    return max(files, key=lambda file: len(file.stem))


def run_scenarios(
    names: Sequence[str],
    *more: str,
    results: Path,
    seed: Path = ROOT / "seed",
    environment: Sequence[str] = (),
    transport: str = "aiohttp",
    preflight: str = "on",
    loads: int | None = None,
) -> Outcome:
    """Run scenarios on a stack of their own, for a short time.

    Args:
        names: Which.
        *more: Further arguments.
        results: Folder for the results.
        seed: Folder of the seeds.
        environment: What the server runs with, NAME=VALUE.
        transport: The client.
        preflight: Whether the checks before the load are made.
        loads: How many loads that makes; default: one of each scenario.
    """
    command = [
        *(sys.executable, "-m", "pytest", "-m", "scale", "-p", "no:cacheprovider", *PATIENT),
        *dict.fromkeys(str(file_of(name)) for name in names),
        *("--certload-stack=embedded", "--certload-duration=1500ms", "--certload-vus=20"),
        "--certload-warm-up=1s",
        *(f"--certload-results={results}", f"--certload-seed={seed}"),
        *(f"--certload-transport={transport}", f"--certload-preflight={preflight}"),
        *(f"--certload-server-env={variable}" for variable in environment),
        *more,
    ]
    run = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_START_SECONDS + _SCENARIO_SECONDS * (loads or len(names)),
        check=False,
    )
    return Outcome(status=run.returncode, output=run.stdout + run.stderr, results=results)


def _told(output: str) -> Mapping[str, str]:
    """What stands under the headings of failed tests, by scenario."""
    failures = re.split(r"^=+ load tests =+$|^=+ short test summary", output, flags=re.MULTILINE)[0]
    parts = re.split(
        r"^_{3,} (?:ERROR at setup of )?(test_\S+) _{3,}$", failures, flags=re.MULTILINE
    )
    return dict(zip(map(scenario_of, parts[1::2]), parts[2::2], strict=True))
