"""What work has certctl for its agents, and what became of it? Put in before a load, asked after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_certload.database import SessionDatabase
from pytest_certload.errors import PreflightError

from .fleet import CERTIFICATE_IDS, TARGET_IDS

__all__ = ["DEPLOYED", "RUNNING", "SIGNED", "Assignment", "Work"]

#: Of some jobs, those that an agent was given, each with whose it is; for ``result.effects``.
RUNNING = "SELECT id || ' to ' || agent_id FROM jobs WHERE id = ANY($1) AND status = 'Running'"

_NEWEST = """
SELECT DISTINCT ON (certificate_id) certificate_id, pem_chain, fingerprint_sha256
FROM certificate_versions WHERE certificate_id = ANY($1)
ORDER BY certificate_id, created_at DESC
"""
# The leaf stands first in its chain. A P-256 key is this head and a point in a certificate's DER.
_POINT = """
substring(
    encode(decode(split_part(split_part(pem_chain, '-----BEGIN CERTIFICATE-----', 2), '-----', 1),
        'base64'), 'hex')
    FROM '3059301306072a8648ce3d020106082a8648ce3d030107034200(04[0-9a-f]{128})')
"""
#: Of some certificates, each with the key of its newest version, as ``KeyPair.point`` has it.
SIGNED = f"SELECT certificate_id || ' for ' || {_POINT} FROM ({_NEWEST}) AS newest"
#: Of some certificates, each completed deployment with the fingerprint of the newest version.
DEPLOYED = f"""
SELECT jobs.id || ' of ' || certificate_id || ', ' || fingerprint_sha256
FROM ({_NEWEST}) AS newest JOIN jobs USING (certificate_id)
WHERE type = 'Deployment' AND status = 'Completed'
"""

_ASSIGNMENTS = """
SELECT certificates.id AS certificate, common_name, agent_id, targets.id AS target
FROM managed_certificates AS certificates
JOIN certificate_target_mappings ON certificate_id = certificates.id
JOIN deployment_targets AS targets ON targets.id = target_id
WHERE certificates.id = ANY($1) ORDER BY certificates.id
"""
_DEPLOYMENTS = """
INSERT INTO jobs (id, type, certificate_id, target_id, agent_id, status, scheduled_at)
SELECT 'job-loadtest-' || agent_id || '-' || n, 'Deployment', certificate_id, target_id, agent_id,
    'Pending', now()
FROM (
    SELECT DISTINCT ON (agent_id) agent_id, targets.id AS target_id, certificate_id
    FROM deployment_targets AS targets
    JOIN certificate_target_mappings ON target_id = targets.id
    WHERE agent_id = ANY($1) AND targets.id LIKE $3 ORDER BY agent_id, certificate_id
) AS places, generate_series(1, $2::int) AS n
RETURNING agent_id, id
"""
_AWAITING = """
INSERT INTO jobs (id, type, certificate_id, status, scheduled_at)
SELECT 'job-loadtest-csr-' || id, 'Renewal', id, 'AwaitingCSR', now()
FROM unnest($1::text[]) AS id
"""
_RENEWING = "UPDATE managed_certificates SET status = 'RenewalInProgress' WHERE id = ANY($1)"
_FORGET_VERSIONS = "DELETE FROM certificate_versions WHERE certificate_id LIKE $1"
_PREVIOUS = """
INSERT INTO certificate_versions (id, certificate_id, serial_number, not_before, not_after,
    fingerprint_sha256, pem_chain, created_at)
SELECT 'certver-loadtest-' || id, id, serial, now() - interval '1 day', now() + interval '1 day',
    fingerprint, pem, now() - interval '1 day'
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS one (id, serial, fingerprint, pem)
"""
_NOT_DONE = """
SELECT count(*) FROM jobs WHERE certificate_id = ANY($1) AND type = ANY($2)
    AND status <> 'Completed'
"""
_NOT_ACTIVE = "SELECT count(*) FROM managed_certificates WHERE id = ANY($1) AND status <> 'Active'"


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Who renews a certificate, and where it goes.

    Attributes:
        certificate: Its id.
        name: Its common name.
        agent: Id of the agent.
        target: Id of the target.
    """

    certificate: str
    name: str
    agent: str
    target: str


class Work:
    """The jobs of the seeded fleet.

    Args:
        database: certctl's.
    """

    def __init__(self, database: SessionDatabase) -> None:
        self._database = database

    async def assignments(self, certificates: Sequence[str]) -> Sequence[Assignment]:
        """Who renews each certificate, and where it goes, in order of the ids.

        Raises:
            PreflightError: One has no target, or several.
        """
        rows = await self._database.fetch(_ASSIGNMENTS, list(certificates))
        if len(rows) != len(certificates):
            raise PreflightError(
                f"{len(certificates):,} certificates go to {len(rows):,} targets instead of one "
                "each: the seed file 03_targets.sql is missing from the seed folder "
                "(--certload-seed), or is another one"
            )
        return [
            Assignment(
                certificate=row["certificate"],
                name=row["common_name"],
                agent=row["agent_id"],
                target=row["target"],
            )
            for row in rows
        ]

    async def put_deployments(
        self, agents: Sequence[str], *, each: int
    ) -> Mapping[str, Sequence[str]]:
        """Put Pending deployments into the database, and return their ids, by agent.

        Args:
            agents: Whose they are.
            each: How many each agent gets.
        """
        rows = await self._database.fetch(_DEPLOYMENTS, list(agents), each, TARGET_IDS)
        jobs: dict[str, list[str]] = {agent: [] for agent in agents}
        for row in rows:
            jobs[row["agent_id"]].append(row["id"])
        return jobs

    async def forget_versions(self) -> None:
        """Leave no certificate of the fleet a version."""
        await self._database.execute(_FORGET_VERSIONS, CERTIFICATE_IDS)

    async def put_renewals(self, certificates: Sequence[str]) -> None:
        """Put certificates into RenewalInProgress, each with a job that waits for a CSR.

        It is what a bulk renewal leaves behind. No certificate of the fleet has a version then.
        """
        async with self._database.connect() as database, database.transaction():
            await database.execute(_FORGET_VERSIONS, CERTIFICATE_IDS)
            await database.execute(_AWAITING, list(certificates))
            await database.execute(_RENEWING, list(certificates))

    async def put_versions(self, versions: Mapping[str, tuple[str, str, str]]) -> None:
        """Make the versions that certificates have until they are renewed; no others are left.

        Args:
            versions: Serial number in hex, SHA-256 of the DER in hex, and PEM, by certificate.
        """
        columns = [list(column) for column in zip(*versions.values(), strict=True)]
        async with self._database.connect() as database, database.transaction():
            await database.execute(_FORGET_VERSIONS, CERTIFICATE_IDS)
            await database.execute(_PREVIOUS, list(versions), *columns)

    async def jobs_not_completed(self, certificates: Sequence[str], *types: str) -> int:
        """How many jobs of some types these certificates have that are not Completed."""
        return int(await self._database.fetchval(_NOT_DONE, list(certificates), list(types)))

    async def certificates_not_active(self, certificates: Sequence[str]) -> int:
        """How many of these certificates are in another state than Active."""
        return int(await self._database.fetchval(_NOT_ACTIVE, list(certificates)))
