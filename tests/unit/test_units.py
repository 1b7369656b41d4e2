from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.errors import ConfigurationError
from pytest_certload.units import (
    Duration,
    Rate,
    format_duration,
    format_rate,
    hundredths,
    minutes,
    ms,
    parse_duration,
    parse_rate,
    seconds,
    us,
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("5m", minutes(5)),
        ("5min", minutes(5)),
        ("1h30m", minutes(90)),
        ("250ms", ms(250)),
        ("1.5 s", ms(1500)),
        ("20", seconds(20)),
        (20, seconds(20)),
        (0.5, ms(500)),
        ("100us", us(100)),
        ("100µs", us(100)),
        (timedelta(seconds=2), seconds(2)),
        (ms(7), ms(7)),
    ],
)
def test_durations(written: object, meant: Duration) -> None:
    assert parse_duration(written) == meant


@pytest.mark.parametrize(
    "written", ["", "5x", "m", "-5s", "5m garbage", None, True, -1, float("nan"), "1e3", "5 5", []]
)
def test_what_is_not_a_duration_says_so(written: object) -> None:
    with pytest.raises(ConfigurationError, match=r"length: .* is not a duration; write .*20s"):
        parse_duration(written, name="length")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (167, Fraction(167)),
        ("167/s", Fraction(167)),
        ("167", Fraction(167)),
        ("100/min", Fraction(100, 60)),
        ("2.5/s", Fraction(5, 2)),
        (0.1, Fraction(1, 10)),
        ("1/h", Fraction(1, 3600)),
        (Fraction(1, 3), Fraction(1, 3)),
        (Rate(Fraction(7)), Fraction(7)),
    ],
)
def test_rates(written: object, meant: Fraction) -> None:
    assert parse_rate(written).per_second == meant


@pytest.mark.parametrize(
    "written", ["", "fast", "0", 0, -5, "5/fortnight", None, False, float("inf"), "/s", "0/s"]
)
def test_what_is_not_a_rate_says_so(written: object) -> None:
    with pytest.raises(ConfigurationError, match=r"rate: .* is not a rate; write .*167"):
        parse_rate(written)


@pytest.mark.parametrize(
    ("nanoseconds", "printed"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1 µs"),
        (999_999, "1 ms"),
        (412_345_678, "412 ms"),
        (4_236_000, "4.24 ms"),
        (999_999_999, "1 s"),
        (1_240_000_000, "1.24 s"),
        (59_999_999_999, "1m"),
        (300_000_000_000, "5m"),
        (3_661_000_000_000, "1h1m1s"),
        (-5_000_000, "-5 ms"),
    ],
)
def test_printed_durations(nanoseconds: int, printed: str) -> None:
    assert format_duration(nanoseconds) == printed
    assert str(Duration(nanoseconds)) == printed


def test_printed_rates() -> None:
    assert [format_rate(r) for r in (167, 2.5, 100 / 60, 12345.6)] == [
        "167/s",
        "2.5/s",
        "1.667/s",
        "12346/s",
    ]
    assert str(parse_rate("100/min")) == "1.667/s"
    assert repr(ms(5)) == "Duration(5 ms)"
    assert float(parse_rate("2.5/s")) == 2.5
    assert ms(1500).total_seconds == 1.5


@given(st.integers(0, 10**15))
def test_a_duration_printed_is_read_back_to_three_digits(nanoseconds: int) -> None:
    printed = format_duration(nanoseconds)
    back = parse_duration(printed.replace(" ", ""))
    tolerance = max(0.006 * nanoseconds, 1) if nanoseconds < 6e10 else 5e8 + 1
    assert abs(int(back) - nanoseconds) <= tolerance


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (0.12345, 3, "12.3"),
        (0.996, 2, "100"),
        (0.999, 3, "99.9"),
        (12.3456, 3, "1,235"),
        (-12.3456, 3, "-1,235"),
        (0.0000001234, 3, "0.0000123"),
        (0.0, 3, "0"),
        (1.0, 3, "100"),
        (0.5, 1, "50"),
    ],
)
def test_hundredths_have_no_exponent(share: float, digits: int, text: str) -> None:
    assert hundredths(share, digits) == text
    signed = text if text.startswith("-") else f"+{text}"
    assert hundredths(share, digits, signed=True) == signed
