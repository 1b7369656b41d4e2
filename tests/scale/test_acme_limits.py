"""ACME limits: one account orders on and on, and gets 5 orders, and no more than 100 attempts an hour."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from pytest_certload import ConfigurationError, Iteration, Load, RunResult, ms
from pytest_certload.acme.client import AcmeClient, Tally, read_directory
from pytest_certload.acme.jws import CONTENT_TYPE, signed
from pytest_certload.acme.keys import AccountKey
from pytest_certload.acme.resources import Directory
from pytest_certload.certctl.api import Certctl
from pytest_certload.certctl.enrolment import last_part

#: certctl's defaults: orders of an account that are not finished, and attempts to order an hour.
AT_ONCE = 5
AN_HOUR = 100
LIMITS = "CERTCTL_ACME_SERVER_RATE_LIMIT"
IDENTIFIERS = {"identifiers": [{"type": "dns", "value": "limits.loadtest.example.test"}]}


@pytest.mark.scale(
    server_env={
        f"{LIMITS}_CONCURRENT_ORDERS": str(AT_ONCE),
        f"{LIMITS}_ORDERS_PER_HOUR": str(AN_HOUR),
    }
)
@pytest.mark.tier_acme
async def test_acme_limits(load: Load, certctl: Certctl) -> None:
    key = AccountKey()
    # Orders are asked for one after the other: certctl counts and stores without a lock, so that of
    # two at once both may be the last one that is allowed.
    turn = asyncio.Lock()
    orders = load.ledger("orders")
    known: list[tuple[Directory, str]] = []
    refusals: list[str] = []
    #: When all attempts were made, in order.
    moments: list[float] = []
    nonces: list[str] = []

    async def enter(iteration: Iteration) -> None:
        async with turn:
            if known:
                return
            async with iteration.step("account"):
                async with iteration.client.get(certctl.acme("directory")) as response:
                    directory = await read_directory(iteration, response)
                account = await AcmeClient(iteration, directory, key, Tally()).new_account()
            known.append((directory, account.url))

    async def order(iteration: Iteration) -> None:
        if not known:
            await enter(iteration)
        directory, account = known[0]
        # A refusal brings no nonce, so each attempt fetches its own.
        async with iteration.step("new-nonce"):
            async with iteration.client.head(directory.new_nonce) as response:
                iteration.expect(response, 200)
            nonce = response.headers.get("Replay-Nonce", "")
            iteration.check(nonce, "a nonce: Replay-Nonce is there")
        url = directory.new_order
        body = signed(key, url=url, nonce=nonce, payload=IDENTIFIERS, kid=account)
        async with turn, iteration.step("new-order"):
            headers = {"Content-Type": CONTENT_TYPE}
            asked = monotonic()
            async with iteration.client.post(url, data=body, headers=headers) as response:
                refusal = await certctl.check_order_limited(iteration, response)
                iteration.expect(response, 201, 429)
                await response.read()
            nonces.append(nonce)
            moments.append(asked)
            if refusal is None:
                location = response.headers.get("Location", "")
                iteration.check(location, "an order comes with its Location")
                orders.acknowledged(last_part(location))
            else:
                refusals.append(refusal)

    async def prove(result: RunResult) -> int:
        found = await result.effects(
            orders,
            certctl.database,
            "SELECT order_id FROM acme_orders WHERE account_id = $1",
            f"acme-acc-{key.thumbprint}",
        )
        return found.acknowledged

    load.after_death(prove)
    # Unlike the limiter's refusals, those of an account's limits are audited, and those of signatures.
    load.watch(certctl.audit_backlog(load, unaudited=()))
    result = await load.constant_vus(
        order, vus=4, duration="10s", preflight=certctl.preflight("acme")
    )

    assert result.step("new-nonce").p95 < ms(300)
    assert result.step("new-order").p95 < ms(500)
    assert result.error_rate < 0.001
    let_through = await prove(result)
    result.integrity(
        "nonces that were used and can be used again",
        actual=await certctl.nonces_unused(nonces),
        expected=0,
    )
    # An order whose answer got lost counts with the server all the same.
    missed = result.unacknowledged
    result.integrity(
        "orders that were let through", actual=let_through, expected=AT_ONCE, fewer=missed
    )
    if len(nonces) <= AN_HOUR:
        raise ConfigurationError(
            f"{len(nonces)} attempts do not meet the limit of {AN_HOUR} an hour: raise "
            "--certload-duration"
        )
    # An attempt counts against the hour whatever becomes of it: the refusals change their reason.
    first, *others = refusals
    of_the_hour = [number for number, detail in enumerate(others, 1) if detail != first]
    attempts = let_through + of_the_hour[0] if of_the_hour else 0
    # The bucket fills while it is emptied: one attempt more every 36 s.
    took = moments[min(attempts, len(moments) - 1)] - moments[0]
    result.integrity(
        "attempts before the limit of an hour",
        actual=attempts,
        expected=AN_HOUR,
        fewer=missed,
        more=int(took * AN_HOUR / 3600),
    )
    result.integrity("reasons to refuse", actual=len(set(refusals)), expected=2)
    result.caught_up()
