"""What was counted between two readings is their difference, unless somebody began again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.database import TAG
from pytest_certload.proof.counters import Counters, Statement, Table, differences

numbers = st.integers(0, 10**12)
names = st.sampled_from(["agents", "jobs", "audit_events"])
figures = st.dictionaries(st.sampled_from(["commits", "hits", "misses"]), numbers)
tables = st.builds(
    Table,
    **dict.fromkeys(
        ("inserted", "updated", "deleted", "hot", "dead", "table_size", "index_size"), numbers
    ),
)
statements = st.builds(
    Statement,
    query=st.sampled_from(["SELECT 1", f"SELECT 2\n{TAG}"]),
    calls=numbers,
    seconds=st.integers(0, 10**6).map(float),
    rows=numbers,
    wal_bytes=numbers,
    hits=numbers,
    misses=numbers,
)
readings = st.builds(
    Counters,
    database=figures,
    wal=figures,
    tables=st.dictionaries(names, tables),
    statements=st.dictionaries(st.integers(1, 3), statements),
    resets=st.just({"pg_stat_database": "yesterday", "pg_stat_wal": "yesterday"}),
)


def plus(old: Counters, new: Counters) -> Counters:
    """A reading in which ``new`` has been counted since ``old``; sizes are those of ``new``."""
    assert None not in (old.database, old.wal, old.tables, old.statements)
    assert None not in (new.database, new.wal, new.tables, new.statements)

    def table(name: str, counted: Table) -> Table:
        before = (old.tables or {}).get(name, Table())
        return Table(
            inserted=before.inserted + counted.inserted,
            updated=before.updated + counted.updated,
            deleted=before.deleted + counted.deleted,
            hot=before.hot + counted.hot,
            dead=counted.dead,
            table_size=before.table_size + counted.table_size,
            index_size=before.index_size + counted.index_size,
        )

    def statement(key: object, counted: Statement) -> Statement:
        before = (old.statements or {}).get(key, Statement(query=""))
        return Statement(
            query=counted.query,
            calls=before.calls + counted.calls,
            seconds=before.seconds + counted.seconds,
            rows=before.rows + counted.rows,
            wal_bytes=before.wal_bytes + counted.wal_bytes,
            hits=before.hits + counted.hits,
            misses=before.misses + counted.misses,
        )

    return replace(
        new,
        database={k: v + (old.database or {}).get(k, 0) for k, v in (new.database or {}).items()},
        wal={k: v + (old.wal or {}).get(k, 0) for k, v in (new.wal or {}).items()},
        tables={k: table(k, v) for k, v in (new.tables or {}).items()},
        statements={k: statement(k, v) for k, v in (new.statements or {}).items()},
    )


@given(readings, readings)
def test_what_was_counted_is_the_difference(before: Counters, counted: Counters) -> None:
    assert differences(before, plus(before, counted)) == counted


@given(readings, readings)
def test_no_figure_is_negative_whatever_was_reset(before: Counters, after: Counters) -> None:
    found = differences(before, after)
    for group in (found.database, found.wal):
        assert all(value >= 0 for value in (group or {}).values())
    for table in (found.tables or {}).values():
        assert min(table.inserted, table.updated, table.deleted, table.hot) >= 0
    for statement in (found.statements or {}).values():
        assert min(statement.calls, statement.seconds, statement.rows, statement.wal_bytes) >= 0


def test_a_reset_is_said_and_counts_from_there() -> None:
    before = Counters(wal={"bytes": 100}, resets={"pg_stat_wal": "yesterday"})
    after = Counters(wal={"bytes": 130}, resets={"pg_stat_wal": "just now"})
    found = differences(before, after)
    assert found.wal == {"bytes": 130}
    assert found.missing == ("pg_stat_wal: was reset during the load, and counts from then on",)


def test_after_a_crash_everything_counts_from_zero() -> None:
    before = Counters(
        database={"commits": 5}, tables={"jobs": Table(inserted=5)}, resets={"pg_stat_wal": "a"}
    )
    after = Counters(
        database={"commits": 9}, tables={"jobs": Table(inserted=9)}, resets={"pg_stat_wal": "b"}
    )
    assert differences(before, after).database == {"commits": 4}
    crashed = differences(before, after, lost=True)
    assert crashed.database == {"commits": 9}
    assert crashed.tables == {"jobs": Table(inserted=9)}


@pytest.mark.parametrize("part", ["database", "wal", "io", "statements", "tables"])
def test_what_one_reading_lacks_is_not_known(part: str) -> None:
    lacking = Counters(missing=(f"{part}: permission denied",))
    read: dict[str, Any] = {part: {}}
    found = differences(lacking, Counters(**read))
    assert getattr(found, part) is None
    assert found.missing == (f"{part}: permission denied",)
