"""Who signed a request, and is it for us? certctl's checks, in certctl's order (RFC 8555, 6.2-6.5).

Form → type → URL → nonce → key or account → signature. So a nonce is used up by whatever comes
after it: a wrong signature, too, costs one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pytest_certload.certctl.reference.web import Request, problem

from .jws import Key, NotJws, Signed, key_from_pem, parse
from .nonces import Nonces
from .problems import Refused, malformed, unauthorized

__all__ = ["ACCOUNT_COLUMNS", "Call", "account_url", "authenticate"]

ACCOUNT_COLUMNS = (
    "account_id, jwk_thumbprint, jwk_pem, contact, status, profile_id, coalesce(owner_id, ''),"
    " created_at, updated_at"
)

#: Longest body of a signed request, in bytes.
MOST_BYTES = 64 * 1024
_TYPE = "application/jose+json"
_SELECT = f"SELECT {ACCOUNT_COLUMNS} FROM acme_accounts WHERE account_id = $1"
_BAD_NONCE = problem(400, "badNonce", "the nonce is unknown, used or expired")
_NO_NONCE = problem(400, "badNonce", "the protected header has no nonce")
_NO_ACCOUNT = problem(400, "accountDoesNotExist", "the kid is no account of this server")


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A request whose signature is verified.

    Attributes:
        connection: To the database.
        profile_id: The profile that the path names, if it names one.
        base: URL that all resources begin with.
        payload: What was signed.
        key: Whose signature it is.
        account: Row of the account that it is from; None for a new account.
    """

    connection: Any
    profile_id: str | None
    base: str
    payload: bytes
    key: Key
    account: Any

    @property
    def account_id(self) -> str:
        """Id of the account that it is from."""
        return str(self.account["account_id"])

    @property
    def actor(self) -> str:
        """What the audit log calls the account."""
        return f"acme:{self.account_id}"

    def document(self, what: str) -> dict[str, Any]:
        """The payload as a JSON object; null is an empty one, as to Go.

        Args:
            what: The payload's name, for the refusal.

        Raises:
            Refused: It is no object.
        """
        try:
            value = json.loads(self.payload)
        except (ValueError, RecursionError):
            value = ()
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise malformed(f"the payload is no {what}")
        return value


def account_url(base: str, account_id: str) -> str:
    """URL of an account, which is the ``kid`` of its requests."""
    return f"{base}/account/{account_id}"


async def authenticate(
    connection: Any,
    request: Request,
    nonces: Nonces,
    *,
    base: str,
    profile_id: str | None,
    new_account: bool,
    checked: bool = True,
) -> Call:
    """The request of somebody who has shown to be who they say.

    Args:
        connection: To the database.
        request: The request.
        nonces: Take the request's.
        base: URL that all resources begin with.
        profile_id: The profile that the path names, if it names one.
        new_account: Whether it brings its key (``jwk``); else it names its account (``kid``).
        checked: Whether the signature is looked at.

    Raises:
        Refused: They have not.
    """
    signed = _read(request.body)
    if signed.header.get("typ") not in (None, "", _TYPE):
        raise malformed(f"typ is {_TYPE}, or is left out")
    if signed.text("url") != f"https://{request.host}{request.path}":
        raise unauthorized("the signed url is not the one that was asked")
    nonce = signed.text("nonce")
    if not nonce:
        raise Refused(_NO_NONCE)
    if not await nonces.take(connection, nonce):
        raise Refused(_BAD_NONCE)
    kid = signed.text("kid")
    if bool(kid) == (signed.key is not None):
        raise malformed("the protected header has either kid or jwk")
    if new_account and signed.key is None:
        raise malformed("a new account is signed with its jwk, not with a kid")
    if not new_account and signed.key is not None:
        raise malformed("this is signed with the kid of an account, not with a jwk")
    account = None if new_account else await _account(connection, kid, base)
    key = _stored_key(account) if signed.key is None else signed.key
    if checked and not key.verifies(signed):
        raise unauthorized("the signature is not that of the key")
    return Call(
        connection=connection,
        profile_id=profile_id,
        base=base,
        payload=signed.payload,
        key=key,
        account=account,
    )


def _read(body: bytes) -> Signed:
    if len(body) > MOST_BYTES:
        raise malformed(f"the body is longer than {MOST_BYTES:,} bytes")
    try:
        return parse(body)
    except NotJws as error:
        raise malformed("the body is no JWS that ACME takes") from error


async def _account(connection: Any, kid: str, base: str) -> Any:
    prefix = account_url(base, "")
    account_id = kid.removeprefix(prefix)
    if not account_id or not kid.startswith(prefix):
        raise malformed("the kid is no account's URL, or one of another profile")
    account = await connection.fetchrow(_SELECT, account_id)
    if account is None:
        raise Refused(_NO_ACCOUNT)
    if account["status"] != "valid":
        raise unauthorized("the account is not valid any more")
    return account


def _stored_key(account: Any) -> Key:
    try:
        return key_from_pem(account["jwk_pem"])
    except NotJws as error:
        raise malformed("the stored key of the account is none") from error
