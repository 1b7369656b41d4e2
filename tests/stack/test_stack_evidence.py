"""Postgres's own figures of some work are read, ours are not among them, and gaps are said."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest

from pytest_certload.database import APPLICATION, SessionDatabase
from pytest_certload.proof.counters import _io_columns
from pytest_certload.proof.findings import DatabaseFinding, Proof
from pytest_certload.proof.looks import Looks
from pytest_certload.proof.postgres import DatabaseWitness

pytestmark = pytest.mark.asyncio

PATIENCE = 60.0


@asynccontextmanager
async def looking_on(dsn: str, found: list[DatabaseFinding]) -> AsyncIterator[DatabaseWitness]:
    witness = DatabaseWitness(SessionDatabase(dsn))
    await witness.begin()
    yield witness
    proof = Proof()
    await witness.end(proof)
    assert proof.database is not None
    found.append(proof.database)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.02)


@pytest.fixture
def shop(empty_database: str) -> str:
    """DSN of a database with a table, and with what counts statements."""

    async def make() -> None:
        connection = await asyncpg.connect(empty_database)
        await connection.execute("CREATE EXTENSION pg_stat_statements")
        await connection.execute("CREATE TABLE baskets (id int PRIMARY KEY, goods text)")
        await connection.execute("ALTER TABLE baskets SET (fillfactor = 50)")
        await connection.execute("INSERT INTO baskets SELECT i, 'x' FROM generate_series(1, 50) i")
        await connection.close()

    asyncio.run(make())
    return empty_database


async def shopping(dsn: str) -> None:
    # A connection tells its figures when it ends, too.
    connection = await asyncpg.connect(dsn)
    for number in range(1, 21):
        await connection.execute("UPDATE baskets SET goods = $2 WHERE id = $1", number, "much")
    await connection.execute("DELETE FROM baskets WHERE id > 40")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("INSERT INTO baskets VALUES (1)")
    await connection.close()


async def test_work_is_seen_as_postgres_counts_it(shop: str) -> None:
    findings: list[DatabaseFinding] = []
    begun = time.monotonic()
    async with looking_on(shop, findings):
        await shopping(shop)
    whole = time.monotonic() - begun
    (found,) = findings
    assert found.missing == ()
    update = next(s for s in found.statements if s.query.startswith("UPDATE baskets"))
    assert (update.calls, update.rows) == (20, 20)
    assert update.query == "UPDATE baskets SET goods = $2 WHERE id = $1"
    assert update.wal_bytes > 0
    assert found.statement_seconds is not None
    assert found.statement_seconds >= update.seconds > 0
    (table,) = found.tables
    # The row that broke the rule was written, and is dead.
    assert (table.name, table.inserted, table.updated, table.deleted) == ("baskets", 1, 20, 10)
    assert table.hot_share == 1
    assert table.dead >= 11
    assert (found.rollbacks, found.deadlocks) == (1, 0)
    # To make a connection is a transaction or two.
    assert found.commits is not None
    assert 21 <= found.commits < 40
    assert found.cache_hit_share is not None
    assert 0.9 < found.cache_hit_share <= 1
    assert found.wal_bytes is not None
    assert found.wal_bytes > update.wal_bytes
    assert re.fullmatch("[0-9a-f]{12}", found.settings or "")
    assert 0 < found.cost < whole


async def test_our_own_questions_are_not_among_the_servers(shop: str) -> None:
    database = SessionDatabase(shop)
    findings: list[DatabaseFinding] = []
    async with looking_on(shop, findings), database.connect() as ours:
        for _ in range(30):
            await ours.fetch("SELECT * FROM baskets; ")
            await ours.fetchval("SELECT count(*) FROM baskets -- all of them")
    (found,) = findings
    assert [s for s in found.statements if "baskets" in s.query] == []
    assert found.statement_seconds == pytest.approx(sum(s.seconds for s in found.statements))
    assert found.commits is not None
    assert found.commits < 10
    # But they are the price.
    assert found.cost > 0


@pytest.mark.parametrize("first", ["ours", "theirs"])
async def test_what_is_asked_by_both_is_the_servers_and_ours(shop: str, first: str) -> None:
    """The server asks word for word the same, so that Postgres might take the two for one."""
    sql = f"SELECT count(*) AS {first} FROM baskets WHERE id > 7"
    database, server = SessionDatabase(shop), await asyncpg.connect(shop)
    findings: list[DatabaseFinding] = []
    if first == "ours":
        await database.fetch(sql)
    await server.fetch(sql)
    async with looking_on(shop, findings), database.connect() as ours:
        for _ in range(7):
            await server.fetch(sql)
        for _ in range(30):
            await ours.fetch(sql)
            await ours.stream(lambda rows: None, sql)
    await server.close()
    (found,) = findings
    assert [s.calls for s in found.statements if first in s.query] == [7]


async def test_waits_are_seen_while_they_last(shop: str) -> None:
    findings: list[DatabaseFinding] = []
    first, second = await asyncpg.connect(shop), await asyncpg.connect(shop)
    async with looking_on(shop, findings) as witness:
        async with first.transaction():
            await first.execute("UPDATE baskets SET goods = 'first' WHERE id = 1")
            blocked = asyncio.create_task(
                second.execute("UPDATE baskets SET goods = 'second' WHERE id = 1")
            )
            await until(lambda: sum(m.blocked for m in witness._looks.moments) >= 2)
        await blocked
    await first.close()
    await second.close()
    (found,) = findings
    assert found.waits[0].event == "Lock:transactionid"
    assert found.waits[0].share > 0.5
    assert found.blocked_peak == 1
    # The second waits; the first may be seen at its end.
    assert found.active_peak in (1, 2)
    assert "Lock:transactionid" in {moment.wait for moment in found.moments}


async def test_a_lost_connection_is_a_gap_and_no_more(shop: str) -> None:
    looks = Looks(SessionDatabase(shop), every=0.02)
    looks.start()
    await until(lambda: looks.number > 2)
    other = await asyncpg.connect(shop)
    # Between two looks it may be seen as gone, and as another one.
    gone = await other.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1"
        " AND datname = current_database()",
        APPLICATION,
    )
    assert gone == 1
    await until(lambda: looks.interrupted)
    seen = looks.number
    await until(lambda: looks.number > seen)
    await looks.stop()
    await other.close()
    assert looks.interrupted
    (gap,) = looks.missing
    assert re.match(r"connections from \d+\.\d s to \d+\.\d s: The connection to Postgres", gap)


async def test_a_crash_is_survived_and_said(shop: str) -> None:
    findings: list[DatabaseFinding] = []
    async with looking_on(shop, findings) as witness:
        await shopping(shop)
        await until(lambda: witness._looks.number > 0)
        victim = await asyncpg.connect(shop)
        # Postgres ends all connections then, and recovers.
        os.kill(await victim.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
        await until(lambda: witness._looks.interrupted)
        seen = witness._looks.number
        await until(lambda: witness._looks.number > seen)
        await shopping_once(shop)
        victim.terminate()
    (found,) = findings
    said = "\n".join(found.missing)
    assert re.search(r"^connections from \d+\.\d s to \d+\.\d s: ", said, re.MULTILINE)
    assert "pg_stat_wal: was reset during the load, and counts from then on" in said
    assert "pg_stat_statements: was reset" in said
    (update,) = (s for s in found.statements if s.query.startswith("UPDATE baskets"))
    assert update.calls == 1
    assert found.moments[-1].at > found.moments[0].at


async def shopping_once(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE baskets SET goods = 'late' WHERE id = 1")
    await connection.close()


async def test_a_postgres_that_is_not_there_is_reported(shop: str) -> None:
    parts = urlsplit(shop)
    dead = shop.replace(f":{parts.port}/", ":1/")
    findings: list[DatabaseFinding] = []
    async with looking_on(dead, findings):
        pass
    (found,) = findings
    assert (found.commits, found.statements, found.moments) == (None, (), ())
    assert found.missing[0].startswith("the reading before: ")
    assert any(text.startswith("the reading after: ") for text in found.missing)


async def test_a_user_without_rights_is_told_what_it_cannot_see(shop: str) -> None:
    owner = await asyncpg.connect(shop)
    await owner.execute(
        "DROP ROLE IF EXISTS onlooker; CREATE ROLE onlooker LOGIN PASSWORD 'onlooker'"
    )
    parts = urlsplit(shop)
    assert parts.password is not None
    limited = shop.replace(f"{parts.username}:{parts.password}@", "onlooker:onlooker@")
    findings: list[DatabaseFinding] = []
    async with looking_on(limited, findings) as witness:
        sleeper = asyncio.create_task(owner.execute("SELECT pg_sleep(1)"))
        await until(lambda: witness._looks.number > 1)
        await sleeper
    await owner.close()
    (found,) = findings
    said = "\n".join(found.missing)
    assert "pg_stat_statements: texts are hidden; GRANT pg_read_all_stats TO onlooker" in said
    assert "waits: some connections are hidden from this user" in said
    assert found.commits is not None


async def test_without_the_extension_the_price_is_what_we_waited(empty_database: str) -> None:
    findings: list[DatabaseFinding] = []
    async with looking_on(empty_database, findings) as witness:
        await until(lambda: witness._looks.number > 0)
    (found,) = findings
    assert found.statements == ()
    assert found.statement_seconds is None
    assert found.missing == (
        "pg_stat_statements: the extension is not in this database; CREATE EXTENSION it there",
    )
    assert found.cost == witness._looks.seconds > 0


async def test_figures_that_a_connection_keeps_to_itself_are_said(
    shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Time enough to ask, and less than a connection takes to tell of itself.
    monkeypatch.setattr("pytest_certload.proof.postgres._LEAST_PATIENCE", 5)
    connection = await asyncpg.connect(shop)
    findings: list[DatabaseFinding] = []
    async with looking_on(shop, findings):
        await connection.execute("UPDATE baskets SET goods = 'much'")
    await connection.close()
    (missing,) = findings[0].missing
    assert missing.startswith("figures of the last second: 1 connections kept some to themselves")


async def test_that_nobody_said_whether_all_was_told_is_said(
    shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_certload.proof.postgres._LEAST_PATIENCE", 0)
    monkeypatch.setattr("pytest_certload.proof.postgres._PATIENCE_SHARE", 0)
    findings: list[DatabaseFinding] = []
    async with looking_on(shop, findings):
        pass
    (missing,) = findings[0].missing
    assert missing.startswith("figures of the last second: Postgres did not say within 0 s")


async def test_the_settings_have_a_fingerprint(shop: str) -> None:
    async def fingerprint() -> str | None:
        findings: list[DatabaseFinding] = []
        async with looking_on(shop, findings):
            pass
        return findings[0].settings

    name = urlsplit(shop).path[1:]
    before = await fingerprint()
    assert await fingerprint() == before
    connection = await asyncpg.connect(shop)
    await connection.execute(f"ALTER DATABASE {name} SET work_mem = '5MB'")
    await connection.close()
    assert await fingerprint() not in (before, None)


@pytest.mark.parametrize(
    ("columns", "read"),
    [
        ({"reads", "op_bytes", "writes", "extends"}, "coalesce(reads, 0) * op_bytes"),
        ({"reads", "read_bytes", "write_bytes", "extend_bytes"}, "coalesce(read_bytes, 0)"),
    ],
)
async def test_each_version_has_its_columns_of_io(columns: set[str], read: str) -> None:
    assert _io_columns(columns)["read"] == read
