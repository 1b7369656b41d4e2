"""What becomes of a CSR? A certificate, its newest version, and the deployments it calls for.

Each statement is a transaction of its own, as in certctl: what fails half-way stays half done.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from .access import Actor
from .agents import find_agent
from .audit import AuditLog
from .authority import Authority, Issued, kind_of_key
from .certificate_rows import find_certificate, find_targets, store_version, update
from .clock import server_clock
from .config import Config
from .deploying import deploy_to
from .ids import Ids
from .job_rows import jobs_of, set_status
from .notifications import notify_renewed
from .profiles import find_profile, held_for
from .web import Answer, Request, api_error, json_answer

__all__ = ["Signing", "read_issuers"]

_HEAD = "-----BEGIN CERTIFICATE REQUEST-----"
_DEFAULT_DAYS = 90
_ISSUERS = "SELECT id, config FROM issuers WHERE enabled"
_log = logging.getLogger(__name__)


class _Refused(Exception):
    """A CSR that is not signed; why."""


async def read_issuers(pool: asyncpg.Pool[Any]) -> Mapping[str, timedelta]:
    """The issuers there are when the server starts, and how long what they sign holds."""
    rows = await pool.fetch(_ISSUERS)
    return {
        row["id"]: timedelta(
            days=json.loads(row["config"] or "{}").get("validity_days") or _DEFAULT_DAYS
        )
        for row in rows
    }


class Signing:
    """Takes CSRs, for one worker.

    Args:
        config: The configuration.
        audit: Where rows of what was done go.
        authority: Signs, whichever issuer is asked.
        issuers: Those there are, and how long what they sign holds.
        worker: Number of this worker, and
        workers: how many there are: no two give the same id to a row.
    """

    def __init__(
        self,
        config: Config,
        audit: AuditLog,
        authority: Authority,
        issuers: Mapping[str, timedelta],
        *,
        worker: int,
        workers: int,
    ) -> None:
        self._audit = audit
        self._authority = authority
        self._issuers = issuers
        self._faults = config.faults
        self._clock = server_clock(config.faults)
        self._ids = Ids(worker, workers)
        self._other_key = ec.generate_private_key(ec.SECP256R1())

    async def submit(self, connection: Any, _: Actor, request: Request) -> Answer:
        """``POST /api/v1/agents/{id}/csr``.

        Without a ``certificate_id`` nothing is signed and all the same it is accepted. Whose
        certificate it is is not asked.
        """
        agent_id = request.path.split("/")[4]
        document = request.json_object()
        names = ("csr_pem", "certificate_id")
        if document is None or not all(isinstance(document.get(n), str | None) for n in names):
            return api_error(400, "Invalid request body", request.id)
        pem, certificate_id = (document.get(name) or "" for name in names)
        if not pem:
            return api_error(400, "csr_pem is required", request.id)
        if not pem.strip().startswith(_HEAD):
            return api_error(
                400, "csr_pem must be a valid PEM-encoded certificate request", request.id
            )
        try:
            await self._take(connection, agent_id, certificate_id, pem)
        except (asyncpg.PostgresError, _Refused) as error:
            _log.error("CSR of %s for %s: %s", agent_id, certificate_id or "nothing", error)
            return api_error(500, "Failed to submit CSR", request.id)
        return json_answer(
            {"status": "csr_signed" if certificate_id else "csr_accepted"}, status=202
        )

    async def _take(self, connection: Any, agent_id: str, certificate_id: str, pem: str) -> None:
        agent = await find_agent(connection, agent_id)
        if agent is None:
            raise _Refused("there is no such agent")
        details: dict[str, object] = {"agent_hostname": agent["hostname"]}
        if certificate_id:
            certificate = await find_certificate(connection, certificate_id)
            if certificate is None:
                raise _Refused("there is no such certificate")
            targets = await find_targets(connection, certificate_id)
            jobs = await jobs_of(connection, certificate_id)
            awaiting = [job["id"] for job in jobs if job["status"] == "AwaitingCSR"]
            if awaiting:
                await self._renew(connection, awaiting[0], certificate, targets, pem)
                details |= {"keygen_mode": "agent", "job_id": awaiting[0]}
            elif certificate["issuer_id"] in self._issuers:
                await self._sign_and_store(connection, certificate, pem)
            # Else nothing is signed, and nobody is told.
        await self._note(connection, agent_id, "Agent", "csr_submitted", certificate_id, details)

    async def _renew(
        self, connection: Any, job: str, certificate: Any, targets: Sequence[str], pem: str
    ) -> None:
        """Do a renewal job that waited for its CSR."""
        try:
            issued = await self._sign_and_store(connection, certificate, pem, job)
        except (asyncpg.PostgresError, _Refused) as error:
            await set_status(connection, job, "Failed", str(error))
            raise
        await set_status(connection, job, "Completed")
        if issued is None:
            return
        await deploy_to(connection, self._ids, certificate, targets, self._clock)
        await notify_renewed(
            connection, self._ids.new("notif"), certificate, issued.not_after, self._clock()
        )
        await self._note(
            connection,
            "system",
            "System",
            "renewal_job_completed",
            certificate["id"],
            {
                "job_id": job,
                "serial": issued.serial_number,
                "not_after": issued.not_after.isoformat(),
                "keygen_mode": "agent",
            },
        )

    async def _sign_and_store(
        self, connection: Any, certificate: Any, pem: str, job: str | None = None
    ) -> Issued | None:
        """Sign a CSR and make it the certificate's newest version; None: it was not signed.

        Raises:
            _Refused: It is not signed; why.
        """
        lifetime = self._issuers.get(certificate["issuer_id"])
        if lifetime is None:
            raise _Refused(f"there is no issuer {certificate['issuer_id']}")
        profile = await find_profile(connection, certificate)
        lifetime = held_for(lifetime, profile)
        request = _read(pem)
        if profile is not None:
            _hold_to(profile, request)
        if job is not None:
            await set_status(connection, job, "Running")
        issued = None
        now = self._clock()
        if "csr-unsigned" not in self._faults:
            issued = self._sign(request, certificate["sans"] or (), lifetime, now)
            await store_version(
                connection,
                self._ids.new("certver"),
                certificate["id"],
                issued,
                csr_pem=pem,
                now=self._clock(),
            )
        await update(
            connection,
            certificate,
            status="Active",
            expires_at=now + lifetime if issued is None else issued.not_after,
            last_renewal_at=now,
            updated_at=now,
        )
        return issued

    def _sign(
        self,
        request: x509.CertificateSigningRequest,
        names: Sequence[str],
        lifetime: timedelta,
        now: datetime,
    ) -> Issued:
        if "csr-other-key" in self._faults:
            builder = x509.CertificateSigningRequestBuilder(request.subject)
            request = builder.sign(self._other_key, hashes.SHA256())
        try:
            return self._authority.issue(request, names=names, lifetime=lifetime, now=now)
        except ValueError as error:
            raise _Refused(str(error)) from error

    async def _note(
        self,
        connection: Any,
        actor: str,
        actor_type: str,
        action: str,
        certificate_id: str,
        details: Mapping[str, object],
    ) -> None:
        try:
            await self._audit.write(
                connection,
                actor,
                action,
                "certificate",
                certificate_id,
                details,
                actor_type=actor_type,
            )
        except asyncpg.PostgresError as error:
            # What it is about is done, and certctl says so whatever becomes of the audit row.
            _log.error("audit row %s of %s: %s", action, certificate_id, error)


def _read(pem: str) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        signed = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature) as error:
        raise _Refused(f"the CSR cannot be read: {error}") from error
    if not signed:
        raise _Refused("the signature of the CSR is not its key's")
    return request


def _hold_to(profile: Any, request: x509.CertificateSigningRequest) -> None:
    """Refuse a key that a profile does not allow."""
    try:
        algorithm, size = kind_of_key(request.public_key())
    except ValueError as error:
        raise _Refused(str(error)) from error
    rules = json.loads(profile["allowed_key_algorithms"])
    if rules and not any(
        rule.get("algorithm") == algorithm and size >= rule.get("min_size", 0) for rule in rules
    ):
        raise _Refused(f"{profile['id']} allows no key of {algorithm} with {size} bits")
