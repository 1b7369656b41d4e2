"""Is everything as the load needs it? Checks that are made before it; if one fails, there is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import isawaitable
from pathlib import Path
from traceback import extract_tb
from typing import Any
from urllib.parse import urlsplit

from pytest_certload.clients.tls import tls_context
from pytest_certload.database import SessionDatabase
from pytest_certload.errors import CertloadError, ConfigurationError, PreflightError
from pytest_certload.stack import Endpoint
from pytest_certload.stack.server import explain

from .findings import CheckFinding

__all__ = [
    "Check",
    "Preflight",
    "check_of",
    "failure_of",
    "make_checks",
    "reachable",
    "server_environment",
]

#: One check: what was found, in a line; raises what is wrong, and what to do.
Check = Callable[["Preflight"], Awaitable[object]]

#: The longest that a check may take.
_CHECK_SECONDS = 30.0
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """What a check is handed.

    Attributes:
        client: Does what an ``aiohttp.ClientSession`` bound to the base URL does, with the run's
            headers, token, CA and transport. What it sees is in no figure.
        base_url: The server that will be loaded.
        slots: Most iterations at once.
        connections: How requests will share connections: ``keep-alive``, ``per-vu``, ``fresh``.
        rate: Most iterations that become due a second; None when the server's speed decides.
        iterations: How many become due; None when the server's speed decides.
    """

    client: Any = field(repr=False)
    base_url: str
    slots: int
    connections: str
    rate: float | None
    iterations: int | None
    stack_database: SessionDatabase | None = None
    reductions: list[str] = field(default_factory=list, repr=False)

    def reduce(self, why: str) -> None:
        """Say that the load will be less than the test states, as the server cannot do all of it.

        The run is then marked as reduced in every report. What is left out the test itself must leave out.

        Args:
            why: What is measured, and why no more: ``up to the order, as finalize is answered 500``.
        """
        self.reductions.append(why)

    @property
    def database(self) -> SessionDatabase:
        """The stack's database.

        Raises:
            PreflightError: The test has none.
        """
        if self.stack_database is None:
            raise PreflightError(
                "the check asks the database and the test has none: ask for the fixture "
                "certload_stack, and for an external stack set --certload-dsn"
            )
        return self.stack_database


def check_of(value: object) -> Check:
    """The value, if it can be a check.

    Raises:
        ConfigurationError: It cannot be called.
    """
    if not callable(value):
        raise ConfigurationError(
            f"preflight: {value!r} is no check; give a list of functions, each "
            "`async def check(preflight): …`"
        )
    return value


def reachable(endpoint: Endpoint) -> Check:
    """The check that the server takes a connection, with TLS one that can be trusted.

    Nothing is asked, so that the server's own counts of requests begin with the load.
    """

    async def reachable(_: Preflight) -> str:
        parts = urlsplit(endpoint.base_url)
        secure = parts.scheme == "https"
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _reader, writer = await asyncio.open_connection(
                    parts.hostname,
                    parts.port or (443 if secure else 80),
                    ssl=tls_context(endpoint.ca_path) if secure else None,
                )
        except (OSError, UnicodeError) as error:
            raise explain(endpoint, error) from error
        tls = writer.get_extra_info("ssl_object")
        writer.transport.abort()
        return f"{parts.netloc}{f', {tls.version()}' if tls else ''}"

    return reachable


def server_environment(wanted: Mapping[str, str], declared: Mapping[str, str]) -> Check:
    """The check that a server which is not ours to start runs with what the test asks for.

    No server says what it was started with, so whoever started it does.

    Args:
        wanted: Variables of ``scale(server_env=…)``.
        declared: Those of ``--certload-server-env``; other values than the wanted ones are the options'
            right, as with a server of our own.
    """

    async def server_environment(_: Preflight) -> str:
        missing = [f"{name}={value}" for name, value in wanted.items() if name not in declared]
        if missing:
            raise PreflightError(
                f"the test wants a server that runs with {' '.join(missing)}, and the external one is "
                "not ours to start: start it so, and say so with "
                + " ".join(f"--certload-server-env {variable}" for variable in missing)
            )
        said = " ".join(f"{name}={declared[name]}" for name in wanted)
        return f"{said}, as --certload-server-env says"

    return server_environment


async def make_checks(checks: Iterable[Check], preflight: Preflight) -> list[CheckFinding]:
    """Make checks, one after the other, all of them, also when some fail."""
    return [await _make(check, preflight) for check in checks]


async def _make(check: Check, preflight: Preflight) -> CheckFinding:
    began = time.monotonic()
    passed = False
    limit = asyncio.timeout(_CHECK_SECONDS)
    try:
        async with limit:
            detail = await _ask(check, preflight)
        passed = True
    except CertloadError as error:
        detail = str(error)
    except Exception as error:  # noqa: BLE001 - whatever a user's check raises is told with its name
        if limit.expired():
            detail = f"the check did not end within {_CHECK_SECONDS:g} s"
        else:
            detail = _raised(error)
    return CheckFinding(
        name=_name(check), passed=passed, detail=detail, seconds=time.monotonic() - began
    )


async def _ask(check: Check, preflight: Preflight) -> str:
    answer = check(preflight)
    if not isawaitable(answer):
        raise PreflightError("the check is not async; write `async def`")
    found = await answer
    return "" if found is None else str(found)


def _name(check: Check) -> str:
    while isinstance(check, partial):
        check = check.func
    return getattr(check, "__name__", type(check).__name__).strip("_").replace("_", "-")


def _raised(error: Exception) -> str:
    """An exception that nobody worded for the reader, and the check's line that it came from."""
    # The first frames are ours.
    frames = (f for f in extract_tb(error.__traceback__) if f.filename != __file__)
    place = next((f" ({Path(frame.filename).name}:{frame.lineno})" for frame in frames), "")
    lines = str(error).splitlines()
    return f"{type(error).__name__}{f': {lines[0]}' if lines else ''}{place}"


def failure_of(findings: Sequence[CheckFinding], *, not_made: int = 0) -> PreflightError | None:
    """One error that names all checks that failed; None when none did.

    Args:
        findings: What the checks came to.
        not_made: How many could not be made, as the server cannot be reached.
    """
    failed: dict[str, list[str]] = {}
    for finding in findings:
        if not finding.passed:
            # One cause may fail several checks.
            failed.setdefault(finding.detail, []).append(finding.name)
    if not failed:
        return None
    count = sum(len(names) for names in failed.values())
    also = f"; {not_made} more need the server and were not made" if not_made else ""
    lines = [f"{', '.join(names)}: {detail}" for detail, names in failed.items()]
    return PreflightError(
        "\n  ".join([f"{count} of {len(findings)} checks before the load failed{also}", *lines])
    )
