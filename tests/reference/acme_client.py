"""Asks the reference server's signed resources, rightly or wrongly, one request after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pytest_certload.acme.keys import AccountKey, base64url, compact_json

if TYPE_CHECKING:
    from .conftest import Reply, Server

PROFILE = "/acme/profile/prof-loadtest"
JOSE = "application/jose+json"


@dataclass
class Client:
    """One key and, once it has one, its account.

    Whatever stands in ``protected`` of a request replaces what a right one has; None leaves it out.
    """

    server: Server
    key: AccountKey = field(default_factory=AccountKey)
    algorithm: str = "ES256"
    profile: str = PROFILE
    account: str | None = None

    def url(self, resource: str) -> str:
        if resource.startswith("https://"):
            return resource
        return f"https://127.0.0.1:{self.server.port}{self.profile}/{resource}"

    def nonce(self) -> str:
        reply = self.server.ask("HEAD", f"{PROFILE}/new-nonce")
        return str(reply.headers["Replay-Nonce"])

    def signed(
        self, resource: str, payload: object, *, protected: Mapping[str, object] | None = None
    ) -> dict[str, str]:
        who = {"jwk": self.key.jwk} if self.account is None else {"kid": self.account}
        header: dict[str, object] = {"alg": self.algorithm, "url": self.url(resource), **who}
        if "nonce" not in (protected or {}):
            header["nonce"] = self.nonce()
        header |= protected or {}
        head = base64url(compact_json({k: v for k, v in header.items() if v is not None}))
        body = "" if payload is None else base64url(compact_json(payload))
        signature = base64url(self.key.sign(f"{head}.{body}".encode()))
        return {"protected": head, "payload": body, "signature": signature}

    def send(self, resource: str, body: bytes | str | Mapping[str, object]) -> Reply:
        path = "/" + self.url(resource).split("/", 3)[3]
        return self.server.ask("POST", path, body=body, headers={"Content-Type": JOSE})

    def post(
        self,
        resource: str,
        payload: object = None,
        *,
        protected: Mapping[str, object] | None = None,
    ) -> Reply:
        return self.send(resource, self.signed(resource, payload, protected=protected))

    def register(self, payload: object = None) -> Reply:
        self.account = None
        reply = self.post("new-account", {} if payload is None else payload)
        self.account = reply.headers["Location"]
        return reply

    def order(self, *names: str) -> Reply:
        identifiers = [{"type": "dns", "value": name} for name in names]
        return self.post("new-order", {"identifiers": identifiers})

    def finalize(self, order: Reply, csr: bytes) -> Reply:
        return self.post(order.json()["finalize"], {"csr": base64url(csr)})


def registered(server: Server) -> Client:
    client = Client(server)
    assert client.register().status == 201
    return client


def request_for(
    *names: str, common_name: str = "", key: ec.EllipticCurvePrivateKey | None = None
) -> bytes:
    """A certificate request, DER."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(Encoding.DER)


def problem_of(reply: Reply) -> tuple[int, str]:
    """Status and kind of a refusal, which carries no nonce."""
    assert reply.content_type == "application/problem+json", reply.body
    assert reply.headers["Replay-Nonce"] is None
    document: dict[str, Any] = reply.json()
    assert document["status"] == reply.status
    assert document["detail"]
    return reply.status, document["type"].removeprefix("urn:ietf:params:acme:error:")
