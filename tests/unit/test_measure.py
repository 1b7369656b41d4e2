from __future__ import annotations

import math

import pytest

from pytest_certload.units import ms
from pytest_certload.verdict.measure import Bounds, Judgements, Kind, Measure


def measure(value: float | None, kind: Kind = Kind.DURATION, **more: str) -> Measure:
    return Measure(
        value, kind=kind, metric="figure", step=more.get("step"), judgements=Judgements()
    )


def test_every_comparison_is_kept() -> None:
    judgements = Judgements()
    p95 = Measure(
        ms(412), kind=Kind.DURATION, metric="response time p95", step="a", judgements=judgements
    )
    assert p95 < ms(500)
    assert not p95 > ms(500)
    assert [(j.condition, j.actual, j.passed) for j in judgements] == [
        ("< 500 ms", "412 ms", True),
        ("> 500 ms", "412 ms", False),
    ]
    assert str(judgements[1]) == (
        "response time p95 of step a = 412 ms, wanted > 500 ms (missed by 88 ms, 18%)"
    )


def test_all_operators() -> None:
    five = measure(5, Kind.COUNT)
    assert (five < 6, five <= 5, five > 4, five >= 5, five == 5, five != 6) == (True,) * 6
    assert (five < 5, five <= 4, five > 5, five >= 6, five == 6, five != 5) == (False,) * 6
    assert 6 > five  # noqa: SIM300 - reflected
    assert five == measure(5, Kind.COUNT)


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "==", "!="])
def test_without_samples_nothing_holds(operator: str) -> None:
    judgement = measure(None).judge(operator, ms(1))
    assert not judgement.passed
    assert judgement.actual == "no samples"
    assert math.isnan(float(measure(None)))
    with pytest.raises(ValueError, match="no samples"):
        int(measure(None))
    assert not measure(None)


def test_a_bare_number_is_no_duration() -> None:
    with pytest.raises(
        TypeError, match=r"compare it with ms\(500\) or seconds\(500\), not with 500"
    ):
        assert measure(ms(1)) < 500
    with pytest.raises(TypeError, match="is a share, not a duration like 5 ms"):
        assert measure(0.1, Kind.SHARE) < ms(5)
    with pytest.raises(TypeError, match="cannot be compared"):
        assert measure(0.1, Kind.SHARE) < measure(ms(1))
    with pytest.raises(TypeError, match="cannot be compared"):
        assert measure(0.1, Kind.SHARE) == "0.1"


def test_printed() -> None:
    assert [str(m) for m in (
        measure(0.00125, Kind.SHARE), measure(12345, Kind.COUNT), measure(166.7, Kind.RATE),
        measure(ms(3)), measure(None),
    )] == ["0.125 %", "12,345", "166.7/s", "3 ms", "no samples"]  # fmt: skip
    assert repr(measure(ms(3), step="a")) == "<figure of step a: 3 ms>"
    assert float(measure(ms(1500))) == 1.5
    assert int(measure(ms(1500))) == 1_500_000_000


def estimate(bounds: Bounds, undecided: str = "warn") -> Measure:
    return Measure(
        ms(450),
        kind=Kind.DURATION,
        metric="p95",
        step=None,
        judgements=Judgements(undecided),
        bounds=lambda: bounds,
    )


@pytest.mark.parametrize(
    ("limit", "decided", "warn", "fail", "passing"),
    [
        (500, True, True, True, True),
        (480, False, True, False, True),
        (460, False, True, False, True),
        (440, False, False, False, True),
        (420, True, False, False, False),
        (400, True, False, False, False),
    ],
)
def test_a_condition_that_the_interval_straddles_is_not_decided(
    limit: int, decided: bool, warn: bool, fail: bool, passing: bool
) -> None:
    for undecided, passes in (("warn", warn), ("fail", fail), ("pass", passing)):
        judgement = estimate((ms(420), ms(480)), undecided).judge("<", ms(limit))
        assert judgement.decided is decided
        assert judgement.passed is passes
        assert judgement.interval == "420 – 480 ms"
        assert (judgement.missed_by is None) is (limit > 450)


@pytest.mark.parametrize(
    ("sign", "limit", "decided"),
    [
        ("<=", 480, True),
        ("<=", 420, False),
        (">", 420, False),
        (">", 419, True),
        (">=", 420, True),
        (">=", 480, False),
        (">", 480, True),
    ],
)
def test_the_limit_may_be_an_end_of_the_interval(sign: str, limit: int, decided: bool) -> None:
    assert estimate((ms(420), ms(480))).judge(sign, ms(limit)).decided is decided


def test_equality_is_not_a_matter_of_intervals() -> None:
    judgement = estimate((ms(420), ms(480)), "fail").judge("==", ms(450))
    assert (judgement.passed, judgement.decided, judgement.interval) == (True, True, None)


@pytest.mark.parametrize(
    ("bounds", "limit", "decided", "printed"),
    [
        ((None, ms(480)), 500, True, "at most 480 ms"),
        ((None, ms(480)), 400, False, "at most 480 ms"),
        ((ms(420), None), 400, True, "at least 420 ms"),
        ((ms(420), None), 5000, False, "at least 420 ms"),
        ((None, None), 5000, False, "not bounded"),
        ((ms(900), ms(1100)), 5000, True, "900 ms – 1.1 s"),
    ],
)
def test_an_end_that_is_not_bounded(
    bounds: Bounds, limit: int, decided: bool, printed: str
) -> None:
    judgement = estimate(bounds).judge("<", ms(limit))
    assert (judgement.decided, judgement.interval) == (decided, printed)


def of_too_few() -> Measure:
    return Measure(
        ms(18),
        kind=Kind.DURATION,
        metric="p99",
        step=None,
        judgements=Judgements(),
        too_few="p99 needs 100 samples, not 75",
    )


def test_too_few_samples_are_an_error_instead_of_a_number() -> None:
    p99 = of_too_few()
    for bare in (float, int):
        with pytest.raises(ValueError, match="p99: p99 needs 100 samples, not 75"):
            bare(p99)
    held = p99.judge("<", ms(20))
    assert (held.passed, held.decided) == (True, False)
    assert held.actual == "18 ms, the longest: p99 needs 100 samples, not 75"
    missed = p99.judge("<", ms(10))
    assert (missed.passed, missed.missed_by) == (False, "8 ms, 80%")
    assert str(held).endswith("wanted < 20 ms; not decided by so few samples")


def test_too_few_samples_bound_nothing_from_below() -> None:
    """The longest of them is no less than the percentile, and says nothing of how small it may be."""
    p99 = of_too_few()
    for sign in (">", ">="):
        judgement = p99.judge(sign, ms(5))
        assert (judgement.passed, judgement.decided) == (False, False)


@pytest.mark.parametrize("limit", [5, 1.5, -0.1])
def test_a_share_is_no_percentage(limit: float) -> None:
    rate = Measure(0.5, kind=Kind.SHARE, metric="error rate", step=None, judgements=Judgements())
    with pytest.raises(TypeError, match="error rate is a share, from 0 to 1: compare it with"):
        rate < limit  # noqa: B015 - that it raises is the point
    assert rate < 1
    assert rate >= 0
