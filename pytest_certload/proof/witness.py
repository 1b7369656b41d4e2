"""Who looks on while a load runs, and what do they tell? The seam between a load and its proof."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from .findings import Proof

__all__ = ["Witness", "looking_on"]

#: How long witnesses may still wait for something when the load was cut short.
_CUT_SHORT_SECONDS = 2.0


class Witness(Protocol):
    """Looks on while a load runs. It belongs to one load, and to the event loop that this runs in.

    What it cannot see it reports as missing: it never raises because of the stack, and it must not
    hold the event loop up, which is the generator's.
    """

    async def begin(self) -> None:
        """The load is about to begin."""

    async def end(self, proof: Proof) -> None:
        """The load is over, also when it was interrupted: add to the proof what was seen."""


@asynccontextmanager
async def looking_on(witnesses: Sequence[Witness], proof: Proof) -> AsyncIterator[None]:
    """Let witnesses look on while the body runs, however it ends."""
    begun: list[Witness] = []
    try:
        for witness in witnesses:
            begun.append(witness)
            await witness.begin()
        yield
    except BaseException as error:
        try:
            await _end(begun, proof, patience=_CUT_SHORT_SECONDS)
        except Exception as another:  # noqa: BLE001 - the first one is the reason, and has this one as a note
            error.add_note(f"and then {type(another).__name__}: {another}")
        raise
    # Nor does anybody wait long for what the dead have left undone.
    died = any(part.died_at is not None for part in proof.processes)
    await _end(begun, proof, patience=_CUT_SHORT_SECONDS if died else None)


async def _end(witnesses: Sequence[Witness], proof: Proof, *, patience: float | None) -> None:
    """End all witnesses together: what one has to wait for must not make the others late.

    Args:
        patience: How many seconds they may wait for something; None: as long as each one wants.
    """
    endings = [asyncio.create_task(witness.end(proof)) for witness in witnesses]
    if not endings:
        return
    _, late = await asyncio.wait(endings, timeout=patience)
    for ending in late:
        ending.cancel()
    for outcome in await asyncio.gather(*endings, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
