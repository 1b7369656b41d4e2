"""How is one scenario run from its first arrival to its report? Warm-up, measure, drain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_certload.errors import ConfigurationError, ScenarioError
from pytest_certload.samples import ITERATION, Connections, Outcome, Samples
from pytest_certload.stats.figures import RunFigures, figures_of
from pytest_certload.units import Duration, seconds

from .clock import Clock
from .executors import Load
from .recorder import ErrorEntry, FoldingRecorder, Recorder
from .scenario import Classify, RunContext, Scenario
from .traffic import Traffic
from .vus import sleep_until
from .watchdog import SelfReport

__all__ = ["Progress", "ScenarioRun", "WorkerReport", "execute_together", "merge"]

#: So many first iterations that all raise mean that the scenario's code is broken.
BROKEN_AFTER = 50
_TICK = 1_000_000_000
#: How often, and how long each time, what is cancelled may take to give in.
_CANCEL_ROUNDS = 5
_CANCEL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """What a run saw, raw.

    Attributes:
        figures: Counts and distributions of what was due in the measured window.
        kept: The rows themselves, and the connections that iterations of the window made; None when
            they were not kept.
        started_at: Begin of the measured window, UTC.
        duration: Length of the window that was measured (shorter when cut short).
        window_begin, window_end: When it began, at ``started_at``, and ended, nanoseconds of the
            engine's clock.
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
        requests: Handed to the socket, warm-up included.
        unanswered: Of these, how many got no answer: their iteration failed or was unfinished, or the client
            sent them again by itself, as the connection was lost.
        unaccounted: Of those, how many there are beyond the one for which each failed iteration stands.
        failed: Iterations that were started and did not succeed, or were not over in the end, warm-up included.
        scheduled: Iterations were due by the clock (the open model).
        generator: What the generator saw of itself; None when nobody watched.
    """

    figures: RunFigures
    kept: tuple[Samples, Connections] | None
    started_at: datetime
    duration: Duration
    window_begin: int
    window_end: int
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
    scheduled: bool
    requests: int = 0
    unanswered: int = 0
    failed: int = 0
    unaccounted: int = 0
    generator: SelfReport | None = None

    @property
    def samples(self) -> Samples:
        """Every row of the window.

        Raises:
            ConfigurationError: They were not kept.
        """
        return self._kept()[0]

    @property
    def connections(self) -> Connections:
        """The connections that iterations of the window made.

        Raises:
            ConfigurationError: They were not kept.
        """
        return self._kept()[1]

    def _kept(self) -> tuple[Samples, Connections]:
        if self.kept is None:
            raise ConfigurationError(
                "--certload-samples: 'sketch' keeps no sample, only figures; "
                "use keep to look at samples"
            )
        return self.kept


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands: what the live line shows. Times in nanoseconds since the load began."""

    elapsed: Duration
    duration: Duration
    offered: int
    started: int
    finished: int
    in_flight: int
    backlog: int
    errors: int


class ScenarioRun:
    """One run of one scenario on the running event loop.

    Args:
        scenario: What to do.
        clients: Handed to the iterations: one for each VU, or a single one for all.
        clock: Tells the time.
        classify: Names the outcome of a client's exceptions.
        grace: How long iterations may go on after the window has ended.
        seed: Seeds ``Iteration.rng`` and whatever an executor draws.
        keep_samples: Whether every row is kept, or folded into figures of a fixed size.
        on_progress: Called once a second.
        on_finish: Called with ``(outcome, end, response_time)`` of every iteration that is over.

    Attributes:
        traffic: The requests so far.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        clients: Sequence[Any],
        clock: Clock,
        classify: Classify,
        grace: Duration = seconds(30),  # noqa: B008 - immutable
        seed: int = 0,
        rng_seed: int | None = None,
        keep_samples: bool = True,
        on_progress: Callable[[Progress], None] | None = None,
        on_finish: Callable[[Outcome, int, int], None] | None = None,
    ) -> None:
        self.scenario = scenario
        self.clock = clock
        self.seed = seed
        self.begin = 0
        self._grace = grace
        self._on_progress = on_progress
        self._on_finish = on_finish
        self._recorder = (Recorder if keep_samples else FoldingRecorder)(scenario.name)
        self.traffic = Traffic()
        self._context = RunContext(
            scenario,
            clients=clients,
            clock=clock,
            recorder=self._recorder,
            classify=classify,
            seed=seed if rng_seed is None else rng_seed,
            over=self._over,
            traffic=self.traffic,
        )
        self.iterate = self._context.iterate
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None] | None] = [None] * scenario.executor.slots
        self._load: Load | None = None
        self._finished = 0
        self._errors = 0
        self._exceptions = 0
        self._ended = 0
        self._begin_wall = datetime.now(UTC)
        self._succeeded = 0
        self._broken = False
        self._enough = asyncio.Event()
        self._interrupted = False

    # What executors are handed (see ``executors.Drive``): ``iterate``, and

    def spawn(self, work: Coroutine[Any, Any, None], vu: int) -> None:
        """Run ``work`` in a task of its own, the only one of that VU."""
        self._tasks[vu] = self._loop.create_task(work)

    def drop(self, index: int, due: int) -> None:
        """Record that an iteration was dropped: refused when it was due, it waited for nothing."""
        self._errors += 1
        self._add_not_started(index, due, due)

    def _over(self, outcome: Outcome, end: int, response_time: int) -> None:
        self._finished += 1
        if outcome is Outcome.OK:
            self._succeeded += 1
        else:
            self._errors += 1
            if outcome is Outcome.EXCEPTION:
                self._exceptions += 1
                if self._exceptions == self._finished >= BROKEN_AFTER:
                    self._broken = True
                    self._enough.set()
        if self._on_finish is not None:
            self._on_finish(outcome, end, response_time)

    @property
    def begun(self) -> bool:
        """Whether there was any load."""
        return self._load is not None

    @property
    def succeeded(self) -> int:
        """Iterations that succeeded so far, warm-up included."""
        return self._succeeded

    def cut_short(self) -> None:
        """End the load now: what is in flight is cancelled, the figures are those up to now."""
        self._enough.set()

    # The run.

    async def execute(self, begin: int | None = None) -> None:
        """Make the load, drain it, and leave no task behind.

        Args:
            begin: Instant of the clock from which the scenario's offset counts; default: now.

        Raises:
            asyncio.CancelledError: The run was cancelled; ``report()`` gives the partial result.
            ScenarioError: An iteration swallowed its cancellation and went on.
        """
        executor = self.scenario.executor
        now = self.clock.now()
        self.begin = (now if begin is None else begin) + self.scenario.start
        self._begin_wall = datetime.now(UTC) + timedelta(microseconds=(self.begin - now) / 1000)
        self._ended = self.begin
        measure_from, window_end = self._window()
        if isinstance(self._recorder, FoldingRecorder):
            self._recorder.fold.measure(measure_from, window_end)
        try:
            if self.begin > now and not await self._reached(self.begin):
                return
        except asyncio.CancelledError:
            self._interrupted = True
            self._ended = self.clock.now()
            raise
        load = self._load = executor.begin(self)
        waits: list[asyncio.Task[Any]] = [
            asyncio.ensure_future(load.wait()),
            asyncio.ensure_future(self._enough.wait()),
        ]
        if self._on_progress is not None:
            waits.append(asyncio.ensure_future(self._tick(load, self._on_progress)))
        try:
            limit = (window_end + self._grace - self.clock.now()) / 1e9
            await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._interrupted = True
            raise
        finally:
            load.stop()
            # A task that was made a moment ago must begin, or its iteration leaves no row.
            await asyncio.sleep(0)
            self._ended = self.clock.now()
            if isinstance(self._recorder, FoldingRecorder):
                self._recorder.fold.window_end = self._measured_until()
            self._context.stopping = True
            try:
                await _cancel([*waits, *(task for task in self._tasks if task is not None)])
            except Exception:
                # Whatever it is has ended the load, which may have had its time before it.
                self._interrupted = True
                raise
            finally:
                first, due = load.not_started()
                for offset, at in enumerate(due.tolist()):
                    # A user who still waits has waited until now, and goes on.
                    self._add_not_started(
                        first + offset, at, at if executor.ends_early else self._ended
                    )

    async def _reached(self, when: int) -> bool:
        """Wait for an instant; False when the load is cut short before."""
        waits = [
            asyncio.ensure_future(sleep_until(self, when)),
            asyncio.ensure_future(self._enough.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(waits)
        return not self._enough.is_set()

    def _add_not_started(self, index: int, due: int, end: int) -> None:
        self._recorder.add(ITERATION, 0, Outcome.DROPPED, 0, index, due, end, 0, 0, end, 0)

    async def _tick(self, load: Load, show: Callable[[Progress], None]) -> None:
        executor = self.scenario.executor
        whole = Duration(executor.warm_up + executor.duration)
        while True:
            await asyncio.sleep(_TICK / 1e9)
            show(
                Progress(
                    elapsed=Duration(self.clock.now() - self.begin),
                    duration=whole,
                    offered=load.offered,
                    started=load.started,
                    finished=self._finished,
                    in_flight=load.in_flight,
                    backlog=load.backlog,
                    errors=self._errors,
                )
            )

    def _window(self) -> tuple[int, int]:
        """Begin and planned end of the measured window, nanoseconds of the clock."""
        begin = self.begin + self.scenario.executor.warm_up
        return begin, begin + self.scenario.executor.duration

    def _measured_until(self) -> int:
        """When the window ended; earlier than planned when it was cut short."""
        _, planned = self._window()
        cut_short = self._interrupted or self._enough.is_set() or self.scenario.executor.ends_early
        return min(planned, self._ended) if cut_short else planned

    @property
    def measured_from(self) -> int:
        """When the measured window begins, nanoseconds of the clock."""
        return self._window()[0]

    def report(self) -> WorkerReport:
        """What the run saw, complete or cut short."""
        measure_to, errors = self._measured_until(), self._recorder.errors.entries()
        if isinstance(self._recorder, FoldingRecorder):
            return self._report(self._recorder.figures(), None, measure_to, errors)
        return self._report_of_rows(self._recorder.snapshot(), measure_to, errors)

    def so_far(self) -> Callable[[], WorkerReport]:
        """What has been seen up to now of the iterations that are over, without the kinds of error.

        Kept samples may be made into the report by another thread. Sketches may not: they go on being
        filled.
        """
        measure_to = min(self._window()[1], self.clock.now())
        if isinstance(self._recorder, FoldingRecorder):
            return partial(self._report, self._recorder.so_far(), None, measure_to, ())
        return partial(self._report_of_rows, self._recorder.snapshot(), measure_to, ())

    def _report_of_rows(
        self,
        rows: Callable[[], tuple[Samples, Connections]],
        measure_to: int,
        errors: tuple[ErrorEntry, ...],
    ) -> WorkerReport:
        samples, connections = rows()
        samples = samples.window(*self._window())
        connections = _of_iterations(connections, samples.index[samples.step == ITERATION])
        figures = figures_of(samples, connections, window_end=measure_to)
        return self._report(figures, (samples, connections), measure_to, errors)

    def _report(
        self,
        figures: RunFigures,
        kept: tuple[Samples, Connections] | None,
        measure_to: int,
        errors: tuple[ErrorEntry, ...],
    ) -> WorkerReport:
        executor, measure_from = self.scenario.executor, self.measured_from
        counts = figures.iterations.counts
        dropped = counts.of_outcome(Outcome.DROPPED)
        unfinished = counts.of_outcome(Outcome.UNFINISHED)
        load = self._load
        return WorkerReport(
            figures=figures,
            kept=kept,
            started_at=self._begin_wall + timedelta(microseconds=executor.warm_up / 1000),
            duration=Duration(max(0, measure_to - measure_from)),
            window_begin=measure_from,
            window_end=measure_to,
            drain=Duration(max(0, self._ended - measure_to)),
            offered=counts.count,
            started=counts.count - dropped,
            started_in_window=counts.begun,
            finished=counts.count - dropped - unfinished,
            dropped=dropped,
            unfinished=unfinished,
            backlog_peak=load.backlog_peak if load is not None else 0,
            in_flight_peak=load.in_flight_peak if load is not None else 0,
            errors=errors,
            interrupted=self._interrupted,
            broken=self._broken,
            scheduled=executor.scheduled,
            requests=self.traffic.sent,
            unanswered=self.traffic.unanswered,
            failed=self.traffic.failed,
            unaccounted=self.traffic.unaccounted,
        )


def merge(reports: Mapping[str, WorkerReport], *, name: str) -> WorkerReport:
    """What several scenarios that ran together saw, as one.

    The window reaches from the first one's begin to the last one's end. Peaks are added up: at most
    so many were in flight, or waited, at once.

    Args:
        reports: Each scenario's, by its name.
        name: The name of the whole; step ``login`` of scenario ``shop`` is called ``shop.login``.
    """
    parts = list(reports.values())
    begin = min(part.started_at for part in parts)
    end = max(part.started_at + timedelta(microseconds=part.duration / 1000) for part in parts)
    drained = max(
        part.started_at + timedelta(microseconds=(part.duration + part.drain) / 1000)
        for part in parts
    )
    kept = None
    if all(part.kept is not None for part in parts):
        kept = (
            Samples.join({key: part.samples for key, part in reports.items()}, name=name),
            Connections.join([part.connections for part in parts]),
        )
    return WorkerReport(
        figures=RunFigures.join({key: part.figures for key, part in reports.items()}, name=name),
        kept=kept,
        started_at=begin,
        duration=seconds((end - begin).total_seconds()),
        window_begin=min(part.window_begin for part in parts),
        window_end=max(part.window_end for part in parts),
        drain=seconds((drained - end).total_seconds()),
        offered=sum(part.offered for part in parts),
        started=sum(part.started for part in parts),
        started_in_window=sum(part.started_in_window for part in parts),
        finished=sum(part.finished for part in parts),
        dropped=sum(part.dropped for part in parts),
        unfinished=sum(part.unfinished for part in parts),
        backlog_peak=sum(part.backlog_peak for part in parts),
        in_flight_peak=sum(part.in_flight_peak for part in parts),
        errors=tuple(
            replace(entry, step=entry.step if entry.step == key else f"{key}.{entry.step}")
            for key, part in reports.items()
            for entry in part.errors
        ),
        interrupted=any(part.interrupted for part in parts),
        broken=any(part.broken for part in parts),
        scheduled=any(part.scheduled for part in parts),
        requests=sum(part.requests for part in parts),
        unanswered=sum(part.unanswered for part in parts),
        failed=sum(part.failed for part in parts),
        unaccounted=sum(part.unaccounted for part in parts),
        generator=parts[0].generator,
    )


def _of_iterations(connections: Connections, indices: npt.NDArray[np.int64]) -> Connections:
    if not len(indices):
        return connections.select(connections.index < 0)
    first, last = indices.min(), indices.max()
    return connections.select((connections.index >= first) & (connections.index <= last))


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they are over.

    Raises:
        ScenarioError: One goes on all the same.
    """
    pending = [task for task in tasks if not task.done()]
    for _ in range(_CANCEL_ROUNDS):
        if not pending:
            break
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_CANCEL_SECONDS)
        pending = [task for task in pending if not task.done()]
    if pending:
        raise ScenarioError(
            f"{len(pending)} iterations caught their cancellation and went on when the load was over; "
            "let asyncio.CancelledError pass"
        )
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        # An interruption has ended the event loop already when it came up in the task.
        if error is not None and not isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error


async def execute_together(runs: Sequence[ScenarioRun]) -> None:
    """Run scenarios on one event loop from a common begin, each with its own offset.

    Raises:
        asyncio.CancelledError: They were cancelled; each one's ``report()`` gives its partial result.
        ScenarioError: As for ``ScenarioRun.execute``; the other runs are cancelled.
    """
    begin = runs[0].clock.now()
    tasks = [asyncio.ensure_future(run.execute(begin)) for run in runs]
    first: set[asyncio.Task[None]] = set()
    failures: list[BaseException] = []
    try:
        first, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        # Each is told once: told again, it would leave its clearing up, and its figures would lack the rest.
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        # What ended the load, before what came of that.
        for task in sorted(tasks, key=lambda task: task not in first):
            failure = None if task.cancelled() else task.exception()
            if failure is not None:
                failures.append(failure)
    if failures:
        raise failures[0]
    for task in tasks:
        task.result()
