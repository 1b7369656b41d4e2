"""Was the work done that the server puts off until it has answered, or finds waiting, and how late?

It is counted while the load runs, so that what piles up is seen, and afterwards until all is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Protocol

from pytest_certload.database import Database, SessionDatabase
from pytest_certload.errors import ConfigurationError, StackError
from pytest_certload.units import parse_duration

from .connection import KeptConnection
from .findings import BacklogFinding, BacklogMoment, Proof

__all__ = ["Backlog", "Counted", "Work"]

_READ_SECONDS = 10.0
_POLL_SECONDS = 0.05
#: The shares of work that waited of which it is told when they were done.
_SHARES = (50, 95, 100)


class Work(Protocol):
    """What the server does after answering, as its database shows it."""

    async def begin(self, database: Database) -> None:
        """The load is about to begin: what there is counts no more."""

    async def done(self, database: Database) -> int:
        """How much has been done since."""

    async def broken(self, database: Database) -> str | None:
        """What is wrong with what was done, asked once in the end; None: nothing."""


class Counted:
    """Work that a query counts.

    Args:
        sql: Returns one number; NULL, such as the sum of no rows, is 0.
        *args: For its ``$1`` ….
    """

    def __init__(self, sql: str, *args: object) -> None:
        self._sql = sql
        self._args = args
        self._before = 0

    async def begin(self, database: Database) -> None:
        """Count what there is."""
        self._before = await self._count(database)

    async def done(self, database: Database) -> int:
        """How many more there are now."""
        return await self._count(database) - self._before

    async def broken(self, database: Database) -> str | None:
        """Nothing is known to be wrong with it."""
        return None

    async def _count(self, database: Database) -> int:
        return int(await database.fetchval(self._sql, *self._args) or 0)


class Backlog:
    """Counts work that the server does after answering, by a connection of its own.

    Work that waits when the load begins, as in a queue, is wanted as a whole from then on: then it is
    told when half of it was done, and so on (``result.backlog(name)``).

    A count that takes long is made less often, so that all together take ``cost`` of the time at most.

    Args:
        name: What it is, in the plural, such as ``audit rows``.
        database: Where it shows.
        work: How it is counted: ``Counted("SELECT count(*) FROM mails")``.
        wanted: How much there must be by now; asked again and again.
        most: How much there may be, which is more when some requests got no answer; None: no limit.
        every: Time between two counts during the load.
        limit: How long after the load the last of it may come.
        cost: The largest share of the time that counting may take, above 0 and at most 1.

    Raises:
        ConfigurationError: A time or a share that is none.
    """

    def __init__(
        self,
        name: str,
        database: SessionDatabase,
        work: Work,
        *,
        wanted: Callable[[], int],
        most: Callable[[], int] | None = None,
        every: object = "1s",
        limit: object = "10s",
        cost: float = 0.01,
    ) -> None:
        if isinstance(cost, bool) or not 0 < cost <= 1:
            raise ConfigurationError(f"cost: {cost!r} is no share above 0 and up to 1")
        self._restraint = 1 / cost
        self._name = name
        self._connection = KeptConnection(database, seconds=_READ_SECONDS)
        self._work = work
        self._wanted = wanted
        self._most = most
        self._every = parse_duration(every, name="every").total_seconds
        self._limit = parse_duration(limit, name="limit").total_seconds
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._began = monotonic()
        self._done = 0
        self._moments: list[BacklogMoment] = []
        self._unread: str | None = None

    async def begin(self) -> None:
        """Note what there is, and begin to count."""
        try:
            await self._connection.ask(self._work.begin)
        except StackError as error:
            # What has no begin cannot be counted.
            self._unread = f"cannot be counted: {error}"
            return
        self._began = monotonic()
        self._task = asyncio.create_task(self._run(), name=f"certload-backlog-{self._name}")

    async def end(self, proof: Proof) -> None:
        """Count until all is done, until the limit at most; then look whether it is right."""
        ended = monotonic()
        caught_up: float | None = None
        broken: str | None = None
        try:
            if self._task is not None:
                self._over.set()
                await self._task
                caught_up = await self._catch_up(ended)
                broken = await self._find_fault()
        finally:
            found = BacklogFinding(
                name=self._name,
                wanted=self._wanted(),
                done=self._done,
                peak=max((max(0, m.wanted - m.done) for m in self._moments), default=0),
                caught_up=caught_up,
                limit=self._limit,
                broken=self._unread or broken,
                moments=tuple(self._moments),
            )
            if found.waited:
                shares = {str(share): found.when_done(share) for share in _SHARES}
                found = replace(found, done_after=shares)
            proof.backlogs.append(found)
            await self._connection.close()

    async def _run(self) -> None:
        while not self._over.is_set():
            took = await self._count()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), max(self._every, took * self._restraint))

    async def _count(self) -> float:
        """Count once; how long that took, in seconds."""
        before = monotonic()
        wanted = self._wanted()
        try:
            self._done = await self._connection.ask(self._work.done)
        except StackError as error:
            self._unread = f"cannot be counted: {error}"
        else:
            self._unread = None
            self._moments.append(
                BacklogMoment(at=before - self._began, wanted=wanted, done=self._done)
            )
        return monotonic() - before

    async def _catch_up(self, ended: float) -> float | None:
        while True:
            took = await self._count()
            now = monotonic()
            if self._unread is None and self._done >= self._wanted():
                return now - ended
            if now >= ended + self._limit:
                return None
            await asyncio.sleep(max(_POLL_SECONDS, took))

    async def _find_fault(self) -> str | None:
        most = None if self._most is None else self._most()
        if most is not None and self._done > most:
            return f"{self._done - most:,} more than the {most:,} that there may be"
        try:
            return await self._connection.ask(self._work.broken)
        except StackError as error:
            return f"cannot be checked: {error}"
