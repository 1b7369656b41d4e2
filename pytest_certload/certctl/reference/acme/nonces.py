"""Which requests are new? Those with a nonce that was handed out and not yet used (RFC 8555, 6.5)."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from pytest_certload.certctl.reference.clock import server_clock
from pytest_certload.certctl.reference.config import Config
from pytest_certload.certctl.reference.faults import Strikes

__all__ = ["Nonces"]

LIFE = timedelta(minutes=5)
_BYTES = 32

_INSERT = (
    "INSERT INTO acme_nonces (nonce, issued_at, expires_at, used) VALUES ($1, now(), $2, false)"
)
# One statement decides: of two requests with the same nonce, one finds no row.
_USE = (
    "UPDATE acme_nonces SET used = true WHERE nonce = $1 AND used = false AND expires_at > now()"
    " RETURNING true"
)
_SEE = "SELECT true FROM acme_nonces WHERE nonce = $1 AND expires_at > now()"


class Nonces:
    """Hands out nonces and takes them back, for one worker."""

    def __init__(self, config: Config) -> None:
        self._clock = server_clock(config.faults)
        self._lost = Strikes(config.faults, "write-lost")
        self._refused = Strikes(config.faults, "acme-bad-nonce")
        self._use = _SEE if "acme-nonce-reused" in config.faults else _USE

    async def issue(self, connection: Any, *, store: bool = True) -> str:
        """A new nonce.

        Args:
            connection: To the database.
            store: Whether the database gets it; not to do so is a fault.
        """
        nonce = secrets.token_urlsafe(_BYTES)
        if store and not self._lost():
            await connection.execute(_INSERT, nonce, self._clock() + LIFE)
        return nonce

    async def take(self, connection: Any, nonce: str) -> bool:
        """Whether a nonce was good; from now on it is not."""
        good = await connection.fetchval(self._use, nonce) is not None
        return good and not self._refused()
