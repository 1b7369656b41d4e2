"""What does a part of the stack take of the machine, and does it live? What all meters have in common.

A meter blocks while it looks, for a moment (``process_meter``) or for as long as a Docker daemon takes
(``containers.meter``), so it belongs into a thread.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .model import Part, Stack

__all__ = ["Death", "Meter", "Reading", "UnknownMeter", "describe_exit", "open_meters"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a part has taken so far; None: cannot be known.

    Attributes:
        cpu: CPU time of its processes since they began, seconds; never less than before.
        memory: Resident memory now, octets; what its processes share counts once.
        memory_peak: The most there ever was, where the system keeps it.
        descriptors: Open descriptors now.
        switches, forced_switches: Context switches since its processes began: those that they wanted
            (to wait), and those that they did not.
    """

    cpu: float | None = None
    memory: int | None = None
    memory_peak: int | None = None
    descriptors: int | None = None
    switches: int | None = None
    forced_switches: int | None = None


@dataclass(frozen=True, kw_only=True)
class Death:
    """The end of a part.

    Attributes:
        how: Such as ``killed by SIGKILL``.
        at: When, as ``time.time()``; None: when it was noticed.
    """

    how: str
    at: float | None = None


class Meter(Protocol):
    """Looks at one part. What it cannot see it adds to ``missing``: it never raises because of the part."""

    name: str
    missing: list[str]

    def read(self) -> Reading | None:
        """What it has taken so far; None when there is nothing to look at."""

    def death(self) -> Death | None:
        """How it ended; None while it lives, or when nobody can tell."""

    def log(self) -> str:
        """What it wrote to its log since this meter was made."""

    def close(self) -> None:
        """Look no more."""


class UnknownMeter:
    """The meter of a part that is not ours."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.missing = ["all: it was not started here, so nobody knows its processes, or its death"]

    def read(self) -> Reading | None:
        """See ``Meter``."""
        return None

    def death(self) -> Death | None:
        """See ``Meter``."""
        return None

    def log(self) -> str:
        """See ``Meter``."""
        return ""

    def close(self) -> None:
        """See ``Meter``."""


def open_meters(stack: Stack | None) -> Sequence[Meter]:
    """A meter for the server and one for Postgres; none without a stack."""
    return [] if stack is None else [_open(part) for part in stack.parts]


def _open(part: Part) -> Meter:
    if part.container is not None:
        from .containers.meter import ContainerMeter

        return ContainerMeter(part.name, part.container)
    if part.pid is not None:
        from .process_meter import ProcessMeter

        return ProcessMeter(part.name, part.pid, log_path=part.log_path)
    return UnknownMeter(part.name)


def describe_exit(code: int) -> str:
    """How a process ended, from its exit code; negative: the signal that killed it."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
