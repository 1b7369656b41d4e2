"""What does a scenario ask of the daemons? Where they are, what they must serve, and what they saw."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytest_certload.clients.tls import tls_context
from pytest_certload.engine.scenario import Iteration
from pytest_certload.errors import PreflightError
from pytest_certload.proof.preflight import Check, Preflight
from pytest_certload.stack import StackRequest
from pytest_certload.stack.daemons import Daemon, open_daemons

from .specs import SPECS

__all__ = ["Connectors", "Target", "open_connectors"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """One daemon, as a scenario sees it.

    Attributes:
        daemon: How it runs.
    """

    daemon: Daemon

    @property
    def name(self) -> str:
        """``nginx``, ``apache``, ``haproxy`` or ``f5``."""
        return self.daemon.name

    @property
    def base_url(self) -> str:
        """Where it answers."""
        return self.daemon.endpoint.base_url

    def path(self, index: int) -> str:
        """What iteration ``index`` asks for: the daemon's log tells by it whose handshake it was."""
        return f"{self.daemon.path}?iteration={index}"

    def handshake(self, index: int, *, full: bool = True) -> str:
        """How the handshake of an iteration is called in ledgers, and in ``seen``."""
        return f"{self.path(index)} {'full' if full else 'resumed'}"

    def check_handshake(self, iteration: Iteration) -> None:
        """Hold that the iteration made a full handshake, and that the certificate is the deployed one.

        That it is valid, of the right CA and for the right name, the client holds on every connection.
        """
        session = iteration.tls
        iteration.check(session is not None, "a TLS connection of its own, not a kept one")
        iteration.check(not session.session_reused, "a full handshake, no resumed session")
        iteration.check(
            _fingerprint(session) == self.daemon.fingerprint,
            "the certificate that was deployed, by its SHA-256",
        )

    def watch(self) -> Callable[[], Any]:
        """Reads the daemon's log from here on, for ``result.traces(…)``: ``seen = target.watch()``.

        Returns:
            ``async def seen()``: a key for each handshake, as ``handshake`` names them.
        """
        before = len(self.daemon.handshakes())

        async def seen() -> list[str]:
            handshakes = await asyncio.to_thread(self.daemon.handshakes)
            return [
                f"{found.target} {'full' if found.full else 'resumed'}"
                for found in handshakes[before:]
            ]

        return seen

    def deployed(self) -> Check:
        """The check before a load that the daemon serves what was deployed to it, by a full handshake."""

        async def deployed(_: Preflight) -> str:
            parts = urlsplit(self.base_url)
            _reader, writer = await asyncio.open_connection(
                parts.hostname, parts.port, ssl=tls_context(self.daemon.endpoint.ca_path)
            )
            session = writer.get_extra_info("ssl_object")
            writer.transport.abort()
            found = _fingerprint(session)
            if found != self.daemon.fingerprint:
                raise PreflightError(
                    f"{self.name} serves another certificate than the one that was deployed (SHA-256 "
                    f"{found[:16]}…, wanted {self.daemon.fingerprint[:16]}…): deploy it again, and let "
                    "the daemon read it"
                )
            return f"{self.name}: {session.version()}, SHA-256 {found[:16]}…"

        return deployed


@dataclass(frozen=True, kw_only=True)
class Connectors:
    """All daemons that are to be loaded; iterate over them, or take one by its name.

    Attributes:
        targets: Each of them.
    """

    targets: tuple[Target, ...]

    @property
    def ca_path(self) -> Path | None:
        """PEM file of the CA of their certificates, for the option ``ca`` of a load."""
        return self.targets[0].daemon.endpoint.ca_path

    def __iter__(self) -> Iterator[Target]:
        return iter(self.targets)

    def __getitem__(self, name: str) -> Target:
        return {target.name: target for target in self.targets}[name]

    def preflight(self) -> list[Check]:
        """The checks before a load: each serves what was deployed to it."""
        return [target.deployed() for target in self.targets]


def _fingerprint(session: Any) -> str:
    return hashlib.sha256(session.getpeercert(True)).hexdigest()


@contextmanager
def open_connectors(
    request: StackRequest, *, announce: Callable[[str], None], **options: Any
) -> Iterator[Connectors]:
    """Run all daemons; see ``open_daemons``, which takes the same options.

    Raises:
        DaemonMissing: A program is not installed, or the stack is external.
        StackError: One does not start.
    """
    with open_daemons(request, SPECS, announce=announce, **options) as daemons:
        yield Connectors(targets=tuple(Target(daemon=daemon) for daemon in daemons))
