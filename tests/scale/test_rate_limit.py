"""Rate limit: 200 requests a second from one address, of which certctl's limiter lets 50 through."""

from __future__ import annotations

from time import monotonic_ns

import pytest

from pytest_certload import ConfigurationError, Iteration, Load, RunResult, ms
from pytest_certload.certctl.api import Certctl
from pytest_certload.certctl.limiter import Answered, beyond

RATE = 200
#: certctl's defaults: requests a second, and how many more at first.
LET_THROUGH = 50
BURST = 100
LIMITER = "CERTCTL_RATE_LIMIT"


@pytest.mark.scale(
    server_env={
        f"{LIMITER}_ENABLED": "true",
        f"{LIMITER}_RPS": str(LET_THROUGH),
        f"{LIMITER}_BURST": str(BURST),
    }
)
@pytest.mark.tier_acme
async def test_rate_limit(load: Load, certctl: Certctl) -> None:
    rate = load.planned_rate(RATE).per_second
    if rate < 2 * LET_THROUGH:
        raise ConfigurationError(
            f"{rate:g} a second are not well above the {LET_THROUGH} that are let through; raise "
            "--certload-rate"
        )
    nonces = load.ledger("nonces")
    began = await certctl.now()
    answers: list[Answered] = []
    made = 0

    async def ask(iteration: Iteration) -> None:
        nonlocal made
        made += 1
        sent = monotonic_ns()
        async with iteration.client.get(certctl.acme("directory")) as response:
            answers.append(
                Answered(sent=sent, answered=monotonic_ns(), let_through=response.status != 429)
            )
            await certctl.check_rate_limited(iteration, response)
            iteration.expect(response, 200, 429)
            await response.read()
        if response.status == 200:
            nonce = response.headers.get("Replay-Nonce")
            iteration.check(nonce, "a nonce with the directory: Replay-Nonce is there")
            nonces.acknowledged(nonce)

    async def prove(result: RunResult) -> None:
        # One that is refused costs the database nothing.
        await result.effects(
            nonces,
            certctl.database,
            "SELECT nonce FROM acme_nonces WHERE issued_at >= $1",
            began,
        )

    load.after_death(prove)
    load.watch(certctl.audit_backlog(load))
    result = await load.constant_arrival_rate(
        ask,
        rate=RATE,
        duration="10s",
        max_in_flight=200,
        # In it the bucket is emptied, however full it was.
        warm_up="3s",
        preflight=certctl.preflight("acme", limited=True),
    )

    assert result.p95 < ms(500)
    assert result.error_rate < 0.001
    await prove(result)
    above, below = beyond(answers, rate=LET_THROUGH, burst=BURST, unanswered=made - len(answers))
    result.integrity("requests let through above the limit", actual=above, expected=0)
    result.integrity("requests refused below the limit", actual=below, expected=0)
    result.caught_up()
