"""ACME enrolment: 20 machines a second, each from its first nonce to a certificate that verifies."""

from __future__ import annotations

import pytest

from pytest_certload import Iteration, Load, RunResult, ms, seconds
from pytest_certload.acme.certificates import Issued
from pytest_certload.acme.client import AcmeClient, Tally, read_directory
from pytest_certload.certctl.api import Certctl
from pytest_certload.certctl.enrolment import (
    ACCOUNTS,
    ORDERS,
    accounts_of,
    last_part,
    new_machines,
    order_key,
)

RATE = 20
DURATION = "5m"
#: p95 of the steps up to an order that is ready, and of those that make a certificate of it.
TO_READY = {
    "directory": ms(500),
    "new-nonce": ms(300),
    "new-account": ms(800),
    "new-order": ms(800),
    "authorization": ms(800),
}
TO_CERTIFICATE = {"finalize": seconds(2), "certificate": ms(800)}


@pytest.mark.scale
@pytest.mark.tier_acme
async def test_acme_enrolment(load: Load, certctl: Certctl) -> None:
    # Each machine's own keys and CSR, before the load: to make them is no work of the server's.
    machines = new_machines(load.planned_iterations(rate=RATE, duration=DURATION))
    trial = certctl.trial_enrolment()
    tally, issued = Tally(), Issued()
    accounts, orders = load.ledger("accounts"), load.ledger("orders")

    async def enrol(iteration: Iteration) -> None:
        machine = machines[iteration.index]
        async with iteration.step("directory"):
            async with iteration.client.get(certctl.acme("directory")) as response:
                directory = await read_directory(iteration, response)
        acme = AcmeClient(iteration, directory, machine.key, tally)
        async with iteration.step("new-nonce"):
            await acme.new_nonce()
        async with iteration.step("new-account"):
            account = await acme.new_account()
            iteration.check(account.created, "a new key gets a new account")
            accounts.acknowledged(last_part(account.url))
        async with iteration.step("new-order"):
            order = await acme.new_order(machine.names)
        async with iteration.step("authorization"):
            order = await acme.ready(order)
        if not trial.finalizes:
            orders.acknowledged(order_key(account, order))
            return
        async with iteration.step("finalize"):
            order = await acme.finalize(order, machine.csr)
        async with iteration.step("certificate"):
            certificate = await acme.certificate(order)
        issued.add(machine, certificate.chain)
        orders.acknowledged(order_key(account, order, certificate))

    async def prove(result: RunResult) -> None:
        ids = accounts_of(machines)
        await result.effects(accounts, certctl.database, ACCOUNTS, ids)
        await result.effects(orders, certctl.database, ORDERS, ids)

    load.after_death(prove)
    # A signature that is refused with 401 is somebody's, and leaves a row.
    load.watch(certctl.audit_backlog(load, unaudited=()))
    result = await load.constant_arrival_rate(
        enrol,
        rate=RATE,
        duration=DURATION,
        max_in_flight=200,
        preflight=[*certctl.preflight("enrolment"), trial],
    )

    steps = TO_READY | TO_CERTIFICATE if trial.finalizes else TO_READY
    for name, limit in steps.items():
        assert result.step(name).p95 < limit
    # A whole enrolment may take what its finalize may, and a second for all the rest.
    assert result.p95 < seconds(3)
    assert result.p99 < seconds(5)
    # Who asks again when a connection is lost, as clients do, hears nothing of the loss.
    assert result.unanswered_rate < 0.001
    assert result.error_rate < 0.001
    if trial.finalizes:
        result.integrity("wrong certificates", actual=issued.faults(trial.chain), expected={})
    await prove(result)
    result.integrity("fresh nonces that were refused", actual=tally.bad_nonces, expected=0)
    result.caught_up()
    # What the generator does beside asking: the keys before the load, the signatures in it.
    assert result.figure("CPU time of a machine's keys and CSR", machines.cost) < ms(2)
    signing = tally.signing_of_each(int(result.count))
    assert result.figure("CPU time of a machine's signatures", signing) < ms(2)
