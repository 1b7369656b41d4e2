from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.engine.dispatcher import Dispatcher
from pytest_certload.testing import VirtualClock, run_virtual


@dataclass(frozen=True)
class Seen:
    index: int
    due: int
    start: int
    end: int


async def dispatch(due: list[int], service: list[int], slots: int) -> tuple[list[Seen], Dispatcher]:
    """Run a schedule with given service times; both in nanoseconds."""
    clock = VirtualClock()
    seen: list[Seen] = []

    def launch(index: int, at: int) -> None:
        start = clock.now()

        def over() -> None:
            seen.append(Seen(index, at, start, clock.now()))
            dispatcher.completed()

        clock.call_at(start + service[index], over)

    dispatcher = Dispatcher(due=np.array(due, np.int64), slots=slots, launch=launch, clock=clock)
    dispatcher.pump()
    await dispatcher.finished.wait()
    return seen, dispatcher


def queue_model(due: list[int], service: list[int], slots: int) -> list[tuple[int, int]]:
    """Start and end of each iteration by arithmetic: first come, first served, ``slots`` servers."""
    free = [0] * slots
    out = []
    for arrival, length in zip(due, service, strict=True):
        earliest = min(range(slots), key=free.__getitem__)
        start = max(arrival, free[earliest])
        free[earliest] = start + length
        out.append((start, start + length))
    return out


workloads = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 10_000), min_size=n, max_size=n).map(sorted),
        st.lists(st.integers(1, 3_000), min_size=n, max_size=n),
        st.integers(1, 6),
    )
)


@given(workloads)
def test_starts_and_ends_are_those_of_a_first_come_first_served_queue(
    workload: tuple[list[int], list[int], int],
) -> None:
    due, service, slots = workload
    seen, dispatcher = run_virtual(dispatch(due, service, slots))
    by_index = sorted(seen, key=lambda s: s.index)
    assert [s.index for s in by_index] == list(range(len(due))), "none lost, none doubled"
    assert [s.due for s in by_index] == due
    assert [(s.start, s.end) for s in by_index] == queue_model(due, service, slots)
    assert dispatcher.in_flight == 0
    assert dispatcher.backlog == 0
    assert dispatcher.in_flight_peak <= slots


def test_a_completion_frees_its_slot_before_an_arrival_at_the_same_instant() -> None:
    seen, dispatcher = run_virtual(dispatch([0, 100, 200], [100, 100, 100], 1))
    assert [s.start for s in seen] == [0, 100, 200]
    assert dispatcher.backlog_peak == 0


def test_arrivals_at_one_instant_start_together_in_order() -> None:
    seen, _ = run_virtual(dispatch([5, 5, 5], [1, 1, 1], 3))
    assert [(s.index, s.start) for s in seen] == [(0, 5), (1, 5), (2, 5)]


def test_after_stop_nothing_starts() -> None:
    async def main() -> tuple[int, int]:
        clock = VirtualClock()
        started: list[int] = []
        dispatcher = Dispatcher(
            due=np.arange(10, dtype=np.int64) * 100,
            slots=2,
            launch=lambda index, due: started.append(index),
            clock=clock,
        )
        dispatcher.pump()
        await asyncio.sleep(250e-9)
        dispatcher.stop()
        dispatcher.completed()
        await asyncio.sleep(1)
        return len(started), dispatcher.arrived

    assert run_virtual(main()) == (2, 3)
