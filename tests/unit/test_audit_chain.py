"""Rows form one chain, in whatever order they are read, or the fault is named."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.certctl.audit import acknowledged, at_most, find_break
from pytest_certload.engine.traffic import Traffic

Link = tuple[int, int, bool]
hashes = st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=40, unique=True)


def links(chain: list[int]) -> list[Link]:
    return [(before, own, True) for before, own in itertools.pairwise(chain)]


@given(hashes, st.randoms())
def test_one_chain_is_right_in_any_order(chain: list[int], order: Random) -> None:
    shuffled = links(chain)
    order.shuffle(shuffled)
    assert find_break(shuffled, chain[0], chain[-1]) is None


@given(hashes, st.data())
def test_rows_of_before_may_stand_between_and_beside(chain: list[int], data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(chain) - 1))
    rows = [(b, own, number >= begin) for number, (b, own, _) in enumerate(links(chain))]
    assert find_break(rows, chain[begin], chain[-1]) is None


@given(hashes, st.data())
def test_a_row_that_was_left_out_breaks_it(chain: list[int], data: st.DataObject) -> None:
    rows = links(chain)
    lost = data.draw(st.integers(0, len(rows) - 1))
    del rows[lost]
    fault = find_break(rows, chain[0], chain[-1])
    assert fault is not None
    assert f"breaks after {lost:,} rows" in fault
    assert f"{chain[lost]:016x}" in fault


@given(hashes, st.data())
def test_two_rows_after_one_are_a_fork(chain: list[int], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(chain) - 2))
    stranger = data.draw(st.integers(0, 2**64 - 1).filter(lambda h: h not in chain))
    fault = find_break([*links(chain), (chain[at], stranger, True)], chain[0], chain[-1])
    assert fault is not None
    assert "forks" in fault


@given(hashes, st.data())
def test_a_row_beside_the_chain_is_found(chain: list[int], data: st.DataObject) -> None:
    strange = st.integers(0, 2**64 - 1).filter(lambda h: h not in chain)
    before, own = data.draw(st.lists(strange, min_size=2, max_size=2, unique=True))
    fault = find_break([*links(chain), (before, own, True)], chain[0], chain[-1])
    assert fault == f"1 rows are not in the chain, such as {own:016x}"


def test_no_row_is_a_chain_that_ends_where_it_began() -> None:
    assert find_break([], 7, 7) is None
    fault = find_break([], 7, 8)
    assert fault is not None
    assert "breaks after 0 rows" in fault


def test_a_chain_that_runs_in_a_circle_ends() -> None:
    fault = find_break([(1, 2, True), (2, 1, True)], 1, 9)
    assert fault is not None
    assert "breaks after 2 rows" in fault


@pytest.mark.parametrize(
    ("sent", "statuses", "wanted", "most"),
    [
        (0, {}, 0, 0),
        (10, {200: 8, 403: 1, 500: 1}, 10, 10),
        # Refused before they are anybody's.
        (10, {200: 7, 401: 1, 429: 2}, 7, 7),
        # Two never came back: they may have a row.
        (10, {200: 7, 429: 1}, 7, 9),
    ],
)
def test_how_many_rows_a_load_is_owed(
    sent: int, statuses: dict[int, int], wanted: int, most: int
) -> None:
    traffic = Traffic()
    traffic.sent, traffic.statuses = sent, statuses
    assert (acknowledged(traffic), at_most(traffic)) == (wanted, most)
