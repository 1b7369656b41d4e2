"""A server that does not do its work makes the matching scenario fail, and the failure says why.

The shipped scenarios run as a user runs them, against a reference server with faults. A start takes
longer than the load, and most faults concern one scenario, so a run may have a fault for each.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_certload.certctl.reference.faults import FAULTS
from tests.scenarios import faults_fleet, faults_scale
from tests.scenarios.caught import Caught, Run
from tests.scenarios.faults_scale import ACME, RENEWAL, STORM

ROOT = Path(__file__).parents[2]
#: Every fault. Each tier's table stands in a module of its own.
RUNS = (*faults_scale.RUNS, *faults_fleet.RUNS)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run of scenarios came to.

    Attributes:
        status: Pytest's exit code.
        output: All it said.
        told: What it said of each scenario that failed.
        summaries: The summary of each that has one.
    """

    status: int
    output: str
    told: Mapping[str, str]
    summaries: Mapping[str, Mapping[str, object]]


def run_scenarios(
    *names: str,
    results: Path,
    environment: tuple[str, ...] = (),
    seed: Path = ROOT / "seed",
    transport: str = "aiohttp",
    preflight: str = "on",
    effects_limit: str = "10s",
) -> Outcome:
    command = [
        *(sys.executable, "-m", "pytest", "-m", "scale", "-p", "no:cacheprovider"),
        *(f"tests/scale/test_{name.replace('-', '_')}.py" for name in names),
        *("--certload-stack=embedded", "--certload-duration=1500ms", "--certload-vus=20"),
        *(f"--certload-results={results}", f"--certload-seed={seed}"),
        f"--certload-effects-limit={effects_limit}",
        f"--certload-transport={transport}",
        f"--certload-preflight={preflight}",
        *(f"--certload-server-env={variable}" for variable in environment),
    ]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    documents = {name: results / f"summary-{name}.json" for name in names}
    return Outcome(
        status=run.returncode,
        output=run.stdout + run.stderr,
        told=_told(run.stdout),
        summaries={
            name: json.loads(document.read_text("utf-8"))
            for name, document in documents.items()
            if document.exists()
        },
    )


def _told(output: str) -> Mapping[str, str]:
    """What stands under the headings of failed tests, by scenario."""
    failures = re.split(r"^=+ load tests =+$|^=+ short test summary", output, flags=re.MULTILINE)[0]
    parts = re.split(
        r"^_{3,} (?:ERROR at setup of )?test_(\w+) _{3,}$", failures, flags=re.MULTILINE
    )
    return {
        name.replace("_", "-"): text for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


@pytest.fixture(scope="module")
def outcome_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Run], Outcome]:
    """Each run is made once, for all that it must catch."""
    made: dict[Run, Outcome] = {}

    def outcome(run: Run) -> Outcome:
        if run not in made:
            made[run] = run_scenarios(
                *run.scenarios,
                results=tmp_path_factory.mktemp("results"),
                environment=run.variables,
                transport=run.transport,
                preflight=run.preflight,
                # What is missing after so long never comes, as it is missed on purpose.
                effects_limit="2s",
            )
        return made[run]

    return outcome


@pytest.mark.parametrize("transport", ["aiohttp", "fast"])
def test_without_a_fault_the_scenarios_pass(transport: str, tmp_path: Path) -> None:
    outcome = run_scenarios(STORM, RENEWAL, ACME, results=tmp_path, transport=transport)
    assert outcome.status == pytest.ExitCode.OK, outcome.output
    for name in (STORM, RENEWAL, ACME):
        summary = outcome.summaries[name]
        assert summary["state"] == "passed"
        assert summary["reduced"], "it is not the full contract, and the summary says so"


CASES = [
    pytest.param(
        run,
        caught,
        id=f"{caught.fault}:{run.every}-{caught.scenario}-{run.transport}-{run.preflight}",
    )
    for run in RUNS
    for caught in run.caught
]


@pytest.mark.parametrize(("run", "caught"), CASES)
def test_a_fault_fails_its_scenario(
    run: Run, caught: Caught, outcome_of: Callable[[Run], Outcome]
) -> None:
    outcome = outcome_of(run)
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    assert caught.message in outcome.told.get(caught.scenario, ""), outcome.output
    if caught.scenario in outcome.summaries:
        assert outcome.summaries[caught.scenario]["state"] == "failed"


def test_every_fault_is_met_by_a_scenario() -> None:
    assert {caught.fault for run in RUNS for caught in run.caught} >= FAULTS.keys()


def test_the_page_says_who_catches_what() -> None:
    page = (ROOT / "docs" / "faults.md").read_text("utf-8")
    rows = [
        f"| `{caught.fault}` | {caught.scenario} | {caught.by} | `{caught.message.strip()}` |"
        for run in RUNS
        for caught in run.caught
    ]
    scenarios = dict.fromkeys(caught.scenario for run in RUNS for caught in run.caught)
    written = re.findall(rf"^\| `[^|]+` \| (?:{'|'.join(scenarios)}) \|.*\|$", page, re.MULTILINE)
    assert written == list(dict.fromkeys(rows)), "it should say:\n" + "\n".join(dict.fromkeys(rows))


def test_a_fleet_of_another_size_is_no_start(tmp_path: Path) -> None:
    """A storm of one agent would pass, and prove nothing of five thousand."""
    seeds = tmp_path / "seed"
    seeds.mkdir()
    for file in (ROOT / "seed").glob("0*.sql"):
        text = file.read_text("utf-8")
        seeds.joinpath(file.name).write_text(
            text.replace("generate_series(1, 5000)", "generate_series(1, 1)").replace("5000", "1"),
            "utf-8",
        )
    outcome = run_scenarios(STORM, results=tmp_path, seed=seeds)
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    assert "PreflightError: the database has 1 load-test agents" in outcome.output
    assert "the scenario wants 5,000" in outcome.output
    assert not outcome.summaries
