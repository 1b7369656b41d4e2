"""Bulk renewal of fleets that grow: by owner 50 certificates a call, beside calls that look at them all."""

from __future__ import annotations

import pytest

from pytest_certload import (
    ConfigurationError,
    ConstantArrivalRate,
    Iteration,
    Load,
    RunResult,
    Scenario,
    seconds,
)
from pytest_certload.certctl.api import CERTIFICATES, Certctl

DURATION = "200s"
#: Each owner's certificates are renewed in one call.
BY_OWNER = 1
BY_TEAM = 5
#: What the server looks at in a call, whatever the criteria: the oldest ones.
PAGE = 50
WHOLE_TEAM = {"team_id": "t-loadtest", "issuer_id": "iss-local"}
BULK_RENEW = "/api/v1/certificates/bulk-renew"


@pytest.mark.scale
@pytest.mark.tier_fleet
@pytest.mark.parametrize(
    "size", [pytest.param(thousands * 1000, id=f"{thousands}k") for thousands in (10, 50, 100)]
)
async def test_bulk_renewal_fleets(load: Load, certctl: Certctl, size: int) -> None:
    await certctl.certificates()
    await certctl.forget_entered()
    owners = list((await certctl.certificates_by_owner()).items())
    calls = load.planned_iterations(rate=BY_OWNER, duration=DURATION)
    if calls > len(owners):
        raise ConfigurationError(
            f"{calls:,} calls want more owners than there are: the certificates of {len(owners):,} are "
            "renewed, once; lower --certload-rate or --certload-duration"
        )
    # A shorter load has a smaller fleet.
    await certctl.enlarge_fleet(CERTIFICATES + (size - CERTIFICATES) * calls // len(owners))
    by_owner_name, by_team_name = (f"by-{whose}-{size // 1000}k" for whose in ("owner", "team"))
    jobs = load.ledger("renewal jobs")
    # An answer that came and is wrong is no failure of the kind of which some are allowed.
    wrong = {by_owner_name: 0, by_team_name: 0}

    async def by_owner(iteration: Iteration) -> None:
        owner, wanted = owners[iteration.index]
        async with iteration.client.post(BULK_RENEW, json={"owner_id": owner}) as response:
            iteration.expect(response, 200)
            answer = await response.json()
        enqueued = {job["certificate_id"]: job["job_id"] for job in answer.get("enqueued_jobs", ())}
        is_right = answer["total_enqueued"] == len(wanted) and enqueued.keys() == set(wanted)
        wrong[by_owner_name] += not is_right
        iteration.check(is_right, "the owner's oldest certificates are enqueued, and no others")
        for certificate, job in enqueued.items():
            jobs.acknowledged(f"{job} of {certificate}")

    async def by_team(iteration: Iteration) -> None:
        # Its page is being renewed already: what it costs is to count and to sort the whole fleet.
        async with iteration.client.post(BULK_RENEW, json=WHOLE_TEAM) as response:
            iteration.expect(response, 200)
            answer = await response.json()
        is_right = (
            answer["total_matched"] == answer["total_skipped"] == PAGE
            and answer["total_enqueued"] == answer["total_failed"] == 0
        )
        wrong[by_team_name] += not is_right
        iteration.check(
            is_right, "of the whole team the oldest certificates are looked at, and all are skipped"
        )

    async def prove(result: RunResult) -> int:
        found = await result.effects(
            jobs,
            certctl.database,
            "SELECT id || ' of ' || certificate_id FROM jobs "
            "WHERE type = 'Renewal' AND certificate_id LIKE 'cert-loadtest-%'",
            keys_per_iteration=PAGE,
        )
        return found.acknowledged

    load.after_death(prove)
    load.watch(certctl.audit_backlog(load))
    result = await load.run(
        Scenario(
            name=by_owner_name,
            iteration=by_owner,
            executor=ConstantArrivalRate(rate=BY_OWNER, duration=DURATION),
        ),
        Scenario(
            name=by_team_name,
            iteration=by_team,
            executor=ConstantArrivalRate(rate=BY_TEAM, duration=DURATION),
        ),
        preflight=certctl.preflight("certificates"),
    )

    for name in (by_owner_name, by_team_name):
        assert result[name].p95 < seconds(2)
        assert result[name].p99 < seconds(5)
        assert result[name].error_rate < 0.01
        result.integrity(f"wrong answers of {name}", actual=wrong[name], expected=0)
    enqueued = await prove(result)
    result.integrity(
        "certificates in RenewalInProgress",
        actual=await certctl.certificates_renewing(),
        expected=enqueued,
        # A call that failed may have enqueued before it did.
        more=result.unacknowledged * PAGE,
    )
    result.caught_up()
