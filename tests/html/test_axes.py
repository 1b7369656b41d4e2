"""Does a value lie where the axis says that it lies?"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.report.html import axes, words
from pytest_certload.report.html.axes import Axis

sizes = st.floats(1e-6, 1e12)


def as_text(value: float) -> str:
    return f"{value:g}"


def holds_together(axis: Axis, low: float, high: float) -> None:
    assert -1e-9 <= axis.place(low) <= axis.place((low + high) / 2) <= axis.place(high) <= 1
    places = [tick.at for tick in axis.ticks]
    assert places == sorted(set(places))
    assert len({tick.label for tick in axis.ticks}) == len(places)
    assert 1 <= len(places) <= 14


@given(sizes)
def test_linear_goes_from_nothing_to_a_round_number(high: float) -> None:
    axis = axes.linear(high, as_text, unit="things")
    holds_together(axis, 0, high)
    assert axis.place(0) == 0
    assert axis.high >= high * (1 - 1e-6)
    assert axis.ticks[-1].at == pytest.approx(1 / 1.04)


@pytest.mark.parametrize(
    ("high", "labels"),
    [
        (0, "0 1"),
        (1, "0 1"),
        (3, "0 1 2 3"),
        (167, "0 50 100 150 200"),
        (2000, "0 500 1000 1500 2000"),
    ],
)
def test_linear_of_whole_things_has_no_halves(high: float, labels: str) -> None:
    axis = axes.linear(high, as_text, unit="things", whole=True)
    assert " ".join(tick.label for tick in axis.ticks) == labels


@given(st.floats(1, 1e12), st.floats(1, 1e6))
def test_logarithmic_has_equal_room_for_equal_factors(low: float, factor: float) -> None:
    axis = axes.logarithmic(low, low * factor, unit="time")
    holds_together(axis, low, low * factor)
    middle = low * math.sqrt(factor)
    first = axis.place(middle) - axis.place(low)
    second = axis.place(low * factor) - axis.place(middle)
    assert first == pytest.approx(second, abs=1e-6)


def test_logarithmic_is_labelled_with_units() -> None:
    axis = axes.logarithmic(2.4e6, 96e6, unit="time")
    assert [tick.label for tick in axis.ticks] == ["1 ms", "3 ms", "10 ms", "30 ms", "100 ms"]


@given(st.floats(0, 600), st.floats(0.05, 1e6))
def test_time_has_few_marks(warm_up: float, end: float) -> None:
    axis = axes.time(-warm_up, end)
    holds_together(axis, -warm_up, end)
    assert len(axis.ticks) <= 8


def test_percentiles_have_a_nine_in_equal_steps() -> None:
    axis = axes.percentiles(99.9)
    nines = [axis.place(p) for p in (0, 90, 99, 99.9)]
    steps = [b - a for a, b in pairwise(nines)]
    assert steps == pytest.approx([steps[0]] * 3)
    assert axis.place(99.9) < axis.place(100) == 1
    assert [tick.label for tick in axis.ticks] == ["0 %", "50 %", "90 %", "99 %", "max"]


@pytest.mark.parametrize("greatest", [0, 50, 99.9999999, 100])
def test_percentiles_of_few_or_very_many(greatest: float) -> None:
    holds_together(axes.percentiles(greatest), 0, 100)


@pytest.mark.parametrize(
    ("written", "kind_and_size"),
    [
        ("< 500 ms", ("duration", 500e6)),
        ("1.24 s", ("duration", 1.24e9)),
        ("1m30s", ("duration", 90e9)),
        ("87 µs", ("duration", 87e3)),
        ("90.8 ms, the longest: p99 needs 100 samples, not 75", ("duration", 90.8e6)),
        ("at most 0.4 %", ("share", 0.4)),
        (">= 1,000 %", ("share", 1000)),
        ("== 5,000", None),
        ("12 monkeys", None),
        ("no samples", None),
        ("all 414,282, and in order", None),
        ("167/s", None),
    ],
)
def test_words_are_read_back(written: str, kind_and_size: tuple[str, float] | None) -> None:
    assert words.quantity(written) == kind_and_size


@pytest.mark.parametrize(
    ("write", "value", "written"),
    [
        (words.octets, 512, "512 B"),
        (words.octets, 1_600_000, "1.6 MB"),
        (words.octets, 721_000_000_000, "721 GB"),
        (words.octets, None, "–"),
        (words.clock, 5, "0:05"),
        (words.clock, 59.7, "1:00"),
        (words.clock, 3723, "1:02:03"),
        (words.clock, -30, "−0:30"),
        (words.clock, -0.2, "0:00"),
        (words.seconds, 0, "0 s"),
        (words.share, 0.0798, "7.98 %"),
        (words.count, 1234567, "1,234,567"),
        (words.count, 1.5, "1.50"),
    ],
)
def test_figures_are_written(
    write: Callable[[float | None], str], value: float | None, written: str
) -> None:
    assert write(value) == written
