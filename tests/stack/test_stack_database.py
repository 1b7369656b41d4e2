"""Postgres is asked in turn, and every way in which it can refuse is one clear error."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import asyncpg
import pytest

from pytest_certload.database import (
    Database,
    DatabaseUnreachable,
    SessionDatabase,
    StatementError,
    describe_dsn,
    run_sync,
)
from pytest_certload.errors import ConfigurationError, StackError

pytestmark = pytest.mark.asyncio


async def connect(dsn: str) -> None:
    async with Database.connect(dsn):
        pass


class TestTheDsn:
    @pytest.mark.parametrize(
        ("dsn", "name"),
        [
            ("postgresql://u:secret@db.test:6000/certctl", "db.test:6000/certctl"),
            ("postgres://u:secret@127.0.0.1/certctl?sslmode=disable", "127.0.0.1:5432/certctl"),
            ("postgresql://u:secret@[::1]:5433/x", "[::1]:5433/x"),
        ],
    )
    async def test_is_described_without_its_password(self, dsn: str, name: str) -> None:
        assert describe_dsn(dsn) == name

    @pytest.mark.parametrize(
        "dsn", ["", "secret", "mysql://u:secret@h/d", "postgresql:///d", "postgresql://h:x/secret"]
    )
    async def test_that_is_none_is_refused_without_a_repetition(self, dsn: str) -> None:
        with pytest.raises(ConfigurationError, match="--certload-dsn is not a Postgres URL") as e:
            await connect(dsn)
        assert "secret" not in str(e.value)


class TestNoConnection:
    async def test_nobody_listens(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            with pytest.raises(DatabaseUnreachable, match=r"cannot be reached .*--certload-dsn"):
                await connect(f"postgresql://u:p@127.0.0.1:{port}/d")

    async def test_wrong_password(self, postgres: str) -> None:
        wrong = postgres.replace("certload:", "certload:not", 1)
        with pytest.raises(StackError, match="refuses the user or the password") as caught:
            await connect(wrong)
        assert "--certload-dsn" in str(caught.value)
        assert wrong not in str(caught.value)

    async def test_no_such_database(self, postgres: str) -> None:
        with pytest.raises(StackError, match="no such database; create it or correct"):
            await connect(postgres.replace("/certload?", "/nowhere?"))

    async def test_something_else_answers(self) -> None:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-dropbear\r\n")
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(StackError, match=f"127.0.0.1:{port}"):
                await connect(f"postgresql://u:p@127.0.0.1:{port}/d?sslmode=disable")

    async def test_too_old(self, postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            asyncpg.Connection,
            "get_server_version",
            lambda _: SimpleNamespace(major=14, minor=11),
        )
        with pytest.raises(StackError, match=r"is version 14\.11; version 15 or later is needed"):
            await connect(postgres)


class TestStatements:
    async def test_that_are_refused(self, postgres: str) -> None:
        async with Database.connect(postgres) as database:
            for sql in (
                "SELECT 1,\n nonsense",
                "  select nonsense;",
                "WITH one AS (SELECT 1) SELECT nonsense FROM one",
                "with\nrecursive one AS (SELECT 1) SELECT nonsense FROM one",
                "-- why\nSELECT nonsense",
                "(SELECT nonsense)",
                "nonsense",
            ):
                with pytest.raises(StatementError) as caught:
                    await database.fetch(sql)
                assert caught.value.position == sql.index("nonsense") + 1
                assert "nonsense" in caught.value.reason
            with pytest.raises(StatementError) as caught:
                await database.stream(lambda rows: None, "SELECT 1,\n nonsense")
            assert (caught.value.sqlstate, caught.value.position) == ("42703", 12)
            assert await database.fetchval("SELECT 1") == 1

    async def test_are_asked_as_they_were_written(self, postgres: str) -> None:
        async with Database.connect(postgres) as database:
            for sql in (
                "SELECT $1::int",
                "select $1::int -- of them;",
                " (SELECT $1::int) ;",
                "WITH one AS (SELECT $1::int AS n) SELECT n FROM one",
                "with recursive up AS (SELECT 1 AS n UNION SELECT n + 1 FROM up WHERE n < $1) "
                "SELECT max(n) FROM up",
                "VALUES ($1::int)",
                "WITH /* up */ RECURSIVE up AS (SELECT $1::int AS n) SELECT n FROM up",
                "WITH RECURSIVE /* up */ up AS (SELECT $1::int AS n) SELECT n FROM up",
                'WITH "certload" AS (SELECT $1::int AS n) SELECT n FROM certload',
            ):
                assert await database.fetchval(sql, 7) == 7

    async def test_detail_is_part_of_the_reason(self, empty_database: str) -> None:
        async with Database.connect(empty_database) as database:
            await database.execute("CREATE TABLE t (n int PRIMARY KEY)")
            with pytest.raises(StatementError, match=r"unique constraint.*; Key \(n\)=\(1\)"):
                await database.execute("INSERT INTO t VALUES (1), (1)")

    async def test_without_rows(self, postgres: str) -> None:
        async with Database.connect(postgres) as database:
            assert await database.fetch("SELECT 1 WHERE false") == []
            assert await database.fetchval("SELECT 1 WHERE false") is None

    async def test_version_and_settings(self, postgres: str) -> None:
        async with Database.connect(postgres) as database:
            assert int((await database.version()).split(".")[0]) >= 15
            settings = await database.settings()
        assert settings["max_connections"] == "200"
        assert list(settings) == sorted(settings)

    async def test_a_lost_connection_is_said(self, postgres: str) -> None:
        async with Database.connect(postgres) as database, Database.connect(postgres) as other:
            backend = await database.fetchval("SELECT pg_backend_pid()")
            assert await other.fetchval("SELECT pg_terminate_backend($1)", backend)
            with pytest.raises(StackError, match=r"connection to Postgres at .* was lost"):
                await database.fetchval("SELECT pg_sleep(5)")


class TestTurns:
    async def test_tasks_that_share_a_connection_wait_for_one_another(self, postgres: str) -> None:
        async with Database.connect(postgres) as database:
            answers = await asyncio.gather(
                *(database.fetchval("SELECT $1::int", n) for n in range(20))
            )
        assert answers == list(range(20))

    async def test_a_transaction_is_one_turn(self, empty_database: str) -> None:
        async with Database.connect(empty_database) as database:
            await database.execute("CREATE TABLE t (n int)")
            inside = asyncio.Event()

            async def undone() -> None:
                async with database.transaction():
                    await database.execute("INSERT INTO t VALUES (1)")
                    inside.set()
                    await database.fetchval("SELECT pg_sleep(0.05)")
                    raise ValueError("roll back")

            async def neighbour() -> None:
                await inside.wait()
                await database.execute("INSERT INTO t VALUES (2)")

            results = await asyncio.gather(undone(), neighbour(), return_exceptions=True)
            assert isinstance(results[0], ValueError)
            assert await database.fetch("SELECT n FROM t") == [{"n": 2}]

    async def test_an_inner_transaction_is_a_savepoint(self, empty_database: str) -> None:
        async with Database.connect(empty_database) as database:
            await database.execute("CREATE TABLE t (n int)")
            async with database.transaction():
                await database.execute("INSERT INTO t VALUES (1)")
                with pytest.raises(StatementError):
                    async with database.transaction():
                        await database.execute("INSERT INTO t VALUES (2), (1/0)")
                await database.execute("INSERT INTO t VALUES (3)")
            assert await database.fetch("SELECT n FROM t ORDER BY n") == [{"n": 1}, {"n": 3}]


class TestSessionDatabase:
    async def test_asks_over_connections_of_its_own(self, empty_database: str) -> None:
        database = SessionDatabase(empty_database)
        assert await database.execute("CREATE TABLE t AS SELECT 1 AS n") == "SELECT 1"
        assert await database.fetch("SELECT n FROM t WHERE n = $1", 1) == [{"n": 1}]
        first, second = [await database.fetchval("SELECT pg_backend_pid()") for _ in range(2)]
        assert first != second
        async with database.connect() as connection, connection.transaction():
            assert await connection.fetchval("SELECT count(*) FROM t") == 1


@contextmanager
def default_interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class TestRunSync:
    async def test_beside_a_running_loop(self, postgres: str) -> None:
        async def ask() -> int:
            async with Database.connect(postgres) as database:
                return int(await database.fetchval("SELECT 7"))

        assert run_sync(ask()) == 7

    async def test_raises_what_the_coroutine_raises(self) -> None:
        async def fail() -> None:
            raise KeyError("x")

        with pytest.raises(KeyError):
            run_sync(fail())

    async def test_an_interruption_cancels_and_waits_for_the_clean_up(self) -> None:
        steps: list[str] = []

        async def hang() -> None:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.Event().wait()
            finally:
                steps.append("cleaned up")

        with default_interrupts(), pytest.raises(KeyboardInterrupt):
            run_sync(hang())
        assert steps == ["cleaned up"]

    async def test_an_interruption_that_ends_no_wait_is_seen(self) -> None:
        """Such as one that comes just before the wait: here another thread gets the signal."""

        async def hang() -> None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()

        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with default_interrupts(), pytest.raises(KeyboardInterrupt):
                run_sync(hang())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
