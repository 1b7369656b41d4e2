"""Does a threshold hold that was written as text? The figure it is about, the judgement, the failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_certload.errors import ThresholdsMissed

from .measure import Judgement, Judgements, Kind, Measure
from .thresholds import Threshold

if TYPE_CHECKING:
    from .result import Latency, RunResult, StepResult

__all__ = ["figure_of", "judge", "judge_absent", "missed"]


def figure_of(step: StepResult, threshold: Threshold) -> Measure:
    """The figure of a step, or of whole iterations, that a threshold is about."""
    if threshold.kind is not Kind.DURATION:
        found: Measure = getattr(step, threshold.figure)
        return found
    times: Latency = getattr(step, threshold.figure)
    if threshold.percent is not None:
        return times.p(threshold.percent)
    statistic: Measure = getattr(times, threshold.statistic or "")
    return statistic


def judge(step: StepResult, threshold: Threshold) -> Judgement:
    """Put a threshold on the figures of a step, or of whole iterations."""
    judgement = figure_of(step, threshold).judge(threshold.sign, threshold.limit)
    return replace(judgement, expression=threshold.text)


def judge_absent(result: RunResult, threshold: Threshold) -> Judgement:
    """The judgement of a threshold on a step or a scenario that did not run: it does not hold."""
    nothing = Measure(
        None,
        kind=threshold.kind,
        metric=threshold.label,
        step=threshold.step,
        judgements=Judgements(),
    )
    judgement = nothing.judge(threshold.sign, threshold.limit)
    there = _there(result, threshold)
    return replace(judgement, expression=threshold.text, actual=f"no samples: {there}")


def _there(result: RunResult, threshold: Threshold) -> str:
    if threshold.scenario is not None:
        names = getattr(result, "scenarios", None) or dict.fromkeys((result.given, result.name))
        if threshold.scenario not in names:
            return f"no scenario {threshold.scenario!r} ran, only {', '.join(names)}"
    ran = ", ".join(result.steps) or "none"
    return f"step {threshold.step!r} was never finished; steps that were: {ran}"


def missed(
    held: Mapping[str, Sequence[Judgement]], *, before: str = "", after: str = ""
) -> ThresholdsMissed:
    """The failure that lists every threshold that does not hold.

    Args:
        held: The judgements of all thresholds, by the name of their run; one at least does not hold.
        before: Stands before it all, such as when the load ended.
        after: Stands behind it, on a line of its own.
    """
    several = len(held) > 1
    breaches = [
        (f"{run}: " if several else "", judgement)
        for run, judgements in held.items()
        for judgement in dict.fromkeys(judgements)
        if not judgement.passed
    ]
    lines = [f"{where}{judgement}" for where, judgement in breaches]
    if len(lines) == 1:
        text = f"threshold missed: {lines[0]}"
    else:
        all_of_them = sum(len(dict.fromkeys(judgements)) for judgements in held.values())
        what = ", ".join(dict.fromkeys(f"{where}{_subject(breach)}" for where, breach in breaches))
        text = "\n  ".join([f"{len(lines)} of {all_of_them} thresholds missed: {what}", *lines])
    return ThresholdsMissed(f"{before}{text}" + (f"\n{after}" if after else ""))


def _subject(judgement: Judgement) -> str:
    return f"{judgement.metric} of step {judgement.step}" if judgement.step else judgement.metric
