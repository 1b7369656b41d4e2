"""How is a file named to a reader? From the folder that the session was started in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["relative"]


def relative(files: Sequence[Path]) -> list[Path]:
    """The files, those below the working directory relative to it."""
    here = Path.cwd()
    return [f.relative_to(here) if f.is_relative_to(here) else f for f in files]
