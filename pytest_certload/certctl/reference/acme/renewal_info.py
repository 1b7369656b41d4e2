"""When is a certificate to be renewed? renewal-info (RFC 9773), as certctl has it."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from pytest_certload.certctl.reference.clock import server_clock
from pytest_certload.certctl.reference.config import Config
from pytest_certload.certctl.reference.web import Answer, json_answer, problem

from .problems import NOT_FOUND

__all__ = ["RenewalInfo", "renewal_serial"]

POLL_SECONDS = 6 * 3600
_ONE_DAY = timedelta(days=1)
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")

_VERSION = (
    "SELECT certificate_versions.certificate_id, not_before FROM certificate_versions"
    " JOIN managed_certificates ON managed_certificates.id = certificate_id"
    " WHERE issuer_id = $1 AND serial_number = $2 LIMIT 1"
)
_CERTIFICATE = "SELECT expires_at, renewal_policy_id FROM managed_certificates WHERE id = $1"
_MAPPINGS = "SELECT target_id FROM certificate_target_mappings WHERE certificate_id = $1"
_POLICY = "SELECT renewal_window_days FROM renewal_policies WHERE id = $1"

_MALFORMED = problem(400, "malformed", "ARI cert-id is malformed")


class RenewalInfo:
    """Says when certificates are to be renewed.

    Args:
        config: For the faults.
        issuer_id: Whose certificates it knows; None: nobody's.
    """

    def __init__(self, config: Config, issuer_id: str | None) -> None:
        self._clock = server_clock(config.faults)
        self._late = _ONE_DAY if "renewal-window-late" in config.faults else timedelta()
        self._issuer_id = issuer_id

    async def answer(self, connection: Any, renewal_id: str) -> Answer:
        """``GET renewal-info/<id>``."""
        serial = renewal_serial(renewal_id)
        if serial is None:
            return _MALFORMED
        if self._issuer_id is None:
            return NOT_FOUND
        version = await connection.fetchrow(_VERSION, self._issuer_id, serial)
        if version is None:
            return NOT_FOUND
        certificate = await connection.fetchrow(_CERTIFICATE, version["certificate_id"])
        await connection.fetch(_MAPPINGS, version["certificate_id"])
        days = await connection.fetchval(_POLICY, certificate["renewal_policy_id"])
        start, end = _window(version["not_before"], certificate["expires_at"], days, self._clock())
        start, end = start + self._late, end + self._late
        return json_answer(
            {"suggestedWindow": {"start": _timestamp(start), "end": _timestamp(end)}},
            headers={"Retry-After": str(POLL_SECONDS), "Cache-Control": "no-store"},
        )


def renewal_serial(renewal_id: str) -> str | None:
    """The serial number in a renewal id, in hex without leading zeros; None when it is no id.

    certctl stores serials padded to 40 digits and asks without the padding, so it finds about
    seven of eight.
    """
    parts = renewal_id.split(".")
    if len(parts) != 2 or not all(_BASE64URL.fullmatch(part) for part in parts):
        return None
    try:
        _, serial = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts)
    except binascii.Error:
        return None
    return f"{int.from_bytes(serial, 'big'):x}"


def _window(
    not_before: datetime, expires: datetime, days: int | None, now: datetime
) -> tuple[datetime, datetime]:
    """When to renew: the policy's window and its first half, or the last third of the validity."""
    if now > expires:
        return now, now + _ONE_DAY
    if days:
        start = expires - timedelta(days=days)
        end = start + timedelta(days=days) / 2
    else:
        third = (expires - not_before) / 3
        start, end = expires - third, expires - third / 3
    start = max(start, now)
    return start, max(start, end)


def _timestamp(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
