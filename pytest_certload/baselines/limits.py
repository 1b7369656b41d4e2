"""How much worse may a run be than a baseline? ``p95:10%``, ``login.p99:50ms``, ``errors:0.1%``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from pytest_certload.errors import ConfigurationError
from pytest_certload.units import Duration, parse_duration

__all__ = ["FIGURES", "Limit", "check_name", "parse_limit", "parse_wish"]

#: What a limit can be put on: percentiles of the response time, and the error rate.
FIGURES = ("p50", "p90", "p95", "p99", "errors")
_HELP = "write such as p95:10%, p99:50ms, errors:0.1% or, of a step, login.p95:10%"
_PERCENT = re.compile(r"([0-9]{1,9}(?:\.[0-9]+)?|\.[0-9]+)\s*%")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The most by which a figure may have gone up.

    Attributes:
        text: As it was written.
        step: The step; None: whole iterations.
        figure: One of ``FIGURES``.
        share: As a share of the baseline's figure; for ``errors`` as a difference of shares, so that 0.001
            are a tenth of a percentage point; None: ``duration`` says it.
        duration: Nanoseconds.
    """

    text: str
    step: str | None
    figure: str
    share: float | None
    duration: Duration | None


def parse_limit(text: str) -> Limit:
    """Read a limit.

    Raises:
        ConfigurationError: It is none.
    """
    # A step's name may hold dots and colons; a figure and a limit hold neither.
    where, colon, most = text.strip().rpartition(":")
    step, _, figure = where.rpartition(".")
    if not colon or figure not in FIGURES:
        raise ConfigurationError(f"{text!r} is no limit on one of {', '.join(FIGURES)}; {_HELP}")
    percent = _PERCENT.fullmatch(most.strip())
    share = float(Fraction(percent[1]) / 100) if percent else None
    duration = None
    if share is None and figure != "errors" and not _bare(most):
        try:
            duration = parse_duration(most)
        except ConfigurationError:
            duration = None
    if share is None and duration is None:
        what = "a percentage" if figure == "errors" else "a percentage or a duration"
        raise ConfigurationError(f"{text!r}: {most!r} is not {what}; {_HELP}")
    return Limit(
        text=text.strip(), step=step or None, figure=figure, share=share, duration=duration
    )


def parse_wish(text: str) -> tuple[str, tuple[Limit, ...]]:
    """Read ``NAME`` or ``NAME,LIMIT,LIMIT…``.

    Raises:
        ConfigurationError: The name is none, or a limit is none.
    """
    name, *limits = text.split(",")
    return check_name(name.strip()), tuple(parse_limit(limit) for limit in limits)


def check_name(name: str) -> str:
    """The name, if it can be a baseline's and a folder's.

    Raises:
        ConfigurationError: It is no such name.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is no name of a baseline; use letters, digits, -, _ and dots, such as main"
        )
    return name


def _bare(text: str) -> bool:
    """A number without a unit, which elsewhere would be seconds: here it is more likely a slip."""
    return re.fullmatch(r"[0-9.\s]*", text) is not None
