"""Who looks on while a load runs, and what do they tell? The seam between a load and its proof."""

from __future__ import annotations

from typing import Protocol

from .findings import Proof

__all__ = ["Witness"]


class Witness(Protocol):
    """Looks on while a load runs. It belongs to one load, and to the event loop that this runs in.

    What it cannot see it reports as missing: it never raises because of the stack, and it must not
    hold the event loop up, which is the generator's.
    """

    async def begin(self) -> None:
        """The load is about to begin."""

    async def end(self, proof: Proof) -> None:
        """The load is over, also when it was interrupted: add to the proof what was seen."""
