"""A daemon that does wrong makes the connector tier fail, and the failure says why.

The shipped test runs as a user runs it, against real daemons to which something was done.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_certload.certctl.connectors.specs import SPECS
from tests.scenarios.inner import PATIENT

ROOT = Path(__file__).parents[2]
TIER = "connector-tier"

#: ``options`` are those of ``open_daemons``; ``meanwhile`` is run beside the load.
CONFTEST = """
import pytest
from pytest_certload.certctl.connectors import open_connectors
from pytest_certload.stack.daemons import DaemonMissing
from pytest_certload.face import FACE

options = {}

def meanwhile(connectors):
    pass
"""
FIXTURE = """

@pytest.fixture(scope="session")
def certload_connectors(request):
    import threading

    face = request.config.stash[FACE]
    try:
        with open_connectors(
            face.settings.stack_request(), announce=face.voice.announce, **options
        ) as connectors:
            beside = threading.Thread(target=meanwhile, args=(connectors,))
            beside.start()
            yield connectors
            beside.join()
    except DaemonMissing as missing:
        pytest.skip(str(missing))
"""

WRONG_CERTIFICATES = """
from datetime import UTC, datetime, timedelta
from pytest_certload.stack.certs import CertificateAuthority

def serve(authority, name):
    now = datetime.now(UTC)
    if name == "nginx":
        past = {"not_before": now - timedelta(days=90), "not_after": now - timedelta(days=1)}
        return authority.issue(file_name="expired", **past)
    if name == "apache":
        other = CertificateAuthority(authority.ca_path.parent / "other")
        return other.issue(file_name="other")
    if name == "haproxy":
        return authority.issue("somebody.test", file_name="name")
    return authority.issue(file_name="yesterday")

options["serve"] = serve
"""

#: A client that resumes a session wherever a server lets it.
RESUMING = """
from asyncio.sslproto import SSLProtocol

sessions = {}
start = SSLProtocol._start_handshake

def start_handshake(self):
    peer = self._transport.get_extra_info("peername")
    before = sessions.get(peer)
    if before is not None:
        self._sslobj.session = before.session
    sessions[peer] = self._sslobj
    start(self)

SSLProtocol._start_handshake = start_handshake

options["resumption"] = True
"""

#: As if the client could not tell a resumed session from a new one.
BLIND = """
from pytest_certload.certctl.connectors import Target

Target.check_handshake = lambda self, iteration: None
"""

STALL = """
import os
import signal
import time
import psutil

def meanwhile(connectors):
    daemon = connectors["haproxy"].daemon
    while not daemon.handshakes():
        time.sleep(0.01)
    os.kill(daemon.pid, signal.SIGSTOP)
    time.sleep(12)
    os.kill(daemon.pid, signal.SIGCONT)

def pytest_collection_modifyitems(items):
    # Wide enough for a busy machine, and below what the stall lasts.
    for item in items:
        wide = item.module.seconds(60)
        item.module.USUAL = item.module.seconds(6), wide
        item.module.LIMITS = dict.fromkeys(("nginx", "apache", "f5"), (wide, wide))
"""

#: A line that was never written: somebody answers in the daemon's place.
UNSEEN = """
from pytest_certload.stack.daemons import Daemon

handshakes = Daemon.handshakes
Daemon.handshakes = lambda self: handshakes(self)[:3] if self.name == "apache" else handshakes(self)
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the test came to.

    Attributes:
        status: Pytest's exit code.
        output: All it said.
        summaries: The summary of each scenario, by the daemon's name.
    """

    status: int
    output: str
    summaries: Mapping[str, Mapping[str, Any]]

    def errors_of(self, name: str) -> str:
        return "\n".join(error["message"] for error in self.summaries[name]["errors"])

    @property
    def failure(self) -> str:
        return "\n".join(line for line in self.output.splitlines() if line.startswith("E  "))


def run_tier(
    folder: Path,
    *faults: str,
    transport: str = "aiohttp",
    preflight: str = "on",
    more: Sequence[str] = PATIENT,
) -> Outcome:
    shutil.copy(ROOT / "tests" / "scale" / "test_connector_tier.py", folder)
    (folder / "conftest.py").write_text("".join([CONFTEST, *faults, FIXTURE]), "utf-8")
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nmarkers =\n  tier_connector\n"
    )
    results = folder / "results"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-m", "scale", "-p", "no:cacheprovider"),
            *("--certload-stack=embedded", "--certload-duration=1500ms", "--certload-rate=6/s"),
            f"--certload-results={results}",
            *more,
            *(f"--certload-transport={transport}", f"--certload-preflight={preflight}"),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "apt-get install" in run.stdout:
        pytest.skip(
            "a daemon is missing: apt-get install --no-install-recommends nginx apache2 haproxy"
        )
    documents = {spec.name: results / f"summary-{spec.name}-handshake.json" for spec in SPECS}
    return Outcome(
        status=run.returncode,
        output=run.stdout + run.stderr,
        summaries={
            name: json.loads(document.read_text("utf-8"))
            for name, document in documents.items()
            if document.exists()
        },
    )


@pytest.mark.parametrize("transport", ["aiohttp", "fast"])
def test_without_a_fault_the_tier_passes(transport: str, tmp_path: Path) -> None:
    outcome = run_tier(tmp_path, transport=transport)
    assert outcome.status == pytest.ExitCode.OK, outcome.output
    assert len(outcome.summaries) == 4
    for name, summary in outcome.summaries.items():
        assert summary["state"] == "passed"
        assert summary["iterations"]["ok"] == 9
        phases = summary["iterations"]["phases"]
        assert phases["connect"]["count"] == phases["tls"]["count"] == 9, "a new one each time"
        (effects,) = summary["proof"]["effects"]
        assert (effects["name"], effects["present"]) == (f"full {name} handshakes", 9)


def test_wrong_certificates_are_found_before_the_load(tmp_path: Path) -> None:
    outcome = run_tier(tmp_path, WRONG_CERTIFICATES)
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    assert "PreflightError" in outcome.output
    assert outcome.summaries == {}, "no load was made"
    for words in ("has expired", "does not come from", "is for another name"):
        assert words in outcome.output, outcome.output


@pytest.mark.parametrize("transport", ["aiohttp", "fast"])
def test_wrong_certificates_fail_the_load(transport: str, tmp_path: Path) -> None:
    outcome = run_tier(tmp_path, WRONG_CERTIFICATES, transport=transport, preflight="off")
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    for name, words in (
        ("nginx", "certificate has expired"),
        ("apache", "unable to get local issuer certificate"),
        ("haproxy", "IP address mismatch"),
        # The right CA and the right name: an old one that was never replaced.
        ("f5", "the certificate that was deployed, by its SHA-256"),
    ):
        assert words in outcome.errors_of(name), outcome.output
        assert outcome.summaries[name]["iterations"]["ok"] == 0


def test_a_certificate_that_was_never_replaced_is_found_before_the_load(tmp_path: Path) -> None:
    stale = "options['serve'] = lambda authority, name: authority.issue(file_name=f'old-{name}')\n"
    outcome = run_tier(tmp_path, stale)
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    for spec in SPECS:
        assert f"{spec.name} serves another certificate than the one that" in outcome.output
    assert outcome.summaries == {}


@pytest.mark.parametrize("transport", ["aiohttp", "fast"])
def test_a_client_that_resumes_sessions_is_noticed(transport: str, tmp_path: Path) -> None:
    outcome = run_tier(tmp_path, RESUMING, transport=transport, preflight="off")
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    for spec in SPECS:
        summary = outcome.summaries[spec.name]
        resumed = sum(
            error["count"]
            for error in summary["errors"]
            if "a full handshake, no resumed session" in error["message"]
        )
        # Full are the first one, and what began before its ticket came.
        assert resumed > 0
        assert summary["iterations"]["ok"] == 9 - resumed >= 1


def test_the_daemons_notice_it_too(tmp_path: Path) -> None:
    more = (*PATIENT, "--certload-effects-limit=500ms")
    outcome = run_tier(tmp_path, RESUMING, BLIND, preflight="off", more=more)
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    lost = r"[1-8] of 9 acknowledged full nginx handshakes are not in the log of nginx"
    assert re.search(lost, outcome.failure), outcome.output


def test_an_answer_that_the_daemon_does_not_know_of_is_noticed(tmp_path: Path) -> None:
    outcome = run_tier(tmp_path, UNSEEN, more=(*PATIENT, "--certload-effects-limit=500ms"))
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    assert (
        "6 of 9 acknowledged full apache handshakes are not in the log of apache" in outcome.failure
    )


def test_a_daemon_that_stalls_misses_its_limits(tmp_path: Path) -> None:
    outcome = run_tier(tmp_path, STALL, more=PATIENT[:2])
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    # The kernel connects for the daemon; its handshake waits.
    assert "assert tls p95 = " in outcome.failure, outcome.output
    assert outcome.summaries["haproxy"]["iterations"]["ok"] == 9
