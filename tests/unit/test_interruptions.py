"""A Ctrl-C that Python drops is not lost."""

from __future__ import annotations

import signal
import sys
import time
import weakref
from collections.abc import Iterator

import pytest

from pytest_certload.stack.interruptions import keeping_interruptions
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
