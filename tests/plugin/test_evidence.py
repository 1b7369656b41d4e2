"""A load on a stack with a database is looked at, unless the options say otherwise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Target

# A stack whose Postgres is not there: that is evidence too, and no failure.
CONFTEST = """
import pytest
from pytest_certload.stack import Endpoint, Stack

@pytest.fixture(scope="session")
def certload_stack():
    return Stack(
        provider="external", reason="", endpoint=Endpoint(base_url="{base_url}"), dsn={dsn!r},
        server="x", is_reference=False, image=None, postgres=None, postgres_settings={{}},
        cpu_count=1, seeds=(),
    )
"""
TEST = """
import pytest

@pytest.mark.scale
async def test_storm(load, certload_stack):
    async def ask(iteration):
        async with iteration.client.get("/x") as response:
            iteration.expect(response, 200)
    await load.constant_arrival_rate(ask, rate=20, duration=0.2)
"""
DEAD = "postgresql://me:secret@127.0.0.1:1/shop"


@pytest.mark.parametrize(
    ("dsn", "arguments", "looked"),
    [
        (DEAD, (), True),
        (DEAD, ("--certload-evidence=on",), True),
        (DEAD, ("--certload-evidence=off",), False),
        (None, (), False),
    ],
)
def test_a_database_is_looked_at(
    pytester: pytest.Pytester,
    target: Target,
    dsn: str | None,
    arguments: tuple[str, ...],
    looked: bool,
) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makeconftest(CONFTEST.format(base_url=target.base_url, dsn=dsn))
    pytester.makepyfile(test_it=TEST)
    result = pytester.runpytest("-m", "scale", *arguments)
    result.assert_outcomes(passed=1)
    text = (pytester.path / "results/summary-storm.json").read_text()
    assert "secret" not in text
    database = json.loads(text)["proof"]["database"]
    assert (database is not None) == looked
    if looked:
        assert database["missing"][0].startswith("the reading before: Postgres at 127.0.0.1:1/shop")
