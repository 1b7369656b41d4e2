"""Which measurements are there? One module each, all called in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.figures import Findings
from bench.generators import Generator
from bench.lab import Lab
from bench.measurements import bias, ceiling, cost, fidelity, overload, stall, sustained
from bench.plan import Plan

__all__ = ["MEASUREMENTS", "Measurement"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One of them.

    Attributes:
        name: For ``--only``.
        title: What it answers, above its tables.
        measure: Makes the loads and returns what came of them; raises ``BenchError``.
    """

    name: str
    title: str
    measure: Callable[[Lab, Sequence[Generator], Plan], Findings]


MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement(
        name="fidelity",
        title="Arrival fidelity: how late do requests reach the server?",
        measure=fidelity.measure,
    ),
    Measurement(
        name="cost",
        title="Cost: what does a request cost the generator?",
        measure=cost.measure,
    ),
    Measurement(
        name="stall",
        title="Truth under a stall: 1 s in 10 s at 1,000/s, 50 at once; p95 is 500 ms, p99 900 ms",
        measure=stall.measure,
    ),
    Measurement(
        name="bias",
        title="Latency bias: reported response time minus the server's own",
        measure=bias.measure,
    ),
    Measurement(
        name="overload",
        title="Overload: three times what the server can do",
        measure=overload.measure,
    ),
    Measurement(
        name="sustained",
        title="Highest sustained rate: 99.9 % achieved, lag p99 ≤ 5 ms, nothing dropped, no error",
        measure=sustained.measure,
    ),
    Measurement(
        name="ceiling",
        title="Ceiling: a closed loop on one thread",
        measure=ceiling.measure,
    ),
)
