"""What can go wrong with a bench? One tree of exceptions; their messages are for the reader."""

from __future__ import annotations

__all__ = ["BenchError", "GeneratorFailed"]


class BenchError(Exception):
    """The bench cannot measure: no compiler, a server that does not start, a file that is broken."""


class GeneratorFailed(BenchError):
    """A load generator did not do what it was told: it failed, or did not end in time."""
