"""Who looks on at every load on a stack, without being asked?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from pytest_certload.database import SessionDatabase
from pytest_certload.stack import Stack

from .postgres import DatabaseWitness
from .witness import Witness

__all__ = ["witnesses_of"]


def witnesses_of(stack: Stack) -> Callable[[], Sequence[Witness]]:
    """Makes new witnesses for each load, as many as the stack lets see something."""
    makers: list[Callable[[], Witness]] = []
    if stack.dsn is not None:
        makers.append(partial(DatabaseWitness, SessionDatabase(stack.dsn)))
    return lambda: [make() for make in makers]
