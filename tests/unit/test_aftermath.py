"""After a death Postgres is brought back, the data is asked, and whatever comes of it is told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import cast

import pytest

from pytest_certload import aftermath
from pytest_certload.aftermath import Aftermath
from pytest_certload.errors import IntegrityFailed, StackError
from pytest_certload.proof.findings import EffectsFinding, Proof
from pytest_certload.proof.processes import PartDeath
from pytest_certload.units import seconds
from pytest_certload.verdict.policy import Policy
from pytest_certload.verdict.result import RunResult

SERVER = PartDeath(name="server", at=12.34, how="killed by SIGKILL", log="one\ntwo\n")
POSTGRES = PartDeath(name="postgres", at=12.5, how="ended with exit code 2", log="")


class Result:
    """As much of a result as an aftermath knows."""

    def __init__(self) -> None:
        self.proof = Proof()


async def told(after: Aftermath, *deaths: PartDeath) -> list[str]:
    result = cast("RunResult", Result())
    return str(await after.failure(deaths, result, before=2051, after=0)).splitlines()


@pytest.mark.asyncio
async def test_all_is_told_in_order() -> None:
    after = Aftermath()

    async def survived(result: RunResult) -> None:
        result.proof.effects.append(
            EffectsFinding(
                name="jobs",
                acknowledged=2051,
                present=2050,
                lost=1,
                unseen=0,
                ambiguous=0,
                strangers=None,
                duplicated=0,
                repeated=0,
                examples=(),
                waited=0.1,
                readings=1,
                cost=0.01,
            )
        )

    after.questions.append(survived)
    assert await told(after, SERVER, POSTGRES) == [
        "the server died 12.3 s into the load (killed by SIGKILL), Postgres died 12.5 s into the load "
        "(ended with exit code 2); 2,051 iterations were acknowledged before, 0 after",
        "survived: jobs: 2,050 of 2,051 acknowledged are in the database, 1 are lost",
        "server: The last lines of its log:",
        "  one",
        "  two",
        "postgres: It wrote nothing to its log.",
    ]


@pytest.mark.asyncio
async def test_nothing_asked_is_said() -> None:
    lines = await told(Aftermath(), SERVER)
    assert lines[1] == "what survived is not known: nothing was asked (load.after_death)"


@pytest.mark.asyncio
async def test_a_question_that_fails_is_told_and_the_others_are_asked() -> None:
    after = Aftermath()
    asked = []

    async def raises(result: RunResult) -> None:
        raise IntegrityFailed("3 jobs are lost")

    async def breaks(result: RunResult) -> None:
        raise OSError("no way")

    async def fails(result: RunResult) -> None:
        pytest.fail("not what I want")

    async def answers(result: RunResult) -> None:
        asked.append(result)

    after.questions += [raises, breaks, fails, answers]
    lines = await told(after, SERVER)
    assert "what survived: 3 jobs are lost" in lines
    assert "what survived: OSError: no way" in lines
    assert "what survived: Failed: not what I want" in lines
    assert len(asked) == 1


@pytest.mark.asyncio
async def test_a_question_without_an_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aftermath, "_QUESTION_SECONDS", 0.05)
    after = Aftermath()

    async def hangs(result: RunResult) -> None:
        await asyncio.Event().wait()

    after.questions.append(hangs)
    assert "what survived: no answer within 0.05 s" in await told(after, SERVER)


def test_a_question_has_time_to_tell_what_is_lost() -> None:
    """What is missing is waited for as long as the limit says; a question is given up before."""
    after = Aftermath()
    assert after.policy(Policy()).effects_limit < seconds(aftermath._QUESTION_SECONDS)
    assert after.policy(Policy(effects_limit=seconds(1))).effects_limit == seconds(1)


class TestPostgres:
    async def said(self, revive: Callable[[], None] | None, *deaths: PartDeath) -> list[str]:
        lines: list[str] = []
        after = Aftermath(revive, lines.append)
        await after.revive(deaths)
        return lines

    @pytest.mark.asyncio
    async def test_is_started_again_when_it_died(self) -> None:
        started = []
        (line,) = await self.said(lambda: started.append(1), SERVER, POSTGRES)
        assert re.fullmatch(r"Postgres was started again on its data, which took \d+\.\d s", line)
        assert started == [1]

    @pytest.mark.asyncio
    async def test_is_left_alone_when_the_server_died(self) -> None:
        started = []
        assert await self.said(lambda: started.append(1), SERVER) == []
        assert started == []

    @pytest.mark.asyncio
    async def test_of_somebody_else_is_not_started(self) -> None:
        assert await self.said(None, POSTGRES) == []

    @pytest.mark.asyncio
    async def test_that_does_not_start_is_told(self) -> None:
        def fails() -> None:
            raise StackError("Postgres ended while it started.")

        assert await self.said(fails, POSTGRES) == [
            "Postgres could not be started again: Postgres ended while it started."
        ]
