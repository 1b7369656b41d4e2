"""What does one iteration get and say? The scenario, and the object its function is called with.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from inspect import Parameter, iscoroutinefunction, signature
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from pytest_certload.errors import ConfigurationError
from pytest_certload.samples import ITERATION, Outcome

from .clock import Clock
from .recorder import Recorder

if TYPE_CHECKING:
    import aiohttp

    from .executors import Executor

__all__ = [
    "CheckFailed",
    "Iteration",
    "IterationFunction",
    "Scenario",
    "Step",
    "UnexpectedStatus",
    "observe_response",
]

_current_iteration: ContextVar[Iteration | None] = ContextVar(
    "certload_current_iteration", default=None
)


class Response(Protocol):
    """The part of an HTTP response that ``Iteration.expect`` looks at."""

    @property
    def status(self) -> int:
        """The status code."""


def observe_response(response: Response) -> None:
    """Told by a client of a response: the iteration whose task this is remembers it.

    So a failure status that nobody expected cannot pass unseen. Without an iteration it is nothing.
    """
    iteration = _current_iteration.get()
    if iteration is not None:
        iteration._saw(response)


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
        tags: Free labels for reports.

    Raises:
        ConfigurationError: The function is not async or does not take exactly one argument.
    """

    name: str
    executor: Executor
    iteration: IterationFunction
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
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


class Iteration:
    """One run of the scenario's function.

    Attributes:
        index: Global number of the iteration, from 0. Choose keys by it, never by a VU's number.
        due: When the schedule wanted it, nanoseconds of the engine's clock.
        client: An ``aiohttp.ClientSession`` bound to the base URL.
    """

    __slots__ = (
        "_classify",
        "_clock",
        "_outcome",
        "_recorder",
        "_seed",
        "_step",
        "_steps_taken",
        "_undeclared",
        "client",
        "due",
        "index",
        "status",
    )

    def __init__(
        self,
        *,
        index: int,
        due: int,
        client: Any,
        clock: Clock,
        recorder: Recorder,
        classify: Classify,
        seed: int,
    ) -> None:
        self.index = index
        self.due = due
        self.client: aiohttp.ClientSession = client
        #: Last HTTP status seen, 0 for none.
        self.status = 0
        self._clock = clock
        self._recorder = recorder
        self._classify = classify
        self._seed = seed
        self._step: Step | None = None
        self._steps_taken = 0
        self._outcome = Outcome.OK
        self._undeclared: list[Response] | None = None

    @property
    def rng(self) -> Random:
        """A random generator that depends on the run's seed and this index alone."""
        return Random(self._seed * 1_000_003 + self.index)

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
        self.status = status
        if self._undeclared:
            self._undeclared = [r for r in self._undeclared if r is not response]
        if status in statuses or (not statuses and status < 400):
            return
        raise _unexpected(response, statuses)

    def check(self, condition: object, message: str) -> None:
        """Hold a condition on a response; when it is false the iteration ends as an error.

        Args:
            condition: Anything with a truth value.
            message: What should have held. Keep it free of ids: equal messages are counted together.
        """
        if not condition:
            raise CheckFailed(message)

    def _saw(self, response: Response) -> None:
        self.status = response.status
        if response.status >= 400:
            if self._undeclared is None:
                self._undeclared = []
            self._undeclared.append(response)

    # The engine's side.

    def _settle(self, error: BaseException | None, step: str) -> Outcome:
        """What became of the part that just ended; books the error once, in the innermost part."""
        if error is None and self._undeclared:
            response = self._undeclared[0]
            self._undeclared = None
            self._book(Outcome.UNEXPECTED_STATUS, _unexpected(response, ()), step)
            return Outcome.UNEXPECTED_STATUS
        if error is None:
            return Outcome.OK
        self._undeclared = None
        outcome = self._kind(error)
        self._book(outcome, error, step)
        return outcome

    def _kind(self, error: BaseException) -> Outcome:
        if isinstance(error, UnexpectedStatus):
            return Outcome.UNEXPECTED_STATUS
        if isinstance(error, (CheckFailed, AssertionError)):
            return Outcome.CHECK_FAILED
        by_client = self._classify(error)
        if by_client is not None:
            return by_client
        if isinstance(error, TimeoutError):
            return Outcome.TIMEOUT
        if isinstance(error, OSError):
            return Outcome.CONNECTION_ERROR
        return Outcome.EXCEPTION

    def _book(self, outcome: Outcome, error: BaseException, step: str) -> None:
        errors = self._recorder.errors
        key: tuple[object, ...]
        if isinstance(error, (UnexpectedStatus, CheckFailed)):
            # args[1], the request, differs from one iteration to the next.
            key = (step, outcome, error.args[0])
        else:
            key = (step, outcome, type(error), *_origin(error.__traceback__))
        if errors.count(key):
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


class Step:
    """The context manager of one named part of an iteration."""

    __slots__ = ("_due", "_iteration", "_start", "name")

    def __init__(self, iteration: Iteration, name: str) -> None:
        self._iteration = iteration
        self.name = name

    async def __aenter__(self) -> Step:
        iteration = self._iteration
        if iteration._step is not None:
            raise ConfigurationError(
                f"step {self.name!r} is opened inside step {iteration._step.name!r}; "
                "steps follow one another"
            )
        iteration._step = self
        iteration.status = 0
        self._start = iteration._clock.now()
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
        end = iteration._clock.now()
        iteration._step = None
        if error is not None and not isinstance(error, Exception):
            outcome = Outcome.UNFINISHED
        else:
            outcome = iteration._settle(error, self.name)
        if outcome is not Outcome.OK and iteration._outcome is Outcome.OK:
            iteration._outcome = outcome
        recorder = iteration._recorder
        recorder.add(
            recorder.step_number(self.name),
            iteration.index,
            self._due,
            self._start,
            end,
            iteration.status,
            outcome,
        )


async def run_iteration(function: IterationFunction, iteration: Iteration, name: str) -> Outcome:
    """Run one iteration to its end and record its row; errors are recorded, not raised.

    Raises:
        asyncio.CancelledError: The run was cancelled; the row says ``UNFINISHED``.
    """
    _current_iteration.set(iteration)
    clock, recorder = iteration._clock, iteration._recorder
    start = clock.now()
    outcome = Outcome.UNFINISHED
    end = 0
    try:
        await function(iteration)
        end = clock.now()
        outcome = iteration._outcome
        if outcome is Outcome.OK:
            outcome = iteration._settle(None, name)
    except Exception as error:  # noqa: BLE001 - settled as the iteration's outcome, and counted
        end = clock.now()
        outcome = iteration._outcome
        if outcome is Outcome.OK:
            outcome = iteration._settle(error, name)
    finally:
        recorder.add(
            ITERATION,
            iteration.index,
            iteration.due,
            start,
            end or clock.now(),
            iteration.status,
            outcome,
        )
    return outcome
