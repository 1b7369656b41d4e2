"""The token bucket never admits more than its burst and what flowed in since."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.certctl.reference.config import Limit
from pytest_certload.certctl.reference.limiter import Limiter

# A float's error over a hundred additions, and much less than a token.
TOLERANCE = 1e-6

rates = st.floats(0.01, 1000)
bursts = st.integers(1, 20)
# Whole milliseconds: the clock adds up without error.
pauses = st.lists(st.integers(0, 5000), min_size=1, max_size=60)


class Clock:
    def __init__(self) -> None:
        self.milliseconds = 0

    def __call__(self) -> float:
        return self.milliseconds / 1000


def admissions(limiter: Limiter, clock: Clock, steps: list[int], address: str) -> list[float]:
    """When a request was admitted, of one after each pause."""
    admitted = []
    for step in steps:
        clock.milliseconds += step
        if limiter.admit(address):
            admitted.append(clock())
    return admitted


@given(rates, bursts, pauses)
def test_no_span_of_time_sees_more_than_the_burst_and_the_rate(
    rate: float, burst: int, steps: list[int]
) -> None:
    clock = Clock()
    admitted = admissions(Limiter(Limit(rate=rate, burst=burst), clock), clock, steps, "a")
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            flowed_in = (admitted[last] - start) * rate
            assert last - first + 1 <= burst + flowed_in + TOLERANCE


@given(rates, bursts, pauses)
def test_whoever_has_a_whole_token_is_admitted(rate: float, burst: int, steps: list[int]) -> None:
    clock = Clock()
    limiter = Limiter(Limit(rate=rate, burst=burst), clock)
    tokens = Fraction(burst)
    for step in steps:
        clock.milliseconds += step
        tokens = min(Fraction(burst), tokens + Fraction(step, 1000) * Fraction(rate))
        admitted = limiter.admit("a")
        if abs(tokens - 1) > TOLERANCE:
            assert admitted == (tokens > 1)
        tokens -= admitted


@given(bursts, st.integers(0, 40))
def test_the_burst_is_there_at_once_and_only_once(burst: int, more: int) -> None:
    clock = Clock()
    limiter = Limiter(Limit(rate=1, burst=burst), clock)
    answers = [limiter.admit("a") for _ in range(burst + more)]
    assert answers == [True] * burst + [False] * more
    clock.milliseconds += 3_600_000
    assert sum(limiter.admit("a") for _ in range(burst + more)) == burst


@given(st.lists(st.sampled_from("abc"), max_size=60), bursts)
def test_addresses_share_nothing(addresses: list[str], burst: int) -> None:
    limiter = Limiter(Limit(rate=1, burst=burst), Clock())
    admitted = [address for address in addresses if limiter.admit(address)]
    for address in "abc":
        assert admitted.count(address) == min(burst, addresses.count(address))


def test_a_steady_rate_below_the_limit_is_never_refused() -> None:
    clock = Clock()
    limiter = Limiter(Limit(rate=50, burst=1), clock)
    admitted = admissions(limiter, clock, [21] * 500, "a")
    assert len(admitted) == 500
    assert all(later > earlier for earlier, later in pairwise(admitted))
