"""How are a certificate and its versions read and written? As certctl's repository does it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from .authority import Issued

__all__ = [
    "COLUMNS",
    "EXPIRY",
    "MAPPINGS",
    "MAPPINGS_OF",
    "NEVER",
    "SELECT",
    "expiry_value",
    "find_certificate",
    "find_targets",
    "find_versions",
    "is_readable",
    "store_version",
    "update",
]

COLUMNS = (
    "id, name, common_name, sans, environment, owner_id, team_id, issuer_id, renewal_policy_id,"
    " certificate_profile_id, status, expires_at, tags, last_renewal_at, last_deployment_at,"
    " revoked_at, revocation_reason, source, created_at, updated_at"
)
SELECT = f"SELECT {COLUMNS} FROM managed_certificates WHERE id = $1"
MAPPINGS = (
    "SELECT target_id FROM certificate_target_mappings WHERE certificate_id = $1"
    " ORDER BY target_id ASC"
)
MAPPINGS_OF = (
    "SELECT certificate_id, target_id FROM certificate_target_mappings"
    " WHERE certificate_id = ANY($1) ORDER BY certificate_id, target_id ASC"
)
#: A time that was never set, in Go.
NEVER = datetime(1, 1, 1, tzinfo=UTC)
# asyncpg writes that very time as -infinity, which is another one: so it is written as NULL, and
# Postgres puts it in.
EXPIRY = "coalesce(${}::timestamptz, '0001-01-01 00:00:00+00')"
_WRITTEN = (
    "name", "common_name", "sans", "environment", "owner_id", "team_id", "issuer_id",
    "certificate_profile_id", "status", "expires_at", "tags", "last_renewal_at",
    "last_deployment_at", "revoked_at", "revocation_reason", "source", "updated_at",
)  # fmt: skip
_UPDATE = f"""
UPDATE managed_certificates SET {
    ", ".join(
        f"{name} = {EXPIRY.format(number) if name == 'expires_at' else f'${number}'}"
        for number, name in enumerate(_WRITTEN, 2)
    )
} WHERE id = $1
"""
_VERSION_COLUMNS = (
    "id, certificate_id, serial_number, not_before, not_after, fingerprint_sha256, pem_chain,"
    " csr_pem, key_algorithm, key_size, created_at"
)
_VERSIONS = (
    f"SELECT {_VERSION_COLUMNS} FROM certificate_versions WHERE certificate_id = $1"
    " ORDER BY created_at DESC"
)
_STORE_VERSION = (
    f"INSERT INTO certificate_versions ({_VERSION_COLUMNS})"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id"
)


def is_readable(row: Any) -> bool:
    """Whether certctl can read a row: it has no place for these columns to be empty."""
    return row["environment"] is not None and row["expires_at"] is not None


def expiry_value(moment: datetime) -> datetime | None:
    """What to write for ``EXPIRY``."""
    return None if moment == NEVER else moment


async def find_certificate(connection: Any, certificate_id: str) -> Any:
    """The row of a certificate; None when there is none, or none that certctl can read."""
    row = await connection.fetchrow(SELECT, certificate_id)
    return row if row is not None and is_readable(row) else None


async def find_targets(connection: Any, certificate_id: str) -> Sequence[str]:
    """The targets that a certificate goes to. certctl asks whenever it has read the certificate."""
    return [row["target_id"] for row in await connection.fetch(MAPPINGS, certificate_id)]


async def update(connection: Any, row: Any, **changes: object) -> None:
    """Write a certificate as it was read, with some changes."""
    values = {**row, **changes}
    values["expires_at"] = expiry_value(values["expires_at"])
    await connection.execute(_UPDATE, row["id"], *(values[name] for name in _WRITTEN))


async def find_versions(connection: Any, certificate_id: str) -> Sequence[Any]:
    """All versions of a certificate, the newest first."""
    rows: Sequence[Any] = await connection.fetch(_VERSIONS, certificate_id)
    return rows


async def store_version(
    connection: Any,
    version_id: str,
    certificate_id: str,
    issued: Issued,
    *,
    csr_pem: str,
    now: datetime,
) -> None:
    """Add what was just signed as a certificate's newest version."""
    await connection.fetchval(
        _STORE_VERSION,
        version_id,
        certificate_id,
        issued.serial_number,
        issued.not_before,
        issued.not_after,
        issued.fingerprint,
        issued.pem_chain,
        csr_pem,
        issued.key_algorithm,
        issued.key_size,
        now,
    )
