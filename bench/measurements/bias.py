"""What does a generator add to the latency it reports? Its figures minus the server's own.

Every answer takes the server 2 ms by its own stamps, from the last byte of the request to the
hand-over of the answer. What a generator reports beyond that is the way there and back, the wait in
its queues, and, where response time counts from the due time, its lag.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.figures import Collector, Findings
from bench.generators import Generator, Order
from bench.lab import Lab
from bench.plan import Plan
from bench.stamper import Faults

__all__ = ["CONDITION", "measure"]

CONDITION = "1,000/s, 2 ms"
_RATE = 1000
_FAULTS = Faults(service_us=2000)


def measure(lab: Lab, generators: Sequence[Generator], plan: Plan) -> Findings:
    """The differences at the median and at p99.

    Raises:
        BenchError: A load could not be made.
    """
    collector = Collector(measurement="bias")
    order = Order(rate=_RATE, seconds=plan.bias_window, slots=plan.slots)
    for round_ in range(plan.rounds):
        for generator in generators:
            if not generator.constant_rate:
                continue
            trial = lab.trial(generator, order, faults=_FAULTS, round_=round_)
            median, p99 = np.quantile(trial.stamps.service, [0.5, 0.99]) / 1e6
            said = trial.reported
            for name, value, truth in (("median", said.p50, median), ("p99", said.p99, p99)):
                if value is not None:
                    collector.add(CONDITION, name, "ms", generator.name, value - float(truth))
    return Findings(figures=collector.figures())
