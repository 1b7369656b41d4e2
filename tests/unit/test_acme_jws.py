"""What an ACME client signs: held against the RFCs and, where it can be, against another's reading."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from pytest_certload.acme.jws import signed
from pytest_certload.acme.keys import AccountKey, base64url, compact_json

URL = "https://acme.test/new-order"
KID = "https://acme.test/account/1"


def decoded(text: str) -> bytes:
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def numbers(key: AccountKey) -> ec.EllipticCurvePublicKey:
    """The public key, rebuilt from what the JWK says of it."""
    x, y = (int.from_bytes(decoded(key.jwk[name]), "big") for name in ("x", "y"))
    return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def verify(key: AccountKey, body: bytes) -> tuple[dict[str, Any], bytes]:
    """Protected header and payload, once the signature was found to be the key's."""
    document = json.loads(body)
    assert document.keys() == {"protected", "payload", "signature"}
    signature = decoded(document["signature"])
    assert len(signature) == 64
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    numbers(key).verify(
        encode_dss_signature(r, s),
        f"{document['protected']}.{document['payload']}".encode(),
        ec.ECDSA(hashes.SHA256()),
    )
    header: dict[str, Any] = json.loads(decoded(document["protected"]))
    return header, decoded(document["payload"])


def test_a_request_of_an_account() -> None:
    key = AccountKey()
    body = signed(key, url=URL, nonce="n0-_", payload={"a": "ü"}, kid=KID)
    header, payload = verify(key, body)
    assert header == {"alg": "ES256", "kid": KID, "nonce": "n0-_", "url": URL}
    assert json.loads(payload) == {"a": "ü"}


def test_a_request_that_makes_an_account_carries_the_key() -> None:
    key = AccountKey()
    header, payload = verify(key, signed(key, url=URL, nonce="n", payload={}))
    assert header == {"alg": "ES256", "jwk": key.jwk, "nonce": "n", "url": URL}
    assert payload == b"{}"


def test_post_as_get_has_an_empty_payload() -> None:
    key = AccountKey()
    _, payload = verify(key, signed(key, url=URL, nonce="n", kid=KID))
    assert payload == b""


def test_another_key_did_not_sign_it() -> None:
    body = signed(AccountKey(), url=URL, nonce="n", kid=KID)
    with pytest.raises(InvalidSignature):
        verify(AccountKey(), body)


def test_numbers_keep_their_leading_zeros() -> None:
    # One coordinate in 256 begins with a zero octet, and one half of a signature in 256.
    key = AccountKey()
    signatures = [key.sign(b"%d" % number) for number in range(1500)]
    assert {len(signature) for signature in signatures} == {64}
    assert any(signature[0] == 0 or signature[32] == 0 for signature in signatures)
    for private in range(1, 600):
        jwk = AccountKey(ec.derive_private_key(private, ec.SECP256R1())).jwk
        assert {len(decoded(jwk["x"])), len(decoded(jwk["y"]))} == {32}


def test_the_thumbprint_is_of_the_required_members_in_order() -> None:
    # The key of RFC 7515, A.3.1, whose private part is given there.
    private = int.from_bytes(decoded("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"), "big")
    key = AccountKey(ec.derive_private_key(private, ec.SECP256R1()))
    x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
    y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
    assert key.jwk == {"crv": "P-256", "kty": "EC", "x": x, "y": y}
    text = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    assert key.thumbprint == base64url(hashlib.sha256(text.encode()).digest())


def test_a_key_on_another_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="P-256, not on secp384r1"):
        AccountKey(ec.generate_private_key(ec.SECP384R1()))


@pytest.mark.parametrize(
    ("data", "text"), [(b"", ""), (b"\xff\xef", "_-8"), (b"abc", "YWJj"), (b"\x00", "AA")]
)
def test_base64url(data: bytes, text: str) -> None:
    assert base64url(data) == text


def test_compact_json_is_one_line_without_spaces() -> None:
    assert compact_json({"a": [1, "x y"]}) == b'{"a":[1,"x y"]}'
