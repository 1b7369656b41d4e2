"""Load tests of one session do not meet what the others left, in whatever order they run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.inner.fixture import unhurried

__all__ = ["unhurried"]

SOURCE = """
import pytest


async def heartbeats(load, certctl):
    agents = await certctl.agents()

    async def beat(iteration):
        path = f"/api/v1/agents/{agents[iteration.index].id}/heartbeat"
        async with iteration.client.post(path, json={}) as response:
            iteration.expect(response, 200)

    # A connection each, so that every connection of the server's pool is wanted at once.
    result = await load.constant_arrival_rate(
        beat, rate=100, duration="1s", connections="fresh", max_in_flight=100
    )
    assert result.error_rate == 0


async def renewal_jobs(certctl):
    return await certctl.database.fetch("SELECT id FROM jobs WHERE type = 'Renewal'")


async def renewals(load, certctl):
    certificates = await certctl.certificates()
    assert not await renewal_jobs(certctl)

    async def renew(iteration):
        body = {"certificate_ids": [certificates[iteration.index]]}
        async with iteration.client.post("/api/v1/certificates/bulk-renew", json=body) as response:
            iteration.expect(response, 200)

    result = await load.constant_arrival_rate(renew, rate=50, duration="500ms")
    assert result.error_rate == 0
    assert len(await renewal_jobs(certctl)) == 25


@pytest.mark.scale
async def test_a(load, certctl):
    await heartbeats(load, certctl)


@pytest.mark.scale
async def test_b(load, certctl):
    await renewals(load, certctl)


@pytest.mark.scale
async def test_a_again(load, certctl):
    await heartbeats(load, certctl)
    # Whatever the scenario's own preparations do not put back.
    await certctl.database.execute("TRUNCATE agents CASCADE")


@pytest.mark.scale
async def test_b_again(load, certctl):
    await renewals(load, certctl)


@pytest.mark.scale(state="keep")
async def test_c_builds_on_it(load, certctl):
    assert len(await renewal_jobs(certctl)) == 25
    await heartbeats(load, certctl)
    await heartbeats(load, certctl)


@pytest.mark.asyncio
async def test_without_load_nothing_is_put_back(certctl):
    assert len(await renewal_jobs(certctl)) == 25
"""


def state_of(folder: Path, name: str) -> dict[str, Any]:
    document = json.loads((folder / "results" / f"summary-{name}.json").read_text("utf-8"))
    state = document["proof"]["state"]
    assert isinstance(state, dict)
    return state


def test_each_starts_from_the_seeds_whatever_was_before(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SOURCE)
    result = pytester.runpytest_subprocess(
        *("-m", "scale or asyncio", "--certload-stack=embedded", "--junit-xml=junit.xml")
    )
    result.assert_outcomes(passed=6)
    output = result.stdout.str()
    assert output.count("making a cluster") == 1, "one stack for the session"

    states = {name: state_of(pytester.path, name) for name in ("a", "b", "a-again", "b-again")}
    assert len({state["fingerprint"] for state in states.values()}) == 1
    assert len({str(state["rows"]) for state in states.values()}) == 1
    assert states["a"]["rows"]["agents"] == 5000
    assert states["a"]["origin"] == "as it was seeded"
    for name in ("b", "a-again", "b-again"):
        assert states[name]["origin"].startswith("template, cloned in ")
    assert not any(state["missing"] for state in states.values())
    costs = [state["cost"] for state in states.values()]
    # A tenth of a second on a quiet machine, and patience with a busy one.
    assert min(costs) < 2
    assert max(costs) < 10

    kept = state_of(pytester.path, "c-builds-on-it")
    assert kept["origin"] == "as earlier tests left it"
    assert kept["rows"]["jobs"] == 25
    assert kept["fingerprint"] != states["a"]["fingerprint"]
    second = state_of(pytester.path, "c-builds-on-it-2")
    assert second["origin"] == "as the test's load before left it"

    cloned = [float(seconds) for seconds in re.findall(r"state: cloned in ([0-9.]+) s", output)]
    print(f"the full seed was cloned in {cloned} s")
    assert len(cloned) == 3
    # Half a second on a quiet machine, and patience with a busy one.
    assert min(cloned) < 5

    fingerprint = states["a"]["fingerprint"]
    text = (pytester.path / "results" / "summary-b.txt").read_text("utf-8")
    assert f"state at the begin: {fingerprint}, " in text
    junit = (pytester.path / "junit.xml").read_text("utf-8")
    assert f'name="certload.b.begin.fingerprint" value="{fingerprint}"' in junit
