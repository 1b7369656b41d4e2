"""Heartbeats and the health sweep: what they write, and what they overwrite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pytest_certload.certctl.reference.agents import mark_stale_offline
from pytest_certload.database import Database, run_sync

if TYPE_CHECKING:
    from .conftest import Bench, Questions, Server

JSON = "application/json"
METADATA = {
    "hostname": "host.example.test",
    "os": "linux",
    "architecture": "arm64",
    "ip_address": "10.1.2.3",
    "version": "2.1.0",
}
LONG_AGO = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def add_agent(database: Questions, name: str, **columns: object) -> str:
    values = {
        "id": name,
        "name": name,
        "status": "Online",
        "last_heartbeat_at": LONG_AGO,
        "api_key_hash": "hash",
        **METADATA,
        **columns,
    }
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    database.execute(
        f"INSERT INTO agents ({', '.join(values)}) VALUES ({places})", *values.values()
    )
    return name


def agent(database: Questions, name: str) -> Mapping[str, Any]:
    return database.rows("SELECT * FROM agents WHERE id = $1", name)[0]


@pytest.fixture(scope="module")
def server(bench: Bench) -> Iterator[Server]:
    """A server whose first look for silent agents is over: these are silent on purpose."""
    database = bench.seeded()
    add_agent(database, "ag-first-sweep")
    with bench.serving(database) as server:
        bench.eventually(lambda: agent(database, "ag-first-sweep")["status"] == "Offline")
        yield server


def is_recent(moment: datetime) -> bool:
    return abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


def test_a_heartbeat_stores_its_time_and_what_it_says(server: Server) -> None:
    name = add_agent(server.database, "ag-all")
    told = {field: f"new-{field}" for field in METADATA}
    reply = server.heartbeat(name, {**told, "cores": 8})
    assert (reply.status, reply.content_type) == (200, JSON)
    assert reply.json() == {"status": "heartbeat_recorded"}
    row = agent(server.database, name)
    assert {field: row[field] for field in METADATA} == told
    assert is_recent(row["last_heartbeat_at"])
    assert (row["status"], row["name"], row["api_key_hash"]) == ("Online", name, "hash")


def test_what_a_heartbeat_leaves_empty_stays_as_it_was(server: Server) -> None:
    name = add_agent(server.database, "ag-some")
    assert server.heartbeat(name, {"os": "windows", "version": "", "hostname": ""}).status == 200
    row = agent(server.database, name)
    assert {field: row[field] for field in METADATA} == {**METADATA, "os": "windows"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b'{"os": 5, "version": "9"}'],
    ids=["empty", "cut off", "a list", "a string", "not utf-8", "a number for a string"],
)
def test_a_body_that_cannot_be_read_is_a_heartbeat_all_the_same(
    server: Server, body: bytes, request: pytest.FixtureRequest
) -> None:
    name = add_agent(server.database, f"ag-body-{request.node.name}")
    path = f"/api/v1/agents/{name.replace(' ', '%20')}/heartbeat"
    assert server.ask("POST", path, body=body).status == 200
    row = agent(server.database, name)
    assert {field: row[field] for field in METADATA} == METADATA
    assert is_recent(row["last_heartbeat_at"])


@pytest.mark.parametrize(
    ("name", "status", "error", "message"),
    [
        ("ag-nobody", 500, "Internal Server Error", "Failed to record heartbeat"),
        ("ag-retired", 410, "Gone", "Agent has been retired"),
    ],
)
def test_agents_that_are_unknown_or_retired(
    server: Server, name: str, status: int, error: str, message: str
) -> None:
    if name == "ag-retired":
        add_agent(server.database, name, retired_at=LONG_AGO)
    reply = server.heartbeat(name, METADATA)
    assert (reply.status, reply.content_type) == (status, JSON)
    request_id = reply.headers["X-Request-ID"]
    assert reply.json() == {"error": error, "message": message, "request_id": request_id}
    if name == "ag-retired":
        assert agent(server.database, name)["last_heartbeat_at"] == LONG_AGO


@pytest.mark.parametrize("status", ["Offline", "offline", "Degraded"])
def test_going_online_puts_the_old_time_and_metadata_back(server: Server, status: str) -> None:
    name = add_agent(server.database, f"ag-restored-{status}", status=status)
    assert server.heartbeat(name, {"version": "9.9.9"}).status == 200
    row = agent(server.database, name)
    assert (row["status"], row["last_heartbeat_at"], row["version"]) == (
        "Online",
        LONG_AGO,
        METADATA["version"],
    )
    # The second one finds it Online, and stays.
    assert server.heartbeat(name, {"version": "9.9.9"}).status == 200
    row = agent(server.database, name)
    assert row["version"] == "9.9.9"
    assert is_recent(row["last_heartbeat_at"])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('{"os": null, "hostname": "new"}', {"hostname": "new"}),
        ('{"os": "plan9"} and more', {"os": "plan9"}),
        ('  \n{"os": "plan9"}', {"os": "plan9"}),
        ('{"os": 9, "hostname": "new"}', {}),
        ('["os"]', {}),
        ("", {}),
    ],
    ids=["null is empty", "one value is read", "space before it", "a number", "a list", "nothing"],
)
def test_a_body_is_read_as_certctl_reads_it(
    server: Server, body: str, told: Mapping[str, str], request: pytest.FixtureRequest
) -> None:
    name = add_agent(server.database, f"ag-body-{request.node.callspec.indices['body']}")
    assert server.heartbeat(name, body).status == 200
    row = agent(server.database, name)
    assert {field: row[field] for field in METADATA} == {**METADATA, **told}
    assert is_recent(row["last_heartbeat_at"])


@pytest.mark.parametrize(
    ("table", "status", "answer"),
    [
        ("actor_roles", 500, {"error": "Internal error"}),
        (
            "agents",
            500,
            {"error": "Internal Server Error", "message": "Failed to record heartbeat"},
        ),
    ],
)
def test_a_query_that_fails_is_answered_and_audited(
    bench: Bench, table: str, status: int, answer: Mapping[str, str]
) -> None:
    with bench.serving() as server:
        add_agent(server.database, "ag-unlucky")
        server.database.execute(f"ALTER TABLE {table} RENAME TO gone")
        reply = server.heartbeat("ag-unlucky", {})
        assert reply.status == status
        assert answer.items() <= reply.json().items()
        (row,) = server.audited("/api/v1/agents/ag-unlucky/heartbeat")
        assert json.loads(row["details"])["status"] == status


def fleet(database: Questions) -> dict[str, str]:
    """Agents of every kind, and the status that a sweep must leave each with."""
    now = datetime.now(UTC)
    add_agent(database, "ag-stale")
    add_agent(database, "ag-fresh", last_heartbeat_at=now + timedelta(hours=1))
    add_agent(database, "ag-never", last_heartbeat_at=None)
    add_agent(database, "ag-degraded", status="Degraded")
    add_agent(database, "ag-retired", retired_at=LONG_AGO)
    return {
        "ag-stale": "Offline",
        "ag-fresh": "Online",
        "ag-never": "Online",
        "ag-degraded": "Degraded",
        "ag-retired": "Online",
    }


def statuses(database: Questions) -> dict[str, str]:
    return {row["id"]: row["status"] for row in database.rows("SELECT id, status FROM agents")}


@pytest.mark.parametrize("when", ["at its start", "at the interval"])
def test_the_sweep_sets_silent_agents_offline_and_no_others(bench: Bench, when: str) -> None:
    database = bench.migrated()
    interval = "1s"
    if when == "at its start":
        expected = fleet(database)
        # The second sweep comes after the test.
        interval = "10m"
    with bench.serving(database, CERTCTL_SCHEDULER_AGENT_HEALTH_CHECK_INTERVAL=interval):
        if when == "at the interval":
            expected = fleet(database)
        bench.eventually(lambda: agent(database, "ag-stale")["status"] == "Offline")
        assert statuses(database) == expected
        assert agent(database, "ag-stale")["last_heartbeat_at"] == LONG_AGO


class Between:
    """A connection on which something happens after each query."""

    def __init__(self, database: Database, statement: str) -> None:
        self.execute = database.execute
        self._database = database
        self._statement = statement

    async def fetch(self, sql: str) -> list[Mapping[str, Any]]:
        rows = await self._database.fetch(sql)
        await self._database.execute(self._statement)
        return rows


def test_the_sweep_overwrites_a_heartbeat_that_comes_while_it_runs(bench: Bench) -> None:
    database = bench.migrated()
    add_agent(database, "ag-unlucky")
    heartbeat = "UPDATE agents SET last_heartbeat_at = now(), version = 'new'"

    async def sweep() -> int:
        async with Database.connect(database.dsn) as connection:
            limit = datetime.now(UTC) - timedelta(minutes=2)
            return await mark_stale_offline(Between(connection, heartbeat), limit)

    assert run_sync(sweep()) == 1
    row = agent(database, "ag-unlucky")
    assert (row["status"], row["last_heartbeat_at"], row["version"]) == (
        "Offline",
        LONG_AGO,
        METADATA["version"],
    )
