"""Is the work of agents and scheduler as the scenario wants it?"""

from __future__ import annotations

from pytest_certload.certctl.fleet import (
    AGENT_IDS,
    CERTIFICATE_IDS,
    CERTIFICATES,
    TARGET_IDS,
    TARGETS,
    check_size,
)
from pytest_certload.errors import PreflightError
from pytest_certload.proof.preflight import Preflight

from .asking import Asker, unexpected

__all__ = ["WorkChecks"]

# An agent whose poll claims nothing, and how many certificates wait for its CSR.
_IDLE = """
SELECT id, (
    SELECT count(*) FROM jobs WHERE status = 'AwaitingCSR' AND type IN ('Renewal', 'Issuance')
        AND certificate_id IN (
        SELECT certificate_id FROM certificate_target_mappings
        JOIN deployment_targets ON deployment_targets.id = target_id
        WHERE deployment_targets.agent_id = agents.id)) AS awaiting
FROM agents WHERE id LIKE $1 AND NOT EXISTS (
    SELECT 1 FROM jobs LEFT JOIN deployment_targets ON deployment_targets.id = target_id
    WHERE jobs.type = 'Deployment' AND jobs.status = 'Pending'
        AND coalesce(jobs.agent_id, deployment_targets.agent_id) = agents.id)
ORDER BY id LIMIT 1
"""


class WorkChecks(Asker):
    """The checks before agents are given work, and before the scheduler is."""

    async def targets(self, _: Preflight) -> str:
        """Every agent has its target, and every certificate goes to one."""
        (row,) = await self.database.fetch(
            "SELECT count(*) AS all, count(DISTINCT agent_id) AS agents, "
            "(SELECT count(*) FROM certificate_target_mappings "
            "WHERE certificate_id LIKE $2 AND target_id LIKE $1) AS mappings "
            "FROM deployment_targets WHERE id LIKE $1 AND enabled AND retired_at IS NULL",
            TARGET_IDS,
            CERTIFICATE_IDS,
        )
        check_size("targets", row["all"], self.fleet or TARGETS, "03_targets.sql")
        certificates = self.fleet or CERTIFICATES
        if row["agents"] != row["all"] or row["mappings"] != certificates:
            raise PreflightError(
                f"{row['all']:,} targets are of {row['agents']:,} agents and take "
                f"{row['mappings']:,} certificates, instead of one agent each and "
                f"{certificates:,} in all: the seed file 03_targets.sql is missing from the seed "
                "folder (--certload-seed), or is another one"
            )
        return f"{row['all']:,} targets, one for each agent, take {row['mappings']:,} certificates"

    async def poll(self, preflight: Preflight) -> str:
        """The token may poll for work: as an agent whose poll claims nothing."""
        rows = await self.database.fetch(_IDLE, AGENT_IDS)
        if not rows:
            raise PreflightError(
                "every agent of the fleet has Pending deployments, so that no poll is without "
                "effect; leave some agents without"
            )
        (agent,) = rows
        path = f"/api/v1/agents/{agent['id']}/work"
        answer = await self.ask_audited(preflight, "GET", path)
        document = answer.json()
        if answer.status != 200 or not isinstance(document, dict):
            raise unexpected("GET", path, answer)
        if document.get("count") != agent["awaiting"]:
            raise PreflightError(
                f"GET {path} answers {document.get('count')} jobs and the database has "
                f"{agent['awaiting']} that wait for that agent's CSR: the server does something "
                "else than certctl, or asks another database (--certload-dsn)"
            )
        return (
            f"the token may; {agent['id']} is given {agent['awaiting']} jobs, as the database has"
        )

    async def queue(self, _: Preflight) -> str:
        """No job waits for the scheduler, and none is being done."""
        rows = await self.database.fetch(
            "SELECT status, count(*) AS jobs FROM jobs WHERE status IN ('Pending', 'Running') "
            "GROUP BY 1 ORDER BY 1"
        )
        if rows:
            found = " and ".join(f"{row['jobs']:,} {row['status']}" for row in rows)
            raise PreflightError(
                f"the scheduler's queue is not empty, {found}: wait until they are done, or delete them"
            )
        return "no job waits for the scheduler"
