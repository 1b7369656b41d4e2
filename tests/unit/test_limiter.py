"""What answers prove of a token bucket is true, whatever held them up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_certload.certctl.limiter import Answered, beyond

MS = 1_000_000
SECOND = 1000 * MS
RATE, BURST = 50, 100

#: Of each request: nanoseconds since the one before arrived, since it was sent, and until it is answered.
Times = tuple[int, int, int]
gaps = st.one_of(st.integers(0, 20 * MS), st.integers(0, 6 * SECOND))
requests = st.lists(st.tuples(gaps, gaps, gaps), max_size=400)

#: For ten seconds 200 a second come, of which each is on its way for 10 ms, there and back.
STEADY: Sequence[Times] = [(5 * MS, 10 * MS, 10 * MS)] * 2000


def bucket(requests: Sequence[Times], rate: float, burst: int, tokens: float) -> Iterator[Answered]:
    now = 0
    for since, on_its_way, on_its_way_back in requests:
        now += since
        tokens = min(burst, tokens + rate * since / 1e9)
        let_through = tokens >= 1
        tokens -= let_through
        yield Answered(
            sent=now - on_its_way, answered=now + on_its_way_back, let_through=let_through
        )


#: A refusal that a token was nearly there for, 3 s in which the bucket is filled, and who empties it.
NEARLY = [(19 * MS, 0, 0), (3 * SECOND, 0, 0), *[(0, 0, 0)] * 100]


@given(requests, st.floats(0, BURST))
@example([*[(0, 0, 0)] * 100, *NEARLY * 5], BURST)
@example([*[(0, 0, 0)] * 101, (39_999_000, 0, 0), (0, 0, 0)], BURST)
def test_a_right_one_is_never_accused(requests: list[Times], tokens: float) -> None:
    found = list(bucket(requests, RATE, BURST, tokens))
    assert beyond(found, rate=RATE, burst=BURST) == (0, 0)


@given(st.integers(0, 300), st.integers(0, SECOND // 2))
def test_answers_that_are_missing_may_have_been_let_through(missing: int, late: int) -> None:
    found = list(bucket([(5 * MS, 0, late)] * 1000, RATE, BURST, BURST))
    lost = [one for one in found if one.let_through][:missing]
    left = [one for one in found if one not in lost]
    assert beyond(left, rate=RATE, burst=BURST, unanswered=len(lost)) == (0, 0)


@pytest.mark.parametrize(
    ("rate", "burst", "above", "below"),
    [
        (2 * RATE, BURST, True, False),
        (RATE * 1.1, BURST, True, False),
        (RATE / 1.1, BURST, False, True),
        (RATE / 2, BURST, False, True),
        # Once too many, and then as it should be.
        (RATE, 10 * BURST, True, False),
        # Nobody is refused: there is none.
        (10_000, 10_000, True, False),
    ],
)
def test_a_wrong_one_is_found(rate: float, burst: int, above: bool, below: bool) -> None:
    found = list(bucket(STEADY, rate, burst, burst))
    more, fewer = beyond(found, rate=RATE, burst=BURST)
    assert (more > 0, fewer > 0) == (above, below)


def test_one_that_is_right_on_the_whole_alone_is_found() -> None:
    """Nothing for five seconds, and then twice as much."""
    found = list(bucket(STEADY, 2 * RATE, BURST, BURST))
    half = [one for one in found if one.answered > 5 * SECOND or not one.let_through]
    assert beyond(half, rate=RATE, burst=BURST)[0] > 0


def test_answers_that_took_long_hide_nothing() -> None:
    slow = [(5 * MS, 10 * MS, 3 * SECOND if n % 100 == 99 else 10 * MS) for n in range(2000)]
    for rate in (RATE / 1.5, RATE * 1.5):
        found = list(bucket(slow, rate, BURST, BURST))
        assert beyond(found, rate=RATE, burst=BURST) != (0, 0)


def test_refusals_that_become_slow_hide_nothing() -> None:
    """From four seconds on nobody is let through, and each answer takes 220 ms."""
    begin = list(bucket([(5 * MS, MS, MS)] * 800, RATE, BURST, BURST))
    rest = [
        Answered(sent=moment, answered=moment + 220 * MS, let_through=False)
        for moment in range(4 * SECOND, 13 * SECOND, 5 * MS)
    ]
    assert beyond([*begin, *rest], rate=RATE, burst=BURST)[1] > 400


def test_a_right_one_is_measured_closely() -> None:
    """Two more or fewer in 10 s are the times on their way."""
    quick = [(5 * MS, MS, MS)] * 2000
    found = list(bucket(quick, RATE, BURST, BURST))
    moments = [5 * SECOND + n for n in range(5)]
    extra = [Answered(sent=moment, answered=moment, let_through=True) for moment in moments]
    assert beyond([*found, *extra], rate=RATE, burst=BURST)[0] > 0
    fewer = [one for n, one in enumerate(found) if not one.let_through or n % 50]
    assert beyond(fewer, rate=RATE, burst=BURST)[1] > 0


def test_of_nothing() -> None:
    assert beyond([], rate=RATE, burst=BURST) == (0, 0)
