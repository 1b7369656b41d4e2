"""ACME flow: 100 clients, each about once a second, ask what needs no signature, and get ACME."""

from __future__ import annotations

import pytest

from pytest_certload import Iteration, Load, RunResult, ms
from pytest_certload.acme.resources import problem_type
from pytest_certload.certctl.api import Certctl

KEYS = {"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo"}
#: Ids that are none, and that nobody has, and how they must be answered.
WRONG_IDS = (("no-dot-in-it", 400), ("aaaa.bbbb", 404))


@pytest.mark.scale
@pytest.mark.tier_acme
async def test_acme_flow(load: Load, certctl: Certctl) -> None:
    nonces = load.ledger("nonces")
    # What is wrong in an answer that came is no failure of the kind of which some are allowed.
    wrong_windows = 0
    renewals = await certctl.renewals()
    began = await certctl.now()

    async def flow(iteration: Iteration) -> None:
        async with iteration.step("directory"):
            async with iteration.client.get(certctl.acme("directory")) as response:
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
            async with iteration.client.head(certctl.acme("new-nonce")) as response:
                await certctl.check_rate_limited(iteration, response)
                iteration.expect(response, 200)
            nonce = response.headers.get("Replay-Nonce")
            iteration.check(nonce, "a nonce: Replay-Nonce is there")
            nonces.acknowledged(nonce)

        async with iteration.step("renewal-info"):
            turn, kind = divmod(iteration.index, 1 + len(WRONG_IDS))
            if kind < len(WRONG_IDS):
                await ask_wrongly(iteration, *WRONG_IDS[kind])
            else:
                await ask_rightly(iteration, turn)

    async def ask_wrongly(iteration: Iteration, renewal_id: str, status: int) -> None:
        path = certctl.acme(f"renewal-info/{renewal_id}")
        async with iteration.client.get(path) as response:
            await certctl.check_rate_limited(iteration, response)
            iteration.expect(response, status)
            problem = await response.json(content_type="application/problem+json")
        iteration.check(
            problem_type(problem) == "malformed",
            "an unknown renewal id is an ACME problem of type malformed",
        )

    async def ask_rightly(iteration: Iteration, turn: int) -> None:
        nonlocal wrong_windows
        renewal = renewals[turn % len(renewals)]
        async with iteration.client.get(certctl.acme(f"renewal-info/{renewal.id}")) as response:
            await certctl.check_rate_limited(iteration, response)
            iteration.expect(response, 200)
            document = await response.json()
        is_right = renewal.is_named_by(document)
        wrong_windows += not is_right
        iteration.check(
            is_right,
            "the window to renew in is the one that follows from policy and expiry in the database",
        )
        iteration.check(
            response.headers.get("Retry-After", "").isdecimal(),
            "renewal-info says when to ask again: Retry-After is there",
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
    result = await load.constant_vus(
        flow,
        vus=100,
        duration="5m",
        # A second, but not in step: all begin at once, and would come back at once for ever.
        pacing=("0.9s", "1.1s"),
        # The first ones make the connections: their handshakes are no part of the limits.
        warm_up="3s",
        preflight=certctl.preflight("acme"),
    )

    assert result.step("directory").p95 < ms(500)
    assert result.step("new-nonce").p95 < ms(300)
    assert result.step("renewal-info").p95 < ms(800)
    assert result.unanswered_rate < 0.01
    assert result.error_rate < 0.01
    result.integrity("wrong windows to renew in", actual=wrong_windows, expected=0)
    await prove(result)
    result.caught_up()
