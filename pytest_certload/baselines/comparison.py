"""Is a run worse than a baseline, or is it noise? Figure by figure, with limits on those that are named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

from pytest_certload.errors import BaselineError
from pytest_certload.report.record import ComparedFigure, ComparisonRecord
from pytest_certload.stats.difference import Difference, Estimate, between, in_proportion
from pytest_certload.stats.uncertainty import share_interval
from pytest_certload.units import format_duration, hundredths

from .baseline import Baseline, StepBaseline
from .limits import Limit
from .machine import Machine

__all__ = [
    "breaches",
    "compare",
    "is_whole",
    "noted_differences",
    "profile_differences",
    "require_whole",
]

#: Facts of a stack without which figures mean something else; all settings of Postgres beside them. What
#: is measured, the server, may differ: it is why one compares.
_DECISIVE = (
    "stack",
    "host",
    "reference_server",
    "cpu_count",
    "seeds",
    "transport",
    "connections",
    "server_env",
)
#: Runs of another validity were not offered as asked, or are partial: their figures compare with nothing.
_COMPARABLE = ("valid", "suspect")
_SETTING = "postgres_"
_NOT_THERE = "none"


def compare(
    run: Baseline,
    baseline: Baseline,
    *,
    name: str,
    limits: Sequence[Limit] = (),
    undecided: str = "warn",
    anyway: bool = False,
) -> ComparisonRecord:
    """Put a run beside a baseline.

    Args:
        run: What was measured now.
        baseline: What it is compared with.
        name: The baseline's.
        limits: What may not have gone up by more; those on steps that neither of them has are left out.
        undecided: One of ``verdict.policy.UNDECIDED``: what becomes of a limit that an interval straddles.
        anyway: Compare also another machine, stack or load.

    Raises:
        BaselineError: Test, machine, stack or load are other ones; or a limit is on a figure that one of the
            two does not have.
    """
    serious = profile_differences(run, baseline)
    if serious and not anyway:
        raise BaselineError(
            f"scenario {run.scenario} cannot be compared with baseline {name}, which was measured with "
            f"another {'; another '.join(serious)}. Save one with --certload-save under these "
            "conditions, or add --certload-compare-anyway (--anyway of certload compare)"
        )
    limits = [limit for limit in limits if run.part(limit.step) or baseline.part(limit.step)]
    _refuse_missing(run, baseline, name, limits)
    figures = tuple(
        figure
        for part, before in _parts(run, baseline)
        for figure in _figures(part, before, run, limits, undecided)
    )
    return ComparisonRecord(
        baseline=name,
        saved_at=baseline.saved_at,
        version=baseline.version,
        differences=(*serious, *noted_differences(run, baseline)),
        figures=figures,
    )


def require_whole(run: Baseline, baseline: Baseline, *, name: str) -> None:
    """Make sure that the figures of both say something: their load was offered, and not cut short.

    Raises:
        BaselineError: One of the two is invalid or was interrupted.
    """
    for one, which in ((run, "the run"), (baseline, f"baseline {name}")):
        if not is_whole(one):
            what = "was interrupted" if one.state == "interrupted" else f"is {one.validity}"
            raise BaselineError(
                f"scenario {run.scenario} is not compared with baseline {name}: {which} {what}, so its "
                "figures say nothing"
            )


def is_whole(run: Baseline) -> bool:
    """Whether its figures say something: its load was offered, and not cut short."""
    return run.validity in _COMPARABLE and run.state != "interrupted"


def breaches(comparison: ComparisonRecord) -> list[str]:
    """What went up by more than it may, a line each."""
    return [
        f"{_what(figure)} {_moved(figure)}: {_show(figure, figure.after)}, was "
        f"{_show(figure, figure.before)}; wanted at most {figure.limit}"
        + ("" if figure.decided else "; not decided by so few samples")
        for figure in comparison.figures
        if not figure.passed
    ]


def _what(figure: ComparedFigure) -> str:
    return f"{figure.metric} of step {figure.step}" if figure.step else figure.metric


def _moved(figure: ComparedFigure) -> str:
    if figure.change is None:
        return "changed"
    word = "higher" if figure.change >= 0 else "lower"
    unit = "percentage points" if figure.kind == "share" else "%"
    low, high = (
        "?" if end is None else hundredths(end, signed=True) for end in (figure.low, figure.high)
    )
    return f"{hundredths(abs(figure.change))} {unit} {word} ({low} to {high}, 95 % sure)"


def _show(figure: ComparedFigure, value: float) -> str:
    return f"{hundredths(value)} %" if figure.kind == "share" else format_duration(value)


def profile_differences(run: Baseline, baseline: Baseline) -> list[str]:
    """What differs of test, machine, stack and load: ``machine: cores 4 (2 then)``."""
    found = []
    if None not in (run.nodeid, baseline.nodeid) and run.nodeid != baseline.nodeid:
        found.append(f"test: {_then(baseline.nodeid, run.nodeid)}")
    if run.machine != baseline.machine:
        found.append(f"machine: {_machines(baseline.machine, run.machine)}")
    facts = [f"{n} {_then(b, a)}" for n, b, a in _stack_facts(baseline, run) if b != a]
    if facts:
        found.append(f"stack: {', '.join(facts)}")
    load = []
    if baseline.executor != run.executor:
        load.append(_then(baseline.executor, run.executor))
    names = dict.fromkeys([*baseline.parameters, *run.parameters])
    load += [
        f"{n} {_then(baseline.parameters.get(n), run.parameters.get(n))}"
        for n in names
        if baseline.parameters.get(n) != run.parameters.get(n)
    ]
    if set(baseline.reduced) != set(run.reduced):
        old, new = ("; ".join(r) or "not" for r in (baseline.reduced, run.reduced))
        load.append(f"reduced by options: {_then(old, new)}")
    if load:
        found.append(f"load: {', '.join(load)}")
    return found


def noted_differences(run: Baseline, baseline: Baseline) -> list[str]:
    """What else differs, and does not stand in the way: the server that is measured, versions, the data."""
    names = [n for n in dict.fromkeys([*baseline.stack, *run.stack]) if not _is_decisive(n)]
    pairs = [(n, baseline.stack.get(n), run.stack.get(n)) for n in names]
    pairs += [
        ("pytest-certload", baseline.version, run.version),
        ("Python", baseline.environment.get("python"), run.environment.get("python")),
        ("platform", baseline.environment.get("platform"), run.environment.get("platform")),
        ("data", baseline.data, run.data),
    ]
    found = [f"{n}: {_then(b, a)}" for n, b, a in pairs if b != a]
    if run.validity == "suspect":
        found.append("this run is suspect: its generator was disturbed")
    return found


def _then(before: object, after: object) -> str:
    old, new = (_NOT_THERE if value is None else str(value) for value in (before, after))
    return f"{new} ({old} then)"


def _machines(before: Machine | None, after: Machine | None) -> str:
    if before is None or after is None:
        return _then(before or "one that is not known", after or "one that is not known")
    return ", ".join(
        f"{field.name.removesuffix('_gib')} {_then(old, new)}"
        for field in fields(Machine)
        if (old := getattr(before, field.name)) != (new := getattr(after, field.name))
    )


def _is_decisive(name: str) -> bool:
    return name in _DECISIVE or name.startswith(_SETTING)


def _stack_facts(baseline: Baseline, run: Baseline) -> Iterator[tuple[str, str | None, str | None]]:
    for name in dict.fromkeys([*baseline.stack, *run.stack]):
        before, after = baseline.stack.get(name), run.stack.get(name)
        if _is_decisive(name):
            yield name, before, after
        elif name == "postgres":
            # Another minor release mends faults; another major one is another database.
            yield name, _major(before), _major(after)


def _major(version: str | None) -> str | None:
    return None if version is None else version.partition(".")[0]


def _parts(run: Baseline, baseline: Baseline) -> Iterator[tuple[StepBaseline, StepBaseline]]:
    yield run.iterations, baseline.iterations
    for part in run.steps:
        before = baseline.part(part.name)
        if before is not None:
            yield part, before


def _refuse_missing(run: Baseline, baseline: Baseline, name: str, limits: Sequence[Limit]) -> None:
    missing = [
        f"{limit.text}: {where} has {why}"
        for limit in limits
        for where, one in (("this run", run), (f"baseline {name}", baseline))
        if (why := _lacks(one, limit)) is not None
    ]
    if missing:
        raise BaselineError(
            f"scenario {run.scenario} cannot be held to what was asked for: {'; '.join(missing)}"
        )


def _lacks(one: Baseline, limit: Limit) -> str | None:
    part = one.part(limit.step)
    if part is None:
        return f"no step {limit.step}; steps are {', '.join(s.name for s in one.steps) or 'none'}"
    if limit.figure == "errors":
        return None if part.count else "no iterations"
    figure = part.percentiles.get(limit.figure)
    if figure is None:
        return f"too few samples for {limit.figure}"
    if figure.effective is None:
        return "no intervals, as samples were sketched; measure with --certload-samples keep"
    return None


def _figures(
    part: StepBaseline,
    before: StepBaseline,
    run: Baseline,
    limits: Sequence[Limit],
    undecided: str,
) -> Iterator[ComparedFigure]:
    step = None if part is run.iterations else part.name
    for name, now in part.percentiles.items():
        old = before.percentiles.get(name)
        if old is not None:
            change = in_proportion(now.estimate, old.estimate)
            yield _figure(
                f"response time {name}", step, "duration", old.value, now.value, change,
                _on(limits, step, name), undecided,
            )  # fmt: skip
    if part.count and before.count:
        shares = [_share(one) for one in (part, before)]
        yield _figure(
            "error rate", step, "share", shares[1].value, shares[0].value, between(*shares),
            _on(limits, step, "errors"), undecided,
        )  # fmt: skip
    # How many were over per second comes without an interval: it is told, and no limit can be put on it.
    yield ComparedFigure(
        metric="rate",
        step=step,
        kind="rate",
        before=before.rate,
        after=part.rate,
        change=part.rate / before.rate - 1 if before.rate else None,
        low=None,
        high=None,
        verdict="unknown",
        limit=None,
        passed=True,
    )


def _share(part: StepBaseline) -> Estimate:
    low, high = share_interval(part.errors, part.count)
    return Estimate(value=part.errors / part.count, low=low, high=high)


def _on(limits: Sequence[Limit], step: str | None, figure: str) -> list[Limit]:
    return [limit for limit in limits if (limit.step, limit.figure) == (step, figure)]


def _figure(
    metric: str,
    step: str | None,
    kind: str,
    before: float,
    after: float,
    change: Difference,
    limits: Sequence[Limit],
    undecided: str,
) -> ComparedFigure:
    judged = [_judge(change, limit, before, undecided) for limit in limits]
    return ComparedFigure(
        metric=metric,
        step=step,
        kind=kind,
        before=before,
        after=after,
        change=change.value,
        low=change.low,
        high=change.high,
        verdict=change.verdict,
        limit=", ".join(limit.text for limit in limits) or None,
        passed=all(passed for passed, _ in judged),
        decided=all(decided for _, decided in judged),
    )


def _judge(change: Difference, limit: Limit, before: float, undecided: str) -> tuple[bool, bool]:
    """Whether a limit holds, and whether the samples are enough to tell.

    Decided is a limit that the whole interval lies on one side of. Of others the estimate decides, if the
    change is real at all; or the policy does.
    """
    if limit.share is not None:
        most = limit.share
    else:
        assert limit.duration is not None
        most = limit.duration / max(1, before)
    if change.high is not None and change.high <= most:
        return True, True
    if change.low is not None and change.low > most:
        return False, True
    if undecided == "warn":
        return not (change.value > most and change.verdict == "higher"), False
    return undecided == "pass", False
