"""How do figures reach an OpenTelemetry collector? Pushed by OTLP over HTTP, once a run is over.

Where it listens, and what else it wants, is said by OpenTelemetry's own variables, such as
``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_HEADERS`` and ``OTEL_RESOURCE_ATTRIBUTES``.  Names are those
of ``metrics.txt``; as OTLP's summaries are not for new instruments, a quantile is a gauge.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from .metrics import Family, Labels, families_of
from .record import RunRecord

__all__ = ["Push"]

#: Seconds that an attempt may take, with whatever is repeated in it.
TIMEOUT = 10.0
_NAME = "pytest-certload"
#: UCUM's words for units, as OpenTelemetry wants them.
_UNITS = {
    "seconds": "s",
    "bytes": "By",
    "ratio": "1",
    "per_second": "1/s",
    "iterations_per_second": "{iteration}/s",
}


class Push:
    """Delivers each run once. After a failure it asks no more until the last attempt."""

    def __init__(self) -> None:
        self._delivered: set[str] = set()
        self._reason: str | None = None

    def offer(self, records: Sequence[RunRecord], *, last: bool = False) -> str | None:
        """Deliver those that are not delivered yet.

        Args:
            records: Runs that are over.
            last: There is no later attempt.

        Returns:
            Why they are not delivered, in a line; None: they are, or it is left to a later attempt.
        """
        waiting = [record for record in records if record.scenario not in self._delivered]
        if not waiting or (self._reason is not None and not last):
            return None
        delivered, reason = _export(waiting)
        if not delivered:
            # The exporter does not say the same thing twice.
            self._reason = reason or self._reason or "it says nothing"
            names = ", ".join(record.scenario for record in waiting)
            return (
                f"the metrics of {names} did not reach the OpenTelemetry collector: {self._reason}"
            )
        self._reason = None
        self._delivered.update(record.scenario for record in waiting)
        return None


def _export(records: Sequence[RunRecord]) -> tuple[bool, str]:
    """Whether it is done, and what was said last."""
    with _listening() as said:
        # The variables may say what cannot be used, which is the exporter's to tell.
        try:
            exporter = OTLPMetricExporter(timeout=TIMEOUT)
            try:
                result = exporter.export(metrics_of(records), timeout_millis=TIMEOUT * 1e3)
            finally:
                exporter.shutdown()
        except Exception as error:  # noqa: BLE001 - whatever it is stands in the warning
            return False, f"{type(error).__name__}: {error}"
    return result is MetricExportResult.SUCCESS, said[-1] if said else ""


@contextmanager
def _listening() -> Iterator[list[str]]:
    """What the exporter logs, instead of elsewhere."""
    said: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, keeper = logging.getLogger("opentelemetry.exporter"), Keeper()
    before = logger.propagate
    logger.addHandler(keeper)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(keeper)
        logger.propagate = before


def metrics_of(records: Sequence[RunRecord]) -> MetricsData:
    """The runs' metrics; each value stands at the end of its run's window."""
    resource = Resource.create({"service.name": _NAME, "service.version": version(_NAME)})
    windows = {record.scenario: _window(record) for record in records}
    everything = (
        min(begin for begin, _ in windows.values()),
        max(end for _, end in windows.values()),
    )

    def window(labels: Labels) -> tuple[int, int]:
        return windows.get(dict(labels).get("scenario", ""), everything)

    metrics = [metric for family in families_of(records) for metric in _metrics(family, window)]
    scope = ScopeMetrics(
        scope=InstrumentationScope(_NAME, version(_NAME)), metrics=metrics, schema_url=""
    )
    return MetricsData(
        resource_metrics=[ResourceMetrics(resource=resource, scope_metrics=[scope], schema_url="")]
    )


def _window(record: RunRecord) -> tuple[int, int]:
    """Begin and end of the measured window, nanoseconds since 1970."""
    begin = datetime.fromisoformat(record.started_at)
    end = begin + timedelta(seconds=record.duration_seconds)
    return round(begin.timestamp() * 1e9), round(end.timestamp() * 1e9)


def _metrics(family: Family, window: Callable[[Labels], tuple[int, int]]) -> Iterator[Metric]:
    def point(labels: Labels, value: float, *more: tuple[str, str]) -> NumberDataPoint:
        begin, end = window(labels)
        return NumberDataPoint(
            attributes=dict((*labels, *more)),
            start_time_unix_nano=begin,
            time_unix_nano=end,
            value=value,
        )

    def metric(suffix: str, points: list[NumberDataPoint], *, total: bool, unit: str) -> Metric:
        return Metric(
            name=f"{family.name}{suffix}",
            description=family.help,
            unit=unit,
            data=Sum(
                data_points=points,
                aggregation_temporality=AggregationTemporality.CUMULATIVE,
                is_monotonic=True,
            )
            if total
            else Gauge(data_points=points),
        )

    unit, points = _UNITS.get(family.unit, "1"), family.points.values()
    if family.kind == "summary":
        quantiles = [
            point(p.labels, value, ("quantile", quantile))
            for p in points
            for quantile, value in p.quantiles
        ]
        yield metric("", quantiles, total=False, unit=unit)
        yield metric("_sum", [point(p.labels, p.value) for p in points], total=True, unit=unit)
        yield metric("_count", [point(p.labels, p.count) for p in points], total=True, unit="1")
    else:
        suffix = "_info" if family.kind == "info" else ""
        values = [point(p.labels, float(p.value)) for p in points]
        yield metric(suffix, values, total=family.kind == "counter", unit=unit)
