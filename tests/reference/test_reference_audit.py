"""The audit log: a row for each request, in an unbroken chain, and none is lost."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pytest_certload.certctl.reference.audit import MOST_PENDING, AuditLog
from pytest_certload.database import Database, StatementError, other_database, run_sync

if TYPE_CHECKING:
    from .conftest import Bench, Questions, Server

BULK_RENEW = "/api/v1/certificates/bulk-renew"


def test_a_request_leaves_one_row_with_all_about_it(server: Server) -> None:
    path = "/api/v1/agents/ag-in-the-log/heartbeat"
    body = b'{"os": "linux"}'
    assert server.ask("POST", f"{path}?trace=1", body=body, key=server.admin).status == 500
    (row,) = server.audited(path)
    assert re.fullmatch(r"audit-[0-9]{19}-[0-9]+", row["id"])
    assert (row["actor"], row["actor_type"]) == ("loadtest", "User")
    assert (row["action"], row["resource_type"]) == ("api_post", "api")
    assert row["event_category"] == "cert_lifecycle"
    assert abs(datetime.now(UTC) - row["timestamp"]) < timedelta(minutes=1)
    details = json.loads(row["details"])
    assert details.pop("latency_ms") >= 0
    assert details == {
        "method": "POST",
        "path": path,
        "body_hash": hashlib.sha256(body).hexdigest(),
        "status": 500,
    }


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("GET", "/api/v1/audit/not-there", "admin", 404),
        ("PUT", "/api/v1/agents/ag-audit-put/heartbeat", "admin", 405),
        ("POST", "/api/v1/agents/ag-audit-forbidden/heartbeat", "reader", 403),
        ("GET", "/acme/profile/prof-audit/directory", "reader", 500),
    ],
)
def test_whatever_comes_of_it(
    server: Server, method: str, path: str, key: str, status: int
) -> None:
    reply = server.ask(method, path, key=server.admin if key == "admin" else server.reader)
    assert reply.status == status
    (row,) = server.audited(path)
    details = json.loads(row["details"])
    assert (details["status"], details["body_hash"]) == (status, "")
    assert row["action"] == f"api_{method.lower()}"
    assert row["actor"] == ("loadtest" if key == "admin" else "reader")


def test_health_and_version_leave_none(bench: Bench) -> None:
    with bench.serving() as server:
        for path in ("/health", "/ready", "/api/v1/version", "/healthz"):
            server.get(path)
        server.get("/api/v1/auth/check")
        server.audited("/api/v1/auth/check")
        server.child.stop()
        audited = server.database.column("SELECT resource_id FROM audit_events")
    assert audited == ["/api/v1/auth/check"]


def payload(row: Mapping[str, Any]) -> str:
    instant = row["timestamp"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return "|".join(
        [
            row["prev_hash"] or "",
            row["id"],
            row["actor"],
            row["actor_type"],
            row["action"],
            row["resource_type"],
            row["resource_id"],
            row["details"],
            instant,
            row["event_category"],
        ]
    )


def broken_links(rows: Iterable[Mapping[str, Any]], head: str) -> list[str]:
    """What is wrong with a chain, walked from its first row to its head."""
    following = {row["prev_hash"]: row for row in rows}
    wrong = [
        f"{row['id']} hashes to something else"
        for row in rows
        if hashlib.sha256(payload(row).encode()).hexdigest() != row["row_hash"]
    ]
    at, steps = None, 0
    while at in following:
        at = following.pop(at)["row_hash"]
        steps += 1
    if following:
        wrong.append(f"{len(following)} rows are not reached after {steps}")
    if at != head:
        wrong.append(f"the chain ends at {at}, its head is {head}")
    return wrong


def ask_again_and_again(server: Server, client: int, requests: int) -> None:
    headers = {"Authorization": f"Bearer {server.admin}"}
    with closing(server.connect()) as connection:
        for number in range(requests):
            if number % 5 == 0:
                body = '{"certificate_ids": ["mc-nobody"]}'
                connection.request("POST", BULK_RENEW, body=body, headers=headers)
            else:
                # An é and the payload's own separator.
                path = f"/api/v1/%C3%A9%7C{client}/{number}"
                connection.request("GET", path, headers=headers)
            connection.getresponse().read()


def test_the_chain_is_whole_however_many_write_it(bench: Bench) -> None:
    clients, requests = 8, 25
    with bench.serving(CERTLOAD_REFERENCE_WORKERS="2") as server:
        with ThreadPoolExecutor(clients) as pool:
            done = [
                pool.submit(ask_again_and_again, server, number, requests)
                for number in range(clients)
            ]
            for future in done:
                future.result()
        # That those which wait are written at the end, too, is another test's.
        bench.eventually(
            lambda: server.database.value("SELECT count(*) FROM audit_events"),
            lambda count: count >= clients * requests * 6 // 5,
        )
        server.child.stop()
        rows = server.database.rows("SELECT * FROM audit_events ORDER BY random()")
        head = server.database.value("SELECT row_hash FROM audit_chain_head")
    bulk = clients * requests // 5
    assert len(rows) == clients * requests + bulk
    assert sum(row["action"] == "bulk_renewal_initiated" for row in rows) == bulk
    assert broken_links(rows, head) == []
    assert len({row["row_hash"] for row in rows}) == len(rows)
    # Both workers wrote, and never under the same number.
    numbers = [int(row["id"].rpartition("-")[2]) for row in rows]
    assert {number % 2 for number in numbers} == {0, 1}
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET actor = 'somebody else'",
        "DELETE FROM audit_events",
    ],
)
def test_rows_can_only_be_added(server: Server, statement: str) -> None:
    # Of each its own: a row of the other one's would be found before this one is written.
    path = f"/api/v1/to-stay/{statement.partition(' ')[0].lower()}"
    server.get(path)
    before = server.audited(path)
    with pytest.raises(StatementError) as caught:
        server.database.execute(f"{statement} WHERE resource_id = '{path}'")
    assert caught.value.sqlstate == "23514"
    assert server.audited(path) == before


def is_gone(server: Server) -> bool:
    try:
        server.get("/health", key=None)
    except OSError:
        return True
    return False


#: A server that waits longer for its rows in the end: how long is not what is looked at.
PATIENT = (
    sys.executable,
    "-c",
    "from pytest_certload.certctl.reference import __main__, worker; "
    "worker._DRAIN_SECONDS = 60.0; raise SystemExit(__main__.main())",
)


def test_rows_that_wait_are_written_before_the_server_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"/api/v1/held-back/{number}" for number in range(20)]
    monkeypatch.setattr(bench, "argv", PATIENT)
    with bench.serving() as server:

        async def end_while_no_row_can_be_written() -> int:
            async with Database.connect(server.database.dsn) as database, database.transaction():
                await database.execute("SELECT FROM audit_chain_head FOR UPDATE")
                # No answer waits for its row.
                assert {server.get(path).status for path in paths} == {404}
                os.kill(server.pid, signal.SIGTERM)
                # It has begun to end: its port is closed.
                bench.eventually(lambda: is_gone(server))
                assert server.child.exit_code is None
                return int(await database.fetchval("SELECT count(*) FROM audit_events"))

        assert run_sync(end_while_no_row_can_be_written()) == 0
        assert server.child.wait(60) == 0, server.child.log()
        audited = server.database.column("SELECT resource_id FROM audit_events ORDER BY timestamp")
        assert audited == paths


@asynccontextmanager
async def log_that_cannot_write(database: Questions) -> AsyncIterator[AuditLog]:
    """A log whose rows wait for the chain's head until the body is done."""
    async with asyncpg.create_pool(database.dsn, min_size=1, max_size=2) as pool:
        log = AuditLog(pool, worker=0, workers=1)
        writer = asyncio.create_task(log.run())
        try:
            async with Database.connect(database.dsn) as other, other.transaction():
                await other.execute("SELECT FROM audit_chain_head FOR UPDATE")
                yield log
            assert await log.drain(120) == 0
        finally:
            writer.cancel()
            await asyncio.wait([writer])


async def add(log: AuditLog) -> None:
    await log.room()
    log.add("somebody", "api_get", "api", "/", {})


def test_who_writes_at_once_and_who_writes_later_do_not_wait_for_each_other(bench: Bench) -> None:
    """One has the only connection and wants the turn, the other must not have the turn and want the connection."""
    database = bench.migrated()

    async def write() -> None:
        async with (
            asyncio.timeout(20),
            asyncpg.create_pool(database.dsn, min_size=1, max_size=1) as pool,
        ):
            log = AuditLog(pool, worker=0, workers=1)
            async with pool.acquire() as connection:
                other = asyncio.create_task(log.write(pool, "other", "a", "api", "/", {}))
                await asyncio.sleep(0)
                await log.write(connection, "one", "a", "api", "/", {})
            await other

    run_sync(write())
    assert database.column("SELECT actor FROM audit_events ORDER BY timestamp") == ["other", "one"]


def test_a_postgres_that_is_away_for_a_while_ends_nothing(bench: Bench) -> None:
    database = bench.migrated()
    elsewhere = replace(database, dsn=other_database(database.dsn, "postgres"))
    name = database.value("SELECT current_database()")
    with bench.serving(database) as server:
        path = "/api/v1/while-it-was-away"
        elsewhere.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        elsewhere.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", name
        )
        for _ in range(3):
            assert server.get(path).status == 404
        bench.eventually(lambda: server.child.log().count(" not written: ") == 3)
        elsewhere.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert server.get("/api/v1/auth/check").status == 200
        server.audited("/api/v1/auth/check")
        server.child.stop()
        assert database.column("SELECT resource_id FROM audit_events") == ["/api/v1/auth/check"]


def test_what_could_not_be_written_in_time_is_counted(bench: Bench) -> None:
    database = bench.migrated()

    async def drain() -> list[int]:
        async with log_that_cannot_write(database) as log:
            left = [await log.drain(0.1)]
            for _ in range(3):
                await add(log)
                left.append(await log.drain(0.1))
            return left

    assert run_sync(drain()) == [0, 1, 2, 3]
    assert database.value("SELECT count(*) FROM audit_events") == 3


def test_when_too_many_rows_wait_the_next_one_waits_for_room(bench: Bench) -> None:
    database = bench.migrated()

    async def fill() -> None:
        async with log_that_cannot_write(database) as log:
            for _ in range(MOST_PENDING):
                await add(log)
            too_many = asyncio.create_task(add(log))
            _, waiting = await asyncio.wait([too_many], timeout=0.2)
            assert waiting == {too_many}
            log.forgo()
            await asyncio.wait_for(too_many, 20)

    run_sync(fill())
    assert database.value("SELECT count(*) FROM audit_events") == MOST_PENDING + 1
