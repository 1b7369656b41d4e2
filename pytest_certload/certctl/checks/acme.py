"""Does ACME answer as such? Behind a dashboard its start page does."""

from __future__ import annotations

from pytest_certload.certctl.fleet import ACME_PROFILE
from pytest_certload.errors import PreflightError
from pytest_certload.proof.preflight import Preflight

from .asking import Asker, unexpected

__all__ = ["DIRECTORY_KEYS", "AcmeChecks"]

#: What an ACME directory holds (RFC 8555, 7.1.1; renewalInfo: RFC 9773).
DIRECTORY_KEYS = frozenset(
    {"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo"}
)
_DASHBOARD = (
    "this is the dashboard's start page, which answers in place of ACME: run certctl with an empty "
    "directory mounted over /app/web/dist"
)


class AcmeChecks(Asker):
    """The checks before ACME."""

    async def acme(self, preflight: Preflight) -> str:
        """ACME is there: its directory is JSON, and the seeded profile's nonces are stored."""
        issuers = await self.database.fetchval("SELECT count(*) FROM issuers WHERE enabled")
        if issuers != 1:
            raise PreflightError(
                f"the database has {issuers} enabled issuers, of which ACME takes any one it finds, so "
                "that its answers would be a matter of chance: leave iss-local of the seeds alone enabled, "
                "and start the server anew"
            )
        base = f"/acme/profile/{ACME_PROFILE}"
        directory = await self.ask_audited(preflight, "GET", f"{base}/directory")
        if directory.kind == "text/html":
            raise PreflightError(f"GET {base}/directory answers HTML: {_DASHBOARD}")
        if directory.status != 200:
            there = await self.database.fetchval(
                "SELECT count(*) FROM certificate_profiles WHERE id = $1", ACME_PROFILE
            )
            raise PreflightError(
                f"GET {base}/directory answers {directory} instead of 200; the profile "
                f"{ACME_PROFILE} is {'' if there else 'not '}in the database: "
                + (
                    "look into the server's log"
                    if there
                    else "the seed file 00_base.sql brings it (--certload-seed)"
                )
            )
        document = directory.json()
        missing = DIRECTORY_KEYS - set(document if isinstance(document, dict) else ())
        if directory.kind != "application/json" or missing:
            raise PreflightError(
                f"GET {base}/directory answers {directory.kind} without "
                f"{', '.join(sorted(missing)) or 'the type of JSON'}; it is no ACME directory as the "
                "scenario needs it: check CERTCTL_ACME_SERVER_* of the server"
            )
        fresh = await self.ask_audited(preflight, "HEAD", f"{base}/new-nonce")
        if fresh.status != 200:
            raise unexpected("HEAD", f"{base}/new-nonce", fresh)
        nonces = [answer.headers.get("Replay-Nonce") for answer in (directory, fresh)]
        if None in nonces:
            name = "directory" if nonces[0] is None else "new-nonce"
            raise PreflightError(
                f"{base}/{name} answers without Replay-Nonce; whatever stands before the server "
                "must not take it out"
            )
        deleted = await self.database.execute(
            "DELETE FROM acme_nonces WHERE nonce = ANY($1)", nonces
        )
        if deleted != "DELETE 2":
            raise PreflightError(
                "directory and new-nonce handed out two nonces and the database has "
                f"{deleted.split()[-1]} of them: the server does not store them, or stores them in "
                "another database (--certload-dsn)"
            )
        return "the directory is JSON, nonces are handed out and stored"
