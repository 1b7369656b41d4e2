"""How are jobs read and written? As certctl's repository does it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

__all__ = ["JOB_COLUMNS", "all_jobs", "find_job", "jobs_of", "set_status", "store_deployment"]

JOB_COLUMNS = (
    "id", "type", "certificate_id", "target_id", "agent_id", "status", "attempts", "max_attempts",
    "last_error", "scheduled_at", "started_at", "completed_at", "created_at",
)  # fmt: skip
_COLUMNS = ", ".join(JOB_COLUMNS)
_SELECT = f"SELECT {_COLUMNS} FROM jobs WHERE id = $1"
# The whole table, whatever was asked for.
_ALL = f"SELECT {_COLUMNS} FROM jobs ORDER BY created_at DESC"
_OF_CERTIFICATE = f"SELECT {_COLUMNS} FROM jobs WHERE certificate_id = $1 ORDER BY created_at DESC"
_SET_STATUS = "UPDATE jobs SET status = $2, last_error = $3 WHERE id = $1"
_STORE_DEPLOYMENT = (
    f"INSERT INTO jobs ({_COLUMNS})"
    " VALUES ($1, 'Deployment', $2, $3, $4, 'Pending', 0, 3, NULL, $5, NULL, NULL, $5)"
    " RETURNING id"
)


async def find_job(connection: Any, job_id: str) -> Any:
    """The row of a job, None when there is none."""
    return await connection.fetchrow(_SELECT, job_id)


async def all_jobs(connection: Any) -> Sequence[Any]:
    """Every job there is, the newest first."""
    rows: Sequence[Any] = await connection.fetch(_ALL)
    return rows


async def jobs_of(connection: Any, certificate_id: str) -> Sequence[Any]:
    """The jobs of a certificate, the newest first."""
    rows: Sequence[Any] = await connection.fetch(_OF_CERTIFICATE, certificate_id)
    return rows


async def set_status(connection: Any, job_id: str, status: str, error: str = "") -> None:
    """Set a job's state, and its last error or that there is none.

    Times and attempts stay as they are, as in certctl.
    """
    await connection.execute(_SET_STATUS, job_id, status, error or None)


async def store_deployment(
    connection: Any,
    job_id: str,
    certificate_id: str,
    target_id: str,
    agent_id: str | None,
    *,
    now: datetime,
) -> None:
    """Add a Pending deployment of a certificate to a target."""
    await connection.fetchval(_STORE_DEPLOYMENT, job_id, certificate_id, target_id, agent_id, now)
