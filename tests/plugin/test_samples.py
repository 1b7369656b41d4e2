"""Samples that are sketched instead of kept, end to end."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Target


@pytest.fixture
def storm(pytester: pytest.Pytester, target: Target) -> Target:
    """A load test of 0.5 s at 40/s with a step, one of two scenarios, and one that looks at samples."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(
        test_it=f"""
        import pytest
        from pytest_certload import ConstantArrivalRate, Scenario, ms, seconds

        async def ask(iteration):
            async with iteration.step("get"), iteration.client.get("/slow/5") as response:
                iteration.expect(response, 200)

        async def refused(iteration):
            async with iteration.step("pay"), iteration.client.get("/status/402") as response:
                iteration.expect(response, 200)

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_storm(load):
            result = await load.constant_arrival_rate(
                ask, rate=40, duration="0.5s", warm_up="0.1s", connections="fresh"
            )
            assert result.p95 < seconds(25)
            assert result.step("get").service_time.p50 >= ms(4)
            assert result.connect.max < seconds(25)
            assert result.error_rate == 0
            assert result.count == result.step("get").count == 20

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_mix(load):
            executor = ConstantArrivalRate(rate=40, duration=0.2)
            result = await load.run(
                Scenario(name="a", iteration=ask, executor=executor),
                Scenario(name="b", iteration=refused, executor=executor),
            )
            assert result.count == 16
            assert result.step("b.pay").error_rate == 1
            assert result["b"].step("pay").statuses == {{402: 8}}
            assert result["b"].step("pay").errors <= 8

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_missed(load):
            result = await load.constant_arrival_rate(ask, rate=200, duration="0.2s")
            assert result.p95 < ms(1)

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_look(load):
            result = await load.constant_arrival_rate(ask, rate=40, duration="0.2s")
            result.samples
        """
    )
    return target


@pytest.mark.usefixtures("storm")
def test_figures_are_asserted_as_ever_and_say_how_near_they_are(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("-m", "scale", "-k", "storm or mix", "--certload-samples=sketch")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "certload: storm: samples are sketched and not kept; figures take at most *",
            "*percentiles ±0.1 %: samples were sketched, not kept",
            "*response time p95 < 25 s (* ±0.1 %)",
        ]
    )
    document = json.loads((pytester.path / "results" / "summary-storm.json").read_text())
    assert document["percentile_error"] == 0.001
    assert document["iterations"]["response_time"]["count"] == 20
    assert document["iterations"]["phases"]["connect"]["count"] == 20
    assert document["lateness"]["count"] == 20
    assert document["generator"]["lag"]["count"] == 20


@pytest.mark.usefixtures("storm")
def test_kept_samples_are_exact(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("-m", "scale", "-k", "storm")
    result.assert_outcomes(passed=1)
    assert "±" not in result.stdout.str()
    document = json.loads((pytester.path / "results" / "summary-storm.json").read_text())
    assert document["percentile_error"] is None


@pytest.mark.usefixtures("storm")
def test_a_failure_says_how_near_its_figure_is(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("-m", "scale", "-k", "missed", "--certload-samples=sketch")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*assert response time p95 = *s ±0.1 %, wanted < 1 ms (missed by*"]
    )


@pytest.mark.usefixtures("storm")
def test_samples_that_were_not_kept_are_one_clear_error(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("-m", "scale", "-k", "look", "--certload-samples=sketch")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*ConfigurationError: --certload-samples: 'sketch' keeps no sample, only figures; use keep*"
        ]
    )


def test_what_cannot_be_had_is_told_at_the_start(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, storm: Target
) -> None:
    both = ("--certload-samples=sketch", "--certload-export=npz")
    result = pytester.runpytest("-m", "scale", *both)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --certload-export: 'npz' wants every sample and *"])
    monkeypatch.setitem(sys.modules, "ddsketch", None)
    result = pytester.runpytest("-m", "scale", "--certload-samples=sketch")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --certload-samples: 'sketch' needs ddsketch, which is not installed; "
            'pip install "pytest-certload[[]sketch]"'
        ]
    )
    assert storm.seen == []
