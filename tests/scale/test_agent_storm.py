"""Agent storm: 5,000 agents send 167 heartbeats a second, each its own, and every one lands."""

from __future__ import annotations

import pytest

from pytest_certload import Iteration, Load, ms
from pytest_certload.certctl.api import Certctl


@pytest.mark.scale
async def test_agent_storm(load: Load, certctl: Certctl) -> None:
    fleet = await certctl.agents()
    acknowledged: set[str] = set()

    async def heartbeat(iteration: Iteration) -> None:
        # By the global index, so that every agent is reached in turn, 30 s apart.
        agent = fleet[iteration.index % len(fleet)]
        path = f"/api/v1/agents/{agent.id}/heartbeat"
        async with iteration.client.post(path, json=agent.metadata) as response:
            iteration.expect(response, 200)
            answer = await response.json()
        iteration.check(answer == {"status": "heartbeat_recorded"}, "the heartbeat is recorded")
        acknowledged.add(agent.id)

    result = await load.constant_arrival_rate(heartbeat, rate=167, duration="5m", max_in_flight=200)

    assert result.p95 < ms(500)
    assert result.p99 < ms(1000)
    assert result.error_rate < 0.001
    reached = min(int(result.ok), len(fleet))
    result.integrity("agents reached", actual=len(acknowledged), expected=reached)
    result.integrity(
        "agents seen in the database since the start",
        actual=await certctl.agents_seen_since(result.started_at, acknowledged),
        expected=len(acknowledged),
    )
    result.integrity("agents Offline", actual=await certctl.agents_offline(), expected=0)
