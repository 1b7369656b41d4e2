"""Whether a machine can enrol is found out before a load, and what it leaves is what must be there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pytest_certload.acme.client import AcmeClient, Tally
from pytest_certload.acme.enrolments import Enrolments
from pytest_certload.acme.resources import Directory
from pytest_certload.certctl.api import Certctl
from pytest_certload.certctl.enrolment import (
    ACCOUNTS,
    ORDERS,
    Trial,
    accounts_of,
    last_part,
    new_machines,
    order_key,
)
from pytest_certload.clients import TRANSPORTS, open_client
from pytest_certload.errors import PreflightError
from pytest_certload.proof.preflight import Preflight, failure_of, make_checks
from pytest_certload.units import seconds

from .conftest import LOOPBACK, Bench, Server

DIRECTORY = Certctl("").acme("directory")


def client_of(bench: Bench, server: Server, transport: str = "fast") -> Any:
    return open_client(
        transport,
        base_url=f"https://{LOOPBACK}:{server.port}",
        connections=4,
        timeout=seconds(10),
        ca_path=bench.authority.ca_path,
        headers={"Authorization": f"Bearer {server.admin}"},
    )


def tried(bench: Bench, server: Server, transport: str = "fast") -> tuple[Trial, Preflight, str]:
    """The check as it is made before a load, what it was handed, and what it says."""
    trial = Certctl(server.database.dsn).trial_enrolment()

    async def check() -> tuple[Trial, Preflight, str]:
        async with client_of(bench, server, transport) as client:
            preflight = Preflight(
                client=client,
                base_url="",
                slots=1,
                connections="keep-alive",
                rate=None,
                iterations=None,
            )
            (finding,) = findings = await make_checks([trial], preflight)
            assert finding.name == "enrolment"
            failure = failure_of(findings)
            if failure is not None:
                raise failure
            return trial, preflight, finding.detail

    return asyncio.run(check())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_machine_can_enrol(bench: Bench, server: Server, transport: str) -> None:
    trial, preflight, said = tried(bench, server, transport)
    assert trial.finalizes
    assert trial.chain is not None
    assert trial.chain.count(b"BEGIN CERTIFICATE") == 2
    assert preflight.reductions == []
    assert said.endswith("its certificate verifies")


def test_a_server_that_finishes_no_order_is_good_up_to_there(bench: Bench) -> None:
    with bench.serving(bench.seeded(), CERTLOAD_REFERENCE_ACME_FINALIZE="broken") as server:
        trial, preflight, said = tried(bench, server)
    assert not trial.finalizes
    assert trial.chain is None
    assert preflight.reductions == ["up to the order that is ready, as finalize is answered 500"]
    assert "measured up to there" in said


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"CERTLOAD_REFERENCE_FAULTS": "acme-cert-other-key"},
            "got a wrong certificate: the certificate is for another key",
        ),
        ({"CERTLOAD_REFERENCE_FAULTS": "error-500"}, "new-account is answered 500 instead of 201"),
        ({"CERTLOAD_REFERENCE_FAULTS": "no-nonce-header"}, "Replay-Nonce is there"),
        (
            {"CERTLOAD_REFERENCE_FAULTS": "acme-signature-unchecked"},
            "another key has signed is refused as unauthorized .*not answered 200",
        ),
        (
            {"CERTLOAD_REFERENCE_FAULTS": "acme-nonce-reused"},
            "nonce that was used is refused as badNonce .*not answered 200",
        ),
        ({"CERTLOAD_REFERENCE_FAULTS": "unknown-profile-500"}, "directory is answered 500"),
    ],
    ids=["another key", "500", "no nonce", "unchecked", "nonce reused", "no profile"],
)
def test_any_other_failure_is_no_start(bench: Bench, variables: dict[str, str], said: str) -> None:
    with bench.serving(bench.seeded(), **variables) as server:
        with pytest.raises(PreflightError, match=said):
            tried(bench, server)


class _Strict:
    """Takes nothing but what is right."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def expect(self, response: Any, *statuses: int) -> None:
        assert response.status in statuses, response.status

    def check(self, condition: object, message: str) -> None:
        assert condition, message


async def enrol(client: Any, machines: Enrolments) -> tuple[set[str], set[str]]:
    """Enrol them; the keys of their accounts and of their orders."""
    async with client.get(DIRECTORY) as response:
        directory = Directory.of(await response.json())
    accounts, orders = set(), set()
    for number, machine in enumerate(machines):
        acme = AcmeClient(_Strict(client), directory, machine.key, Tally())
        account = await acme.new_account()
        accounts.add(last_part(account.url))
        order = await acme.ready(await acme.new_order(machine.names))
        if number == 0:
            # The first one leaves it at that.
            orders.add(order_key(account, order))
            continue
        order = await acme.finalize(order, machine.csr)
        orders.add(order_key(account, order, await acme.certificate(order)))
    return accounts, orders


def test_the_database_says_what_the_machines_got(bench: Bench, server: Server) -> None:
    machines = new_machines(3)

    async def all_of_them() -> tuple[set[str], set[str]]:
        async with client_of(bench, server) as client:
            await enrol(client, new_machines(1))
            return await enrol(client, machines)

    accounts, orders = asyncio.run(all_of_them())
    ids = accounts_of(machines)
    assert accounts == set(ids)
    found = server.database.column(ACCOUNTS, ids)
    assert sorted(found) == sorted(accounts), "each once, and nobody else's"
    assert sorted(server.database.column(ORDERS, ids)) == sorted(orders)


def test_a_second_version_of_a_certificate_is_not_overlooked(bench: Bench, server: Server) -> None:
    machines = new_machines(2)

    async def all_of_them() -> tuple[set[str], set[str]]:
        async with client_of(bench, server) as client:
            return await enrol(client, machines)

    _, orders = asyncio.run(all_of_them())
    ids = accounts_of(machines)
    server.database.execute(
        "INSERT INTO certificate_versions (id, certificate_id, serial_number, not_before, not_after,"
        " fingerprint_sha256, pem_chain) SELECT id || '-2', certificate_id, serial_number, not_before,"
        " not_after, 'another', pem_chain FROM certificate_versions WHERE certificate_id ="
        " (SELECT certificate_id FROM acme_orders WHERE account_id = $1)",
        ids[1],
    )
    assert len(server.database.column(ORDERS, ids)) == len(orders) + 1
