"""Does too much load break the generator? Our engine at three times what the server can do."""

from __future__ import annotations

from collections.abc import Sequence

from bench.figures import Collector, Findings
from bench.generators import Generator, Order
from bench.lab import Lab
from bench.plan import Plan
from bench.stamper import Faults

__all__ = ["CONDITION", "measure"]

#: Two at once, 2 ms each: a thousand requests a second.
_FAULTS = Faults(service_us=2000, concurrency=2)
_RATE = 3000
_GRACE = 5.0
CONDITION = f"{_RATE:,}/s of 1,000/s"


def measure(lab: Lab, generators: Sequence[Generator], plan: Plan) -> Findings:
    """Memory and time beyond an empty run, descriptors, what was served, and the verdict; once.

    An empty run is a load of a single request with everything else the same.

    Raises:
        BenchError: A load could not be made.
    """
    collector = Collector(measurement="overload")
    notes = []
    order = Order(rate=_RATE, seconds=plan.overload_window, slots=plan.slots, grace=_GRACE)
    empty = Order(rate=1, seconds=1.0, slots=plan.slots, grace=_GRACE)
    for generator in generators:
        if not generator.ours:
            continue
        without = lab.trial(generator, empty)
        trial = lab.trial(generator, order, faults=_FAULTS)
        who, said = generator.name, trial.reported
        growth = trial.usage.peak_memory - without.usage.peak_memory
        after = trial.usage.wall_seconds - without.usage.wall_seconds - order.seconds
        served = int((trial.stamps.written > 0).sum()) / order.offered
        collector.add(CONDITION, "memory growth", "MB", who, growth / 1e6)
        collector.add(CONDITION, "peak descriptors", "", who, trial.usage.peak_descriptors)
        collector.add(CONDITION, "to its end", "s", who, after)
        collector.add(CONDITION, "served", "%", who, served * 100)
        collector.add(CONDITION, "dropped", "", who, said.dropped or 0)
        collector.add(CONDITION, "unfinished", "", who, said.unfinished)
        collector.add(CONDITION, "errors", "", who, said.errors)
        notes.append(f"overload, {who}: {said.verdict}")
    return Findings(figures=collector.figures(), notes=tuple(notes))
