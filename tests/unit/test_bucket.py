"""What answers prove of a token bucket is true, whatever held them up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.certctl.bucket import Asked, beyond

SECOND = 1_000_000_000
RATE, BURST = 50, 100

#: Of each request: nanoseconds since the one before arrived, since it was sent, and until it is answered.
gaps = st.one_of(st.integers(0, SECOND // 50), st.integers(0, 6 * SECOND))
requests = st.lists(st.tuples(gaps, gaps, gaps), max_size=400)


def bucket(
    requests: list[tuple[int, int, int]], rate: float, burst: int, tokens: float
) -> Iterator[Asked]:
    now = 0
    for since, on_its_way, on_its_way_back in requests:
        now += since
        tokens = min(burst, tokens + rate * since / 1e9)
        let_through = tokens >= 1
        tokens -= let_through
        yield Asked(sent=now - on_its_way, answered=now + on_its_way_back, let_through=let_through)


@given(requests, st.floats(0, BURST))
def test_a_right_one_is_never_accused(requests: list[tuple[int, int, int]], tokens: float) -> None:
    found = list(bucket(requests, RATE, BURST, tokens))
    assert beyond(found, rate=RATE, burst=BURST) == (0, 0)


@given(st.integers(0, 300), st.integers(0, SECOND // 2))
def test_answers_that_are_missing_may_have_been_let_through(missing: int, late: int) -> None:
    found = list(bucket([(SECOND // 200, 0, late)] * 1000, RATE, BURST, BURST))
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
        # Nobody is refused: there is none.
        (10_000, 10_000, True, False),
    ],
)
def test_a_wrong_one_is_found(rate: float, burst: int, above: bool, below: bool) -> None:
    """At 200 a second for 10 s, of which each takes 20 ms."""
    found = list(bucket([(SECOND // 200, SECOND // 100, SECOND // 100)] * 2000, rate, burst, burst))
    more, fewer = beyond(found, rate=RATE, burst=BURST)
    assert (more > 0, fewer > 0) == (above, below)


def test_a_right_one_is_measured_closely() -> None:
    """Two more or fewer in 10 s are the times on their way."""
    found = list(
        bucket([(SECOND // 200, SECOND // 1000, SECOND // 1000)] * 2000, RATE, BURST, BURST)
    )
    extra = [
        Asked(sent=5 * SECOND + n, answered=5 * SECOND + n, let_through=True) for n in range(5)
    ]
    assert beyond([*found, *extra], rate=RATE, burst=BURST)[0] > 0
    fewer = [one for n, one in enumerate(found) if not one.let_through or n % 50]
    assert beyond(fewer, rate=RATE, burst=BURST)[1] > 0


def test_of_nothing() -> None:
    assert beyond([], rate=RATE, burst=BURST) == (0, 0)
