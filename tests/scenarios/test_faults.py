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

ROOT = Path(__file__).parents[2]
STORM, RENEWAL, ACME = "agent-storm", "bulk-renewal", "acme-burst"
ONE_WORKER = "CERTLOAD_REFERENCE_WORKERS=1"
LIMITER = "CERTCTL_RATE_LIMIT_ENABLED=true"
SPA = "CERTLOAD_REFERENCE_ACME=spa-fallback"


@dataclass(frozen=True, kw_only=True)
class Caught:
    """A fault, and how it shows in a scenario.

    Attributes:
        fault: Its name, or the variable that makes it.
        scenario: The scenario that it concerns.
        by: What catches it.
        message: Part of what is said then, which names the cause.
    """

    fault: str
    scenario: str
    by: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """Some faults at once, and who must catch which.

    Most are run without the checks before the load: what these find would never be seen in the load.
    """

    caught: tuple[Caught, ...]
    every: int | None = None
    environment: tuple[str, ...] = ()
    transport: str = "aiohttp"
    preflight: str = "off"

    @property
    def scenarios(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(caught.scenario for caught in self.caught))

    @property
    def variables(self) -> tuple[str, ...]:
        faults = dict.fromkeys(c.fault for c in self.caught if c.fault in FAULTS)
        switched = ",".join(f"{name}:{self.every}" if self.every else name for name in faults)
        variables = [c.fault for c in self.caught if c.fault not in FAULTS]
        return (f"CERTLOAD_REFERENCE_FAULTS={switched}", *self.environment, *variables)


def everywhere(fault: str, by: str, message: str) -> tuple[Caught, ...]:
    return tuple(
        Caught(fault=fault, scenario=scenario, by=by, message=message)
        for scenario in (STORM, RENEWAL, ACME)
    )


STATUS, CHECK, STACK = "status", "check", "token check of the stack"
ERRORS, LATENCY, DATABASE, BEFORE = "errors", "latency", "database", "check before the load"
ENQUEUED = "every certificate that was asked for is enqueued"
FORBIDDEN, SERVER_ERROR = "expected status 200, got 403", "expected status 200, got 500"
HEARTBEATS_LOST = "acknowledged heartbeats never showed in the database"
JOBS_LOST = "acknowledged renewal jobs are not in the database"
NONCES_LOST = "acknowledged nonces are not in the database"

#: Every fault. What strikes once in N strikes oftener here, so that a load of 1.5 s meets it.
RUNS = (
    Run(
        caught=(
            Caught(fault="forbid-writes", scenario=STORM, by=STATUS, message=FORBIDDEN),
            Caught(fault="forbid-writes", scenario=RENEWAL, by=STATUS, message=FORBIDDEN),
        )
    ),
    Run(
        caught=(
            Caught(fault="error-500", scenario=STORM, by=STATUS, message=SERVER_ERROR),
            Caught(fault="error-500", scenario=RENEWAL, by=STATUS, message=SERVER_ERROR),
        )
    ),
    Run(caught=everywhere("read-only-key", STACK, "a key without :admin")),
    Run(
        caught=(
            Caught(fault="heartbeat-drop", scenario=STORM, by=DATABASE, message=HEARTBEATS_LOST),
            Caught(fault="bulk-zero", scenario=RENEWAL, by=CHECK, message=ENQUEUED),
            Caught(
                fault="html-directory",
                scenario=ACME,
                by=CHECK,
                message="the directory is JSON, not HTML",
            ),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="heartbeat-wrong-agent", scenario=STORM, by=DATABASE, message=HEARTBEATS_LOST
            ),
            Caught(fault="bulk-partial", scenario=RENEWAL, by=CHECK, message=ENQUEUED),
            Caught(
                fault="no-nonce-header",
                scenario=ACME,
                by=CHECK,
                message="a nonce: Replay-Nonce is there",
            ),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="stale-clock",
                scenario=STORM,
                by=DATABASE,
                message=HEARTBEATS_LOST,
            ),
            Caught(fault="bulk-lost", scenario=RENEWAL, by=DATABASE, message=JOBS_LOST),
            Caught(fault="nonce-unstored", scenario=ACME, by=DATABASE, message=NONCES_LOST),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="audit-missing",
                scenario=STORM,
                by=DATABASE,
                message="audit rows: ",
            ),
            Caught(
                fault="jobs-duplicated",
                scenario=RENEWAL,
                by=DATABASE,
                message="renewal jobs that nobody acknowledged",
            ),
            Caught(fault="unknown-profile-500", scenario=ACME, by=STATUS, message=SERVER_ERROR),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="audit-broken",
                scenario=STORM,
                by=DATABASE,
                message="chain",
            ),
            Caught(fault=SPA, scenario=ACME, by=CHECK, message="the directory is JSON, not HTML"),
        )
    ),
    Run(
        every=10,
        environment=(ONE_WORKER,),
        caught=(
            Caught(
                fault="write-lost",
                scenario=STORM,
                by=DATABASE,
                message=HEARTBEATS_LOST,
            ),
            Caught(fault="write-lost", scenario=RENEWAL, by=DATABASE, message=JOBS_LOST),
            Caught(fault="write-lost", scenario=ACME, by=DATABASE, message=NONCES_LOST),
        ),
    ),
    # Once in 200, as a rule: no percentile below 99.5 sees it.
    Run(
        environment=(ONE_WORKER,),
        caught=(
            Caught(
                fault="tail-latency", scenario=STORM, by=LATENCY, message="response time p99.9 = 3"
            ),
            Caught(
                fault="tail-latency", scenario=ACME, by=LATENCY, message="response time p99.9 = 3"
            ),
        ),
    ),
    Run(
        every=100,
        environment=(ONE_WORKER,),
        caught=(Caught(fault="stall", scenario=STORM, by=LATENCY, message="response time p95 = "),),
    ),
    # Once in 50, as a rule: the client asks again, so that no iteration hears of it.
    Run(
        environment=(ONE_WORKER,),
        caught=(
            Caught(fault="reset", scenario=STORM, by=ERRORS, message="Connection reset by peer"),
            Caught(fault="reset", scenario=ACME, by=ERRORS, message="unanswered rate = "),
        ),
    ),
    Run(
        every=4,
        environment=(ONE_WORKER,),
        caught=everywhere("reset", ERRORS, "Connection reset by peer"),
    ),
    *(
        Run(
            every=4,
            environment=(ONE_WORKER,),
            transport=transport,
            caught=everywhere("truncated-body", ERRORS, message),
        )
        for transport, message in (
            ("aiohttp", "Response payload is not completed"),
            ("fast", "the connection was lost before the body was whole"),
        )
    ),
    *(
        Run(
            every=2,
            environment=(ONE_WORKER,),
            transport=transport,
            caught=everywhere("wrong-length", ERRORS, message),
        )
        for transport, message in (("aiohttp", "Bad status line"), ("fast", "JSONDecodeError"))
    ),
    Run(
        caught=(
            Caught(
                fault=LIMITER,
                scenario=ACME,
                by=STATUS,
                message="expected status 200, got 429",
            ),
        )
    ),
    Run(
        environment=(LIMITER,),
        caught=(
            Caught(
                fault="429-shape",
                scenario=ACME,
                by=CHECK,
                message="429 with a wrong shape: the global limiter answers text/plain",
            ),
        ),
    ),
    Run(
        preflight="on",
        caught=(
            Caught(fault="forbid-writes", scenario=STORM, by=BEFORE, message="is answered 403"),
            Caught(
                fault="nonce-unstored",
                scenario=ACME,
                by=BEFORE,
                message="the server does not store them",
            ),
            *everywhere(LIMITER, BEFORE, "run certctl with CERTCTL_RATE_LIMIT_ENABLED=false"),
        ),
    ),
    Run(
        preflight="on",
        caught=(
            *everywhere("stale-clock", BEFORE, "the server's clock is"),
            Caught(fault=SPA, scenario=ACME, by=BEFORE, message="mounted over /app/web/dist"),
        ),
    ),
    Run(
        preflight="on",
        caught=(
            Caught(fault="error-500", scenario=RENEWAL, by=BEFORE, message="answers 500"),
            Caught(fault="unknown-profile-500", scenario=ACME, by=BEFORE, message="answers 500"),
        ),
    ),
)


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
    written = re.findall(
        rf"^\| `[^|]+` \| (?:{STORM}|{RENEWAL}|{ACME}) \|.*\|$", page, re.MULTILINE
    )
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
