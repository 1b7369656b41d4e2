"""What is the highest rate that a generator keeps? One process, as it is started by default."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import GeneratorFailed
from bench.figures import Collector, Findings
from bench.generators import Generator, Order
from bench.lab import Lab, Trial
from bench.lag import fidelity
from bench.plan import Plan
from bench.search import RateSearch

__all__ = ["CONDITION", "holds", "measure"]

CONDITION = "one process"
_LEAST_SHARE = 0.999
_MOST_LAG = 5_000_000  # nanoseconds
_GRACE = 2.0
_SLOTS = 200


def holds(trial: Trial, *, start: float) -> bool:
    """Whether a load was kept up.

    At least 99.9 % of the requests arrived by the end, the lag that is allowed added to it; after
    ``start`` seconds their lag has a p99 of at most 5 ms; nothing was dropped, and no error.
    """
    order, said = trial.order, trial.reported
    if said.errors or said.dropped or said.unfinished or len(trial.stamps) < order.offered / 2:
        return False
    seen = fidelity(
        trial.stamps.arrival,
        rate=order.rate,
        seconds=order.seconds,
        start=start,
        allowance=_MOST_LAG,
    )
    return seen.in_time >= order.offered * _LEAST_SHARE and seen.p99 <= _MOST_LAG


def measure(lab: Lab, generators: Sequence[Generator], plan: Plan) -> Findings:
    """The highest rate that held; the generators take turns, a probe each.

    Raises:
        BenchError: The server failed. A generator that fails under a load did not keep it up.
    """
    searches = {
        generator.name: RateSearch(precision=plan.precision, tries=plan.tries)
        for generator in generators
        if generator.constant_rate
    }
    probe = 0
    while any(search.rate is not None for search in searches.values()):
        probe += 1
        for generator in generators:
            search = searches.get(generator.name)
            if search is None or search.rate is None:
                continue
            seconds = plan.start + plan.probe
            order = Order(rate=search.rate, seconds=seconds, slots=_SLOTS, grace=_GRACE)
            try:
                trial = lab.trial(generator, order, round_=probe)
                search.observe(held=holds(trial, start=plan.start))
            except GeneratorFailed:
                search.observe(held=False)
    collector = Collector(measurement="sustained")
    for name, search in searches.items():
        collector.add(CONDITION, "held", "/s", name, search.held)
        collector.add(CONDITION, "failed", "/s", name, search.failed)
    return Findings(figures=collector.figures())
