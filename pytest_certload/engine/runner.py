"""How is one scenario run from its first arrival to its report? Warm-up, measure, drain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pytest_certload.samples import ITERATION, Outcome, Samples
from pytest_certload.units import Duration, seconds

from .clock import Clock
from .executors import Load
from .recorder import ErrorEntry, Recorder
from .scenario import Classify, Iteration, Scenario, run_iteration

__all__ = ["Progress", "ScenarioRun", "WorkerReport"]

#: So many first iterations that all raise mean that the scenario's code is broken.
BROKEN_AFTER = 50
_TICK = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """What a run saw, raw.

    Attributes:
        samples: Rows due in the measured window.
        started_at: Begin of the measured window, UTC.
        duration: Length of the window that was measured (shorter when cut short).
        drain: Time from the end of the window until the last iteration was over.
        offered: Iterations due in the window.
        started: Of those, started, however late.
        started_in_window: Of those, started before the window ended.
        finished: Of those, over before the grace period ended.
        dropped: Due, never started.
        unfinished: Cancelled when the grace period ended.
        backlog_peak, in_flight_peak: Highest values, warm-up included.
        errors: Kinds of error with counts, warm-up included, the most frequent first.
        interrupted: The run was cancelled from outside.
        broken: The run ended itself because every iteration raised.
    """

    samples: Samples
    started_at: datetime
    duration: Duration
    drain: Duration
    offered: int
    started: int
    started_in_window: int
    finished: int
    dropped: int
    unfinished: int
    backlog_peak: int
    in_flight_peak: int
    errors: tuple[ErrorEntry, ...]
    interrupted: bool
    broken: bool


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands: what the live line shows. Times in nanoseconds since the load began."""

    elapsed: Duration
    duration: Duration
    offered: int
    started: int
    finished: int
    in_flight: int
    errors: int


class ScenarioRun:
    """One run of one scenario on the running event loop.

    Args:
        scenario: What to do.
        client: Handed to each iteration.
        clock: Tells the time.
        classify: Names the outcome of a client's exceptions.
        grace: How long iterations may go on after the window has ended.
        seed: Seeds ``Iteration.rng``.
        on_progress: Called once a second.
        on_finish: Called with ``(end, response_time, outcome)`` of every iteration.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        client: Any,
        clock: Clock,
        classify: Classify,
        grace: Duration = seconds(30),  # noqa: B008 - immutable
        seed: int = 0,
        on_progress: Callable[[Progress], None] | None = None,
        on_finish: Callable[[int, int, Outcome], None] | None = None,
    ) -> None:
        self.scenario = scenario
        self.clock = clock
        self.begin = 0
        self._client = client
        self._classify = classify
        self._grace = grace
        self._seed = seed
        self._on_progress = on_progress
        self._on_finish = on_finish
        self._recorder = Recorder(scenario.name)
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in the order of their start
        self._load: Load | None = None
        self._finished = 0
        self._errors = 0
        self._exceptions = 0
        self._ended = 0
        self._begin_wall = datetime.now(UTC)
        self._broken = asyncio.Event()
        self._interrupted = False

    # What executors are handed (see ``executors.Drive``).

    async def run(self, index: int, due: int) -> None:
        """Run one iteration to its end; errors are recorded, not raised."""
        iteration = Iteration(
            index=index,
            due=due,
            client=self._client,
            clock=self.clock,
            recorder=self._recorder,
            classify=self._classify,
            seed=self._seed,
        )
        outcome = await run_iteration(self.scenario.iteration, iteration, self.scenario.name)
        self._finished += 1
        if outcome is not Outcome.OK:
            self._errors += 1
            if outcome is Outcome.EXCEPTION:
                self._exceptions += 1
                if self._exceptions == self._finished >= BROKEN_AFTER:
                    self._broken.set()
        if self._on_finish is not None:
            now = self.clock.now()
            self._on_finish(now, now - due, outcome)

    def spawn(self, work: Awaitable[Any], done: Callable[[], None]) -> None:
        """Run ``work`` in a task of its own; ``done`` is called when it is over."""
        task = asyncio.ensure_future(work)
        self._tasks[task] = None

        def over(task: asyncio.Task[Any]) -> None:
            del self._tasks[task]
            done()

        task.add_done_callback(over)

    # The run.

    async def execute(self) -> None:
        """Make the load, drain it, and leave no task behind.

        Raises:
            asyncio.CancelledError: The run was cancelled; ``report()`` gives the partial result.
        """
        executor = self.scenario.executor
        self.begin = self.clock.now()
        self._begin_wall = datetime.now(UTC)
        window_end = self.begin + executor.warm_up + executor.duration
        load = self._load = executor.begin(self)
        waits = [asyncio.ensure_future(load.wait()), asyncio.ensure_future(self._broken.wait())]
        ticker = asyncio.ensure_future(self._tick(load)) if self._on_progress else None
        try:
            limit = (window_end + self._grace - self.clock.now()) / 1e9
            await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._interrupted = True
            raise
        finally:
            load.stop()
            self._ended = self.clock.now()
            leftovers = [*waits, *([ticker] if ticker else []), *self._tasks]
            for task in leftovers:
                task.cancel()
            results = await asyncio.gather(*leftovers, return_exceptions=True)
            self._add_dropped(load)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    def _add_dropped(self, load: Load) -> None:
        for offset, due in enumerate(load.not_started().tolist()):
            self._recorder.add(
                ITERATION, load.started + offset, due, self._ended, self._ended, 0, Outcome.DROPPED
            )

    async def _tick(self, load: Load) -> None:
        assert self._on_progress is not None
        executor = self.scenario.executor
        whole = Duration(executor.warm_up + executor.duration)
        while True:
            await asyncio.sleep(_TICK / 1e9)
            self._on_progress(
                Progress(
                    elapsed=Duration(self.clock.now() - self.begin),
                    duration=whole,
                    offered=load.offered,
                    started=load.started,
                    finished=self._finished,
                    in_flight=load.in_flight,
                    errors=self._errors,
                )
            )

    def report(self) -> WorkerReport:
        """What the run saw, complete or cut short."""
        load = self._load
        assert load is not None, "report() before execute()"
        executor = self.scenario.executor
        measure_from = self.begin + executor.warm_up
        planned_end = measure_from + executor.duration
        cut_short = self._interrupted or self._broken.is_set()
        measure_to = min(planned_end, self._ended) if cut_short else planned_end
        samples = self._recorder.samples().window(measure_from, planned_end)
        rows = samples.iterations
        unfinished = int((rows.outcome == Outcome.UNFINISHED).sum())
        dropped = int((rows.outcome == Outcome.DROPPED).sum())
        return WorkerReport(
            samples=samples,
            started_at=self._begin_wall + timedelta(microseconds=executor.warm_up / 1000),
            duration=Duration(max(0, measure_to - measure_from)),
            drain=Duration(max(0, self._ended - measure_to)),
            offered=len(rows),
            started=len(rows) - dropped,
            started_in_window=int((rows.start < measure_to).sum()),
            finished=len(rows) - dropped - unfinished,
            dropped=dropped,
            unfinished=unfinished,
            backlog_peak=load.backlog_peak,
            in_flight_peak=load.in_flight_peak,
            errors=self._recorder.errors.entries(),
            interrupted=self._interrupted,
            broken=self._broken.is_set(),
        )
