"""What does renewing do? Flip a certificate's status and add a job, of one or of many.

Each statement is a transaction of its own, as in certctl: nothing is locked, nothing rolls back,
and a certificate that fails leaves the others as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import parse_qs

import asyncpg

from .audit import AuditLog
from .certificate_rows import COLUMNS, MAPPINGS, MAPPINGS_OF, SELECT, is_readable, update
from .clock import server_clock
from .config import Config
from .faults import Strikes
from .ids import Ids
from .profiles import find_profile
from .web import Answer, Request, api_error, json_answer

__all__ = ["PAGE", "Renewals"]

#: Certificates that criteria find in one call: certctl asks for 10,000, and its repository sets
#: every page size above 500 back to 50.
PAGE = 50
SKIPPED = frozenset({"Archived", "Revoked", "Expired", "RenewalInProgress"})
#: What a single one is refused for, and by which status; one that is revoked is renewed.
REFUSED = {
    "Archived": (400, "an archived certificate cannot be renewed"),
    "Expired": (400, "an expired certificate cannot be renewed"),
    "RenewalInProgress": (409, "a renewal of the certificate is already in progress"),
}
_FIRST_YEAR = 2000

# Criteria, in the order in which certctl puts them together, and the column each is about.
_CRITERIA = {
    "owner_id": "owner_id = ${}",
    "team_id": "team_id = ${}",
    "issuer_id": "issuer_id = ${}",
    "profile_id": "certificate_profile_id = ${}",
    "agent_id": (
        "id IN (SELECT certificate_id FROM certificate_target_mappings"
        " JOIN deployment_targets ON deployment_targets.id = target_id WHERE agent_id = ${})"
    ),
}
_log = logging.getLogger(__name__)
_INSERT = (
    "INSERT INTO jobs (id, type, certificate_id, target_id, agent_id, status, attempts,"
    " max_attempts, last_error, scheduled_at, started_at, completed_at, created_at)"
    " VALUES ($1, $2, $3, NULL, NULL, $4, 0, 3, NULL, $5, NULL, NULL, $5) RETURNING id"
)


class Renewals:
    """Renews certificates, one or in bulk, for one worker."""

    def __init__(self, config: Config, audit: AuditLog, *, worker: int, workers: int) -> None:
        self._job_status = config.job_status
        self._faults = config.faults
        self._clock = server_clock(config.faults)
        self._lost = Strikes(config.faults, "write-lost")
        self._audit = audit
        self._ids = Ids(worker, workers)

    async def bulk_renew(self, connection: Any, request: Request) -> Answer:
        """``POST /api/v1/certificates/bulk-renew``."""
        document = request.json_object()
        if document is None or not _well_formed(document):
            return api_error(400, "Invalid request body", request.id)
        criteria = {name: document[name] for name in _CRITERIA if document.get(name)}
        ids: list[str] = document.get("certificate_ids") or []
        if not criteria and not ids:
            return api_error(
                400,
                f"At least one filter criterion is required ({', '.join(_CRITERIA)}, or "
                "certificate_ids)",
                request.id,
            )
        try:
            if criteria:
                found = await _by_criteria(connection, self._heard(criteria))
                if ids:
                    wanted = set(ids)
                    found = [row for row in found if row["id"] in wanted]
            else:
                found = await _by_ids(connection, ids)
        except (asyncpg.PostgresError, _Unreadable) as error:
            return api_error(500, f"Bulk renewal failed: {error}", request.id)
        result = await self._renew(connection, found)
        counts = {name: value for name, value in result.items() if name.startswith("total_")}
        details = {**criteria, **counts}
        if ids:
            details["certificate_ids"] = ",".join(ids)
        try:
            await self._audit.write(
                connection, request.actor, "bulk_renewal_initiated", "certificate", "bulk", details
            )
        except asyncpg.PostgresError as error:
            # The work is done, and certctl says so whatever becomes of the audit row.
            _log.error("audit row of a bulk renewal: %s", error)
        return json_answer(result)

    async def renew(self, connection: Any, request: Request, certificate_id: str) -> Answer:
        """``POST /api/v1/certificates/{id}/renew``.

        ``?force=true``, or ``{"force": true}`` as JSON, renews one that is being renewed already.
        """
        row = await connection.fetchrow(SELECT, certificate_id)
        if row is None or not is_readable(row):
            # certctl means to answer 404 to the first and does not: the error is wrapped once more
            # than its comparison looks.
            return api_error(500, "Failed to trigger renewal", request.id)
        await connection.fetch(MAPPINGS, certificate_id)
        status = row["status"]
        if status in REFUSED and not (status == "RenewalInProgress" and _is_forced(request)):
            code, message = REFUSED[status]
            return api_error(code, message, request.id)
        try:
            # It is read, but for whether it wants an approval: so none is ever waited for.
            await find_profile(connection, row)
            await self._enqueue(connection, row, lose=self._lost(), status=self._job_status)
        except asyncpg.PostgresError as error:
            _log.error("renewal of %s: %s", certificate_id, error)
            return api_error(500, "Failed to trigger renewal", request.id)
        try:
            details = {"common_name": row["common_name"]}
            await self._audit.write(
                connection,
                request.actor,
                "renewal_triggered",
                "certificate",
                certificate_id,
                details,
            )
        except asyncpg.PostgresError as error:
            # As in bulk: the work is done.
            _log.error("audit row of a renewal: %s", error)
        triggered = json_answer({"status": "renewal_triggered"})
        return Answer(status=202, body=triggered.body, content_type=triggered.content_type)

    async def _renew(self, connection: Any, found: Sequence[Any]) -> dict[str, object]:
        jobs: list[dict[str, str]] = []
        errors: list[dict[str, str]] = []
        skipped = 0
        left_out = self._left_out(found)
        for number, row in enumerate(found):
            if row["status"] in SKIPPED or row["id"] in left_out:
                skipped += 1
                continue
            lose = self._lost() or ("bulk-lost" in self._faults and number == len(found) - 1)
            try:
                job = await self._enqueue(connection, row, lose=lose, status=self._job_status)
            except asyncpg.PostgresError as error:
                errors.append({"certificate_id": row["id"], "error": str(error)})
                continue
            jobs.append({"certificate_id": row["id"], "job_id": job})
        result: dict[str, object] = {
            "total_matched": len(found),
            "total_enqueued": len(jobs),
            "total_skipped": skipped,
            "total_failed": len(errors),
        }
        # Go leaves empty lists out.
        if jobs:
            result["enqueued_jobs"] = jobs
        if errors:
            result["errors"] = errors
        return result

    def _heard(self, criteria: dict[str, str]) -> dict[str, str]:
        deaf = "bulk-other-owner" in self._faults
        return {name: value for name, value in criteria.items() if not deaf or name != "owner_id"}

    def _left_out(self, found: Sequence[Any]) -> Collection[str]:
        ids = [row["id"] for row in found]
        if "bulk-zero" in self._faults:
            return set(ids)
        return set(ids[-1:]) if "bulk-partial" in self._faults else ()

    async def _enqueue(self, connection: Any, row: Any, *, lose: bool, status: str) -> str:
        await update(connection, row, status="RenewalInProgress")
        now = self._clock()
        kind = "Issuance" if row["expires_at"].year < _FIRST_YEAR else "Renewal"
        job = self._job_id()
        stored = [] if lose else [job]
        if "jobs-duplicated" in self._faults:
            stored.append(self._job_id())
        for row_id in stored:
            await connection.fetchval(_INSERT, row_id, kind, row["id"], status, now)
        return job

    def _job_id(self) -> str:
        return self._ids.new("job")


class _Unreadable(Exception):
    """A row has NULL in a column that certctl reads into a value without one."""


def _is_forced(request: Request) -> bool:
    if parse_qs(request.query).get("force", ("",))[0] in ("true", "1"):
        return True
    if request.headers.get("Content-Type") != "application/json":
        return False
    return (request.json_object() or {}).get("force") is True


def _well_formed(document: dict[str, Any]) -> bool:
    """Whether Go could read it into its fields; null reads as empty."""
    ids = document.get("certificate_ids")
    return all(isinstance(document.get(name), str | None) for name in _CRITERIA) and (
        ids is None or (isinstance(ids, list) and all(isinstance(item, str) for item in ids))
    )


async def _by_ids(connection: Any, ids: Sequence[str]) -> list[Any]:
    found = []
    for certificate_id in ids:
        row = await connection.fetchrow(SELECT, certificate_id)
        # An id that nobody has is left out without a word, and so is a row that cannot be read.
        if row is not None and is_readable(row):
            await connection.fetch(MAPPINGS, certificate_id)
            found.append(row)
    return found


async def _by_criteria(connection: Any, criteria: dict[str, str]) -> list[Any]:
    where = " AND ".join(_CRITERIA[name].format(number) for number, name in enumerate(criteria, 1))
    where = where or "TRUE"
    values = criteria.values()
    await connection.fetchval(f"SELECT count(*) FROM managed_certificates WHERE {where}", *values)
    found = await connection.fetch(
        f"SELECT {COLUMNS} FROM managed_certificates WHERE {where} "
        f"ORDER BY created_at ASC LIMIT {PAGE} OFFSET 0",
        *values,
    )
    for row in found:
        if not is_readable(row):
            raise _Unreadable(f"{row['id']} has no environment or no expires_at")
    if found:
        await connection.fetch(MAPPINGS_OF, [row["id"] for row in found])
    return list(found)
