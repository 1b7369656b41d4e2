"""Who looks on at every load on a stack, without being asked?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, repeat

from pytest_certload.database import SessionDatabase
from pytest_certload.stack import Stack

from .postgres import DatabaseWitness
from .state import StateWitness
from .witness import Witness

__all__ = ["witnesses_of"]


def witnesses_of(
    stack: Stack, origin: str, *, counters: bool = True
) -> Callable[[], Sequence[Witness]]:
    """Makes new witnesses for each load of one test, as many as the stack lets see something.

    Args:
        stack: On which the loads are made.
        origin: Where the state of its data comes from when the first one begins.
        counters: Whether Postgres is looked at while a load runs.
    """
    if stack.dsn is None:
        return tuple
    database = SessionDatabase(stack.dsn)
    origins = chain([origin], repeat("as the test's load before left it"))

    def make() -> Sequence[Witness]:
        # The state first: it waits until nobody writes any more.
        state = StateWitness(database, next(origins))
        return [state, DatabaseWitness(database)] if counters else [state]

    return make
