"""Who does the jobs that are pending? The scheduler's job processor, at the start and at each tick.

A tick claims so many Pending jobs, the oldest first, sets them to Running in one transaction, and
does them, so many at once. One that does not end within two minutes is cut short, and the jobs that
it has not done stay Running; so do deployments that an agent is to pick up, whom nobody asks for
Running jobs. certctl does the same.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any

import asyncpg

from .config import Config
from .deploying import Deployments
from .faults import Strikes
from .job_rows import JOB_COLUMNS
from .renewing import RenewalWork

__all__ = ["JobProcessor"]

_JITTER = 0.1
_TICK_SECONDS = 120.0
_SLOW_SECONDS = 0.06
_CLAIM = (
    f"SELECT {', '.join(JOB_COLUMNS)} FROM jobs WHERE status = 'Pending'"
    " ORDER BY scheduled_at ASC FOR UPDATE SKIP LOCKED LIMIT {}"
)
_RUN = "UPDATE jobs SET status = 'Running' WHERE id IN ({})"
_NO_DATABASE = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_log = logging.getLogger(__name__)


class _Unreadable(Exception):
    """A row has NULL in a column that certctl reads into a value without one."""


class JobProcessor:
    """Does pending jobs; one worker has one.

    Args:
        config: Interval, claim limit and concurrency.
        pool: Where connections come from: one for each statement, so that requests get theirs.
        renewals: Does renewals and issuances.
        deployments: Does deployments that no agent was named for.
    """

    def __init__(
        self,
        config: Config,
        pool: asyncpg.Pool[Any],
        renewals: RenewalWork,
        deployments: Deployments,
    ) -> None:
        self._seconds = config.processor_seconds
        self._limit = config.claim_limit
        self._slow = "drain-slow" in config.faults
        self._concurrency = 1 if self._slow else config.renewal_concurrency
        self._lost = Strikes(config.faults, "drain-lost")
        self._twice = Strikes(config.faults, "drain-twice")
        self._pool = pool
        self._renewals = renewals
        self._deployments = deployments

    async def run(self) -> None:
        """Do what is pending, now and at each tick, until cancelled."""
        tick = asyncio.create_task(self.tick())
        try:
            while True:
                seconds = self._seconds * random.uniform(1 - _JITTER, 1 + _JITTER)
                await asyncio.sleep(seconds)
                if not tick.done():
                    _log.warning("the job processor is still at work: a tick is left out")
                    continue
                # What nobody foresaw ends the server.
                tick.result()
                tick = asyncio.create_task(self.tick())
        finally:
            tick.cancel()
            await asyncio.wait([tick])

    async def tick(self) -> None:
        """Claim pending jobs and do them."""
        try:
            async with asyncio.timeout(_TICK_SECONDS):
                jobs = await self._claim()
                await self._do_all(jobs)
        except TimeoutError:
            _log.error("job processor: cut short after %g s", _TICK_SECONDS)
        except (*_NO_DATABASE, _Unreadable) as error:
            _log.error("job processor: nothing is claimed: %s", error)

    async def _claim(self) -> Sequence[Any]:
        async with self._pool.acquire() as connection, connection.transaction():
            jobs: Sequence[Any] = await connection.fetch(_CLAIM.format(self._limit))
            for job in jobs:
                if job["certificate_id"] is None or job["scheduled_at"] is None:
                    # certctl cannot read such a row, and claims nothing as long as it is there.
                    raise _Unreadable(f"{job['id']} has no certificate, or no time")
            if jobs:
                places = ", ".join(f"${number}" for number in range(1, len(jobs) + 1))
                await connection.execute(_RUN.format(places), *(job["id"] for job in jobs))
        return jobs

    async def _do_all(self, jobs: Sequence[Any]) -> None:
        """Do jobs, so many at once."""
        waiting = iter([job for job in jobs if not _is_agents(job)])

        async def work() -> None:
            for job in waiting:
                if self._lost():
                    continue
                if self._slow:
                    await asyncio.sleep(_SLOW_SECONDS)
                for _ in range(2 if self._twice() else 1):
                    await self._do(job)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._concurrency, len(jobs))):
                group.create_task(work())

    async def _do(self, job: Any) -> None:
        try:
            match job["type"]:
                case "Renewal" | "Issuance":
                    await self._renewals.do(job)
                case "Deployment":
                    await self._deployments.do(job)
                case kind:
                    # Validation is nothing that certctl can do yet. Its job stays Running.
                    _log.error("job %s: %s is no work that is known", job["id"], kind)
        except (*_NO_DATABASE, ValueError) as error:
            _log.error("job %s: %s", job["id"], error)


def _is_agents(job: Any) -> bool:
    return job["type"] == "Deployment" and bool(job["agent_id"])
