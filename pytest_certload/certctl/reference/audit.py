"""How is the audit log written? One row a request, after its answer, in a chain of hashes.

The chain's head is one locked row, so rows are written one after the other however many
connections do it. That is certctl's hidden ceiling, and the server keeps it: a row is one INSERT
in a transaction of its own. Requests never wait for their rows.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import asyncpg

__all__ = ["AuditLog"]

_INSERT = (
    "INSERT INTO audit_events (id, actor, actor_type, action, resource_type, resource_id, details,"
    " timestamp, event_category) VALUES ($1, $2, 'User', $3, $4, $5, $6, $7, 'cert_lifecycle')"
)
_log = logging.getLogger(__name__)


class AuditLog:
    """Writes rows for one worker, in the order in which they come.

    Args:
        pool: Where connections come from.
        worker: Number of this worker, and
        workers: how many there are: no two give the same id to a row.
    """

    def __init__(self, pool: asyncpg.Pool[Any], *, worker: int, workers: int) -> None:
        self._pool = pool
        self._numbers = itertools.count(worker, workers)
        self._rows: deque[tuple[object, ...]] = deque()
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def pending(self) -> int:
        """Rows that wait to be written."""
        return len(self._rows)

    def add(
        self,
        actor: str,
        action: str,
        resource_type: str,
        resource_id: str,
        details: Mapping[str, object],
    ) -> None:
        """Have a row written soon."""
        self._rows.append(self._row(actor, action, resource_type, resource_id, details))
        self._empty.clear()
        self._wake.set()

    async def write(
        self,
        connection: Any,
        actor: str,
        action: str,
        resource_type: str,
        resource_id: str,
        details: Mapping[str, object],
    ) -> None:
        """Write a row now."""
        row = self._row(actor, action, resource_type, resource_id, details)
        await connection.execute(_INSERT, *row)

    async def run(self) -> None:
        """Write rows until cancelled."""
        while True:
            await self._wake.wait()
            async with self._pool.acquire() as connection:
                insert = await connection.prepare(_INSERT)
                while self._rows:
                    try:
                        await insert.fetch(*self._rows[0])
                    except asyncpg.PostgresError as error:
                        if connection.is_closed():
                            raise
                        _log.error("audit row not written: %s", error)
                    self._rows.popleft()
            self._wake.clear()
            self._empty.set()

    async def drain(self, seconds: float) -> int:
        """Wait until every row is written, ``seconds`` at most; returns how many are not."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)
        return self.pending

    def _row(
        self,
        actor: str,
        action: str,
        resource_type: str,
        resource_id: str,
        details: Mapping[str, object],
    ) -> tuple[object, ...]:
        return (
            f"audit-{time.time_ns()}-{next(self._numbers)}",
            actor,
            action,
            resource_type,
            resource_id,
            json.dumps(details),
            datetime.now(UTC),
        )
