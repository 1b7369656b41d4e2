"""Agent storm: 5,000 agents send 167 heartbeats a second, each its own, and every one lands."""

from __future__ import annotations

import secrets
from math import ceil

import pytest

from pytest_certload import Iteration, Load, RunResult, ms, seconds
from pytest_certload.certctl.api import Certctl

RATE = 167
CADENCE = 30


@pytest.mark.scale
@pytest.mark.tier_scale
async def test_agent_storm(load: Load, certctl: Certctl) -> None:
    # All have just been updated: what the rows say already is no proof that it was stored.
    version = f"2.1.0+{secrets.token_hex(4)}"
    # Each agent sends every 30 s, whatever the rate: one that is silent for two minutes is Offline.
    agents = [agent.at_version(version) for agent in await certctl.agents()]
    fleet = agents[: ceil(load.planned_rate(RATE).per_second * CADENCE)]
    acknowledged: set[str] = set()
    # The next heartbeat of an agent covers up a lost one: so the database is looked at meanwhile.
    heartbeats = load.ledger("heartbeats")
    load.watch(seen := certctl.heartbeats_seen())

    async def heartbeat(iteration: Iteration) -> None:
        # By the global index, so that every agent is reached in turn.
        agent = fleet[iteration.index % len(fleet)]
        path = f"/api/v1/agents/{agent.id}/heartbeat"
        heartbeats.asked(agent.id)
        async with iteration.client.post(path, json=agent.metadata) as response:
            iteration.expect(response, 200)
            answer = await response.json()
        iteration.check(answer == {"status": "heartbeat_recorded"}, "the heartbeat is recorded")
        heartbeats.acknowledged(agent.id)
        acknowledged.add(agent.id)

    async def prove(result: RunResult) -> None:
        await result.sightings(heartbeats, seen)

    load.after_death(prove)
    load.watch(certctl.audit_backlog(load))
    result = await load.constant_arrival_rate(
        heartbeat,
        rate=RATE,
        duration="5m",
        max_in_flight=200,
        preflight=certctl.preflight("agents"),
    )

    assert result.p95 < ms(500)
    assert result.p99 < ms(1000)
    # One late answer in 200 does not move the p99, and one stall of 3 s in five minutes neither.
    assert result.p(99.9) < seconds(2)
    assert result.error_rate < 0.001
    await prove(result)
    result.integrity(
        "agents whose row is not what they said of themselves",
        actual=await certctl.agents_described_otherwise(
            [agent for agent in fleet if agent.id in acknowledged]
        ),
        expected=0,
    )
    result.integrity(
        "agents Offline", actual=await certctl.agents_offline(acknowledged), expected=0
    )
    result.caught_up()
