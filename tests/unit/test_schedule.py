from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.engine.executors.replayed_arrivals import ReplayedArrivals
from pytest_certload.engine.recording import read_recording
from pytest_certload.engine.schedule import constant, count_due, count_ramping, poisson, ramping
from pytest_certload.errors import ConfigurationError
from pytest_certload.units import Duration, Rate, minutes, parse_rate, seconds

rates = st.fractions(Fraction(1, 1000), Fraction(5000), max_denominator=10_000)
durations = st.integers(1, 3_000_000_000).map(Duration)


@given(rates, durations)
def test_each_arrival_is_where_exact_arithmetic_puts_it(rate: Fraction, duration: Duration) -> None:
    due = constant(Rate(rate), duration)
    assert due.dtype == np.int64
    exact = [int(i * 10**9 / rate) for i in range(len(due))]
    assert due.tolist() == exact


@given(rates, durations)
def test_the_window_is_filled_and_not_left(rate: Fraction, duration: Duration) -> None:
    due = constant(Rate(rate), duration)
    assert len(due) == count_due(Rate(rate), duration)
    assert due[0] == 0
    assert due[-1] < duration
    # One more would lie outside.
    assert Fraction(len(due)) / rate * 10**9 >= duration


@given(rates, st.integers(1, 10**9).map(Duration), st.integers(1, 10**9).map(Duration))
def test_a_longer_window_only_adds(rate: Fraction, one: Duration, more: Duration) -> None:
    short = constant(Rate(rate), one)
    longer = constant(Rate(rate), Duration(one + more))
    assert longer[: len(short)].tolist() == short.tolist()


def test_the_shipped_loads_have_their_counts() -> None:
    assert count_due(parse_rate(167), minutes(5)) == 50_100
    assert count_due(parse_rate(5), minutes(5)) == 1_500
    assert count_due(parse_rate("100/min"), minutes(5)) == 500


def test_a_rate_with_very_many_digits_does_not_overflow() -> None:
    rate = Rate(Fraction(10**18 + 9, 10**16 + 61))
    due = constant(rate, seconds(100))
    assert due[-1] == int((len(due) - 1) * 10**9 / rate.per_second)
    assert (np.diff(due) > 0).all()


Corners = list[tuple[Duration, Fraction]]
ramp_rates = st.one_of(st.just(Fraction(0)), st.fractions(0, 2000, max_denominator=100))
ramps = st.tuples(
    ramp_rates,
    st.lists(
        st.tuples(st.integers(1, 2 * 10**9).map(Duration), ramp_rates), min_size=1, max_size=4
    ),
)


def integral(start: Fraction, corners: Corners, until: int) -> Fraction:
    """How many iterations a ramp makes due up to an instant, exactly."""
    total, rate, begun = Fraction(0), start, 0
    for duration, target in corners:
        inside = min(max(until - begun, 0), duration)
        at_end = rate + (target - rate) * Fraction(inside, int(duration))
        total += (rate + at_end) / 2 * Fraction(inside, 10**9)
        begun, rate = begun + duration, target
    return total


@given(ramps)
def test_iteration_i_of_a_ramp_is_due_when_the_integral_reaches_i(
    ramp: tuple[Fraction, Corners],
) -> None:
    start, corners = ramp
    due = ramping(start, corners)
    length = sum(duration for duration, _ in corners)
    whole = integral(start, corners, length)
    assert len(due) == -(-whole.numerator // whole.denominator), "as many as the area says"
    assert len(due) == count_ramping(start, corners)
    assert (np.diff(due) >= 0).all()
    for index in {0, len(due) // 2, len(due) - 1} if len(due) else ():
        at = int(due[index])
        assert 0 <= at < length
        # Not more than a microsecond to either side.
        assert integral(start, corners, max(0, at - 1000)) <= index
        assert integral(start, corners, min(length, at + 1000)) >= index or at + 1000 >= length


@given(rates, durations)
def test_a_ramp_that_does_not_rise_is_a_constant_rate(rate: Fraction, duration: Duration) -> None:
    flat = ramping(rate, [(duration, rate)])
    exact = constant(Rate(rate), duration)
    assert len(flat) == len(exact)
    assert (np.abs(flat - exact) <= 1).all()


def test_a_ramp_in_known_numbers() -> None:
    # From 0 to 10/s in 10 s: 50 iterations, number i after sqrt(2 i) seconds; and back again.
    due = ramping(Fraction(0), [(seconds(10), Fraction(10)), (seconds(10), Fraction(0))])
    assert len(due) == 100
    assert due[[0, 2, 8, 32]].tolist() == pytest.approx([0, 2e9, 4e9, 8e9], abs=1)
    assert due[[50, 68, 92, 98]].tolist() == pytest.approx([10e9, 12e9, 16e9, 18e9], abs=1)


def test_a_pause_in_a_ramp_is_a_pause() -> None:
    second = seconds(1)
    due = ramping(
        Fraction(4),
        [
            (second, Fraction(4)),
            (second, Fraction(0)),
            (second, Fraction(0)),
            (second, Fraction(4)),
        ],
    )
    inside = np.bincount((due // second).astype(np.int64), minlength=4)
    assert inside.tolist() == [4, 2, 0, 2]


@given(st.integers(0, 2**32), st.integers(1, 500), st.integers(1, 3 * 10**9).map(Duration))
def test_poisson_arrivals_depend_on_the_seed_alone(
    seed: int, rate: int, duration: Duration
) -> None:
    due = poisson(parse_rate(rate), duration, seed)
    assert due.tolist() == poisson(parse_rate(rate), duration, seed).tolist()
    assert (np.diff(due) >= 0).all()
    assert not len(due) or (due[0] >= 0 and due[-1] < duration)


def test_poisson_arrivals_have_the_mean_and_the_spread_of_their_process() -> None:
    due = poisson(parse_rate(1000), seconds(1000), seed=1)
    a_second = np.bincount(due // 10**9, minlength=1000)
    # A Poisson count has mean = variance; a million arrivals pin both down to a few per cent.
    assert a_second.mean() == pytest.approx(1000, rel=0.005)
    assert a_second.var() == pytest.approx(1000, rel=0.15)
    gaps = np.diff(due) / 1e6
    assert np.median(gaps) == pytest.approx(np.log(2), rel=0.01), "gaps are exponential"
    assert (
        poisson(parse_rate(1000), seconds(1), 1).tolist()
        != poisson(parse_rate(1000), seconds(1), 2).tolist()
    )


class TestARecording:
    def write(self, tmp_path: Path, *lines: str) -> Path:
        path = tmp_path / "arrivals.txt"
        path.write_text("\n".join(lines), "utf-8")
        return path

    def test_of_seconds(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "# from the access log", "100.5", "", "100.500000001", "102")
        assert read_recording(path).tolist() == [0, 1, 1_500_000_000]

    def test_of_moments(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "2026-01-31T12:00:00.000001Z", "2026-01-31T14:00:01+02:00")
        assert read_recording(path).tolist() == [0, 999_999_000]

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            (["1", "yesterday"], r"arrivals.txt:2: 'yesterday' is not a time; write seconds"),
            (["2026-01-31T12:00:00"], r"arrivals.txt:1: .* is not a time; .* with a time zone"),
            (["-1"], "'-1' is not a time"),
            (["1e3"], "'1e3' is not a time"),
            (["2", "", "1"], r"arrivals.txt:3: '1' is earlier than the line before"),
            (["# nothing"], "holds no time"),
            (["0", "99999999999"], "longer than a century"),
        ],
    )
    def test_that_is_none(self, lines: list[str], message: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=message):
            read_recording(self.write(tmp_path, *lines))

    def test_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"missing\.txt cannot be read: No such file"):
            read_recording(tmp_path / "missing.txt")
        binary = tmp_path / "binary.txt"
        binary.write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigurationError, match=r"binary\.txt cannot be read: .*utf-8"):
            read_recording(binary)

    def test_is_replayed_faster_and_shorter(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "10", "11", "14")
        whole = ReplayedArrivals(path=path)
        assert whole.due(0).tolist() == [0, 10**9, 4 * 10**9]
        assert whole.duration == seconds(4) + 1
        assert whole.planned == 3
        assert ReplayedArrivals(path=path, speed=2).due(0).tolist() == [0, 5 * 10**8, 2 * 10**9]
        short = whole.replaced(duration=seconds(2))
        assert short.due(0).tolist() == [0, 10**9]
        assert short.parameters["duration_seconds"] == 2
        warm = ReplayedArrivals(path=path, warm_up=2)
        assert (warm.due(0).tolist(), warm.duration) == (whole.due(0).tolist(), seconds(2) + 1)

    def test_at_a_speed_of_many_places(self, tmp_path: Path) -> None:
        """1/3 has 16 of them, and an hour of nanoseconds times 10**16 fits into no 64 bits."""
        path = self.write(tmp_path, "0", "1", "3600")
        due = ReplayedArrivals(path=path, speed=1 / 3).due(0).tolist()
        assert due == pytest.approx([0, 3e9, 10_800e9], abs=10)

    def test_that_would_last_for_ever(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "0", "3600")
        with pytest.raises(ConfigurationError, match=r"speed: at 1e-08 .* longer than 292 years"):
            ReplayedArrivals(path=path, speed=1e-8)

    @pytest.mark.parametrize("speed", [0, -1, True, "2", float("nan"), None])
    def test_whose_speed_is_none(self, speed: object, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"speed: .* is not a number above 0"):
            ReplayedArrivals(path=self.write(tmp_path, "1"), speed=speed)

    def test_that_is_warm_up_as_a_whole(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"warm_up: 5 s is all of the recording"):
            ReplayedArrivals(path=self.write(tmp_path, "1", "2"), warm_up=5)
