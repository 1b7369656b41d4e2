"""The fleet of certificates becomes just as large as a test asks, larger or smaller than it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_certload.certctl.api import Certctl
from pytest_certload.certctl.enlarge import enlarge, shrink
from pytest_certload.database import SessionDatabase
from pytest_certload.stack.seed import apply_seed, read_seed, verify_seed

pytestmark = pytest.mark.asyncio

SEEDS = Path(__file__).parents[2] / "seed"


async def test_a_fleet_of_each_size_and_a_page_before_it(certctl_database: str) -> None:
    database = SessionDatabase(certctl_database)
    async with database.connect() as connection:
        for name in ("00_base.sql", "01_bulk_renewal_certs.sql"):
            await connection.execute((SEEDS / name).read_text("utf-8"))
    count = "SELECT count(*) FROM managed_certificates WHERE team_id = 't-loadtest'"
    for size, written in ((10_400, 450), (10_400, 50), (10_800, 450), (10_000, 50)):
        before = await database.fetchval(count)
        assert await enlarge(database, size) == written
        assert await database.fetchval(count) == size + 50, f"after {before}"
    await enlarge(database, 10_400)
    page = await database.fetch(
        "SELECT owner_id, status FROM managed_certificates ORDER BY created_at LIMIT 50"
    )
    assert {tuple(row.values()) for row in page} == {("o-front-loadtest", "RenewalInProgress")}
    oldest = await database.fetch(
        "SELECT id FROM managed_certificates WHERE owner_id = 'o-loadtest-007' "
        "ORDER BY created_at LIMIT 50"
    )
    assert all(row["id"].startswith("cert-loadtest-bulk-") for row in oldest)
    owned = "SELECT count(*) FROM managed_certificates WHERE owner_id = 'o-loadtest-007'"
    assert await database.fetchval(owned) == 52
    assert not await database.fetchval("SELECT count(*) FROM jobs")
    await shrink(database)
    assert await database.fetchval(count) == 10_000


async def test_a_larger_fleet_grows_old_and_stays_what_the_seeds_say(certctl_database: str) -> None:
    """On a database that is kept, the next session verifies the seeds; and weeks go by."""
    database = SessionDatabase(certctl_database)
    seeds = read_seed(SEEDS)[:2]
    async with database.connect() as connection:
        await apply_seed(connection, seeds)
        await enlarge(database, 10_400)
        await connection.execute(
            "UPDATE managed_certificates SET created_at = created_at - interval '50 days',"
            " expires_at = expires_at - interval '50 days' WHERE id NOT LIKE 'cert-loadtest-front-%'"
        )
        await connection.execute(
            "INSERT INTO jobs (id, type, certificate_id, status)"
            " VALUES ('job-left', 'Renewal', 'cert-loadtest-fleet-0000007', 'Pending')"
        )
        await enlarge(database, 10_400)
        assert not await connection.fetchval("SELECT count(*) FROM jobs")
        page = await connection.fetch(
            "SELECT owner_id FROM managed_certificates WHERE team_id = 't-loadtest'"
            " ORDER BY created_at LIMIT 50"
        )
        assert {row["owner_id"] for row in page} == {"o-front-loadtest"}
        assert len(await Certctl(certctl_database).certificates()) == 10_000
        soon = "SELECT count(*) FROM managed_certificates WHERE expires_at < now() + interval '31 days'"
        assert await connection.fetchval(soon) == 0
        await verify_seed(connection, seeds)
        await apply_seed(connection, seeds)
