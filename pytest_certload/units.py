"""How are durations and rates written, read and printed?

Durations are whole nanoseconds (``Duration``, an ``int``), so that "the same instant" means
something; rates are exact fractions per second (``Rate``), so that 100/min is not 1.6667/s.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from pytest_certload.errors import ConfigurationError

__all__ = [
    "Duration",
    "Rate",
    "format_duration",
    "format_rate",
    "hundredths",
    "minutes",
    "ms",
    "parse_duration",
    "parse_rate",
    "seconds",
    "us",
]

NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "min": 60 * 1_000_000_000,
    "h": 3600 * 1_000_000_000,
}
RATE_UNITS = {
    "s": 1, "sec": 1, "second": 1,
    "m": 60, "min": 60, "minute": 60,
    "h": 3600, "hour": 3600,
    "d": 86400, "day": 86400,
}  # fmt: skip
_LONGEST = 366 * 24 * 3600 * 1_000_000_000
_NUMBER = r"(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_PART = re.compile(rf"({_NUMBER})\s*(ns|us|µs|ms|min|s|m|h)")
_DURATION = re.compile(rf"(?:{_NUMBER}\s*(?:ns|us|µs|ms|min|s|m|h)\s*)+")
_RATE = re.compile(rf"({_NUMBER})\s*(?:/\s*([a-z]+))?")

DURATION_HELP = 'write a duration such as "20s", "5m", "1h30m" or "250ms"'
RATE_HELP = 'write a rate above zero such as 167, "167/s", "100/min" or "2.5/s"'


class Duration(int):
    """A length of time in whole nanoseconds that prints itself with a unit.

    It is an ``int``: arithmetic and comparison with other nanosecond integers work.
    """

    __slots__ = ()

    @property
    def total_seconds(self) -> float:
        """The same length in seconds."""
        return int(self) / 1e9

    def __str__(self) -> str:
        return format_duration(int(self))

    def __repr__(self) -> str:
        return f"Duration({format_duration(int(self))})"


def us(value: float) -> Duration:
    """A duration of ``value`` microseconds."""
    return Duration(round(value * 1_000))


def ms(value: float) -> Duration:
    """A duration of ``value`` milliseconds."""
    return Duration(round(value * 1_000_000))


def seconds(value: float) -> Duration:
    """A duration of ``value`` seconds."""
    return Duration(round(value * 1_000_000_000))


def minutes(value: float) -> Duration:
    """A duration of ``value`` minutes."""
    return Duration(round(value * 60_000_000_000))


@dataclass(frozen=True, order=True)
class Rate:
    """An arrival rate as an exact fraction per second."""

    per_second: Fraction

    def __float__(self) -> float:
        return float(self.per_second)

    def __str__(self) -> str:
        return format_rate(float(self.per_second))


def parse_duration(value: object, *, name: str = "duration") -> Duration:
    """Read a duration.

    Args:
        value: ``"5m"``, ``"1h30m"``, ``"250ms"``; a ``Duration``; a ``timedelta``; or a number of
            seconds, also as text (``20``, ``"20"``).
        name: What the value is, for the error.

    Raises:
        ConfigurationError: It is none of these, or below zero.
    """
    if isinstance(value, Duration):
        result: Duration | None = value
    elif isinstance(value, timedelta):
        result = Duration(round(value.total_seconds() * 1e9))
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        result = seconds(value)
    elif isinstance(value, str):
        result = _duration_from_text(value.strip().lower())
    else:
        result = None
    if result is None or result < 0:
        raise ConfigurationError(f"{name}: {value!r} is not a duration; {DURATION_HELP}")
    if result > _LONGEST:
        raise ConfigurationError(f"{name}: {value!r} is longer than a year; {DURATION_HELP}")
    return result


def _duration_from_text(text: str) -> Duration | None:
    if re.fullmatch(_NUMBER, text):
        return Duration(round(Fraction(text) * NANOSECONDS["s"]))
    if not _DURATION.fullmatch(text):
        return None
    return Duration(round(sum(Fraction(n) * NANOSECONDS[unit] for n, unit in _PART.findall(text))))


def parse_rate(value: object, *, name: str = "rate") -> Rate:
    """Read an arrival rate.

    Args:
        value: ``167`` (per second), ``"167/s"``, ``"100/min"``, ``"2.5/s"``; a ``Rate``; a ``Fraction``.
        name: What the value is, for the error.

    Raises:
        ConfigurationError: It is none of these, or not above zero.
    """
    result: Fraction | None = None
    if isinstance(value, Rate):
        result = value.per_second
    elif isinstance(value, (int, float, Fraction)) and not isinstance(value, bool):
        # A float is read as it prints: 0.1 means one tenth, not its binary neighbour.
        result = Fraction(str(value)) if math.isfinite(value) else None
    elif isinstance(value, str):
        match = _RATE.fullmatch(value.strip().lower())
        unit = RATE_UNITS.get(match[2] or "s") if match else None
        if match and unit:
            result = Fraction(match[1]) / unit
    if result is None or result <= 0:
        raise ConfigurationError(f"{name}: {value!r} is not a rate; {RATE_HELP}")
    return Rate(result)


def format_duration(nanoseconds: float) -> str:
    """Print nanoseconds with the unit a reader expects: ``87 µs``, ``4.2 ms``, ``1.24 s``, ``5m``."""
    if nanoseconds < 0:
        return "-" + format_duration(-nanoseconds)
    if nanoseconds < 1_000:
        return f"{nanoseconds:.0f} ns"
    for unit, size, limit in (("µs", 1e3, 1e6), ("ms", 1e6, 1e9), ("s", 1e9, 6e10)):
        figure = _three_digits(nanoseconds / size)
        if float(figure) * size < limit:
            return f"{figure} {unit}"
    return _long_duration(round(nanoseconds / 1e9))


def _three_digits(value: float) -> str:
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _long_duration(total: int) -> str:
    hours, rest = divmod(total, 3600)
    parts = ((hours, "h"), (rest // 60, "m"), (rest % 60, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count)


def hundredths(share: float, digits: int = 3, *, signed: bool = False) -> str:
    """A share as a percentage without its sign, to so many digits and never with an exponent.

    Args:
        share: 0.125 is ``12.5``.
        digits: That count; what is before the point is whole in any case: ``1,234``.
        signed: Whether a plus is written.
    """
    value, sign = share * 100, "+" if signed else ""
    if abs(value) >= 10**digits - 0.5:
        return f"{value:{sign},.0f}"
    return f"{Decimal(f'{value:.{digits}g}'):{sign}f}"


def format_rate(per_second: float) -> str:
    """Print a rate per second: ``167/s``, ``2.5/s``."""
    return f"{per_second:.4g}/s" if per_second < 1000 else f"{per_second:.0f}/s"
