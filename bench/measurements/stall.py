"""Does a stalled server show in the figures? One second of standstill in ten at 1,000 a second.

The truth is arithmetic. 10,000 requests are due; the 1,000 due during the stall waited for the rest
of it, evenly between 0 and 1 s; the other nine tenths were answered at once. So 5 % of all waited
longer than 0.5 s (p95 = 500 ms) and 1 % longer than 0.9 s (p99 = 900 ms), whatever the number of
slots. A generator that forgets the requests it could not send has another truth.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.figures import Collector, Findings
from bench.generators import Generator, Order
from bench.lab import Lab
from bench.plan import Plan
from bench.stamper import Faults

__all__ = ["CONDITION", "TRUE_P95", "TRUE_P99", "measure"]

CONDITION = "1 s of 10 s"
#: Milliseconds.
TRUE_P95 = 500.0
TRUE_P99 = 900.0
_ORDER = Order(rate=1000, seconds=10.0, slots=50)
_FAULTS = Faults(stall_at=5.0, stall_for=1.0)


def measure(lab: Lab, generators: Sequence[Generator], plan: Plan) -> Findings:
    """Reported p95 and p99 and their errors, and the requests that were left out.

    Raises:
        BenchError: A load could not be made.
    """
    collector = Collector(measurement="stall")
    for round_ in range(plan.rounds):
        for generator in generators:
            if not generator.constant_rate:
                continue
            trial = lab.trial(generator, _ORDER, faults=_FAULTS, round_=round_)
            who, said = generator.name, trial.reported
            for name, value, truth in (("p95", said.p95, TRUE_P95), ("p99", said.p99, TRUE_P99)):
                if value is not None:
                    collector.add(CONDITION, f"reported {name}", "ms", who, value)
                    error = (value / truth - 1) * 100
                    collector.add(CONDITION, f"error of {name}", "%", who, error)
            collector.add(CONDITION, "missing", "", who, max(0, _ORDER.offered - len(trial.stamps)))
            collector.add(CONDITION, "errors", "", who, said.errors)
    return Findings(figures=collector.figures())
