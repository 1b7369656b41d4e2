"""On a real Postgres: one lost write among very many is found and named, and late ones are waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

import pytest_certload.proof.effects as effects
from pytest_certload.database import Database, SessionDatabase
from pytest_certload.errors import ConfigurationError, StackError
from pytest_certload.proof.effects import prove
from pytest_certload.proof.findings import EffectsFinding, Proof
from pytest_certload.proof.ledger import Ledger
from pytest_certload.proof.sightings import Sightings
from pytest_certload.units import Duration, ms, seconds

pytestmark = pytest.mark.asyncio

JOBS = 50_000
ROWS = f"INSERT INTO jobs SELECT 'job-' || n, n % 7 FROM generate_series(0, {JOBS - 1}) AS n"


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.02)


@pytest.fixture
def database(empty_database: str) -> SessionDatabase:
    return SessionDatabase(empty_database)


def ledger_of(count: int) -> Ledger:
    ledger = Ledger("jobs")
    for number in range(count):
        ledger.acknowledged(f"job-{number}")
    return ledger


async def make_jobs(database: SessionDatabase, *statements: str) -> None:
    await database.execute("CREATE TABLE jobs (id text, team int)")
    for statement in statements:
        await database.execute(statement)


class TestProve:
    async def test_one_lost_of_fifty_thousand_is_named(self, database: SessionDatabase) -> None:
        await make_jobs(database, ROWS, "DELETE FROM jobs WHERE id = 'job-31415'")
        ledger = ledger_of(JOBS)
        began = ledger.acknowledgements.moments[0]
        found = await prove(ledger, database, "SELECT id FROM jobs;", limit=ms(120), began=began)
        assert (found.acknowledged, found.present, found.lost) == (JOBS, JOBS - 1, 1)
        (example,) = found.examples
        assert example.startswith("lost: job-31415 (acknowledged ")
        assert example.endswith(" into the load)")
        assert found.waited >= 0.12
        assert found.readings > 1
        assert ledger.compared

    async def test_everything_else_that_is_wrong_is_told_too(
        self, database: SessionDatabase
    ) -> None:
        await make_jobs(
            database,
            ROWS,
            "INSERT INTO jobs VALUES ('job-7', 1), ('job-7', 1), ('job-x', 1), ('job-y', 1)",
        )
        ledger = ledger_of(JOBS)
        ledger.acknowledged("job-9")
        for number in range(JOBS):
            ledger.asked(f"job-{number}")
        ledger.asked("job-x")
        found = await prove(ledger, database, "SELECT id FROM jobs")
        assert (found.lost, found.ambiguous, found.strangers) == (0, 2, 1)
        assert (found.duplicated, found.repeated, found.readings) == (1, 1, 1)
        kinds = [example.partition(":")[0] for example in found.examples]
        assert kinds == ["duplicated", "repeated", "unacknowledged", "stranger"]
        assert found.examples[0] == "duplicated: job-7 is there 3 times"
        assert "job-x (asked for " in found.examples[2]
        assert found.examples[3] == "stranger: job-y was never asked for"

    async def test_what_comes_late_is_waited_for(
        self, database: SessionDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await make_jobs(database)
        read, readings = effects._read, asyncio.Queue[None]()

        async def reading(*args: Any) -> Any:
            found = await read(*args)
            readings.put_nowait(None)
            return found

        monkeypatch.setattr(effects, "_read", reading)

        async def later() -> None:
            async with database.connect() as connection:
                for _ in range(5):
                    await readings.get()
                    rows = await connection.fetchval("SELECT count(*) FROM jobs")
                    await connection.execute(
                        "INSERT INTO jobs SELECT 'job-' || n, 1 FROM generate_series($1::int, $1::int + 19) AS n",
                        rows,
                    )

        writing = asyncio.create_task(later())
        found = await prove(ledger_of(100), database, "SELECT id FROM jobs", limit=seconds(30))
        await writing
        assert (found.present, found.lost, found.examples) == (100, 0, ())
        assert 6 <= found.readings < 20
        assert 0.3 <= found.waited < 30

    async def test_keys_of_any_type_and_arguments(self, database: SessionDatabase) -> None:
        await database.execute(
            "CREATE TABLE orders AS SELECT n AS id, gen_random_uuid() AS token, n % 2 AS part "
            "FROM generate_series(1, 10) AS n"
        )
        ledger = Ledger("orders")
        for row in await database.fetch("SELECT id, token FROM orders WHERE part = 1"):
            ledger.acknowledged(f"{row['id']}/{row['token']}")
        sql = "SELECT id || '/' || token FROM orders WHERE part = $1 -- by part"
        assert (await prove(ledger, database, sql, 1)).present == 5
        numbers = Ledger("orders")
        for number in (2, 4, 6, 8, 10):
            numbers.acknowledged(number)
        found = await prove(numbers, database, "SELECT id FROM orders WHERE part = $1", 0)
        assert (found.present, found.ambiguous) == (5, 0)

    async def test_rows_without_a_key_are_nobodys(self, database: SessionDatabase) -> None:
        await make_jobs(database, "INSERT INTO jobs VALUES ('job-0', 1), (NULL, 1)")
        found = await prove(ledger_of(1), database, "SELECT id FROM jobs")
        assert found.examples == ("unacknowledged: NULL",)

    @pytest.mark.parametrize(
        ("sql", "args"),
        [
            ("SELECT nonsense", ()),
            ("SELEC 1", ()),
            ("SELECT id FROM nowhere", ()),
            ("SELECT id FROM jobs WHERE team = $1", ()),
            ("SELECT id FROM jobs WHERE team = $1", ("seven",)),
        ],
    )
    async def test_a_wrong_query_is_a_clear_error(
        self, database: SessionDatabase, sql: str, args: tuple[object, ...]
    ) -> None:
        await make_jobs(database)
        with pytest.raises(ConfigurationError, match=r"effects\(sql\): .*return one key a row"):
            await prove(ledger_of(1), database, sql, *args)

    async def test_a_database_that_is_away_proves_nothing(self, postgres: str) -> None:
        nowhere = SessionDatabase(postgres.replace("/certload?", "/nowhere?"))
        with pytest.raises(StackError, match="no such database"):
            await prove(ledger_of(1), nowhere, "SELECT 1")


async def a_reading(seen: Sightings) -> None:
    """Wait for one that begins now or later."""
    now = time.monotonic_ns()
    await until(lambda: seen._readings[-1].before > now)


AGENTS, ROUNDS, CADENCE = 200, 5, 0.4


class Fleet:
    """Agents that send heartbeats in turn, each one overwriting the time of its row."""

    def __init__(self, dsn: str) -> None:
        self.database = SessionDatabase(dsn)
        self.dsn = dsn
        self.ledger = Ledger("heartbeats")

    def sightings(self, **options: object) -> Sightings:
        values = {"every": "100ms", "tolerance": "50ms", **options}
        return Sightings(self.database, "SELECT id, seen FROM agents WHERE id > $1", "", **values)

    async def make(self) -> None:
        await self.database.execute(
            "CREATE TABLE agents AS SELECT 'agent-' || n AS id, clock_timestamp() AS seen, "
            f"0 AS beats FROM generate_series(0, {AGENTS - 1}) AS n"
        )

    async def beat(self, *lost: tuple[int, int], seen: Sightings | None = None) -> None:
        """Several rounds; of the lost ones (round, agent) nothing is written.

        Args:
            lost: These.
            seen: The next round begins when these have read what the last one wrote.
        """
        async with Database.connect(self.dsn) as connection:
            for number in range(AGENTS * ROUNDS):
                turn, agent = divmod(number, AGENTS)
                if seen is not None and turn and not agent:
                    await a_reading(seen)
                await asyncio.sleep(CADENCE / AGENTS)
                self.ledger.asked(f"agent-{agent}")
                if (turn, agent) not in lost:
                    await connection.execute(
                        "UPDATE agents SET seen = clock_timestamp() WHERE id = $1",
                        f"agent-{agent}",
                    )
                self.ledger.acknowledged(f"agent-{agent}")

    async def prove(
        self, seen: Sightings, *lost: tuple[int, int], often_enough: bool = True
    ) -> EffectsFinding:
        await seen.begin()
        try:
            await self.beat(*lost, seen=seen if often_enough else None)
        finally:
            await seen.end(Proof())
        return await seen.prove(self.ledger, limit=Duration(0))


@pytest.fixture
def fleet(empty_database: str) -> Fleet:
    return Fleet(empty_database)


class TestSightings:
    async def test_each_one_that_was_written_is_seen(self, fleet: Fleet) -> None:
        await fleet.make()
        begun = time.monotonic()
        found = await fleet.prove(fleet.sightings())
        whole = time.monotonic() - begun
        total = AGENTS * ROUNDS
        assert (found.acknowledged, found.present, found.lost) == (total, total, 0)
        assert (found.unseen, found.examples) == (0, ())
        assert found.readings > ROUNDS
        assert 0 < found.cost < whole

    async def test_a_lost_one_is_found_although_the_next_covers_it_up(self, fleet: Fleet) -> None:
        await fleet.make()
        found = await fleet.prove(fleet.sightings(), (0, 3), (2, 77), (ROUNDS - 1, 5))
        assert (found.lost, found.unseen) == (3, 0)
        names = [example.split()[1] for example in found.examples]
        assert names == ["agent-3", "agent-77", "agent-5"]
        assert "afterwards its row says a time " in found.examples[1]
        assert found.examples[1].endswith("before it was sent")

    async def test_readings_that_are_too_rare_cannot_tell(self, fleet: Fleet) -> None:
        await fleet.make()
        found = await fleet.prove(fleet.sightings(every="1h"), (2, 77), often_enough=False)
        assert found.readings == 2
        assert found.unseen == AGENTS * (ROUNDS - 1)
        assert (found.lost, found.present) == (0, AGENTS)
        assert found.examples[0].startswith("unseen: agent-0 (acknowledged ")

    async def test_the_last_ones_are_waited_for(self, fleet: Fleet) -> None:
        await fleet.make()
        seen = fleet.sightings(every="1h")
        await seen.begin()
        fleet.ledger.asked("agent-1")
        fleet.ledger.acknowledged("agent-1")
        await seen.end(Proof())

        async def later() -> None:
            await asyncio.sleep(0.3)
            await fleet.database.execute(
                "UPDATE agents SET seen = clock_timestamp() WHERE id = 'agent-1'"
            )

        writing = asyncio.create_task(later())
        found = await seen.prove(fleet.ledger, limit=seconds(30))
        await writing
        assert (found.present, found.lost) == (1, 0)
        assert 0.1 <= found.waited < 10

    async def test_a_key_that_is_not_there_is_lost(self, fleet: Fleet) -> None:
        await fleet.make()
        seen = fleet.sightings()
        await seen.begin()
        await fleet.database.execute("UPDATE agents SET seen = NULL WHERE id = 'agent-2'")
        for key in ("agent-2", "nobody"):
            fleet.ledger.asked(key)
            fleet.ledger.acknowledged(key)
        await seen.end(Proof())
        found = await seen.prove(fleet.ledger, limit=Duration(0))
        assert found.lost == 2
        assert [example.rpartition("says ")[2] for example in found.examples] == [
            "nothing",
            "nothing: there is none",
        ]

    async def test_a_connection_that_breaks_is_made_anew(self, fleet: Fleet) -> None:
        await fleet.make()
        seen = fleet.sightings()
        await seen.begin()
        beating = asyncio.create_task(fleet.beat(seen=seen))
        # Both have a connection.
        await until(lambda: len(seen._readings) >= 2 and len(fleet.ledger.acknowledgements))
        ended = await fleet.database.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND query NOT LIKE 'UPDATE agents%'"
        )
        await beating
        await seen.end(Proof())
        found = await seen.prove(fleet.ledger, limit=Duration(0))
        assert ended == 1
        assert (found.lost, found.present + found.unseen) == (0, AGENTS * ROUNDS)
        assert any(example.startswith("no reading ") for example in found.examples)
        assert found.readings > ROUNDS

    @pytest.mark.parametrize(
        "sql",
        ["SELECT id FROM agents", "SELECT id, beats FROM agents", "SELECT id, id FROM agents"],
    )
    async def test_a_wrong_query_is_a_clear_error_before_the_load(
        self, fleet: Fleet, sql: str
    ) -> None:
        await fleet.make()
        with pytest.raises(ConfigurationError, match=r"Sightings\(sql\): .*two columns, the key"):
            await Sightings(fleet.database, sql).begin()

    async def test_that_watched_no_load_are_a_clear_error(self, fleet: Fleet) -> None:
        with pytest.raises(ConfigurationError, match=r"call load\.watch\(sightings\) before"):
            await fleet.sightings().prove(fleet.ledger, limit=Duration(0))

    async def test_without_any_reading_nothing_is_proven(self, postgres: str) -> None:
        fleet = Fleet(postgres.replace("/certload?", "/nowhere?"))
        seen = fleet.sightings()
        await seen.begin()
        fleet.ledger.asked("agent-1")
        fleet.ledger.acknowledged("agent-1")
        await seen.end(Proof())
        found = await seen.prove(fleet.ledger, limit=Duration(0))
        assert (found.acknowledged, found.unseen, found.readings) == (1, 1, 0)
        assert "no such database" in found.examples[1]


async def test_a_stream_hands_on_every_row_of_one_snapshot(empty_database: str) -> None:
    sizes: list[int] = []
    async with Database.connect(empty_database) as database:
        sql = "SELECT n FROM generate_series(1, $1) AS n"
        await database.stream(lambda rows: sizes.append(len(rows)), sql, 2500, at_once=1000)
        await database.stream(lambda rows: sizes.append(len(rows)), sql, 0)
    assert sizes == [1000, 1000, 500, 0]
