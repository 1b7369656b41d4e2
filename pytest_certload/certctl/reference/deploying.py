"""What becomes of a deployment? It is added for an agent; without one it is handed over, and stays Running."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg

from .agents import find_agent
from .audit import AuditLog
from .certificate_rows import find_certificate, find_targets
from .clock import Clock, server_clock
from .config import Config
from .ids import Ids
from .job_rows import set_status, store_deployment
from .notifications import notify_owner
from .target_rows import find_target

__all__ = ["Deployments", "deploy_to"]

#: The age of its last heartbeat from which on an agent gets no deployment.
_SILENT = timedelta(minutes=5)


async def deploy_to(
    connection: Any, ids: Ids, certificate: Any, targets: Sequence[str], clock: Clock
) -> None:
    """Add a deployment of a certificate to each of its targets, for the agent that serves it."""
    for target in targets:
        row = await find_target(connection, target)
        agent = None if row is None else row["agent_id"]
        job = ids.new("job")
        await store_deployment(connection, job, certificate["id"], target, agent, now=clock())


class Deployments:
    """Does deployment jobs.

    Args:
        config: For the clock.
        pool: Where connections come from, one for each statement.
        audit: Where rows of what was done go.
        worker: Number of this worker, and
        workers: how many there are: no two give the same id to a row.
    """

    def __init__(
        self,
        config: Config,
        pool: asyncpg.Pool[Any],
        audit: AuditLog,
        *,
        worker: int,
        workers: int,
    ) -> None:
        self._pool = pool
        self._audit = audit
        self._clock = server_clock(config.faults)
        self._ids = Ids(worker, workers)

    async def do(self, job: Any) -> None:
        """Do a job that was claimed.

        Raises:
            asyncpg.PostgresError: A statement failed, and the job is left as it was then.
        """
        await set_status(self._pool, job["id"], "Running")
        certificate = await find_certificate(self._pool, job["certificate_id"])
        if certificate is None:
            await set_status(self._pool, job["id"], "Failed", "there is no such certificate")
            return
        await find_targets(self._pool, certificate["id"])
        target = await find_target(self._pool, job["target_id"]) if job["target_id"] else None
        agent = None if target is None else await find_agent(self._pool, target["agent_id"])
        if target is None or agent is None:
            await set_status(self._pool, job["id"], "Failed", "there is no such target or agent")
            return
        heard = agent["last_heartbeat_at"]
        if agent["retired_at"] is not None:
            await self._refuse(job, certificate, target, "agent retired")
        elif heard is not None and self._clock() - heard > _SILENT:
            await self._refuse(job, certificate, target, "agent offline")
        else:
            # The agent is to ask for it, and asks for Pending ones only.
            details = {"job_id": job["id"], "target_id": target["id"], "agent_id": agent["id"]}
            await self._note("deployment_job_dispatched", certificate, details)

    async def _refuse(self, job: Any, certificate: Any, target: Any, reason: str) -> None:
        await set_status(self._pool, job["id"], "Failed", reason)
        await notify_owner(
            self._pool,
            self._ids.new("notif"),
            certificate,
            kind="DeploymentFailure",
            message=f"{certificate['common_name']} is not deployed to {target['name']}: {reason}.",
            now=self._clock(),
        )
        details = {"job_id": job["id"], "reason": reason, "target_id": target["id"]}
        await self._note("deployment_job_failed", certificate, details)

    async def _note(self, action: str, certificate: Any, details: dict[str, str]) -> None:
        await self._audit.write(
            self._pool,
            "system",
            action,
            "certificate",
            certificate["id"],
            details,
            actor_type="System",
        )
