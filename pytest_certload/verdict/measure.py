"""What is a figure that explains itself in a failed ``assert``? A ``Measure``."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pytest_certload.units import Duration, format_duration, format_rate, hundredths

__all__ = ["Bounds", "Judgement", "Judgements", "Kind", "Measure"]

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


#: Signs that hold on one side of the limit.
_ORDERINGS = frozenset({"<", "<=", ">", ">="})
_LOWER_BOUNDS = frozenset({">", ">="})


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
        interval: Where the true figure lies, 95 % sure, in words; None when that is not known.
        decided: Whether that lies on one side of the limit as a whole; True of figures that are counted
            and not estimated.
        expression: As it was written, for a threshold that was written as text; None: a comparison in
            Python.
        limit: What the figure was compared with: nanoseconds, a share, a count or a rate; None: it is no
            figure.
    """

    metric: str
    step: str | None
    condition: str
    actual: str
    passed: bool
    missed_by: str | None = None
    interval: str | None = None
    decided: bool = True
    expression: str | None = None
    limit: float | None = None

    def __str__(self) -> str:
        where = f" of step {self.step}" if self.step else ""
        sure = f" ({self.interval}, 95 % sure)" if self.interval else ""
        text = f"{self.metric}{where} = {self.actual}{sure}, wanted {self.condition}"
        if self.missed_by:
            text += f" (missed by {self.missed_by})"
        return text if self.decided else f"{text}; not decided by so few samples"


class Judgements(list[Judgement]):
    """Every condition that was put on the figures of a run, in order.

    Args:
        undecided: What becomes of one that the samples cannot decide, see ``Policy``.
    """

    def __init__(self, undecided: str = "warn") -> None:
        super().__init__()
        self.undecided = undecided


#: Where a figure lies, as far as that is known: from, to; None: it is not bounded there.
Bounds = tuple[float | None, float | None]


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
        bounds: Tells where the true figure lies, when a condition is put on it; None: it is no estimate.
        too_few: Why the samples do not support the figure; then the value is the longest of them, which
            it does not exceed; None: they do.
        absent: What is said in place of a value that is None.
    """

    __slots__ = (
        "_absent",
        "_bounds",
        "_judgements",
        "error",
        "kind",
        "metric",
        "step",
        "too_few",
        "value",
    )
    __hash__ = None  # type: ignore[assignment]  # equality is a judgement, not an identity

    def __init__(
        self,
        value: float | None,
        *,
        kind: Kind,
        metric: str,
        step: str | None,
        judgements: Judgements,
        error: float | None = None,
        bounds: Callable[[], Bounds | None] | None = None,
        too_few: str | None = None,
        absent: str = "no samples",
    ) -> None:
        self._absent = absent
        self.value = value
        self.error = error
        self.kind = kind
        self.metric = metric
        self.step = step
        self.too_few = too_few
        self._bounds = bounds
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
        """The bare figure: seconds for a duration; NaN without samples.

        Raises:
            ValueError: The samples are too few for such a figure.
        """
        self._refuse_too_few()
        if self.value is None:
            return float("nan")
        return self.value / 1e9 if self.kind is Kind.DURATION else float(self.value)

    def __int__(self) -> int:
        """The bare figure, whole: nanoseconds for a duration.

        Raises:
            ValueError: There are no samples, or too few for such a figure.
        """
        self._refuse_too_few()
        if self.value is None:
            raise ValueError(f"{self.metric}: no samples")
        return int(self.value)

    def _refuse_too_few(self) -> None:
        if self.too_few is not None:
            raise ValueError(f"{self.metric}: {self.too_few}")

    @property
    def interval(self) -> Bounds | None:
        """Where the true figure lies, 95 % sure, in the units of ``value``.

        None: nobody knows, or it is no estimate. An end that is None is not bounded by so few samples.
        """
        return self._bounds() if self._bounds is not None and self.value is not None else None

    def __bool__(self) -> bool:
        """True when the figure exists and is not zero."""
        return bool(self.value)

    def __str__(self) -> str:
        text = self._print(self.value)
        if self.too_few is not None:
            return f"{text}, the longest: {self.too_few}"
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
        holds = self.value is not None and bool(_OPERATORS[sign](self.value, bare))
        if self.too_few is not None and sign in _LOWER_BOUNDS:
            # The longest of them bounds the figure from above alone.
            holds = False
        bounds = self.interval if sign in _ORDERINGS else None
        decided = self.value is None or (self.too_few is None and _decided(sign, bounds, bare))
        undecided = self._judgements.undecided
        passed = holds if decided or undecided == "warn" else undecided == "pass"
        missed_by = None
        if not holds and self.value is not None and sign in _ORDERINGS:
            gap = abs(self.value - bare)
            missed_by = f"{self._print(gap)}{_in_proportion(self.value, bare)}"
        return Judgement(
            metric=self.metric,
            step=self.step,
            condition=f"{sign} {self._print(bare)}",
            actual=str(self),
            passed=passed,
            missed_by=missed_by,
            interval=None if bounds is None else self._print_interval(*bounds),
            decided=decided,
            limit=float(bare),
        )

    def _print_interval(self, low: float | None, high: float | None) -> str:
        if low is None:
            return "not bounded" if high is None else f"at most {self._print(high)}"
        return f"at least {self._print(low)}" if high is None else self._print_range(low, high)

    def _print_range(self, low: float, high: float) -> str:
        first, last = self._print(low), self._print(high)
        # The unit once, when it is the same.
        unit = last.rpartition(" ")[2]
        return f"{first.removesuffix(f' {unit}')} – {last}"

    def belongs_to(self, judgements: Judgements) -> bool:
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
        if self.kind is Kind.SHARE and not 0 <= limit <= 1:
            raise TypeError(
                f"{self.metric} is a share, from 0 to 1: compare it with {limit / 100:g} for {limit:g} %, "
                f"not with {limit!r}"
            )
        return limit

    def _print(self, value: float | None) -> str:
        if value is None:
            return self._absent
        if self.kind is Kind.DURATION:
            return format_duration(value)
        if self.kind is Kind.SHARE:
            return f"{hundredths(value)} %"
        if self.kind is Kind.RATE:
            return format_rate(value)
        return f"{value:,.0f}" if value == int(value) else f"{value:,}"


def _decided(sign: str, bounds: Bounds | None, limit: float) -> bool:
    """Whether all of an interval lies on one side of the limit."""
    if bounds is None:
        return True
    low, high = bounds
    if sign in ("<", ">="):
        return (high is not None and high < limit) or (low is not None and low >= limit)
    return (high is not None and high <= limit) or (low is not None and low > limit)


def _in_proportion(value: float, limit: float) -> str:
    if not limit or not value:
        return ""
    ratio = abs(value / limit)
    return f", {ratio:,.0f} times the limit" if ratio >= 10 else f", {abs(ratio - 1):.0%}"
