"""What is left when a part of the stack has died under load? Asked before the failure is raised."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from pytest_certload.errors import ScaleFailure, StackDied
from pytest_certload.proof.processes import PartDeath
from pytest_certload.stack.processes import last_lines
from pytest_certload.units import seconds
from pytest_certload.verdict.policy import Policy
from pytest_certload.verdict.result import RunResult

__all__ = ["Aftermath", "Question"]

#: Asks what survived, and adds what it finds to the result's proof.
Question = Callable[[RunResult], Awaitable[object]]

_QUESTION_SECONDS = 5.0
#: So long a question waits for what may still come: there must be time to tell what did not.
_EFFECTS_SECONDS = 2.0


class Aftermath:
    """Brings Postgres back, has the data asked, and words the failure.

    Args:
        revive: Starts Postgres again and returns when it answers; None: nobody here can.
        say: Told a line.

    Attributes:
        questions: What is asked, in order.
    """

    def __init__(
        self,
        revive: Callable[[], None] | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.questions: list[Question] = []
        self._revive = revive
        self._say = say
        self._notes: list[str] = []

    async def revive(self, deaths: Sequence[PartDeath]) -> None:
        """Start Postgres again, if it is among the dead; the server stays dead."""
        if self._revive is None or all(death.name != "postgres" for death in deaths):
            return
        begun = asyncio.get_running_loop().time()
        try:
            await asyncio.to_thread(self._revive)
        except Exception as error:  # noqa: BLE001 - whatever it is, what the load came to is still told
            self._notes.append(f"Postgres could not be started again: {error}")
        else:
            took = asyncio.get_running_loop().time() - begun
            self._notes.append(f"Postgres was started again on its data, which took {took:.1f} s")
        self._say(self._notes[-1].splitlines()[0])

    def policy(self, policy: Policy) -> Policy:
        """How a load is judged that a death has ended: what is missing is not waited for as long as else."""
        return replace(policy, effects_limit=min(policy.effects_limit, seconds(_EFFECTS_SECONDS)))

    async def failure(
        self, deaths: Sequence[PartDeath], result: RunResult, *, before: int, after: int
    ) -> StackDied:
        """The failure, once every question has been asked.

        Args:
            deaths: Who died, in order.
            result: Of the load; its proof has the effects that the questions find.
            before, after: Iterations that were acknowledged before the first death, and after it.
        """
        for question in self.questions:
            await self._ask(question, result)
        survived = [
            f"survived: {effect.name}: {effect.present:,} of {effect.acknowledged:,} acknowledged are in "
            f"the database, {effect.lost:,} are lost"
            for effect in result.proof.effects
        ]
        if not self.questions:
            survived = ["what survived is not known: nothing was asked (load.after_death)"]
        logs = [f"{death.name}: {last_lines(death.log)}" for death in deaths]
        return StackDied(
            "\n".join(
                [
                    f"{', '.join(map(str, deaths))}; {before:,} iterations were acknowledged before, "
                    f"{after:,} after",
                    *self._notes,
                    *survived,
                    *logs,
                ]
            )
        )

    async def _ask(self, question: Question, result: RunResult) -> None:
        try:
            async with asyncio.timeout(_QUESTION_SECONDS):
                await question(result)
        except TimeoutError:
            self._notes.append(f"what survived: no answer within {_QUESTION_SECONDS:g} s")
        except ScaleFailure as breach:
            self._notes.append(f"what survived: {breach}")
        except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - pytest.fail(), too, stands in the failure
            self._notes.append(f"what survived: {type(error).__name__}: {error}")
