"""How may a load be made, beside what it is? The keywords of ``load.run`` and its shorter forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from pytest_certload.clients import TRANSPORTS
from pytest_certload.errors import ConfigurationError
from pytest_certload.proof.preflight import Check, check_of
from pytest_certload.units import Duration, parse_duration
from pytest_certload.verdict.thresholds import Threshold, parse_thresholds

__all__ = ["CONNECTIONS", "CheckedOptions", "RunOptions"]

#: How requests share connections.
CONNECTIONS = ("keep-alive", "per-vu", "fresh")


class RunOptions(TypedDict, total=False):
    """The keywords, all optional.

    Attributes:
        base_url: The server; default: the marker's, the stack's, or ``--certload-base-url``.
        ca: PEM file of the only CA to trust, for servers that are not the stack's; default: ``--certload-ca``.
        headers: Sent with every request, beside the stack's token.
        timeout: Total time a request may take; default 30 s.
        grace: How long iterations may go on after the window has ended; default 30 s.
        seed: Seeds ``iteration.rng``, arrivals and drawn pauses; default 0.
        transport: ``aiohttp`` or ``fast``; default: ``--certload-transport``.
        connections: ``keep-alive``: a pool that all share (default); ``per-vu``: one for each VU;
            ``fresh``: a new one for each request.
        allow_dropped: Share of the iterations, 0 to 1, that may be dropped; default 0.
        must_be_answered: Whether a run in which ``iteration.client`` saw no answer fails; default
            true. For iterations that speak by a client of their own it is to be false.
        preflight: Checks that must hold before any load is made, ``async def check(preflight)``
            each: it returns what it found, in a line, and raises what is wrong; default none.
        thresholds: Conditions on the figures as text, beside those of the marker and the options, such as
            ``["p(95)<500", "rate<0.001"]`` or k6's ``{"http_req_duration": ["p(95)<500"]}``; default none.
    """

    base_url: str | None
    ca: Path | None
    headers: Mapping[str, str] | None
    timeout: object
    grace: object
    seed: int
    transport: str | None
    connections: str
    allow_dropped: float
    must_be_answered: bool
    preflight: Sequence[Check]
    thresholds: object


@dataclass(frozen=True, kw_only=True)
class CheckedOptions:
    """The same, read and checked.

    Raises:
        ConfigurationError: A value that cannot be used.
    """

    base_url: str | None = None
    ca: Path | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    timeout: object = "30s"
    grace: object = "30s"
    seed: int = 0
    transport: str | None = None
    connections: str = "keep-alive"
    allow_dropped: float = 0
    must_be_answered: bool = True
    preflight: Sequence[Check] = ()
    thresholds: object = ()

    def __post_init__(self) -> None:
        for name, value, known in (
            ("connections", self.connections, CONNECTIONS),
            ("transport", self.transport or TRANSPORTS[0], TRANSPORTS),
        ):
            if value not in known:
                raise ConfigurationError(f"{name}: {value!r} is none of {', '.join(known)}")
        if not 0 <= self.allow_dropped <= 1:
            raise ConfigurationError(
                f"allow_dropped: {self.allow_dropped!r} is no share from 0 to 1"
            )
        if self.ca is not None and not isinstance(self.ca, Path):
            raise ConfigurationError(f"ca: {self.ca!r} is no path; write ca=Path({str(self.ca)!r})")
        parse_duration(self.timeout, name="timeout")
        parse_duration(self.grace, name="grace")
        if not isinstance(self.preflight, Sequence):
            raise ConfigurationError(
                f"preflight: {self.preflight!r} is no list of checks; write preflight=[check]"
            )
        for check in self.preflight:
            check_of(check)
        parse_thresholds(self.thresholds)

    @property
    def request_timeout(self) -> Duration:
        """Total time a request may take."""
        return parse_duration(self.timeout, name="timeout")

    @property
    def grace_period(self) -> Duration:
        """How long iterations may go on after the window."""
        return parse_duration(self.grace, name="grace")

    @property
    def held(self) -> tuple[Threshold, ...]:
        """The thresholds."""
        return parse_thresholds(self.thresholds)
