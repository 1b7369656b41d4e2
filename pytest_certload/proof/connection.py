"""How does a witness keep a connection through a load in which Postgres may go away?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

from pytest_certload.database import Database, SessionDatabase, StatementError
from pytest_certload.errors import StackError

__all__ = ["KeptConnection"]

T = TypeVar("T")


class KeptConnection:
    """One connection, made when first asked for, and again after it was lost.

    To make one takes milliseconds of the event loop (the password), so it is kept.

    Args:
        database: Where to.
        seconds: How long an answer may take.
    """

    def __init__(self, database: SessionDatabase, *, seconds: float) -> None:
        self._source = database
        self._seconds = seconds
        self._stack = AsyncExitStack()
        self._database: Database | None = None

    async def ask(self, question: Callable[[Database], Awaitable[T]]) -> T:
        """The answer to a question.

        Raises:
            StatementError: Postgres refused it.
            StackError: Postgres cannot be reached, or does not answer in time.
        """
        try:
            async with asyncio.timeout(self._seconds):
                if self._database is None:
                    connecting = self._source.connect()
                    self._database = await self._stack.enter_async_context(connecting)
                return await question(self._database)
        except StatementError:
            raise
        except StackError:
            await self.close()
            raise
        except TimeoutError as error:
            await self.close()
            raise StackError(f"Postgres does not answer within {self._seconds:g} s") from error

    async def close(self) -> None:
        """Give the connection back; the next question makes another one."""
        self._database = None
        await self._stack.aclose()
