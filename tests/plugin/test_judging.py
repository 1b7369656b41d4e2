"""What counts as a test's verdict, and which load counts as the test's?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import FULL_DISK, RERUN, Target
from .test_state import write

LOAD = """
import asyncio
import unittest

import pytest
from pytest_certload import ConstantArrivalRate, Scenario, seconds


async def ask(iteration):
    async with iteration.client.get("/fine") as response:
        iteration.expect(response, 200)


async def sometimes(iteration):
    async with iteration.step("login"):
        async with iteration.client.get(f"/status/{200 if iteration.index else 500}") as response:
            iteration.expect(response, 200)


def make(load, function=ask, **more):
    return load.constant_arrival_rate(function, rate=40, duration=0.25, **more)


"""
SCALE = '@pytest.mark.scale(base_url="{base_url}")'


@pytest.fixture(autouse=True)
def ini(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")


def run(pytester: pytest.Pytester, target: Target, tests: str, *arguments: str) -> pytest.RunResult:
    scale = SCALE.format(base_url=target.base_url)
    pytester.makepyfile(test_it=LOAD + tests.replace("@scale", scale))
    return pytester.runpytest("-m", "scale", *arguments)


def summary(pytester: pytest.Pytester, name: str = "storm") -> dict[str, Any]:
    text = (pytester.path / "results" / f"summary-{name}.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def baselines(pytester: pytest.Pytester) -> list[Path]:
    return sorted((pytester.path / ".certload").glob("**/*.json"))


#: As subtests do: a part of the test that is over has a report of its own, and the test goes on.
PARTS = """
import pytest

@pytest.fixture
def part(request):
    def part(check):
        call = pytest.CallInfo.from_call(check, "call")
        request.node.ihook.pytest_runtest_makereport(item=request.node, call=call)
    return part
"""


@pytest.mark.parametrize(
    ("check", "state", "failure"),
    [
        ("pytest.fail('five rows')", "failed", "a part of the test failed: Failed: five rows"),
        ("pytest.skip('too few')", "passed", None),
        ("None", "passed", None),
    ],
)
def test_a_part_of_a_test_that_is_over_is_not_the_test(
    pytester: pytest.Pytester, target: Target, check: str, state: str, failure: str | None
) -> None:
    pytester.makeconftest(PARTS)
    tests = f"""
@scale
async def test_storm(load, part):
    result = await make(load)
    part(lambda: None)
    part(lambda: {check})
    assert result.errors == 0
    await make(load, name="later")
"""
    run(pytester, target, tests, "--junitxml=out.xml").assert_outcomes(passed=1)
    for name in ("storm", "later"):
        found = summary(pytester, name)
        assert (found["state"], found["failure"]) == (state, failure)
    junit = (pytester.path / "out.xml").read_text("utf-8")
    assert junit.count('"certload.storm.state"') == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_test_case_of_unittest_has_failed_when_it_says_so(
    pytester: pytest.Pytester, target: Target, fails: bool
) -> None:
    tests = f"""
@scale
class TestIt(unittest.IsolatedAsyncioTestCase):
    @pytest.fixture(autouse=True)
    def have(self, load):
        self.load = load

    async def test_storm(self):
        result = await make(self.load)
        assert result.errors == 0
        self.assertEqual({6 if fails else 5}, 5)
"""
    outcome = run(pytester, target, tests)
    outcome.assert_outcomes(failed=int(fails), passed=int(not fails))
    found = summary(pytester)
    assert found["state"] == ("failed" if fails else "passed")
    assert found["failure"] == ("AssertionError: 6 != 5" if fails else None)


def test_somebody_elses_load_is_none(pytester: pytest.Pytester, target: Target) -> None:
    tests = """
@scale
async def test_storm(load):
    await make(load)

@pytest.mark.parametrize("load", [0.1, 0.9])
def test_battery(load):
    assert load < 1
"""
    pytester.makepyfile(
        test_it=LOAD + tests.replace("@scale", SCALE.format(base_url=target.base_url))
    )
    pytester.runpytest("-m", "scale or not slow").assert_outcomes(passed=3)


@pytest.mark.parametrize(("state", "restore", "passed"), [
    ("seeded", "restore", 0), ("keep", "restore", 1), ("seeded", "None", 1),
])  # fmt: skip
def test_load_on_the_stack_is_asked_for_before_the_test_runs(
    pytester: pytest.Pytester, target: Target, state: str, restore: str, passed: int
) -> None:
    tests = f"""
@pytest.fixture
def maker(request):
    return request.getfixturevalue("load")

@pytest.mark.scale(state="{state}")
async def test_storm(certload_stack, maker):
    await make(maker)
"""
    write(pytester, target, tests, restore=restore)
    outcome = pytester.runpytest("-m", "scale")
    outcome.assert_outcomes(passed=passed, errors=1 - passed)
    if not passed:
        outcome.stdout.fnmatch_lines(["*asks for `load` only while it runs*as a parameter*"])


def test_a_ledger_is_compared_after_all_that_notes_into_it(
    pytester: pytest.Pytester, target: Target
) -> None:
    tests = """
@scale
async def test_storm(load):
    orders = load.ledger("orders")

    async def order(iteration):
        await ask(iteration)
        orders.acknowledged(f"{iteration.index} of {len(load.runs)}")

    async def read():
        return [orders.acknowledgements.keys[n].decode() for n in range(10)]

    first = await make(load, order)
    await first.traces(orders, read, where="the log")
    await make(load, order)
"""
    outcome = run(pytester, target, tests)
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(
        ["*ledger orders was compared when it had 10 of 20 acknowledgements: compare it once*"]
    )


def test_two_loads_at_once_are_one_load(pytester: pytest.Pytester, target: Target) -> None:
    tests = """
@scale
async def test_storm(load):
    first, second = await asyncio.gather(make(load), make(load), return_exceptions=True)
    assert first.errors == 0
    raise second
"""
    outcome = run(pytester, target, tests)
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["*ConfigurationError: a load of this test runs still*"])


@pytest.mark.parametrize("step", ["browse.login", "buy.login"])
def test_errors_are_judged_by_a_step_of_all_scenarios_together(
    pytester: pytest.Pytester, target: Target, step: str
) -> None:
    tests = f"""
@scale
async def test_mix(load):
    executor = ConstantArrivalRate(rate=40, duration=0.25)
    result = await load.run(
        Scenario(name="browse", iteration=sometimes, executor=executor),
        Scenario(name="buy", iteration=ask, executor=executor),
    )
    assert result.step("{step}").error_rate < 0.5
"""
    if step == "buy.login":
        tests = tests.replace(f'result.step("{step}")', 'result["buy"]')
    outcome = run(pytester, target, tests)
    outcome.assert_outcomes(passed=int(step == "browse.login"), failed=int(step == "buy.login"))
    if step == "buy.login":
        outcome.stdout.fnmatch_lines(["*1 of 10 iterations of scenario browse failed*"])


class TestLoadInAFixture:
    def test_is_the_tests_and_a_plain_function_may_judge_it(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        tests = """
import pytest_asyncio

@pytest_asyncio.fixture
async def shop(load):
    return await make(load)

@scale
def test_storm(shop):
    assert shop.p95 < seconds(25)
"""
        run(pytester, target, tests).assert_outcomes(passed=1)
        assert summary(pytester)["state"] == "passed"

    def test_that_fails_has_its_verdict(self, pytester: pytest.Pytester, target: Target) -> None:
        tests = """
import pytest_asyncio

@pytest_asyncio.fixture
async def shop(load):
    result = await make(load)
    assert result.errors == 7

@scale
async def test_storm(shop):
    pass
"""
        outcome = run(pytester, target, tests)
        outcome.assert_outcomes(errors=1)
        outcome.stdout.fnmatch_lines(["storm: failed*"])
        assert summary(pytester)["state"] == "failed"

    def test_is_refused_when_the_test_is_over(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        tests = """
import pytest_asyncio

@pytest_asyncio.fixture
async def shop(load):
    yield
    await make(load)

@scale
async def test_storm(load, shop):
    await make(load)
"""
        outcome = run(pytester, target, tests)
        outcome.assert_outcomes(passed=1, errors=1)
        outcome.stdout.fnmatch_lines(["*ConfigurationError: the test is over*nothing would judge*"])


def test_a_test_that_is_run_again_is_saved_and_compared_as_the_same(
    pytester: pytest.Pytester, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_certload.verdict.diagnosis import Validity

    monkeypatch.setattr(
        "pytest_certload.session.diagnose", lambda *_, **__: Validity(state="valid", reasons=())
    )
    pytester.makeconftest(RERUN)
    tests = """
from pathlib import Path

@scale
async def test_storm(load):
    assert (await make(load)).errors == 0
    again = Path("again").exists()
    Path("again").touch()
    assert again
    assert (await make(load)).errors == 0
"""
    run(pytester, target, tests, "--certload-save", "main").assert_outcomes(passed=1)
    assert [path.name for path in baselines(pytester)] == ["storm-2.json", "storm.json"]
    (pytester.path / "again").unlink()
    outcome = run(pytester, target, tests, "--certload-compare", "main")
    outcome.assert_outcomes(passed=1)
    # The first attempt's is the only one of that name in the session.
    assert summary(pytester, "storm")["state"] == "failed"
    assert summary(pytester, "storm-3")["comparison"]["baseline"] == "main"


def test_why_a_run_is_refused_is_told_on_a_full_disk_too(
    pytester: pytest.Pytester, target: Target
) -> None:
    pytester.makeconftest(FULL_DISK)
    tests = """
async def broken(iteration):
    raise KeyError("mine")

@scale
async def test_storm(load):
    await make(load, broken)
"""
    pytester.makepyfile(
        test_it=LOAD + tests.replace("@scale", SCALE.format(base_url=target.base_url))
    )
    outcome = pytester.runpytest_subprocess("-m", "scale")
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["*the scenario's own code raised 10 times*"])
    outcome.stdout.fnmatch_lines(["*No space left on device*"])
