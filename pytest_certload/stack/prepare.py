"""What is done to a database of our own, between its migration and its first load?"""

from __future__ import annotations

from collections.abc import Callable, Collection
from time import monotonic

from pytest_certload.database import Database, run_sync

from .model import SeedFile
from .seed import Seed, apply_seed, refresh_seed

__all__ = ["MARK", "finish", "is_marked", "mark_statement", "quoted", "seed_own"]

MARK = "certload"


def quoted(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def mark_statement(database_name: str) -> str:
    """The statement that marks a database as one for load tests."""
    return f"COMMENT ON DATABASE {quoted(database_name)} IS '{MARK}'"


async def is_marked(database: Database) -> bool:
    """Whether the database is marked as one for load tests."""
    comment = await database.fetchval(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database "
        "WHERE datname = current_database()"
    )
    return str(comment or "").startswith(MARK)


def seed_own(
    dsn: str, seeds: tuple[Seed, ...], announce: Callable[[str], None]
) -> tuple[SeedFile, ...]:
    """Mark a database that we made, apply the seeds, and have its statistics taken.

    Raises:
        SeedError: A seed file is refused or leaves another number of rows.
    """
    announce(f"seeding: {', '.join(seed.path.name for seed in seeds)}")
    started = monotonic()
    applied = run_sync(_seed_own(dsn, seeds))
    changed = sum(seed.rows_changed for seed in applied)
    announce(f"seeded: {changed} rows in {monotonic() - started:.1f} s")
    return applied


async def _seed_own(dsn: str, seeds: tuple[Seed, ...]) -> tuple[SeedFile, ...]:
    async with Database.connect(dsn) as database:
        name = str(await database.fetchval("SELECT current_database()"))
        await database.execute(mark_statement(name))
        await database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        applied = await apply_seed(database, seeds)
        # As its clones will be, so that tables and indexes of all of them are alike.
        await refresh_seed(database, seeds)
        # Otherwise autovacuum would do it at some moment of the load, and plans would change.
        await database.execute("VACUUM (ANALYZE)")
    return applied


def finish(dsn: str, asked: Collection[str] = ()) -> tuple[str, dict[str, str]]:
    """Version and settings of the Postgres, for the report: those that were asked for, too."""
    return run_sync(_finish(dsn, asked))


async def _finish(dsn: str, asked: Collection[str]) -> tuple[str, dict[str, str]]:
    async with Database.connect(dsn) as database:
        return await database.version(), await database.settings(asked)
