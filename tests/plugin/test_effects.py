"""A load test that proves its effects: what it holds, what it is told, and what it must not forget."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Target

TEST = """
import pytest
from contextlib import asynccontextmanager


class Rows:
    '''A database whose query gives these keys.'''

    def __init__(self, *keys):
        self.keys = keys

    @asynccontextmanager
    async def connect(self):
        yield self

    async def stream(self, take, sql, *args):
        take([(key,) for key in self.keys])


@pytest.mark.scale(base_url="{url}")
async def test_storm(load):
    jobs = load.ledger("renewal jobs")

    async def ask(iteration):
        path = "/status/500" if iteration.index in {failing} else "/fine"
        async with iteration.client.get(path) as response:
            iteration.expect(response, 200)
        jobs.acknowledged(f"job-{{iteration.index}}")

    result = await load.constant_arrival_rate(ask, rate=50, duration=0.2)
    assert result.error_rate < 0.9
    {after}
"""


@pytest.fixture(autouse=True)
def ini(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")


def run(
    pytester: pytest.Pytester,
    target: Target,
    after: str,
    *options: str,
    failing: tuple[int, ...] = (),
) -> pytest.RunResult:
    source = TEST.format(url=target.base_url, after=after, failing=failing)
    pytester.makepyfile(test_it=source)
    return pytester.runpytest("-m", "scale", "--junitxml=out.xml", *options)


def summary(pytester: pytest.Pytester) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (pytester.path / "results" / "summary-storm.json").read_text("utf-8")
    )
    return document


def effects(*keys: str, **options: object) -> str:
    rows = ", ".join(repr(key) for key in keys)
    more = "".join(f", {name}={value!r}" for name, value in options.items())
    return f'await result.effects(jobs, Rows({rows}), "SELECT id FROM jobs"{more})'


ALL = tuple(f"job-{n}" for n in range(10))


def test_what_is_there_is_told_everywhere(pytester: pytest.Pytester, target: Target) -> None:
    result = run(pytester, target, effects(*ALL))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*renewal jobs lost == 0 (0 of 10 acknowledged)",
            "*renewal jobs duplicated == 0 (0)",
            "*renewal jobs that nobody acknowledged == 0 (0)",
        ]
    )
    (found,) = summary(pytester)["proof"]["effects"]
    assert (found["acknowledged"], found["present"], found["lost"]) == (10, 10, 0)
    text = (pytester.path / "results" / "summary-storm.txt").read_text("utf-8")
    assert "effects: 10 of 10 acknowledged renewal jobs are there; asked 1 times" in text
    junit = (pytester.path / "out.xml").read_text("utf-8")
    assert 'name="certload.storm.effects.renewal-jobs.lost" value="0"' in junit


def test_all_that_is_wrong_is_one_failure(pytester: pytest.Pytester, target: Target) -> None:
    keys = [key for key in ALL if key != "job-7"]
    result = run(pytester, target, effects(*keys, "job-3", "job-x", limit="50ms"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *IntegrityFailed: 1 of 10 acknowledged renewal jobs are not in the database; 1 renewal "
            "jobs are in the database more than once; 1 renewal jobs in the database were never "
            "acknowledged, and 0 failed iterations explain 0",
            "E * lost: job-7 (iteration 7, acknowledged * into the load)",
            "E * duplicated: job-3 is there 2 times",
            "E * unacknowledged: job-x",
            "*renewal jobs lost == 0 (1 of 10 acknowledged)",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_certload/verdict*")
    document = summary(pytester)
    assert document["state"] == "failed"
    assert "IntegrityFailed: 1 of 10 acknowledged" in document["failure"]
    assert [t["metric"] for t in document["thresholds"] if not t["passed"]] == [
        "renewal jobs lost",
        "renewal jobs duplicated",
        "renewal jobs that nobody acknowledged",
    ]


def test_how_long_effects_are_waited_for_is_an_option(
    pytester: pytest.Pytester, target: Target
) -> None:
    result = run(pytester, target, effects(*ALL[1:]), "--certload-effects-limit=300ms")
    result.assert_outcomes(failed=1)
    (found,) = summary(pytester)["proof"]["effects"]
    assert 0.2 < found["waited"] < 9.5, "not the default of 10 s"


def test_failed_iterations_may_have_left_something(
    pytester: pytest.Pytester, target: Target
) -> None:
    """Two answers got lost, and the work of one was done."""
    keys = [key for key in ALL if key != "job-4"]
    result = run(pytester, target, effects(*keys), failing=(4, 5))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*renewal jobs that nobody acknowledged <= 2 (1)"])


def test_a_ledger_that_is_compared_with_nothing_fails(
    pytester: pytest.Pytester, target: Target
) -> None:
    result = run(pytester, target, "")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ledger renewal jobs was compared with nothing*result.effects(*"])


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (effects(limit="soon"), "*ConfigurationError: limit: 'soon' is not a duration; *"),
        (
            effects(keys_per_iteration="7"),
            "*ConfigurationError: keys_per_iteration: '7' is no number*",
        ),
        (
            "await result.sightings(jobs, None, allow_unseen=2)",
            "*ConfigurationError: allow_unseen: 2 is no share from 0 to below 1*",
        ),
    ],
)
def test_arguments_that_cannot_be_used(
    pytester: pytest.Pytester, target: Target, after: str, message: str
) -> None:
    result = run(pytester, target, after)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([message])
