"""What does an ACME enrolment cost the generator? ``python -m bench.enrolment``, a bench by itself.

First what is signed: keys, CSRs and requests, by ``pytest_certload.acme`` and, where it is installed
(``pip install acme``), by josepy, with which certbot signs. Then whole enrolments, offered at constant rates
to a server that answers the same to everybody and so is never the limit: CPU time of the generator's
process for each, and how many of those that were due were over in time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.asymmetric import ec

from pytest_certload.acme.client import AcmeClient, Tally
from pytest_certload.acme.enrolments import Enrolments, new_enrolment
from pytest_certload.acme.jws import signed
from pytest_certload.acme.keys import AccountKey
from pytest_certload.acme.resources import Directory
from pytest_certload.clients import TRANSPORTS, open_client
from pytest_certload.clients.http import classify
from pytest_certload.engine.clock import SystemClock
from pytest_certload.engine.executors.constant_arrival_rate import ConstantArrivalRate
from pytest_certload.engine.runner import ScenarioRun
from pytest_certload.engine.scenario import Iteration, Scenario, current_iteration
from pytest_certload.units import seconds

__all__ = ["Offered", "main", "offer", "signing_costs"]

_URL = "https://127.0.0.1:8443/acme/profile/prof-loadtest"
_KID = f"{_URL}/account/acme-acc-NrbNbuEYJeEB0w8bUn0eVyZtU9Tg4DYkPUJ4VNpx5HY"
_NONCE = "oFvnlFP1wIhRlYS2jTaXbA4wZ0n1sWcWk5xvS7o9lqM"
#: Of every machine: what is said to one is said to all.
_NAME = "host-1.acme.loadtest.example.test"
_ORDER = {"identifiers": [{"type": "dns", "value": _NAME}]}
_ROUNDS = 5
_REPEATS = 1000
_RATES = (20, 100, 200)
_SECONDS = 5.0
_JSON = "application/json"


def _cost(work: Callable[[], object], repeats: int) -> float:
    """CPU time of one, microseconds: the median of some rounds."""
    work()
    found = []
    for _ in range(_ROUNDS):
        began = time.thread_time_ns()
        for _ in range(repeats):
            work()
        found.append((time.thread_time_ns() - began) / repeats / 1000)
    return sorted(found)[_ROUNDS // 2]


def signing_costs(repeats: int = _REPEATS) -> dict[str, float]:
    """CPU time of each kind of work, microseconds."""
    private = ec.generate_private_key(ec.SECP256R1())
    key = AccountKey(private)
    url = f"{_URL}/new-order"
    costs = {
        "an account key": _cost(AccountKey, repeats),
        "account key, certificate key and CSR": _cost(
            lambda: new_enrolment(["host-1.acme.loadtest.example.test"]), repeats
        ),
        "a signed request": _cost(
            lambda: signed(key, url=url, nonce=_NONCE, payload=_ORDER, kid=_KID), repeats
        ),
    }
    theirs = _josepy(private, url)
    if theirs is not None:
        costs["a signed request, by josepy"] = _cost(theirs, repeats)
    return costs


def _josepy(private: ec.EllipticCurvePrivateKey, url: str) -> Callable[[], object] | None:
    """The same request by josepy; None: it is not installed."""
    try:
        from acme.jws import JWS
        from josepy.json_util import decode_b64jose
        from josepy.jwa import ES256
        from josepy.jwk import JWKEC
    except ImportError:
        return None
    key = JWKEC(key=private)
    nonce = decode_b64jose(_NONCE)

    def sign() -> object:
        payload = json.dumps(_ORDER).encode()
        made = JWS.sign(payload, key=key, alg=ES256, nonce=nonce, url=url, kid=_KID)
        return made.json_dumps().encode()

    return sign


@dataclass(frozen=True, kw_only=True)
class Offered:
    """What a load of enrolments came to.

    Attributes:
        transport: With which it was made.
        rate: Enrolments that were due a second.
        due: How many were, in all.
        ok: Of these, how many were over when the load was, or in the time that was left for it.
        cpu_ms: CPU time of the generator's process, for each.
        signing_ms: Of that, for signatures.
        p99_ms: 99 % of the enrolments took no longer from their due time on.
    """

    transport: str
    rate: int
    due: int
    ok: int
    cpu_ms: float
    signing_ms: float
    p99_ms: float


def offer(transport: str, rate: int, length: float) -> Offered:
    """Offer enrolments to a server of our own, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="certload-bench.") as name:
        folder = Path(name)
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            str(folder / "server.pem")
        )
        ours, its = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(its, folder / "server.pem"), daemon=True
        )
        server.start()
        try:
            base_url = f"https://127.0.0.1:{ours.recv()}"
            return asyncio.run(_offer(transport, rate, length, base_url, folder / "ca.pem"))
        finally:
            server.terminate()
            server.join()


async def _offer(transport: str, rate: int, length: float, base_url: str, ca_path: Path) -> Offered:
    executor = ConstantArrivalRate(rate=rate, duration=length, max_in_flight=200)
    machines = Enrolments(executor.iterations, lambda _: [_NAME])
    tally = Tally()

    async def enrol(iteration: Iteration) -> None:
        machine = machines[iteration.index]
        async with iteration.step("directory"):
            async with iteration.client.get("/directory") as response:
                iteration.expect(response, 200)
                directory = Directory.of(await response.json())
        acme = AcmeClient(iteration, directory, machine.key, tally)
        async with iteration.step("new-nonce"):
            await acme.new_nonce()
        async with iteration.step("new-account"):
            await acme.new_account()
        async with iteration.step("new-order"):
            order = await acme.new_order(machine.names)
        async with iteration.step("authorization"):
            order = await acme.ready(order)
        async with iteration.step("finalize"):
            order = await acme.finalize(order, machine.csr)
        async with iteration.step("certificate"):
            await acme.certificate(order)

    async with open_client(
        transport,
        base_url=base_url,
        connections=200,
        timeout=seconds(10),
        ca_path=ca_path,
        observer=current_iteration,
    ) as client:
        run = ScenarioRun(
            Scenario(name="enrolment", executor=executor, iteration=enrol),
            clients=[client],
            clock=SystemClock(),
            classify=classify,
        )
        before = _cpu_seconds()
        await run.execute()
        used = _cpu_seconds() - before
    report = run.report()
    p99 = report.figures.iterations.times["response time"].percentile(99)
    return Offered(
        transport=transport,
        rate=rate,
        due=report.offered,
        ok=run.succeeded,
        cpu_ms=used * 1000 / max(1, run.succeeded),
        signing_ms=tally.signing_ns / 1e6 / max(1, run.succeeded),
        p99_ms=float("nan") if p99 is None else p99 / 1e6,
    )


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _serve(parent: Connection, certificate: Path) -> None:
    asyncio.run(_answer_all(parent, certificate))


async def _answer_all(parent: Connection, certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    answers: dict[bytes, bytes] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
                await reader.readexactly(int(length or 0))
                writer.write(answers[head.split(b" ", 2)[1]])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    answers.update(_answers(f"https://127.0.0.1:{port}"))
    parent.send(port)
    await listener.serve_forever()


def _answers(base: str) -> dict[bytes, bytes]:
    """What is said to everybody, by path."""
    order = {
        "status": "ready",
        "expires": "2030-01-01T00:00:00Z",
        "identifiers": _ORDER["identifiers"],
        "authorizations": [f"{base}/authz/1"],
        "finalize": f"{base}/order/1/finalize",
    }
    valid = {**order, "status": "valid", "certificate": f"{base}/cert/1"}
    authorization: dict[str, Any] = {
        "identifier": _ORDER["identifiers"][0],
        "status": "valid",
        "challenges": [{"type": "http-01", "url": f"{base}/challenge/1", "status": "valid"}],
    }
    directory = {
        "newNonce": f"{base}/new-nonce",
        "newAccount": f"{base}/new-account",
        "newOrder": f"{base}/new-order",
    }
    chain = "-----BEGIN CERTIFICATE-----\n" + "M" * 900 + "\n-----END CERTIFICATE-----\n"
    return {
        b"/directory": _answer(200, json.dumps(directory)),
        b"/new-nonce": _answer(200, ""),
        b"/new-account": _answer(201, "{}", Location=f"{base}/account/1"),
        b"/new-order": _answer(201, json.dumps(order), Location=f"{base}/order/1"),
        b"/authz/1": _answer(200, json.dumps(authorization)),
        b"/order/1/finalize": _answer(200, json.dumps(valid)),
        b"/cert/1": _answer(200, chain * 2, kind="application/pem-certificate-chain"),
    }


def _answer(status: int, body: str, kind: str = _JSON, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} OK", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Replay-Nonce: {_NONCE}", "", body]).encode()


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and print what was found; 1: an offered load was not made in time, else 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.enrolment", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=_SECONDS, help=f"of each load (default: {_SECONDS:g})"
    )
    parser.add_argument(
        "--rates",
        type=int,
        nargs="+",
        default=list(_RATES),
        help=f"enrolments a second (default: {' '.join(map(str, _RATES))})",
    )
    arguments = parser.parse_args(words)
    print("CPU time, µs")
    for what, cost in signing_costs().items():
        print(f"  {what:40} {cost:7.1f}")
    print("whole enrolments, 7 requests each; CPU time of the generator, ms")
    late = False
    for transport in TRANSPORTS:
        for rate in arguments.rates:
            found = offer(transport, rate, arguments.seconds)
            late |= found.ok < found.due
            print(
                f"  {transport:8} {rate:4}/s: {found.ok:,} of {found.due:,}; "
                f"{found.cpu_ms:.2f} each, {found.signing_ms:.2f} for signatures; "
                f"p99 {found.p99_ms:.1f} ms",
                flush=True,
            )
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
