"""What is an agent given to do? The jobs that its poll claims, and certificates to deploy."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import asyncpg

from .access import Actor
from .agents import find_agent
from .audit import AuditLog
from .certificate_rows import find_certificate, find_targets, find_versions
from .config import Config
from .job_rows import JOB_COLUMNS
from .target_rows import find_target
from .web import Answer, Request, api_error, json_answer

__all__ = ["AgentWork"]

_OWN = ", ".join(JOB_COLUMNS)
_OF_J = ", ".join(f"j.{name}" for name in JOB_COLUMNS)
# Three statements, as FOR UPDATE does not go with UNION.
_DIRECT = f"""
SELECT {_OWN} FROM jobs
WHERE agent_id = $1 AND status = 'Pending' AND type = 'Deployment'
ORDER BY created_at ASC FOR UPDATE SKIP LOCKED
"""
_BY_TARGET = f"""
SELECT {_OF_J} FROM jobs j JOIN deployment_targets dt ON j.target_id = dt.id
WHERE j.agent_id IS NULL AND j.status = 'Pending' AND j.type = 'Deployment' AND dt.agent_id = $1
ORDER BY j.created_at ASC FOR UPDATE OF j SKIP LOCKED
"""
# Postgres begins with the agent's targets, so what others leave waiting hardly matters. But to lock a
# row is to write, so a poll that finds a renewal has a commit to wait for.
_AWAITING = f"""
SELECT {_OF_J} FROM jobs j
WHERE j.status = 'AwaitingCSR' AND j.type IN ('Renewal', 'Issuance') AND EXISTS (
    SELECT 1 FROM certificate_target_mappings ctm
    JOIN deployment_targets dt ON ctm.target_id = dt.id
    WHERE ctm.certificate_id = j.certificate_id AND dt.agent_id = $1)
ORDER BY j.created_at ASC FOR UPDATE SKIP LOCKED
"""
_CLAIM = "UPDATE jobs SET status = 'Running' WHERE id = ANY($1)"
_log = logging.getLogger(__name__)


class AgentWork:
    """Answers what agents ask for, for one worker."""

    def __init__(self, config: Config, audit: AuditLog) -> None:
        self._audit = audit
        self._faults = config.faults

    async def poll(self, connection: Any, _: Actor, request: Request) -> Answer:
        """``GET /api/v1/agents/{id}/work``: deployments, claimed by it, and CSRs to send."""
        agent_id = request.path.split("/")[4]
        try:
            agent = await find_agent(connection, agent_id)
            # A retired agent gets its work as any other.
            jobs = None if agent is None else await self._claim(connection, agent_id)
            items = None if jobs is None else [await _item(connection, job) for job in jobs]
        except asyncpg.PostgresError as error:
            _log.error("work of %s: %s", agent_id, error)
            items = None
        if items is None:
            # certctl means to say what an unknown agent is, and does not.
            return api_error(500, "Failed to get pending work", request.id)
        return json_answer({"count": len(items), "jobs": items})

    async def _claim(self, connection: Any, agent_id: str) -> Sequence[Any]:
        """The agent's jobs; deployments are Running when they are handed out.

        Those that wait for a CSR stay as they are, and are handed out until one comes.
        """
        async with connection.transaction():
            direct = await connection.fetch(_DIRECT, agent_id)
            by_target = await connection.fetch(_BY_TARGET, agent_id)
            awaiting = await connection.fetch(_AWAITING, agent_id)
            claimed = [*direct, *by_target]
            if claimed and "work-twice" not in self._faults:
                await connection.execute(_CLAIM, [job["id"] for job in claimed])
        if "work-lost" in self._faults:
            claimed = claimed[:-1]
        return [*({**job, "status": "Running"} for job in claimed), *awaiting]

    async def pick_up(self, connection: Any, _: Actor, request: Request) -> Answer:
        """``GET /api/v1/agents/{id}/certificates/{certificate}``: its newest version.

        That the certificate is any of the agent's business is not asked.
        """
        agent_id, certificate_id = request.path.split("/")[4], request.path.split("/")[6]
        try:
            agent = await find_agent(connection, agent_id)
            versions = [] if agent is None else await find_versions(connection, certificate_id)
        except asyncpg.PostgresError as error:
            _log.error("certificate %s for %s: %s", certificate_id, agent_id, error)
            versions = []
        if not versions:
            return api_error(404, "Certificate not found or not ready", request.id)
        version = versions[0]
        if "certificate-stale" in self._faults:
            version = versions[min(1, len(versions) - 1)]
        try:
            await self._audit.write(
                connection,
                agent_id,
                "certificate_retrieved",
                "certificate",
                certificate_id,
                {"version": version["serial_number"]},
                actor_type="Agent",
            )
        except asyncpg.PostgresError as error:
            _log.error("audit row of a certificate that was picked up: %s", error)
        return json_answer({"certificate_pem": version["pem_chain"]})


async def _item(connection: Any, job: Any) -> dict[str, object]:
    """A job as the agent sees it; what is empty is left out, as by Go."""
    item = {name: job[name] for name in ("id", "type", "certificate_id")}
    if job["status"] == "AwaitingCSR":
        certificate = await find_certificate(connection, job["certificate_id"])
        if certificate is not None:
            await find_targets(connection, certificate["id"])
            item["common_name"] = certificate["common_name"]
            item["sans"] = certificate["sans"]
    if job["target_id"]:
        item["target_id"] = job["target_id"]
        target = await find_target(connection, job["target_id"])
        if target is not None:
            item["target_type"] = target["type"]
            item["target_config"] = (
                None if target["config"] is None else json.loads(target["config"])
            )
    given = {name: value for name, value in item.items() if value}
    return {**given, "status": job["status"]}
