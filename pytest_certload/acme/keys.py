"""Who is the account? An ES256 key, its public form and its signatures."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

__all__ = ["AccountKey", "base64url", "compact_json"]

_ECDSA = ec.ECDSA(hashes.SHA256())
#: Octets of a coordinate, and of each half of a signature (RFC 7518, 3.4 and 6.2.1.2).
_WIDTH = 32


def base64url(data: bytes) -> str:
    """Base64 for URLs without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def compact_json(document: object) -> bytes:
    """JSON without white space."""
    return json.dumps(document, separators=(",", ":")).encode("utf-8")


class AccountKey:
    """The key of an account: ECDSA on P-256 with SHA-256, which is ES256 (RFC 7518, 3.4).

    Attributes:
        jwk: The public key as a JWK, with the members that a thumbprint is made of and no others.
        thumbprint: SHA-256 over that, base64url (RFC 7638, 3).

    Args:
        private: A key on the curve P-256; default: a new one.

    Raises:
        ValueError: It is on another curve.
    """

    __slots__ = ("_private", "jwk", "thumbprint")

    def __init__(self, private: ec.EllipticCurvePrivateKey | None = None) -> None:
        if private is None:
            private = ec.generate_private_key(ec.SECP256R1())
        if not isinstance(private.curve, ec.SECP256R1):
            raise ValueError(f"ES256 is signed with a key on P-256, not on {private.curve.name}")
        self._private = private
        point = private.public_key().public_numbers()
        # In the order of their names, as the thumbprint wants them.
        self.jwk: Mapping[str, str] = {
            "crv": "P-256",
            "kty": "EC",
            "x": base64url(point.x.to_bytes(_WIDTH, "big")),
            "y": base64url(point.y.to_bytes(_WIDTH, "big")),
        }
        self.thumbprint = base64url(hashlib.sha256(compact_json(self.jwk)).digest())

    def sign(self, data: bytes) -> bytes:
        """A signature as JWS wants it: r and s, 32 octets each, one after the other."""
        r, s = decode_dss_signature(self._private.sign(data, _ECDSA))
        return r.to_bytes(_WIDTH, "big") + s.to_bytes(_WIDTH, "big")
