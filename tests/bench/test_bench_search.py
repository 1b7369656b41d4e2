from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.search import RateSearch


def probes(search: RateSearch, limit: float) -> list[int]:
    tried = []
    while (rate := search.rate) is not None:
        tried.append(rate)
        search.observe(held=rate <= limit)
        assert len(tried) < 60
    return tried


def rate_of(search: RateSearch) -> int | None:
    return search.rate


@given(st.integers(125, 63_999))
def test_it_ends_close_below_the_limit(limit: int) -> None:
    search = RateSearch(tries=1, precision=1.05)
    probes(search, limit)
    assert search.held <= limit < search.failed
    assert search.failed <= max(search.held * 1.05, search.held + 1)


def test_it_stops_at_its_bounds() -> None:
    none, all_ = RateSearch(tries=1), RateSearch(tries=1)
    assert probes(none, 0) == [2000, 1000, 500, 250, 125]
    assert (none.held, none.failed) == (0, 125)
    assert probes(all_, 1e9) == [2000, 4000, 8000, 16000, 32000, 64000]
    assert (all_.held, all_.failed) == (64_000, 0)


def test_a_rate_that_fails_by_chance_is_given_another_try() -> None:
    search = RateSearch(start=1000, tries=2, precision=3)
    search.observe(held=False)
    assert rate_of(search) == 1000
    search.observe(held=True)
    assert rate_of(search) == 2000
    search.observe(held=False)
    search.observe(held=False)
    assert probes(search, 0) == []
    assert (search.held, search.failed) == (1000, 2000)
