"""When is a load hopeless? When the figures so far decide that a threshold with ``abort_on_fail`` is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from pytest_certload.engine.runner import ScenarioRun, WorkerReport
from pytest_certload.units import Duration, seconds
from pytest_certload.verdict.held import figure_of, judge
from pytest_certload.verdict.measure import Judgement, Kind
from pytest_certload.verdict.policy import Policy
from pytest_certload.verdict.result import CombinedResult, RunResult
from pytest_certload.verdict.thresholds import Threshold

__all__ = ["EarlyEnd"]

#: How long after one look the next one comes, and so how old the window is at the first one.
_PAUSE = 1.0
#: A look that takes long is made less often: it takes at most one part in so many of the time.
_PARTS = 10


class EarlyEnd:
    """Looks at the figures of a load about once a second, and ends it when it is hopeless.

    The figures so far are those of the iterations of the measured window that are over. Kept samples are
    looked at in a thread, as they may be many; sketches in the event loop, which fills them.

    Args:
        thresholds: Those with ``abort_on_fail``.
        runs: The scenarios that run together, by their names.
        name: The name of the whole.
        policy: How it is judged.
        given: The names that the test gave them, where theirs have a number behind it.
        keep_samples: Whether samples are kept.

    Attributes:
        breaches: The thresholds that ended the load, and by what; none when it went its whole way.
        after: How long after its begin that was.
    """

    def __init__(
        self,
        thresholds: Sequence[Threshold],
        runs: Mapping[str, ScenarioRun],
        *,
        name: str,
        policy: Policy,
        keep_samples: bool,
        given: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.breaches: dict[Threshold, Judgement] = {}
        self.after = Duration(0)
        self._thresholds = thresholds
        self._runs = runs
        self._name = name
        self._policy = policy
        self._given = given
        self._in_thread = keep_samples
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, if there is something to look at."""
        if self._thresholds:
            self._task = asyncio.ensure_future(self._watch())

    async def stop(self) -> None:
        """Look no more; the load is over.

        Raises:
            Exception: Whatever a look has raised; the load ended with it.
        """
        self._over.set()
        if self._task is not None:
            await self._task

    async def _watch(self) -> None:
        pause = _PAUSE
        try:
            while not await self._load_is_over(within=pause):
                due = self._due()
                if not due:
                    continue
                took = await self._look(due)
                if self.breaches:
                    break
                pause = max(_PAUSE, _PARTS * took)
            else:
                return
        finally:
            if not self._over.is_set():
                for run in self._runs.values():
                    run.cut_short()

    async def _load_is_over(self, *, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                await self._over.wait()
        except TimeoutError:
            return False
        return True

    def _due(self) -> list[Threshold]:
        """The thresholds whose delay is over."""
        open_for = self._now() - min(run.measured_from for run in self._runs.values())
        return [t for t in self._thresholds if open_for >= max(t.delay, seconds(_PAUSE))]

    def _now(self) -> int:
        return next(iter(self._runs.values())).clock.now()

    async def _look(self, thresholds: Sequence[Threshold]) -> float:
        """Look at the figures so far; how many seconds that took."""
        begun = self._now()
        so_far = {name: run.so_far() for name, run in self._runs.items()}
        if self._in_thread:
            found = await asyncio.to_thread(self._decided, thresholds, so_far)
        else:
            found = self._decided(thresholds, so_far)
        # What ended by itself meanwhile was not ended.
        if found and not self._over.is_set():
            self.breaches = found
            self.after = Duration(begun - min(run.begin for run in self._runs.values()))
        return (self._now() - begun) / 1e9

    def _decided(
        self, thresholds: Sequence[Threshold], so_far: Mapping[str, Callable[[], WorkerReport]]
    ) -> dict[Threshold, Judgement]:
        """The thresholds that do not hold, as far as the samples so far can tell."""
        results = {
            name: RunResult(report(), policy=self._policy, given=self._given.get(name))
            for name, report in so_far.items()
        }
        result = (
            next(iter(results.values()))
            if len(results) == 1
            else CombinedResult(results, policy=self._policy, name=self._name)
        )
        found: dict[Threshold, Judgement] = {}
        for threshold in thresholds:
            for bearer in result.bearers(threshold):
                value = figure_of(bearer, threshold).value
                if value is None or _may_still_hold(threshold, value, result.report):
                    continue
                judgement = judge(bearer, threshold)
                if judgement.decided and not judgement.passed:
                    found.setdefault(threshold, judgement)
        return found


def _may_still_hold(threshold: Threshold, value: float, so_far: WorkerReport) -> bool:
    """Whether a least rate is missed only for want of what is in flight: that is as much as ever was, at most."""
    if threshold.kind is not Kind.RATE or not threshold.sign.startswith(">"):
        return False
    elapsed = so_far.duration.total_seconds
    return not elapsed or value + so_far.in_flight_peak / elapsed >= threshold.limit
