"""Deploy and verify: 10 certificates a second from their renewal to a listener that serves them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_certload import ConfigurationError, Iteration, Load, RunResult, ms, seconds
from pytest_certload.certctl.api import CERTIFICATES, Certctl
from pytest_certload.certctl.keys import make_keys, read_leaf, self_signed
from pytest_certload.certctl.target import serve_target
from pytest_certload.certctl.work import DEPLOYED
from pytest_certload.proof.preflight import Preflight

RATE = 10
DURATION = "5m"
#: certctl's job processor would take deployments before their agents ask for them.
SETTINGS = {"CERTCTL_SCHEDULER_JOB_PROCESSOR_INTERVAL": "720h"}


@pytest.mark.scale(server_env=SETTINGS)
@pytest.mark.tier_agent
async def test_deploy_verify(load: Load, certctl: Certctl, tmp_path: Path) -> None:
    planned = load.planned_iterations(rate=RATE, duration=DURATION)
    if planned > CERTIFICATES:
        raise ConfigurationError(
            f"{planned:,} deployments want more certificates than the fleet's {CERTIFICATES:,}; "
            "lower --certload-rate or --certload-duration"
        )
    certificates = (await certctl.certificates())[:planned]
    assignments = await certctl.work.assignments(certificates)
    began = time.perf_counter()
    keys = make_keys([assignment.name for assignment in assignments])
    # What is served until now: to hand it out once more would be no renewal.
    old = {assignment.certificate: self_signed(assignment.name) for assignment in assignments}
    making = time.perf_counter() - began
    await certctl.work.put_versions(
        {
            certificate: (leaf.serial, leaf.fingerprint, leaf.pem)
            for certificate, leaf in old.items()
        }
    )
    deployments = load.ledger("deployments")
    authorities: set[str] = set()

    async def keys_made(_: Preflight) -> str:
        return f"{len(keys):,} keys, CSRs and old certificates in {making:.1f} s, before the load"

    async def renew(iteration: Iteration) -> None:
        client = iteration.client
        assignment, key = assignments[iteration.index], keys[iteration.index]
        certificate, agent = assignment.certificate, f"/api/v1/agents/{assignment.agent}"

        async with iteration.step("renew"):
            body: dict[str, object] = {"certificate_ids": [certificate]}
            async with client.post("/api/v1/certificates/bulk-renew", json=body) as response:
                iteration.expect(response, 200)
                answer = await response.json()
            iteration.check(answer["total_enqueued"] == 1, "the renewal is enqueued")

        async with iteration.step("poll for the renewal"):
            async with client.get(f"{agent}/work") as response:
                iteration.expect(response, 200)
                answer = await response.json()
            waiting = [job["certificate_id"] for job in answer["jobs"]]
            iteration.check(certificate in waiting, "the agent is told of the renewal")

        async with iteration.step("csr"):
            body = {"certificate_id": certificate, "csr_pem": key.csr_pem}
            async with client.post(f"{agent}/csr", json=body) as response:
                iteration.expect(response, 202)
                await response.read()

        async with iteration.step("poll for the deployment"):
            async with client.get(f"{agent}/work") as response:
                iteration.expect(response, 200)
                answer = await response.json()
            given = [job for job in answer["jobs"] if job["certificate_id"] == certificate]
            iteration.check(
                [(job["type"], job.get("target_id")) for job in given]
                == [("Deployment", assignment.target)],
                "the agent is given the deployment to its target, once",
            )
            job = given[0]["id"]

        async with iteration.step("pick up"):
            async with client.get(f"{agent}/certificates/{certificate}") as response:
                iteration.expect(response, 200)
                chain = (await response.json())["certificate_pem"]
            leaf = read_leaf(chain)
            iteration.check(
                leaf and leaf.point == key.point,
                "the certificate that is picked up is for the CSR's key",
            )
            assert leaf
            authorities.add(authority := chain.removeprefix(leaf.pem))
            iteration.check(len(authorities) == 1, "all certificates are of one CA")

        async with iteration.step("serve"):
            target.deploy(key.name, chain, key.key_pem)
            served = await target.fingerprint(key.name, authority)
            iteration.check(served == leaf.fingerprint, "what was picked up is what is served")

        async with iteration.step("report"):
            body = {"status": "Completed"}
            async with client.post(f"{agent}/jobs/{job}/status", json=body) as response:
                iteration.expect(response, 200)
                await response.read()

        async with iteration.step("verify"):
            body = {
                "target_id": assignment.target,
                "expected_fingerprint": leaf.fingerprint,
                "actual_fingerprint": served,
                "verified": True,
            }
            async with client.post(f"/api/v1/jobs/{job}/verify", json=body) as response:
                iteration.expect(response, 200)
                answer = await response.json()
            iteration.check(answer["verified"] is True, "the verification is recorded, it says")
        deployments.acknowledged(f"{job} of {certificate}, {served}")

    async def prove(result: RunResult) -> None:
        await result.effects(deployments, certctl.database, DEPLOYED, certificates)

    load.after_death(prove)
    load.watch(certctl.audit_backlog(load))
    async with serve_target(tmp_path) as target:
        result = await load.constant_arrival_rate(
            renew,
            rate=RATE,
            duration=DURATION,
            preflight=[*certctl.preflight("deployment"), keys_made],
        )

    # From the renewal to the listener that serves it: no longer than a bulk renewal may take alone.
    assert result.p50 < ms(500)
    assert result.p95 < seconds(2)
    assert result.p99 < seconds(5)
    assert result.error_rate < 0.001
    await prove(result)
    result.integrity(
        "jobs that are not Completed",
        actual=await certctl.work.jobs_not_completed(certificates, "Renewal", "Deployment"),
        expected=0,
        # A renewal, or the deployment that comes of it.
        more=result.unacknowledged,
    )
    result.integrity(
        "certificates that are not Active",
        actual=await certctl.work.certificates_not_active(certificates),
        expected=0,
        more=result.unacknowledged,
    )
    result.caught_up()
