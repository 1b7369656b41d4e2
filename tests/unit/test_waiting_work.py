"""Work that waits when a load begins: when so much of it was done, how fast, and what holds it."""

from __future__ import annotations

import re

import pytest

from pytest_certload.certctl.enlarge import enlarge
from pytest_certload.certctl.queue import CLAIM_LIMIT, RenewalQueue, claims_a_tick
from pytest_certload.database import SessionDatabase
from pytest_certload.errors import ConfigurationError
from pytest_certload.proof.backlog import Backlog, Counted
from pytest_certload.proof.findings import BacklogFinding, BacklogMoment
from pytest_certload.report.pace import pace
from pytest_certload.units import seconds
from pytest_certload.verdict.backlogs import BacklogResult
from pytest_certload.verdict.measure import Judgements

NOWHERE = SessionDatabase("postgresql://127.0.0.1:1/nowhere")


def found(*done: int, wanted: int = 100, first: int | None = None) -> BacklogFinding:
    """What was read once a second, from the begin of the load on."""
    moments = tuple(
        BacklogMoment(
            at=float(at), wanted=first if at == 0 and first is not None else wanted, done=n
        )
        for at, n in enumerate(done)
    )
    finding = BacklogFinding(
        name="jobs",
        wanted=wanted,
        done=done[-1] if done else 0,
        peak=wanted,
        caught_up=0.0 if done and done[-1] >= wanted else None,
        limit=10.0,
        broken=None,
        moments=moments,
    )
    shares = {str(share): finding.when_done(share) for share in (50, 95, 100)}
    return BacklogFinding(**{**vars(finding), "done_after": shares})


def test_the_first_reading_that_shows_so_much() -> None:
    finding = found(0, 49, 50, 94, 100, 100)
    assert finding.waited
    assert finding.done_after == {"50": 2.0, "95": 4.0, "100": 4.0}
    assert finding.when_done(94) == 3.0
    assert finding.rate == 25.0
    assert pace(finding) == "50 % after 2 s, 95 % after 4 s, 100 % after 4 s, 25/s"


def test_what_was_never_done_has_no_moment() -> None:
    finding = found(0, 40, 80, 80)
    assert finding.done_after == {"50": 2.0, "95": None, "100": None}
    assert finding.rate == 40.0
    assert pace(finding) == "50 % after 2 s, never all of them, 40/s"
    assert pace(found(0, 0)) == "never all of them"


def test_work_that_the_load_makes_did_not_wait() -> None:
    assert not found(0, 50, 100, first=0).waited
    assert not found().waited
    assert not found(0, 0, wanted=0).waited


def test_of_no_work_nothing_is_proven() -> None:
    nothing = found(0, 0, wanted=0)
    assert nothing.fault == "none was wanted, so nothing is proven"
    assert nothing.when_done(100) is None
    assert not BacklogResult(nothing, Judgements()).done_after(100) < seconds(1000)


class TestConditions:
    def test_are_held_and_kept(self) -> None:
        judgements = Judgements()
        result = BacklogResult(found(0, 49, 50, 94, 100), judgements)
        assert result.done_after(50) < seconds(3)
        assert not result.done_after(100) < seconds(3)
        assert result.rate > 20
        assert [str(judgement) for judgement in judgements] == [
            "time to 50 % of the jobs = 2 s, wanted < 3 s",
            "time to 100 % of the jobs = 4 s, wanted < 3 s (missed by 1 s, 33%)",
            "rate of the jobs = 25/s, wanted > 20/s",
        ]

    def test_on_what_never_came_do_not_hold(self) -> None:
        judgements = Judgements()
        result = BacklogResult(found(0, 40, 80), judgements)
        assert not result.done_after(95) < seconds(1000)
        assert not BacklogResult(found(0, 0), judgements).rate > 0
        assert [judgement.actual for judgement in judgements] == [
            "never: 80 of 100 were done",
            "none was done",
        ]

    def test_are_about_work_that_waited(self) -> None:
        with pytest.raises(ConfigurationError, match=r"not wanted from the begin.*caught_up\(\)"):
            BacklogResult(found(0, 50, 100, first=0), Judgements())

    @pytest.mark.parametrize("percent", [0, -1, 100.5, True])
    def test_are_about_a_share(self, percent: float) -> None:
        with pytest.raises(ConfigurationError, match=re.escape(f"done_after: {percent!r}")):
            BacklogResult(found(0, 100), Judgements()).done_after(percent)


@pytest.mark.parametrize("cost", [0, -0.1, 1.5, True])
def test_what_counting_may_cost_is_a_share(cost: float) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"cost: {cost!r} is no share")):
        Backlog("jobs", NOWHERE, Counted("SELECT 1"), wanted=lambda: 1, cost=cost)


@pytest.mark.parametrize("size", [0, 10_001])
def test_a_queue_has_a_certificate_for_each_job(size: int) -> None:
    with pytest.raises(ConfigurationError, match=f"a queue of {size:,} jobs: write 1 to 10,000"):
        RenewalQueue(NOWHERE, size)


def test_queues_have_jobs_of_their_own() -> None:
    queue, other = RenewalQueue(NOWHERE, 2), RenewalQueue(NOWHERE, 2)
    name = queue.pattern.removesuffix("%")
    assert name.startswith("job-loadtest-queue-")
    assert queue.jobs == [f"{name}00001", f"{name}00002"]
    assert not set(queue.jobs) & set(other.jobs), "audit rows of an earlier queue are another's"


@pytest.mark.parametrize(("value", "claimed"), [("5000", 5000), ("0", 1000), ("-5", 1000)])
def test_a_tick_claims_what_certctl_makes_of_its_limit(value: str, claimed: int) -> None:
    assert claims_a_tick({CLAIM_LIMIT: value}) == claimed
    assert claims_a_tick({}) == 1000


def test_a_claim_limit_is_a_number() -> None:
    with pytest.raises(ConfigurationError, match=f"{CLAIM_LIMIT}=many: write a number of jobs"):
        claims_a_tick({CLAIM_LIMIT: "many"})


def test_somebody_makes_the_keys() -> None:
    with pytest.raises(ConfigurationError, match="KEYGEN_MODE=nobody: write agent or server"):
        RenewalQueue(NOWHERE, 2, keygen="nobody")


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [9_999, 1_000_001])
async def test_a_fleet_is_not_smaller_than_that_of_the_seeds(size: int) -> None:
    with pytest.raises(ConfigurationError, match=f"a fleet of {size:,} certificates: write 10,000"):
        await enlarge(NOWHERE, size)
