"""The ACME client against Pebble, Let's Encrypt's test server: one that nobody here wrote."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_certload.acme.certificates import Trust
from pytest_certload.acme.client import AcmeClient, Tally
from pytest_certload.acme.enrolments import Enrolments
from pytest_certload.acme.resources import Directory
from pytest_certload.clients import TRANSPORTS, open_client
from pytest_certload.clients.http import classify
from pytest_certload.engine.clock import SystemClock
from pytest_certload.engine.executors.constant_arrival_rate import ConstantArrivalRate
from pytest_certload.engine.runner import ScenarioRun, WorkerReport
from pytest_certload.engine.scenario import Iteration, Scenario, current_iteration
from pytest_certload.units import seconds

from .conftest import Authority

PROGRAM = shutil.which("pebble")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Pebble: apt-get install -y pebble")

PATIENCE = 20.0
STEPS = ["new-nonce", "new-account", "new-order", "authorization", "finalize", "certificate"]


@dataclass(frozen=True, kw_only=True)
class Pebble:
    """A running Pebble: where it listens, and its root."""

    port: int
    root: bytes


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now: Pebble does not tell which one it was given.

    Not the system's choice, which it may give to somebody else until Pebble begins to listen.
    """
    free: list[int] = []
    for port in random.sample(range(20_000, 30_000), 1_000):
        with suppress(OSError), closing(socket.create_server(("127.0.0.1", port))):
            free.append(port)
        if len(free) == count:
            return free
    raise AssertionError("a thousand ports are taken")


@contextmanager
def pebble(folder: Path, authority: Authority, environment: Mapping[str, str]) -> Iterator[Pebble]:
    """Pebble with a certificate of the session's CA, without its random delays."""
    assert PROGRAM is not None
    port, management, unused_http, unused_tls, no_dns = free_ports(5)
    certificate = authority.ca.issue_cert("127.0.0.1")
    (folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    (folder / "cert.pem").write_bytes(b"".join(p.bytes() for p in certificate.cert_chain_pems))
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "cert.pem"),
        "privateKey": str(folder / "key.pem"),
        "httpPort": unused_http,
        "tlsPort": unused_tls,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    (folder / "config.json").write_text(json.dumps({"pebble": settings}))
    log = folder / "pebble.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(PROGRAM, "-strict", "-config", str(folder / "config.json")),
                # Nobody is asked for a name: what cannot be looked up is known at once.
                *("-dnsserver", f"127.0.0.1:{no_dns}"),
            ],
            stdout=output,
            stderr=output,
            env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", **environment},
        )
    try:
        # Each begins to listen by itself.
        for each in (port, management):
            wait_for(each, process, log)
        yield Pebble(port=port, root=root_of(management, authority))
    finally:
        process.terminate()
        process.wait(PATIENCE)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with closing(socket.create_connection(("127.0.0.1", port), 1)):
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)


def root_of(port: int, authority: Authority) -> bytes:
    """The root's certificate, from Pebble's second port: a client would have it from elsewhere too."""
    context = ssl.create_default_context(cafile=str(authority.file))
    with urllib.request.urlopen(
        f"https://127.0.0.1:{port}/roots/0", timeout=PATIENCE, context=context
    ) as answer:
        body: bytes = answer.read()
        return body


@dataclass
class Outcome:
    """What a load of enrolments came to."""

    report: WorkerReport
    tally: Tally
    enrolments: Enrolments
    created: dict[int, bool] = field(default_factory=dict)
    chains: dict[int, bytes] = field(default_factory=dict)

    @property
    def steps(self) -> Mapping[str, int]:
        """How often each step succeeded."""
        figures = self.report.figures
        return {name: figures.step(name).times["response time"].count for name in STEPS}


async def enrol(
    server: Pebble, authority: Authority, transport: str, *, count: int, retries: int
) -> Outcome:
    """Enrol machines by the engine's own iterations, as a load test does."""
    tally = Tally()
    enrolments = Enrolments(count, lambda n: [f"host-{n}.example.test", f"www-{n}.example.test"])
    created: dict[int, bool] = {}
    chains: dict[int, bytes] = {}

    async def iterate(iteration: Iteration) -> None:
        machine = enrolments[iteration.index]
        async with iteration.client.get("/dir") as response:
            iteration.expect(response, 200)
            directory = Directory.of(await response.json())
        acme = AcmeClient(iteration, directory, machine.key, tally, retries=retries)
        async with iteration.step("new-nonce"):
            await acme.new_nonce()
        async with iteration.step("new-account"):
            account = await acme.new_account([f"mailto:{iteration.index}@example.test"])
        created[iteration.index] = account.created
        async with iteration.step("new-order"):
            order = await acme.new_order(machine.names)
        assert order.status == "pending"
        async with iteration.step("authorization"):
            order = await acme.ready(order)
        async with iteration.step("finalize"):
            order = await acme.finalize(order, machine.csr)
        async with iteration.step("certificate"):
            chains[iteration.index] = (await acme.certificate(order)).chain

    async with open_client(
        transport,
        base_url=f"https://127.0.0.1:{server.port}",
        connections=count,
        timeout=seconds(PATIENCE),
        ca_path=authority.file,
        observer=current_iteration,
    ) as client:
        run = ScenarioRun(
            Scenario(
                name="enrolment",
                executor=ConstantArrivalRate(rate=count, duration="1s"),
                iteration=iterate,
            ),
            clients=[client],
            clock=SystemClock(),
            classify=classify,
        )
        await run.execute()
    return Outcome(run.report(), tally, enrolments, created, chains)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_machines_enrol(transport: str, authority: Authority, tmp_path: Path) -> None:
    """Challenges are asked for, orders are waited for, and the certificates are the right ones."""
    environment = {"PEBBLE_VA_ALWAYS_VALID": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with pebble(tmp_path, authority, environment) as server:
        outcome = asyncio.run(enrol(server, authority, transport, count=10, retries=0))
    assert outcome.report.errors == ()
    assert outcome.steps == dict.fromkeys(STEPS, 10)
    assert outcome.created == dict.fromkeys(range(10), True)
    assert outcome.tally.bad_nonces == 0
    assert outcome.tally.nonces_fetched == 10, "each further nonce came with an answer"
    # Two names: account, order, 2 x (authorization, challenge, authorization), order, finalize,
    # order, certificate.
    assert outcome.tally.signed >= 10 * 11
    assert outcome.tally.signing_ns > 0
    trust = Trust(server.root)
    assert len(outcome.chains) == 10
    for number, chain in outcome.chains.items():
        assert trust.fault(chain, outcome.enrolments[number]) is None
    others = outcome.enrolments[0], outcome.chains[1]
    assert trust.fault(others[1], others[0]) is not None


def test_a_refused_nonce_is_retried_and_counted(authority: Authority, tmp_path: Path) -> None:
    """Pebble refuses half of all nonces: every machine gets its certificate all the same."""
    environment = {"PEBBLE_VA_ALWAYS_VALID": "1", "PEBBLE_WFE_NONCEREJECT": "50"}
    with pebble(tmp_path, authority, environment) as server:
        outcome = asyncio.run(enrol(server, authority, "fast", count=5, retries=40))
    assert outcome.report.errors == ()
    assert len(outcome.chains) == 5
    tally = outcome.tally
    # At least 55 requests have to get through, and each has even odds: 10 refusals are 1 in 10^10.
    assert tally.bad_nonces >= 10
    assert tally.signed >= 55 + tally.bad_nonces
    assert tally.nonces_fetched == 5, "a refusal brings the nonce for the next attempt"


def test_a_nonce_that_is_refused_for_ever_is_an_error(authority: Authority, tmp_path: Path) -> None:
    with pebble(tmp_path, authority, {"PEBBLE_WFE_NONCEREJECT": "100"}) as server:
        outcome = asyncio.run(enrol(server, authority, "aiohttp", count=2, retries=3))
    (error,) = outcome.report.errors
    assert error.count == 2
    assert error.step == "new-account"
    assert "expected status 201 or 200, got 400 (application/problem+json)" in error.message
    assert (outcome.tally.signed, outcome.tally.bad_nonces) == (8, 8)
    assert outcome.chains == {}


def test_a_name_that_is_not_proven_is_an_error(authority: Authority, tmp_path: Path) -> None:
    """When Pebble really looks, it finds no such machine."""
    environment = {"PEBBLE_WFE_NONCEREJECT": "0"}
    with pebble(tmp_path, authority, environment) as server:
        outcome = asyncio.run(enrol(server, authority, "aiohttp", count=1, retries=0))
    (error,) = outcome.report.errors
    assert error.step == "authorization"
    assert error.message == "an authorization that was asked for is valid, not invalid"
