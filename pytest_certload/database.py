"""How is Postgres asked? One connection, errors that explain themselves, and nothing else.

The only module that knows asyncpg.  A ``Database`` belongs to the event loop that opened it;
``run_sync`` gives synchronous code a loop of its own for the time of one coroutine.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlsplit

import asyncpg

from pytest_certload.errors import ConfigurationError, StackError, StatementError

__all__ = [
    "APPLICATION",
    "MINIMUM_VERSION",
    "TAG",
    "Database",
    "DatabaseUnreachable",
    "SessionDatabase",
    "StatementError",
    "describe_dsn",
    "other_database",
    "run_sync",
]

T = TypeVar("T")

MINIMUM_VERSION = 15
#: How our connections call themselves, in pg_stat_activity.
APPLICATION = "certload"
#: What our questions end with, so that pg_stat_statements tells them from the server's. It forgets a
#: comment before the first word (Postgres 18).
TAG = "/* certload */"
#: A query that is never run. A question that the server asks word for word, too, would be counted with the
#: server's, under the text of whoever came first: with this beside it, it is another one.
_OWN = "certload_s_own_question AS (SELECT 1)"
# Where a comment stands between the first words, the question is left as it is.
_WITH = r"WITH(?:\s+RECURSIVE(?=\s+[\w\"])|(?!\s+RECURSIVE\b)(?=\s+[\w\"]))"
_BEGINNING = re.compile(rf"\s*(?:{_WITH}(?P<more>)|(?P<first>)SELECT\b)", re.IGNORECASE)
CONNECT_SECONDS = 10.0
START_SECONDS = 5.0
LOOK_SECONDS = 0.25
_PROTOCOL_VIOLATION = "08P01"
SETTINGS = (
    "shared_buffers",
    "effective_cache_size",
    "work_mem",
    "max_connections",
    "synchronous_commit",
    "fsync",
    "full_page_writes",
    "wal_level",
    "max_wal_size",
    "checkpoint_timeout",
    "autovacuum",
    "jit",
    "shared_preload_libraries",
)


class DatabaseUnreachable(StackError):
    """No connection at all, or not yet: Postgres may be starting still."""


class Database:
    """One connection.  Tasks that share it take turns; a transaction is one turn."""

    def __init__(self, connection: asyncpg.Connection[Any], name: str) -> None:
        self._connection = connection
        self._name = name
        self._turn = asyncio.Lock()
        self._owner: asyncio.Task[Any] | None = None

    @classmethod
    @asynccontextmanager
    async def connect(cls, dsn: str) -> AsyncIterator[Database]:
        """Connect, and close in the end.

        Args:
            dsn: ``postgresql://user:password@host:port/database``.

        Raises:
            ConfigurationError: The DSN is not one.
            StackError: Postgres cannot be reached, refuses, or is older than 15.
        """
        name = describe_dsn(dsn)
        connection = await _connect(dsn, name)
        try:
            _check_version(connection, name)
            yield cls(connection, name)
        finally:
            await _close(connection)

    async def fetch(self, sql: str, *args: object) -> list[Mapping[str, Any]]:
        """All rows of a query, as mappings.

        Raises:
            StatementError: Postgres refused it.
            StackError: The connection was lost.
        """
        question = _Question(sql)
        async with self._taking_turns(question):
            return [dict(row) for row in await self._connection.fetch(question.text, *args)]

    async def stream(
        self,
        take: Callable[[Sequence[tuple[Any, ...]]], None],
        sql: str,
        *args: object,
        at_once: int = 1_000,
    ) -> None:
        """Hand the rows of a query on in batches: one snapshot, and never all of it in memory.

        Args:
            take: Called with each batch when it has come, the last one maybe empty.
            sql: The query; wants no transaction of its own.
            *args: Its parameters.
            at_once: Rows in a batch.

        Raises:
            StatementError: Postgres refused it.
            StackError: The connection was lost.
        """
        question = _Question(sql)
        async with self.transaction(), self._explaining(question):
            cursor = await self._connection.cursor(question.text, *args)
            full = True
            while full:
                rows = await cursor.fetch(at_once)
                take(rows)
                full = len(rows) == at_once

    async def fetchval(self, sql: str, *args: object) -> Any:
        """The first column of the first row, None without rows.  Raises as ``fetch``."""
        question = _Question(sql)
        async with self._taking_turns(question):
            return await self._connection.fetchval(question.text, *args)

    async def execute(self, sql: str, *args: object) -> str:
        """Run a statement and return its tag, such as ``INSERT 0 5``.  Raises as ``fetch``."""
        async with self._taking_turns():
            return await self._connection.execute(sql, *args)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Run the body's statements as one transaction; inside another one, as a savepoint."""
        async with self._taking_turns():
            before, self._owner = self._owner, asyncio.current_task()
            try:
                async with self._connection.transaction():
                    yield
            finally:
                self._owner = before

    async def version(self) -> str:
        """Version of the server, such as ``18.6``."""
        return str(await self.fetchval("SHOW server_version")).split()[0]

    async def settings(self, more: Collection[str] = ()) -> dict[str, str]:
        """The settings that decide how fast it is, and more of them, in small letters."""
        rows = await self.fetch(
            "SELECT name, current_setting(name) AS value FROM pg_settings WHERE lower(name) = ANY($1)",
            [*SETTINGS, *more],
        )
        return dict(sorted((str(row["name"]), str(row["value"])) for row in rows))

    @asynccontextmanager
    async def _taking_turns(self, question: _Question | None = None) -> AsyncIterator[None]:
        if self._owner is not None and self._owner is asyncio.current_task():
            async with self._explaining(question):
                yield
            return
        async with self._turn, self._explaining(question):
            yield

    @asynccontextmanager
    async def _explaining(self, question: _Question | None = None) -> AsyncIterator[None]:
        try:
            yield
        except (asyncpg.PostgresConnectionError, asyncpg.InternalClientError) as error:
            # The second when the end comes just as a statement is sent.
            raise self._lost(error) from error
        except asyncpg.PostgresError as error:
            if str(error.sqlstate).startswith("57P"):
                raise self._lost(error) from error
            raise _statement_error(error, question) from error
        except (asyncpg.InterfaceError, OSError) as error:
            if self._connection.is_closed():
                raise self._lost(error) from error
            if isinstance(error, asyncpg.InterfaceError):
                # What asyncpg does not even send, such as too few arguments: Postgres would say so.
                raise StatementError(_PROTOCOL_VIOLATION, _one_line(str(error)), None) from error
            raise

    def _lost(self, error: Exception) -> StackError:
        return StackError(
            f"The connection to Postgres at {self._name} was lost ({error}); "
            "look into its log for the reason."
        )


class SessionDatabase:
    """The database as plain data: each question opens a connection of its own and closes it.

    So it belongs to no event loop, takes no connection from the server's pool, and holds none
    during the load.

    Args:
        dsn: ``postgresql://user:password@host:port/database``.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def connect(self) -> AbstractAsyncContextManager[Database]:
        """A connection, for several questions or a transaction."""
        return Database.connect(self._dsn)

    async def fetch(self, sql: str, *args: object) -> list[Mapping[str, Any]]:
        """All rows of a query, as mappings.  Raises as ``Database.connect`` and ``fetch``."""
        async with self.connect() as database:
            return await database.fetch(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:
        """The first column of the first row, None without rows.  Raises as ``fetch``."""
        async with self.connect() as database:
            return await database.fetchval(sql, *args)

    async def execute(self, sql: str, *args: object) -> str:
        """Run a statement and return its tag, such as ``INSERT 0 5``.  Raises as ``fetch``."""
        async with self.connect() as database:
            return await database.execute(sql, *args)


class _Question:
    """A query as it is asked, told from all that the server asks.

    Args:
        sql: As it was written.

    Attributes:
        text: As it is sent.
    """

    def __init__(self, sql: str) -> None:
        sql = sql.rstrip().removesuffix(";")
        self._at, self._added = 0, ""
        if begin := _BEGINNING.match(sql):
            is_first = begin["first"] is not None
            self._at = begin.start("first") if is_first else begin.end("more")
            self._added = f"WITH {_OWN} " if is_first else f" {_OWN},"
        # On a line of its own: the last one may be a comment.
        self.text = f"{sql[: self._at]}{self._added}{sql[self._at :]}\n{TAG}"

    def position(self, sent: int) -> int:
        """Where something is in the query as it was written, in characters from 1."""
        return sent - len(self._added) if sent > self._at else sent


def describe_dsn(dsn: str) -> str:
    """Host, port and database of a DSN, without user and password.

    Raises:
        ConfigurationError: It is not a Postgres URL.
    """
    try:
        parts = urlsplit(dsn)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("postgres", "postgresql") or not parts.hostname:
        # The value itself is not repeated: it holds a password.
        raise ConfigurationError(
            "--certload-dsn is not a Postgres URL; "
            "write postgresql://user:password@host:5432/database"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port or 5432}{parts.path}"


def other_database(dsn: str, name: str) -> str:
    """The DSN of another database of the same cluster."""
    return urlsplit(dsn)._replace(path=f"/{quote(name)}").geturl()


async def _connect(dsn: str, name: str) -> asyncpg.Connection[Any]:
    try:
        return await asyncpg.connect(
            dsn,
            timeout=CONNECT_SECONDS,
            server_settings={"application_name": APPLICATION},
        )
    except (
        asyncpg.InvalidPasswordError,
        asyncpg.InvalidAuthorizationSpecificationError,
    ) as error:
        raise StackError(
            f"Postgres at {name} refuses the user or the password ({error}); "
            "correct them in --certload-dsn."
        ) from error
    except asyncpg.InvalidCatalogNameError as error:
        raise StackError(
            f"Postgres at {name} has no such database; create it or correct --certload-dsn."
        ) from error
    except (asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError) as error:
        raise DatabaseUnreachable(
            f"Postgres at {name} takes no connections ({error}); wait until it is up."
        ) from error
    except asyncpg.PostgresError as error:
        raise StackError(
            f"Postgres at {name} does not let us in: {error} (SQLSTATE {error.sqlstate})."
        ) from error
    except TimeoutError as error:
        raise DatabaseUnreachable(
            f"Postgres at {name} does not answer within {CONNECT_SECONDS:.0f} s; "
            "check --certload-dsn and that nothing filters the port."
        ) from error
    except OSError as error:
        raise DatabaseUnreachable(
            f"Postgres at {name} cannot be reached ({error}); "
            "check --certload-dsn and that Postgres runs."
        ) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, ValueError) as error:
        raise StackError(
            f"What answers at {name} does not speak as Postgres does, or --certload-dsn has "
            f"parameters that cannot be used ({error})."
        ) from error


def _check_version(connection: asyncpg.Connection[Any], name: str) -> None:
    version = connection.get_server_version()
    if version.major < MINIMUM_VERSION:
        raise StackError(
            f"Postgres at {name} is version {version.major}.{version.minor}; "
            f"version {MINIMUM_VERSION} or later is needed."
        )


async def _close(connection: asyncpg.Connection[Any]) -> None:
    try:
        await connection.close(timeout=CONNECT_SECONDS)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


def _statement_error(error: asyncpg.PostgresError, question: _Question | None) -> StatementError:
    reason = str(error.args[0]) if error.args else type(error).__name__
    detail = getattr(error, "detail", None)
    position = int(getattr(error, "position", None) or 0)
    if position and question is not None:
        position = question.position(position)
    return StatementError(
        sqlstate=str(error.sqlstate),
        reason=_one_line(f"{reason}; {detail}" if detail else reason),
        position=position or None,
    )


def _one_line(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text)


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in a thread and a loop of its own, and return its result.

    Works also when this thread has a running event loop.  An interruption (Ctrl-C) cancels the
    coroutine, waits for its clean-up, and is raised again.
    """
    runner = _Runner(coroutine)
    thread = threading.Thread(target=runner.run, name="certload-run-sync")
    try:
        # An interruption may come in here too, with the coroutine at work already.
        thread.start()
        runner.wait()
    except BaseException:
        runner.cancel()
        raise
    # Not to be waited with: a join that is interrupted takes the thread for ended (Python 3.11).
    thread.join()
    return runner.result()


class _Runner(Generic[T]):
    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._ready = threading.Event()
        self._ended = False
        # Not an Event: one whose wait is interrupted twice may keep its lock (Python 3.11).
        self._end = threading.Lock()
        self._end.acquire()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[T] | None = None
        self._values: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._error = error
        finally:
            self._ready.set()
            self._ended = True
            self._end.release()

    def wait(self) -> None:
        """Wait for the end.  Looks up at times: a signal that comes just before a wait ends none."""
        while not self._ended:
            self._end.acquire(timeout=LOOK_SECONDS)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._coroutine)
        self._ready.set()
        self._values.append(await self._task)

    def cancel(self) -> None:
        # Not set in time only if the thread never came to life.
        if not self._ready.wait(START_SECONDS):
            return
        if self._loop is not None and self._task is not None:
            # A closed loop says that the coroutine came to its end meanwhile.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        self.wait()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._values[0]
