"""How true is a constant rate? The server's stamps against the schedule (see ``bench.lag``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.figures import Collector, Curve, Findings
from bench.generators import Generator, Order
from bench.lab import Lab
from bench.lag import fidelity
from bench.plan import Plan

__all__ = ["condition", "measure", "order"]


def condition(rate: int) -> str:
    """How a load at that rate is called in figures."""
    return f"{rate:,}/s"


def order(rate: int, plan: Plan) -> Order:
    """The load at that rate."""
    return Order(rate=rate, seconds=plan.start + plan.window, slots=plan.slots)


def measure(lab: Lab, generators: Sequence[Generator], plan: Plan) -> Findings:
    """Lag, achieved rate, missing arrivals and errors at each rate of the plan.

    Raises:
        BenchError: A load could not be made.
    """
    collector = Collector(measurement="fidelity")
    curves: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for round_ in range(plan.rounds):
        for rate in plan.rates:
            for generator in generators:
                if not generator.constant_rate:
                    continue
                load = order(rate, plan)
                trial = lab.trial(generator, load, round_=round_)
                seen = fidelity(
                    trial.stamps.arrival, rate=rate, seconds=load.seconds, start=plan.start
                )
                where, who = condition(rate), generator.name
                collector.add(where, "lag p50", "ms", who, seen.p50 / 1e6)
                collector.add(where, "lag p99", "ms", who, seen.p99 / 1e6)
                collector.add(where, "lag max", "ms", who, seen.max / 1e6)
                collector.add(where, "achieved", "/s", who, seen.achieved_rate)
                collector.add(where, "missing", "", who, seen.missing)
                collector.add(where, "errors", "", who, trial.reported.errors)
                curves.setdefault((who, where), []).append(seen.curve)
    return Findings(
        figures=collector.figures(),
        curves=tuple(
            Curve(
                tool=who,
                condition=where,
                lag_ms=tuple(float(x) for x in np.median(np.array(rounds), axis=0) / 1e6),
            )
            for (who, where), rounds in curves.items()
        ),
    )
