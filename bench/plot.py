"""How do the results look? Three panels: lag at each rate, highest rate, CPU time a request."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from bench.figures import BASIS, Figure
from bench.lag import SHARES
from bench.record import Record

__all__ = ["draw", "missing"]

_COLOURS = {"fast": "C0", "aiohttp": "C1", BASIS: "C2", "locust": "C3", "floor": "C7"}
_STYLES = ("-", "--", ":")
#: Below this the pictures would show the clock, not the tool.
_LEAST_LAG_MS = 1e-3


def missing() -> str | None:
    """Why there can be no picture; None when there can."""
    if importlib.util.find_spec("matplotlib") is None:
        return "matplotlib is not installed; the bench extra brings it"
    return None


def draw(record: Record, folder: Path) -> Path:
    """Draw ``bench.svg`` into a folder and return its path. Needs matplotlib."""
    import matplotlib as mpl

    # Before pyplot: a picture for a file needs no screen.
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "bench"
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(15, 4.8), layout="constrained")
    _lag(panels[0], record)
    figures = record.findings.figures
    held = [f for f in figures if f.measurement == "sustained" and f.name == "held"]
    _columns(panels[1], held, "highest sustained rate, requests a second")
    cpu = [f for f in figures if f.measurement == "cost" and f.name == "CPU per request"]
    _columns(panels[2], cpu, "CPU time a request, µs")
    path = folder / "bench.svg"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _lag(axes: Any, record: Record) -> None:
    conditions = list(dict.fromkeys(curve.condition for curve in record.findings.curves))
    for curve in record.findings.curves:
        axes.plot(
            [max(_LEAST_LAG_MS, lag) for lag in curve.lag_ms],
            SHARES,
            color=_COLOURS.get(curve.tool, "C8"),
            linestyle=_STYLES[conditions.index(curve.condition) % len(_STYLES)],
            label=f"{curve.tool}, {curve.condition}",
        )
    axes.set_xscale("log")
    axes.set_xlabel("lag, ms")
    axes.set_ylabel("share of arrivals")
    axes.set_title("arrival lag")
    if conditions:
        axes.legend(fontsize="x-small")


def _columns(axes: Any, figures: list[Figure], title: str) -> None:
    for place, figure in enumerate(figures):
        axes.bar(place, figure.median, color=_COLOURS.get(figure.tool, "C8"))
        axes.vlines(place, figure.low, figure.high, color="black")
    axes.set_xticks(range(len(figures)), [f"{f.tool}\n{f.condition}" for f in figures])
    axes.tick_params(axis="x", labelsize="x-small")
    axes.set_title(title)
