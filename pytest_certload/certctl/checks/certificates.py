"""Are the certificates as the scenario wants them, and may the token renew, read and enter?"""

from __future__ import annotations

from pytest_certload.certctl.fleet import API_OWNER, CERTIFICATE_IDS, CERTIFICATES, check_size
from pytest_certload.errors import PreflightError
from pytest_certload.proof.preflight import Preflight

from .asking import Asker, unexpected

__all__ = ["NOBODY", "CertificateChecks"]

#: A certificate that no seed makes.
NOBODY = "cert-loadtest-nobody"


class CertificateChecks(Asker):
    """The checks before renewals, and before the inventory is read and grows."""

    async def certificates(self, _: Preflight) -> str:
        """The fleet has its size, and every certificate can be renewed."""
        expected = CERTIFICATES if self.fleet is None else self.fleet
        (row,) = await self.database.fetch(
            "SELECT count(*) AS all, count(*) FILTER (WHERE status <> 'Active') AS others, "
            "(SELECT count(*) FROM jobs WHERE certificate_id LIKE $1) AS jobs "
            "FROM managed_certificates WHERE id LIKE $1",
            CERTIFICATE_IDS,
        )
        check_size("certificates", row["all"], expected, "01_bulk_renewal_certs.sql")
        if row["others"] or row["jobs"]:
            raise PreflightError(
                f"of {row['all']:,} certificates {row['others']:,} are not Active, and they have "
                f"{row['jobs']:,} jobs; set them back by certctl.certificates()"
            )
        return f"{row['all']:,} certificates, all Active and without jobs"

    async def bulk_renew(self, preflight: Preflight) -> str:
        """The token may renew: asked with a certificate that nobody has."""
        path = "/api/v1/certificates/bulk-renew"
        answer = await self.ask_audited(preflight, "POST", path, json={"certificate_ids": [NOBODY]})
        document = answer.json()
        if answer.status != 200 or not isinstance(document, dict):
            raise unexpected("POST", path, answer)
        if document.get("total_matched") != 0 or document.get("total_enqueued") != 0:
            raise PreflightError(
                f"a renewal of {NOBODY}, a certificate that nobody has, is answered {answer}: "
                "nothing may be matched or enqueued; the server does something else than certctl"
            )
        return "the token may renew; a certificate that nobody has matches nothing"

    async def list_certificates(self, preflight: Preflight) -> str:
        """The token may read, and the list counts what is in the database."""
        path = "/api/v1/certificates"
        answer = await self.ask_audited(preflight, "GET", f"{path}?per_page=1", audited=path)
        document = answer.json()
        if answer.status != 200 or not isinstance(document, dict):
            raise unexpected("GET", path, answer)
        there = await self.database.fetchval("SELECT count(*) FROM managed_certificates")
        if document.get("total") != there:
            raise PreflightError(
                f"GET {path} counts {document.get('total')} certificates and the database has "
                f"{there}: the server reads another database (--certload-dsn), or is at work"
            )
        return f"{there:,} certificates, and the list counts them"

    async def enter_certificate(self, preflight: Preflight) -> str:
        """The token may enter certificates: asked without one, so that none is; and its owner is there."""
        path = "/api/v1/certificates"
        answer = await self.ask_audited(preflight, "POST", path, json={}, audited=path)
        if answer.status != 400 or answer.kind != "application/json":
            raise unexpected("POST", path, answer)
        owners = await self.database.fetchval(
            "SELECT count(*) FROM owners WHERE id = $1", API_OWNER
        )
        check_size("owners of what is entered", owners, 1, "05_api_owner.sql")
        return "the token may enter certificates; without a name it is refused"
