"""The README's commands for load tests run as they stand there, made short by environment variables.

Its first two commands set up a machine; CI runs them on a bare one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pytest_certload.certctl.product import PRODUCT
from pytest_certload.stack import Stack, StackRequest, open_stack
from tests.scenarios.inner import PATIENT

ROOT = Path(__file__).parents[2]
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
SHORT = {"CERTLOAD_DURATION": "1500ms", "CERTLOAD_VUS": "20"}
#: All would take long and show no more of a command; that they pass, ``.ci/run`` shows.
SCENARIOS = ("acme-burst", "agent-storm")
ONLY = " or ".join(f"test_{name.replace('-', '_')}" for name in SCENARIOS)


def command_with(words: str) -> str:
    (found,) = (command.strip() for command in COMMANDS if words in command)
    return str(found)


def run(command: str, results: Path, **environment: str) -> str:
    scripts = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=ROOT,
        env={
            **os.environ,
            **SHORT,
            **environment,
            "CERTLOAD_RESULTS": str(results),
            "PATH": f"{scripts}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTEST_ADDOPTS": f"-p no:cacheprovider {' '.join(PATIENT)} -k '{ONLY}'",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    for name in SCENARIOS:
        assert f"{name}: passed" in done.stdout
        assert (results / f"summary-{name}.json").exists()
    return done.stdout


@pytest.fixture(scope="module")
def running() -> Iterator[Stack]:
    request = StackRequest(provider="embedded")
    with open_stack(request, PRODUCT, announce=lambda _: None) as stack:
        yield stack


def test_there_are_no_others() -> None:
    assert len(COMMANDS) == 5


def test_in_full(tmp_path: Path) -> None:
    assert "pytest -m scale\n" in COMMANDS
    output = run("pytest -m scale", tmp_path, CERTLOAD_STACK="embedded")
    assert "on the embedded stack: certctl reference server" in output


def test_with_docker(tmp_path: Path) -> None:
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        pytest.skip("Docker daemon does not answer")
    command = command_with("--certload-stack docker")
    image = "ghcr.io/certctl-io/certctl-server:latest"
    assert image in command
    output = run(
        command.replace(image, "reference"),
        tmp_path,
        CERTLOAD_POSTGRES_IMAGE="certload-postgres:15",
        TESTCONTAINERS_RYUK_DISABLED="true",
        TESTCONTAINERS_HOST_OVERRIDE="127.0.0.1",
    )
    assert "on the docker stack: certctl reference server" in output


def test_a_server_that_already_runs(running: Stack, tmp_path: Path) -> None:
    values: Mapping[str, str] = {
        "https://localhost:8443": running.endpoint.base_url,
        "ca.pem": str(running.endpoint.ca_path),
        "postgresql://certctl:secret@localhost:5432/certctl": str(running.dsn),
    }
    command = command_with("--certload-stack external")
    for placeholder, value in values.items():
        assert command.count(placeholder) == 1
        command = command.replace(placeholder, value)
    output = run(command, tmp_path, CERTCTL_TOKEN=str(running.endpoint.token))
    assert "on the external stack: certctl reference server" in output
    for secret in (running.dsn, running.endpoint.token):
        assert str(secret) not in output
