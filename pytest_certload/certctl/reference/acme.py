"""What does the ACME side answer? The three resources that need no signature.

RFC 8555 (directory, 7.1.1; new-nonce, 7.2) and RFC 9773 (renewal-info), as certctl has them.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from .clock import server_clock
from .config import Config
from .faults import Strikes
from .web import Answer, Request, html_page, json_answer, problem

__all__ = ["Acme", "renewal_serial"]

NONCE_LIFE = timedelta(minutes=5)
POLL_SECONDS = 6 * 3600
_NONCE_BYTES = 32
_ONE_DAY = timedelta(days=1)
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")

_PROFILE = (
    "SELECT id, name, description, allowed_key_algorithms, max_ttl_seconds, allowed_ekus,"
    " required_san_patterns, spiffe_uri_pattern, allow_short_lived, enabled, created_at,"
    " updated_at, required_csr_attributes, must_staple, acme_auth_mode, requires_approval"
    " FROM certificate_profiles WHERE id = $1"
)
_NONCE = (
    "INSERT INTO acme_nonces (nonce, issued_at, expires_at, used) VALUES ($1, now(), $2, false)"
)
_VERSION = (
    "SELECT certificate_versions.certificate_id, not_before FROM certificate_versions"
    " JOIN managed_certificates ON managed_certificates.id = certificate_id"
    " WHERE issuer_id = $1 AND serial_number = $2 LIMIT 1"
)
_CERTIFICATE = "SELECT expires_at, renewal_policy_id FROM managed_certificates WHERE id = $1"
_MAPPINGS = "SELECT target_id FROM certificate_target_mappings WHERE certificate_id = $1"
_POLICY = "SELECT renewal_window_days FROM renewal_policies WHERE id = $1"

_NOT_FOUND = problem(404, "malformed", "resource not found")
_MALFORMED = problem(400, "malformed", "ARI cert-id is malformed")
_INTERNAL = problem(500, "serverInternal", "ACME server error")
_NO_PROFILE = problem(
    403,
    "userActionRequired",
    "name a profile: /acme/profile/<id>/..., or set CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID",
)


class Acme:
    """Answers ACME requests.

    Args:
        config: For the default profile and the faults.
        issuer_id: Whose certificates renewal-info knows.
    """

    def __init__(self, config: Config, issuer_id: str | None) -> None:
        self._default_profile = config.default_profile
        self._faults = config.faults
        self._clock = server_clock(config.faults)
        self._lost = Strikes(config.faults, "write-lost")
        self._issuer_id = issuer_id

    async def answer(
        self,
        connection: Any,
        request: Request,
        profile_id: str | None,
        resource: str,
        argument: str,
    ) -> Answer | None:
        """The answer for a resource of a profile; None when there is no such resource.

        Args:
            connection: To the database.
            request: The request.
            profile_id: The profile that the path names, if it names one.
            resource: The path's part after that, such as ``new-nonce``.
            argument: What follows, such as a renewal id.
        """
        route = (request.method, resource, bool(argument))
        if route not in _ROUTES:
            return None
        if route == ("GET", "directory", False) and "html-directory" in self._faults:
            return html_page()
        resolved = profile_id or self._default_profile
        if resolved is None:
            return _NO_PROFILE
        profile = await connection.fetchrow(_PROFILE, resolved)
        if profile is None or "unknown-profile-500" in self._faults:
            # certctl means to answer 404 here and answers 500.
            return _INTERNAL
        if resource == "directory":
            return await self._directory(connection, request, profile_id)
        if resource == "new-nonce":
            return await self._new_nonce(connection, request)
        return await self._renewal_info(connection, argument)

    async def _directory(self, connection: Any, request: Request, profile_id: str | None) -> Answer:
        base = f"https://{request.host}/acme"
        if profile_id:
            base += f"/profile/{profile_id}"
        return json_answer(
            {
                "newNonce": f"{base}/new-nonce",
                "newAccount": f"{base}/new-account",
                "newOrder": f"{base}/new-order",
                "revokeCert": f"{base}/revoke-cert",
                "keyChange": f"{base}/key-change",
                "renewalInfo": f"{base}/renewal-info",
            },
            headers={
                "Replay-Nonce": await self._issue(connection, store=True),
                "Cache-Control": "public, max-age=0, no-cache",
            },
        )

    async def _new_nonce(self, connection: Any, request: Request) -> Answer:
        nonce = await self._issue(connection, store="nonce-unstored" not in self._faults)
        headers = {"Cache-Control": "no-store"}
        if "no-nonce-header" not in self._faults:
            headers["Replay-Nonce"] = nonce
        return Answer(status=200 if request.method == "HEAD" else 204, headers=headers)

    async def _issue(self, connection: Any, *, store: bool) -> str:
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        if store and not self._lost():
            await connection.execute(_NONCE, nonce, self._clock() + NONCE_LIFE)
        return nonce

    async def _renewal_info(self, connection: Any, renewal_id: str) -> Answer:
        serial = renewal_serial(renewal_id)
        if serial is None:
            return _MALFORMED
        if self._issuer_id is None:
            return _NOT_FOUND
        version = await connection.fetchrow(_VERSION, self._issuer_id, serial)
        if version is None:
            return _NOT_FOUND
        certificate = await connection.fetchrow(_CERTIFICATE, version["certificate_id"])
        await connection.fetch(_MAPPINGS, version["certificate_id"])
        days = await connection.fetchval(_POLICY, certificate["renewal_policy_id"])
        start, end = _window(version["not_before"], certificate["expires_at"], days, self._clock())
        return json_answer(
            {"suggestedWindow": {"start": _timestamp(start), "end": _timestamp(end)}},
            headers={"Retry-After": str(POLL_SECONDS), "Cache-Control": "no-store"},
        )


_ROUTES = frozenset(
    {
        ("GET", "directory", False),
        ("HEAD", "directory", False),
        ("GET", "new-nonce", False),
        ("HEAD", "new-nonce", False),
        ("GET", "renewal-info", True),
        ("HEAD", "renewal-info", True),
    }
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
