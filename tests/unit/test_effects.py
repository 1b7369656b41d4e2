"""What a ledger and a database have in common is told exactly, for whatever keys."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.engine.clock import SystemClock
from pytest_certload.engine.executors.shared_iterations import SharedIterations
from pytest_certload.engine.runner import ScenarioRun
from pytest_certload.engine.scenario import Iteration, Scenario
from pytest_certload.errors import ConfigurationError
from pytest_certload.proof import keys as keys_module
from pytest_certload.proof.effects import compare
from pytest_certload.proof.findings import EffectsFinding
from pytest_certload.proof.keys import PackedKeys, distinct
from pytest_certload.proof.ledger import Ledger
from pytest_certload.verdict.effects import judge_rows, judge_sightings

KEYS = st.lists(st.text(max_size=3), max_size=30)


def pack(texts: list[str]) -> PackedKeys:
    packed = PackedKeys()
    for text in texts:
        packed.append(text)
    return packed


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


class TestPackedKeys:
    @given(KEYS)
    def test_come_out_as_they_went_in(self, texts: list[str]) -> None:
        packed = pack(texts)
        assert [packed[n] for n in range(len(packed))] == [encode(text) for text in texts]

    def test_are_text_or_what_str_makes_of_them(self) -> None:
        packed = PackedKeys()
        packed.append(17)
        assert packed[0] == b"17"

    def test_a_long_one_is_shortened_for_a_reader(self) -> None:
        assert len(pack(["k" * 500]).shown(0)) == 120

    def test_half_a_character_is_no_crash(self) -> None:
        assert pack(["job-\ud800"]).shown(0).startswith("job-")


@pytest.mark.parametrize("digest_size", [8, 1], ids=["digests", "digests that collide"])
class TestDistinct:
    @given(texts=st.lists(st.integers(0, 400).map(str), max_size=300))
    def test_keys_are_told_apart_exactly(self, texts: list[str], digest_size: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            shorten_digests(patch, digest_size)
            packed = pack(texts)
            found = distinct(packed)
        counts = Counter(texts)
        first = sorted(texts.index(text) for text in counts)
        assert sorted(found.positions.tolist()) == first
        assert found.repeated == sum(count > 1 for count in counts.values())
        assert len(found.named) == min(found.repeated, 5)
        for positions in found.named:
            (text,) = {texts[position] for position in positions}
            assert list(positions) == [n for n, other in enumerate(texts) if other == text]

    @given(
        mine=st.lists(st.integers(0, 400).map(str), max_size=100),
        others=st.lists(st.integers(0, 400).map(str), max_size=100),
    )
    def test_what_is_there_is_never_missing(
        self, mine: list[str], others: list[str], digest_size: int
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            shorten_digests(patch, digest_size)
            missing = distinct(pack(mine)).not_in(distinct(pack(others)))
        assert {mine[position] for position in missing} <= set(mine) - set(others)


def shorten_digests(patch: pytest.MonkeyPatch, size: int) -> None:
    real = keys_module._digest
    patch.setattr(keys_module, "_digest", lambda key: real(key)[:size] + bytes(8 - size))


class TestCompare:
    @given(acknowledged=KEYS, asked=st.none() | KEYS, stored=KEYS)
    def test_everything_is_accounted_for(
        self, acknowledged: list[str], asked: list[str] | None, stored: list[str]
    ) -> None:
        found = compare(
            distinct(pack(acknowledged)),
            None if asked is None else distinct(pack(asked)),
            distinct(pack(stored)),
        )
        have, want = set(stored), set(acknowledged)
        assert [acknowledged[n] for n in found.lost] == list(
            dict.fromkeys(text for text in acknowledged if text not in have)
        )
        assert {stored[n] for n in found.ambiguous} == have - want
        assert len(found.ambiguous) == len(have - want)
        assert len(found.acknowledged.positions) - len(found.lost) == len(have & want)
        assert found.stored.repeated == sum(n > 1 for n in Counter(stored).values())
        if asked is None:
            assert found.strangers is None
        else:
            assert found.strangers is not None
            assert {stored[n] for n in found.strangers} == have - want - set(asked)

    def test_one_lost_of_very_many_is_found(self) -> None:
        acknowledged = pack([f"job-{n}" for n in range(200_000)])
        stored = pack([f"job-{n}" for n in range(200_000) if n != 154_321])
        found = compare(distinct(acknowledged), None, distinct(stored))
        assert found.lost.tolist() == [154_321]
        assert not len(found.ambiguous)


class TestLedger:
    def test_a_million_keys_take_little_memory(self) -> None:
        ledger = Ledger("jobs")
        for number in range(1_000_000):
            ledger.acknowledged(f"job-{number:012}")
        log = ledger.acknowledgements
        parts = (log.keys._octets, log.keys._ends, log.iterations, log.moments)
        # 16 octets of key, 20 beside it, and what growing arrays keep in reserve.
        assert 36_000_000 < sum(sys.getsizeof(part) for part in parts) < 45_000_000

    @pytest.mark.asyncio
    async def test_knows_the_iteration_and_leaves_it_answered(self) -> None:
        ledger = Ledger("orders")

        async def order(iteration: Iteration) -> None:
            ledger.acknowledged(f"order-{iteration.index}")

        run = ScenarioRun(
            Scenario(name="shop", executor=SharedIterations(iterations=5, vus=1), iteration=order),
            clients=[None],
            clock=SystemClock(),
            classify=lambda error: None,
        )
        await run.execute()
        report = run.report()
        # ``current_iteration`` would have marked each as one that waits for an answer.
        assert not report.errors
        log = ledger.acknowledgements
        assert list(log.iterations) == [0, 1, 2, 3, 4]
        assert "order-3 (iteration 3, acknowledged " in log.describe(3, "acknowledged", run.begin)
        assert log.describe(3, "acknowledged", run.begin).endswith("into the load)")

    def test_outside_of_an_iteration(self) -> None:
        ledger = Ledger("orders")
        ledger.acknowledged("a")
        at = ledger.acknowledgements.moments[0]
        text = ledger.acknowledgements.describe(0, "acknowledged", at + 2_000_000_000)
        assert text == "a (acknowledged 2 s before the measured load)"

    def test_needs_a_name(self) -> None:
        with pytest.raises(ConfigurationError, match=r"ledger: ' ' is no name; .*load\.ledger"):
            Ledger(" ")


def finding(**figures: object) -> EffectsFinding:
    values: dict[str, object] = {
        "name": "jobs",
        "acknowledged": 100,
        "present": 100,
        "lost": 0,
        "unseen": 0,
        "ambiguous": 0,
        "strangers": None,
        "duplicated": 0,
        "repeated": 0,
        "examples": ("lost: job-1",),
        "waited": 0.0,
        "readings": 1,
        "cost": 0.0,
        **figures,
    }
    return EffectsFinding(**values)  # type: ignore[arg-type]


class TestVerdict:
    def test_all_there(self) -> None:
        verdict = judge_rows(finding(), failed=0, keys_per_iteration=1)
        assert verdict.breaches == verdict.examples == ()
        assert [j.metric for j in verdict.judgements] == [
            "jobs lost",
            "jobs duplicated",
            "jobs that nobody acknowledged",
            "jobs acknowledged more than once",
        ]
        assert all(j.passed for j in verdict.judgements)

    def test_every_breach_is_named(self) -> None:
        found = finding(present=97, lost=3, duplicated=2, ambiguous=4, strangers=1, repeated=5)
        verdict = judge_rows(found, failed=1, keys_per_iteration=3)
        assert not any(j.passed for j in verdict.judgements)
        assert str(verdict) == (
            "3 of 100 acknowledged jobs are not in the database; 2 jobs are in the database more than "
            "once; 4 jobs in the database were never acknowledged, and 1 failed iterations explain 3; "
            "5 jobs were acknowledged more than once, so that several operations left the work of one; "
            "1 jobs in the database were never asked for\n  lost: job-1"
        )

    @pytest.mark.parametrize(("ambiguous", "holds"), [(6, True), (7, False)])
    def test_failed_iterations_explain_what_they_may_have_left(
        self, ambiguous: int, holds: bool
    ) -> None:
        verdict = judge_rows(finding(ambiguous=ambiguous), failed=2, keys_per_iteration=3)
        assert (not verdict.breaches) is holds

    def test_nothing_acknowledged_proves_nothing(self) -> None:
        nothing = finding(acknowledged=0, present=0)
        for verdict in (
            judge_rows(nothing, failed=0, keys_per_iteration=1),
            judge_sightings(nothing, allow_unseen=0),
        ):
            assert "no jobs were acknowledged, so nothing is proven" in str(verdict)
            assert not verdict.judgements[0].passed

    @pytest.mark.parametrize(("unseen", "holds"), [(0, True), (5, True), (6, False)])
    def test_of_a_share_no_reading_need_tell(self, unseen: int, holds: bool) -> None:
        found = finding(unseen=unseen, present=100 - unseen, repeated=None)
        assert (not judge_sightings(found, allow_unseen=0.05).breaches) is holds
        assert (not judge_sightings(found, allow_unseen=0).breaches) is (unseen == 0)
