"""Checks before a load: users' own, those that every load has, and what is told of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Target

LOAD = """
import functools
import pytest
from pytest_certload import PreflightError, Preflight, Scenario, ConstantVUs, ConstantArrivalRate

async def ask(iteration):
    async with iteration.client.get("/fine") as response:
        iteration.expect(response, 200)

{checks}

@pytest.mark.scale(base_url="{base_url}")
async def test_storm(load):
    result = await load.constant_arrival_rate(ask, rate=40, duration=0.5, {options})
    assert result.error_rate < 0.01
"""


@pytest.fixture(autouse=True)
def ini(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")


def run(
    pytester: pytest.Pytester, base_url: str, checks: str, options: str, *arguments: str
) -> pytest.RunResult:
    pytester.makepyfile(
        test_it=LOAD.format(checks=checks, options=options, base_url=base_url),
    )
    return pytester.runpytest("-m", "scale", *arguments)


def made(pytester: pytest.Pytester, name: str = "storm") -> list[dict[str, Any]]:
    document = json.loads((pytester.path / f"results/summary-{name}.json").read_text())
    found: list[dict[str, Any]] = document["proof"]["preflight"]
    return found


STOCK = """
async def stock_is_there(preflight: Preflight):
    async with preflight.client.get("/stock") as response:
        body = await response.json()
    assert (preflight.slots, preflight.rate, preflight.iterations) == (100, 40, 20)
    return f"the server says {body['path']}"
"""


@pytest.mark.parametrize("transport", ["aiohttp", "fast"])
def test_a_check_of_ones_own(pytester: pytest.Pytester, target: Target, transport: str) -> None:
    result = run(
        pytester,
        target.base_url,
        STOCK,
        "preflight=[stock_is_there]",
        f"--certload-transport={transport}",
    )
    result.assert_outcomes(passed=1)
    assert target.seen == ["/stock"] + ["/fine"] * 20
    result.stdout.fnmatch_lines(["  preflight: 5 checks passed in *s"])
    checks = made(pytester)
    assert [c["name"] for c in checks] == [
        "memory",
        "descriptors",
        "ports",
        "reachable",
        "stock-is-there",
    ]
    assert all(c["passed"] and c["seconds"] > 0 for c in checks)
    assert checks[-1]["detail"] == "the server says /stock"
    text = (pytester.path / "results/summary-storm.txt").read_text("utf-8")
    assert "preflight ✓ stock-is-there: the server says /stock" in text


def test_all_that_fail_are_one_error_and_no_load(pytester: pytest.Pytester, target: Target) -> None:
    checks = """
async def stock(preflight):
    raise PreflightError("nothing in stock: fill it with POST /stock")

async def prices(preflight):
    return {}["no such key"]

async def asked(preflight):
    assert preflight.rate == 41

async def database(preflight):
    await preflight.database.fetchval("SELECT 1")

async def again(preflight):
    await preflight.database.fetchval("SELECT 1")

async def server(preflight):
    async with preflight.client.get("http://127.0.0.1:1/"):
        pass

def plain(preflight):
    return "it is not async"

async def holds(preflight):
    return "fine"

async def named(preflight, number):
    raise PreflightError(f"number {number} of two")
"""
    names = "stock, prices, asked, database, again, server, plain, holds"
    result = run(
        pytester,
        target.base_url,
        checks,
        f"preflight=[{names}, functools.partial(named, number=2)]",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *PreflightError: 8 of 13 checks before the load failed",
            "E     stock: nothing in stock: fill it with POST /stock",
            "E     prices: KeyError: 'no such key' (test_it.py:*)",
            "E     asked: AssertionError*(test_it.py:*)",
            "E     database, again: the check asks the database and the test has none: *",
            "E     server: *Cannot connect*(test_it.py:*)",
            "E     plain: the check is not async; write `async def`",
            "E     named: number 2 of two",
        ]
    )
    assert "holds" not in "".join(line for line in result.outlines if line.startswith("E "))
    assert "Traceback" not in result.stdout.str()
    assert target.seen == []
    assert not (pytester.path / "results/summary-storm.json").exists()


REDUCED = """
async def halves(preflight):
    preflight.reduce("the first half alone: the server has no second")
    return "half of it"
"""


def test_a_check_may_say_that_the_load_is_less_than_the_contract(
    pytester: pytest.Pytester, target: Target
) -> None:
    result = run(
        pytester, target.base_url, REDUCED, "preflight=[halves]", "--certload-duration=400ms"
    )
    result.assert_outcomes(passed=1)
    path = pytester.path / "results/summary-storm.json"
    assert json.loads(path.read_text())["reduced"] == [
        "duration 400 ms instead of 500 ms",
        "the first half alone: the server has no second",
    ]
    result.stdout.fnmatch_lines(["*reduced, not the full contract: duration*the first half alone*"])


def test_a_server_that_is_not_there_is_said_once(pytester: pytest.Pytester, target: Target) -> None:
    result = run(pytester, "http://127.0.0.1:9", STOCK, "preflight=[stock_is_there]")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *PreflightError: 1 of 4 checks before the load failed; 1 more need the server and "
            "were not made",
            "E     reachable: http://127.0.0.1:9 cannot be reached (*",
        ]
    )


def test_a_server_without_tls_is_told_from_one_with(
    pytester: pytest.Pytester, target: Target
) -> None:
    result = run(pytester, target.base_url.replace("http:", "https:"), "", "")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E     reachable: No TLS connection to https://127.0.0.1:*"])


def test_without_the_servers_checks_it_is_loaded_as_it_is(
    pytester: pytest.Pytester, target: Target
) -> None:
    checks = 'async def stock(preflight):\n    raise PreflightError("nothing in stock")\n'
    result = run(pytester, target.base_url, checks, "preflight=[stock]", "--certload-preflight=off")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*reduced, not the full contract: preflight left out"])
    assert [c["name"] for c in made(pytester)] == ["memory", "descriptors"]


def test_what_speaks_by_a_client_of_its_own_need_not_be_reachable(
    pytester: pytest.Pytester, target: Target
) -> None:
    source = LOAD.format(
        checks="", options="must_be_answered=False", base_url="http://127.0.0.1:9"
    ).replace('"/fine"', f'"{target.base_url}/fine"')
    pytester.makepyfile(test_it=source)
    pytester.runpytest("-m", "scale").assert_outcomes(passed=1)
    assert [c["name"] for c in made(pytester)] == ["memory", "descriptors", "ports"]


def test_more_than_the_machine_has(pytester: pytest.Pytester, target: Target) -> None:
    result = run(pytester, target.base_url, "", "max_in_flight=10**7")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *PreflightError: 2 of 4 checks before the load failed",
            "E     descriptors: max_in_flight: 10,000,000 connections want *",
            "E     ports: connections: 10,000,000 local ports may be wanted, and *",
        ]
    )
    assert target.seen == []


def test_several_scenarios_are_checked_once_and_together(
    pytester: pytest.Pytester, target: Target
) -> None:
    pytester.makepyfile(
        test_it=LOAD.format(checks="", options="", base_url=target.base_url).partition("@pytest")[0]
        + f"""
seen = []

async def together(preflight):
    seen.append((preflight.slots, preflight.rate, preflight.iterations))

@pytest.mark.scale(base_url="{target.base_url}")
async def test_both(load):
    arrivals = ConstantArrivalRate(rate=40, duration=0.5, max_in_flight=7)
    one, two = (Scenario(name=n, iteration=ask, executor=arrivals) for n in ("one", "two"))
    result = await load.run(one, two, preflight=[together])
    assert result.error_rate < 0.01
    three = Scenario(name="three", iteration=ask, executor=ConstantVUs(vus=3, duration=0.2))
    result = await load.run(one, three, preflight=[together])
    assert result.error_rate < 0.01
    assert seen == [(14, 80, 40), (10, None, None)]
"""
    )
    pytester.runpytest("-m", "scale").assert_outcomes(passed=1)
    for name in ("one", "two", "both", "three"):
        assert [c["name"] for c in made(pytester, name)][-1] == "together"
