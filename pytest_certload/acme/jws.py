"""What is sent? A signed request: the flattened JWS that ACME is spoken in."""

from __future__ import annotations

from .keys import AccountKey, base64url, compact_json

__all__ = ["CONTENT_TYPE", "signed"]

#: Of every signed request (RFC 8555, 6.2).
CONTENT_TYPE = "application/jose+json"


def signed(
    key: AccountKey, *, url: str, nonce: str, payload: object = None, kid: str | None = None
) -> bytes:
    """The body of a request (RFC 8555, 6.2 to 6.5; RFC 7515, 7.2.2).

    Args:
        key: Of the account.
        url: Where the request goes, exactly as it is asked for.
        nonce: From the server, not used before.
        payload: Becomes JSON; None: the empty payload, with which a resource is read (POST-as-GET).
        kid: The account's URL; None: the account has none yet, and the public key itself is sent.
    """
    who = {"jwk": key.jwk} if kid is None else {"kid": kid}
    protected = base64url(compact_json({"alg": "ES256", **who, "nonce": nonce, "url": url}))
    content = "" if payload is None else base64url(compact_json(payload))
    signature = base64url(key.sign(f"{protected}.{content}".encode("ascii")))
    return compact_json({"protected": protected, "payload": content, "signature": signature})
