"""CSR submit: 6,000 CSRs, 20 a second, and each certificate's newest version has the CSR's key."""

from __future__ import annotations

import time

import pytest

from pytest_certload import ConfigurationError, Iteration, Load, RunResult, ms, seconds
from pytest_certload.certctl.api import CERTIFICATES, Certctl
from pytest_certload.certctl.keys import make_keys
from pytest_certload.certctl.work import SIGNED
from pytest_certload.proof.preflight import Preflight

RATE = 20
DURATION = "5m"


@pytest.mark.scale
@pytest.mark.tier_agent
async def test_csr_submit(load: Load, certctl: Certctl) -> None:
    await certctl.agents()
    planned = load.planned_iterations(rate=RATE, duration=DURATION)
    if planned > CERTIFICATES:
        raise ConfigurationError(
            f"{planned:,} CSRs want more certificates than the fleet's {CERTIFICATES:,}; lower "
            "--certload-rate or --certload-duration"
        )
    certificates = (await certctl.certificates())[:planned]
    await certctl.work.put_renewals(certificates)
    assignments = await certctl.work.assignments(certificates)
    began = time.perf_counter()
    keys = make_keys([assignment.name for assignment in assignments])
    making = time.perf_counter() - began
    signed = load.ledger("certificates")

    async def keys_made(_: Preflight) -> str:
        return f"{len(keys):,} keys and CSRs of P-256 in {making:.1f} s, before the load"

    async def submit(iteration: Iteration) -> None:
        assignment, key = assignments[iteration.index], keys[iteration.index]
        certificate, agent = assignment.certificate, f"/api/v1/agents/{assignment.agent}"
        async with iteration.step("work"):
            async with iteration.client.get(f"{agent}/work") as response:
                iteration.expect(response, 200)
                answer = await response.json()
            waiting = {job["certificate_id"]: job for job in answer["jobs"]}
            item = waiting.get(certificate, {})
            iteration.check(
                item.get("status") == "AwaitingCSR"
                and item.get("common_name") == key.name
                and item.get("sans") == [key.name],
                "the agent is told of the certificate, and for which names",
            )

        async with iteration.step("csr"):
            body = {"certificate_id": certificate, "csr_pem": key.csr_pem}
            signed.asked(f"{certificate} for {key.point}")
            async with iteration.client.post(f"{agent}/csr", json=body) as response:
                iteration.expect(response, 202)
                answer = await response.json()
            # Also said when nothing was signed: the database is asked afterwards.
            iteration.check(answer == {"status": "csr_signed"}, "the CSR is signed, it says")
            signed.acknowledged(f"{certificate} for {key.point}")

    async def prove(result: RunResult) -> None:
        await result.effects(signed, certctl.database, SIGNED, certificates)

    load.after_death(prove)
    load.watch(certctl.audit_backlog(load))
    result = await load.constant_arrival_rate(
        submit,
        rate=RATE,
        duration=DURATION,
        preflight=[*certctl.preflight("work"), keys_made],
    )

    assert result.step("work").p95 < ms(500)
    assert result.step("csr").p95 < seconds(1)
    assert result.p95 < seconds(1)
    assert result.p99 < seconds(2)
    assert result.error_rate < 0.001
    await prove(result)
    result.integrity(
        "renewal jobs that are not Completed",
        actual=await certctl.work.jobs_not_completed(certificates, "Renewal"),
        expected=0,
        more=result.unacknowledged,
    )
    result.integrity(
        "certificates that are not Active",
        actual=await certctl.work.certificates_not_active(certificates),
        expected=0,
        more=result.unacknowledged,
    )
    result.caught_up()
