"""How does a monitoring system read a session's figures? As OpenMetrics text, ``metrics.txt``.

The format is OpenMetrics 1.0: https://prometheus.io/docs/specs/om/open_metrics_spec/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .metrics import Family, Labels, Point, families_of
from .record import RunRecord

__all__ = ["openmetrics_text"]


def openmetrics_text(records: Iterable[RunRecord]) -> str:
    """All runs of a session; the last line is ``# EOF``."""
    lines = [line for family in families_of(records) for line in _family(family)]
    return "\n".join([*lines, "# EOF"])


def _family(family: Family) -> Iterator[str]:
    yield f"# TYPE {family.name} {family.kind}"
    if family.unit or family.kind == "summary":
        yield f"# UNIT {family.name} {family.unit or 'seconds'}"
    yield f"# HELP {family.name} {_escaped(family.help)}"
    for point in family.points.values():
        yield from _point(family, point)


def _point(family: Family, point: Point) -> Iterator[str]:
    labels = point.labels
    if family.kind == "summary":
        for quantile, value in point.quantiles:
            yield _sample(family.name, (*labels, ("quantile", quantile)), value)
        yield _sample(f"{family.name}_sum", labels, point.value)
        yield _sample(f"{family.name}_count", labels, point.count)
    else:
        suffix = {"counter": "_total", "info": "_info"}.get(family.kind, "")
        yield _sample(f"{family.name}{suffix}", labels, point.value)


def _sample(name: str, labels: Labels, value: float) -> str:
    # An empty label is as good as none.
    inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels if text)
    # As short as reads back to the same: integers stay integers.
    number = int(value) if isinstance(value, bool) or value == int(value) else value
    return f"{name}{{{inner}}} {number}" if inner else f"{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
