"""What becomes of a job? What its agent says of it, what was verified, and how it stands."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import asyncpg

from .access import Actor
from .audit import AuditLog
from .clock import server_clock
from .config import Config
from .job_rows import JOB_COLUMNS, all_jobs, find_job, set_status
from .web import Answer, Request, api_error, json_answer

__all__ = ["Jobs"]

_PAGE = 50
_LARGEST_PAGE = 500
_OPTIONAL = ("target_id", "agent_id", "last_error", "started_at", "completed_at")
_WRITTEN = tuple(name for name in JOB_COLUMNS if name not in ("id", "created_at"))
# The columns of a verification are not among them.
_UPDATE = f"""
UPDATE jobs SET {", ".join(f"{name} = ${number}" for number, name in enumerate(_WRITTEN, 2))}
WHERE id = $1
"""
_log = logging.getLogger(__name__)


class Jobs:
    """Answers what is said of jobs and asked of them, for one worker."""

    def __init__(self, config: Config, audit: AuditLog) -> None:
        self._audit = audit
        self._faults = config.faults
        self._clock = server_clock(config.faults)

    async def report(self, connection: Any, _: Actor, request: Request) -> Answer:
        """``POST /api/v1/agents/{id}/jobs/{job}/status``: the agent says how its job stands.

        Any text is a state, and whose job it is is not asked.
        """
        agent_id, job_id = request.path.split("/")[4], request.path.split("/")[6]
        document = _texts(request, "status", "error")
        if document is None:
            return api_error(400, "Invalid request body", request.id)
        status, error = document["status"], document["error"]
        if not status:
            return api_error(400, "Status is required", request.id)
        failed = api_error(500, "Failed to update job status", request.id)
        try:
            if await find_job(connection, job_id) is None:
                return failed
            if "status-lost" not in self._faults:
                await set_status(connection, job_id, status, error)
        except asyncpg.PostgresError as problem:
            _log.error("status of job %s: %s", job_id, problem)
            return failed
        details = {"status": status, "error": error}
        await self._note(connection, agent_id, "job_status_reported", job_id, details)
        return json_answer({"status": "updated"})

    async def verify(self, connection: Any, _: Actor, request: Request) -> Answer:
        """``POST /api/v1/jobs/{id}/verify``: acknowledged, and not stored, as by certctl.

        The job is written as it was read: its columns for a verification are no part of that.
        """
        job_id = request.path.split("/")[4]
        names = ("target_id", "expected_fingerprint", "actual_fingerprint")
        document = _texts(request, *names, "error")
        verified = (request.json_object() or {}).get("verified") or False
        if document is None or not isinstance(verified, bool):
            return api_error(400, "Invalid request body", request.id)
        for name in names:
            if not document[name]:
                return api_error(400, f"{name} is required", request.id)
        now = self._clock()
        failed = "Failed to record verification result"
        try:
            job = await find_job(connection, job_id)
            if job is None:
                return api_error(500, f"{failed}: job not found", request.id)
            await connection.execute(_UPDATE, job_id, *(job[name] for name in _WRITTEN))
        except asyncpg.PostgresError as problem:
            return api_error(500, f"{failed}: {problem}", request.id)
        error = document["error"]
        details: dict[str, object] = {
            "job_id": job_id,
            **{name: document[name] for name in names},
            "verified": verified,
            **({"error": error} if error else {}),
        }
        outcome = "job_verification_failed" if error else "job_verification_success"
        await self._note(connection, "agent", outcome, job_id, details)
        return json_answer({"job_id": job_id, "verified": verified, "verified_at": _time(now)})

    async def list_jobs(self, connection: Any, _: Actor, request: Request) -> Answer:
        """``GET /api/v1/jobs``: a page of those with a state and a type, out of all that are read."""
        query = parse_qs(request.query)
        page = _number(query, "page", 1)
        size = _number(query, "per_page", _PAGE, most=_LARGEST_PAGE)
        wanted = {name: query[name][0] for name in ("status", "type") if name in query}
        try:
            jobs = await all_jobs(connection)
        except asyncpg.PostgresError as error:
            _log.error("list of jobs: %s", error)
            return api_error(500, "Failed to list jobs", request.id)
        found = [job for job in jobs if all(job[name] == value for name, value in wanted.items())]
        shown = [_shown(job) for job in found[(page - 1) * size : page * size]]
        # A Go slice that nothing was put into is null.
        return json_answer(
            {"data": shown or None, "total": len(found), "page": page, "per_page": size}
        )

    async def show(self, connection: Any, _: Actor, request: Request) -> Answer:
        """``GET /api/v1/jobs/{id}``."""
        try:
            job = await find_job(connection, request.path.split("/")[4])
        except asyncpg.PostgresError as error:
            _log.error("a job: %s", error)
            job = None
        return (
            api_error(404, "Job not found", request.id) if job is None else json_answer(_shown(job))
        )

    async def _note(
        self,
        connection: Any,
        actor: str,
        action: str,
        job_id: str,
        details: Mapping[str, object],
    ) -> None:
        try:
            await self._audit.write(
                connection, actor, action, "job", job_id, details, actor_type="Agent"
            )
        except asyncpg.PostgresError as error:
            # What it is about is done, and certctl says so whatever becomes of the audit row.
            _log.error("audit row of job %s: %s", job_id, error)


def _texts(request: Request, *names: str) -> dict[str, str] | None:
    """The texts of a body, those that are not there empty; None when it cannot be read."""
    document = request.json_object()
    if document is None:
        return None
    values = {name: document.get(name) or "" for name in names}
    if not all(isinstance(document.get(name), str | None) for name in names):
        return None
    return values


def _number(
    query: Mapping[str, Sequence[str]], name: str, default: int, *, most: int | None = None
) -> int:
    """A number above zero of a query; anything else is passed over in silence."""
    text = query.get(name, ("",))[0]
    if not re.fullmatch(r"\+?[0-9]{1,18}", text) or not 0 < int(text) <= (most or int(text)):
        return default
    return int(text)


def _shown(job: Any) -> dict[str, object]:
    values = {
        name: _time(job[name]) if isinstance(job[name], datetime) else job[name]
        for name in JOB_COLUMNS
        if job[name] is not None or name not in _OPTIONAL
    }
    # It is never read.
    return {**values, "verification_status": ""}


def _time(moment: datetime) -> str:
    """A time as Go writes it."""
    text = moment.astimezone(UTC).isoformat()
    head, dot, rest = text.removesuffix("+00:00").partition(".")
    fraction = rest.rstrip("0")
    return f"{head}{dot if fraction else ''}{fraction}Z"
