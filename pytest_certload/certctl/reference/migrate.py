"""How does a database get its schema? Once, however many servers start, and never twice."""

from __future__ import annotations

from importlib import resources
from typing import Any

from .access import grant_roles
from .config import Config

__all__ = ["LOCK", "migrate"]

#: certctl's own advisory lock: neither server migrates while the other does.
LOCK = 7283164759461502341
SCHEMA = "schema.sql"
BASELINE = "baseline.sql"
_VERSIONS = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()
)
"""


async def migrate(connection: Any, config: Config) -> None:
    """Apply the schema if it is not there, the baseline rows, and the keys' roles.

    Args:
        connection: Of asyncpg.
        config: For the keys.

    Raises:
        asyncpg.PostgresError: Postgres refused a statement.
    """
    await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        async with connection.transaction():
            await connection.execute(_VERSIONS)
            applied = await connection.fetchval(
                "INSERT INTO schema_migrations (version) VALUES ($1) "
                "ON CONFLICT (version) DO NOTHING RETURNING version",
                SCHEMA,
            )
            if applied:
                await connection.execute(_read(SCHEMA))
            await connection.execute(_read(BASELINE))
            await grant_roles(connection, config)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
