"""What waits for certctl's scheduler? Renewal jobs that a load puts into its queue when it begins."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from pytest_certload.database import Database, SessionDatabase
from pytest_certload.errors import ConfigurationError
from pytest_certload.proof.backlog import Backlog

from .fleet import CERTIFICATES

__all__ = ["CLAIM_LIMIT", "RenewalQueue", "claims_a_tick"]

CLAIM_LIMIT = "CERTCTL_SCHEDULER_JOB_CLAIM_LIMIT"
_DEFAULT_CLAIM_LIMIT = 1000

#: Who makes the keys: what becomes of a job, the audit row that says so, and what of its certificate.
_OUTCOMES = {
    "agent": ("AwaitingCSR", "renewal_awaiting_csr", "status = 'RenewalInProgress'"),
    "server": (
        "Completed",
        "renewal_job_completed",
        "status = 'Active' AND (SELECT count(*) FROM certificate_versions "
        "WHERE certificate_id = managed_certificates.id) = 1",
    ),
}
# Their order in the queue is that of their numbers.
_PUT = """
INSERT INTO jobs (id, type, certificate_id, status, max_attempts, scheduled_at, created_at)
SELECT $2::text || '-' || number, 'Renewal', 'cert-loadtest-bulk-' || number, 'Pending', 3,
    now() + n * interval '1 microsecond', now()
FROM generate_series(1, $1::int) AS n, LATERAL (SELECT to_char(n, 'FM00000') AS number) AS label
"""
_DONE = "SELECT count(*) FROM jobs WHERE id LIKE $1 AND status = $2"
_OTHERS = "SELECT status, count(*) AS jobs FROM jobs WHERE id LIKE $1 AND status <> $2 GROUP BY 1 ORDER BY 1"


def claims_a_tick(environment: Mapping[str, str]) -> int:
    """How many jobs the scheduler takes at once: certctl makes 1,000 of 0 and less.

    Args:
        environment: What the server runs with.

    Raises:
        ConfigurationError: The limit is no number.
    """
    value = environment.get(CLAIM_LIMIT, str(_DEFAULT_CLAIM_LIMIT))
    try:
        limit = int(value)
    except ValueError:
        raise ConfigurationError(f"{CLAIM_LIMIT}={value}: write a number of jobs") from None
    return limit if limit > 0 else _DEFAULT_CLAIM_LIMIT


class RenewalQueue:
    """Pending renewal jobs, one for each of the first certificates of the fleet.

    Args:
        database: certctl's.
        size: How many.
        keygen: Who makes the keys, as ``CERTCTL_KEYGEN_MODE`` has it: ``agent``, and the scheduler sets
            each job to AwaitingCSR; or ``server``, and it issues the certificate.

    Attributes:
        jobs: Their ids.
        pattern: What is like them and no others, for ``LIKE``.
        audit_action: Action of the audit row that says that one was done, its id in ``details->>'job_id'``.

    Raises:
        ConfigurationError: There are not so many certificates, or nobody of that name makes keys.
    """

    def __init__(self, database: SessionDatabase, size: int, *, keygen: str = "agent") -> None:
        if not 0 < size <= CERTIFICATES:
            raise ConfigurationError(
                f"a queue of {size:,} jobs: write 1 to {CERTIFICATES:,}, one for each certificate of the "
                "fleet"
            )
        if keygen not in _OUTCOMES:
            raise ConfigurationError(
                f"CERTCTL_KEYGEN_MODE={keygen}: write {' or '.join(_OUTCOMES)}"
            )
        self._database = database
        # Audit rows stay for ever: those of an earlier queue are not to be taken for this one's.
        name = f"job-loadtest-queue-{secrets.token_hex(4)}"
        self._name, self.pattern = name, f"{name}-%"
        self._status, self.audit_action, self._certificate = _OUTCOMES[keygen]
        self.jobs: Sequence[str] = [f"{name}-{number:05d}" for number in range(1, size + 1)]

    def backlog(self, *, limit: object) -> Backlog:
        """Puts the jobs in when the load begins, and watches what becomes of them.

        Let it look on as the last one, so that the load follows at once. ``result.caught_up()`` holds
        that all are done and none of them failed; ``result.backlog("renewal jobs")`` has their pace.

        Args:
            limit: How long after the load the last one may be done.
        """
        return Backlog(
            "renewal jobs",
            self._database,
            _Jobs(self._name, len(self.jobs), self._status),
            wanted=lambda: len(self.jobs),
            every="500ms",
            limit=limit,
            cost=0.1,
        )

    async def certificates_done(self) -> int:
        """How many of the certificates are as their jobs leave them: renewed, or waiting for an agent."""
        return int(
            await self._database.fetchval(
                "SELECT count(*) FROM managed_certificates WHERE id IN "
                f"(SELECT certificate_id FROM jobs WHERE id LIKE $1) AND {self._certificate}",
                self.pattern,
            )
        )


class _Jobs:
    """The jobs in the database."""

    def __init__(self, name: str, size: int, status: str) -> None:
        self._name = name
        self._pattern = f"{name}-%"
        self._size = size
        self._status = status

    async def begin(self, database: Database) -> None:
        """Put them in, all at once."""
        await database.execute(_PUT, self._size, self._name)

    async def done(self, database: Database) -> int:
        """How many are where the scheduler has to bring them."""
        return int(await database.fetchval(_DONE, self._pattern, self._status))

    async def broken(self, database: Database) -> str | None:
        """Which states the others are in."""
        rows = await database.fetch(_OTHERS, self._pattern, self._status)
        others = ", ".join(f"{row['jobs']:,} {row['status']}" for row in rows)
        return f"others than {self._status}: {others}" if others else None
