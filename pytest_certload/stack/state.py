"""How does every scenario start from the same state? A template of the database, and a fresh server.

The template is made once, when the seeds are in and before the server starts. A clone of it takes
the database's place, under the same name, and the server is started anew on it: its pool, caches
and limiters are as fresh as its data, and what it writes when it starts is there again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from types import MappingProxyType
from typing import Any, Protocol

from pytest_certload.database import Database, StatementError, other_database, run_sync
from pytest_certload.errors import StackError

from .model import AS_SEEDED
from .prepare import mark_statement, quoted
from .seed import Seed, refresh_seed

__all__ = ["TEMPLATE", "SeededState", "Server", "settle"]

TEMPLATE = "certload_template"
NEXT = "certload_next"
MAINTENANCE = "postgres"
STILL_SECONDS = 0.05
SETTLE_SECONDS = 2.0
# Through the write-ahead log, a copy does not wait until all that a load has changed is on disk; file
# by file, between two checkpoints, a large one is not written twice.
LARGE = 1 << 28

_NOTHING: Mapping[str, str] = MappingProxyType({})

_LATEST = (
    "SELECT pg_snapshot_xmax(pg_current_snapshot())::text, count(backend_xid) FROM pg_stat_activity"
)
_SIZE = "SELECT pg_database_size($1::text::name)"
# What CREATE DATABASE does not copy. Some settings are lists, quoted already.
_SETTINGS = """
SELECT format(
    'ALTER %s SET %s TO ', CASE setrole
        WHEN 0 THEN format('DATABASE %I', $2::text)
        ELSE format('ROLE %I IN DATABASE %I', pg_get_userbyid(setrole), $2::text)
    END, name
) || CASE WHEN name IN ('search_path', 'temp_tablespaces', 'local_preload_libraries',
        'session_preload_libraries') THEN value ELSE quote_literal(value) END AS statement
FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase,
LATERAL unnest(setconfig) AS entry,
LATERAL (SELECT split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1)) AS s (name, value)
WHERE datname = $1
"""
_SESSIONS = """
SELECT format('%s (%s, process %s)', coalesce(nullif(application_name, ''), 'without a name'),
    usename, pid) AS session
FROM pg_stat_activity WHERE datname = ANY($1) AND pid <> pg_backend_pid() ORDER BY pid
"""


class Server(Protocol):
    """The server on the database; it keeps its address when it is started again."""

    def alive(self) -> bool:
        """Whether it runs."""

    def stop(self) -> None:
        """End it in order, so that it writes what it still has to write; if it runs."""

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it, and return when it is ready and takes an authorised call.

        Args:
            environment: Variables added to its own.

        Raises:
            StackError: It is not.
        """


class SeededState:
    """The state of a stack of our own once it is seeded, and the way back to it.

    Making one makes the template: nobody may be connected to the database then.

    Args:
        dsn: The database, migrated and seeded.
        seeds: What it was seeded with.
        server: What will run on it.
        announce: Told in a few words what is going on.

    Raises:
        StackError: The template cannot be made.
    """

    def __init__(
        self,
        dsn: str,
        seeds: tuple[Seed, ...],
        *,
        server: Server,
        announce: Callable[[str], None],
    ) -> None:
        self._dsn = dsn
        self._seeds = seeds
        self._server = server
        self._announce = announce
        self._origin = AS_SEEDED
        self._latest: str | None = None
        self._environment = _NOTHING
        self._settings: Sequence[str] = ()
        run_sync(self._make_template())

    def start(self, environment: Mapping[str, str] = _NOTHING) -> None:
        """Start the server, and take note of the state that it starts from.

        Args:
            environment: Variables added to its own.

        Raises:
            StackError: It does not start.
        """
        self._server.start(environment)
        self._environment = environment
        self._latest = run_sync(_settled(self._dsn))

    def restore(self, environment: Mapping[str, str] = _NOTHING) -> str:
        """Go back to the seeded state, if anything was written since, or the server is not as wanted.

        Args:
            environment: Variables added to the server's own.

        Returns:
            Where the state comes from, in words.

        Raises:
            StackError: The database cannot be cloned, or the server does not start.
        """
        as_wanted = self._server.alive() and self._environment == environment
        if as_wanted and self._latest == run_sync(_latest(self._dsn)):
            return self._origin
        # Until all of it is done, whoever asks next goes all the way again.
        self._latest = None
        began = monotonic()
        run_sync(self._clone())
        cloned = monotonic() - began
        self._server.stop()
        run_sync(self._replace())
        self.start(environment)
        self._origin = f"template, cloned in {cloned:.2f} s"
        given = "".join(f" {name}={value}" for name, value in environment.items())
        self._announce(
            f"state: cloned in {cloned:.2f} s, server started anew{given and f' with{given}'}, "
            f"{monotonic() - began:.2f} s in all"
        )
        return self._origin

    @property
    def _name(self) -> str:
        return self._dsn.partition("?")[0].rpartition("/")[2]

    async def _make_template(self) -> None:
        async with self._administering() as database:
            # Of now: what a test sets later must not be there for the next one.
            found = await database.fetch(_SETTINGS, self._name, NEXT)
            self._settings = [row["statement"] for row in found]
            await _copy(
                database, self._name, TEMPLATE, more="ALLOW_CONNECTIONS false IS_TEMPLATE true"
            )
            await database.execute("CHECKPOINT")

    async def _clone(self) -> None:
        """A clone beside the database: should it fail, what is there stays."""
        async with self._administering() as database:
            await database.execute(f"DROP DATABASE IF EXISTS {NEXT} WITH (FORCE)")
            await _copy(database, TEMPLATE, NEXT)
            await database.execute(mark_statement(NEXT))
            for statement in self._settings:
                await database.execute(statement)
        async with Database.connect(other_database(self._dsn, NEXT)) as clone:
            changed = await refresh_seed(clone, self._seeds)
            if changed:
                # Else autovacuum would, at some moment of the load. The rest is as in the template.
                await clone.execute(f"VACUUM (ANALYZE) {', '.join(changed)}")

    async def _replace(self) -> None:
        async with self._administering() as database:
            name = quoted(self._name)
            # Postgres makes a checkpoint then, as it did after the template: every scenario begins
            # as long after one as any other.
            await database.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await database.execute(f"ALTER DATABASE {NEXT} RENAME TO {name}")

    @asynccontextmanager
    async def _administering(self) -> AsyncIterator[Database]:
        async with Database.connect(other_database(self._dsn, MAINTENANCE)) as database:
            try:
                yield database
            except StatementError as error:
                found = await database.fetch(_SESSIONS, [self._name, TEMPLATE, NEXT])
                raise StackError(
                    f"The database cannot be put back to its seeded state: {error.reason} "
                    f"(SQLSTATE {error.sqlstate}). {_whose(found)}"
                ) from error


def _whose(found: Sequence[Mapping[str, Any]]) -> str:
    sessions = ", ".join(str(row["session"]) for row in found)
    return f"End the sessions that are on it: {sessions}." if sessions else "Look into its log."


async def _copy(database: Database, source: str, target: str, *, more: str = "") -> None:
    large = await database.fetchval(_SIZE, source) > LARGE
    strategy = "FILE_COPY" if large else "WAL_LOG"
    await database.execute(
        f"CREATE DATABASE {quoted(target)} TEMPLATE {quoted(source)} STRATEGY {strategy} {more}"
    )


async def settle(database: Database) -> str:
    """Wait until nobody writes, at most two seconds; the cluster's latest transaction then.

    Servers write after they have answered: what counts rows must not come in between.
    """
    deadline = monotonic() + SETTLE_SECONDS
    latest = await _ask(database)
    while True:
        await asyncio.sleep(STILL_SECONDS)
        before, latest = latest, await _ask(database)
        if latest == before or monotonic() >= deadline:
            return latest


async def _ask(database: Database) -> str:
    (row,) = await database.fetch(_LATEST)
    return "/".join(str(value) for value in row.values())


async def _settled(dsn: str) -> str:
    async with Database.connect(dsn) as database:
        return await settle(database)


async def _latest(dsn: str) -> str:
    async with Database.connect(dsn) as database:
        return await _ask(database)
