"""How strictly is a run judged, where a test leaves it open? What the options say, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_certload.units import Duration, seconds

__all__ = ["UNDECIDED", "Policy"]

#: What becomes of a condition that the samples cannot decide: the estimate decides, and the reader is
#: warned; it fails; it passes.
UNDECIDED = ("warn", "fail", "pass")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What the options say of judging.

    Attributes:
        undecided: One of ``UNDECIDED``.
        effects_limit: How long after a load what it must leave behind may still come.
    """

    undecided: str = "warn"
    effects_limit: Duration = seconds(10)  # noqa: RUF009 - immutable
