"""How does the fleet of certificates become larger than the seeds make it? Rows beside the seeded ones.

A fleet of 100,000 in the seeds would make every start slow, so a test that wants one makes it.
"""

from __future__ import annotations

from pytest_certload.database import Database, SessionDatabase
from pytest_certload.errors import ConfigurationError

from .fleet import CERTIFICATES, OWNERS, PAGE

__all__ = ["MOST_CERTIFICATES", "enlarge", "shrink"]

#: The largest fleet: ten times that of 100,000.
MOST_CERTIFICATES = 1_000_000

_COLUMNS = (
    "id, name, common_name, sans, environment, owner_id, team_id, issuer_id, renewal_policy_id,"
    " status, expires_at, tags, created_at, updated_at"
)
# Younger than the seeded ones, so that by age each owner's first ones stay those of the seeds.
_MORE = f"""
INSERT INTO managed_certificates ({_COLUMNS})
SELECT 'cert-' || label, label || '.example.test', label || '.example.test',
    ARRAY[label || '.example.test'], 'loadtest', 'o-loadtest-' || to_char((n - 1) % $2 + 1, 'FM000'),
    't-loadtest', 'iss-local', 'rp-loadtest', 'Active',
    now() + make_interval(days => 60 + n % 90), '{{"source": "certload", "batch": "fleet"}}', at, at
FROM generate_series(1, $1::int) AS n, LATERAL (SELECT 'loadtest-fleet-' || to_char(n, 'FM0000000')
    AS label, now() - interval '1 day' + n * interval '1 millisecond' AS at) AS row
ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at
WHERE managed_certificates.expires_at < now() + interval '45 days'
"""
_NO_JOBS = """
DELETE FROM jobs
WHERE certificate_id LIKE 'cert-loadtest-fleet-%' OR certificate_id LIKE 'cert-loadtest-front-%'
"""
_NONE = """
DELETE FROM managed_certificates
WHERE id LIKE 'cert-loadtest-fleet-%' OR id LIKE 'cert-loadtest-front-%'
"""
_NO_MORE = "DELETE FROM managed_certificates WHERE id LIKE 'cert-loadtest-fleet-%' AND id > $1"
# Older than all others, and being renewed: the page that a renewal of the whole team looks at. Its owner
# is none of the seeded ones, which the seeds count.
_FRONT_OWNER = """
INSERT INTO owners (id, name, email, team_id)
VALUES ('o-front-loadtest', 'front-loadtest', 'front@loadtest.example.test', 't-loadtest')
ON CONFLICT (id) DO NOTHING
"""
_FRONT = f"""
INSERT INTO managed_certificates ({_COLUMNS})
SELECT 'cert-' || label, label || '.example.test', label || '.example.test',
    ARRAY[label || '.example.test'], 'loadtest', 'o-front-loadtest',
    't-loadtest', 'iss-local', 'rp-loadtest', 'RenewalInProgress',
    now() + interval '60 days', '{{"source": "certload", "batch": "front"}}', at, at
FROM generate_series(1, $1::int) AS n, LATERAL (SELECT 'loadtest-front-' || to_char(n, 'FM00')
    AS label, oldest - interval '1 day' + n * interval '1 millisecond' AS at
    FROM (SELECT min(created_at) AS oldest FROM managed_certificates
        WHERE team_id = 't-loadtest' AND id NOT LIKE 'cert-loadtest-front-%') AS others) AS row
ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id, status = excluded.status,
    expires_at = excluded.expires_at, created_at = excluded.created_at
"""


async def enlarge(database: SessionDatabase, size: int) -> int:
    """Make the fleet just so large, beside a page of certificates that are being renewed already.

    These 50 are older than all others and have an owner of their own: a renewal by criteria that all
    certificates meet looks at them alone, and skips them.

    Args:
        database: certctl's.
        size: Certificates in all, that page left out.

    Returns:
        How many rows were written.

    Raises:
        ConfigurationError: The seeds alone make more, or it is too large.
    """
    if not CERTIFICATES <= size <= MOST_CERTIFICATES:
        raise ConfigurationError(
            f"a fleet of {size:,} certificates: write {CERTIFICATES:,} (the seeds') to "
            f"{MOST_CERTIFICATES:,}"
        )
    async with database.connect() as connection:
        async with connection.transaction():
            # What a test before left, where nothing is put back.
            await connection.execute(_NO_JOBS)
            await connection.execute(_NO_MORE, f"cert-loadtest-fleet-{size - CERTIFICATES:07d}")
            added = await _rows(connection, _MORE, size - CERTIFICATES, OWNERS)
            await connection.execute(_FRONT_OWNER)
            added += await _rows(connection, _FRONT, PAGE)
        # Else autovacuum would, at some moment of the load.
        await connection.execute("VACUUM (ANALYZE) managed_certificates")
    return added


async def shrink(database: SessionDatabase) -> None:
    """Leave the fleet as the seeds make it."""
    async with database.connect() as connection:
        async with connection.transaction():
            await connection.execute(_NO_JOBS)
            removed = await _rows(connection, _NONE)
        if removed:
            # Else autovacuum would, at some moment of the load.
            await connection.execute("VACUUM (ANALYZE) managed_certificates")


async def _rows(connection: Database, sql: str, *args: object) -> int:
    return int((await connection.execute(sql, *args)).rpartition(" ")[2])
