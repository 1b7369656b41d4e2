"""When must certificates be renewed? What renewal-info has to say (RFC 9773), read from the database."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pytest_certload.database import SessionDatabase

from .fleet import RENEWAL_IDS, RENEWALS, check_size

__all__ = ["Renewal", "renewal_id", "renewals"]

# The policy's window before the end, and of it the first half.
_QUERY = """
SELECT serial_number, start, start + renewal_window_days * interval '12 hours' AS end
FROM certificate_versions
JOIN managed_certificates ON managed_certificates.id = certificate_id
JOIN renewal_policies ON renewal_policies.id = renewal_policy_id
CROSS JOIN LATERAL (SELECT expires_at - renewal_window_days * interval '24 hours' AS start) AS row
WHERE certificate_id LIKE $1
ORDER BY certificate_id
"""
_NO_JOBS = "DELETE FROM jobs WHERE certificate_id LIKE $1"
_REFRESH = """
UPDATE managed_certificates SET status = 'Active', expires_at = now() + interval '60 days'
WHERE id LIKE $1 AND (status <> 'Active' OR expires_at < now() + interval '45 days')
"""
#: Octets of a key identifier. certctl does not look at it: it has one issuer.
_ISSUER_KEY = bytes(20)


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """When a certificate must be renewed.

    Attributes:
        id: By which renewal-info is asked.
        start, end: The window that it has to name.
    """

    id: str
    start: datetime
    end: datetime

    def is_named_by(self, document: Mapping[str, Any]) -> bool:
        """Whether an answer of renewal-info names this window (RFC 9773, 4.2)."""
        try:
            window = document["suggestedWindow"]
            named = tuple(datetime.fromisoformat(window[name]) for name in ("start", "end"))
        except (KeyError, TypeError, ValueError):
            return False
        return named == (self.start, self.end)


async def renewals(database: SessionDatabase) -> Sequence[Renewal]:
    """Those of the seeded certificates, by certificate.

    On a database that is kept they grow old: those whose window would soon begin get 60 days again.

    Raises:
        PreflightError: There are more or fewer than the seeds make.
    """
    async with database.connect() as connection, connection.transaction():
        await connection.execute(_NO_JOBS, RENEWAL_IDS)
        await connection.execute(_REFRESH, RENEWAL_IDS)
        rows = await connection.fetch(_QUERY, RENEWAL_IDS)
    check_size("certificates for renewal-info", len(rows), RENEWALS, "04_acme.sql")
    return [
        Renewal(id=renewal_id(row["serial_number"]), start=row["start"], end=row["end"])
        for row in rows
    ]


def renewal_id(serial: str) -> str:
    """The id of a certificate of certctl's one issuer (RFC 9773, 4.1).

    Args:
        serial: Its serial number in hex, as it is stored.
    """
    number = bytes.fromhex(serial)
    # A number whose first bit is set has another octet before it, or would be below zero.
    padding = b"\0" if number[0] & 0x80 else b""
    return f"{_base64url(_ISSUER_KEY)}.{_base64url(padding + number)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
