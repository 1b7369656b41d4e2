"""How fast could it be? A generator in C that asks as fast as it is answered, on one thread.

This is no competitor, because it keeps no rate; it shows what the machine and the server allow.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.figures import Collector, Findings
from bench.generators import Generator, Order
from bench.lab import Lab
from bench.measurements.cost import cost
from bench.plan import Plan

__all__ = ["CONDITION", "measure"]

CONDITION = "closed loop"


def measure(lab: Lab, generators: Sequence[Generator], plan: Plan) -> Findings:
    """Requests a second and CPU time a request.

    Raises:
        BenchError: A load could not be made.
    """
    collector = Collector(measurement="ceiling")
    for generator in generators:
        if generator.constant_rate:
            continue
        trial = lab.trial(generator, Order(rate=1, seconds=plan.ceiling_window, slots=plan.slots))
        requests = len(trial.stamps)
        span = int(trial.stamps.arrival[-1] - trial.stamps.arrival[0]) if requests else 0
        cpu = cost(trial).cpu_per_request
        collector.add(CONDITION, "requests", "/s", generator.name, requests * 1e9 / max(1, span))
        collector.add(CONDITION, "CPU per request", "µs", generator.name, cpu * 1e6)
    return Findings(figures=collector.figures())
