"""ACME burst: 200 VUs fetch directory, nonce and renewal info without pause, and get ACME."""

from __future__ import annotations

import pytest

from pytest_certload import Iteration, Load, RunResult, ms, seconds
from pytest_certload.acme.resources import problem_type
from pytest_certload.certctl.api import Certctl

KEYS = {"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo"}
#: Renewal ids that are none, and that nobody has, and how they must be answered. An error of the server's,
#: too, is answered as if nobody had the id, so one that is known is asked for in turn.
WRONG_IDS = (("no-dot-in-it", 400), ("aaaa.bbbb", 404))


@pytest.mark.scale
@pytest.mark.tier_scale
async def test_acme_burst(load: Load, certctl: Certctl) -> None:
    nonces = load.ledger("nonces")
    renewals = await certctl.renewals()
    began = await certctl.now()

    async def visit(iteration: Iteration) -> None:
        client = iteration.client
        async with iteration.step("directory"):
            async with client.get(certctl.acme("directory")) as response:
                await certctl.check_rate_limited(iteration, response)
                iteration.expect(response, 200)
                iteration.check(
                    response.content_type == "application/json", "the directory is JSON, not HTML"
                )
                directory = await response.json()
            iteration.check(
                isinstance(directory, dict) and directory.keys() >= KEYS,
                "the directory has its keys",
            )
            nonce = response.headers.get("Replay-Nonce")
            iteration.check(nonce, "a nonce with the directory: Replay-Nonce is there")
            nonces.acknowledged(nonce)

        async with iteration.step("new-nonce"):
            async with client.head(certctl.acme("new-nonce")) as response:
                await certctl.check_rate_limited(iteration, response)
                iteration.expect(response, 200)
            nonce = response.headers.get("Replay-Nonce")
            iteration.check(nonce, "a nonce: Replay-Nonce is there")
            nonces.acknowledged(nonce)

        async with iteration.step("renewal-info"):
            turn, kind = divmod(iteration.index, 1 + len(WRONG_IDS))
            renewal = None if kind < len(WRONG_IDS) else renewals[turn % len(renewals)]
            renewal_id, status = WRONG_IDS[kind] if renewal is None else (renewal.id, 200)
            async with client.get(certctl.acme(f"renewal-info/{renewal_id}")) as response:
                await certctl.check_rate_limited(iteration, response)
                iteration.expect(response, status)
                document = await response.json(content_type=None)
            if renewal is None:
                iteration.check(
                    problem_type(document) == "malformed",
                    "an unknown renewal id is an ACME problem of type malformed",
                )
            else:
                iteration.check(
                    renewal.is_named_by(document),
                    "the window to renew in is the one that follows from the database",
                )

    async def prove(result: RunResult) -> None:
        await result.effects(
            nonces,
            certctl.database,
            "SELECT nonce FROM acme_nonces WHERE issued_at >= $1",
            began,
            keys_per_iteration=2,
        )

    load.watch(certctl.audit_backlog(load))
    load.after_death(prove)
    # The first visits make the connections: their handshakes are no part of the three limits.
    result = await load.constant_vus(
        visit, vus=200, duration="5m", warm_up="3s", preflight=certctl.preflight("acme")
    )

    assert result.step("directory").p95 < ms(500)
    assert result.step("new-nonce").p95 < ms(300)
    assert result.step("renewal-info").p95 < ms(800)
    for step in result.steps.values():
        assert step.server_error_rate < 0.001
    # One late answer in 200 does not move a step's p95.
    assert result.p(99.9) < seconds(2)
    # Who asks again when a connection is lost, as clients do, hears nothing of the loss.
    assert result.unanswered_rate < 0.001
    assert result.error_rate < 0.001
    await prove(result)
    result.caught_up()
