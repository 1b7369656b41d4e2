"""What must hold before any load? It is certctl, the clocks agree, the schema fits, and the limiter does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from pytest_certload.certctl.product import AUTHORISED_PATH, VERSION_PATH, identify
from pytest_certload.errors import PreflightError
from pytest_certload.proof.preflight import Preflight

from .asking import CLOCK, LIMITER, Asker, apart, ask

__all__ = ["CommonChecks"]

#: The limiter's defaults: a bucket of 100 requests, refilled with 50 a second.
_BUCKET = 100
_REFILL = 50
_BURST = 150
_MOST_REQUESTS = 4 * _BURST
_SPARE = 10
#: An HTTP date is whole seconds, a heartbeat's time waits for its turn.
_CLOCK_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class CommonChecks(Asker):
    """The checks before a load of any kind.

    Args:
        tables: The tables and columns that the scenario asks.
        limited: Whether the limiter must be on; else it must be off.
    """

    tables: Mapping[str, Sequence[str]]
    limited: bool = False

    async def identity(self, preflight: Preflight) -> str:
        """It is certctl, and of which version."""
        answer = await ask(preflight, "GET", VERSION_PATH)
        document = answer.json()
        try:
            if answer.status == 200 and isinstance(document, dict):
                return identify(document).server
        except KeyError:
            pass
        raise PreflightError(
            f"{preflight.base_url} is no certctl: {VERSION_PATH} answers {answer}; correct "
            "--certload-base-url"
        )

    async def clock(self, preflight: Preflight) -> str:
        """Server, database and load generator know the same time."""
        began = time.time()
        answer = await ask(preflight, "GET", VERSION_PATH)
        ended = time.time()
        date = answer.headers.get("Date")
        server = "the server sends no Date"
        if date is not None:
            said = parsedate_to_datetime(date).timestamp()
            # It was cut to a whole second, at some moment between the two.
            off = said - ended if said > ended else min(0.0, said + 1 - began)
            if abs(off) > _CLOCK_SECONDS:
                raise PreflightError(
                    f"the server's clock is {apart(off)} this machine's (Date: {date}); {CLOCK}"
                )
            server = "the server's Date agrees"
        async with self.database.connect() as database:
            began = time.time()
            now: datetime = await database.fetchval("SELECT clock_timestamp()")
            half = (time.time() - began) / 2
        off = now.timestamp() - began - half
        if abs(off) - half > _CLOCK_SECONDS:
            raise PreflightError(
                f"the database's clock is {apart(off)} this machine's (± {half * 1000:.2g} ms); "
                f"{CLOCK}"
            )
        return f"{server}, the database's clock is {apart(off)} ours (± {half * 1000:.2g} ms)"

    async def schema(self, _: Preflight) -> str:
        """The database has the tables and columns that the scenario asks."""
        wanted = {
            f"{table}.{column}" for table, columns in self.tables.items() for column in columns
        }
        rows = await self.database.fetch(
            "SELECT table_name || '.' || column_name AS name FROM information_schema.columns "
            "WHERE table_schema = ANY(current_schemas(false)) AND table_name = ANY($1)",
            list(self.tables),
        )
        missing = wanted - {row["name"] for row in rows}
        if missing:
            raise PreflightError(
                f"the database has no {', '.join(sorted(missing))}: it is not migrated, is another "
                "one (--certload-dsn), or certctl's schema is newer than these scenarios"
            )
        return f"{len(self.tables)} tables, {len(wanted)} columns"

    async def limiter(self, preflight: Preflight) -> str:
        """So many requests at once are let through as the limiter's bucket would not hold.

        They come without a token: the limiter counts them all the same, and the refusal after it
        costs the server no query and no audit row.
        """
        path = AUTHORISED_PATH
        rows = await self.audit_rows(path)
        began = time.monotonic()
        statuses: list[int] = []
        seconds = 0.0
        while len(statuses) < _MOST_REQUESTS and len(statuses) <= _let_through(seconds):
            statuses += await asyncio.gather(*(_status(preflight, path) for _ in range(_BURST)))
            seconds = time.monotonic() - began
        refused = statuses.count(429)
        if self.limited:
            await self.settle(path, rows + len(statuses) - statuses.count(401) - refused)
            if not refused:
                raise PreflightError(
                    f"of {len(statuses)} requests at once none is refused: the limiter is off, and the "
                    "scenario is about it; run certctl with CERTCTL_RATE_LIMIT_ENABLED=true"
                )
            return f"{refused} of {len(statuses)} requests at once are refused"
        if refused:
            raise PreflightError(
                f"{refused} of {len(statuses)} requests at once are refused with 429: {LIMITER}"
            )
        await self.settle(path, rows + len(statuses) - statuses.count(401))
        found = f"{len(statuses)} requests in {seconds:.2g} s, none refused"
        if len(statuses) <= _let_through(seconds):
            return f"{found}; answered too slowly to tell a limiter of {_REFILL} a second"
        return found


def _let_through(seconds: float) -> float:
    """How many requests certctl's own limiter would let through, with a little to spare."""
    return _BUCKET + _REFILL * seconds + _SPARE


async def _status(preflight: Preflight, path: str) -> int:
    async with preflight.client.get(path, headers={"Authorization": ""}) as response:
        await response.read()
        status: int = response.status
        return status
