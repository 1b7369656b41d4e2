"""Witnesses end whatever becomes of the load, all together, and none of them without a limit."""

from __future__ import annotations

import asyncio

import pytest

from pytest_certload.proof import witness
from pytest_certload.proof.findings import CheckFinding, Proof
from pytest_certload.proof.witness import looking_on


class Onlooker:
    def __init__(self, name: str, *, waits_for: asyncio.Event | None = None) -> None:
        self.name = name
        self.waits_for = waits_for
        self.ending = asyncio.Event()

    async def begin(self) -> None:
        pass

    async def end(self, proof: Proof) -> None:
        self.ending.set()
        detail = "complete"
        try:
            if self.waits_for is not None:
                await self.waits_for.wait()
        except asyncio.CancelledError:
            detail = "cut short"
            raise
        finally:
            proof.preflight.append(
                CheckFinding(name=self.name, passed=True, detail=detail, seconds=0.0)
            )


class Failing(Onlooker):
    async def end(self, proof: Proof) -> None:
        raise RuntimeError("a mistake of its own")


def seen(proof: Proof) -> dict[str, str]:
    return {finding.name: finding.detail for finding in proof.preflight}


@pytest.mark.asyncio
async def test_they_end_together() -> None:
    # One after the other, the first would wait for ever.
    second = Onlooker("second")
    first = Onlooker("first", waits_for=second.ending)
    proof = Proof()
    async with asyncio.timeout(10), looking_on([first, second], proof):
        pass
    assert seen(proof) == {"first": "complete", "second": "complete"}


@pytest.mark.asyncio
async def test_an_interrupted_load_waits_for_them_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(witness, "_CUT_SHORT_SECONDS", 0.01)
    proof = Proof()
    patient = Onlooker("patient", waits_for=asyncio.Event())

    async def load() -> None:
        async with asyncio.timeout(10), looking_on([patient, Onlooker("quick")], proof):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await load()
    assert seen(proof) == {"patient": "cut short", "quick": "complete"}


@pytest.mark.asyncio
async def test_a_mistake_of_one_does_not_keep_the_others_from_ending() -> None:
    proof = Proof()
    with pytest.raises(RuntimeError, match="a mistake of its own"):
        async with looking_on([Failing("wrong"), Onlooker("right")], proof):
            pass
    assert seen(proof) == {"right": "complete"}
