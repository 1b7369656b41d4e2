from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.stats.difference import Difference, Estimate, between, in_proportion
from pytest_certload.stats.uncertainty import share_interval

FIGURES = st.floats(min_value=1, max_value=1e12)


@st.composite
def estimates(draw: st.DrawFn, bounded: bool = False) -> Estimate:
    low, value, high = sorted(draw(st.lists(FIGURES, min_size=3, max_size=3)))
    ends = st.just(False) if bounded else st.booleans()
    return Estimate(
        value=value,
        low=None if draw(ends) else low,
        high=None if draw(ends) else high,
    )


def share(found: int, count: int) -> Estimate:
    low, high = share_interval(found, count)
    return Estimate(value=found / count, low=low, high=high)


@given(estimates(), estimates())
def test_the_estimate_lies_in_its_interval(one: Estimate, other: Estimate) -> None:
    for found in (between(one, other), in_proportion(one, other)):
        assert found.low is None or found.low <= found.value
        assert found.high is None or found.high >= found.value


@given(estimates(), estimates())
def test_the_other_way_round_it_is_the_other_way_round(one: Estimate, other: Estimate) -> None:
    there, back = between(one, other), between(other, one)
    assert back.value == pytest.approx(-there.value)
    assert (there.low is None) == (back.high is None)
    if there.low is not None and back.high is not None:
        assert back.high == pytest.approx(-there.low)
    opposite = {"higher": "lower", "lower": "higher", "same": "same", "unknown": "unknown"}
    assert in_proportion(other, one).verdict == opposite[in_proportion(one, other).verdict]


@given(estimates(bounded=True), estimates(bounded=True), st.floats(min_value=0.01, max_value=100))
def test_a_change_does_not_depend_on_the_unit(one: Estimate, other: Estimate, unit: float) -> None:
    def scaled(figure: Estimate) -> Estimate:
        assert figure.low is not None
        assert figure.high is not None
        return Estimate(value=figure.value * unit, low=figure.low * unit, high=figure.high * unit)

    there, scaled_there = in_proportion(one, other), in_proportion(scaled(one), scaled(other))
    assert scaled_there.value == pytest.approx(there.value, rel=1e-6, abs=1e-9)
    assert scaled_there.low == pytest.approx(there.low, rel=1e-6, abs=1e-9)


def test_variances_add_up() -> None:
    found = between(Estimate(value=100, low=97, high=104), Estimate(value=50, low=44, high=54))
    assert (found.value, found.low, found.high) == (
        50,
        50 - math.hypot(3, 4),
        50 + math.hypot(4, 6),
    )


def test_shares_have_newcombes_hybrid_score_interval() -> None:
    # Newcombe 1998, table II, (a): 56/70 - 48/80, method 10.
    found = between(share(56, 70), share(48, 80))
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.0524, abs=5e-5)
    assert found.high == pytest.approx(0.3339, abs=5e-5)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.2, "higher"),
        (0.01, None, "higher"),
        (-0.2, -0.01, "lower"),
        (None, -0.01, "lower"),
        (-0.1, 0.1, "same"),
        (0.0, 0.1, "same"),
        (None, 0.1, "unknown"),
        (-0.1, None, "unknown"),
    ],
)
def test_the_verdict_is_about_no_change(
    low: float | None, high: float | None, verdict: str
) -> None:
    assert Difference(value=0.0, low=low, high=high).verdict == verdict


def test_what_no_machine_repeats_is_no_change() -> None:
    before = Estimate(value=1000.0, low=999.5, high=1000.5)
    near, far = (Estimate(value=v, low=v - 0.5, high=v + 0.5) for v in (1004.0, 1008.0))
    assert in_proportion(near, before).verdict == "same"
    assert in_proportion(far, before).verdict == "higher"
    assert in_proportion(before, far).verdict == "lower"
    # A difference of shares is as it is: one request in a thousand more may fail by no chance.
    assert between(near, before).verdict == "higher"
