"""How are figures drawn with letters? Bars, sparklines and histograms, in blocks or in ASCII."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_certload.stats.histogram import Histogram
from pytest_certload.units import format_duration

__all__ = ["bar", "histogram_lines", "sparkline"]

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"
_ASCII_HEIGHTS = "_.-=+*#@"
#: How many bins of the record make a row: the first is taken that makes few enough of them.
_WIDTHS = (1, 2, 5, 10, 20, 50, 100)
_MOST_ROWS = 12
_BAR = 30


def bar(share: float, *, width: int, unicode: bool) -> str:
    """A bar that fills a share, 0 to 1, of a width; what is not nothing shows."""
    share = min(max(share, 0.0), 1.0)
    eighths = max(round(share * width * 8), 1 if share else 0)
    if not unicode:
        return "#" * max(eighths // 8, 1 if share else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def sparkline(values: Sequence[float | None], *, unicode: bool) -> str:
    """A letter a value, as high as it is beside the greatest; a space where there is none."""
    heights = _HEIGHTS if unicode else _ASCII_HEIGHTS
    top = max((value for value in values if value is not None), default=0)
    return "".join(
        " " if value is None else heights[min(int(value / (top or 1) * 8), 7)] for value in values
    )


def histogram_lines(
    histogram: Histogram, *, limit: float | None = None, unicode: bool
) -> list[str]:
    """A line a bin, with a mark where a limit lies; at most 80 columns wide.

    Args:
        histogram: What is drawn; neighbouring bins share a row, so that there are at most a dozen.
        limit: Nanoseconds; None: no mark.
        unicode: Whether blocks can be shown; else ASCII.
    """
    rows = _rows(histogram)
    most = max(count for _, _, count in rows)
    total = sum(count for _, _, count in rows)
    dash, arrow = ("–", "◄") if unicode else ("-", "<")
    labels = [f"{format_duration(low)} {dash} {format_duration(high)}" for low, high, _ in rows]
    left = max(map(len, labels))
    right = max(len(f"{count:,}") for _, _, count in rows)
    lines = []
    for label, (low, high, count) in zip(labels, rows, strict=True):
        drawn = bar(count / most, width=_BAR, unicode=unicode).ljust(_BAR)
        share = f"{count / total:6.1%}".replace("%", " %")
        mark = f"  {arrow} {_mark(limit)}" if limit is not None and low <= limit < high else ""
        lines.append(f"{label:>{left}}  {drawn} {count:>{right},} {share}{mark}".rstrip())
    if limit is not None and limit < rows[0][0]:
        lines.insert(0, f"{_mark(limit)}: all of them lie above it")
    if limit is not None and limit >= rows[-1][1]:
        lines.append(f"{_mark(limit)}: all of them lie below it")
    return lines


def _mark(limit: float) -> str:
    return f"limit {format_duration(limit)}"


def _rows(histogram: Histogram) -> list[tuple[int, int, int]]:
    bins = len(histogram.counts)
    width = next((w for w in _WIDTHS if -(-bins // w) <= _MOST_ROWS), bins)
    return list(_joined(histogram, width))


def _joined(histogram: Histogram, width: int) -> Iterator[tuple[int, int, int]]:
    edges, counts = histogram.edges, histogram.counts
    for first in range(0, len(counts), width):
        last = min(first + width, len(counts))
        yield edges[first], edges[last], sum(counts[first:last])
