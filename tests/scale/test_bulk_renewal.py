"""Bulk renewal: 10,000 certificates in 1,500 calls, 5 a second, and every one is really enqueued."""

from __future__ import annotations

from math import ceil

import pytest

from pytest_certload import ConfigurationError, Iteration, Load, RunResult, seconds
from pytest_certload.certctl.api import Certctl, share

RATE = 5
DURATION = "5m"
CALLS = 1500


@pytest.mark.scale
@pytest.mark.tier_scale
async def test_bulk_renewal(load: Load, certctl: Certctl) -> None:
    certificates = await certctl.certificates()
    planned = load.planned_iterations(rate=RATE, duration=DURATION)
    if planned > CALLS:
        raise ConfigurationError(
            f"{planned:,} calls want more certificates than the fleet has: it is renewed once in "
            f"{CALLS:,} calls; lower --certload-rate or --certload-duration"
        )
    jobs = load.ledger("renewal jobs")

    async def bulk_renew(iteration: Iteration) -> None:
        # By id: by criteria the server looks at the same 50 certificates in every call.
        wanted = share(certificates, iteration.index, of=CALLS)
        body = {"certificate_ids": wanted}
        async with iteration.client.post("/api/v1/certificates/bulk-renew", json=body) as response:
            iteration.expect(response, 200)
            answer = await response.json()
        enqueued = {job["certificate_id"]: job["job_id"] for job in answer.get("enqueued_jobs", ())}
        iteration.check(
            answer["total_enqueued"] == len(wanted) and enqueued.keys() == set(wanted),
            "every certificate that was asked for is enqueued (total_enqueued, enqueued_jobs)",
        )
        iteration.check(
            answer["total_failed"] == answer["total_skipped"] == 0,
            "no certificate fails or is skipped (total_failed, total_skipped)",
        )
        for certificate, job in enqueued.items():
            jobs.acknowledged(f"{job} of {certificate}")

    async def prove(result: RunResult) -> int:
        # The jobs of the fleet were deleted beforehand; what there is now, this load has made.
        found = await result.effects(
            jobs,
            certctl.database,
            "SELECT id || ' of ' || certificate_id FROM jobs "
            "WHERE type = 'Renewal' AND certificate_id LIKE 'cert-loadtest-bulk-%'",
            keys_per_iteration=ceil(len(certificates) / CALLS),
        )
        return found.acknowledged

    load.after_death(prove)
    load.watch(certctl.audit_backlog(load))
    result = await load.constant_arrival_rate(
        bulk_renew,
        rate=RATE,
        duration=DURATION,
        max_in_flight=30,
        preflight=certctl.preflight("certificates"),
    )

    assert result.p95 < seconds(2)
    assert result.p99 < seconds(5)
    assert result.error_rate < 0.01
    enqueued = await prove(result)
    result.integrity(
        "certificates in RenewalInProgress",
        actual=await certctl.certificates_renewing(),
        expected=enqueued,
        # A call that failed may have enqueued before it did.
        more=result.unacknowledged * ceil(len(certificates) / CALLS),
    )
    result.caught_up()
