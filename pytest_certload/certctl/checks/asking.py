"""How is a server asked before a load? Its answer is read whole, and its audit row waited for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_certload.certctl.product import PRODUCT
from pytest_certload.database import SessionDatabase
from pytest_certload.errors import PreflightError
from pytest_certload.proof.preflight import Preflight

__all__ = ["CLOCK", "LIMITER", "Answer", "Asker", "apart", "ask", "unexpected"]

LIMITER = (
    "the limiter is on, and counts a load generator as one address: run certctl with "
    "CERTCTL_RATE_LIMIT_ENABLED=false"
)
CLOCK = "synchronise the clocks of the machines (NTP)"

_AUDIT_SECONDS = 5.0
_POLL_SECONDS = 0.01
_AUDIT_ROWS = "SELECT count(*) FROM audit_events WHERE resource_type = 'api' AND resource_id = $1"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer that was read whole."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def kind(self) -> str:
        """Media type of the body."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip()

    def json(self) -> Any:
        """The body; None when it is no JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    def __str__(self) -> str:
        text = " ".join(self.text.split())
        return f"{self.status}{f' {text[:120]!r}' if text else ' without a body'}"


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Who asks, and looks into the database.

    Args:
        database: certctl's.
        fleet: How many agents or certificates there must be; None: all that the seeds make.
    """

    database: SessionDatabase
    fleet: int | None = None

    async def ask_audited(
        self, preflight: Preflight, method: str, path: str, *, audited: str = "", **options: Any
    ) -> Answer:
        """Ask, and wait for the audit row: it is written after the answer, and is not the load's.

        Args:
            preflight: Makes the request.
            method: Its method.
            path: Its path.
            audited: The path without query, of an answer that leaves an audit row whatever its status;
                default: an answer below 300 leaves one.
            **options: Its other parts.
        """
        rows = await self.audit_rows(audited or path)
        answer = await ask(preflight, method, path, **options)
        if (audited or answer.status < 300) and answer.kind != "text/html":
            await self.settle(audited or path, rows + 1)
        return answer

    async def audit_rows(self, path: str) -> int:
        """How many audit rows there are of requests of a path."""
        return int(await self.database.fetchval(_AUDIT_ROWS, path))

    async def settle(self, path: str, rows: int) -> None:
        """Wait until there are so many audit rows of requests of a path.

        Raises:
            PreflightError: They do not come.
        """
        deadline = time.monotonic() + _AUDIT_SECONDS
        async with self.database.connect() as database:
            while await database.fetchval(_AUDIT_ROWS, path) < rows:
                if time.monotonic() > deadline:
                    raise PreflightError(
                        f"{path} was answered and its audit row is not there after "
                        f"{_AUDIT_SECONDS:g} s: the server does not write its audit log, or writes "
                        "it to another database (--certload-dsn)"
                    )
                await asyncio.sleep(_POLL_SECONDS)


async def ask(preflight: Preflight, method: str, path: str, **options: Any) -> Answer:
    """Ask with the token.

    Raises:
        PreflightError: It is refused: by the limiter, or because of the token.
    """
    async with preflight.client.request(method, path, **options) as response:
        text = await response.text(errors="replace")
        answer = Answer(status=response.status, headers=response.headers, text=text)
    if answer.status == 429:
        raise PreflightError(f"{method} {path} is refused with 429: {LIMITER}")
    if answer.status in (401, 403):
        why = "is not known" if answer.status == 401 else "may not do that"
        raise PreflightError(
            f"{method} {path} is answered {answer.status}: the token {why}. {PRODUCT.token_help}"
        )
    return answer


def unexpected(method: str, path: str, answer: Answer) -> PreflightError:
    """The error for an answer that is not certctl's."""
    if answer.kind == "text/html":
        return PreflightError(
            f"{method} {path} answers HTML: the server is no certctl; correct --certload-base-url"
        )
    return PreflightError(
        f"{method} {path} answers {answer} instead of what certctl does; look into the server's log"
    )


def apart(seconds: float) -> str:
    """How far a clock is from another one, in words."""
    size = abs(seconds)
    length = f"{size * 1000:.2g} ms" if size < 1 else f"{size:,.1f} s"
    return f"{length} {'behind' if seconds < 0 else 'ahead of'}"
