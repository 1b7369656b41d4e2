"""How do the report tools of k6 read a run? As what k6 hands to ``handleSummary``, ``k6-<scenario>.json``.

A step is taken for a request, or a whole iteration where there are no steps. docs/outputs.md says what each
figure is, and what has no counterpart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_certload.stats.summary import LatencySummary, StepSummary

from .record import RunRecord, ThresholdRecord

__all__ = ["k6_summary"]

_TREND = ("avg", "min", "med", "max", "p(90)", "p(95)", "p(99)")
#: The condition that the test itself passed, which a tool that counts thresholds must see.
_PASSED = "the test passed"

Metrics = dict[str, dict[str, Any]]


def k6_summary(record: RunRecord) -> dict[str, Any]:
    """The document of one run, as plain data for JSON. Times in it are milliseconds."""
    metrics: Metrics = {}
    _load(metrics, record)
    requests = record.steps_together or record.iterations
    _requests(metrics, record, requests, "")
    for step in record.steps:
        _requests(metrics, record, step, f"{{name:{step.name}}}")
    _thresholds(metrics, record)
    return {
        "root_group": {
            "name": "",
            "path": "",
            "id": _id(""),
            "groups": [],
            "checks": list(_checks(record)),
        },
        "options": {"summaryTrendStats": list(_TREND), "summaryTimeUnit": "", "noColor": False},
        "state": {
            "isStdOutTTY": False,
            "isStdErrTTY": False,
            "testRunDurationMs": (record.duration_seconds + record.drain_seconds) * 1e3,
        },
        "metrics": metrics,
    }


def _load(metrics: Metrics, record: RunRecord) -> None:
    """What a load was, beside its requests."""
    checked = [step for step in record.steps or (record.iterations,) if step.count]
    if checked:
        passes = sum(step.ok for step in checked)
        fails = sum(step.errors for step in checked)
        metrics["checks"] = _rate(passes, fails)
    received = record.iterations.received_bytes
    metrics["data_received"] = _counter(received, record, contains="data")
    metrics["iterations"] = _counter(record.finished, record)
    if record.dropped:
        metrics["dropped_iterations"] = _counter(record.dropped, record)
    _trend(metrics, "iteration_duration", record.iterations.service_time)
    at_work = record.timeline.in_flight if record.timeline is not None else ()
    metrics["vus"] = _gauge(
        at_work[-1] if at_work else record.in_flight_peak,
        least=min(at_work, default=0),
        most=record.in_flight_peak,
    )
    slots = next(
        (
            value
            for name in ("vus", "max_in_flight")
            if isinstance(value := record.parameters.get(name), int)
        ),
        record.in_flight_peak,
    )
    metrics["vus_max"] = _gauge(slots, least=slots, most=slots)
    _trend(metrics, "certload_lateness", record.lateness)


def _requests(metrics: Metrics, record: RunRecord, step: StepSummary, tags: str) -> None:
    """Figures of requests: of all of them, or of one step's as a sub-metric."""
    metrics[f"http_reqs{tags}"] = _counter(sum(step.statuses.values()), record)
    if step.count:
        # Of this rate, passes are the requests that failed.
        metrics[f"http_req_failed{tags}"] = _rate(step.errors, step.ok)
    _trend(metrics, f"http_req_duration{tags}", step.service_time)
    if not tags:
        # Errors are no latency samples here, so it is the same.
        _trend(metrics, "http_req_duration{expected_response:true}", step.service_time)
    first_byte = step.phases.get("first byte")
    if first_byte is not None:
        _trend(metrics, f"http_req_waiting{tags}", first_byte)
    _trend(metrics, f"certload_response_time{tags}", step.response_time)
    if not tags and record.steps:
        _trend(metrics, "certload_iteration_response_time", record.iterations.response_time)


def _checks(record: RunRecord) -> Iterator[dict[str, Any]]:
    for step in record.steps or (record.iterations,):
        name = f"{step.name}: as expected"
        yield {
            "name": name,
            "path": f"::{name}",
            "id": _id(f"::{name}"),
            "passes": step.ok,
            "fails": step.errors,
        }


def _thresholds(metrics: Metrics, record: RunRecord) -> None:
    """Each condition at the metric that it is about; the others at one of their own."""
    others = {_PASSED: record.state == "passed"}
    for threshold in record.thresholds:
        name, expression = _place(threshold, record)
        if name in metrics:
            known = metrics[name].setdefault("thresholds", {})
            held = known.get(expression, {"ok": True})["ok"]
            known[expression] = {"ok": held and threshold.passed}
        else:
            where = f"{threshold.step}: " if threshold.step else ""
            condition = f"{where}{threshold.metric} {threshold.condition}"
            others[condition] = others.get(condition, True) and threshold.passed
    passes = sum(others.values())
    metrics["certload_conditions"] = {
        **_rate(passes, len(others) - passes),
        "thresholds": {condition: {"ok": ok} for condition, ok in others.items()},
    }


def _place(threshold: ThresholdRecord, record: RunRecord) -> tuple[str, str]:
    """The metric that a condition is about, and how k6 would write it."""
    kind, _, figure = threshold.metric.rpartition(" ")
    is_time = kind in ("response time", "service time")
    condition = _condition(threshold, 1e6 if is_time else 1)
    tags = f"{{name:{threshold.step}}}" if threshold.step else ""
    if is_time:
        aggregate = {"p50": "med", "mean": "avg"}.get(
            figure, f"p({figure[1:]})" if figure[0] == "p" else figure
        )
        whole = not threshold.step and bool(record.steps)
        name = {
            "response time": "certload_iteration_response_time"
            if whole
            else f"certload_response_time{tags}",
            "service time": "iteration_duration" if whole else f"http_req_duration{tags}",
        }[kind]
        return name, f"{aggregate}{condition}"
    # The rate of all requests is not that of whole iterations.
    if threshold.metric == "error rate" and (threshold.step or not record.steps):
        return f"http_req_failed{tags}", f"rate{condition}"
    return "", ""


def _condition(threshold: ThresholdRecord, unit: float) -> str:
    """``<500``: k6 knows no units, durations are milliseconds and shares go from 0 to 1."""
    if threshold.limit is None:
        return threshold.condition.replace(" ", "")
    operator, _, _ = threshold.condition.partition(" ")
    return f"{operator}{threshold.limit / unit:.12g}"


def _trend(metrics: Metrics, name: str, times: LatencySummary) -> None:
    """A trend, unless it has no samples; k6 has none then, either."""
    if times.mean is None or times.min is None or times.max is None:
        return

    def rank(value: int | None) -> float:
        # Of so few samples the nearest rank is the longest.
        return (times.max if value is None else value) / 1e6  # type: ignore[operator]

    values = (times.mean / 1e6, times.min / 1e6, rank(times.p50), times.max / 1e6)
    ranks = (rank(times.p90), rank(times.p95), rank(times.p99))
    metrics[name] = {
        "type": "trend",
        "contains": "time",
        "values": dict(zip(_TREND, (*values, *ranks), strict=True)),
    }


def _counter(count: int, record: RunRecord, contains: str = "default") -> dict[str, Any]:
    seconds = record.duration_seconds
    values = {"count": count, "rate": count / seconds if seconds else 0.0}
    return {"type": "counter", "contains": contains, "values": values}


def _gauge(value: int, *, least: int, most: int) -> dict[str, Any]:
    values = {"value": value, "min": least, "max": most}
    return {"type": "gauge", "contains": "default", "values": values}


def _rate(passes: int, fails: int) -> dict[str, Any]:
    values: Mapping[str, float] = {
        "rate": passes / (passes + fails),
        "passes": passes,
        "fails": fails,
    }
    return {"type": "rate", "contains": "default", "values": values}


def _id(path: str) -> str:
    """k6 names groups and checks by the MD5 of their path."""
    return hashlib.md5(path.encode(), usedforsecurity=False).hexdigest()
