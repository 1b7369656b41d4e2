"""How does an order become a certificate? finalize and cert (RFC 8555, 7.4 and 7.4.2)."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pytest_certload.certctl.reference.audit import AuditLog
from pytest_certload.certctl.reference.authority import Authority, Issued
from pytest_certload.certctl.reference.clock import server_clock
from pytest_certload.certctl.reference.config import Config
from pytest_certload.certctl.reference.policy import Candidate, broken_rules
from pytest_certload.certctl.reference.web import Answer, problem

from .ids import new_id
from .jws import NotJws, from_base64url
from .order import Order, find_order, order_answer, store_order
from .problems import INTERNAL, NOT_FOUND, Refused, malformed
from .profiles import Profiles
from .signing import Call

__all__ = ["Issuance", "Issuer", "find_issuer"]

_PEM_CHAIN = "application/pem-certificate-chain"
_SOURCE = "ACME"
_DAYS = 90

_FIND_ISSUER = "SELECT id, config FROM issuers WHERE enabled ORDER BY id LIMIT 1"
_FIND_OWNER = "SELECT id, team_id FROM owners ORDER BY id LIMIT 1"
_FIND_POLICY = "SELECT id FROM renewal_policies ORDER BY id LIMIT 1"

_INSERT_CERTIFICATE = (
    "INSERT INTO managed_certificates (id, name, common_name, sans, environment, owner_id, team_id,"
    " issuer_id, renewal_policy_id, certificate_profile_id, status, expires_at, tags,"
    " last_renewal_at, last_deployment_at, revoked_at, revocation_reason, source, created_at,"
    " updated_at) VALUES ($1, $2, $3, $4, '', $5, $6, $7, $8, $9, 'Active', $10, 'null', NULL,"
    " NULL, NULL, NULL, $11, $12, $12) RETURNING id"
)
_INSERT_VERSION = (
    "INSERT INTO certificate_versions (id, certificate_id, serial_number, not_before, not_after,"
    " fingerprint_sha256, pem_chain, csr_pem, key_algorithm, key_size, created_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id"
)
_SELECT_CERTIFICATE = (
    "SELECT id, name, common_name, sans, environment, owner_id, team_id, issuer_id,"
    " renewal_policy_id, certificate_profile_id, status, expires_at, tags, last_renewal_at,"
    " last_deployment_at, revoked_at, revocation_reason, source, created_at, updated_at"
    " FROM managed_certificates WHERE id = $1"
)
_MAPPINGS = "SELECT target_id FROM certificate_target_mappings WHERE certificate_id = $1"
_LATEST_VERSION = (
    "SELECT id, certificate_id, serial_number, not_before, not_after, fingerprint_sha256, pem_chain,"
    " csr_pem, key_algorithm, key_size, created_at FROM certificate_versions"
    " WHERE certificate_id = $1 ORDER BY created_at DESC LIMIT 1"
)
_NOT_READY = problem(403, "orderNotReady", "the order is not ready to be finished")
_NO_DER = problem(400, "badCSR", "csr is no base64url")
_NO_REQUEST = problem(400, "badCSR", "csr is no certificate request")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Issuer:
    """Who issues, and whose the certificates then are.

    Attributes:
        id: Of the issuer.
        lifetime: How long its certificates hold.
        owner_id, team_id, policy_id: What a certificate that ACME issues belongs to. certctl
            leaves all three empty, which the schema does not take; None: there are none.
    """

    id: str
    lifetime: timedelta
    owner_id: str | None
    team_id: str | None
    policy_id: str | None


async def find_issuer(connection: Any) -> Issuer | None:
    """The first issuer of the database, and the first owner and policy; None: no issuer."""
    issuer = await connection.fetchrow(_FIND_ISSUER)
    if issuer is None:
        return None
    config = json.loads(issuer["config"] or "{}")
    owner = await connection.fetchrow(_FIND_OWNER)
    return Issuer(
        id=issuer["id"],
        lifetime=timedelta(days=config.get("validity_days") or _DAYS),
        owner_id=owner and owner["id"],
        team_id=owner and owner["team_id"],
        policy_id=await connection.fetchval(_FIND_POLICY),
    )


@dataclass(frozen=True, kw_only=True)
class _Work:
    """All that a certificate is made from."""

    call: Call
    order: Order
    request: x509.CertificateSigningRequest
    profile: Any
    issuer: Issuer


class Issuance:
    """Finishes orders and shows certificates."""

    def __init__(
        self,
        config: Config,
        audit: AuditLog,
        profiles: Profiles,
        authority: Authority,
        issuer: Issuer | None,
    ) -> None:
        self._audit = audit
        self._profiles = profiles
        self._authority = authority
        self._issuer = issuer
        self._clock = server_clock(config.faults)
        self._broken = config.acme_finalize == "broken"
        self._forgets = "acme-order-lost" in config.faults
        self._other_key = (
            ec.generate_private_key(ec.SECP256R1())
            if "acme-cert-other-key" in config.faults
            else None
        )

    async def finalize(self, call: Call, order_id: str) -> Answer:
        """``POST order/<id>/finalize``: sign what the request asks for, and store it."""
        request = _certificate_request(call)
        order = await find_order(call, order_id)
        # A valid one is refused too: certctl looks for that only afterwards.
        if order.state not in ("ready", "processing"):
            raise Refused(_NOT_READY)
        ordered = {name.lower() for name in _ordered_names(order)}
        if _names(request) != ordered:
            # certctl means badCSR, which the order gets, and answers 500.
            await self._fail(call, order, "badCSR", "the names are not those of the order", 400)
            raise Refused(INTERNAL)
        # certctl asks twice.
        for _ in range(2):
            profile = await self._profiles.find(call.connection, call.profile_id)
        order = replace(order, state="processing")
        async with self._audit.transaction(call.connection) as note:
            await store_order(call.connection, order, self._clock())
            details: dict[str, object] = {"profile_id": profile["id"]}
            await note(call.actor, "acme_order_processing", "acme_order", order.id, details)
        if self._issuer is None:
            raise Refused(INTERNAL)
        work = _Work(call=call, order=order, request=request, profile=profile, issuer=self._issuer)
        issued = await self._sign(work)
        certificate_id = await self._store_certificate(work, issued)
        finished = await self._finish(work, issued, certificate_id)
        return await order_answer(call, finished, located=True)

    async def _sign(self, work: _Work) -> Issued:
        lifetime = work.issuer.lifetime
        if work.profile["max_ttl_seconds"] > 0:
            lifetime = min(lifetime, timedelta(seconds=work.profile["max_ttl_seconds"]))
        try:
            request = _self_signed(work.request)
            return self._authority.issue(
                request if self._other_key is None else _of_key(request, self._other_key),
                names=_ordered_names(work.order),
                lifetime=lifetime,
                now=self._clock(),
            )
        except ValueError as error:
            _log.warning("order %s: %s", work.order.id, error)
            detail = "the issuer refused the request"
            await self._fail(work.call, work.order, "serverInternal", detail, 500)
            raise Refused(INTERNAL) from error

    async def _store_certificate(self, work: _Work, issued: Issued) -> str:
        """Note which rules it breaks, and store it; returns its id."""
        connection, issuer = work.call.connection, work.issuer
        certificate_id = new_id("mc-acme-")
        names = _ordered_names(work.order)
        common_name = _common_name(work.request) or work.order.identifiers[0]["value"]
        candidate = Candidate(
            id=certificate_id,
            issuer_id=issuer.id,
            names=tuple(names),
            environment="",
            tags={},
            expires=issued.not_after,
        )
        for rule, message in await broken_rules(connection, candidate, self._clock()):
            details: dict[str, object] = {"rule_id": rule, "message": message}
            await self._audit.write(
                connection,
                work.call.actor,
                "policy_violation_detected",
                "certificate",
                certificate_id,
                details,
            )
        belongs = (issuer.owner_id, issuer.team_id, issuer.policy_id)
        # With certctl's empty ones the schema refuses the row, and the order stays as it is.
        owner, team, policy = ("", "", "") if self._broken else belongs
        async with self._audit.transaction(connection) as note:
            await connection.fetchval(
                _INSERT_CERTIFICATE,
                certificate_id,
                f"acme-{work.order.id}",
                common_name,
                names,
                owner,
                team,
                issuer.id,
                policy,
                work.profile["id"],
                issued.not_after,
                _SOURCE,
                self._clock(),
            )
            details = {"common_name": common_name}
            await note(
                work.call.actor, "certificate_created", "certificate", certificate_id, details
            )
        return certificate_id

    async def _finish(self, work: _Work, issued: Issued, certificate_id: str) -> Order:
        """Store the version, and the order as valid; returns it."""
        connection, now = work.call.connection, self._clock()
        csr = work.request.public_bytes(Encoding.PEM).decode()
        finished = replace(
            work.order, state="valid", csr=csr, certificate_id=certificate_id, error=None
        )
        async with self._audit.transaction(connection) as note:
            await connection.fetchval(
                _INSERT_VERSION,
                str(uuid.uuid4()),
                certificate_id,
                issued.serial_number,
                issued.not_before,
                issued.not_after,
                issued.fingerprint,
                issued.pem_chain,
                csr,
                issued.key_algorithm,
                issued.key_size,
                now,
            )
            if not self._forgets:
                await store_order(connection, finished, now)
            await note(
                work.call.actor,
                "acme_order_finalized",
                "acme_order",
                work.order.id,
                {
                    "profile_id": work.profile["id"],
                    "certificate_id": certificate_id,
                    "serial": issued.serial_number,
                },
            )
        return finished

    async def _fail(self, call: Call, order: Order, kind: str, detail: str, status: int) -> None:
        error: dict[str, object] = {
            "type": f"urn:ietf:params:acme:error:{kind}",
            "detail": detail,
            "status": status,
        }
        failed = replace(order, state="invalid", error=error)
        async with call.connection.transaction():
            await store_order(call.connection, failed, self._clock())

    async def certificate(self, call: Call, certificate_id: str) -> Answer:
        """``POST cert/<id>``: leaf and CA in PEM; certctl does not ask whose it is."""
        row = await call.connection.fetchrow(_SELECT_CERTIFICATE, certificate_id)
        if row is None:
            # certctl means to answer 404 and does not: it compares a wrapped error.
            raise Refused(INTERNAL)
        await call.connection.fetch(_MAPPINGS, certificate_id)
        if row["source"] != _SOURCE:
            raise Refused(NOT_FOUND)
        version = await call.connection.fetchrow(_LATEST_VERSION, certificate_id)
        if version is None:
            raise Refused(INTERNAL)
        return Answer(status=200, body=version["pem_chain"].encode(), content_type=_PEM_CHAIN)


def _self_signed(request: x509.CertificateSigningRequest) -> x509.CertificateSigningRequest:
    """The request, if whoever made it has its key.

    Raises:
        ValueError: They have not.
    """
    if not request.is_signature_valid:
        raise ValueError("the request is not signed with its own key")
    return request


def _of_key(
    request: x509.CertificateSigningRequest, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateSigningRequest:
    """The same request, of another key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(request.subject)
    for extension in request.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256())


def _certificate_request(call: Call) -> x509.CertificateSigningRequest:
    csr = call.document("certificate request").get("csr") or ""
    if not isinstance(csr, str):
        raise malformed("csr is a text")
    try:
        der = from_base64url(csr)
    except NotJws as error:
        raise Refused(_NO_DER) from error
    try:
        request = x509.load_der_x509_csr(der)
        # What cannot be read is read late, and is to be found now.
        _names(request)
    except ValueError as error:
        raise Refused(_NO_REQUEST) from error
    return request


def _common_name(request: x509.CertificateSigningRequest) -> str:
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[-1].value) if names else ""


def _names(request: x509.CertificateSigningRequest) -> set[str]:
    """The request's common name and DNS names, in small letters."""
    try:
        extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        names: Sequence[str] = ()
    else:
        names = extension.value.get_values_for_type(x509.DNSName)
    common_name = _common_name(request)
    return {name.lower() for name in (*names, common_name) if name}


def _ordered_names(order: Order) -> list[str]:
    return [item["value"] for item in order.identifiers if item["type"] == "dns"]
