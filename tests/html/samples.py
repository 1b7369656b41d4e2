"""Records of runs, made by hand: as large, as broken and as empty as they may be."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

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
from pytest_certload.report.record import (
    ComparedFigure,
    ComparisonRecord,
    ErrorRecord,
    GeneratorRecord,
    RunRecord,
    ThresholdRecord,
)
from pytest_certload.stats.curve import Curve
from pytest_certload.stats.slowest import SlowRequest
from pytest_certload.stats.summary import IntervalSummary, LatencySummary, StepSummary
from pytest_certload.stats.timeline import StepTimeline, Timeline

__all__ = ["MS", "NOTHING", "a_run", "hostile", "missed", "without_samples"]

MS = 1_000_000
NOTHING = LatencySummary(
    count=0, mean=None, min=None, p50=None, p90=None, p95=None, p99=None, max=None
)
_WAITS = ("IO:WalSync", "Lock:tuple", "LWLock:WALWrite", "CPU", None)


def _latency(count: int, scale: int = MS) -> LatencySummary:
    return LatencySummary(
        count=count,
        mean=3 * scale,
        min=scale,
        p50=2 * scale,
        p90=4 * scale,
        p95=6 * scale,
        p99=11 * scale,
        max=90 * scale,
    )


def a_step(name: str, count: int, errors: int = 0) -> StepSummary:
    return StepSummary(
        name=name,
        count=count,
        ok=count - errors,
        errors=errors,
        error_rate=errors / count,
        rate=count / 300,
        statuses={200: count - errors, 0: errors} if errors else {200: count},
        outcomes={"ok": count - errors, "timeout": errors} if errors else {"ok": count},
        response_time=_latency(count),
        service_time=_latency(count, MS // 2),
        received_bytes=count * 32,
        phases={"first byte": _latency(count, MS // 3)},
        intervals=(
            IntervalSummary(percent=50, low=MS * 19 // 10, high=MS * 21 // 10, effective=900),
            IntervalSummary(percent=95, low=5 * MS, high=7 * MS, effective=900),
            IntervalSummary(percent=99, low=9 * MS, high=None, effective=900),
        ),
    )


def _step_timeline(name: str, parts: int) -> StepTimeline:
    # A stall at two fifths, and one part in which nothing came.
    stalled = range(parts * 2 // 5, parts * 2 // 5 + 4)
    p50: list[int | None] = [
        2 * MS + (n * 7919 % 400_000) + (20 * MS if n in stalled else 0) for n in range(parts)
    ]
    p50[parts // 2] = None

    def times(factor: int) -> tuple[int | None, ...]:
        return tuple(None if value is None else value * factor for value in p50)

    return StepTimeline(
        name=name,
        count=(167,) * parts,
        errors=tuple(3 if n in stalled else 0 for n in range(parts)),
        p50=tuple(p50),
        p95=times(2),
        p99=times(3),
        max=times(8),
    )


def _curve(scale: int) -> Curve:
    percents: list[float] = []
    left = 100.0
    while left * 50_000 >= 100:
        percents += [round(100 - left + n * left / 10, 9) for n in range(5)]
        left /= 2
    return Curve(
        percents=(*percents, 100.0),
        values=(*(scale * (n + 2) // 2 for n in range(len(percents))), scale * len(percents)),
    )


def _proof(parts: int) -> ProofRecord:
    return ProofRecord(
        state=StateFinding(
            fingerprint="fedcba987654",
            rows={"agents": 5000, "teams": 1},
            origin="template, cloned in 0.12 s",
            cost=0.01,
            missing=("rows of events: too large to be counted before each load",),
        ),
        preflight=(CheckFinding(name="limiter", passed=True, detail="150 calls", seconds=0.16),),
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
                repeated=None,
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
                caught_up=None,
                limit=10.0,
                broken="row 7 comes twice",
                moments=tuple(
                    BacklogMoment(at=float(n), wanted=n * 10, done=n * 9) for n in range(parts + 8)
                ),
            ),
        ),
        database=DatabaseFinding(
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
                    hot_share=0.5,
                    dead=100,
                    table_growth=16_384,
                    index_growth=8192,
                ),
            ),
            waits=(WaitFinding(event="Lock:tuple", share=0.4), WaitFinding(event="CPU", share=0.6)),
            moments=tuple(
                DatabaseMoment(at=n / 2, active=n % 4, blocked=n % 2, wait=_WAITS[n % 5])
                for n in range(2 * parts)
            ),
            active_mean=1.5,
            active_peak=3,
            blocked_peak=1,
            cost=0.004,
            cost_share=0.0016,
            missing=("pg_stat_io: this is Postgres 15, which has none",),
        ),
        processes=tuple(
            ProcessFinding(
                name=name,
                cpu_seconds=2.0,
                cores=1.0,
                memory_peak=100_000_000,
                descriptors_peak=None,
                switches=1000,
                forced_switches=10,
                died_at=None,
                death=None,
                events=(),
                moments=tuple(
                    ProcessMoment(at=float(n), cores=0.3 + n % 5 / 4, memory=90_000_000 + n * 1000)
                    for n in range(1, parts + 1)
                ),
                missing=(),
            )
            for name in ("server", "postgres", "generator")
        ),
        limit="the server: 1.9 of 2 cores",
    )


def a_run(name: str = "storm", *, steps: int = 2, seconds: int = 300, **changes: Any) -> RunRecord:
    """A run of 167 iterations a second that has all that a record can have, and passed."""
    count = 167 * seconds
    names = [f"step-{number}" for number in range(steps)]
    record = RunRecord(
        nodeid=f"tests/scale/test_it.py::test_{name}",
        scenario=name,
        executor="constant_arrival_rate",
        parameters={"rate": "167/s", "duration_seconds": float(seconds), "warm_up_seconds": 5.0},
        state="passed",
        reduced=(),
        started_at="2026-01-02T03:04:05.678+00:00",
        duration_seconds=float(seconds),
        drain_seconds=0.25,
        offered=count,
        started=count,
        finished=count,
        dropped=0,
        unfinished=0,
        requests=count,
        unanswered=0,
        offered_rate=167.0,
        achieved_rate=167.0,
        backlog_peak=3,
        in_flight_peak=10,
        percentile_error=None,
        lateness=_latency(count),
        validity="valid",
        validity_reasons=(),
        generator=GeneratorRecord(
            lag=_latency(count, 1000),
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
        ),
        iterations=a_step(name, count),
        steps=tuple(a_step(step, count) for step in names),
        thresholds=(
            ThresholdRecord(
                metric="response time p95",
                step=None,
                condition="< 500 ms",
                actual="6 ms",
                passed=True,
                interval="5 – 7 ms",
            ),
        ),
        timeline=Timeline(
            width=1.0,
            due=(167,) * seconds,
            started=(167,) * seconds,
            in_flight=(3,) * seconds,
            backlog=(0,) * seconds,
            iterations=_step_timeline(name, seconds),
            steps=tuple(_step_timeline(step, seconds) for step in names[:12]),
        ),
        curves={"response time": _curve(MS), "service time": _curve(MS // 2)},
        slowest=(
            SlowRequest(
                step="step-0",
                iteration=7,
                due=120.5,
                response_time=90 * MS,
                service_time=80 * MS,
                status=0,
                outcome="unfinished",
            ),
        ),
        unsettled_seconds=None,
        comparison=None,
        proof=_proof(seconds),
        errors=(),
        failure=None,
        stack={
            "stack": "embedded",
            "server": "reference server 0.1.0",
            "cpu_count": "2",
            "postgres_fsync": "off",
        },
        environment={"pytest_certload": "0.1.0", "python": "3.11.7", "cpu_count": "2"},
    )
    return replace(record, **changes)


def missed(name: str = "storm", **changes: Any) -> RunRecord:
    """A run that broke a threshold, beside everything that one should know before relying on it."""
    wrong: dict[str, Any] = {
        "state": "failed",
        "failure": "assert response time p95 = 812 ms",
        "thresholds": (
            ThresholdRecord(
                metric="response time p95",
                step=None,
                condition="< 500 ms",
                actual="812 ms",
                passed=False,
                missed_by="312 ms, 62%",
                interval="790 – 834 ms",
            ),
            ThresholdRecord(
                metric="response time p99",
                step="step-0",
                condition="< 1 s",
                actual="980 ms",
                passed=True,
                interval="0.91 – 1.08 s",
                decided=False,
            ),
        ),
        "iterations": a_step(name, 50_100, 40),
        "errors": (
            ErrorRecord(
                step="step-0",
                outcome="timeout",
                message="no answer within 30 s",
                count=40,
                traceback="Traceback: a line",
            ),
        ),
        "validity": "suspect",
        "validity_reasons": ("the host gave 12% of its CPU time to others",),
        "reduced": ("duration 5m instead of 1h",),
        "unsettled_seconds": 12.5,
        "comparison": ComparisonRecord(
            baseline="main",
            saved_at="2026-01-01T03:04:05+00:00",
            version="0.1.0",
            differences=("stack: docker, and embedded then",),
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
    }
    return a_run(name, **{**wrong, **changes})


def without_samples(name: str = "sketch") -> RunRecord:
    """A run that kept no samples, so that there is no timeline."""
    return a_run(name, timeline=None, slowest=(), percentile_error=0.001)


def never_began(name: str = "nothing") -> RunRecord:
    """A run that was interrupted in its warm-up."""
    nothing = StepSummary(
        name=name,
        count=0,
        ok=0,
        errors=0,
        error_rate=None,
        rate=0.0,
        statuses={},
        outcomes={},
        response_time=NOTHING,
        service_time=NOTHING,
        received_bytes=0,
        phases={},
    )
    return replace(
        a_run(name),
        state="interrupted",
        failure="interrupted before the load was over: the figures are partial",
        duration_seconds=0.0,
        offered=0,
        started=0,
        finished=0,
        offered_rate=0.0,
        achieved_rate=0.0,
        iterations=nothing,
        steps=(),
        thresholds=(),
        timeline=None,
        curves={"response time": Curve(percents=(), values=())},
        slowest=(),
        generator=None,
        validity="unjudged",
        proof=ProofRecord(),
        stack={"base_url": "http://127.0.0.1:1"},
    )


def hostile(value: Any, poison: str) -> Any:
    """The same record, with poison behind each of its words that no program chose.

    What pytest-certload itself writes, such as ``state`` and figures with units, stays.
    """
    if isinstance(value, str):
        return value + poison
    if isinstance(value, tuple):
        return tuple(hostile(part, poison) for part in value)
    if isinstance(value, dict):
        return {
            (key + poison if isinstance(key, str) and key not in _KEYS else key): hostile(
                part, poison
            )
            for key, part in value.items()
        }
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value,
            **{
                f.name: hostile(getattr(value, f.name), poison)
                for f in fields(value)
                if f.name not in ("state", "validity", "kind", "started_at")
                or not isinstance(getattr(value, f.name), str)
            },
        )
    return value


_KEYS = ("response time", "service time", "stack", "server", "base_url", "warm_up_seconds")
