"""What becomes of a renewal job that the processor does? It waits for a CSR, or is done at once.

Where agents make the keys, the job is set to AwaitingCSR. Where the server makes them, which is for
demonstrations, it makes an RSA key, signs, and stores version, certificate and audit row in one
transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from .audit import AuditLog
from .authority import Authority, Issued
from .certificate_rows import find_certificate, find_targets, store_version, update
from .clock import server_clock
from .config import Config
from .deploying import deploy_to
from .ids import Ids
from .job_rows import set_status
from .notifications import notify_renewed
from .profiles import find_profile, held_for

__all__ = ["RenewalWork"]

_KEY_BITS = 2048
_log = logging.getLogger(__name__)


class RenewalWork:
    """Does renewal and issuance jobs.

    Args:
        config: Who makes the keys.
        pool: Where connections come from, one for each statement.
        audit: Where rows of what was done go.
        authority: Signs, whichever issuer is asked.
        issuers: Those there are, and how long what they sign holds.
        worker: Number of this worker, and
        workers: how many there are: no two give the same id to a row.
    """

    def __init__(
        self,
        config: Config,
        pool: asyncpg.Pool[Any],
        audit: AuditLog,
        authority: Authority,
        issuers: Mapping[str, timedelta],
        *,
        worker: int,
        workers: int,
    ) -> None:
        self._agents_make_keys = config.job_status == "AwaitingCSR"
        self._pool = pool
        self._audit = audit
        self._authority = authority
        self._issuers = issuers
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
        targets = await find_targets(self._pool, certificate["id"])
        issuer = certificate["issuer_id"]
        if issuer not in self._issuers:
            await set_status(self._pool, job["id"], "Failed", f"there is no issuer {issuer}")
        elif self._agents_make_keys:
            await self._await_csr(job, certificate)
        else:
            await self._renew(job, certificate, targets)

    async def _await_csr(self, job: Any, certificate: Any) -> None:
        await set_status(self._pool, job["id"], "AwaitingCSR")
        try:
            await update(
                self._pool, certificate, status="RenewalInProgress", updated_at=self._clock()
            )
        except asyncpg.PostgresError as error:
            _log.error("certificate %s: %s", certificate["id"], error)
        await self._audit.write(
            self._pool,
            "system",
            "renewal_awaiting_csr",
            "certificate",
            certificate["id"],
            {"job_id": job["id"], "keygen_mode": "agent"},
            actor_type="System",
        )

    async def _renew(self, job: Any, certificate: Any, targets: Sequence[str]) -> None:
        profile = await find_profile(self._pool, certificate)
        lifetime = held_for(self._issuers[certificate["issuer_id"]], profile)
        now = self._clock()
        try:
            # Half a tenth of a second, in which the worker answers requests.
            issued, key = await asyncio.to_thread(
                _make, self._authority, certificate, lifetime, now
            )
            await self._store(job, certificate, issued, key)
        except (asyncpg.PostgresError, ValueError) as error:
            await set_status(self._pool, job["id"], "Failed", str(error))
            raise
        await set_status(self._pool, job["id"], "Completed")
        await deploy_to(self._pool, self._ids, certificate, targets, self._clock)
        await notify_renewed(
            self._pool, self._ids.new("notif"), certificate, issued.not_after, self._clock()
        )

    async def _store(self, job: Any, certificate: Any, issued: Issued, key: str) -> None:
        """Version, certificate and audit row, all or nothing. The version keeps the key, for agents."""
        now = self._clock()
        async with (
            self._pool.acquire() as connection,
            self._audit.transaction(connection, actor_type="System") as note,
        ):
            await store_version(
                connection,
                self._ids.new("certver"),
                certificate["id"],
                issued,
                csr_pem=key,
                now=now,
            )
            await update(
                connection,
                certificate,
                status="Active",
                expires_at=issued.not_after,
                last_renewal_at=now,
                updated_at=now,
            )
            await note(
                "system",
                "renewal_job_completed",
                "certificate",
                certificate["id"],
                {
                    "job_id": job["id"],
                    "serial": issued.serial_number,
                    "not_after": issued.not_after.isoformat(),
                    "keygen_mode": "server",
                },
            )


def _make(
    authority: Authority, certificate: Any, lifetime: timedelta, now: datetime
) -> tuple[Issued, str]:
    """A certificate with a key that the server makes, and that key as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, certificate["common_name"])])
    request = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    issued = authority.issue(request, names=certificate["sans"] or (), lifetime=lifetime, now=now)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return issued, pem.decode()
