"""Work after the answers is judged by the test, or the test fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Target

# Counts what the server was asked as work done, as many short as it is told.
SOURCE = """
import pytest
from pytest_certload.proof.findings import BacklogFinding

class Work:
    def __init__(self, load, short, broken=None):
        self.load, self.short, self.broken = load, short, broken

    async def begin(self):
        assert self.load.traffic.sent == 0

    async def end(self, proof):
        wanted = self.load.traffic.answered(but=(404,))
        proof.backlogs.append(
            BacklogFinding(
                name="mails", wanted=wanted, done=wanted - self.short, peak=3, limit=10.0,
                caught_up=None if self.short else 0.25, broken=self.broken, moments=(),
            )
        )

@pytest.mark.scale(base_url="{base_url}")
async def test_storm(load):
    async def ask(iteration):
        async with iteration.client.get("/x") as response:
            iteration.expect(response, 200)
        async with iteration.client.get("/status/404") as response:
            iteration.expect(response, 404)
    {watch}
    result = await load.constant_arrival_rate(ask, rate=40, duration=0.5)
    {after}
"""


def run(pytester: pytest.Pytester, target: Target, watch: str, after: str) -> pytest.RunResult:
    pytester.makeini(
        "[pytest]\naddopts = --strict-markers\nasyncio_default_fixture_loop_scope = function\n"
    )
    pytester.makepyfile(
        test_it=SOURCE.format(base_url=target.base_url, watch=watch, after=after or "pass")
    )
    return pytester.runpytest("-m", "scale")


def thresholds(pytester: pytest.Pytester) -> list[dict[str, Any]]:
    document = json.loads((pytester.path / "results/summary-storm.json").read_text())
    assert document["proof"]["backlogs"][0]["wanted"] == 20, "those that were answered with 200"
    found: list[dict[str, Any]] = document["thresholds"]
    return found


def test_work_that_was_done_is_a_tick(pytester: pytest.Pytester, target: Target) -> None:
    result = run(pytester, target, "load.watch(Work(load, 0))", "result.caught_up()")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*mails: 20 of 20, 3 behind at most, the last one 250 ms after the load*"]
    )
    (threshold,) = thresholds(pytester)
    assert (threshold["metric"], threshold["passed"]) == ("mails", True)


@pytest.mark.parametrize(
    ("work", "message"),
    [
        ("Work(load, 12)", "mails: 12 of 20 are missing 10 s after the load"),
        ("Work(load, 0, 'two were sent twice')", "mails: two were sent twice"),
    ],
)
def test_work_that_is_missing_or_wrong_fails(
    pytester: pytest.Pytester, target: Target, work: str, message: str
) -> None:
    result = run(pytester, target, f"load.watch({work})", "result.caught_up()")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*IntegrityFailed: {message}*"])
    (threshold,) = thresholds(pytester)
    assert not threshold["passed"]


def test_what_the_test_forgets_to_judge_fails_it(pytester: pytest.Pytester, target: Target) -> None:
    result = run(pytester, target, "load.watch(Work(load, 1))", "")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*mails of scenario storm are missing or wrong*add `result.caught_up()`*"]
    )


def test_nothing_to_hold_is_said(pytester: pytest.Pytester, target: Target) -> None:
    result = run(pytester, target, "", "result.caught_up()")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*ConfigurationError: caught_up() has nothing to hold*load.watch*"]
    )
