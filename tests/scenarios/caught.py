"""What is a fault run? Some faults of the reference server at once, and who must catch which."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_certload.certctl.reference.faults import FAULTS

ONE_WORKER = "CERTLOAD_REFERENCE_WORKERS=1"
LIMITER = "CERTCTL_RATE_LIMIT_ENABLED=true"

# What catches a fault.
STATUS, CHECK, STACK = "status", "check", "token check of the stack"
ERRORS, LATENCY, DATABASE, BEFORE = "errors", "latency", "database", "check before the load"


@dataclass(frozen=True, kw_only=True)
class Caught:
    """A fault, and how it shows in a scenario.

    Attributes:
        fault: Its name, or the variable that makes it.
        scenario: The scenario that it concerns.
        by: What catches it.
        message: Part of what is said then, which names the cause.
    """

    fault: str
    scenario: str
    by: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """Some faults at once, and who must catch which.

    Most are run without the checks before the load: what these find would never be seen in the load.
    """

    caught: tuple[Caught, ...]
    every: int | None = None
    environment: tuple[str, ...] = ()
    transport: str = "aiohttp"
    preflight: str = "off"

    @property
    def scenarios(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(caught.scenario for caught in self.caught))

    @property
    def variables(self) -> tuple[str, ...]:
        faults = dict.fromkeys(c.fault for c in self.caught if c.fault in FAULTS)
        switched = ",".join(f"{name}:{self.every}" if self.every else name for name in faults)
        variables = [c.fault for c in self.caught if c.fault not in FAULTS]
        return (f"CERTLOAD_REFERENCE_FAULTS={switched}", *self.environment, *variables)
