"""What does a request cost the generator? Its CPU time and memory at constant rates.

CPU time is that between the first and the last arrival, over the requests that arrived meanwhile:
neither the generator's start nor its report is in it. Peak memory is that of the whole run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import BenchError
from bench.figures import Collector, Findings
from bench.generators import Generator
from bench.lab import Lab, Trial
from bench.measurements import fidelity
from bench.plan import Plan

__all__ = ["RATES", "Cost", "cost", "measure"]

#: Below these a run costs too little CPU time to be measured well.
RATES = (1000, 5000)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a load cost: seconds of CPU time a request, and most resident bytes."""

    cpu_per_request: float
    peak_memory: int


def cost(trial: Trial) -> Cost:
    """What a load cost.

    Raises:
        BenchError: It was over too soon to be read twice.
    """
    arrival = trial.stamps.arrival
    # Between readings, and the requests counted between the same instants: nothing is interpolated.
    inside = [(at, cpu) for at, cpu in trial.usage.cpu if arrival[0] <= at <= arrival[-1]]
    if len(inside) < 2:
        raise BenchError(f"the load of {trial.generator} was too short to tell what it cost")
    (begin, before), (end, after) = inside[0], inside[-1]
    first, last = np.searchsorted(arrival, [begin, end])
    return Cost(
        cpu_per_request=(after - before) / 1e9 / max(1, int(last - first)),
        peak_memory=trial.usage.peak_memory,
    )


def measure(lab: Lab, generators: Sequence[Generator], plan: Plan) -> Findings:
    """CPU time a request and peak memory, at the rates of ``RATES``; shares loads with fidelity.

    Raises:
        BenchError: A load could not be made.
    """
    collector = Collector(measurement="cost")
    for round_ in range(plan.rounds):
        for rate in RATES:
            for generator in generators:
                if not generator.constant_rate:
                    continue
                trial = lab.trial(generator, fidelity.order(rate, plan), round_=round_)
                found = cost(trial)
                where, who = fidelity.condition(rate), generator.name
                collector.add(where, "CPU per request", "µs", who, found.cpu_per_request * 1e6)
                collector.add(where, "peak memory", "MB", who, found.peak_memory / 1e6)
    return Findings(figures=collector.figures())
