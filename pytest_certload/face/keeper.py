"""Which state of the stack does a test begin with? The seeded one, put back before each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_certload import gate
from pytest_certload.redaction import Redactor

from .runs import Runs
from .voice import Voice

if TYPE_CHECKING:
    from pytest_certload.stack import Stack

__all__ = ["Keeper"]

_AS_FOUND = "external: as it was found"
_AS_LEFT = "as earlier tests left it"


class Keeper:
    """Keeps the stack of a session.

    Attributes:
        state_origin: Where the state of the stack's data comes from, in words.
    """

    def __init__(self, runs: Runs, voice: Voice, redactor: Redactor) -> None:
        self._runs = runs
        self._voice = voice
        self._redactor = redactor
        self._stack: Stack | None = None
        self._item: pytest.Item | None = None
        self.state_origin = ""

    @contextmanager
    def keeping(self, stack: Stack) -> Iterator[None]:
        """Hand the stack to load tests, each time in its seeded state, while the body runs."""
        self._stack = stack
        self._redactor.learn(stack.endpoint.token, *stack.secrets)
        self._redactor.learn_dsn(stack.dsn)
        from pytest_certload.stack.model import AS_SEEDED

        self.state_origin = AS_SEEDED if stack.restore else _AS_FOUND
        try:
            yield
        finally:
            self._stack = None

    def restore_state(self, item: pytest.Item) -> None:
        """Put the stack back to its seeded state before a test that makes load on it.

        Raises:
            StackError: It cannot be put back.
        """
        self._item = item
        if self._puts_back(item):
            self._restore(item)
            if self._runs.kept is not None:
                self._runs.kept.dead_stack = None
        elif self._may_put_back(item):
            self.state_origin = _AS_LEFT

    def give_environment(self) -> None:
        """Let the server of a stack that has just come up run with what its first test asks for.

        Raises:
            StackError: It does not start so.
        """
        item = self._item
        if item is not None and self._puts_back(item) and gate.read_mark(item).server_env:
            self._restore(item)

    def _restore(self, item: pytest.Item) -> None:
        assert self._stack is not None
        assert self._stack.restore is not None
        environment = gate.read_mark(item).server_env
        self._redactor.learn_environment(environment.items())
        self.state_origin = self._stack.restore(environment)

    def refuse_dead_stack(self, item: pytest.Item) -> None:
        """Nothing can be proven on a stack of which a part has died, until it is put back."""
        how = None if self._runs.kept is None else self._runs.kept.dead_stack
        if how is None or self._puts_back(item):
            return
        if "certload_stack" in getattr(item, "fixturenames", ()):
            pytest.fail(
                f"the stack of this session is dead since an earlier test: {how}; run this one again",
                pytrace=False,
            )

    def _may_put_back(self, item: pytest.Item) -> bool:
        stack = self._stack
        return stack is not None and stack.restore is not None and gate.uses_stack(item)

    def _puts_back(self, item: pytest.Item) -> bool:
        return self._may_put_back(item) and gate.read_mark(item).state != "keep"

    def announce_stack(self, stack: Stack) -> None:
        """What is up, and how fast its Postgres may be."""
        from pytest_certload.report.terminal import stack_line

        self._voice.announce(f"ready {stack_line(stack.describe())}")
        if stack.postgres_settings:
            settings = (f"{name} {value}" for name, value in stack.postgres_settings.items())
            self._voice.announce(f"Postgres settings: {', '.join(settings)}")
