"""Did state that is overwritten ever show each acknowledged operation? Readings beside a load.

A heartbeat sets the time of its agent's row, and the next one covers it up. So the rows are read every
few seconds while the load runs. Between the moment an operation was acknowledged and the moment the key's
next one was asked for, a reading must show a time that is new, and no older than the operation.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pytest_certload.errors import ConfigurationError, StackError, StatementError
from pytest_certload.units import Duration, format_duration, parse_duration

from .effects import MOST_EXAMPLES, Pauses, refuse_query
from .findings import EffectsFinding, Proof
from .ledger import Ledger, instant

if TYPE_CHECKING:
    from pytest_certload.database import Database, SessionDatabase

__all__ = ["Operations", "Reading", "Readings", "Sightings", "look_up", "operations"]

Integers = NDArray[np.int64]

#: A key that is not there, or has no time: older than everything.
NEVER = -(2**62)
#: A moment after all others.
END = 2**63 - 1
_PATIENCE = 30.0
#: So often the database's clock is asked for, at most, before an answer that took long is made do with.
_CLOCK_TRIES = 5
#: Few enough that unpacking them holds the generator's event loop up for less than a millisecond.
_ROWS_AT_ONCE = 250
_ROWS = """
SELECT key::text, CASE WHEN isfinite(at) THEN (extract(epoch FROM at) * 1000000)::bigint END
FROM (SELECT key, at::timestamptz FROM (
{sql}
) AS given (key, at)) AS sightings
"""
_CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Everything that was asked for, by key and then in order; moments in nanoseconds.

    Attributes:
        key: Which of ``keys``.
        asked: When it was about to be sent.
        acknowledged: When the answer was there; ``END`` for one that was not acknowledged.
        entry: Its entry among the ledger's acknowledgements; -1 without.
        next_asked: When the key's next one was about to be sent; ``END``: there is none.
        settled: When the last answer to the key's earlier ones was there, as far as one came.
        keys: The keys.
    """

    key: Integers
    asked: Integers
    acknowledged: Integers
    entry: Integers
    next_asked: Integers
    settled: Integers
    keys: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the database showed once.

    Attributes:
        before, after: Between these the state was as it shows, nanoseconds of the engine's clock.
        clock: The database's clock less the engine's, microseconds.
        times: Of each key, by its number: microseconds since 1970, or ``NEVER``. Keys of a later
            reading are not there yet.
    """

    before: int
    after: int
    clock: int
    times: array[int]


@dataclass(frozen=True, kw_only=True)
class Readings:
    """All readings of a load, in order.

    Attributes:
        before, after: Of each one, as in ``Reading``.
        clock: Likewise.
        times: A row for each reading, a column for each key, and a last one of keys that never came.
    """

    before: Integers
    after: Integers
    clock: Integers
    times: Integers

    @classmethod
    def of(cls, readings: Sequence[Reading], keys: int) -> Readings:
        """Join readings of up to so many keys."""
        times = np.full((len(readings), keys + 1), NEVER, dtype=np.int64)
        for row, reading in enumerate(readings):
            times[row, : len(reading.times)] = reading.times
        return cls(
            before=np.array([r.before for r in readings], dtype=np.int64),
            after=np.array([r.after for r in readings], dtype=np.int64),
            clock=np.array([r.clock for r in readings], dtype=np.int64),
            times=times,
        )

    def by_the_database(self, moments: Integers) -> Integers:
        """Moments of the engine's clock by the database's, microseconds since 1970."""
        middle = (self.before + self.after) // 2
        # Both clocks may drift, and one may be set: the nearest readings say by how much.
        return moments // 1000 + np.interp(moments, middle, self.clock).astype(np.int64)


def operations(ledger: Ledger) -> Operations:
    """Pair what was asked for with what was acknowledged.

    Raises:
        ConfigurationError: Something was acknowledged and never asked for.
    """
    asks, answers = ledger.asks, ledger.acknowledgements
    numbers: dict[bytes, int] = {}
    key = np.array(
        [numbers.setdefault(log.keys[n], len(numbers)) for log in (asks, answers) for n in range(len(log))],
        dtype=np.int64,
    )  # fmt: skip
    many = len(asks)
    is_answer = np.arange(len(key)) >= many
    moment = np.concatenate([np.array(log.moments, dtype=np.int64) for log in (asks, answers)])
    iteration = np.concatenate(
        [np.array(log.iterations, dtype=np.int64) for log in (asks, answers)]
    )

    # Within an iteration and a key, an answer follows what was asked.
    order = np.lexsort((is_answer, moment, iteration, key))
    earlier, later = order[:-1], order[1:]
    paired = (
        (~is_answer[earlier] & is_answer[later])
        & (key[earlier] == key[later])
        & (iteration[earlier] == iteration[later])
    )
    ask_of, answer_of = earlier[paired], later[paired]
    if len(answer_of) < len(answers):
        more, alone = _overlapping(
            order, is_answer, key, iteration, taken=np.concatenate([ask_of, answer_of])
        )
        if alone is not None:
            raise ConfigurationError(
                f"ledger {ledger.name}: {answers.keys.shown(alone - many)} was acknowledged without being "
                "asked for in the same iteration; call ledger.asked(key) before the request"
            )
        ask_of, answer_of = (
            np.concatenate(pair) for pair in zip((ask_of, answer_of), more, strict=True)
        )
    entry = np.full(many, -1, dtype=np.int64)
    entry[ask_of] = answer_of - many
    acknowledged = np.full(many, END, dtype=np.int64)
    acknowledged[ask_of] = moment[answer_of]

    order = np.lexsort((moment[:many], key[:many]))
    key, asked, acknowledged, entry = (
        column[order] for column in (key[:many], moment[:many], acknowledged, entry)
    )
    next_asked = np.full(many, END, dtype=np.int64)
    settled = np.full(many, -END, dtype=np.int64)
    same = key[1:] == key[:-1]
    next_asked[:-1][same] = asked[1:][same]
    settled[1:][same] = _latest(key, np.where(entry >= 0, acknowledged, asked))[:-1][same]
    return Operations(
        key=key,
        asked=asked,
        acknowledged=acknowledged,
        entry=entry,
        next_asked=next_asked,
        settled=settled,
        keys=tuple(numbers),
    )


def _overlapping(
    order: Integers,
    is_answer: NDArray[np.bool_],
    key: Integers,
    iteration: Integers,
    *,
    taken: Integers,
) -> tuple[tuple[Integers, Integers], int | None]:
    """Pair answers that do not follow their question at once, as another one of that key was in between.

    Which answer belongs to which of them nobody knows: each takes the latest that is still open.

    Returns:
        Questions and their answers; and the first answer without any, None: each has one.
    """
    left = order[~np.isin(order, taken)]
    asks: list[int] = []
    answers: list[int] = []
    still_open: list[int] = []
    of: tuple[int, int] | None = None
    for position in left.tolist():
        where = (int(key[position]), int(iteration[position]))
        if where != of:
            of, still_open = where, []
        if not is_answer[position]:
            still_open.append(position)
        elif still_open:
            asks.append(still_open.pop())
            answers.append(position)
        else:
            return (left[:0], left[:0]), position
    return (np.array(asks, dtype=np.int64), np.array(answers, dtype=np.int64)), None


def _latest(key: Integers, moment: Integers) -> Integers:
    """The latest moment of each key so far; keys stand together, in order."""
    rank = np.argsort(np.argsort(moment, kind="stable"), kind="stable")
    highest = np.maximum.accumulate(key * len(key) + rank) - key * len(key)
    return np.asarray(np.sort(moment)[highest])


def look_up(
    asked: Operations, columns: Integers, readings: Readings, tolerance: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which operations were seen, and of which a reading could tell; not acknowledged ones: neither.

    Args:
        asked: The operations.
        columns: Of each key, the column of ``readings.times``; -1: it never came.
        readings: What was read.
        tolerance: By how much the clocks of the server and the database may differ, microseconds.
    """
    column = columns[asked.key]
    first = np.searchsorted(readings.before, asked.acknowledged, side="left")
    last = np.searchsorted(readings.after, asked.next_asked, side="right")
    # What it showed before: one that shows the same afterwards was not written.
    previous = np.searchsorted(readings.after, asked.asked, side="right") - 1
    old = np.where(previous >= 0, readings.times[previous, column], NEVER)
    earliest = readings.by_the_database(asked.asked) - tolerance
    seen = np.zeros(len(column), dtype=bool)
    for turn in range(int((last - first).max(initial=0))):
        row = np.minimum(first + turn, len(readings.before) - 1)
        shown = readings.times[row, column]
        seen |= (first + turn < last) & (shown >= earliest) & (shown != old)
    # What showed nothing new is lost; a time that is new must not be an earlier operation's.
    apart = (
        ~seen
        # The earlier one's time may be one tolerance ahead, and this one's one behind.
        | (asked.settled < asked.asked - 2 * tolerance * 1000)
        | ((previous >= 0) & (readings.before[previous] >= asked.settled))
    )
    can_tell = (asked.entry >= 0) & (first < last) & apart
    return seen & can_tell, can_tell


class Sightings:
    """Reads state that is overwritten while a load runs: ``load.watch(sightings)`` before it.

    Every operation must have been asked for and acknowledged in a ledger, by the same keys.

    Args:
        database: Where the state is.
        sql: Query for a row of each key: the key, and a timestamp that every operation sets to its
            own time.
        *args: Its parameters.
        every: How long from one reading to the next; a third of the time between two operations on
            one key, or less.
        tolerance: By how much the clocks of the server and the database may differ; twice as much is
            less than the time between two operations on one key, or a reading lies in between.

    Raises:
        ConfigurationError: ``every`` or ``tolerance`` is no duration.
    """

    def __init__(
        self,
        database: SessionDatabase,
        sql: str,
        *args: object,
        every: object = "8s",
        tolerance: object = "1s",
    ) -> None:
        self._database = database
        self._query = _ROWS.format(sql=sql.rstrip().rstrip(";"))
        self._args = args
        self._every = parse_duration(every, name="every").total_seconds
        if not self._every:
            raise ConfigurationError('every: there is a pause between readings; write "8s"')
        self._tolerance = parse_duration(tolerance, name="tolerance")
        self._columns: dict[str, int] = {}
        self._readings: list[Reading] = []
        self._missing: list[tuple[int, str]] = []
        self._cost = 0.0
        self._over = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    # What a load tells (see ``Witness``).

    async def begin(self) -> None:
        """Read once, and from now on beside the load.

        Raises:
            ConfigurationError: Postgres does not take the query.
        """
        await self._read_once()
        self._watch = asyncio.create_task(self._read_on())

    async def end(self, proof: Proof) -> None:
        """Read a last time. The proof learns of it when the readings are compared with a ledger."""
        self._over.set()
        if self._watch is not None:
            await self._watch
            await self._read_once()

    # Reading.

    async def _read_once(self) -> None:
        """Read over a new connection."""
        with self._reporting():
            async with self._database.connect() as database:
                await self._read(database)

    async def _read_on(self) -> None:
        while not await self._is_over():
            with self._reporting():
                async with self._database.connect() as database:
                    await self._read(database)
                    while not await self._is_over():
                        await self._read(database)

    async def _is_over(self) -> bool:
        """Whether the load is over, after a while."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), self._every)
        return self._over.is_set()

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except StatementError as error:
            if not self._readings:
                refuse_query(error, "Sightings(sql)", "two columns, the key and a timestamp")
            self._missing.append((time.monotonic_ns(), str(error)))
        except TimeoutError:
            reason = f"Postgres did not answer within {_PATIENCE:g} s"
            self._missing.append((time.monotonic_ns(), reason))
        except (StackError, OSError) as error:
            self._missing.append((time.monotonic_ns(), str(error)))

    async def _read(self, database: Database) -> None:
        columns = self._columns
        times = array("q", [NEVER]) * len(columns)
        after = 0

        def take(rows: Sequence[tuple[Any, ...]]) -> None:
            nonlocal after
            after = after or time.monotonic_ns()
            for key, at in rows:
                column = columns.setdefault(key, len(columns))
                if column == len(times):
                    times.append(NEVER)
                if at is not None:
                    times[column] = at

        async with asyncio.timeout(_PATIENCE):
            asked = time.monotonic_ns()
            clock, took = await self._clock(database)
            if took > self._tolerance:
                # Off by as much, times would be taken for earlier or later ones.
                raise StackError(f"Postgres took {format_duration(took)} to tell its time")
            before = time.monotonic_ns()
            await database.stream(take, self._query, *self._args, at_once=_ROWS_AT_ONCE)
        self._cost += (time.monotonic_ns() - asked) / 1e9
        self._readings.append(
            Reading(
                before=before,
                after=after,
                clock=clock,
                times=times,
            )
        )

    async def _clock(self, database: Database) -> tuple[int, int]:
        """The database's clock less ours, microseconds, by the question that took least; and what that took.

        When in that time Postgres looked at its clock is not known. As NTP's clock filter does (RFC 5905,
        10): of several answers, the one with the least delay errs least.
        """
        least, difference = END, 0
        for _ in range(_CLOCK_TRIES):
            asked = time.monotonic_ns()
            clock = await database.fetchval(_CLOCK)
            answered = time.monotonic_ns()
            if answered - asked < least:
                least, difference = answered - asked, clock - (asked + answered) // 2000
            if least <= self._tolerance // 8:
                break
        return difference, least

    # Judging.

    async def prove(self, ledger: Ledger, *, limit: Duration, began: int = 0) -> EffectsFinding:
        """Look up each acknowledged operation, and wait for the last ones that are on their way.

        Args:
            ledger: What was asked for, and acknowledged.
            limit: As long as the last operation on some key was not seen, the state is read again;
                at most so long.
            began: When the measured window began, nanoseconds of the engine's clock.

        Raises:
            ConfigurationError: No load was watched; or something was never asked for.
        """
        if self._watch is None:
            raise ConfigurationError(
                "sightings: no load was watched; call load.watch(sightings) before the load"
            )
        acknowledgements = len(ledger.acknowledgements)
        asked = operations(ledger)
        is_last = (asked.entry >= 0) & (asked.next_asked == END)
        pauses = Pauses(limit)
        while True:
            seen, can_tell = self._look_up(asked)
            if not np.any(is_last & ~seen) or not await pauses.another():
                break
            await self._read_once()
        ledger.compared = acknowledgements
        acknowledged = int(np.count_nonzero(asked.entry >= 0))
        told = int(np.count_nonzero(can_tell))
        present = int(np.count_nonzero(seen))
        return EffectsFinding(
            name=ledger.name,
            acknowledged=acknowledged,
            present=present,
            lost=told - present,
            unseen=acknowledged - told,
            ambiguous=0,
            strangers=None,
            duplicated=0,
            repeated=None,
            examples=tuple(self._examples(ledger, asked, seen, can_tell, began)),
            waited=pauses.waited,
            readings=len(self._readings),
            cost=self._cost,
        )

    def _look_up(self, asked: Operations) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        if not self._readings:
            nothing = np.zeros(len(asked.key), dtype=bool)
            return nothing, nothing
        readings = Readings.of(self._readings, len(self._columns))
        return look_up(asked, self._columns_of(asked), readings, self._tolerance // 1000)

    def _columns_of(self, asked: Operations) -> Integers:
        known = self._columns
        columns = [known.get(key.decode("utf-8", "replace"), -1) for key in asked.keys]
        return np.array(columns, dtype=np.int64)

    def _examples(
        self,
        ledger: Ledger,
        asked: Operations,
        seen: NDArray[np.bool_],
        can_tell: NDArray[np.bool_],
        began: int,
    ) -> list[str]:
        log = ledger.acknowledgements
        lines = []
        lost = np.flatnonzero(can_tell & ~seen)
        for number in lost[np.argsort(asked.asked[lost])][:MOST_EXAMPLES].tolist():
            shown = self._shown(asked, number, began)
            entry = log.describe(int(asked.entry[number]), "acknowledged", began)
            lines.append(f"lost: {entry}; afterwards its row says {shown}")
        unseen = np.flatnonzero((asked.entry >= 0) & ~can_tell)
        for number in unseen[np.argsort(asked.asked[unseen])][:MOST_EXAMPLES].tolist():
            entry = log.describe(int(asked.entry[number]), "acknowledged", began)
            lines.append(f"unseen: {entry}")
        lines += [
            f"no reading {instant(moment - began)}: {reason}"
            for moment, reason in self._missing[:MOST_EXAMPLES]
        ]
        return lines

    def _shown(self, asked: Operations, number: int, began: int) -> str:
        """What the last reading before the key's next operation shows of an operation."""
        column = int(self._columns_of(asked)[asked.key[number]])
        readings = Readings.of(self._readings, len(self._columns))
        row = np.searchsorted(readings.after, asked.next_asked[number], side="right") - 1
        at = int(readings.times[row, column])
        if at == NEVER:
            return "nothing" if column >= 0 else "nothing: there is none"
        ago = int(readings.by_the_database(asked.asked[number : number + 1])[0]) - at
        which = "before" if ago >= 0 else "after"
        return f"a time {format_duration(abs(ago) * 1000)} {which} it was sent"
