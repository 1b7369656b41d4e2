"""Of state that is overwritten, a reading tells what was written, whatever the course of events."""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_certload.errors import ConfigurationError, StackError
from pytest_certload.proof.ledger import Ledger, Log
from pytest_certload.proof.sightings import (
    END,
    NEVER,
    Operations,
    Reading,
    Readings,
    Sightings,
    look_up,
    operations,
)

SECOND = 1_000_000_000
TOLERANCE = 1_000_000
#: The database's clock less the engine's, microseconds.
CLOCK = 1_700_000_000_000_000


@dataclass(frozen=True, kw_only=True)
class Event:
    """An operation on a key; moments in nanoseconds."""

    key: str
    iteration: int
    asked: int
    acknowledged: int | None
    written: int | None


def note(log: Log, key: str, iteration: int, moment: int) -> None:
    log.keys.append(key)
    log.iterations.append(iteration)
    log.moments.append(moment)


def write_ledger(events: list[Event]) -> Ledger:
    ledger = Ledger("heartbeats")
    for event in sorted(events, key=lambda event: event.asked):
        note(ledger.asks, event.key, event.iteration, event.asked)
    answered = [event for event in events if event.acknowledged is not None]
    for event in sorted(answered, key=lambda event: event.acknowledged or 0):
        note(ledger.acknowledgements, event.key, event.iteration, event.acknowledged or 0)
    return ledger


def read(events: list[Event], keys: list[str], at: int, skew: int = 0) -> Reading:
    """What a database shows at a moment to which each write has set its own time."""
    times = array("q")
    for key in keys:
        done = [e.written for e in events if e.key == key and e.written is not None]
        latest = max((moment for moment in done if moment <= at), default=None)
        times.append(NEVER if latest is None else latest // 1000 + CLOCK + skew)
    return Reading(before=at, after=at, clock=CLOCK, times=times)


def judge(events: list[Event], moments: list[int], skew: int = 0) -> dict[tuple[str, int], str]:
    """What becomes of each acknowledged operation."""
    keys = sorted({event.key for event in events})
    asked = operations(write_ledger(events))
    readings = Readings.of([read(events, keys, at, skew) for at in sorted(moments)], len(keys))
    columns = np.array([keys.index(key.decode()) for key in asked.keys], dtype=np.int64)
    seen, can_tell = look_up(asked, columns, readings, TOLERANCE)
    iterations = {
        (event.key, event.asked): (event.key, event.iteration)
        for event in events
        if event.acknowledged is not None
    }
    verdicts = {}
    for n in np.flatnonzero(asked.entry >= 0):
        name = iterations[asked.keys[asked.key[n]].decode(), int(asked.asked[n])]
        verdicts[name] = "seen" if seen[n] else "lost" if can_tell[n] else "unseen"
    return verdicts


@st.composite
def courses(draw: st.DrawFn) -> tuple[list[Event], list[int], int]:
    """Operations on a few keys, quick or slow, some lost, some without an answer; and readings."""
    events: list[Event] = []
    for key in ("a", "b")[: draw(st.integers(1, 2))]:
        now = draw(st.integers(0, 3 * SECOND))
        for number in range(draw(st.integers(1, 6))):
            took = draw(st.integers(2_000_000, 5 * SECOND))
            outcome = draw(st.sampled_from(["done", "done", "lost", "failed"]))
            # What failed and was written all the same was so at once: see ``Operations.settled``.
            moment = draw(st.integers(1000, took - 1000)) if outcome == "done" else 0
            events.append(
                Event(
                    key=key,
                    iteration=number,
                    asked=now,
                    acknowledged=None if outcome == "failed" else now + took,
                    written=None if outcome == "lost" else now + moment,
                )
            )
            # The next one may well overlap.
            now += draw(st.integers(1_000_000, 40 * SECOND))
    moments = draw(
        st.lists(st.integers(-SECOND, 250 * SECOND), min_size=1, max_size=12, unique=True)
    )
    skew = draw(st.integers(-TOLERANCE // 2, TOLERANCE // 2))
    return events, moments, skew


@given(courses())
def test_what_a_reading_tells_is_true(course: tuple[list[Event], list[int], int]) -> None:
    events, moments, skew = course
    # Of two moments that are the same nobody knows which came first.
    assume(not {event.asked for event in events} & set(moments))
    verdicts = judge(events, moments, skew)
    assert len(verdicts) == sum(event.acknowledged is not None for event in events)
    for event in events:
        if event.acknowledged is not None:
            truth = {"lost"} if event.written is None else {"seen"}
            assert verdicts[event.key, event.iteration] in truth | {"unseen"}


def test_a_lost_one_that_the_next_covers_up_is_found_among_fifty_thousand() -> None:
    """The agent storm's own figures: 5,000 agents, each every 30 s, for five minutes; read every 8 s."""
    agents, total = 5_000, 50_100
    number = np.arange(total)
    asked = number * SECOND // 167
    lost = 23_456
    written = asked + 3_000_000
    times = np.full((39, agents + 1), NEVER, dtype=np.int64)
    moments = np.append(np.arange(38) * 8 * SECOND - 1, asked[-1] + SECOND)
    for row, moment in enumerate(moments):
        done = number[(written <= moment) & (number != lost)]
        times[row, done % agents] = written[done] // 1000 + CLOCK
    readings = Readings(before=moments, after=moments, clock=np.full(39, CLOCK), times=times)
    ledger = Ledger("heartbeats")
    for n in range(total):
        note(ledger.asks, f"agent-{n % agents}", n, int(asked[n]))
        note(ledger.acknowledgements, f"agent-{n % agents}", n, int(asked[n]) + 8_000_000)
    found: Operations = operations(ledger)
    columns = np.array([int(key.removeprefix(b"agent-")) for key in found.keys])
    seen, can_tell = look_up(found, columns, readings, TOLERANCE)
    assert can_tell.all()
    assert found.entry[~seen].tolist() == [lost]


class TestOperations:
    def test_an_answer_belongs_to_what_its_iteration_asked(self) -> None:
        events = [
            Event(key="a", iteration=1, asked=10, acknowledged=30, written=20),
            Event(key="a", iteration=2, asked=20, acknowledged=25, written=22),
            Event(key="b", iteration=1, asked=12, acknowledged=None, written=None),
        ]
        found = operations(write_ledger(events))
        order = [
            (found.keys[k].decode(), int(a)) for k, a in zip(found.key, found.asked, strict=True)
        ]
        assert order == [("a", 10), ("a", 20), ("b", 12)]
        assert found.acknowledged.tolist()[:2] == [30, 25]
        assert found.next_asked.tolist()[0] == 20
        # The second began while the first was still at work.
        assert found.settled.tolist()[1] == 30
        assert found.entry.tolist() == [1, 0, -1]

    def test_what_was_never_asked_for_is_a_clear_error(self) -> None:
        ledger = Ledger("heartbeats")
        note(ledger.asks, "a", 1, 10)
        note(ledger.acknowledgements, "a", 1, 20)
        note(ledger.acknowledgements, "b", 1, 30)
        with pytest.raises(ConfigurationError, match=r"b was acknowledged without being asked for"):
            operations(ledger)

    def test_two_questions_for_one_key_at_once_have_an_answer_each(self) -> None:
        """Two scenarios share the ledger, and each has an iteration of that number."""
        ledger = Ledger("heartbeats")
        for key, asked in (("b", 5), ("a", 10), ("a", 12), ("a", 14)):
            note(ledger.asks, key, 1, asked)
        for answered in (20, 22):
            note(ledger.acknowledgements, "a", 1, answered)
        found = operations(ledger)
        pairs = zip(found.asked.tolist(), found.acknowledged.tolist(), strict=True)
        assert sorted(pairs) == [(5, END), (10, END), (12, 22), (14, 20)]

    def test_two_answers_to_one_question_are_one_too_many(self) -> None:
        ledger = Ledger("heartbeats")
        note(ledger.asks, "a", 1, 10)
        for answered in (20, 22):
            note(ledger.acknowledgements, "a", 1, answered)
        with pytest.raises(ConfigurationError, match=r"a was acknowledged without being asked for"):
            operations(ledger)

    def test_of_an_empty_ledger(self) -> None:
        assert not len(operations(Ledger("heartbeats")).key)


def quick(number: int, *, written: bool) -> Event:
    """One of a key's operations that follow one another every half a second."""
    asked = number * SECOND // 2
    return Event(
        key="a",
        iteration=number,
        asked=asked,
        acknowledged=asked + 1000,
        written=asked + 500 if written else None,
    )


def test_without_a_reading_in_between_nobody_can_tell() -> None:
    events = [quick(n, written=True) for n in range(4)]
    # The last one's time could be its forerunner's, by a server whose clock is fast.
    assert set(judge(events, [-SECOND, 5 * SECOND]).values()) == {"unseen"}


def test_what_shows_nothing_new_is_lost_however_quick_the_next_one_comes() -> None:
    events = [quick(n, written=False) for n in range(4)]
    verdicts = judge(events, [-SECOND, 5 * SECOND])
    assert list(verdicts.values()) == ["unseen", "unseen", "unseen", "lost"]


def test_readings_between_quick_ones_tell_them_apart() -> None:
    events = [quick(n, written=n != 2) for n in range(4)]
    moments = [n * SECOND // 2 - 1000 for n in range(5)]
    assert list(judge(events, moments).values()) == ["seen", "seen", "lost", "seen"]


def test_of_clocks_that_differ_an_earlier_ones_time_is_not_taken_for_a_later_ones() -> None:
    """Its time is ahead by what the clocks differ, and the later one's may be behind by as much."""
    events = [
        Event(key="a", iteration=0, asked=0, acknowledged=2_000_000, written=1000),
        Event(key="a", iteration=1, asked=1_200_000_000, acknowledged=1_202_000_000, written=None),
    ]
    assert judge(events, [2 * SECOND], skew=300_000)["a", 1] == "unseen"


def test_of_the_database_clocks_answers_the_quickest_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Postgres looks at its clock when an answer is on its way back, and three of them take long.
    took = iter([400_000_000, 300_000_000, 1_000_000, 500_000_000])
    now = 0

    class Held:
        async def fetchval(self, query: str) -> int:
            nonlocal now
            now += next(took)
            return CLOCK + now // 1000

    monkeypatch.setattr(
        "pytest_certload.proof.sightings.time", SimpleNamespace(monotonic_ns=lambda: now)
    )
    nobody: Any = None
    held: Any = Held()
    assert asyncio.run(Sightings(nobody, "SELECT")._clock(held)) == (CLOCK + 500, 1_000_000)


@pytest.mark.asyncio
async def test_without_a_clock_there_is_no_reading() -> None:
    class Slow:
        """Each question takes a little more than may be."""

        async def fetchval(self, query: str) -> int:
            await asyncio.sleep(0.002)
            return CLOCK

    nobody: Any = None
    slow: Any = Slow()
    seen = Sightings(nobody, "SELECT", tolerance="1ms")
    with pytest.raises(StackError, match=r"^Postgres took .* to tell its time$"):
        await seen._read(slow)


def test_clocks_that_drift_are_followed() -> None:
    readings = Readings(
        before=np.array([0, 100 * SECOND]),
        after=np.array([0, 100 * SECOND]),
        clock=np.array([CLOCK, CLOCK + 2_000_000]),
        times=np.zeros((2, 1), dtype=np.int64),
    )
    middle = readings.by_the_database(np.array([50 * SECOND]))
    assert middle.tolist() == [CLOCK + 50_000_000 + 1_000_000]
