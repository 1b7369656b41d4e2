"""Scheduler drain: jobs that wait in the queue are done, each once, at a pace, and agents feel nothing."""

from __future__ import annotations

from math import ceil
from time import monotonic_ns

import pytest

from pytest_certload import (
    ConstantArrivalRate,
    Duration,
    Iteration,
    Load,
    RunResult,
    minutes,
    ms,
    seconds,
)
from pytest_certload.certctl.api import Certctl
from pytest_certload.certctl.queue import CLAIM_LIMIT, claims_a_tick
from pytest_certload.units import parse_duration

INTERVAL = "CERTCTL_SCHEDULER_JOB_PROCESSOR_INTERVAL"
SETTINGS = {
    INTERVAL: "1s",
    CLAIM_LIMIT: "1000",
    "CERTCTL_RENEWAL_CONCURRENCY": "25",
    # So few heartbeats leave agents silent for minutes: to set them Offline is no part of the load.
    "CERTCTL_SCHEDULER_AGENT_HEALTH_CHECK_INTERVAL": "720h",
}
#: An interval may be a tenth longer.
JITTER = 1.1
#: Jobs that must be done in a second, by who makes the keys: half as many more as certctl's defaults let
#: through at most; and a server that makes them has RSA to do, most of a tenth of a second of a core.
PACE = {"agent": 50, "server": 5}
#: Heartbeats, by which it is seen what the agents feel meanwhile; fewer would be too few for a p95 of a
#: second or two.
RATE = 20


@pytest.mark.scale(server_env=SETTINGS)
@pytest.mark.tier_fleet
@pytest.mark.parametrize(
    ("jobs", "duration"),
    [
        pytest.param(1_000, seconds(30), id="1000"),
        pytest.param(10_000, minutes(4), id="10000"),
    ],
)
async def test_scheduler_drain(load: Load, certctl: Certctl, jobs: int, duration: Duration) -> None:
    # A shorter load has a shorter queue.
    executor = load.planned(ConstantArrivalRate(rate=RATE, duration=duration))
    share = executor.duration / duration
    keygen = load.server_env.get("CERTCTL_KEYGEN_MODE", "agent")
    queue = await certctl.renewal_queue(min(jobs, ceil(jobs * share)), keygen=keygen)
    agents = await certctl.agents()
    # Each tick claims so many, and may come as late as a whole interval after the last job.
    interval = parse_duration(load.server_env[INTERVAL], name=INTERVAL).total_seconds * JITTER
    ticks = ceil(len(queue.jobs) / claims_a_tick(load.server_env))
    allowed = seconds(ticks * interval + len(queue.jobs) / PACE[keygen])
    done = load.ledger("done jobs")
    for job in queue.jobs:
        done.acknowledged(job)

    beats = load.ledger("heartbeats")
    #: When each heartbeat was due, and how long its agent has waited for the answer.
    felt: list[tuple[int, int]] = []
    load.watch(seen := certctl.heartbeats_seen())

    async def heartbeat(iteration: Iteration) -> None:
        agent = agents[iteration.index % len(agents)]
        path = f"/api/v1/agents/{agent.id}/heartbeat"
        beats.asked(agent.id)
        async with iteration.client.post(path, json=agent.metadata) as response:
            iteration.expect(response, 200)
            answer = await response.json()
        iteration.check(answer == {"status": "heartbeat_recorded"}, "the heartbeat is recorded")
        beats.acknowledged(agent.id)
        felt.append((iteration.due, monotonic_ns() - iteration.due))

    async def prove(result: RunResult) -> None:
        # The audit log has a row each time that a job was done: one that was done twice has two.
        await result.effects(
            done,
            certctl.database,
            "SELECT details->>'job_id' FROM audit_events "
            "WHERE action = $1 AND details->>'job_id' LIKE $2",
            queue.audit_action,
            queue.pattern,
        )
        await result.sightings(beats, seen)

    load.after_death(prove)
    load.watch(certctl.audit_backlog(load))
    # The last one: it puts the jobs in, and the load begins. A pace too slow is to be told as well.
    load.watch(queue.backlog(limit=Duration(2 * allowed + seconds(10))))
    result = await load.constant_arrival_rate(
        heartbeat, rate=RATE, duration=duration, preflight=certctl.preflight("scheduler")
    )

    assert result.p95 < ms(500)
    assert result.p99 < ms(1000)
    assert result.error_rate < 0.001
    await prove(result)
    result.integrity(
        "certificates that are as their job leaves them",
        actual=await queue.certificates_done(),
        expected=len(queue.jobs),
    )
    result.caught_up()
    drained = result.backlog("renewal jobs").done_after(100)
    assert drained < allowed
    # The queue may be empty soon: what agents feel of it is told by those who came before.
    first, _ = min(felt)
    meanwhile = sorted(waited for due, waited in felt if due < first + int(drained))
    p95 = Duration(meanwhile[ceil(0.95 * len(meanwhile)) - 1])
    assert result.figure("p95 while the queue was drained", p95) < ms(500)
