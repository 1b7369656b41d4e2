"""API tier: 50 certificates a second are entered, 50 pages a second are read, and both say true."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import pytest

from pytest_certload import (
    ConstantArrivalRate,
    Duration,
    Iteration,
    Load,
    RunResult,
    Scenario,
    ms,
    seconds,
)
from pytest_certload.certctl.api import API_OWNER, Certctl

RATE = 50
DURATION = "5m"
PAGE = 50
PATH = "/api/v1/certificates"


@pytest.mark.scale
@pytest.mark.tier_api
async def test_api_tier(load: Load, certctl: Certctl) -> None:
    await certctl.forget_entered()
    await certctl.forget_larger_fleet()
    # One name a run: should an earlier run's certificates still be there, they have theirs.
    batch = f"loadtest-api-{secrets.token_hex(4)}"
    # Without an expiry certctl stores the year 1, and its sweeps read all of those every 30 s.
    expiry = datetime.now(UTC).replace(microsecond=0) + timedelta(days=60)
    certificates = load.ledger("certificates")
    before = await certctl.certificates_in_all()
    asked = entered = 0
    # What is wrong in an answer that came is no failure of the kind of which some are allowed.
    wrong = {"entered": 0, "read": 0}

    async def enter(iteration: Iteration) -> None:
        nonlocal asked, entered
        name = f"{batch}-{iteration.index:06}.example.test"
        body = {
            "name": name,
            "common_name": name,
            "sans": [name],
            "environment": "loadtest",
            "owner_id": API_OWNER,
            "team_id": "t-loadtest",
            "issuer_id": "iss-local",
            "renewal_policy_id": "rp-loadtest",
            "expires_at": f"{expiry:%Y-%m-%dT%H:%M:%SZ}",
            "tags": {"source": "certload", "batch": batch},
        }
        asked += 1
        async with iteration.client.post(PATH, json=body) as response:
            iteration.expect(response, 201)
            answer = await response.json()
        is_it = answer.items() >= body.items() and answer["status"] == "Pending"
        wrong["entered"] += not is_it
        iteration.check(is_it, "the answer is the certificate that was sent, Pending")
        certificates.acknowledged(f"{answer['id']} of {name}")
        entered += 1

    async def read(iteration: Iteration) -> None:
        # Whatever is acknowledged by now must be counted; nothing can be that nobody asked for.
        least = before + entered
        async with iteration.client.get(f"{PATH}?per_page={PAGE}") as response:
            iteration.expect(response, 200)
            iteration.check(
                response.content_type == "application/json", "the page is JSON, not HTML"
            )
            page = await response.json()
        total = page["total"]
        counts_all = least <= total <= before + asked
        is_full = len({certificate["id"] for certificate in page["data"]}) == min(PAGE, total)
        wrong["read"] += not (counts_all and is_full)
        iteration.check(
            counts_all,
            "the total counts every certificate that is acknowledged, and none that nobody entered",
        )
        iteration.check(is_full, f"a page has {PAGE} certificates, none twice")

    async def prove(result: RunResult) -> None:
        await result.effects(
            certificates,
            certctl.database,
            "SELECT id || ' of ' || name FROM managed_certificates WHERE name LIKE $1",
            f"{batch}-%",
        )

    load.after_death(prove)
    load.watch(certctl.audit_backlog(load))
    executor = ConstantArrivalRate(rate=RATE, duration=DURATION, max_in_flight=200)
    result = await load.run(
        Scenario(
            name="issuance-acceptance",
            iteration=enter,
            executor=executor,
        ),
        Scenario(
            name="certificate-list",
            iteration=read,
            executor=executor,
            # Five seconds in five minutes, and as much less as the load is shorter.
            start=Duration(load.planned(executor).duration // 60),
        ),
        preflight=certctl.preflight("inventory"),
    )

    acceptance, listing = result["issuance-acceptance"], result["certificate-list"]
    assert acceptance.p95 < seconds(2)
    assert acceptance.p99 < seconds(5)
    assert acceptance.error_rate < 0.01
    acceptance.integrity("answers that are not what was sent", actual=wrong["entered"], expected=0)
    await prove(acceptance)
    acceptance.integrity(
        "certificates with another expiry than they were sent with",
        actual=await certctl.certificates_expiring_otherwise(f"{batch}-%", expiry),
        expected=0,
    )
    assert listing.p95 < ms(800)
    assert listing.p99 < seconds(2)
    assert listing.error_rate < 0.01
    listing.integrity("pages that are wrong", actual=wrong["read"], expected=0)
    result.caught_up()
