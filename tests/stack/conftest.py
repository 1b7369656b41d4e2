"""A Postgres for the whole folder, with a fresh database for each test that asks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import asyncpg
import pytest

from pytest_certload.certctl.product import environment
from pytest_certload.certctl.reference.config import read_config
from pytest_certload.certctl.reference.migrate import migrate
from pytest_certload.database import Database, run_sync
from pytest_certload.stack import ServerSetup
from pytest_certload.stack.postgres import find_binaries, run_cluster
from pytest_certload.stack.processes import open_workspace
from tests.inner.fixture import unhurried

__all__ = ["unhurried"]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """DSN of a cluster's first database; leave that one as it is."""
    with (
        open_workspace() as workspace,
        run_cluster(
            workspace,
            find_binaries(None),
            boot_timeout=60,
            announce=lambda _: None,
            # It would write, and be counted, whenever it likes.
            settings={"autovacuum": "off"},
        ) as cluster,
    ):
        yield cluster.dsn


def with_database(dsn: str, name: str) -> str:
    """The DSN of another database of the same cluster."""
    address, _, parameters = dsn.partition("?")
    return f"{address.rpartition('/')[0]}/{name}?{parameters}"


async def _execute(dsn: str, *statements: str) -> None:
    async with Database.connect(dsn) as database:
        for statement in statements:
            await database.execute(statement)


NewDatabase = Callable[[str | None], str]


@pytest.fixture(scope="session")
def new_database(postgres: str) -> NewDatabase:
    """Makes a database, a copy of the named one or empty, and gives its DSN."""

    def make(template: str | None) -> str:
        name = f"test_{next(_numbers)}"
        copy = f" TEMPLATE {template}" if template else ""
        run_sync(_execute(postgres, f"CREATE DATABASE {name}{copy}"))
        return with_database(postgres, name)

    return make


@pytest.fixture(scope="session")
def migrated(new_database: NewDatabase) -> str:
    """Name of a database with certctl's schema and no seeds, to be copied."""
    dsn = new_database(None)
    setup = ServerSetup(
        host="127.0.0.1",
        port=1,
        cert_path="-",
        key_path="-",
        database_url=dsn,
        token="t" * 32,
        secret="s" * 32,
    )

    async def make() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await migrate(connection, read_config(environment(setup)))
        finally:
            await connection.close()

    run_sync(make())
    return dsn.partition("?")[0].rpartition("/")[2]


@pytest.fixture
def empty_database(new_database: NewDatabase) -> str:
    """DSN of a new, empty database."""
    return new_database(None)


@pytest.fixture
def certctl_database(new_database: NewDatabase, migrated: str) -> str:
    """DSN of a new database with certctl's schema and without seeds."""
    return new_database(migrated)
