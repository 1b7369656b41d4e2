"""What does a certificate's profile allow? Read anew for each certificate, as certctl does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

__all__ = ["find_profile", "held_for"]

_SELECT = """
SELECT id, name, description, allowed_key_algorithms, max_ttl_seconds, allowed_ekus,
    required_san_patterns, spiffe_uri_pattern, allow_short_lived, must_staple,
    required_csr_attributes, acme_auth_mode, requires_approval, enabled, created_at, updated_at
FROM certificate_profiles WHERE id = $1
"""


async def find_profile(connection: Any, certificate: Any) -> Any:
    """The row of a certificate's profile, None when it has none."""
    profile = certificate["certificate_profile_id"]
    return await connection.fetchrow(_SELECT, profile) if profile else None


def held_for(lifetime: timedelta, profile: Any) -> timedelta:
    """How long a certificate holds: as its issuer says, and no longer than a profile allows."""
    if profile is None or profile["max_ttl_seconds"] <= 0:
        return lifetime
    return min(lifetime, timedelta(seconds=profile["max_ttl_seconds"]))
