"""Is certctl, and what it holds, as a load needs it? Checks before a load, by what it is about."""

from __future__ import annotations

from .kinds import KINDS, checks_of

__all__ = ["KINDS", "checks_of"]
