"""What does one iteration get and say? The scenario, and the object its function is called with.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import asyncio
import traceback as tracebacks
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from inspect import Parameter, iscoroutinefunction, signature
from random import Random
from socket import gaierror
from ssl import SSLError
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from pytest_certload.errors import ConfigurationError
from pytest_certload.samples import ITERATION, QUEUED, REUSED, Outcome
from pytest_certload.units import Duration, parse_duration

from .clock import Clock
from .recorder import Recorder
from .traffic import Traffic

if TYPE_CHECKING:
    import aiohttp

    from .executors import Executor

__all__ = [
    "CheckFailed",
    "Iteration",
    "IterationFunction",
    "RunContext",
    "Scenario",
    "Step",
    "UnexpectedStatus",
    "current_iteration",
    "running_iteration",
]

_current_iteration: ContextVar[Iteration | None] = ContextVar(
    "certload_current_iteration", default=None
)


class Response(Protocol):
    """The part of an HTTP response that ``Iteration.expect`` looks at."""

    @property
    def status(self) -> int:
        """The status code."""


def current_iteration() -> Iteration | None:
    """The iteration of the running task, for a client to tell what it sees; None outside of one.

    A client asks at the start of each request.
    """
    iteration = _current_iteration.get()
    if iteration is not None:
        iteration._ask()
    return iteration


def running_iteration() -> Iteration | None:
    """The iteration of the running task, for whoever only wants to know it; None outside of one."""
    return _current_iteration.get()


class UnexpectedStatus(Exception):
    """A response came with a status that the iteration did not expect."""


class CheckFailed(Exception):
    """A condition on one response did not hold."""


IterationFunction = Callable[["Iteration"], Awaitable[object]]
#: Tells what became of an iteration from the exception a client raised; None: not the client's.
Classify = Callable[[BaseException], Outcome | None]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What to do: a name, an executor that says when, and a function that says what.

    Attributes:
        name: Name in reports; letters, digits, ``-`` and ``_``.
        executor: Decides when iterations start and how many run at once.
        iteration: ``async def f(iteration)``, called once an iteration.
        start: How long after the begin of the run it starts, when several run together.
        base_url: A server of its own, which is sent no token; default: the run's.
        tags: Free labels for reports.

    Raises:
        ConfigurationError: The function is not async or does not take exactly one argument, or the start is
            no length of time.
    """

    name: str
    executor: Executor
    iteration: IterationFunction
    start: Duration = Duration(0)  # noqa: RUF009 - immutable; or what ``parse_duration`` takes
    tags: Mapping[str, str] = field(default_factory=dict)
    base_url: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", parse_duration(self.start, name="start"))
        check_iteration_function(self.iteration)


def check_iteration_function(function: object) -> None:
    """Refuse what cannot be an iteration before any load is made.

    Raises:
        ConfigurationError: Not callable, not async, or not callable with one argument.
    """
    name = getattr(function, "__qualname__", repr(function))
    target = function if iscoroutinefunction(function) else getattr(function, "__call__", None)  # noqa: B004
    if not iscoroutinefunction(target):
        raise ConfigurationError(
            f"the scenario function {name} is not async; write `async def {name}(iteration): …`"
        )
    try:
        parameters = signature(target).parameters.values()
    except (TypeError, ValueError):
        return
    positional = [
        p
        for p in parameters
        if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    ]
    variadic = any(p.kind is Parameter.VAR_POSITIONAL for p in parameters)
    required = [p for p in positional if p.default is Parameter.empty]
    required_keywords = [
        p.name for p in parameters
        if p.kind is Parameter.KEYWORD_ONLY and p.default is Parameter.empty
    ]  # fmt: skip
    if len(required) > 1 or (not positional and not variadic) or required_keywords:
        raise ConfigurationError(
            f"the scenario function {name}{signature(target)} cannot be called with one argument; "
            f"write `async def {name}(iteration): …`"
        )


class Marks:
    """What a client saw while an iteration or a step ran; times in nanoseconds, 0: never."""

    __slots__ = ("first_byte", "new_connection", "sent_at", "size")

    def __init__(self) -> None:
        self.sent_at = 0
        self.first_byte = 0
        self.size = 0
        self.new_connection = False

    def _note_sent(self, at: int, reused: bool) -> None:
        if not self.sent_at:
            self.sent_at = at
        if not reused:
            self.new_connection = True

    @property
    def flags(self) -> int:
        """``REUSED``, or nothing."""
        return REUSED if self.sent_at and not self.new_connection else 0


class Iteration(Marks):
    """One run of the scenario's function.

    Attributes:
        index: Global number of the iteration, from 0. Choose keys by it, never by a VU's number.
        due: When the schedule wanted it, nanoseconds of the engine's clock.
        vu: Number of the slot it runs in, from 0.
        client: Does what an ``aiohttp.ClientSession`` bound to the base URL does.
        tls: Of the latest connection that it had to make: the ``ssl.SSLObject`` that made the
            handshake (``session_reused``, ``getpeercert(True)``, ``version()``), also after the
            connection's end; None: it made none, or one without TLS.
    """

    __slots__ = (
        "_booked",
        "_outcome",
        "_over",
        "_pending",
        "_rng",
        "_run",
        "_step",
        "_steps_taken",
        "_swallowed",
        "_unanswered",
        "_undeclared",
        "client",
        "due",
        "index",
        "status",
        "tls",
        "vu",
    )

    def __init__(self, run: RunContext, index: int, due: int, vu: int) -> None:
        super().__init__()
        self.index = index
        self.due = due
        self.vu = vu
        self.client: aiohttp.ClientSession = run.clients[vu % len(run.clients)]
        #: HTTP status of the latest request, 0 as long as it has no answer.
        self.status = 0
        self.tls: Any = None
        self._run = run
        self._rng: Random | None = None
        self._step: Step | None = None
        self._steps_taken = 0
        self._outcome = Outcome.OK
        self._undeclared: list[Response] | None = None
        # What a careless scenario may catch and forget: its error counts all the same.
        self._swallowed: Exception | None = None
        #: The errors that steps ended with.
        self._booked: list[BaseException] = []
        self._unanswered = False
        #: Requests that were sent and not answered yet.
        self._pending = 0
        self._over = False

    @property
    def rng(self) -> Random:
        """A random generator, one for the iteration: it depends on the run's seed and this index alone."""
        if self._rng is None:
            self._rng = Random(self._run.seed * 1_000_003 + self.index)
        return self._rng

    def step(self, name: str) -> Step:
        """Time a named part: ``async with iteration.step("directory"): …``.

        Every statistic exists per step. The first step's response time counts from the
        iteration's due time, a later one's from the moment it began.

        Raises:
            ConfigurationError: A step is opened inside another one.
        """
        return Step(self, name)

    def expect(self, response: Response, *statuses: int) -> None:
        """Declare which statuses are right; any other ends the iteration as an error.

        A response of 400 and above that no ``expect`` names is an error as well.

        Args:
            response: The response.
            *statuses: The statuses that are right; none given means any below 400.
        """
        status = response.status
        self._note_status(status)
        if self._undeclared:
            self._undeclared = [r for r in self._undeclared if r is not response]
        if status in statuses or (not statuses and status < 400):
            return
        self._swallowed = _unexpected(response, statuses)
        raise self._swallowed

    def check(self, condition: object, message: str) -> None:
        """Hold a condition on a response; when it is false the iteration ends as an error.

        Args:
            condition: Anything with a truth value.
            message: What should have held. Keep it free of ids: equal messages are counted together.
        """
        if not condition:
            self._swallowed = CheckFailed(message)
            raise self._swallowed

    def _ask(self) -> None:
        """A client begins a request."""
        self._unanswered = True
        self._note_status(0)

    def _note_status(self, status: int) -> None:
        self.status = status
        if self._step is not None:
            self._step.status = status

    # What a client tells (see ``clients.exchange.Observer``).

    def connected(self, dns: int, connect: int, tls: int, session: Any = None) -> None:
        """A connection had to be made; how long each phase took, nanoseconds."""
        self.tls = session
        step = self._step
        name = None if step is None else step.name
        self._run.recorder.add_connection(self.index, name, dns, connect, tls)

    def sent(self, at: int, reused: bool) -> None:
        """A request was handed to the socket."""
        self._run.traffic.sent += 1
        self._pending += 1
        self._note_sent(at, reused)
        if self._step is not None:
            self._step._note_sent(at, reused)

    def answered(self, response: Response, at: int) -> None:
        """A response's status and headers are there; its first byte came at ``at``."""
        self._unanswered = False
        self._pending -= 1
        self._run.traffic.note_answer(response.status)
        self.first_byte = at
        if self._step is not None:
            self._step.first_byte = at
        self._note_status(response.status)
        if response.status >= 400:
            if self._undeclared is None:
                self._undeclared = []
            self._undeclared.append(response)

    def received(self, size: int) -> None:
        """A response's body was read to its end."""
        self.size += size
        if self._step is not None:
            self._step.size += size

    # The engine's side.

    def _settle(self, error: BaseException | None, step: str) -> Outcome:
        """What became of the part that just ended; books the error once, in the innermost part."""
        if error is None:
            error = self._forgotten()
        self._swallowed = self._undeclared = None
        if error is None:
            return Outcome.OK
        outcome = self._kind(error)
        self._book(outcome, error, step)
        return outcome

    def _forgotten(self) -> BaseException | None:
        """What went wrong although the scenario's function raised nothing."""
        if self._swallowed is not None:
            return self._swallowed
        if self._undeclared:
            return _unexpected(self._undeclared[0], ())
        # A request may go on beside a step; when the iteration is over, all of them have to be.
        if self._unanswered and self._over:
            return ConnectionError("a request had no answer, and the scenario swallowed the reason")
        return None

    def _kind(self, error: BaseException) -> Outcome:
        if isinstance(error, UnexpectedStatus):
            return Outcome.UNEXPECTED_STATUS
        if isinstance(error, (CheckFailed, AssertionError)):
            return Outcome.CHECK_FAILED
        by_client = self._run.classify(error)
        if by_client is not None:
            return by_client
        if isinstance(error, TimeoutError):
            return Outcome.TIMEOUT
        if isinstance(error, (ConnectionError, SSLError, gaierror)):
            return Outcome.CONNECTION_ERROR
        return Outcome.EXCEPTION

    def _is_own(self, error: BaseException) -> bool:
        """Whether an error after that of a step is one of the scenario's own code, and not the same one again."""
        if isinstance(error, BaseExceptionGroup):
            # A method is none of what Python 3.11 takes here.
            return error.split(lambda one: self._comes_of_a_step(one))[1] is not None
        return not self._comes_of_a_step(error) and self._kind(error) is Outcome.EXCEPTION

    def _comes_of_a_step(self, error: BaseException) -> bool:
        """Whether it is what a step ended with, or was raised from that."""
        cause: BaseException | None = error
        while cause is not None:
            if any(cause is booked for booked in self._booked):
                return True
            cause = cause.__cause__
        return False

    def _book(self, outcome: Outcome, error: BaseException, step: str) -> None:
        errors = self._run.recorder.errors
        key: tuple[object, ...]
        if isinstance(error, (UnexpectedStatus, CheckFailed)):
            # args[1], the request, differs from one iteration to the next.
            key = (step, outcome, error.args[0])
        else:
            key = (step, outcome, type(error), *_origin(error.__traceback__))
        if errors.count(key, outcome):
            whole = tracebacks.format_exception(error) if outcome is Outcome.EXCEPTION else None
            errors.describe(
                key,
                step=step,
                outcome=outcome,
                message=_message(error),
                traceback="".join(_own_frames(whole)) if whole else None,
            )


def _unexpected(response: Response, statuses: tuple[int, ...]) -> UnexpectedStatus:
    """The error, in two parts: what went wrong, and on which request."""
    wanted = " or ".join(str(s) for s in statuses) or "below 400"
    kind = getattr(response, "content_type", "") or "no content type"
    request = f"{getattr(response, 'method', '')} {getattr(response, 'url', '')}".strip()
    return UnexpectedStatus(f"expected status {wanted}, got {response.status} ({kind})", request)


def _message(error: BaseException) -> str:
    if isinstance(error, UnexpectedStatus):
        what, request = error.args
        return f"{what}; first on {request}" if request else str(what)
    if isinstance(error, CheckFailed):
        return str(error.args[0])
    text = str(error).strip()
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _origin(traceback: TracebackType | None) -> tuple[str, int]:
    """File and line where an exception was raised: what tells equal errors with other ids apart."""
    if traceback is None:
        return ("", 0)
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)


def _own_frames(lines: list[str]) -> list[str]:
    """A formatted traceback without the engine's own frames above the user's function."""
    return [line for line in lines if f'File "{__file__[:-11]}' not in line]


class Step(Marks):
    """The context manager of one named part of an iteration."""

    __slots__ = ("_due", "_iteration", "_start", "name", "status")

    def __init__(self, iteration: Iteration, name: str) -> None:
        super().__init__()
        self._iteration = iteration
        self.name = name
        #: HTTP status of its latest request; 0: it made none, or that one has no answer.
        self.status = 0

    async def __aenter__(self) -> Step:
        iteration = self._iteration
        if iteration._step is not None:
            raise ConfigurationError(
                f"step {self.name!r} is opened inside step {iteration._step.name!r}; "
                "steps follow one another"
            )
        iteration._step = self
        self._start = iteration._run.now()
        self._due = self._start if iteration._steps_taken else iteration.due
        iteration._steps_taken += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        iteration = self._iteration
        run = iteration._run
        end = run.now()
        iteration._step = None
        if isinstance(error, asyncio.CancelledError) and run.stopping:
            outcome = Outcome.UNFINISHED
        else:
            outcome = iteration._settle(error, self.name)
        if outcome is not Outcome.OK:
            if iteration._outcome is Outcome.OK:
                iteration._outcome = outcome
            if error is not None:
                iteration._booked.append(error)
        recorder = run.recorder
        recorder.add(
            recorder.step_number(self.name),
            self.status,
            outcome,
            self.flags,
            iteration.index,
            self._due,
            self._start,
            self.sent_at,
            self.first_byte,
            end,
            self.size,
        )


class RunContext:
    """What all iterations of a run share.

    Args:
        scenario: What to do.
        clients: One for each VU, or a single one for all.
        clock: Tells the time.
        recorder: Keeps the observations.
        classify: Names the outcome of a client's exceptions.
        seed: Seeds ``Iteration.rng``.
        over: Told ``(outcome, end, response_time)`` of every iteration when it is over.
        traffic: Counts the requests.

    Attributes:
        stopping: The run is over, and what is in flight is being cancelled.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        clients: Sequence[Any],
        clock: Clock,
        recorder: Recorder,
        classify: Classify,
        seed: int,
        over: Callable[[Outcome, int, int], None],
        traffic: Traffic,
    ) -> None:
        self.scenario = scenario
        self.clients = clients
        self.now = clock.now
        self.recorder = recorder
        self.classify = classify
        self.seed = seed
        self.over = over
        self.traffic = traffic
        self.stopping = False

    async def iterate(
        self,
        index: int,
        due: int,
        vu: int,
        queued: bool = False,
        done: Callable[[int], None] | None = None,
    ) -> None:
        """Run one iteration to its end and record its row; errors are recorded, not raised.

        Args:
            index: Its global number.
            due: When the schedule wanted it.
            vu: The slot it runs in.
            queued: Whether it had to wait for the slot.
            done: Called with the slot when it is over, however it ended.

        Raises:
            asyncio.CancelledError: The run was stopped; the row says ``UNFINISHED``.
        """
        iteration = Iteration(self, index, due, vu)
        _current_iteration.set(iteration)
        now, scenario = self.now, self.scenario
        start = now()
        outcome = Outcome.UNFINISHED
        end = 0
        try:
            await scenario.iteration(iteration)
            end = now()
            iteration._over = True
            outcome = iteration._outcome
            if outcome is Outcome.OK:
                outcome = iteration._settle(None, scenario.name)
        except BaseException as error:
            end = now()
            if self.stopping and isinstance(error, asyncio.CancelledError):
                raise
            outcome = iteration._outcome
            if outcome is Outcome.OK or iteration._is_own(error):
                outcome = iteration._settle(error, scenario.name)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
        finally:
            self.recorder.add(
                ITERATION,
                iteration.status,
                outcome,
                iteration.flags | QUEUED if queued else iteration.flags,
                index,
                due,
                start,
                iteration.sent_at,
                iteration.first_byte,
                end,
                iteration.size,
            )
            failed = outcome is not Outcome.OK
            if failed:
                self.traffic.failed += 1
            # That one of them had no answer is what a failed iteration stands for.
            unaccounted = iteration._pending - failed
            if unaccounted > 0:
                self.traffic.unaccounted += unaccounted
            if outcome is not Outcome.UNFINISHED:
                self.over(outcome, end, end - due)
            if done is not None:
                done(vu)
