"""What is a load generator asked, and what does it say? One protocol for all that are compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["BODY", "HEADERS", "PATH", "Absent", "Generator", "Order", "Reported"]

#: The request that every generator sends: a POST of a small JSON document.
PATH = "/load"
BODY = '{"agent":"agent-0001","version":"1.0.0","os":"linux","address":"127.0.0.1"}'
HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Order:
    """The load to make.

    Attributes:
        rate: Requests a second. A closed-loop generator cannot be told and ignores it.
        seconds: For how long.
        slots: Most requests at once: ``max_in_flight``, VUs, users or connections.
        grace: Seconds that requests may go on after the window.
    """

    rate: int
    seconds: float
    slots: int
    grace: float = 10.0

    @property
    def offered(self) -> int:
        """How many requests that makes."""
        return round(self.rate * self.seconds)


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What the generator itself says of its run. Times in milliseconds, None: it did not say.

    Attributes:
        requests: Requests that it made.
        errors: Of those, failed.
        unfinished: Of those, given up when the grace period ended, and no errors.
        dropped: Requests that were due and never made; None for a generator without that notion.
        p50, p95, p99: Its response time.
        verdict: In words, for a generator that has one.
    """

    requests: int
    errors: int
    dropped: int | None
    p50: float | None
    p95: float | None
    p99: float | None
    unfinished: int = 0
    verdict: str = ""


class Generator(Protocol):
    """How one load generator is started and read. Frozen, reusable."""

    @property
    def name(self) -> str:
        """The name in tables."""

    @property
    def version(self) -> str:
        """The version that runs."""

    @property
    def ours(self) -> bool:
        """Whether it is this project's engine."""

    @property
    def constant_rate(self) -> bool:
        """Whether it can be told a rate; else it asks as fast as it is answered."""

    def command(self, order: Order, base_url: str, folder: Path) -> list[str]:
        """The command that makes the load once; its files go to an empty folder of its own."""

    def reported(self, folder: Path) -> Reported:
        """What it said, once the command has ended.

        Raises:
            GeneratorFailed: It left nothing to read.
        """


@dataclass(frozen=True, kw_only=True)
class Absent:
    """A generator that is not there, and why; it is named and left out."""

    name: str
    reason: str
