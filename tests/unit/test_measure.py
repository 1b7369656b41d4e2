from __future__ import annotations

import math

import pytest

from pytest_certload.units import ms
from pytest_certload.verdict.measure import Judgement, Kind, Measure


def measure(value: float | None, kind: Kind = Kind.DURATION, **more: str) -> Measure:
    return Measure(value, kind=kind, metric="figure", step=more.get("step"), judgements=[])


def test_every_comparison_is_kept() -> None:
    judgements: list[Judgement] = []
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
