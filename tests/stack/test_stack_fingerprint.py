"""The fingerprint of a state is the same for the same schema and rows, and for nothing else."""

from __future__ import annotations

import socket

import pytest

from pytest_certload.database import Database, SessionDatabase
from pytest_certload.proof import state
from pytest_certload.proof.findings import Proof, StateFinding
from pytest_certload.proof.state import StateWitness

from .conftest import NewDatabase

pytestmark = pytest.mark.asyncio

SCHEMA = """
CREATE TABLE agents (id int PRIMARY KEY, name text);
CREATE TABLE events (at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE events_all PARTITION OF events DEFAULT;
CREATE TABLE empty ();
CREATE SCHEMA other;
CREATE TABLE other.agents ();
INSERT INTO agents SELECT generate_series(1, 7), 'a';
INSERT INTO events VALUES (now()), (now());
"""


async def look(dsn: str, *statements: str) -> StateFinding:
    async with Database.connect(dsn) as database:
        for statement in statements:
            await database.execute(statement)
        return await state.look(database, "somewhere")


@pytest.fixture
def dsn(empty_database: str) -> str:
    return empty_database


async def test_rows_are_counted_once_and_by_name(dsn: str) -> None:
    found = await look(dsn, SCHEMA)
    assert found.rows == {"agents": 7, "events_all": 2}
    assert found.missing == ()
    assert found.origin == "somewhere"
    assert 0 < found.cost < 5


async def test_two_databases_with_the_same_schema_and_rows_have_the_same(
    dsn: str, new_database: NewDatabase
) -> None:
    first = await look(dsn, SCHEMA)
    # Made in another order, by way of other states.
    second = await look(
        new_database(None),
        "CREATE TABLE agents (name text, gone int, id int PRIMARY KEY)",
        "ALTER TABLE agents DROP COLUMN gone",
        SCHEMA.replace("CREATE TABLE agents", "CREATE TABLE IF NOT EXISTS agents").replace(
            "INTO agents", "INTO agents (id, name)"
        ),
        "UPDATE agents SET name = 'b'",
    )
    assert first.fingerprint == second.fingerprint
    assert len(str(first.fingerprint)) == 12
    int(str(first.fingerprint), 16)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM agents WHERE id = 1",
        "INSERT INTO events VALUES (now())",
        "ALTER TABLE agents ADD more int",
        "ALTER TABLE agents ALTER name TYPE varchar(50)",
        "ALTER TABLE agents ALTER name SET NOT NULL",
        "CREATE INDEX ON agents (name)",
        "CREATE TABLE more ()",
        "ALTER TABLE empty RENAME TO void",
        "DROP TABLE other.agents",
    ],
)
async def test_any_change_makes_it_another(dsn: str, change: str) -> None:
    before = await look(dsn, SCHEMA)
    after = await look(dsn, change)
    assert before.fingerprint != after.fingerprint


async def test_what_may_not_be_read_is_missing(postgres: str, dsn: str) -> None:
    await look(
        dsn, SCHEMA, "CREATE ROLE reader LOGIN PASSWORD 'r'", "GRANT SELECT ON agents TO reader"
    )
    address = dsn.partition("@")[2]
    try:
        found = await look(f"postgresql://reader:r@{address}")
    finally:
        await look(dsn, "DROP OWNED BY reader", "DROP ROLE reader")
    assert found.rows == {"agents": 7}
    assert found.fingerprint
    assert "rows of events_all: this user may not read it" in found.missing


async def test_what_is_too_large_is_not_counted(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MOST_BYTES", 20_000)
    found = await look(
        dsn,
        SCHEMA,
        "CREATE TABLE large (n int)",
        "INSERT INTO large SELECT generate_series(1, 9999)",
    )
    assert found.rows == {"agents": 7, "events_all": 2}
    assert found.missing == ("rows of large: too large to be counted before each load",)


async def test_what_takes_too_long_is_given_up(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "COUNT_SECONDS", 0.001)
    found = await look(
        dsn, "CREATE TABLE slow (n int)", "INSERT INTO slow SELECT generate_series(1, 1000000)"
    )
    assert found.rows == {}
    assert found.fingerprint
    (reason,) = found.missing
    assert "statement timeout" in reason


async def test_the_witness_looks_once_before_the_load(dsn: str) -> None:
    before = await look(dsn, SCHEMA)
    witness, proof = StateWitness(SessionDatabase(dsn), "somewhere"), Proof()
    await witness.begin()
    await look(dsn, "DELETE FROM agents")
    await witness.end(proof)
    assert proof.state is not None
    assert proof.state.fingerprint == before.fingerprint
    assert proof.state.rows == before.rows


async def test_where_nobody_answers_the_load_goes_on() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dsn = f"postgresql://u:p@127.0.0.1:{taken.getsockname()[1]}/d"
        witness, proof = StateWitness(SessionDatabase(dsn), "somewhere"), Proof()
        await witness.begin()
    await witness.end(proof)
    assert proof.state is not None
    assert proof.state.fingerprint is None
    assert "cannot be reached" in proof.state.missing[0]
