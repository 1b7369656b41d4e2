"""How are figures written on the page, and read back from the words that the record has?"""

from __future__ import annotations

import re

from pytest_certload.errors import ConfigurationError
from pytest_certload.units import format_duration, hundredths, parse_duration

__all__ = [
    "NONE",
    "clock",
    "count",
    "duration",
    "moment",
    "octets",
    "percent",
    "plural",
    "quantity",
    "seconds",
    "share",
]

#: Stands for a figure that is not there.
NONE = "–"


def duration(nanoseconds: float | None) -> str:
    """Nanoseconds with the unit a reader expects."""
    return NONE if nanoseconds is None else format_duration(nanoseconds)


def seconds(value: float | None) -> str:
    """Seconds with the unit a reader expects."""
    if value is None:
        return NONE
    return format_duration(value * 1e9) if value else "0 s"


def count(value: float | None) -> str:
    """A whole number with its thousands apart, or one that is not whole with two decimals."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def share(value: float | None, digits: int = 3) -> str:
    """A share from 0 to 1 as a percentage."""
    return NONE if value is None else f"{hundredths(value, digits)} %"


def percent(value: float) -> str:
    """A percentage as a point of a percentile axis."""
    return f"{value:.6g} %"


def octets(value: float | None) -> str:
    """Octets with a decimal unit: ``512 B``, ``1.6 MB``."""
    if value is None:
        return NONE
    size, unit = float(value), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size) < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or abs(size) >= 100 else f"{size:.3g} {unit}"


def clock(value: float) -> str:
    """Seconds as minutes and seconds, or hours: ``0:05``, ``1:02:03``."""
    sign = "−" if value <= -0.5 else ""
    minutes, rest = divmod(round(abs(value)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}:{minutes:02d}:{rest:02d}" if hours else f"{sign}{minutes}:{rest:02d}"


def moment(value: float) -> str:
    """The same to a tenth of a second, where parts are shorter than a second: ``0:05.2``."""
    sign = "−" if value <= -0.05 else ""
    minutes, rest = divmod(round(abs(value) * 10), 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 10:02d}.{rest % 10}"
    return f"{sign}{hours}:{minutes:02d}:{tail}" if hours else f"{sign}{minutes}:{tail}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """``1 load``, ``2 loads``."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def quantity(words: str) -> tuple[str, float] | None:
    """The first figure in words, such as that of ``< 500 ms``: its kind and its size.

    Returns:
        ``duration`` and nanoseconds, ``share`` and a percentage; None: it is neither.
    """
    found = re.match(r"(?:[<>=!]=?|at most|at least)?\s*([0-9][0-9.,]*)\s*%", words)
    if found:
        return "share", float(found[1].replace(",", ""))
    found = re.match(
        r"(?:[<>=!]=?|at most|at least)?\s*((?:[0-9]+(?:\.[0-9]+)?\s*(?:ns|µs|ms|s|m|h)(?![a-z]))+)",
        words,
    )
    if not found:
        return None
    try:
        return "duration", float(parse_duration(found[1]))
    except ConfigurationError:
        return None
