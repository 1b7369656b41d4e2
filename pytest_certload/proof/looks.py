"""What are the server's connections at work on, or waiting for? Two looks a second, while it happens.

The looks are drawn at random about their mean distance: taken on the beat, they would see a load
that comes on the beat always at the same moment of its life.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from random import Random
from time import monotonic
from typing import Any

from pytest_certload.database import APPLICATION, Database, SessionDatabase
from pytest_certload.errors import StackError

from .connection import KeptConnection
from .findings import DatabaseMoment, WaitFinding

__all__ = ["EVERY", "Looks"]

#: Seconds between two looks, in the mean.
EVERY = 0.5
_LOOK_SECONDS = 5.0
_STOP_SECONDS = 1.0
# Of one that is hidden from this user nothing is known but that it is there.
_CONNECTIONS = f"""
SELECT CASE WHEN state IS NULL THEN NULL
            ELSE coalesce(wait_event_type || ':' || wait_event, 'CPU') END AS wait,
       count(*) AS connections,
       count(*) FILTER (WHERE wait_event_type = 'Lock') AS blocked
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> '{APPLICATION}'
  AND (state = 'active' AND backend_type = 'client backend' OR query = '<insufficient privilege>')
GROUP BY 1
"""


class Looks:
    """Looks at the connections until it is stopped.

    Postgres may go away and come back meanwhile: then there is a gap, and it is said.

    Args:
        database: Of the server; the looks have a connection of their own to it.
        every: Seconds between two looks, in the mean.

    Attributes:
        moments: What was seen.
        seconds: How long the answers took, all together.
        number: How many looks there were.
        interrupted: Whether the connection was lost in between.
        missing: When nothing could be seen, and why.
    """

    def __init__(self, database: SessionDatabase, *, every: float = EVERY) -> None:
        self._connection = KeptConnection(database, seconds=_LOOK_SECONDS)
        self._every = every
        self._random = Random()
        self._waits: Counter[str] = Counter()
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._began = monotonic()
        self.moments: list[DatabaseMoment] = []
        self.seconds = 0.0
        self.number = 0
        self.interrupted = False
        self.missing: list[str] = []
        self._gap: tuple[float, str] | None = None
        self._hidden = False

    def start(self) -> None:
        """Begin to look; the load begins now."""
        self._began = monotonic()
        self._task = asyncio.create_task(self._run(), name="certload-looks")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is None:
            return
        self._over.set()
        await asyncio.wait([self._task], timeout=_STOP_SECONDS)
        if not self._task.done():
            self._begin_gap("Postgres does not answer")
            self._task.cancel()
            await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()
        await self._connection.close()
        self._end_gap()
        if self._hidden:
            self.missing.append(
                "waits: some connections are hidden from this user, who is no member of "
                "pg_read_all_stats"
            )

    def waits(self) -> tuple[WaitFinding, ...]:
        """What was waited for, the most frequent first."""
        total = self._waits.total()
        return tuple(
            WaitFinding(event=event, share=seen / total)
            for event, seen in self._waits.most_common()
        )

    async def _run(self) -> None:
        while not self._over.is_set():
            try:
                await self._look()
            except StackError as error:
                self._begin_gap(str(error))
            with suppress(TimeoutError):
                seconds = self._every * self._random.uniform(0.5, 1.5)
                await asyncio.wait_for(self._over.wait(), seconds)

    async def _look(self) -> None:
        before = monotonic()
        rows = await self._connection.ask(_connections)
        after = monotonic()
        self._end_gap()
        self.seconds += after - before
        self.number += 1
        active = blocked = 0
        most: tuple[int, str] | None = None
        for row in rows:
            if row["wait"] is None:
                self._hidden = True
                continue
            self._waits[row["wait"]] += row["connections"]
            active += row["connections"]
            blocked += row["blocked"]
            most = max(most or (0, ""), (row["connections"], row["wait"]))
        self.moments.append(
            DatabaseMoment(
                at=before - self._began,
                active=active,
                blocked=blocked,
                wait=None if most is None else most[1],
            )
        )

    def _begin_gap(self, reason: str) -> None:
        self.interrupted = self.interrupted or self.number > 0
        if self._gap is None:
            self._gap = monotonic(), reason

    def _end_gap(self) -> None:
        if self._gap is None:
            return
        since, reason = self._gap
        self._gap = None
        self.missing.append(
            f"connections from {since - self._began:.1f} s to {monotonic() - self._began:.1f} s: "
            f"{reason}"
        )


async def _connections(database: Database) -> list[Mapping[str, Any]]:
    return await database.fetch(_CONNECTIONS)
