"""A server that does not do its work makes the matching scenario fail, and the failure says why.

Each case runs a shipped scenario as a user does, against a reference server with one fault.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    status: int
    output: str
    summary: dict[str, object] | None


def run_scenario(
    name: str,
    results: Path,
    *environment: str,
    seed: Path = ROOT / "seed",
    transport: str = "aiohttp",
    preflight: str = "on",
) -> Outcome:
    command = [
        *(sys.executable, "-m", "pytest", f"tests/scale/test_{name}.py", "-m", "scale"),
        *("-p", "no:cacheprovider", "--certload-stack=embedded", "--certload-duration=1500ms"),
        *("--certload-vus=20", f"--certload-results={results}", f"--certload-seed={seed}"),
        f"--certload-transport={transport}",
        f"--certload-preflight={preflight}",
        *(f"--certload-server-env={variable}" for variable in environment),
    ]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    document = results / f"summary-{name.replace('_', '-')}.json"
    return Outcome(
        status=run.returncode,
        output=run.stdout + run.stderr,
        summary=json.loads(document.read_text("utf-8")) if document.exists() else None,
    )


@pytest.mark.parametrize("transport", ["aiohttp", "fast"])
@pytest.mark.parametrize("name", ["agent_storm", "bulk_renewal", "acme_burst"])
def test_without_a_fault_the_scenario_passes(name: str, transport: str, tmp_path: Path) -> None:
    outcome = run_scenario(name, tmp_path, transport=transport)
    assert outcome.status == pytest.ExitCode.OK, outcome.output
    assert outcome.summary is not None
    assert outcome.summary["state"] == "passed"
    assert outcome.summary["reduced"], "it is not the full contract, and the summary says so"


@pytest.mark.parametrize(
    ("name", "fault", "message"),
    [
        ("agent_storm", "forbid-writes", "expected status 200, got 403"),
        ("agent_storm", "error-500", "500"),
        ("agent_storm", "heartbeat-drop", "acknowledged heartbeats never showed in the database"),
        ("bulk_renewal", "forbid-writes", "expected status 200, got 403"),
        ("bulk_renewal", "error-500", "500"),
        ("bulk_renewal", "bulk-zero", "every certificate that was asked for is enqueued"),
        ("bulk_renewal", "bulk-partial", "every certificate that was asked for is enqueued"),
        ("bulk_renewal", "bulk-lost", "acknowledged renewal jobs are not in the database"),
        ("acme_burst", "html-directory", "the directory is JSON, not HTML"),
        ("acme_burst", "unknown-profile-500", "expected status 200, got 500"),
        ("acme_burst", "no-nonce-header", "a nonce: Replay-Nonce is there"),
        ("acme_burst", "nonce-unstored", "acknowledged nonces are not in the database"),
    ],
)
def test_a_fault_fails_the_scenario(name: str, fault: str, message: str, tmp_path: Path) -> None:
    """By what the scenario sees of the load: the checks before it, which find some too, are left out."""
    variable = f"CERTLOAD_REFERENCE_FAULTS={fault}"
    outcome = run_scenario(name, tmp_path, variable, preflight="off")
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    assert message in outcome.output
    if outcome.summary is not None:
        assert outcome.summary["state"] == "failed"


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
    outcome = run_scenario("agent_storm", tmp_path, seed=seeds)
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    assert "PreflightError: the database has 1 load-test agents" in outcome.output
    assert "the scenario wants 5,000" in outcome.output
    assert outcome.summary is None


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("", "expected status 200, got 429"),
        ("429-shape", "429 with a wrong shape: the global limiter answers text/plain"),
    ],
)
def test_refusals_by_the_limiter_are_errors_and_their_shape_is_held(
    fault: str, message: str, tmp_path: Path
) -> None:
    outcome = run_scenario(
        "acme_burst",
        tmp_path,
        "CERTCTL_RATE_LIMIT_ENABLED=true",
        f"CERTLOAD_REFERENCE_FAULTS={fault}",
        preflight="off",
    )
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    assert message in outcome.output


@pytest.mark.parametrize(
    ("name", "variables", "failures"),
    [
        (
            "agent_storm",
            ["CERTLOAD_REFERENCE_FAULTS=forbid-writes"],
            {"heartbeat": "is answered 403"},
        ),
        (
            "bulk_renewal",
            ["CERTLOAD_REFERENCE_FAULTS=error-500", "CERTCTL_RATE_LIMIT_ENABLED=true"],
            {
                "bulk-renew": "answers 500",
                "limiter": "run certctl with CERTCTL_RATE_LIMIT_ENABLED=false",
            },
        ),
        (
            "acme_burst",
            ["CERTLOAD_REFERENCE_ACME=spa-fallback"],
            {"acme": "mounted over /app/web/dist"},
        ),
    ],
)
def test_what_can_be_known_before_the_load_prevents_it(
    name: str, variables: list[str], failures: dict[str, str], tmp_path: Path
) -> None:
    outcome = run_scenario(name, tmp_path, *variables)
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    assert f"PreflightError: {len(failures)} of " in outcome.output
    for check, message in failures.items():
        (line,) = (x for x in outcome.output.splitlines() if x.startswith(f"E     {check}: "))
        assert message in line
    assert outcome.summary is None
