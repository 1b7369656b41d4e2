"""How is a plot drawn? As inline SVG that stretches to its place, with words beside it in HTML.

The words are no part of the SVG, so they are as large on a phone as on a wall. Every plot says in words
what it shows, and has its figures in a table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from . import words
from .axes import Axis, Tick
from .markup import Markup, element, join

__all__ = ["Limit", "Plot", "Series", "Span", "bullet", "draw", "draw_all"]

_WIDTH, _HEIGHT = 1000, 100
_ALONE = 3
#: Rows of a plot's table; what has more is told in part.
_MOST_ROWS = 50
#: A part of the axis that is narrower has no room for its name.
_NARROW = 0.1
#: Share of the height that a mark of the y axis needs.
_ROOM = {"tall": 0.06, "middle": 0.1, "low": 0.17}

Point = tuple[float, float | None]


@dataclass(frozen=True, kw_only=True)
class Series:
    """What is drawn in one colour.

    Attributes:
        name: In the legend.
        look: Its colour and stroke, a class of the style sheet.
        points: Where, and how much; None: nothing was measured there.
        shape: ``line``, ``band`` (from ``base`` up) or ``bars`` (likewise, each as wide as the
            distance to the next).
        base: Lower edge of bands and bars, a value for each point; default: the axis.
        show: Writes a value; without ``|``.
    """

    name: str
    look: str
    points: Sequence[Point]
    shape: str = "line"
    base: Sequence[float | None] | None = None
    show: Callable[[float | None], str] = words.count


@dataclass(frozen=True)
class Limit:
    """A value that is drawn across the plot: what the test allows, or what there is (``bound``)."""

    value: float
    label: str
    look: str = "limit"


@dataclass(frozen=True)
class Span:
    """A part of the x axis that is another thing than the rest, such as the warm-up."""

    begin: float
    end: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """All that one plot shows.

    Attributes:
        title: What it is, a few words.
        gist: What is to be seen on it, in a sentence, for who does not see it.
        x, y: Its axes.
        series: The most important one first; it is drawn last, over the others.
        x_show, x_name: How a place on the x axis is written in the table, and what it is.
        limits, spans: What stands in the background.
        size: ``tall``, ``middle`` or ``low``.
        group: Plots of a group show the same moment together.
        note: Beside the title, such as the y axis's unit.
    """

    title: str
    gist: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    x_show: Callable[[float], str] = words.moment
    x_name: str = "time"
    limits: Sequence[Limit] = ()
    spans: Sequence[Span] = field(default=())
    size: str = "middle"
    group: str | None = None
    note: str = ""


def draw(plot: Plot) -> Markup:
    """The plot with its axes, legend, words for who cannot see it, and table."""
    return element(
        "figure",
        element(
            "figcaption",
            element("span", plot.title, class_="plot-title"),
            element("span", plot.note, class_="plot-note") if plot.note else None,
            element("span", *_legend(plot), class_="legend"),
        ),
        element(
            "div",
            element("div", *_labels(plot), class_="labels", aria_hidden="true"),
            _picture(plot),
            element("div", class_="cross", hidden=True),
            class_=f"plot {plot.size}",
            data_plot=_read_out(plot),
            data_group=plot.group,
        ),
        _table(plot),
        class_="figure",
    )


def draw_all(plots: Iterable[Plot | None]) -> Markup:
    """Several, one under the other; None is left out."""
    return join(draw(plot) for plot in plots if plot is not None)


def _legend(plot: Plot) -> Iterator[Markup]:
    for series in plot.series:
        yield element(
            "span",
            element("i", class_=f"chip {series.shape} {series.look}", aria_hidden="true"),
            series.name,
            element("b", class_="value"),
            class_="key",
        )


def _labels(plot: Plot) -> Iterator[Markup]:
    for tick in _marks(plot):
        yield element("span", tick.label, class_="y", style=f"bottom:{_shortest(tick.at * 100)}%")
    for tick in plot.x.ticks:
        edge = " first" if tick.at < 0.02 else " last" if tick.at > 0.97 else ""
        edge = " near" if 0.8 < tick.at <= 0.97 else edge
        yield element(
            "span", tick.label, class_=f"x{edge}", style=f"left:{_shortest(tick.at * 100)}%"
        )
    for limit in plot.limits:
        bottom = plot.y.place(limit.value) * 100
        side = "under" if bottom > 88 else "over"
        yield element(
            "span", limit.label, class_=f"{limit.look} {side}", style=f"bottom:{_shortest(bottom)}%"
        )
    for span in plot.spans:
        if plot.x.place(span.end) - plot.x.place(span.begin) < _NARROW:
            continue
        yield element(
            "span",
            span.label,
            class_="span",
            style=f"left:{_shortest(plot.x.place(span.begin) * 100)}%",
        )


def _marks(plot: Plot) -> Iterator[Tick]:
    """The marks of the y axis that have room beside one another."""
    room, last = _ROOM[plot.size], -1.0
    for tick in plot.y.ticks:
        if tick.at - last >= room:
            last = tick.at
            yield tick


def _picture(plot: Plot) -> Markup:
    parts: list[Markup] = []
    for span in plot.spans:
        begin, end = plot.x.place(span.begin) * _WIDTH, plot.x.place(span.end) * _WIDTH
        parts.append(
            element(
                "rect", x=_shortest(begin), y=0, width=_shortest(end - begin), height=_HEIGHT,
                class_="span",
            )
        )  # fmt: skip
    rules = "".join(f"M0 {_y(plot, tick.at)}H{_WIDTH}" for tick in _marks(plot))
    parts.append(element("path", d=rules, class_="grid"))
    for series in reversed(plot.series):
        outline = "".join(_outline(plot, series))
        if outline:
            parts.append(element("path", d=outline, class_=f"{series.shape} {series.look}"))
    for limit in plot.limits:
        at = _y(plot, plot.y.place(limit.value))
        parts.append(element("path", d=f"M0 {at}H{_WIDTH}", class_=limit.look))
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{plot.title}. {plot.gist}",
    )


def _outline(plot: Plot, series: Series) -> Iterator[str]:
    if series.shape == "bars":
        yield from _bars(plot, series)
        return
    for run in _runs(series):
        top = [
            (plot.x.place(at) * _WIDTH, (1 - plot.y.place(value)) * _HEIGHT) for at, value, _ in run
        ]
        bottom = [(1 - plot.y.place(base)) * _HEIGHT for _, _, base in run]
        if len(run) == 1:
            # What stands alone has some width, or it would not be seen.
            ((x, y),) = top
            top = [(max(0.0, x - _ALONE), y), (min(float(_WIDTH), x + _ALONE), y)]
            bottom *= 2
        if series.shape == "band":
            back = [(x, y) for (x, _), y in zip(top, bottom, strict=True)][::-1]
            yield _path([*top, *back]) + "Z"
        else:
            yield _path(top)


def _bars(plot: Plot, series: Series) -> Iterator[str]:
    ats = [at for at, _ in series.points]
    ends = [*ats[1:], ats[-1] + (ats[-1] - ats[-2] if len(ats) > 1 else plot.x.high - ats[-1])]
    bases = series.base or [0.0] * len(ats)
    for (at, value), end, base in zip(series.points, ends, bases, strict=True):
        if value:
            left, right = plot.x.place(at) * _WIDTH, plot.x.place(end) * _WIDTH
            top, bottom = _y(plot, plot.y.place(value)), _y(plot, plot.y.place(base or 0.0))
            yield f"M{_shortest(left)} {bottom}V{top}H{_shortest(right)}V{bottom}Z"


def _runs(series: Series) -> Iterator[list[tuple[float, float, float]]]:
    """The points between gaps, with their lower edge."""
    run: list[tuple[float, float, float]] = []
    bases = series.base or [0.0] * len(series.points)
    for (at, value), base in zip(series.points, bases, strict=True):
        if value is None:
            if run:
                yield run
            run = []
        else:
            run.append((at, value, 0.0 if base is None else base))
    if run:
        yield run


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_shortest(x)} {_shortest(y)}" for x, y in points)


def _y(plot: Plot, share: float) -> str:
    return _shortest((1 - share) * _HEIGHT)


def _shortest(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _read_out(plot: Plot) -> str:
    """What the script shows of each moment, in the words that the table has."""
    ats = _places(plot)
    columns = []
    for series in plot.series:
        own = _told(series)
        columns.append("|".join(series.show(own.get(at)) for at in ats))
    return json.dumps(
        {
            "places": [round(plot.x.place(at), 4) for at in ats],
            "names": "|".join(plot.x_show(at) for at in ats),
            "values": columns,
        },
        separators=(",", ":"),
        ensure_ascii=False,
    )


def _told(series: Series) -> dict[float, float | None]:
    """The value at each place: of bars that stand on others, what is their own."""
    if series.shape != "bars" or series.base is None:
        return dict(series.points)
    return {
        at: None if value is None else value - (base or 0.0)
        for (at, value), base in zip(series.points, series.base, strict=True)
    }


def _places(plot: Plot) -> list[float]:
    return sorted({at for series in plot.series for at, _ in series.points})


def _table(plot: Plot) -> Markup:
    ats = _places(plot)
    every = -(-len(ats) // _MOST_ROWS)
    own = [_told(series) for series in plot.series]
    rows = [
        element(
            "tr",
            element("th", plot.x_show(at), scope="row"),
            *(
                element("td", series.show(values.get(at)))
                for series, values in zip(plot.series, own, strict=True)
            ),
        )
        for at in ats[::every]
    ]
    part = f", one in {every} of {len(ats):,}" if every > 1 else ""
    return element(
        "details",
        element("summary", "Figures", element("span", f" of {plot.title}", class_="unseen")),
        element(
            "div",
            element(
                "table",
                element("caption", f"{plot.title}{part}"),
                element(
                    "thead",
                    element(
                        "tr",
                        element("th", plot.x_name, scope="col"),
                        *(element("th", series.name, scope="col") for series in plot.series),
                    ),
                ),
                element("tbody", *rows),
            ),
            class_="scroll",
            tabindex=0,
            role="region",
            aria_label=f"Figures of {plot.title}",
        ),
        class_="figures",
    )


def bullet(
    actual: float, limit: float, interval: tuple[float, float] | None, *, held: bool, label: str
) -> Markup:
    """A figure beside its limit: a stroke at the limit, a bar up to the figure, the interval over it.

    Args:
        actual, limit, interval: In one unit.
        held: Whether the condition holds.
        label: The same in words.
    """
    end = max(limit * 1.3, min(max(actual, interval[1] if interval else 0) * 1.1, limit * 8)) or 1.0

    def x(value: float) -> float:
        return min(value / end, 1.0) * _WIDTH

    sure = None
    if interval is not None:
        low, high = x(interval[0]), x(interval[1])
        sure = element(
            "path", d=f"M{_shortest(low)} 50H{_shortest(max(high, low + 2))}", class_="sure"
        )
    return element(
        "svg",
        element("path", d=f"M0 50H{_WIDTH}", class_="rail"),
        element(
            "path", d=f"M0 50H{_shortest(max(x(actual), 6))}", class_="held" if held else "missed"
        ),
        sure,
        element("path", d=f"M{_shortest(x(limit))} 0V100", class_="limit"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
        class_="bullet",
    )
