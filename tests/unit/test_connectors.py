"""What a scenario holds of a handshake, without any daemon."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_certload.certctl.connectors import Connectors, Target
from pytest_certload.certctl.connectors.specs import NGINX
from pytest_certload.engine.scenario import CheckFailed, Iteration
from pytest_certload.stack import Endpoint
from pytest_certload.stack.daemons import Daemon

DEPLOYED, OTHER = b"the certificate", b"another one"
LOG = "started\nhandshake /?iteration=0 .\nhandshake /?iteration=1 r\nwarning: slow\n"

TARGET = Target(
    daemon=Daemon(
        name="nginx",
        endpoint=Endpoint(base_url="https://127.0.0.1:1"),
        path="/",
        fingerprint=hashlib.sha256(DEPLOYED).hexdigest(),
        read_log=lambda: LOG,
        spec=NGINX,
    )
)


def iteration_with(session: Any) -> Any:
    return SimpleNamespace(tls=session, check=lambda *held: Iteration.check(object(), *held))  # type: ignore[arg-type]


def session(*, reused: bool = False, certificate: bytes = DEPLOYED) -> Any:
    return SimpleNamespace(session_reused=reused, getpeercert=lambda _: certificate)


def test_a_full_handshake_with_the_deployed_certificate_is_right() -> None:
    TARGET.check_handshake(iteration_with(session()))


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        (None, "a TLS connection of its own"),
        (session(reused=True), "a full handshake"),
        (session(certificate=OTHER), "the certificate that was deployed"),
    ],
)
def test_anything_else_is_not(tls: Any, message: str) -> None:
    held = SimpleNamespace(_swallowed=None)
    iteration = SimpleNamespace(tls=tls, check=lambda *args: Iteration.check(held, *args))  # type: ignore[arg-type]
    with pytest.raises(CheckFailed, match=message):
        TARGET.check_handshake(iteration)  # type: ignore[arg-type]


def test_handshakes_are_called_in_the_log_as_in_the_ledger() -> None:
    seen = [f"{h.target} {'full' if h.full else 'resumed'}" for h in TARGET.daemon.handshakes()]
    assert seen == [TARGET.handshake(0), TARGET.handshake(1, full=False)]


@pytest.mark.asyncio
async def test_only_what_comes_later_is_watched() -> None:
    lines = [LOG]
    daemon = Daemon(
        name="nginx",
        endpoint=TARGET.daemon.endpoint,
        path="/",
        fingerprint="",
        read_log=lambda: "".join(lines),
        spec=NGINX,
    )
    target = Target(daemon=daemon)
    seen = target.watch()
    assert await seen() == []
    lines.append("handshake /?iteration=2 .\n")
    assert await seen() == [target.handshake(2)]


def test_one_is_had_by_its_name() -> None:
    connectors = Connectors(targets=(TARGET,))
    assert connectors["nginx"] is TARGET
    with pytest.raises(KeyError):
        connectors["caddy"]
