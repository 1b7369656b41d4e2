"""Conditions that the samples cannot decide, end to end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Target


@pytest.fixture
def storm(pytester: pytest.Pytester, target: Target) -> None:
    """Loads of 40 iterations: the tenth of them take 200 ms, so p90 lies between the two kinds."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(
        test_it=f"""
        import pytest
        from pytest_certload import seconds

        async def ask(iteration):
            slow = iteration.index % 10 == 9
            async with iteration.client.get("/slow/200" if slow else "/fine") as response:
                iteration.expect(response, 200)

        async def run(load):
            return await load.constant_arrival_rate(ask, rate=80, duration="0.5s")

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_near(load):
            result = await run(load)
            assert result.error_rate < 0.5
            # Between two that were measured, whatever the machine did.
            limit = (float(result.p90) + float(result.max)) / 2
            assert result.p90 < seconds(limit)

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_few(load):
            result = await run(load)
            assert result.error_rate < 0.5
            assert result.p99 < seconds(50)

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_bare(load):
            result = await run(load)
            assert result.error_rate < 0.5
            assert float(result.p99) < 50
        """
    )


def summary(pytester: pytest.Pytester, name: str) -> dict[str, Any]:
    path = pytester.path / "results" / f"summary-{name}.json"
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


@pytest.mark.usefixtures("storm")
@pytest.mark.parametrize(("undecided", "passed"), [("warn", 1), ("fail", 0), ("pass", 1)])
def test_an_option_says_what_becomes_of_it(
    pytester: pytest.Pytester, undecided: str, passed: int
) -> None:
    result = pytester.runpytest("-m", "scale", "-k", "near", f"--certload-undecided={undecided}")
    result.assert_outcomes(passed=passed, failed=1 - passed)
    *_, threshold = summary(pytester, "near")["thresholds"]
    assert threshold["metric"] == "response time p90"
    assert threshold["passed"] is bool(passed)
    assert threshold["decided"] is False
    mark = "[?]" if passed else "✗"
    result.stdout.fnmatch_lines(
        [f"*{mark} response time p90 < *s (*s; *; not decided by so few samples)"]
    )
    if not passed:
        result.stdout.fnmatch_lines(
            ["E *p90 = *s (*95 % sure), wanted < *s; not decided by so few samples"]
        )


@pytest.mark.usefixtures("storm")
def test_too_few_samples_are_no_number(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("-m", "scale", "-k", "few or bare")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *ValueError: response time p99: p99 needs 100 samples, not 40",
            "*[?] response time p99 < 50 s (*s, the longest: p99 needs 100 samples, not 40; not decided *",
        ]
    )
    figures = summary(pytester, "few")["iterations"]
    assert figures["response_time"]["p99"] is None
    assert figures["response_time"]["p95"] >= 200_000_000
    assert [i["percent"] for i in figures["intervals"]] == [50, 90, 95]
    fifty = figures["intervals"][0]
    median = figures["response_time"]["p50"]
    # So few may bound it on neither side.
    assert fifty["low"] is None or fifty["low"] <= median
    assert fifty["high"] is None or fifty["high"] >= median
