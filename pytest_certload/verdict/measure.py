"""What is a figure that explains itself in a failed ``assert``? A ``Measure``."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pytest_certload.units import Duration, format_duration, format_rate

__all__ = ["Judgement", "Kind", "Measure"]

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Kind(Enum):
    """What a figure is, and so what it may be compared with."""

    DURATION = "duration"
    SHARE = "share"
    COUNT = "count"
    RATE = "rate"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One condition that a test put on a figure, and whether it held.

    Attributes:
        metric: Such as ``response time p95`` or ``error rate``.
        step: Name of the step; None for whole iterations.
        condition: Such as ``< 500 ms``.
        actual: Such as ``412 ms``; ``no samples`` when there is nothing to judge.
        passed: Whether it held. A figure without samples never holds.
        missed_by: By how much it was missed, in words; None when it held.
    """

    metric: str
    step: str | None
    condition: str
    actual: str
    passed: bool
    missed_by: str | None = None

    def __str__(self) -> str:
        where = f" of step {self.step}" if self.step else ""
        text = f"{self.metric}{where} = {self.actual}, wanted {self.condition}"
        return f"{text} (missed by {self.missed_by})" if self.missed_by else text


class Measure:
    """A figure of a run. Compare it in an ``assert``; the comparison is kept as a threshold.

    A duration compares with ``ms(500)`` or ``seconds(2)`` only, so that no test depends on the
    reader's idea of a unit. A figure without samples holds no condition at all.

    Args:
        value: Nanoseconds, a share from 0 to 1, a count, or a rate per second; None: no samples.
        kind: Which of these.
        metric: Name in reports.
        step: Name of the step; None for whole iterations.
        judgements: Every comparison is appended here.
        error: The most by which the value may be off, as a share of it; None: it is exact.
    """

    __slots__ = ("_judgements", "error", "kind", "metric", "step", "value")
    __hash__ = None  # type: ignore[assignment]  # equality is a judgement, not an identity

    def __init__(
        self,
        value: float | None,
        *,
        kind: Kind,
        metric: str,
        step: str | None,
        judgements: list[Judgement],
        error: float | None = None,
    ) -> None:
        self.value = value
        self.error = error
        self.kind = kind
        self.metric = metric
        self.step = step
        self._judgements = judgements

    def __lt__(self, limit: object) -> bool:
        __tracebackhide__ = True
        return self._judge("<", limit)

    def __le__(self, limit: object) -> bool:
        __tracebackhide__ = True
        return self._judge("<=", limit)

    def __gt__(self, limit: object) -> bool:
        __tracebackhide__ = True
        return self._judge(">", limit)

    def __ge__(self, limit: object) -> bool:
        __tracebackhide__ = True
        return self._judge(">=", limit)

    def __eq__(self, limit: object) -> bool:
        __tracebackhide__ = True
        return self._judge("==", limit)

    def __ne__(self, limit: object) -> bool:
        __tracebackhide__ = True
        return self._judge("!=", limit)

    def __float__(self) -> float:
        """The bare figure: seconds for a duration; NaN without samples."""
        if self.value is None:
            return float("nan")
        return self.value / 1e9 if self.kind is Kind.DURATION else float(self.value)

    def __int__(self) -> int:
        """The bare figure, whole: nanoseconds for a duration.

        Raises:
            ValueError: There are no samples.
        """
        if self.value is None:
            raise ValueError(f"{self.metric}: no samples")
        return int(self.value)

    def __bool__(self) -> bool:
        """True when the figure exists and is not zero."""
        return bool(self.value)

    def __str__(self) -> str:
        text = self._print(self.value)
        if self.value is None or self.error is None:
            return text
        return f"{text} ±{self.error * 100:g} %"

    def __repr__(self) -> str:
        where = f" of step {self.step}" if self.step else ""
        return f"<{self.metric}{where}: {self}>"

    def judge(self, sign: str, limit: object) -> Judgement:
        """Compare with a limit; what the operators do, with the reasons.

        Raises:
            TypeError: The limit is of another kind than the figure.
        """
        __tracebackhide__ = True
        bare = self._bare(limit)
        passed = self.value is not None and bool(_OPERATORS[sign](self.value, bare))
        missed_by = None
        if not passed and self.value is not None and sign not in ("==", "!="):
            gap = abs(self.value - bare)
            missed_by = f"{self._print(gap)}{_in_proportion(self.value, bare)}"
        return Judgement(
            metric=self.metric,
            step=self.step,
            condition=f"{sign} {self._print(bare)}",
            actual=str(self),
            passed=passed,
            missed_by=missed_by,
        )

    def belongs_to(self, judgements: list[Judgement]) -> bool:
        """Whether this figure's comparisons are kept in that list."""
        return self._judgements is judgements

    def _judge(self, sign: str, limit: object) -> bool:
        __tracebackhide__ = True
        judgement = self.judge(sign, limit)
        self._judgements.append(judgement)
        return judgement.passed

    def _bare(self, limit: object) -> float:
        __tracebackhide__ = True
        if isinstance(limit, Measure):
            if limit.kind is not self.kind or limit.value is None:
                raise TypeError(f"{self!r} cannot be compared with {limit!r}")
            return limit.value
        if isinstance(limit, bool) or not isinstance(limit, (int, float)):
            raise TypeError(f"{self!r} cannot be compared with {limit!r}")
        if (self.kind is Kind.DURATION) != isinstance(limit, Duration):
            if self.kind is Kind.DURATION:
                raise TypeError(
                    f"{self.metric} is a duration: compare it with ms({limit}) or seconds({limit}), "
                    f"not with {limit!r}"
                )
            raise TypeError(f"{self.metric} is a {self.kind.value}, not a duration like {limit}")
        return limit

    def _print(self, value: float | None) -> str:
        if value is None:
            return "no samples"
        if self.kind is Kind.DURATION:
            return format_duration(value)
        if self.kind is Kind.SHARE:
            return f"{value * 100:.3g} %"
        if self.kind is Kind.RATE:
            return format_rate(value)
        return f"{value:,.0f}" if value == int(value) else f"{value:,}"


def _in_proportion(value: float, limit: float) -> str:
    if not limit or not value:
        return ""
    ratio = abs(value / limit)
    return f", {ratio:,.0f} times the limit" if ratio >= 10 else f", {abs(ratio - 1):.0%}"
