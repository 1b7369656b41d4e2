"""Which certificate profile is a request about? The path's, or the configured one."""

from __future__ import annotations

from typing import Any

from pytest_certload.certctl.reference.config import Config
from pytest_certload.certctl.reference.web import problem

from .problems import INTERNAL, Refused

__all__ = ["Profiles"]

_SELECT = (
    "SELECT id, name, description, allowed_key_algorithms, max_ttl_seconds, allowed_ekus,"
    " required_san_patterns, spiffe_uri_pattern, allow_short_lived, enabled, created_at,"
    " updated_at, required_csr_attributes, must_staple, acme_auth_mode, requires_approval"
    " FROM certificate_profiles WHERE id = $1"
)
_NONE = problem(
    403,
    "userActionRequired",
    "name a profile: /acme/profile/<id>/..., or set CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID",
)


class Profiles:
    """Looks profiles up."""

    def __init__(self, config: Config) -> None:
        self._default = config.default_profile
        self._hidden = "unknown-profile-500" in config.faults

    async def find(self, connection: Any, profile_id: str | None) -> Any:
        """The row of a profile.

        Args:
            connection: To the database.
            profile_id: The profile that the path names, if it names one.

        Raises:
            Refused: There is none.
        """
        resolved = profile_id or self._default
        if resolved is None:
            raise Refused(_NONE)
        profile = await connection.fetchrow(_SELECT, resolved)
        if profile is None or self._hidden:
            # certctl means to answer 404 here and answers 500.
            raise Refused(INTERNAL)
        return profile
