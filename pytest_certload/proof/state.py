"""From which state of the data did a load start? Its schema and its rows, in one short text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from time import perf_counter
from typing import Any

from pytest_certload.database import Database, SessionDatabase
from pytest_certload.errors import StackError
from pytest_certload.stack.state import settle

from .findings import Proof, StateFinding

__all__ = ["StateWitness", "look"]

DIGEST_SIZE = 6
#: Tables are counted, the smallest first, as long as all of them together are no larger.
MOST_BYTES = 1 << 30
COUNT_SECONDS = 5

_OTHERS = "nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'"
_TABLES = f"""
SELECT CASE nspname WHEN 'public' THEN relname ELSE nspname || '.' || relname END AS name,
    format('%I.%I', nspname, relname) AS quoted, relkind = 'p' AS partitioned,
    pg_relation_size(c.oid) AS size, has_table_privilege(c.oid, 'SELECT') AS readable,
    ARRAY(
        SELECT format('%s %s%s', attname, format_type(atttypid, atttypmod),
            CASE WHEN attnotnull THEN ' NOT NULL' END)
        FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
        ORDER BY attname
    ) AS columns,
    ARRAY(
        SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = c.oid ORDER BY 1
    ) AS indexes
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND {_OTHERS}
ORDER BY size, name
"""


class StateWitness:
    """Looks at the data right before a load, and not again.

    Args:
        database: Where the data is.
        origin: Where its state comes from, in words.
    """

    def __init__(self, database: SessionDatabase, origin: str) -> None:
        self._database = database
        self._origin = origin
        self._finding: StateFinding | None = None

    async def begin(self) -> None:
        """Look."""
        try:
            async with self._database.connect() as database:
                self._finding = await look(database, self._origin)
        except StackError as error:
            self._finding = StateFinding(
                fingerprint=None, rows={}, origin=self._origin, cost=0.0, missing=(str(error),)
            )

    async def end(self, proof: Proof) -> None:
        """Tell."""
        proof.state = self._finding


async def look(database: Database, origin: str) -> StateFinding:
    """Schema and row counts, once nobody writes any more (two seconds are waited at most).

    Raises:
        StackError: Postgres cannot be asked.
    """
    await settle(database)
    began = perf_counter()
    tables = await database.fetch(_TABLES)
    counted, missing = _choose(tables)
    rows: Mapping[str, int] = {}
    if counted:
        try:
            rows = await _count(database, counted)
        except StackError as error:
            missing.append(f"rows: {error}")
    schema = sorted([str(t["name"]), list(t["columns"]), list(t["indexes"])] for t in tables)
    known = json.dumps([schema, sorted(rows.items())]).encode()
    return StateFinding(
        fingerprint=blake2b(known, digest_size=DIGEST_SIZE).hexdigest(),
        rows={name: count for name, count in sorted(rows.items()) if count},
        origin=origin,
        cost=perf_counter() - began,
        missing=tuple(missing),
    )


def _choose(tables: list[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The tables to count, and why others are not."""
    counted, missing, size = [], [], 0
    for table in tables:
        size += table["size"]
        if table["partitioned"]:
            # Its rows are those of its parts.
            continue
        if not table["readable"]:
            missing.append(f"rows of {table['name']}: this user may not read it")
        elif size > MOST_BYTES:
            missing.append(f"rows of {table['name']}: too large to be counted before each load")
        else:
            counted.append(table)
    return counted, missing


async def _count(database: Database, tables: list[Mapping[str, Any]]) -> Mapping[str, int]:
    """All in one statement, so that the numbers are of one moment."""
    parts = [f"SELECT {n} AS number, count(*) FROM {t['quoted']}" for n, t in enumerate(tables)]
    async with database.transaction():
        await database.execute(f"SET LOCAL statement_timeout = {COUNT_SECONDS * 1000:.0f}")
        found = await database.fetch(" UNION ALL ".join(parts))
    return {str(tables[row["number"]]["name"]): int(row["count"]) for row in found}
