"""Work that is put off until after the answer is counted until it is done, and looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from pytest_certload.certctl import audit as audit_rows
from pytest_certload.certctl.audit import AuditRows
from pytest_certload.database import SessionDatabase
from pytest_certload.errors import ConfigurationError
from pytest_certload.proof.backlog import Backlog, Counted
from pytest_certload.proof.findings import BacklogFinding, Proof

pytestmark = pytest.mark.asyncio

CHAIN = "audit_events_hash_chain_trigger"


@pytest_asyncio.fixture
async def server(certctl_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that writes audit rows as a server would."""
    connection = await asyncpg.connect(certctl_database)
    yield connection
    await connection.close()


async def audit(
    server: asyncpg.Connection, *ids: str, action: str = "api_post", age: float = 0
) -> None:
    for name in ids:
        await server.execute(
            "INSERT INTO audit_events (id, actor, actor_type, action, resource_type, resource_id,"
            " timestamp) VALUES ($1, 'loadtest', 'User', $2, 'api', '/api/v1/x',"
            " clock_timestamp() - $3 * interval '1 second')",
            name,
            action,
            age,
        )


async def ended(backlog: Backlog) -> BacklogFinding:
    proof = Proof()
    await backlog.end(proof)
    (finding,) = proof.backlogs
    return finding


def watching(dsn: str, wanted: int, *, most: int | None = None, limit: str = "300ms") -> Backlog:
    return Backlog(
        "audit rows",
        SessionDatabase(dsn),
        AuditRows(),
        wanted=lambda: wanted,
        most=None if most is None else lambda: most,
        every="20ms",
        limit=limit,
    )


async def test_rows_that_are_there_are_right(
    server: asyncpg.Connection, certctl_database: str
) -> None:
    await audit(server, "before-1", "before-2")
    backlog = watching(certctl_database, 3, most=3)
    await backlog.begin()
    await audit(server, "a", "b")
    # What no request caused is in the chain, and does not count.
    await audit(server, "job", action="bulk_renewal_initiated")
    await audit(server, "c")
    found = await ended(backlog)
    assert (found.wanted, found.done, found.broken, found.fault) == (3, 3, None, None)
    assert found.caught_up is not None
    assert found.moments[-1].done == 3


async def test_the_first_rows_of_an_empty_log_count(
    server: asyncpg.Connection, certctl_database: str
) -> None:
    backlog = watching(certctl_database, 2)
    await backlog.begin()
    await audit(server, "a", "b")
    assert (await ended(backlog)).fault is None


async def test_a_server_whose_clock_is_slow_is_counted_all_the_same(
    server: asyncpg.Connection, certctl_database: str
) -> None:
    await audit(server, "seeded", action="seeded")
    await audit(server, "before", age=600)
    backlog = watching(certctl_database, 2)
    await backlog.begin()
    await audit(server, "a", "b", age=600)
    found = await ended(backlog)
    assert (found.done, found.fault) == (2, None)


async def test_rows_that_come_late_are_waited_for(
    server: asyncpg.Connection, certctl_database: str
) -> None:
    backlog = watching(certctl_database, 2, limit="20s")
    await backlog.begin()
    await audit(server, "a")
    ending = asyncio.create_task(ended(backlog))
    done, _ = await asyncio.wait([ending], timeout=0.3)
    assert not done
    await audit(server, "b")
    found = await ending
    assert found.caught_up is not None
    assert found.caught_up >= 0.3
    assert found.fault is None
    # The first count may come before the first row, or after it.
    assert found.peak in (1, 2)


async def test_rows_that_never_come_are_missing(
    server: asyncpg.Connection, certctl_database: str
) -> None:
    backlog = watching(certctl_database, 12)
    await backlog.begin()
    await audit(server, "a", "b")
    found = await ended(backlog)
    assert found.caught_up is None
    assert found.fault == "10 of 12 are missing 0.3 s after the load"


async def test_more_rows_than_requests_are_a_fault(
    server: asyncpg.Connection, certctl_database: str
) -> None:
    backlog = watching(certctl_database, 1, most=2)
    await backlog.begin()
    await audit(server, "a", "b", "c")
    assert (await ended(backlog)).fault == "1 more than the 2 that there may be"


@pytest.mark.parametrize(
    ("before", "own", "fault"),
    [
        ("f" * 64, "e" * 64, "1 rows are not in the chain, such as eeeeeeeeeeeeeeee"),
        (None, "e" * 64, "the chain forks: two rows follow the one whose hash begins with 0000"),
    ],
)
async def test_a_row_that_is_not_chained_is_found(
    server: asyncpg.Connection, certctl_database: str, before: str | None, own: str, fault: str
) -> None:
    backlog = watching(certctl_database, 3)
    await backlog.begin()
    await audit(server, "a", "b")
    await server.execute(f"ALTER TABLE audit_events DISABLE TRIGGER {CHAIN}")
    await server.execute(
        "INSERT INTO audit_events (id, actor, actor_type, action, resource_type, resource_id,"
        " timestamp, prev_hash, row_hash) VALUES ('c', 'x', 'User', 'api_get', 'api', '/',"
        " clock_timestamp(), $1, $2)",
        before,
        own,
    )
    found = (await ended(backlog)).fault
    assert found is not None
    assert found.startswith(fault)


async def test_a_head_that_no_row_has_is_found(
    server: asyncpg.Connection, certctl_database: str
) -> None:
    await audit(server, "before")
    backlog = watching(certctl_database, 2)
    await backlog.begin()
    await audit(server, "a", "b")
    await server.execute("UPDATE audit_chain_head SET row_hash = repeat('9', 64)")
    found = (await ended(backlog)).fault
    assert found is not None
    assert found.startswith("the chain breaks after 2 rows")


async def test_rows_of_earlier_requests_are_waited_for(
    server: asyncpg.Connection, certctl_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A row may take its time to be written, too.
    monkeypatch.setattr(audit_rows, "_STILL_LOOKS", 40)
    monkeypatch.setattr(audit_rows, "_STILL_LIMIT", 60)
    backlog = watching(certctl_database, 1, most=1)
    begin = asyncio.create_task(backlog.begin())
    for number in range(5):
        await audit(server, f"earlier-{number}")
        await asyncio.wait([begin], timeout=0.06)
    assert not begin.done()
    await begin
    await audit(server, "a")
    assert (await ended(backlog)).fault is None


class TestAnyWork:
    async def test_is_counted_by_a_query(
        self, server: asyncpg.Connection, empty_database: str
    ) -> None:
        database = SessionDatabase(empty_database)
        await database.execute("CREATE TABLE mails (sent bool)")
        await database.execute("INSERT INTO mails VALUES (true)")
        work = Counted("SELECT count(*) FROM mails WHERE sent = $1", True)
        backlog = Backlog("mails", database, work, wanted=lambda: 2, limit=1)
        await backlog.begin()
        await database.execute("INSERT INTO mails VALUES (true), (false), (true)")
        found = await ended(backlog)
        assert (found.name, found.done, found.fault) == ("mails", 2, None)

    async def test_that_cannot_be_counted_is_a_fault(self, empty_database: str) -> None:
        backlog = Backlog(
            "mails",
            SessionDatabase(empty_database),
            Counted("SELECT count(*) FROM mails"),
            wanted=lambda: 0,
        )
        await backlog.begin()
        fault = (await ended(backlog)).fault
        assert fault is not None
        assert 'cannot be counted: Postgres refused a statement: relation "mails"' in fault

    async def test_is_counted_on_when_a_connection_is_lost(self, certctl_database: str) -> None:
        database = SessionDatabase(certctl_database)
        backlog = Backlog(
            "agents",
            database,
            Counted("SELECT count(*) FROM agents"),
            wanted=lambda: 1,
            every="10ms",
        )
        await backlog.begin()
        await database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await database.execute(
            "INSERT INTO agents (id, name, hostname, status, api_key_hash)"
            " VALUES ('ag-1', 'a', 'h', 'Online', '')"
        )
        assert (await ended(backlog)).fault is None

    async def test_needs_times_that_are_some(self, empty_database: str) -> None:
        with pytest.raises(ConfigurationError, match="limit: 'soon' is not a duration"):
            Backlog(
                "mails",
                SessionDatabase(empty_database),
                Counted("SELECT 1"),
                wanted=lambda: 0,
                limit="soon",
            )
