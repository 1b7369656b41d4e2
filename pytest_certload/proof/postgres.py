"""What does Postgres say of a load? A reading before, looks while it runs, a reading after."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic

from pytest_certload.database import APPLICATION, Database, SessionDatabase
from pytest_certload.errors import StackError

from .counters import Counters, Statement, Table, differences, read_counters
from .findings import DatabaseFinding, Proof, StatementFinding, TableFinding
from .looks import Looks

__all__ = ["DatabaseWitness"]

_READ_SECONDS = 10.0
_POLL_SECONDS = 0.2
_MOST_STATEMENTS = 20
_MOST_TABLES = 20
_QUERY_LENGTH = 300
# A connection tells its figures when it falls idle, a second after the last time at the earliest;
# what it kept to itself it tells when it has been idle for ten seconds.
_REPORT_SECONDS = 10.5
_LEAST_PATIENCE = 1.0
_PATIENCE_SHARE = 0.1
_RESTLESS = f"""
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> '{APPLICATION}'
  AND coalesce(state_change > clock_timestamp() - $1 * interval '1 second', true)
"""


class DatabaseWitness:
    """Reads Postgres's own figures of one load.

    Its connections are its own, outside of the server's pool. What it costs is in the finding.

    Args:
        database: The server's.
    """

    def __init__(self, database: SessionDatabase) -> None:
        self._database = database
        self._looks = Looks(database)
        self._began = monotonic()
        self._before: Counters | None = None
        self._missing: list[str] = []

    async def begin(self) -> None:
        """Read, and begin to look."""
        self._before = await self._read("the reading before", closing=False)
        self._began = monotonic()
        self._looks.start()

    async def end(self, proof: Proof) -> None:
        """Read again; then wait a while for the figures that connections still keep to themselves.

        The wait is a tenth of the load, and 11 s at most: as long as an idle connection takes.
        """
        seconds = monotonic() - self._began
        await self._looks.stop()
        first = await self._read("the reading after", closing=True)
        # What is asked from now on disturbs no load, and does not count as the price.
        looked = self._since_begin(first)
        proof.database = self._finding(seconds, looked, looked)
        if first is None:
            return
        patience = min(max(seconds * _PATIENCE_SHARE, _LEAST_PATIENCE), _REPORT_SECONDS + 0.5)
        restless = await self._wait_for_figures(patience)
        last = await self._read("the last reading", closing=True) or first
        if restless is None:
            self._missing.append(
                "figures of the last second: Postgres did not say within "
                f"{patience:.0f} s whether connections keep some to themselves"
            )
        elif restless:
            self._missing.append(
                f"figures of the last second: {restless} connections kept some to themselves; they "
                f"tell them when they have been idle for 10 s, and {patience:.0f} s were waited, a "
                "tenth of the load"
            )
        proof.database = self._finding(seconds, looked, self._since_begin(last))

    async def _read(self, what: str, *, closing: bool) -> Counters | None:
        try:
            async with asyncio.timeout(_READ_SECONDS), self._database.connect() as database:
                return await read_counters(database, closing=closing)
        except StackError as error:
            self._missing.append(f"{what}: {error}")
        except TimeoutError:
            self._missing.append(f"{what}: Postgres does not answer within {_READ_SECONDS:g} s")
        return None

    async def _wait_for_figures(self, patience: float) -> int | None:
        """Wait until all connections have told their figures; how many may not have, None: not known."""
        restless: int | None = None
        try:
            async with asyncio.timeout(patience), self._database.connect() as database:
                while True:
                    restless = await _restless(database)
                    if not restless:
                        break
                    await asyncio.sleep(_POLL_SECONDS)
        except StackError as error:
            self._missing.append(f"the figures of the last second: {error}")
        except TimeoutError:
            return restless
        return 0

    def _since_begin(self, counters: Counters | None) -> Counters:
        if self._before is None or counters is None:
            return Counters()
        return differences(self._before, counters, lost=self._looks.interrupted)

    def _finding(self, seconds: float, looked: Counters, counted: Counters) -> DatabaseFinding:
        looks = self._looks
        own = looked.statements
        cost = looks.seconds if own is None else sum(s.seconds for s in own.values() if s.ours)
        database = _without_ours(counted)
        io, wal = counted.io or {}, counted.wal or {}
        actives = [moment.active for moment in looks.moments]
        return DatabaseFinding(
            seconds=seconds,
            settings=counted.settings,
            commits=database.get("commits"),
            rollbacks=database.get("rollbacks"),
            deadlocks=database.get("deadlocks"),
            cache_hit_share=_hit_share(database),
            read_bytes=io.get("read"),
            written_bytes=io.get("written"),
            wal_bytes=wal.get("bytes"),
            wal_records=wal.get("records"),
            wal_full_pages=wal.get("full_pages"),
            statements=_statements(counted.statements),
            statement_seconds=_statement_seconds(counted.statements),
            tables=_tables(counted.tables or {}),
            waits=looks.waits(),
            moments=tuple(looks.moments),
            active_mean=sum(actives) / len(actives) if actives else None,
            active_peak=max(actives, default=None),
            blocked_peak=max((moment.blocked for moment in looks.moments), default=None),
            cost=cost,
            cost_share=cost / seconds if seconds else 0.0,
            missing=tuple(dict.fromkeys((*self._missing, *looks.missing, *counted.missing))),
        )


async def _restless(database: Database) -> int:
    """How many of the server's connections may not have told their figures yet."""
    return int(await database.fetchval(_RESTLESS, _REPORT_SECONDS))


def _without_ours(counted: Counters) -> Mapping[str, int]:
    """The figures of pg_stat_database without our own questions, each of which is a transaction."""
    figures = dict(counted.database or {})
    ours = [s for s in (counted.statements or {}).values() if s.ours]
    parts = {"commits": "calls", "hits": "hits", "misses": "misses"}
    for name, part in parts.items():
        if name in figures:
            own: int = sum(getattr(statement, part) for statement in ours)
            figures[name] = max(0, figures[name] - own)
    return figures


def _hit_share(figures: Mapping[str, int]) -> float | None:
    asked = figures.get("hits", 0) + figures.get("misses", 0)
    return figures["hits"] / asked if asked else None


def _theirs(statements: Mapping[object, Statement]) -> list[Statement]:
    return [s for s in statements.values() if s.calls and not s.ours]


def _statement_seconds(statements: Mapping[object, Statement] | None) -> float | None:
    return None if statements is None else sum(s.seconds for s in _theirs(statements))


def _statements(statements: Mapping[object, Statement] | None) -> tuple[StatementFinding, ...]:
    longest = sorted(_theirs(statements or {}), key=lambda s: -s.seconds)[:_MOST_STATEMENTS]
    return tuple(
        StatementFinding(
            query=_shortened(s.query),
            calls=s.calls,
            seconds=s.seconds,
            rows=s.rows,
            wal_bytes=s.wal_bytes,
        )
        for s in longest
    )


def _shortened(query: str) -> str:
    line = " ".join(query.split())
    return line if len(line) <= _QUERY_LENGTH else f"{line[: _QUERY_LENGTH - 1]}…"


def _tables(tables: Mapping[str, Table]) -> tuple[TableFinding, ...]:
    def changes(table: Table) -> int:
        return table.inserted + table.updated + table.deleted

    changed = sorted(
        ((name, table) for name, table in tables.items() if changes(table)),
        key=lambda pair: -changes(pair[1]),
    )
    return tuple(
        TableFinding(
            name=name,
            inserted=table.inserted,
            updated=table.updated,
            deleted=table.deleted,
            hot_share=table.hot / table.updated if table.updated else None,
            dead=table.dead,
            table_growth=table.table_size,
            index_growth=table.index_size,
        )
        for name, table in changed[:_MOST_TABLES]
    )
