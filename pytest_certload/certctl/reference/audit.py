"""How is the audit log written? One row a request, after its answer, in a chain of hashes.

The chain's head is one locked row, so rows are written one after the other however many
connections do it. That is certctl's hidden ceiling, and the server keeps it: a row is one INSERT
in a transaction of its own. No request waits for its own row; but when too many rows wait, requests
wait for room, so that the log never falls behind without end and a lasting load is felt as it is.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any, Protocol

import asyncpg

from .clock import server_clock
from .faults import Strikes
from .ids import Ids

__all__ = ["MOST_PENDING", "AuditLog", "Note"]

_INSERT = (
    "INSERT INTO audit_events (id, actor, actor_type, action, resource_type, resource_id, details,"
    " timestamp, event_category) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'cert_lifecycle')"
)
# The next row finds no row before it.
_FORGET_HEAD = "UPDATE audit_chain_head SET row_hash = '' WHERE id = 1"
#: Rows that may wait in one worker.
MOST_PENDING = 1000
_NONE: Mapping[str, int] = MappingProxyType({})
#: What comes of a Postgres that refuses, or is away.
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_log = logging.getLogger(__name__)


class Note(Protocol):
    """Writes the audit row of a transaction."""

    async def __call__(
        self,
        actor: str,
        action: str,
        resource_type: str,
        resource_id: str,
        details: Mapping[str, object],
    ) -> None:
        """Write it."""


class AuditLog:
    """Writes rows for one worker.

    Args:
        pool: Where connections come from.
        worker: Number of this worker, and
        workers: how many there are: no two give the same id to a row.
        faults: Those that are switched on.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        *,
        worker: int,
        workers: int,
        faults: Mapping[str, int] = _NONE,
    ) -> None:
        self._pool = pool
        self._ids = Ids(worker, workers)
        self._room = asyncio.Semaphore(MOST_PENDING)
        self._rows: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()
        self._unwritten = 0
        # Of all who would wait for the chain's lock in the database, one of a worker does.
        self._turn = asyncio.Lock()
        self._clock = server_clock(faults)
        self._missing = Strikes(faults, "audit-missing")
        self._broken = Strikes(faults, "audit-broken")

    async def room(self) -> None:
        """Wait until there is room for one more row; ``add`` takes it, ``forgo`` gives it back."""
        await self._room.acquire()

    def forgo(self) -> None:
        """Give back the room that was waited for: there will be no row."""
        self._room.release()

    def add(
        self,
        actor: str,
        action: str,
        resource_type: str,
        resource_id: str,
        details: Mapping[str, object],
    ) -> None:
        """Have a row written soon, into the room that was waited for."""
        if self._missing():
            self.forgo()
            return
        self._unwritten += 1
        self._rows.put_nowait(self._row(actor, "User", action, resource_type, resource_id, details))

    async def write(
        self,
        connection: Any,
        actor: str,
        action: str,
        resource_type: str,
        resource_id: str,
        details: Mapping[str, object],
        *,
        actor_type: str = "User",
    ) -> None:
        """Write a row now, in a transaction of its own."""
        row = self._row(actor, actor_type, action, resource_type, resource_id, details)
        async with AsyncExitStack() as held:
            if isinstance(connection, asyncpg.Pool):
                # Before the turn, as all others have theirs: who has the turn must not wait for a connection
                # that somebody has who waits for the turn.
                connection = await held.enter_async_context(connection.acquire())
            async with self._turn:
                await connection.execute(_INSERT, *row)

    @asynccontextmanager
    async def transaction(
        self, connection: Any, *, actor_type: str = "User"
    ) -> AsyncIterator[Note]:
        """A transaction whose last statement is its audit row: what is yielded writes it.

        The chain's lock is held until the transaction is committed.
        """
        async with AsyncExitStack() as committed, connection.transaction():

            async def note(
                actor: str,
                action: str,
                resource_type: str,
                resource_id: str,
                details: Mapping[str, object],
            ) -> None:
                await committed.enter_async_context(self._turn)
                row = self._row(actor, actor_type, action, resource_type, resource_id, details)
                await connection.execute(_INSERT, *row)

            yield note

    async def run(self) -> None:
        """Write rows until cancelled."""
        while True:
            row = await self._rows.get()
            try:
                connection = await self._pool.acquire()
            except _FAILURES as error:
                self._give_up(row, error)
                continue
            try:
                await self._write_waiting(connection, row)
            finally:
                await self._pool.release(connection)

    async def _write_waiting(self, connection: Any, row: tuple[object, ...]) -> None:
        """Write a row and, on the same connection, those that wait behind it."""
        while True:
            # The request is answered already: nobody can be told but the log.
            try:
                if self._broken():
                    await connection.execute(_FORGET_HEAD)
                async with self._turn:
                    await connection.execute(_INSERT, *row)
            except _FAILURES as error:
                self._give_up(row, error)
            else:
                self._over()
            if self._rows.empty() or connection.is_closed():
                return
            row = self._rows.get_nowait()

    def _give_up(self, row: tuple[object, ...], error: Exception) -> None:
        _log.error("audit row %s not written: %s", row[0], error)
        self._over()

    def _over(self) -> None:
        self._unwritten -= 1
        self._room.release()
        self._rows.task_done()

    async def drain(self, seconds: float) -> int:
        """Wait until every row is written, ``seconds`` at most; returns how many are not."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._rows.join(), seconds)
        return self._unwritten

    def _row(
        self,
        actor: str,
        actor_type: str,
        action: str,
        resource_type: str,
        resource_id: str,
        details: Mapping[str, object],
    ) -> tuple[object, ...]:
        return (
            self._ids.new("audit"),
            actor,
            actor_type,
            action,
            resource_type,
            resource_id,
            json.dumps(details),
            self._clock(),
        )
