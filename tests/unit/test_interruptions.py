"""A Ctrl-C that Python drops is not lost, and one that would be at a bad moment waits."""

from __future__ import annotations

import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_certload.stack.interruptions import deferring_interruptions, keeping_interruptions
from pytest_certload.stack.processes import open_workspace


class Thing:
    pass


@pytest.fixture(autouse=True)
def default_interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_a_callback() -> None:
    """And wait for what comes of it."""
    thing = Thing()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    assert reference() is None
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.01)


def test_an_interruption_in_a_callback_comes_again() -> None:
    with keeping_interruptions(), pytest.raises(KeyboardInterrupt):
        interrupt_a_callback()


def test_it_is_not_told_as_ignored_but_what_else_is_dropped_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[sys.UnraisableHookArgs] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    def divide(_: object) -> None:
        raise ZeroDivisionError

    with keeping_interruptions():
        with pytest.raises(KeyboardInterrupt):
            interrupt_a_callback()
        assert not told
        thing = Thing()
        reference = weakref.ref(thing, divide)
        del thing
        assert reference() is None
        assert [dropped.exc_type for dropped in told] == [ZeroDivisionError]
    assert sys.unraisablehook == told.append


def test_a_hook_that_came_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with keeping_interruptions():
        sys.unraisablehook = theirs = lambda dropped: None
    assert sys.unraisablehook is theirs


def test_while_something_of_a_stack_is_there_none_is_lost() -> None:
    with pytest.raises(KeyboardInterrupt), open_workspace():
        interrupt_a_callback()


def deferred(*parts: Callable[[], object]) -> None:
    with deferring_interruptions():
        for part in parts:
            part()


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


class TestOneThatWaits:
    def test_comes_when_the_body_is_over(self) -> None:
        steps: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            deferred(interrupt, lambda: steps.append("over"))
        assert steps == ["over"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_hides_no_error_of_the_body(self) -> None:
        with pytest.raises(KeyboardInterrupt) as caught:
            deferred(interrupt, lambda: 1 / 0)
        assert isinstance(caught.value.__context__, ZeroDivisionError)

    def test_is_followed_by_one_that_does_not(self) -> None:
        steps: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            deferred(
                interrupt, lambda: steps.append("first"), interrupt, lambda: steps.append("second")
            )
        assert steps == ["first"]

    def test_is_another_handlers_where_there_is_one(self) -> None:
        told: list[int] = []
        signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
        deferred(interrupt, lambda: told.append(0))
        assert told == [0, signal.SIGINT]

    def test_is_nothing_to_other_threads(self) -> None:
        def ask() -> object:
            with deferring_interruptions():
                return signal.getsignal(signal.SIGINT)

        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(ask).result() is signal.default_int_handler
