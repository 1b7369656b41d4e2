"""Which plots does a run have? From its record to what ``charts`` draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from pytest_certload.proof.findings import BacklogFinding, DatabaseMoment, ProcessFinding
from pytest_certload.report.record import RunRecord, ThresholdRecord, window_begin
from pytest_certload.stats.timeline import StepTimeline, Timeline
from pytest_certload.units import format_rate

from . import words
from .axes import linear, logarithmic, percentiles, time
from .charts import Limit, Plot, Point, Series, Span

__all__ = ["RunPlots"]

#: A limit that is further above everything measured would leave nothing of the rest to be seen.
_LIMIT_WITHIN = 4
_MOST_WAITS = 5
_MOST_BARS = 90
_LOOKS = {"generator": "c4", "server": "c1", "postgres": "c2"}


class RunPlots:
    """The plots of one run. Those over time share one axis, so that they can be read together.

    Args:
        record: The run.
        group: Plots of one group show the same moment together.
    """

    def __init__(self, record: RunRecord, group: str) -> None:
        self._record = record
        self._group = group
        # Moments of witnesses count from the begin of the load, the timeline from that of the window.
        self._warm_up = window_begin(record)
        proof = record.proof
        moments = [m.at for part in proof.processes for m in part.moments]
        moments += [m.at for m in proof.database.moments] if proof.database else []
        moments += [m.at for backlog in proof.backlogs for m in backlog.moments]
        last = max(moments, default=0.0) - self._warm_up
        end = max(record.duration_seconds, last) or 1.0
        self.x = time(-self._warm_up, end)
        begun = [Span(-self._warm_up, 0.0, "warm-up")] if self._warm_up else []
        ended = [Span(record.duration_seconds, end, "")] if end > record.duration_seconds else []
        self._spans = (*begun, *ended)

    def latency(self) -> Plot | None:
        """Response times of whole iterations over time, as bands of percentiles."""
        timeline = self._record.timeline
        if timeline is None:
            return None
        return self._bands(timeline, timeline.iterations, "Response time", None, size="tall")

    def step_latency(self) -> list[Plot]:
        """The same of each step, smaller."""
        timeline = self._record.timeline
        if timeline is None:
            return []
        plots = (
            self._bands(timeline, step, step.name, step.name, size="low") for step in timeline.steps
        )
        return [plot for plot in plots if plot is not None]

    def _bands(
        self, timeline: Timeline, step: StepTimeline, title: str, name: str | None, *, size: str
    ) -> Plot | None:
        known = [v for v in step.p50 if v is not None]
        most = [v for v in step.max if v is not None]
        if not known or not most:
            return None
        ats = self._middles(timeline)
        limits = _limits(self._record.thresholds, name, most=max(most))
        y = logarithmic(
            min(known),
            max(max(most), *(limit.value for limit in limits), 0),
            unit="time, log scale",
        )
        median = sorted(known)[len(known) // 2]
        worst = max(range(len(step.max)), key=lambda part: step.max[part] or 0)
        when = words.clock(ats[worst])
        # Each begins where the one below it ends.
        bands = (("p95", "mid", step.p95, step.p50), ("p99", "far", step.p99, step.p95))
        return Plot(
            title=title,
            gist=(
                f"The median is about {words.duration(median)}; the longest, "
                f"{words.duration(max(most))}, was due {when} into the window."
            ),
            x=self.x,
            y=y,
            series=[
                _times("p50", "median", ats, step.p50),
                *(
                    Series(
                        name=percentile,
                        look=look,
                        points=list(zip(ats, top, strict=True)),
                        base=base,
                        shape="band",
                        show=words.duration,
                    )
                    for percentile, look, top, base in bands
                ),
                _times("max", "max", ats, step.max),
            ],
            limits=limits,
            spans=self._spans,
            size=size,
            group=self._group,
            note="from the due time, log scale" if name is None else "",
        )

    def rates(self) -> Plot | None:
        """Offered against achieved."""
        timeline = self._record.timeline
        if timeline is None:
            return None
        ats, widths = self._middles(timeline), self._widths(timeline)
        due = [n / width for n, width in zip(timeline.due, widths, strict=True)]
        started = [n / width for n, width in zip(timeline.started, widths, strict=True)]
        record = self._record
        return Plot(
            title="Offered and achieved rate",
            gist=(
                f"Offered {format_rate(record.offered_rate)}, achieved "
                f"{format_rate(record.achieved_rate)} over the whole window."
            ),
            x=self.x,
            y=linear(max([*due, *started, 0]), _rate, unit="iterations per second", most=3),
            series=[
                _series("achieved", "c1", ats, started, show=_rate_or_none),
                _series("offered", "offered", ats, due, show=_rate_or_none),
            ],
            spans=self._spans,
            group=self._group,
            note="iterations per second",
        )

    def queue(self) -> Plot | None:
        """Iterations at work and those that waited for a slot."""
        timeline = self._record.timeline
        if timeline is None:
            return None
        ats = self._ends(timeline)
        record = self._record
        return Plot(
            title="In flight and backlog",
            gist=(
                f"Up to {record.in_flight_peak:,} iterations were in flight, up to "
                f"{record.backlog_peak:,} waited for a slot."
            ),
            x=self.x,
            y=linear(
                max([*timeline.in_flight, *timeline.backlog, 0]), words.count, unit="iterations",
                whole=True, most=3,
            ),
            series=[
                _series("in flight", "c1", ats, timeline.in_flight),
                _series("backlog", "c3", ats, timeline.backlog),
            ],
            spans=self._spans,
            group=self._group,
            note="iterations, at the end of each part",
        )  # fmt: skip

    def errors(self) -> Plot | None:
        """Iterations that failed, by when they were due; None when none did."""
        timeline = self._record.timeline
        if timeline is None or not any(timeline.iterations.errors):
            return None
        failed = timeline.iterations.errors
        begins = [number * timeline.width for number in range(len(failed))]
        bad = [at for at, n in zip(begins, failed, strict=True) if n]
        return Plot(
            title="Failed iterations",
            gist=(
                f"{sum(failed):,} failed, the first due {words.clock(bad[0])} and the last due "
                f"{words.clock(bad[-1])} into the window."
            ),
            x=self.x,
            y=linear(max(failed), words.count, unit="iterations", whole=True, most=2),
            series=[_series("failed", "failed", begins, failed, shape="bars")],
            spans=self._spans,
            size="low",
            group=self._group,
            note=f"in each {words.seconds(timeline.width)}",
        )

    def curve(self) -> Plot | None:
        """The percentile curves of response and service time."""
        curves = self._record.curves
        points = {
            kind: list(zip(curve.percents, curve.values, strict=True))
            for kind, curve in curves.items()
            if curve.percents
        }
        if not points:
            return None
        values = [value for curve in points.values() for _, value in curve]
        greatest = max(
            (at for curve in points.values() for at, _ in curve if at < 100), default=0.0
        )
        # The service time is wide, as it often lies just under the other.
        looks = {"response time": "c1", "service time": "service"}
        response = points.get("response time") or next(iter(points.values()))
        return Plot(
            title="Percentile curve",
            gist=(
                f"The response time goes from {words.duration(response[0][1])} to "
                f"{words.duration(response[-1][1])}; {words.percent(greatest)} is the last percentile "
                "that so many samples support."
            ),
            x=percentiles(greatest),
            y=logarithmic(min(values), max(values), unit="time, log scale"),
            series=[
                Series(
                    name=kind,
                    look=looks.get(kind, "c3"),
                    points=curve,
                    show=words.duration,
                )
                for kind, curve in points.items()
            ],
            x_show=lambda value: "max" if value >= 100 else words.percent(value),
            x_name="percentile",
            size="tall",
            note="both axes log",
        )

    def cpu(self) -> Plot | None:
        """Cores that server, Postgres and generator used."""
        parts = [part for part in self._record.proof.processes if part.moments]
        if not parts:
            return None
        cores = _cores(self._record)
        most = max(moment.cores for part in parts for moment in part.moments)
        near = cores is not None and most > cores / 3
        return Plot(
            title="CPU",
            gist=_each(
                f"{part.name} used {part.cores:.2f} cores on average"
                for part in parts
                if part.cores is not None
            ),
            x=self.x,
            y=linear(
                max(most, cores if near and cores else 0),
                lambda value: f"{value:.3g}",
                unit="cores",
                most=3,
            ),
            series=[
                _series(
                    part.name,
                    _LOOKS.get(part.name, "c5"),
                    [m.at - self._warm_up for m in part.moments],
                    [m.cores for m in part.moments],
                    show=_cores_used,
                )
                for part in parts
            ],
            limits=[Limit(cores, f"all {cores:g} cores", "bound")] if near and cores else (),
            spans=self._spans,
            group=self._group,
            note="cores in use",
        )

    def memory(self) -> Plot | None:
        """Resident memory of the three."""
        parts = [
            part
            for part in self._record.proof.processes
            if any(moment.memory is not None for moment in part.moments)
        ]
        if not parts:
            return None
        return Plot(
            title="Memory",
            gist=_each(f"{part.name} had up to {words.octets(part.memory_peak)}" for part in parts),
            x=self.x,
            y=linear(
                max(moment.memory or 0 for part in parts for moment in part.moments) / 1e6,
                lambda value: f"{value:g} MB" if value else "0",
                unit="megabytes",
                most=3,
            ),
            series=[self._memory_of(part) for part in parts],
            spans=self._spans,
            group=self._group,
            note="resident",
        )

    def _memory_of(self, part: ProcessFinding) -> Series:
        return _series(
            part.name,
            _LOOKS.get(part.name, "c5"),
            [m.at - self._warm_up for m in part.moments],
            [None if m.memory is None else m.memory / 1e6 for m in part.moments],
            show=lambda value: words.octets(None if value is None else value * 1e6),
        )

    def waits(self) -> Plot | None:
        """Connections of Postgres at work, by what most of them waited for at each look."""
        found = self._record.proof.database
        if found is None or not found.moments:
            return None
        bars = self._looks(found.moments)
        often = Counter(m.wait for m in found.moments if m.wait is not None)
        named = [event for event, _ in often.most_common(_MOST_WAITS)]
        kinds = [*named, *(["other"] if len(often) > len(named) else [])]
        stacks: dict[str, list[float]] = {kind: [] for kind in kinds}
        tops: list[float] = []
        bases: dict[str, list[float | None]] = {kind: [] for kind in kinds}
        for _, moments in bars:
            total = 0.0
            for kind in kinds:
                own = sum(
                    m.active
                    for m in moments
                    if m.wait == kind or (kind == "other" and m.wait not in (*named, None))
                )
                bases[kind].append(total)
                total += own / len(moments)
                stacks[kind].append(total)
            tops.append(total)
        return Plot(
            title="Database connections at work",
            gist=(
                f"{found.active_mean or 0:.2f} on average and {found.active_peak or 0:,} at most; "
                + (
                    f"most often they waited for {named[0]}."
                    if named
                    else "none was seen at work at any look."
                )
            ),
            x=self.x,
            y=linear(max([*tops, 0]), lambda value: f"{value:.3g}", unit="connections", most=3),
            series=[
                Series(
                    name=kind,
                    look=f"w{number}",
                    points=[(at, top) for (at, _), top in zip(bars, stacks[kind], strict=True)],
                    base=bases[kind],
                    shape="bars",
                    show=_cores_used,
                )
                for number, kind in enumerate(kinds)
            ]
            or [_series("at work", "w0", [at for at, _ in bars], tops, shape="bars")],
            spans=self._spans,
            group=self._group,
            note="by what most of them waited for; CPU: for nothing",
        )

    def _looks(
        self, moments: Sequence[DatabaseMoment]
    ) -> list[tuple[float, Sequence[DatabaseMoment]]]:
        size = -(-len(moments) // _MOST_BARS)
        groups = [moments[first : first + size] for first in range(0, len(moments), size)]
        return [(group[0].at - self._warm_up, group) for group in groups]

    def behind(self, backlog: BacklogFinding) -> Plot | None:
        """What the server had still to do after it had answered."""
        if not backlog.moments:
            return None
        ats = [m.at - self._warm_up for m in backlog.moments]
        values = [max(0, m.wanted - m.done) for m in backlog.moments]
        return Plot(
            title=f"{backlog.name}: {'' if backlog.waited else 'answered and '}not yet done",
            gist=f"{backlog.peak:,} behind at most.",
            x=self.x,
            y=linear(max(values), words.count, unit=backlog.name, whole=True, most=2),
            series=[_series("still to do", "c3", ats, values)],
            spans=self._spans,
            size="low",
            group=self._group,
        )

    def _widths(self, timeline: Timeline) -> list[float]:
        """Of each part; the last may be shorter."""
        parts = len(timeline.due)
        last = self._record.duration_seconds - (parts - 1) * timeline.width
        return [timeline.width] * (parts - 1) + [min(timeline.width, max(last, 1e-9))]

    def _middles(self, timeline: Timeline) -> list[float]:
        widths = self._widths(timeline)
        return [number * timeline.width + width / 2 for number, width in enumerate(widths)]

    def _ends(self, timeline: Timeline) -> list[float]:
        widths = self._widths(timeline)
        return [number * timeline.width + width for number, width in enumerate(widths)]


def _series(
    name: str,
    look: str,
    ats: Sequence[float],
    values: Sequence[float | None],
    *,
    shape: str = "line",
    show: Callable[[float | None], str] = words.count,
) -> Series:
    points: list[Point] = list(zip(ats, values, strict=True))
    return Series(name=name, look=look, points=points, shape=shape, show=show)


def _times(name: str, look: str, ats: Sequence[float], values: Sequence[int | None]) -> Series:
    return _series(name, look, ats, values, show=words.duration)


def _limits(thresholds: Sequence[ThresholdRecord], step: str | None, *, most: float) -> list[Limit]:
    """What the test allows for response times, as far as it is near to what was measured."""
    found: dict[float, str] = {}
    for threshold in thresholds:
        size = words.quantity(threshold.condition)
        if threshold.step != step or size is None or size[0] != "duration":
            continue
        if not threshold.metric.startswith("response time") or size[1] > most * _LIMIT_WITHIN:
            continue
        label = threshold.metric.removeprefix("response time ")
        found[size[1]] = f"{label} {threshold.condition}"
    return [Limit(value, label) for value, label in found.items()]


def _cores(record: RunRecord) -> float | None:
    value = record.stack.get("cpu_count") or record.environment.get("cpu_count")
    try:
        return float(value) if value else None
    except ValueError:
        return None


def _rate(value: float) -> str:
    return f"{value:,.4g}/s" if value else "0"


def _rate_or_none(value: float | None) -> str:
    return words.NONE if value is None else format_rate(value)


def _cores_used(value: float | None) -> str:
    return words.NONE if value is None else f"{value:.2f}"


def _each(parts: Iterable[str]) -> str:
    return ", ".join(parts) + "."
