"""What a failed condition says of itself: when, how long, what the stack did then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.proof.findings import DatabaseMoment, ProcessMoment
from pytest_certload.report.blocks import bar, histogram_lines, sparkline
from pytest_certload.report.explain import explain, fitting, told_as
from pytest_certload.report.hints import hint
from pytest_certload.report.record import ErrorRecord, RunRecord, ThresholdRecord
from pytest_certload.report.summary_files import write_summary
from pytest_certload.report.terminal import failure_text
from pytest_certload.report.when import format_spells, spells_of
from pytest_certload.samples import Observation, Outcome, Samples
from pytest_certload.stats.distribution import ExactTimes
from pytest_certload.stats.histogram import Histogram, histogram_of
from pytest_certload.stats.slowest import slowest_of
from pytest_certload.stats.timeline import timeline_of

from .test_report import DATABASE, NOTHING, PROOF, RECORD

MS = 1_000_000
SECOND = 1_000 * MS
P95 = ThresholdRecord(
    metric="response time p95",
    step=None,
    condition="< 200 ms",
    actual="1.2 s",
    passed=False,
    missed_by="1 s, 6 times the limit",
    interval="900 ms – 1.5 s",
    limit=200 * MS,
)
ERROR_RATE = ThresholdRecord(
    metric="error rate", step=None, condition="< 1 %", actual="10 %", passed=False, limit=0.01
)


def run_of(
    times: Sequence[int], *, rate: int = 50, failed: Sequence[int] = (), errors: int = 0
) -> RunRecord:
    """A run of so many response times, milliseconds, due at a constant rate."""
    rows = [
        Observation(
            step=0,
            index=number,
            due=number * SECOND // rate,
            start=number * SECOND // rate,
            sent=number * SECOND // rate,
            end=number * SECOND // rate + took * MS,
            outcome=Outcome.UNEXPECTED_STATUS if number in failed else Outcome.OK,
            status=503 if number in failed else 200,
        )
        for number, took in enumerate(times)
    ]
    samples = Samples.from_observations(rows, steps=("storm",))
    seconds = len(times) / rate
    figures = np.array([took * MS for took in times], np.int64)
    return replace(
        RECORD,
        steps=(),
        validity="valid",
        validity_reasons=(),
        duration_seconds=seconds,
        parameters={"rate": float(rate), "warm_up_seconds": 2.0},
        timeline=timeline_of(samples, begin=0, end=round(seconds * SECOND)),
        slowest=slowest_of(samples, begin=0),
        iterations=replace(
            RECORD.iterations,
            count=len(times),
            errors=len(failed),
            histogram=histogram_of(ExactTimes(figures)),
        ),
        proof=replace(PROOF, database=None, processes=()),
        errors=(),
    )


def stalled(*, begin: float = 12, seconds: float = 2, length: int = 20) -> RunRecord:
    """At 50/s everything due in a stall is answered when it ends; else in 10 ms."""
    end = begin + seconds
    due = [number / 50 for number in range(50 * length)]
    return run_of([round(1000 * (end - at)) + 10 if begin <= at < end else 10 for at in due])


class TestTheHeadline:
    def test_of_a_stall_says_when_and_that_nothing_was_answered(self) -> None:
        assert explain(stalled(), P95, unicode=True).headline == (
            "one spell, from 12 s to 13.9 s: p95 up to 2.01 s; outside of it 10 ms",
            "nothing was answered for 2 s, from 12 s to 14 s, while 100 waited",
        )

    def test_tells_what_database_and_processes_did_then(self) -> None:
        # Their moments count from the begin of the load, two seconds of warm-up earlier.
        looks = [
            DatabaseMoment(at=n / 2, active=2, blocked=0, wait="IO:WalSync") for n in range(28)
        ] + [DatabaseMoment(at=n / 2, active=40, blocked=39, wait="Lock:tuple") for n in (28, 30)]
        readings = [
            ProcessMoment(at=float(n), cores=0.05 if n in (15, 16) else 0.5, memory=None)
            for n in range(1, 22)
        ]
        proof = replace(
            PROOF,
            database=replace(DATABASE, moments=tuple(looks)),
            processes=tuple(
                replace(PROOF.processes[0], name=name, moments=tuple(readings))
                for name in ("server", "generator")
            ),
        )
        told = explain(replace(stalled(), proof=proof), P95, unicode=True).headline[2:]
        assert told == (
            "database then: mostly waits for Lock:tuple; 40.0 connections at work, "
            "39 waited for a lock; else 2.0 at work",
            "cores in use then: server 0.05 (else 0.50), generator 0.05 (else 0.50)",
        )

    def test_a_database_that_was_not_asked(self) -> None:
        looks = [DatabaseMoment(at=n / 2, active=0, blocked=0, wait=None) for n in range(40)]
        proof = replace(PROOF, processes=(), database=replace(DATABASE, moments=tuple(looks)))
        told = explain(replace(stalled(), proof=proof), P95, unicode=True).headline
        assert "database then: idle, so the requests did not get there; else 0.0 at work" in told

    def test_slow_all_along(self) -> None:
        run = run_of([300, 310, 320, 330, 340] * 100)
        assert explain(run, P95, unicode=True).headline == (
            "all along, in 100 % of the run, p95 340 ms in a usual moment",
        )

    def test_a_server_that_does_not_keep_up(self) -> None:
        run = run_of([10 + 3 * number for number in range(500)])
        when, climb = explain(run, P95, unicode=True).headline
        assert when == "all along, in 88 % of the run, p95 854 ms in a usual moment"
        assert climb == (
            "it climbs, from 164 ms to 1.36 s: the server does not keep up; 3 waited at most"
        )

    def test_from_a_moment_on(self) -> None:
        run = run_of([10] * 500 + [300] * 500)
        assert explain(run, P95, unicode=True).headline[0] == (
            "one spell, from 10 s until the end: p95 up to 300 ms; outside of it 10 ms"
        )

    def test_again_and_again(self) -> None:
        run = run_of([300 if number // 50 % 4 == 3 else 10 for number in range(1000)])
        assert explain(run, P95, unicode=True).headline[0] == (
            "again and again: 5 spells, 25 % of the run, the longest from 3 s to 4 s: "
            "p95 up to 300 ms; outside of them 10 ms"
        )

    def test_of_errors_says_when_and_what_they_mean(self) -> None:
        failed = range(100, 150)
        run = replace(
            run_of([10] * 500, failed=failed),
            errors=(
                ErrorRecord(
                    step="storm",
                    outcome="unexpected status",
                    message="expected status 200, got 503",
                    count=40,
                    traceback=None,
                ),
                ErrorRecord(step="storm", outcome="timeout", message="", count=10, traceback=None),
            ),
        )
        assert explain(run, ERROR_RATE, unicode=True).headline == (
            "50 of 500 failed: one spell, from 2 s to 3 s",
            "unexpected status, 40 times: expected status 200, got 503",
            "  the server, or a proxy before it, had no capacity to answer: look at its pools and workers",
            "also timeout ×10",
        )

    def test_a_message_of_many_lines_is_one_and_short(self) -> None:
        drawing = "Bad status line:\n  Expected HTTP/:\n\n" + "x" * 400 + "\n  ^"
        run = replace(RECORD, errors=(replace(RECORD.errors[0], message=drawing),))
        _, kind, meaning, *_ = explain(run, ERROR_RATE, unicode=True).headline
        assert kind.startswith(
            "unexpected status in new-nonce, 2 times: Bad status line: Expected HTTP/: xxx"
        )
        assert len(kind) < 260
        assert "longer than its Content-Length" in meaning

    def test_without_a_success_the_errors_say_why_there_are_no_times(self) -> None:
        nothing = replace(RECORD.iterations, response_time=NOTHING, errors=100)
        run = replace(RECORD, iterations=nothing, timeline=None)
        when, kind, *_ = explain(run, P95, unicode=True).headline
        assert when == "100 of 100 failed"
        assert kind.startswith("unexpected status in new-nonce, 2 times: ")

    def test_of_errors_names_the_steps(self) -> None:
        run = replace(RECORD, steps=tuple(replace(RECORD.steps[1], name=name) for name in "ab"))
        assert "in a 2 of 100, b 2 of 100" in explain(run, ERROR_RATE, unicode=True).headline

    def test_a_disturbed_generator_is_said(self) -> None:
        assert (
            "the generator was disturbed: the machine's host gave 12% of its CPU time to others"
            in explain(RECORD, ERROR_RATE, unicode=True).headline
        )

    def test_a_step_that_never_ran(self) -> None:
        found = explain(RECORD, replace(P95, step="three"), unicode=True)
        assert found.headline == (
            "step 'three' was never finished; steps that were: directory, new-nonce",
        )

    @pytest.mark.parametrize("metric", ["response time p99.9", "service time p95", "nonces lost"])
    def test_figures_without_a_timeline_of_their_own_make_no_trouble(self, metric: str) -> None:
        run = replace(stalled(), timeline=None, slowest=(), curves={})
        explain(run, replace(P95, metric=metric, limit=None), unicode=True)
        explain(run, replace(P95, metric=metric), unicode=True)

    @given(st.lists(st.integers(1, 4000), min_size=1, max_size=300), st.integers(1, 200))
    def test_a_limit_that_was_missed_was_missed_in_some_part(
        self, times: list[int], rate: int
    ) -> None:
        run = run_of(times, rate=rate)
        p95 = ExactTimes(np.array(times, np.int64) * MS).percentile(95)
        assert p95 is not None
        missed = replace(P95, limit=float(p95), condition="< x")
        assert explain(run, missed, unicode=False).headline


class TestTheDetail:
    def test_is_a_histogram_with_the_limit_and_the_slowest(self) -> None:
        lines = explain(stalled(), P95, unicode=True).detail
        assert lines[0] == "response times of whole iterations:"
        assert lines[1] == "    10 ms – 16 ms  ██████████████████████████████ 900  90.0 %"
        (marked,) = (line for line in lines if "limit" in line)
        assert marked.startswith("  160 ms – 250 ms  ")
        assert marked.endswith("◄ limit 200 ms")
        assert lines[-6] == "the slowest requests:"
        assert lines[-5] == "  2.01 s  due at 12 s     iteration 600  status 200"
        assert max(map(len, lines)) <= 80

    def test_says_what_was_only_waited_for(self) -> None:
        run = stalled()
        slow = replace(run.slowest[0], service_time=10 * MS, outcome="unfinished", status=0)
        lines = explain(replace(run, slowest=(slow,)), P95, unicode=True).detail
        assert lines[-1] == (
            "  2.01 s  due at 12 s  iteration 600  no answer  unfinished  waited 2 s to be sent"
        )

    @given(
        st.lists(st.integers(0, 10**11), min_size=1, max_size=40),
        st.one_of(st.none(), st.integers(0, 10**11)),
        st.booleans(),
    )
    def test_every_histogram_fits_and_marks_its_limit(
        self, times: list[int], limit: int | None, unicode: bool
    ) -> None:
        found = histogram_of(ExactTimes(np.array(times, np.int64)))
        assert found is not None
        lines = histogram_lines(found, limit=limit, unicode=unicode)
        assert len(lines) <= 13
        assert all(len(line) <= 80 for line in lines)
        assert sum("limit" in line for line in lines) == (limit is not None)
        if not unicode:
            assert "\n".join(lines).replace("µ", "u").isascii()

    def test_the_limit_stands_where_it_lies(self) -> None:
        found = Histogram(edges=(4 * MS, 5 * MS, 6_300_000), counts=(90, 1))
        assert histogram_lines(found, limit=5.5 * MS, unicode=True) == [
            "  4 ms – 5 ms  ██████████████████████████████ 90  98.9 %",
            "5 ms – 6.3 ms  ▍                               1   1.1 %  ◄ limit 5.5 ms",
        ]
        assert histogram_lines(found, limit=5.5 * MS, unicode=False) == [
            "  4 ms - 5 ms  ############################## 90  98.9 %",
            "5 ms - 6.3 ms  #                               1   1.1 %  < limit 5.5 ms",
        ]
        below, above = (histogram_lines(found, limit=x * MS, unicode=True) for x in (1, 9))
        assert below[0] == "limit 1 ms: all of them lie above it"
        assert above[-1] == "limit 9 ms: all of them lie below it"


class TestSpells:
    def test_neighbours_are_one_and_parts_without_requests_keep_nobody_apart(self) -> None:
        wrong = [False, True, None, None, True, False, False, False, True, False]
        found = spells_of(wrong, width=1, length=10)
        assert found is not None
        assert [(spell.begin, spell.end) for spell in found.found] == [(1, 5), (8, 9)]
        assert format_spells(found) == "2 spells, from 1 s to 5 s, from 8 s to 9 s"

    def test_nothing_wrong_is_none(self) -> None:
        assert spells_of([False, None], width=1, length=2) is None

    @given(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=100))
    def test_everything_wrong_lies_in_a_spell(self, wrong: list[bool | None]) -> None:
        found = spells_of(wrong, width=0.5, length=len(wrong) / 2)
        spells = () if found is None else found.found
        for number, part in enumerate(wrong):
            within = any(s.begin <= number / 2 < s.end for s in spells)
            assert within or not part
        assert all(a.end < b.begin for a, b in pairwise(spells))

    def test_a_slow_server_is_not_silent(self) -> None:
        slow = run_of([900] * 500)
        assert not any(
            "nothing was answered" in line for line in explain(slow, P95, unicode=True).headline
        )


class TestWhatIsSaidOnce:
    def test_the_section_leaves_out_what_the_assertion_says(self) -> None:
        run = replace(stalled(), thresholds=(P95,), comparison=None, failure="assert …")
        whole = failure_text(run)
        assert whole.startswith(f"{told_as(P95)}\none spell, from 12 s to 13.9 s: p95 up to 2.01 s")
        said = [told_as(P95), *explain(run, P95, unicode=False).headline]
        rest = failure_text(run, told=said)
        assert rest.startswith("response times of whole iterations:\n")
        assert not any(line in rest for line in said)
        assert "FAIL response time p95" not in rest

    def test_the_summary_for_people_says_it_too(self, tmp_path: Path) -> None:
        _, text = write_summary(replace(stalled(), thresholds=(P95,)), tmp_path)
        lines = text.read_text("utf-8").splitlines()
        at = lines.index(told_as(P95))
        assert lines[at + 1].startswith("one spell, from 12 s to 13.9 s")
        assert any("◄ limit 200 ms" in line for line in lines)

    def test_a_stall_is_said_though_no_condition_was_missed(self) -> None:
        run = replace(stalled(), thresholds=(), failure="InvalidRun: not offered")
        assert failure_text(run).startswith("nothing was answered for 2 s, from 12 s to 14 s")

    def test_a_condition_is_told_as_its_judgement_is(self) -> None:
        assert told_as(P95) == (
            "response time p95 = 1.2 s (900 ms – 1.5 s, 95 % sure), wanted < 200 ms "
            "(missed by 1 s, 6 times the limit)"
        )
        assert told_as(replace(P95, step="a", decided=False, interval=None)) == (
            "response time p95 of step a = 1.2 s, wanted < 200 ms "
            "(missed by 1 s, 6 times the limit); not decided by so few samples"
        )

    @given(st.lists(st.text(max_size=300), max_size=12))
    def test_pytest_shows_all_that_fits(self, lines: list[str]) -> None:
        shown = lines[: fitting(lines)]
        assert len(shown) <= 8
        assert len(shown) <= 1 or sum(map(len, shown)) <= 600
        assert bool(shown) == bool(lines)


class TestHints:
    @pytest.mark.parametrize(
        ("message", "meaning"),
        [
            (
                "BadHttpMessage: 400, message:\n  Bad status line 'x'",
                "longer than its Content-Length",
            ),
            ("JSONDecodeError: Unterminated string", "a Content-Length that is too small"),
            (
                "ClientPayloadError: Response payload is not completed",
                "Content-Length that is too large",
            ),
            (
                "the connection was lost before the body was whole",
                "Content-Length that is too large",
            ),
            ("ServerDisconnectedError: Server disconnected", "keep-alive time"),
            ("ConnectionRefusedError: [Errno 111] Connect call failed", "nothing listens"),
        ],
    )
    def test_say_what_an_error_usually_means(self, message: str, meaning: str) -> None:
        assert meaning in (hint(message) or "")

    def test_what_speaks_for_itself_has_none(self) -> None:
        assert hint("the basket is empty") is None


class TestBlocks:
    @given(st.floats(0, 1), st.integers(1, 40), st.booleans())
    def test_a_bar_fits_and_shows_what_is_not_nothing(
        self, share: float, width: int, unicode: bool
    ) -> None:
        drawn = bar(share, width=width, unicode=unicode)
        assert len(drawn) <= width
        assert bool(drawn) == bool(share)

    def test_a_sparkline_is_as_high_as_its_values(self) -> None:
        assert sparkline([0, 1, None, 8, 4], unicode=True) == "▁▂ █▅"
        assert sparkline([0, 1, None, 8, 4], unicode=False) == "_. @+"
        assert sparkline([None], unicode=True) == " "
