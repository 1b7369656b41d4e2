"""What does a signed request say? A flattened or compact JWS (RFC 7515), its keys JWKs (RFC 7517).

Signatures are those of RFC 7518 and RFC 8037: ES256, RS256, EdDSA. Nothing here asks a database.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

__all__ = [
    "ALGORITHMS",
    "Key",
    "NotJws",
    "Signed",
    "from_base64url",
    "key_from_jwk",
    "key_from_pem",
    "parse",
    "to_base64url",
]

#: What a signature may be of (RFC 8555, 6.2, and what certctl takes of it).
ALGORITHMS = ("RS256", "ES256", "EdDSA")
_CURVES: Mapping[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
#: Required members by kind, in the order of a thumbprint (RFC 7638, 3.2; RFC 8037, 2).
_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "EC": ("crv", "kty", "x", "y"),
    "RSA": ("e", "kty", "n"),
    "OKP": ("crv", "kty", "x"),
}
_ES256_BITS = 256
_ES256_BYTES = 64
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_PEM_BEGIN, _PEM_END = "-----BEGIN ACME ACCOUNT JWK-----", "-----END ACME ACCOUNT JWK-----"
_PEM_LINE = 64
_COMPACT_PARTS = 3
#: Keys that are kept ready for use: to make one from its numbers costs as much as to verify with it.
_READY_KEYS = 20_000
_SHA256 = ec.ECDSA(hashes.SHA256())

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class NotJws(ValueError):
    """It is no JWS, or one that ACME does not take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A public key that signs requests.

    Attributes:
        public: It itself.
        jwk: Its required members in the order of their names, without spaces (RFC 7638, 3).
    """

    public: PublicKey
    jwk: str

    @property
    def thumbprint(self) -> str:
        """SHA-256 of ``jwk`` in base64url (RFC 7638)."""
        return to_base64url(hashlib.sha256(self.jwk.encode()).digest())

    def pem(self) -> str:
        """As certctl stores it: the JWK in base64 between two lines that say so."""
        text = base64.b64encode(self.jwk.encode()).decode()
        lines = [text[at : at + _PEM_LINE] for at in range(0, len(text), _PEM_LINE)]
        return "\n".join((_PEM_BEGIN, *lines, _PEM_END, ""))

    def verifies(self, signed: Signed) -> bool:
        """Whether it made the signature, over a header of which nothing is said to be critical.

        What is critical must be understood (RFC 7515, 4.1.11), and nothing of that kind is.
        """
        if signed.header.get("crit") is not None:
            return False
        try:
            match self.public:
                case ec.EllipticCurvePublicKey() as key:
                    if signed.algorithm != "ES256" or key.key_size != _ES256_BITS:
                        return False
                    if len(signed.signature) != _ES256_BYTES:
                        return False
                    # Two numbers of 32 bytes (RFC 7518, 3.4), which OpenSSL wants as ASN.1.
                    half = _ES256_BYTES // 2
                    numbers = encode_dss_signature(
                        int.from_bytes(signed.signature[:half], "big"),
                        int.from_bytes(signed.signature[half:], "big"),
                    )
                    key.verify(numbers, signed.signing_input, _SHA256)
                case rsa.RSAPublicKey() as key:
                    if signed.algorithm != "RS256":
                        return False
                    key.verify(
                        signed.signature,
                        signed.signing_input,
                        padding.PKCS1v15(),
                        hashes.SHA256(),
                    )
                case ed25519.Ed25519PublicKey() as key:
                    if signed.algorithm != "EdDSA":
                        return False
                    key.verify(signed.signature, signed.signing_input)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Signed:
    """A request whose signature is not yet verified.

    Attributes:
        algorithm: ``ES256``, ``RS256`` or ``EdDSA``.
        header: The protected header.
        key: The key in the header (``jwk``), None when there is none.
        payload: What was signed, decoded.
        signing_input: The bytes that the signature is of (RFC 7515, 5.1).
        signature: The signature.
    """

    algorithm: str
    header: Mapping[str, Any]
    key: Key | None
    payload: bytes
    signing_input: bytes
    signature: bytes

    def text(self, name: str) -> str:
        """A member of the header; empty when it is not there or no text."""
        value = self.header.get(name)
        return value if isinstance(value, str) else ""


def parse(body: bytes) -> Signed:
    """Read a JWS.

    Raises:
        NotJws: It cannot be read, has more than one signature, an algorithm that is not taken, or
            a ``jwk`` that is no public key.
    """
    try:
        protected, payload, signature = _parts(body.decode().strip())
        header = json.loads(from_base64url(protected))
        decoded = from_base64url(payload)
        made = from_base64url(signature)
    except (ValueError, RecursionError) as error:
        raise NotJws(str(error)) from error
    if not isinstance(header, dict):
        raise NotJws("the protected header is no object")
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise NotJws(f"the algorithm {algorithm!r} is none of {', '.join(ALGORITHMS)}")
    if not all(isinstance(header.get(name), str | None) for name in ("nonce", "kid")):
        raise NotJws("nonce and kid are texts")
    jwk = header.get("jwk")
    return Signed(
        algorithm=algorithm,
        header=header,
        key=None if jwk is None else key_from_jwk(jwk),
        payload=decoded,
        signing_input=f"{protected}.{payload}".encode(),
        signature=made,
    )


def _parts(text: str) -> tuple[str, str, str]:
    """Protected header, payload and signature, each still in base64url."""
    if not text.startswith("{"):
        parts = text.split(".")
        if len(parts) != _COMPACT_PARTS:
            raise NotJws("a compact JWS has three parts")
        return parts[0], parts[1], parts[2]
    document = json.loads(text)
    if document.get("signatures"):
        raise NotJws("ACME takes one signature")
    header = document.get("header")
    if isinstance(header, dict) and header.get("nonce"):
        raise NotJws("a nonce must be signed")
    found = tuple(document.get(name) for name in ("protected", "payload", "signature"))
    if not all(isinstance(part, str) for part in found):
        raise NotJws("protected, payload and signature are texts")
    protected, payload, signature = map(str, found)
    return protected, payload, signature


def key_from_jwk(jwk: object) -> Key:
    """The key that a JWK is.

    Raises:
        NotJws: It is none, one that is not taken, or a private one.
    """
    if not isinstance(jwk, dict) or "d" in jwk:
        raise NotJws("a jwk is the object of a public key")
    kind = jwk.get("kty")
    names = _MEMBERS.get(kind) if isinstance(kind, str) else None
    if names is None:
        raise NotJws(f"a jwk of the kind {kind!r} is not taken")
    values = [jwk.get(name) for name in names]
    if not all(isinstance(value, str) for value in values):
        raise NotJws(f"a jwk of this kind has {', '.join(names)}")
    return _ready_key(tuple(zip(names, map(str, values), strict=True)))


@lru_cache(maxsize=_READY_KEYS)
def _ready_key(members: tuple[tuple[str, str], ...]) -> Key:
    document = dict(members)
    try:
        public = _public_key(document)
    except ValueError as error:
        raise NotJws(f"the jwk is no key: {error}") from error
    return Key(public=public, jwk=json.dumps(document, separators=(",", ":")))


def _public_key(members: Mapping[str, str]) -> PublicKey:
    match members["kty"]:
        case "EC":
            curve = _CURVES.get(members["crv"])
            if curve is None:
                raise NotJws(f"the curve {members['crv']!r} is not taken")
            x, y = _number(members["x"]), _number(members["y"])
            return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
        case "RSA":
            return rsa.RSAPublicNumbers(
                e=_number(members["e"]), n=_number(members["n"])
            ).public_key()
        case _:
            if members["crv"] != "Ed25519":
                raise NotJws(f"the curve {members['crv']!r} is not taken")
            return ed25519.Ed25519PublicKey.from_public_bytes(from_base64url(members["x"]))


def _number(text: str) -> int:
    return int.from_bytes(from_base64url(text), "big")


@lru_cache(maxsize=_READY_KEYS)
def key_from_pem(text: str) -> Key:
    """A key as ``Key.pem`` wrote it, or certctl.

    Raises:
        NotJws: It is something else.
    """
    begin, _, rest = text.strip().partition("\n")
    body, found, _ = rest.partition(_PEM_END)
    if begin.strip() != _PEM_BEGIN or not found:
        raise NotJws("the stored account key is none")
    try:
        return key_from_jwk(json.loads(base64.b64decode("".join(body.split()), validate=True)))
    except ValueError as error:
        raise NotJws(str(error)) from error


def from_base64url(text: str) -> bytes:
    """Decode base64url without padding (RFC 7515, 2).

    Raises:
        NotJws: It is not that.
    """
    if not _BASE64URL.fullmatch(text):
        raise NotJws("this is no base64url")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise NotJws(str(error)) from error


def to_base64url(data: bytes) -> str:
    """Encode as base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
