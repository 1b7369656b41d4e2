"""The fixtures that bring the stack, as a user's own test has them."""

from __future__ import annotations

import pytest

from tests.inner.fixture import unhurried

__all__ = ["unhurried"]

SOURCE = """
import pytest
from pytest_certload import ms, seconds


@pytest.mark.asyncio
async def test_without_load(certload_stack, certload_database, certctl):
    assert certload_stack.provider == "embedded"
    assert await certload_database.fetchval("SELECT count(*) FROM agents") == 5000
    assert len(await certctl.certificates()) == 10000
    async with certload_database.connect() as connection:
        async with connection.transaction():
            await connection.execute("CREATE TABLE mine (id int)")
    assert await certload_database.fetch("SELECT id FROM mine") == []
    assert await certload_database.execute("INSERT INTO mine VALUES (1)") == "INSERT 0 1"


@pytest.mark.scale
async def test_with_load(load, certload_stack):
    async def version(iteration):
        async with iteration.client.get("/api/v1/auth/check") as response:
            iteration.expect(response, 200)

    result = await load.constant_arrival_rate(version, rate=20, duration=1)
    assert result.p95 < seconds(25)
    assert result.error_rate < 0.01
"""


def test_a_test_of_ones_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SOURCE)
    result = pytester.runpytest_subprocess("-m", "scale or asyncio", "--certload-stack=embedded")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["certload: ready on the embedded stack: *"])
    assert result.stdout.str().count("making a cluster") == 1, "one stack for the session"


def test_without_a_database_the_remedy_is_named(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest
        from types import SimpleNamespace

        @pytest.fixture(scope="session")
        def certload_stack():
            return SimpleNamespace(dsn=None)
        """
    )
    pytester.makepyfile(
        """
        def test_database(certload_database): ...
        def test_certctl(certctl): ...
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["*the test asks the database and the external stack has none: set --certload-dsn*"]
    )
    result.stdout.fnmatch_lines(["*the scenarios prove their work*set --certload-dsn*"])
