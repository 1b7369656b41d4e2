"""Did it hold, and may that be noise? Thresholds, and the baseline."""

from __future__ import annotations

from pytest_certload.report.record import ComparedFigure, RunRecord, ThresholdRecord
from pytest_certload.units import format_rate, hundredths

from . import words
from .charts import bullet
from .markup import Markup, element, join
from .tables import Column, block, table

__all__ = ["certainty", "comparison", "mark", "thresholds"]


def mark(passed: bool, *, decided: bool = True) -> Markup:
    """A tick, a cross or a question mark, with its word for who does not see it."""
    if not passed:
        return element("span", "✗", element("span", " failed", class_="unseen"), class_="mark bad")
    if not decided:
        return element(
            "span",
            "?",
            element("span", " passed, not decided", class_="unseen"),
            class_="mark doubt",
        )
    return element("span", "✓", element("span", " passed", class_="unseen"), class_="mark good")


def certainty(threshold: ThresholdRecord) -> str:
    """Whether what a threshold says may be noise, in words."""
    if not threshold.decided:
        return "may be noise: so few samples do not decide"
    if threshold.interval is not None:
        return "beyond noise"
    measured = words.quantity(threshold.actual)
    is_time = measured is not None and measured[0] == "duration"
    return "how sure it is is not known" if is_time else "counted, no noise"


def thresholds(record: RunRecord) -> Markup:
    """What the test put on figures, what missed first."""
    if not record.thresholds:
        return block(
            "Thresholds", element("p", "The test put no condition on a figure.", class_="none")
        )
    rows = [
        (
            element(
                "span",
                mark(threshold.passed, decided=threshold.decided),
                " ",
                _figure_name(threshold),
                _remark(threshold),
            ),
            threshold.actual,
            threshold.condition,
            threshold.interval or "",
            _against(threshold),
        )
        for threshold in sorted(record.thresholds, key=lambda t: (t.passed, t.decided))
    ]
    columns = [
        Column("figure", "words wide"),
        Column("measured"),
        Column("wanted"),
        Column("95 % interval"),
        Column("against the limit", "words"),
    ]
    return block("Thresholds", table("Thresholds", columns, rows))


def _figure_name(threshold: ThresholdRecord) -> Markup:
    if threshold.step is None:
        return join([threshold.metric])
    return join([threshold.metric, element("span", f" of {threshold.step}", class_="soft")])


def _against(threshold: ThresholdRecord) -> object:
    actual, limit = words.quantity(threshold.actual), words.quantity(threshold.condition)
    if actual is None or limit is None or actual[0] != limit[0] or not limit[1]:
        return ""
    ratio = actual[1] / limit[1]
    said = f"{ratio * 100:,.0f} % of the limit" if ratio < 10 else f"{ratio:,.0f} times the limit"
    drawn = bullet(
        actual[1], limit[1], _bounds(threshold.interval), held=threshold.passed, label=said
    )
    return element("span", drawn, element("span", said, class_="soft"), class_="against")


def _bounds(interval: str | None) -> tuple[float, float] | None:
    low, dash, high = (interval or "").partition(" – ")
    if not dash:
        return None
    last = words.quantity(high)
    # The unit is said once, when it is the same.
    first = words.quantity(low) or words.quantity(f"{low} {high.rpartition(' ')[2]}")
    return (first[1], last[1]) if first and last else None


def _remark(threshold: ThresholdRecord) -> Markup | None:
    if threshold.passed and threshold.decided:
        return None
    missed = f"missed by {threshold.missed_by}; " if threshold.missed_by else ""
    look = "doubt" if threshold.passed else "bad"
    return element("span", f"{missed}{certainty(threshold)}", class_=f"remark {look}")


def comparison(record: RunRecord) -> Markup | None:
    """The run beside a baseline; None when it was compared with none."""
    found = record.comparison
    if found is None:
        return None
    rows = [
        (
            element("span", _compared_mark(figure), _compared_name(figure)),
            _compared(figure, figure.before),
            _compared(figure, figure.after),
            _change(figure.change, figure.unit),
            ""
            if figure.low is None or figure.high is None
            else f"{_change(figure.low, figure.unit)} to {_change(figure.high, figure.unit)}",
            {"same": "no difference to be seen", "unknown": "not known"}.get(
                figure.verdict, figure.verdict
            ),
            figure.limit or "",
        )
        for figure in found.figures
    ]
    columns = [
        Column("figure", "words"), Column("baseline"), Column("this run"), Column("change"),
        Column("95 % interval"), Column("verdict", "words"), Column("held to", "words"),
    ]  # fmt: skip
    differences = [element("li", f"not alike: {text}") for text in found.differences]
    return block(
        f"Compared with baseline {found.baseline}",
        element("ul", *differences, class_="remarks") if differences else None,
        table(f"Compared with baseline {found.baseline}", columns, rows),
        hint=f"Saved {found.saved_at} by pytest-certload {found.version}.",
    )


def _compared_mark(figure: ComparedFigure) -> Markup | None:
    """A mark for what is held to a limit; what is only told has none."""
    if not figure.limit:
        return None
    return join([mark(figure.passed, decided=figure.decided), " "])


def _compared_name(figure: ComparedFigure) -> Markup:
    if figure.step is None:
        return join([figure.metric])
    return join([figure.metric, element("span", f" of {figure.step}", class_="soft")])


def _compared(figure: ComparedFigure, value: float) -> str:
    match figure.kind:
        case "duration":
            return words.duration(value)
        case "share":
            return words.share(value)
        case "rate":
            return format_rate(value)
        case _:
            return words.count(value)


def _change(value: float | None, unit: str) -> str:
    if value is None:
        return words.NONE
    return f"{hundredths(value, signed=True)} {unit}".replace("-", "−")
