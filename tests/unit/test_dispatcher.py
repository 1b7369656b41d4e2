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
    queued: bool


async def dispatch(
    due: list[int], service: list[int], slots: int, *, dropped: list[int] | None = None
) -> tuple[list[Seen], Dispatcher]:
    """Run a schedule with given service times, in nanoseconds; with ``dropped``, drop when full."""
    clock = VirtualClock()
    seen: list[Seen] = []
    busy: set[int] = set()

    def launch(index: int, at: int, slot: int, queued: bool, /) -> None:
        start = clock.now()
        assert slot not in busy, "a slot has one iteration at a time"
        assert 0 <= slot < slots
        busy.add(slot)

        def over() -> None:
            busy.remove(slot)
            seen.append(Seen(index, at, start, clock.now(), queued))
            dispatcher.completed(slot)

        clock.alarm(over).set(start + service[index])

    def drop(index: int, at: int) -> None:
        assert dropped is not None
        assert due[index] == at == clock.now()
        dropped.append(index)

    dispatcher = Dispatcher(
        due=np.array(due, np.int64),
        slots=slots,
        launch=launch,
        drop=None if dropped is None else drop,
        clock=clock,
    )
    dispatcher.pump()
    await dispatcher.finished.wait()
    dispatcher.stop()
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


def loss_model(due: list[int], service: list[int], slots: int) -> list[int]:
    """Who is refused when nobody waits: Erlang's loss system, by arithmetic."""
    ends: list[int] = []
    lost = []
    for index, (arrival, length) in enumerate(zip(due, service, strict=True)):
        ends = [end for end in ends if end > arrival]
        if len(ends) < slots:
            ends.append(arrival + length)
        else:
            lost.append(index)
    return lost


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
    assert all(s.queued for s in seen if s.start > s.due)
    assert (dispatcher.in_flight, dispatcher.backlog, dispatcher.dropped) == (0, 0, 0)
    assert dispatcher.in_flight_peak <= slots


@given(workloads)
def test_dropped_are_those_that_find_every_slot_taken(
    workload: tuple[list[int], list[int], int],
) -> None:
    due, service, slots = workload
    dropped: list[int] = []
    seen, dispatcher = run_virtual(dispatch(due, service, slots, dropped=dropped))
    assert dropped == loss_model(due, service, slots)
    assert sorted([s.index for s in seen] + dropped) == list(range(len(due)))
    assert all(s.start == s.due for s in seen), "who is admitted never waited"
    assert (dispatcher.started, dispatcher.dropped) == (len(seen), len(dropped))


def test_a_completion_frees_its_slot_before_an_arrival_at_the_same_instant() -> None:
    nobody: list[int] = []
    for dropped in (None, nobody):
        seen, dispatcher = run_virtual(dispatch([0, 100, 200], [100] * 3, 1, dropped=dropped))
        assert [s.start for s in seen] == [0, 100, 200]
        assert (dispatcher.backlog_peak, dispatcher.dropped) == (0, 0)


def test_arrivals_at_one_instant_start_together_in_order() -> None:
    seen, _ = run_virtual(dispatch([5, 5, 5], [1, 1, 1], 3))
    assert [(s.index, s.start) for s in seen] == [(0, 5), (1, 5), (2, 5)]


def test_queued_is_who_found_no_slot() -> None:
    seen, dispatcher = run_virtual(dispatch([0, 1, 2, 50], [10, 10, 10, 10], 1))
    assert [s.queued for s in seen] == [False, True, True, False]
    assert dispatcher.backlog_peak == 2


def test_iterations_that_are_over_at_once_need_no_stack() -> None:
    async def main() -> int:
        dispatcher: Dispatcher

        def launch(index: int, due: int, slot: int, queued: bool, /) -> None:
            dispatcher.completed(slot)

        dispatcher = Dispatcher(
            due=np.zeros(100_000, np.int64), slots=1, launch=launch, clock=VirtualClock()
        )
        dispatcher.pump()
        await dispatcher.finished.wait()
        return dispatcher.started

    assert run_virtual(main()) == 100_000


def test_after_stop_nothing_starts() -> None:
    async def main() -> tuple[int, int, int]:
        clock = VirtualClock()
        started: list[int] = []
        dispatcher = Dispatcher(
            due=np.arange(10, dtype=np.int64) * 100,
            slots=2,
            launch=lambda index, due, slot, queued: started.append(index),
            clock=clock,
        )
        dispatcher.pump()
        await asyncio.sleep(250e-9)
        dispatcher.stop()
        dispatcher.completed(0)
        await asyncio.sleep(1)
        return len(started), dispatcher.arrived, dispatcher.settled

    assert run_virtual(main()) == (2, 3, 2)
