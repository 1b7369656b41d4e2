"""Is what the server acknowledged in the database? A ledger's keys and a query's, compared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pytest_certload.errors import ConfigurationError, StatementError
from pytest_certload.units import Duration, seconds

from .findings import EffectsFinding
from .keys import DistinctKeys, PackedKeys, distinct
from .ledger import Ledger, Log

if TYPE_CHECKING:
    from pytest_certload.database import SessionDatabase

__all__ = ["Comparison", "Pauses", "compare", "look_up", "prove", "refuse_query"]

#: Of each kind.
MOST_EXAMPLES = 5
_FIRST_PAUSE = 0.05
#: Classes of SQLSTATE: number, data and syntax of a query's arguments.
_QUERYS_FAULT = ("08P", "22", "42")
#: Whatever type a key has in the database, the text of it is what the ledger knows.
_KEYS = "SELECT coalesce(key::text, 'NULL') FROM (\n{sql}\n) AS effects (key)"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a ledger and a database have in common, and what not.

    Attributes:
        acknowledged: The ledger's different keys.
        stored: The database's.
        lost: Positions of acknowledged keys that the database does not have, in order.
        ambiguous: Positions of stored keys that nobody acknowledged, in order.
        strangers: Of these, those that nobody asked for; None when what was asked for is not known.
    """

    acknowledged: DistinctKeys
    stored: DistinctKeys
    lost: NDArray[np.int64]
    ambiguous: NDArray[np.int64]
    strangers: NDArray[np.int64] | None


def compare(
    acknowledged: DistinctKeys, asked: DistinctKeys | None, stored: DistinctKeys
) -> Comparison:
    """Compare what was acknowledged, what was asked for, and what is stored."""
    ambiguous = stored.not_in(acknowledged)
    strangers = None if asked is None else np.intersect1d(ambiguous, stored.not_in(asked))
    return Comparison(
        acknowledged=acknowledged,
        stored=stored,
        lost=acknowledged.not_in(stored),
        ambiguous=ambiguous,
        strangers=strangers,
    )


async def prove(
    ledger: Ledger,
    database: SessionDatabase,
    sql: str,
    *args: object,
    limit: Duration = seconds(10),  # noqa: B008 - immutable
    began: int = 0,
) -> EffectsFinding:
    """Look up what a ledger says was acknowledged, and wait for what is still on its way.

    Args:
        ledger: What was acknowledged.
        database: Where it must be.
        sql: Query for one key a row.
        *args: Its parameters.
        limit: As long as something is missing the query is asked again, at most so long.
        began: When the measured window began, nanoseconds of the engine's clock.

    Raises:
        ConfigurationError: Postgres does not take the query.
        StackError: The database cannot be asked.
    """
    query = _KEYS.format(sql=sql.rstrip().rstrip(";"))
    return await look_up(ledger, lambda: _read(database, query, args), limit=limit, began=began)


async def look_up(
    ledger: Ledger,
    read: Callable[[], Awaitable[PackedKeys]],
    *,
    limit: Duration,
    began: int = 0,
) -> EffectsFinding:
    """The same, wherever it must be.

    Args:
        ledger: What was acknowledged.
        read: Reads all keys that are there.
        limit: As long as something is missing it is read again, at most so long.
        began: When the measured window began, nanoseconds of the engine's clock.
    """
    acknowledgements = len(ledger.acknowledgements)
    acknowledged = distinct(ledger.acknowledgements.keys)
    asked = distinct(ledger.asks.keys) if len(ledger.asks) else None
    pauses = Pauses(limit)
    cost = 0.0
    while True:
        started = time.monotonic()
        rows = await read()
        cost += time.monotonic() - started
        comparison = compare(acknowledged, asked, distinct(rows))
        if not len(comparison.lost) or not await pauses.another():
            break
    ledger.compared = acknowledgements
    lost = len(comparison.lost)
    strangers = comparison.strangers
    return EffectsFinding(
        name=ledger.name,
        acknowledged=len(acknowledged.positions),
        present=len(acknowledged.positions) - lost,
        lost=lost,
        unseen=0,
        ambiguous=len(comparison.ambiguous),
        strangers=None if strangers is None else len(strangers),
        duplicated=comparison.stored.repeated,
        repeated=None if ledger.repeats else acknowledged.repeated,
        examples=tuple(_examples(ledger, comparison, rows, began)),
        waited=pauses.waited,
        readings=pauses.taken + 1,
        cost=cost,
    )


class Pauses:
    """Pauses that grow, until a limit: between questions whose answer takes its time.

    Attributes:
        taken: How many there were.
    """

    def __init__(self, limit: Duration) -> None:
        self._limit = limit.total_seconds
        self._begin: float | None = None
        self._next = _FIRST_PAUSE
        self.taken = 0

    @property
    def waited(self) -> float:
        """Seconds since the first answer; 0 when that was the last one too."""
        return 0.0 if self._begin is None else time.monotonic() - self._begin

    async def another(self) -> bool:
        """Wait for a while and say that there is time for another question; False: no time is left."""
        if self._begin is None:
            self._begin = time.monotonic()
        left = self._limit - self.waited
        if left <= 0:
            return False
        await asyncio.sleep(min(self._next, left))
        self._next *= 2
        self.taken += 1
        return True


def refuse_query(error: StatementError, what: str, wanted: str) -> None:
    """Say what must change when Postgres refused a statement because of the query in it.

    Args:
        error: What Postgres said.
        what: The argument that the query came in.
        wanted: What it must return.

    Raises:
        ConfigurationError: The query, or one of its arguments, is the reason.
    """
    if error.sqlstate.startswith(_QUERYS_FAULT):
        raise ConfigurationError(
            f"{what}: Postgres refuses the query: {error.reason} (SQLSTATE {error.sqlstate}); "
            f"it must return {wanted}"
        ) from error


async def _read(database: SessionDatabase, query: str, args: Sequence[object]) -> PackedKeys:
    keys = PackedKeys()

    def take(rows: Sequence[tuple[Any, ...]]) -> None:
        for (key,) in rows:
            keys.append(key)

    try:
        async with database.connect() as connection:
            await connection.stream(take, query, *args)
    except StatementError as error:
        refuse_query(error, "effects(sql)", "one key a row")
        raise
    return keys


def _examples(ledger: Ledger, found: Comparison, rows: PackedKeys, began: int) -> list[str]:
    log = ledger.acknowledgements
    lines = [
        f"lost: {log.describe(position, 'acknowledged', began)}"
        for position in found.lost[:MOST_EXAMPLES].tolist()
    ]
    lines += [
        f"duplicated: {rows.shown(positions[0])} is there {len(positions)} times"
        for positions in found.stored.named
    ]
    if not ledger.repeats:
        for positions in found.acknowledged.named:
            again = log.describe(positions[1], "again acknowledged", began)
            lines.append(f"repeated: {again}, first by iteration {log.iterations[positions[0]]:,}")
    ambiguous = found.ambiguous[:MOST_EXAMPLES]
    if found.strangers is None:
        lines += [f"unacknowledged: {rows.shown(position)}" for position in ambiguous.tolist()]
        return lines
    strange = set(found.strangers.tolist())
    for position in np.union1d(ambiguous, found.strangers[:MOST_EXAMPLES]).tolist():
        if position in strange:
            lines.append(f"stranger: {rows.shown(position)} was never asked for")
        else:
            entry = _entry(ledger.asks, rows[position])
            lines.append(f"unacknowledged: {ledger.asks.describe(entry, 'asked for', began)}")
    return lines


def _entry(log: Log, key: bytes) -> int:
    return next(n for n in range(len(log)) if log.keys[n] == key)
