"""Agent day: 5,000 agents as they really are: a heartbeat a minute, a work poll every 30 s, ±10 %."""

from __future__ import annotations

import asyncio

import pytest

from pytest_certload import (
    ConfigurationError,
    FleetArrivals,
    Iteration,
    Load,
    RunResult,
    Scenario,
    ms,
    seconds,
)
from pytest_certload.certctl.api import Certctl
from pytest_certload.certctl.work import RUNNING

DURATION = "5m"
HEARTBEAT_EVERY, POLL_EVERY = "60s", "30s"
JITTER = 0.1
#: One agent in ten has deployments waiting, and one in twenty runs twice, so that both poll at once.
BUSY, TWINS, JOBS_EACH = 10, 20, 3
#: certctl's job processor would take deployments before their agents ask for them.
SETTINGS = {"CERTCTL_SCHEDULER_JOB_PROCESSOR_INTERVAL": "720h"}


@pytest.mark.scale(server_env=SETTINGS)
@pytest.mark.tier_agent
async def test_agent_day(load: Load, certctl: Certctl) -> None:
    fleet = await certctl.agents()
    await certctl.certificates()
    # The first of them make the connections: their handshakes are no part of the limits.
    heartbeats, polls = (
        FleetArrivals(
            members=len(fleet),
            every=every,
            jitter=JITTER,
            duration=DURATION,
            max_in_flight=200,
            warm_up="2s",
        )
        for every in (HEARTBEAT_EVERY, POLL_EVERY)
    )
    planned = [load.planned(arrivals) for arrivals in (heartbeats, polls)]
    if max(arrivals.size for arrivals in planned) > len(fleet):
        raise ConfigurationError(
            f"the fleet has {len(fleet):,} agents, and each keeps its pace: lower --certload-rate"
        )
    # Whose heartbeat, whose poll each iteration is.
    beating, polling = (arrivals.members().tolist() for arrivals in planned)

    # What is put in is for agents that will poll, so that all of it must be handed out.
    busy = [fleet[member].id for member in sorted(set(polling)) if member % BUSY == 0]
    if not 0 < len(busy) < len(set(polling)):
        raise ConfigurationError(
            f"{len(set(polling)):,} agents poll, {len(busy):,} of them with work: there must be some with "
            "and some without; raise --certload-rate or --certload-duration"
        )
    jobs = await certctl.work.put_deployments(busy, each=JOBS_EACH)
    made = [job for of_agent in jobs.values() for job in of_agent]
    deliveries = load.ledger("deliveries")
    beats = load.ledger("heartbeats")
    load.watch(seen := certctl.heartbeats_seen())
    idle = {"polls": 0, "empty": 0}

    async def heartbeat(iteration: Iteration) -> None:
        agent = fleet[beating[iteration.index]]
        path = f"/api/v1/agents/{agent.id}/heartbeat"
        beats.asked(agent.id)
        async with iteration.client.post(path, json=agent.metadata) as response:
            iteration.expect(response, 200)
            answer = await response.json()
        iteration.check(answer == {"status": "heartbeat_recorded"}, "the heartbeat is recorded")
        beats.acknowledged(agent.id)

    async def poll(iteration: Iteration) -> None:
        member = polling[iteration.index]
        at_once = 2 if member % TWINS == 0 else 1
        await asyncio.gather(*(ask(iteration, fleet[member].id) for _ in range(at_once)))

    async def ask(iteration: Iteration, agent: str) -> None:
        async with iteration.client.get(f"/api/v1/agents/{agent}/work") as response:
            iteration.expect(response, 200)
            answer = await response.json()
        given = answer["jobs"]
        # Whom it was given to is part of what is looked up: a job that another agent gets is lost.
        for job in given:
            deliveries.acknowledged(f"{job['id']} to {agent}")
        if agent not in jobs:
            idle["polls"] += 1
            idle["empty"] += not given
        iteration.check(answer["count"] == len(given), "count is the number of jobs")
        iteration.check(
            all(job["type"] == "Deployment" and job["status"] == "Running" for job in given),
            "what is handed out is a deployment that is Running",
        )
        iteration.check(
            {job["id"] for job in given} <= set(jobs.get(agent, ())),
            "an agent is given its own jobs",
        )

    async def prove(result: RunResult) -> int:
        found = await result.effects(
            deliveries, certctl.database, RUNNING, made, keys_per_iteration=JOBS_EACH
        )
        await result.sightings(beats, seen)
        return found.acknowledged

    load.after_death(prove)
    load.watch(certctl.audit_backlog(load))
    result = await load.run(
        Scenario(name="agent-day-heartbeats", executor=heartbeats, iteration=heartbeat),
        Scenario(name="agent-day-polls", executor=polls, iteration=poll),
        preflight=certctl.preflight("work"),
    )

    delivered = await prove(result)
    for name in ("agent-day-heartbeats", "agent-day-polls"):
        assert result[name].p95 < ms(500)
        assert result[name].p99 < ms(1000)
        # One late answer in 200 does not move the p99.
        assert result[name].p(99.9) < seconds(2)
        assert result[name].error_rate < 0.001
    result.integrity(
        "jobs that were handed out",
        actual=delivered,
        expected=len(made),
        # A poll that failed may have claimed jobs all the same.
        fewer=result["agent-day-polls"].unacknowledged * JOBS_EACH,
    )
    result.integrity(
        "empty polls of agents without work", actual=idle["empty"], expected=idle["polls"]
    )
    result.integrity(
        "agents Offline",
        actual=await certctl.agents_offline({fleet[member].id for member in beating}),
        expected=0,
    )
    result.caught_up()
