"""What do Postgres's counters say, and what did they count between two readings?

All of them count from some moment on, so a load is the difference of two readings. What cannot be
read, on this version or by this user, is left out, and said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pytest_certload.database import TAG, Database, StatementError

__all__ = ["Counters", "Statement", "Table", "differences", "read_counters"]

T = TypeVar("T")

# Otherwise one question may see another one's snapshot of the figures, or start workers.
_SESSION = """
SELECT set_config('stats_fetch_consistency', 'none', false),
       set_config('statement_timeout', '5s', false),
       set_config('max_parallel_workers_per_gather', '0', false)
"""
# What is the same for every cluster that is set up alike: no paths, no ports, nothing of ours.
_SETTINGS = """
SELECT name, setting FROM pg_settings
WHERE source NOT IN ('default', 'override', 'client', 'session')
  AND name NOT IN ('port', 'listen_addresses', 'unix_socket_directories', 'cluster_name')
  AND name !~ '_(file|directory)$'
ORDER BY name
"""
_DATABASE = """
SELECT xact_commit AS commits, xact_rollback AS rollbacks, deadlocks,
       blks_hit AS hits, blks_read AS misses, stats_reset::text
FROM pg_stat_database WHERE datname = current_database()
"""
_WAL = """
SELECT wal_bytes AS bytes, wal_records AS records, wal_fpi AS full_pages, stats_reset::text
FROM pg_stat_wal
"""
_COLUMNS_OF_IO = """
SELECT attname::text FROM pg_attribute
WHERE attrelid = to_regclass('pg_catalog.pg_stat_io') AND attnum > 0
"""
_IO = """
SELECT sum({read}) AS read, sum({written}) AS written, max(stats_reset)::text AS stats_reset
FROM pg_stat_io WHERE backend_type = 'client backend' AND object <> 'wal'
"""
_HOME_OF_STATEMENTS = """
SELECT quote_ident(n.nspname)
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements'
"""
_STATEMENTS = """
SELECT s.userid::bigint, s.queryid, s.toplevel, s.query, s.calls, s.rows,
       s.total_plan_time + s.total_exec_time AS milliseconds, s.wal_bytes,
       s.shared_blks_hit AS hits, s.shared_blks_read AS misses, i.stats_reset::text
FROM {home}.pg_stat_statements s
JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()
CROSS JOIN {home}.pg_stat_statements_info i
"""
_TABLES = """
SELECT CASE schemaname WHEN 'public' THEN '' ELSE schemaname || '.' END || relname AS name,
       n_tup_ins AS inserted, n_tup_upd AS updated, n_tup_del AS deleted, n_tup_hot_upd AS hot,
       n_dead_tup AS dead, pg_table_size(relid) AS table_size, pg_indexes_size(relid) AS index_size
FROM pg_stat_user_tables
"""
_REMEDY = "SELECT 'GRANT pg_read_all_stats TO ' || quote_ident(current_user)"
_HIDDEN = "<insufficient privilege>"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What one statement came to. Seconds, octets; hits and misses are pages of the cache."""

    query: str
    calls: int = 0
    seconds: float = 0.0
    rows: int = 0
    wal_bytes: int = 0
    hits: int = 0
    misses: int = 0

    @property
    def ours(self) -> bool:
        """Whether it is a question of this package."""
        return self.query.endswith(TAG)


@dataclass(frozen=True, kw_only=True)
class Table:
    """What became of one table: rows, and octets."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    hot: int = 0
    dead: int = 0
    table_size: int = 0
    index_size: int = 0


@dataclass(frozen=True, kw_only=True)
class Counters:
    """One reading. None is what could not be read; ``missing`` says why.

    Attributes:
        settings: Twelve hex digits of the settings that are not the default.
        database, wal, io: The figures of pg_stat_database, pg_stat_wal and pg_stat_io.
        statements: By user, query and level.
        tables: By name.
        resets: When each source began to count, as Postgres says it.
        missing: What could not be read, and why.
    """

    settings: str | None = None
    database: Mapping[str, int] | None = None
    wal: Mapping[str, int] | None = None
    io: Mapping[str, int] | None = None
    statements: Mapping[object, Statement] | None = None
    tables: Mapping[str, Table] | None = None
    resets: Mapping[str, str | None] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


async def read_counters(database: Database, *, closing: bool = False) -> Counters:
    """Read all there is.

    Args:
        closing: It is the reading after. Statements and transactions are read nearest to the load,
            so that the rest of a reading is not taken for a part of it.

    Raises:
        StackError: The connection was lost.
    """
    await database.fetch(_SESSION)
    reader = _Reader(database)
    if closing:
        # First of all: the rest is not to be taken for the load's.
        statements = await reader.attempt("pg_stat_statements", reader.statements)
        transactions = await reader.attempt("pg_stat_database", reader.transactions)
    settings = await reader.attempt("settings", reader.settings)
    wal = await reader.attempt("pg_stat_wal", reader.wal)
    io = await reader.attempt("pg_stat_io", reader.io)
    tables = await reader.attempt("tables", reader.tables)
    if not closing:
        transactions = await reader.attempt("pg_stat_database", reader.transactions)
        statements = await reader.attempt("pg_stat_statements", reader.statements)
    return Counters(
        settings=settings,
        database=transactions,
        wal=wal,
        io=io,
        statements=statements,
        tables=tables,
        resets=reader.resets,
        missing=tuple(reader.missing),
    )


class _NotThere(Exception):
    """A source that this Postgres does not have."""


class _Reader:
    """Reads one source after the other, and notes what it cannot read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.resets: dict[str, str | None] = {}
        self.missing: list[str] = []

    async def attempt(self, what: str, read: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await read()
        except StatementError as error:
            self.missing.append(f"{what}: {error.reason} (SQLSTATE {error.sqlstate})")
        except _NotThere as error:
            self.missing.append(f"{what}: {error}")
        return None

    async def settings(self) -> str:
        rows = await self._database.fetch(_SETTINGS)
        text = "\n".join(f"{row['name']}={row['setting']}" for row in rows)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    async def transactions(self) -> Mapping[str, int]:
        # What this connection has asked so far is to be in the figures of both readings.
        await self._database.fetch("SELECT pg_stat_force_next_flush()")
        return await self._figures("pg_stat_database", _DATABASE)

    async def wal(self) -> Mapping[str, int]:
        return await self._figures("pg_stat_wal", _WAL)

    async def io(self) -> Mapping[str, int]:
        columns = {row["attname"] for row in await self._database.fetch(_COLUMNS_OF_IO)}
        return await self._figures("pg_stat_io", _IO.format(**_io_columns(columns)))

    async def statements(self) -> Mapping[object, Statement]:
        home = await self._database.fetchval(_HOME_OF_STATEMENTS)
        if home is None:
            raise _NotThere("the extension is not in this database; CREATE EXTENSION it there")
        rows = await self._database.fetch(_STATEMENTS.format(home=home))
        self.resets["pg_stat_statements"] = rows[0]["stats_reset"] if rows else None
        if any(row["query"] == _HIDDEN for row in rows):
            remedy = await self._database.fetchval(_REMEDY)
            self.missing.append(f"pg_stat_statements: texts are hidden; {remedy}")
        return {
            (row["userid"], row["queryid"], row["toplevel"]): _statement(row)
            for row in rows
            if row["queryid"] is not None
        }

    async def tables(self) -> Mapping[str, Table]:
        # A table that was dropped meanwhile has no size.
        return {
            str(row["name"]): Table(**{k: int(v or 0) for k, v in row.items() if k != "name"})
            for row in await self._database.fetch(_TABLES)
        }

    async def _figures(self, source: str, sql: str) -> Mapping[str, int]:
        (row,) = await self._database.fetch(sql)
        self.resets[source] = row["stats_reset"]
        return {k: int(v or 0) for k, v in row.items() if k != "stats_reset"}


def _io_columns(columns: set[str]) -> Mapping[str, str]:
    if not columns:
        raise _NotThere("this Postgres has none, version 16 has")
    if "read_bytes" in columns:
        return {
            "read": "coalesce(read_bytes, 0)",
            "written": "coalesce(write_bytes, 0) + coalesce(extend_bytes, 0)",
        }
    return {
        "read": "coalesce(reads, 0) * op_bytes",
        "written": "(coalesce(writes, 0) + coalesce(extends, 0)) * op_bytes",
    }


def _statement(row: Mapping[str, Any]) -> Statement:
    return Statement(
        query=row["query"] or "",
        calls=row["calls"],
        seconds=row["milliseconds"] / 1000,
        rows=row["rows"],
        wal_bytes=int(row["wal_bytes"]),
        hits=row["hits"],
        misses=row["misses"],
    )


def differences(before: Counters, after: Counters, *, lost: bool = False) -> Counters:
    """What was counted between two readings; of tables, ``dead`` is that of the second.

    A source that was reset between them counts from the reset on, and that is said.

    Args:
        lost: Whether a connection was lost between them: Postgres may have crashed, and counts from
            zero then.
    """
    crashed = lost and _reset("pg_stat_wal", before, after)
    missing = [*before.missing, *after.missing]

    def base(source: str, old: Mapping[Any, T], new: Mapping[Any, T]) -> Mapping[Any, T]:
        """The first reading without what began again since."""
        if crashed or _reset(source, before, after):
            missing.append(f"{source}: was reset during the load, and counts from then on")
            return {}
        begun_again = {key for key in old.keys() & new.keys() if _fell(old[key], new[key])}
        if begun_again:
            missing.append(f"{source}: {len(begun_again)} began again during the load")
        return {key: value for key, value in old.items() if key not in begun_again}

    def plain(
        source: str, old: Mapping[str, int] | None, new: Mapping[str, int] | None
    ) -> Mapping[str, int] | None:
        if old is None or new is None:
            return None
        old = base(source, old, new)
        return {name: value - old.get(name, 0) for name, value in new.items()}

    statements: dict[object, Statement] | None = None
    if before.statements is not None and after.statements is not None:
        first = base("pg_stat_statements", before.statements, after.statements)
        statements = {
            key: _since(first.get(key, Statement(query="")), new)
            for key, new in after.statements.items()
        }
    tables: dict[str, Table] | None = None
    if before.tables is not None and after.tables is not None:
        counted = base("tables", before.tables, after.tables)
        tables = {
            name: replace(
                _since(counted.get(name, Table()), new),
                dead=new.dead,
                # A size is no counter: it is what it is.
                table_size=new.table_size - before.tables.get(name, Table()).table_size,
                index_size=new.index_size - before.tables.get(name, Table()).index_size,
            )
            for name, new in after.tables.items()
        }
    return Counters(
        settings=after.settings,
        database=plain("pg_stat_database", before.database, after.database),
        wal=plain("pg_stat_wal", before.wal, after.wal),
        io=plain("pg_stat_io", before.io, after.io),
        statements=statements,
        tables=tables,
        resets=after.resets,
        missing=tuple(dict.fromkeys(missing)),
    )


def _reset(source: str, before: Counters, after: Counters) -> bool:
    return before.resets.get(source) != after.resets.get(source)


_GAUGES = frozenset({"dead", "table_size", "index_size"})


def _numbers(value: object) -> Mapping[str, float]:
    """The counters of a statement or a table, by name; a plain number is one counter."""
    if isinstance(value, (int, float)):
        return {"": value}
    return {
        name: number
        for name, number in vars(value).items()
        if isinstance(number, (int, float)) and name not in _GAUGES
    }


def _fell(old: object, new: object) -> bool:
    """Whether a counter is lower than it was."""
    before = _numbers(old)
    return any(number < before[name] for name, number in _numbers(new).items())


R = TypeVar("R", Statement, Table)


def _since(old: R, new: R) -> R:
    before = _numbers(old)
    counted: dict[str, Any] = {name: n - before[name] for name, n in _numbers(new).items()}
    return replace(new, **counted)
