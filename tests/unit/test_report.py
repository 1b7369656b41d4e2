from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Callable
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.errors import ReportError
from pytest_certload.proof import findings
from pytest_certload.proof.findings import (
    BacklogFinding,
    BacklogMoment,
    CheckFinding,
    DatabaseFinding,
    DatabaseMoment,
    EffectsFinding,
    ProcessFinding,
    ProcessMoment,
    ProofRecord,
    StateFinding,
    StatementFinding,
    TableFinding,
    WaitFinding,
)
from pytest_certload.report.junit import junit_properties
from pytest_certload.report.record import (
    ComparedFigure,
    ComparisonRecord,
    ErrorRecord,
    GeneratorRecord,
    RunRecord,
    ThresholdRecord,
)
from pytest_certload.report.summary_files import check_writable, write_summary
from pytest_certload.report.terminal import (
    closing_table,
    failure_text,
)
from pytest_certload.stats.curve import Curve
from pytest_certload.stats.histogram import Histogram
from pytest_certload.stats.slowest import SlowRequest
from pytest_certload.stats.summary import IntervalSummary, LatencySummary, StepSummary
from pytest_certload.stats.timeline import StepTimeline, Timeline

MS = 1_000_000
NOTHING = LatencySummary(
    count=0, mean=None, min=None, p50=None, p90=None, p95=None, p99=None, max=None
)
SOME = LatencySummary(
    count=98, mean=5 * MS, min=MS, p50=4 * MS, p90=8 * MS, p95=9 * MS, p99=20 * MS, max=30 * MS
)
SCHEMA = json.loads(
    files("pytest_certload.report").joinpath("summary.schema.json").read_text("utf-8")
)


def step(name: str, latency: LatencySummary = SOME, errors: int = 2) -> StepSummary:
    return StepSummary(
        name=name,
        count=100,
        ok=100 - errors,
        errors=errors,
        error_rate=errors / 100,
        rate=50.0,
        statuses={200: 100 - errors, 503: errors},
        outcomes={"ok": 100 - errors, "unexpected status": errors},
        response_time=latency,
        service_time=latency,
        received_bytes=12_345,
        phases={"first byte": latency},
        histogram=Histogram(edges=(4 * MS, 5 * MS, 6_300_000), counts=(90, 8)),
    )


GENERATOR = GeneratorRecord(
    lag=SOME,
    loop_lag_p50=MS // 10,
    loop_lag_p99=2 * MS,
    loop_lag_max=7 * MS,
    cpu_share=0.25,
    busy_share=0.0,
    wait_share=None,
    steal_share=0.12,
    gc_pauses=3,
    gc_longest=MS,
    gc_total=2 * MS,
    memory_growth=4096,
)
DATABASE = DatabaseFinding(
    seconds=2.5,
    settings="0123456789ab",
    commits=300,
    rollbacks=0,
    deadlocks=0,
    cache_hit_share=0.999,
    read_bytes=None,
    written_bytes=8192,
    wal_bytes=1_000_000,
    wal_records=5_000,
    wal_full_pages=12,
    statements=(
        StatementFinding(
            query="UPDATE agents SET …", calls=100, seconds=0.2, rows=100, wal_bytes=9000
        ),
    ),
    statement_seconds=0.25,
    tables=(
        TableFinding(
            name="agents",
            inserted=0,
            updated=100,
            deleted=0,
            hot_share=0.0,
            dead=100,
            table_growth=16_384,
            index_growth=8192,
        ),
    ),
    waits=(WaitFinding(event="Lock:tuple", share=0.4), WaitFinding(event="CPU", share=0.6)),
    moments=(DatabaseMoment(at=0.5, active=3, blocked=1, wait="Lock:tuple"),),
    active_mean=3.0,
    active_peak=3,
    blocked_peak=1,
    cost=0.004,
    cost_share=0.0016,
    missing=("pg_stat_io: this is Postgres 15, which has none",),
)
PROOF = ProofRecord(
    state=StateFinding(
        fingerprint="fedcba987654",
        rows={"agents": 5000, "teams": 1},
        origin="template, cloned in 0.12 s",
        cost=0.01,
        missing=("rows of events: too large to be counted before each load",),
    ),
    preflight=(
        CheckFinding(name="reachable", passed=True, detail="127.0.0.1:8443", seconds=0.05),
        CheckFinding(name="limiter", passed=True, detail="150 calls, no 429", seconds=0.16),
    ),
    effects=(
        EffectsFinding(
            name="renewal jobs",
            acknowledged=100,
            present=99,
            lost=1,
            unseen=0,
            ambiguous=2,
            strangers=None,
            duplicated=0,
            repeated=0,
            examples=("job-1 (iteration 7, acknowledged 0.2 s into the load)",),
            waited=10.0,
            readings=9,
            cost=0.25,
        ),
    ),
    backlogs=(
        BacklogFinding(
            name="audit rows",
            wanted=100,
            done=100,
            peak=12,
            caught_up=0.3,
            limit=10.0,
            broken=None,
            moments=(BacklogMoment(at=1.0, wanted=50, done=38),),
        ),
        BacklogFinding(
            name="queued jobs",
            wanted=10,
            done=10,
            peak=10,
            caught_up=0.0,
            limit=10.0,
            broken=None,
            moments=(
                BacklogMoment(at=0.5, wanted=10, done=6),
                BacklogMoment(at=1.0, wanted=10, done=10),
            ),
            done_after={"50": 0.5, "95": 1.0, "100": 1.0},
        ),
    ),
    database=DATABASE,
    processes=(
        ProcessFinding(
            name="server",
            cpu_seconds=2.0,
            cores=1.0,
            memory_peak=100_000_000,
            descriptors_peak=None,
            switches=1000,
            forced_switches=10,
            died_at=None,
            death=None,
            events=("crash recovery",),
            moments=(ProcessMoment(at=1.0, cores=1.0, memory=99_000_000),),
            missing=("descriptors",),
        ),
    ),
    limit="the server: 1.9 of 2 cores",
)
STEP_TIMELINE = StepTimeline(
    name="storm",
    count=(50, 50),
    errors=(0, 2),
    p50=(5 * MS, None),
    p95=(8 * MS, None),
    p99=(9 * MS, None),
    max=(9 * MS, None),
)
RECORD = RunRecord(
    nodeid="tests/scale/test_it.py::test_storm",
    scenario="storm",
    executor="constant_arrival_rate",
    parameters={"rate": 50.0, "duration_seconds": 2.0, "max_in_flight": 10},
    state="failed",
    reduced=("duration 2 s instead of 5m",),
    started_at="2026-01-02T03:04:05.678+00:00",
    duration_seconds=2.0,
    drain_seconds=0.25,
    offered=100,
    started=100,
    finished=100,
    dropped=0,
    unfinished=0,
    requests=200,
    unanswered=3,
    offered_rate=50.0,
    achieved_rate=49.5,
    backlog_peak=3,
    in_flight_peak=10,
    percentile_error=None,
    lateness=SOME,
    validity="suspect",
    validity_reasons=("the machine's host gave 12% of its CPU time to others",),
    generator=GENERATOR,
    iterations=step("storm"),
    steps=(step("directory", errors=0), step("new-nonce", replace(SOME, p95=900 * MS))),
    thresholds=(
        ThresholdRecord(
            metric="response time p95", step=None, condition="< 500 ms", actual="9 ms", passed=True
        ),
        ThresholdRecord(
            metric="error rate", step="new-nonce", condition="< 1 %", actual="2 %", passed=False
        ),
    ),
    timeline=Timeline(
        width=1.0,
        due=(50, 50),
        started=(50, 50),
        in_flight=(1, 0),
        backlog=(0, 0),
        iterations=STEP_TIMELINE,
        steps=(replace(STEP_TIMELINE, name="directory"),),
    ),
    curves={"response time": Curve(percents=(0.0, 50.0, 100.0), values=(1 * MS, 5 * MS, 9 * MS))},
    slowest=(
        SlowRequest(
            step="directory",
            iteration=7,
            due=0.5,
            response_time=9 * MS,
            service_time=8 * MS,
            status=200,
            outcome="ok",
        ),
    ),
    unsettled_seconds=0.5,
    comparison=ComparisonRecord(
        baseline="main",
        saved_at="2026-01-01T03:04:05+00:00",
        version="0.1.0",
        differences=("stack: docker (embedded then)",),
        figures=(
            ComparedFigure(
                metric="response time p95",
                step=None,
                kind="duration",
                before=8.0 * MS,
                after=9.0 * MS,
                change=0.125,
                low=0.05,
                high=0.2,
                verdict="higher",
                limit="p95:10%",
                passed=False,
            ),
        ),
    ),
    proof=PROOF,
    errors=(
        ErrorRecord(
            step="new-nonce",
            outcome="unexpected status",
            message="expected status 200, got 503",
            count=2,
            traceback=None,
        ),
    ),
    failure="assert error rate of step new-nonce = 2 %, wanted < 1 %",
    stack={
        "stack": "embedded",
        "server": "certctl reference server 0.1.0",
        "postgres_fsync": "off",
    },
    environment={"python": "3.11.7", "cpu_count": "2"},
    steps_together=replace(step("steps"), count=200, ok=198),
)

words = st.text(max_size=30)
latencies = st.builds(
    LatencySummary,
    **{
        name: st.one_of(st.none(), st.integers(0, 2**62))
        for name in ("mean", "min", "p50", "p90", "p95", "p99", "max")
    },
    count=st.integers(0, 10**9),
)
steps = st.builds(
    StepSummary,
    name=words,
    count=st.integers(0, 10**9),
    ok=st.integers(0, 10**9),
    errors=st.integers(0, 10**9),
    error_rate=st.one_of(st.none(), st.floats(0, 1)),
    rate=st.floats(0, 1e9),
    statuses=st.dictionaries(st.integers(0, 599), st.integers(0, 10**9), max_size=4),
    outcomes=st.dictionaries(
        st.sampled_from(["ok", "timeout", "dropped"]), st.integers(0, 10**9), max_size=3
    ),
    response_time=latencies,
    service_time=latencies,
    received_bytes=st.integers(0, 2**62),
    phases=st.dictionaries(st.sampled_from(["first byte", "dns", "connect", "tls"]), latencies),
    intervals=st.lists(
        st.builds(
            IntervalSummary,
            percent=st.sampled_from([50, 95, 99]),
            low=st.one_of(st.none(), st.integers(0, 2**62)),
            high=st.one_of(st.none(), st.integers(0, 2**62)),
            effective=st.integers(0, 10**9),
        ),
        max_size=2,
    ).map(tuple),
    histogram=st.one_of(st.none(), st.just(Histogram(edges=(4 * MS, 5 * MS), counts=(3,)))),
)
generators = st.builds(
    replace,
    st.just(GENERATOR),
    lag=latencies,
    wait_share=st.one_of(st.none(), st.floats(0, 1)),
    cpu_share=st.floats(0, 64),
)
numbers = st.floats(0, 1e9)
checks = st.builds(CheckFinding, name=words, passed=st.booleans(), detail=words, seconds=numbers)
databases = st.builds(
    replace,
    st.just(DATABASE),
    cache_hit_share=st.one_of(st.none(), st.floats(0, 1)),
    waits=st.lists(st.builds(WaitFinding, event=words, share=st.floats(0, 1))).map(tuple),
    cost=numbers,
)
proofs = st.builds(
    replace,
    st.just(PROOF),
    preflight=st.lists(checks, max_size=2).map(tuple),
    database=st.one_of(st.none(), databases),
    limit=st.one_of(st.none(), words),
)
records = st.builds(
    replace,
    st.just(RECORD),
    steps=st.lists(steps, max_size=2).map(tuple),
    steps_together=st.one_of(st.none(), steps),
    iterations=steps,
    percentile_error=st.one_of(st.none(), st.floats(0, 1)),
    proof=proofs,
    lateness=latencies,
    generator=st.one_of(st.none(), generators),
    validity_reasons=st.lists(words, max_size=2).map(tuple),
    failure=st.one_of(st.none(), words),
    stack=st.dictionaries(words, words, max_size=3),
    reduced=st.lists(words, max_size=2).map(tuple),
    errors=st.lists(
        st.builds(
            ErrorRecord,
            step=words,
            outcome=words,
            message=words,
            count=st.integers(1, 10**9),
            traceback=st.one_of(st.none(), words),
        ),
        max_size=2,
    ).map(tuple),
)


class TestTheDocument:
    @given(records)
    def test_comes_back_exactly(self, record: RunRecord) -> None:
        assert RunRecord.from_dict(json.loads(json.dumps(record.to_dict()))) == record

    @given(records)
    def test_is_as_its_schema_says(self, record: RunRecord) -> None:
        validator = jsonschema.Draft202012Validator(
            SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
        )
        validator.validate(json.loads(json.dumps(record.to_dict())))

    def test_the_schema_is_one(self) -> None:
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def test_every_field_is_documented(self) -> None:
        text = (Path(__file__).parents[2] / "docs" / "summary-schema.md").read_text("utf-8")
        for name in SCHEMA["properties"]:
            assert f"`{name}`" in text, name

    def test_the_schema_knows_every_finding(self) -> None:
        for name in findings.__all__:
            kind = getattr(findings, name)
            if name.endswith(("Finding", "Moment", "ProofRecord")):
                words = re.sub("(?<!^)(?=[A-Z])", "_", re.sub("Finding|Record", "", name)).lower()
                assert list(SCHEMA["$defs"][words]["properties"]) == [f.name for f in fields(kind)]

    def test_a_newer_one_is_refused(self) -> None:
        with pytest.raises(ReportError, match="schema version 5 cannot be read here"):
            RunRecord.from_dict({**RECORD.to_dict(), "schema_version": 5})

    def test_of_an_older_one_it_is_not_known_when_work_was_done_that_waited(self) -> None:
        old = RECORD.to_dict()
        for backlog in old["proof"]["backlogs"]:
            del backlog["done_after"]
        read = RunRecord.from_dict({**old, "schema_version": 3})
        assert [backlog.done_after for backlog in read.proof.backlogs] == [{}, {}]
        del old["proof"]["backlogs"][0]["wanted"]
        with pytest.raises(ReportError, match=r"certload: proof\.backlogs\[0\]\.wanted is missing"):
            RunRecord.from_dict({**old, "schema_version": 3})

    def test_an_older_one_is_read_with_what_it_has(self) -> None:
        old = RECORD.to_dict()
        of_schema_4 = (
            "requests",
            "unanswered",
            "timeline",
            "curves",
            "slowest",
            "unsettled_seconds",
            "comparison",
            "steps_together",
        )
        of_schema_2 = ("validity", "validity_reasons", "generator", "percentile_error")
        for name in (*of_schema_2, "proof", *of_schema_4):
            del old[name]
        for threshold in old["thresholds"]:
            del (
                threshold["missed_by"],
                threshold["interval"],
                threshold["decided"],
                threshold["limit"],
            )
        for step in (old["iterations"], *old["steps"]):
            del step["received_bytes"], step["phases"], step["intervals"], step["histogram"]
        read = RunRecord.from_dict({**old, "schema_version": 1})
        assert (read.validity, read.generator, read.schema_version) == ("unjudged", None, 4)
        assert read.proof == ProofRecord()
        assert (read.timeline, read.curves, read.slowest, read.comparison) == (None, {}, (), None)
        assert read.iterations == replace(
            RECORD.iterations, received_bytes=0, phases={}, histogram=None
        )
        assert read.thresholds == RECORD.thresholds

    @pytest.mark.parametrize(
        "change",
        [
            {"steps": [{}]},
            {"lateness": None},
            {"unheard_of": 1},
            {"steps": None},
            {"iterations": {"statuses": {"x": 1}}},
            {"iterations": None, "schema_version": 1},
            {"steps": [None], "schema_version": 1},
            {"stack": None},
            {"stack": {"stack": 1}},
            {"duration_seconds": math.nan},
            {"offered": True},
            {"failure": []},
        ],
    )
    def test_something_else_is_refused(self, change: dict[str, Any]) -> None:
        with pytest.raises(ReportError, match="not a summary of pytest-certload"):
            RunRecord.from_dict({**RECORD.to_dict(), **change})

    @pytest.mark.parametrize("document", [[], None, "text", 1])
    def test_what_is_no_object_is_refused(self, document: Any) -> None:
        with pytest.raises(ReportError, match="not a summary of pytest-certload: it is no object"):
            RunRecord.from_dict(document)


class TestTheFiles:
    def test_hold_the_document_and_the_table(self, tmp_path: Path) -> None:
        document, text = write_summary(RECORD, tmp_path / "new" / "results")
        assert document == tmp_path / "new" / "results" / "summary-storm.json"
        assert RunRecord.from_dict(json.loads(document.read_text("utf-8"))) == RECORD
        assert "new-nonce" in text.read_text("utf-8")
        assert sorted(p.name for p in document.parent.iterdir()) == [
            "summary-storm.json",
            "summary-storm.txt",
        ]

    def test_can_be_read_by_others(self, tmp_path: Path) -> None:
        before = os.umask(0o022)
        try:
            for path in write_summary(RECORD, tmp_path):
                assert stat.S_IMODE(path.stat().st_mode) == 0o644
        finally:
            os.umask(before)

    def test_a_full_disk_leaves_the_earlier_file_and_nothing_else(
        self, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        write_summary(RECORD, tmp_path)
        before = {p: p.read_bytes() for p in tmp_path.iterdir()}
        request.getfixturevalue("full_disk")
        with pytest.raises(ReportError, match=r"--certload-results .*No space left on device"):
            write_summary(replace(RECORD, state="passed"), tmp_path)
        assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before

    @pytest.mark.parametrize("attempt", [check_writable, lambda path: write_summary(RECORD, path)])
    def test_a_folder_that_is_a_file(self, tmp_path: Path, attempt: Callable[[Path], Any]) -> None:
        (tmp_path / "results").write_text("taken")
        with pytest.raises(ReportError, match=r"--certload-results .*results.*name a folder"):
            attempt(tmp_path / "results")

    def test_a_check_leaves_nothing(self, tmp_path: Path) -> None:
        check_writable(tmp_path / "results")
        assert list((tmp_path / "results").iterdir()) == []


class TestJunit:
    def test_times_are_plain_seconds(self) -> None:
        properties = dict(junit_properties(RECORD))
        assert properties["certload.storm.response_time.p95"] == "0.009"
        assert properties["certload.storm.new-nonce.response_time.p95"] == "0.9"
        assert properties["certload.storm.error_rate"] == "0.02"
        assert properties["certload.storm.full_contract"] == "false"
        assert properties["certload.storm.stack.server"] == "certctl reference server 0.1.0"

    def test_what_was_not_measured_is_left_out(self) -> None:
        record = replace(RECORD, iterations=step("storm", NOTHING), steps=())
        assert not [name for name, _ in junit_properties(record) if "_time" in name]

    @given(records)
    def test_figures_are_decimals(self, record: RunRecord) -> None:
        for name, value in junit_properties(record):
            if re.search(r"_time\.|rate$|\.duration$", name) and ".stack." not in name:
                assert re.fullmatch(r"[0-9]+(\.[0-9]+)?", value), (name, value)


class TestTheTable:
    def test_wide(self) -> None:
        assert closing_table([RECORD], width=140, unicode=True) == [
            "on the embedded stack: certctl reference server 0.1.0",
            "",
            "storm: failed",
            "  constant_arrival_rate: offered 50/s, achieved 49.5/s for 2 s",
            "  100 due, 100 finished, 0 dropped, 0 unfinished; in flight up to 10, backlog up to 3",
            "  3 of 200 requests got no answer",
            "  generator suspect: lag p99 20 ms, event loop p99 2 ms late, 25 % of a core, garbage collection at most 1 ms",
            "  suspect: the machine's host gave 12% of its CPU time to others",
            "  preflight: 2 checks passed in 210 ms",
            "  reduced, not the full contract: duration 2 s instead of 5m",
            "  not settled: response times were coming down for 500 ms; warm up for longer",
            "  cpu: server 1.00 of 2 cores; memory 100 MB",
            "  limit: the server: 1.9 of 2 cores",
            "  server: crash recovery",
            "              count  rate  errors                  p50   p90     p95    p99    max",
            "  iterations    100  50/s       2  response time  4 ms  8 ms    9 ms  20 ms  30 ms",
            "                                   service time   4 ms  8 ms    9 ms  20 ms  30 ms",
            "  directory     100  50/s       0  response time  4 ms  8 ms    9 ms  20 ms  30 ms",
            "                                   service time   4 ms  8 ms    9 ms  20 ms  30 ms",
            "  new-nonce     100  50/s       2  response time  4 ms  8 ms  900 ms  20 ms  30 ms",
            "                                   service time   4 ms  8 ms  900 ms  20 ms  30 ms",
            "  database: 3.0 connections at work, 3 at most (Lock:tuple 40 %, CPU 60 %); "
            "cache hits 99.9 %; evidence 0.16 %",
            "  audit rows: 100 of 100, 12 behind at most, the last one 300 ms after the load",
            "  queued jobs: 10 of 10, 50 % after 500 ms, 95 % after 1 s, 100 % after 1 s, 10/s",
            "  ✓ response time p95 < 500 ms (9 ms)",
            "  ✗ new-nonce: error rate < 1 % (2 %)",
            "  beside baseline main of 2026-01-01:",
            "    differs: stack: docker (embedded then)",
            "    ✗ response time p95 9 ms, was 8 ms: +12.5 % (+5 to +20), higher; at most p95:10%",
        ]

    def test_what_it_ran_on_is_said_once_and_when_it_changes(self) -> None:
        facts = {"stack": "docker", "server": "s", "image": "i@1", "postgres": "15.1"}
        other = replace(RECORD, stack=facts | {"cpu_count": "2"})
        bare = replace(RECORD, stack={"base_url": "http://127.0.0.1:1"})
        lines = closing_table([RECORD, RECORD, other, bare], width=140, unicode=True)
        assert [line for line in lines if line.startswith(("on ", "against "))] == [
            "on the embedded stack: certctl reference server 0.1.0",
            "on the docker stack: s (i@1), Postgres 15.1, 2 CPUs",
            "against http://127.0.0.1:1",
        ]

    def test_figures_of_sketches_say_how_near_they_are(self) -> None:
        record = replace(RECORD, percentile_error=0.001)
        lines = closing_table([record], width=140, unicode=True)
        assert "  percentiles ±0.1 %: samples were sketched, not kept" in lines
        assert dict(junit_properties(record))["certload.storm.percentile_error"] == "0.001"
        assert "certload.storm.percentile_error" not in dict(junit_properties(RECORD))

    def test_narrow_is_stacked(self) -> None:
        lines = closing_table([RECORD], width=80, unicode=False)
        at = lines.index("                    p50   p90     p95    p99    max")
        assert lines[at + 1 : at + 4] == [
            "  iterations: 100, 50/s, 2 errors",
            "    response time  4 ms  8 ms    9 ms  20 ms  30 ms",
            "    service time   4 ms  8 ms    9 ms  20 ms  30 ms",
        ]
        assert all(len(line) <= 80 for line in lines[at : at + 10])
        assert "  FAIL new-nonce: error rate < 1 % (2 %)" in lines

    def test_a_failure_without_a_missed_threshold_is_said(self) -> None:
        record = replace(RECORD, thresholds=(), failure="InvalidRun: not offered")
        assert "  ✗ InvalidRun: not offered" in closing_table([record], width=140, unicode=True)

    def test_vus_and_interruption(self) -> None:
        record = replace(
            RECORD, executor="constant_vus", parameters={"vus": 200}, state="interrupted"
        )
        text = "\n".join(closing_table([record], width=140, unicode=True))
        assert "constant_vus: 200 VUs for 2 s" in text
        assert "interrupted: the figures are partial" in text

    def test_no_samples_are_dashes(self) -> None:
        record = replace(RECORD, iterations=step("storm", NOTHING, errors=100), steps=())
        assert any(
            re.search(r"response time( +-){5}$", line)
            for line in closing_table([record], width=140, unicode=True)
        )


def test_the_failure_text_names_worst_steps_statuses_errors_and_files() -> None:
    text = failure_text(RECORD, files=[Path("results/summary-storm.json")])
    assert "worst: new-nonce: 2 of 100 failed (2 %); statuses: 200 ×98, 503 ×2" in text
    assert "slowest: new-nonce: response time p95 900 ms" in text
    assert "unexpected status in new-nonce, 2 times: expected status 200, got 503" in text
    assert "stack: stack embedded, server certctl reference server 0.1.0\n" in text
    assert "postgres settings: fsync off\n" in text
    assert text.endswith("report: results/summary-storm.json")


def test_many_kinds_of_error_are_cut_and_counted() -> None:
    many = tuple(replace(RECORD.errors[0], message=str(n), count=1) for n in range(14))
    text = failure_text(replace(RECORD, errors=many))
    assert text.count("unexpected status in new-nonce, once: ") == 10
    assert "4 more kinds of error, 4 in all: see the report" in text
