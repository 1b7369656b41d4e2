"""Bulk renewal: 10,000 certificates in 1,500 calls, 5 a second, and every one is really enqueued."""

from __future__ import annotations

import pytest

from pytest_certload import ConfigurationError, Iteration, Load, seconds
from pytest_certload.certctl.api import Certctl, share

RATE = 5
DURATION = "5m"
CALLS = 1500


@pytest.mark.scale
async def test_bulk_renewal(load: Load, certctl: Certctl) -> None:
    certificates = await certctl.certificates()
    planned = load.planned_iterations(rate=RATE, duration=DURATION)
    if planned > CALLS:
        raise ConfigurationError(
            f"{planned:,} calls want more certificates than the fleet has: it is renewed once in "
            f"{CALLS:,} calls; lower --certload-rate or --certload-duration"
        )
    jobs: dict[str, str] = {}

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
        jobs.update((job, certificate) for certificate, job in enqueued.items())

    load.watch(certctl.audit_backlog(load))
    result = await load.constant_arrival_rate(
        bulk_renew, rate=RATE, duration=DURATION, max_in_flight=30
    )

    assert result.p95 < seconds(2)
    assert result.p99 < seconds(5)
    assert result.error_rate < 0.01
    stored = await certctl.renewal_jobs()
    missing = {job for job, certificate in jobs.items() if stored.get(job) != certificate}
    result.integrity("acknowledged jobs missing in the database", actual=len(missing), expected=0)
    if not result.summary.errors:
        # A call that failed may have enqueued before it did; without one the numbers are equal.
        result.integrity("jobs in the database", actual=len(stored), expected=len(jobs))
        result.integrity(
            "certificates in RenewalInProgress",
            actual=await certctl.certificates_renewing(),
            expected=len(jobs),
        )
    result.caught_up()
