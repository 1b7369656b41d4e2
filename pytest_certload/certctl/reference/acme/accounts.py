"""Who may order? Accounts, one a key: new-account and account (RFC 8555, 7.3)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pytest_certload.certctl.reference.audit import AuditLog
from pytest_certload.certctl.reference.clock import server_clock
from pytest_certload.certctl.reference.config import Config
from pytest_certload.certctl.reference.web import Answer, json_answer, problem

from .problems import Refused, malformed, unauthorized
from .profiles import Profiles
from .signing import ACCOUNT_COLUMNS, Call, account_url

__all__ = ["Accounts"]

_BY_ID = f"SELECT {ACCOUNT_COLUMNS} FROM acme_accounts WHERE account_id = $1"
_BY_THUMBPRINT = (
    f"SELECT {ACCOUNT_COLUMNS} FROM acme_accounts WHERE profile_id = $1 AND jwk_thumbprint = $2"
)
# The id is the key's alone, so that a key on a second profile is a conflict, although the
# table has room for it. certctl does the same.
_INSERT = (
    "INSERT INTO acme_accounts (account_id, jwk_thumbprint, jwk_pem, contact, status, profile_id,"
    " owner_id, created_at, updated_at) VALUES ($1, $2, $3, $4, 'valid', $5, NULL, $6, $6)"
)
_SET_CONTACT = "UPDATE acme_accounts SET contact = $2, updated_at = now() WHERE account_id = $1"
_DEACTIVATE = (
    "UPDATE acme_accounts SET status = 'deactivated', updated_at = now() WHERE account_id = $1"
)
_NO_SUCH_KEY = problem(400, "accountDoesNotExist", "no account has this key")


class Accounts:
    """Makes, shows and changes accounts."""

    def __init__(self, config: Config, audit: AuditLog, profiles: Profiles) -> None:
        self._audit = audit
        self._profiles = profiles
        self._clock = server_clock(config.faults)

    async def new(self, call: Call, _: str) -> Answer:
        """``POST new-account``: 201, or 200 for a key that has one."""
        wanted = call.document("new account")
        contact = _contact(wanted)
        for name in ("onlyReturnExisting", "termsOfServiceAgreed"):
            if not isinstance(wanted.get(name), bool | None):
                raise malformed(f"{name} is true or false")
        profile = await self._profiles.find(call.connection, call.profile_id)
        thumbprint = call.key.thumbprint
        found = await call.connection.fetchrow(_BY_THUMBPRINT, profile["id"], thumbprint)
        if found is not None:
            return _answer(call, found["account_id"], found["status"], found["contact"])
        if wanted.get("onlyReturnExisting"):
            raise Refused(_NO_SUCH_KEY)
        account_id = f"acme-acc-{thumbprint}"
        now: datetime = self._clock()
        async with self._audit.transaction(call.connection) as note:
            await call.connection.execute(
                _INSERT, account_id, thumbprint, call.key.pem(), contact, profile["id"], now
            )
            await note(
                f"acme:{account_id}",
                "acme_account_created",
                "acme_account",
                account_id,
                {
                    "profile_id": profile["id"],
                    "jwk_thumbprint": thumbprint,
                    "contact_count": len(contact or ()),
                    "tos_agreed": bool(wanted.get("termsOfServiceAgreed")),
                },
            )
        return _answer(call, account_id, "valid", contact, status=201)

    async def show(self, call: Call, account_id: str) -> Answer:
        """``POST account/<id>``: as it is, or with other contacts, or deactivated."""
        if call.account_id != account_id:
            raise unauthorized("the kid is another account than the URL's")
        account = call.account
        if call.payload.strip() not in (b"", b"{}"):
            wanted = call.document("change of an account")
            contact = _contact(wanted)
            status = wanted.get("status") or ""
            if status not in ("", "deactivated"):
                raise malformed("an account can be set deactivated, and nothing else")
            if status:
                account = await self._change(
                    call, _DEACTIVATE, (), "deactivated", {"new_status": status}
                )
            if contact is not None:
                details: dict[str, object] = {"contact_count": len(contact)}
                account = await self._change(call, _SET_CONTACT, (contact,), "updated", details)
        return _answer(call, account_id, account["status"], account["contact"], located=False)

    async def _change(
        self,
        call: Call,
        statement: str,
        values: tuple[object, ...],
        what: str,
        details: dict[str, object],
    ) -> Any:
        """Change the account, and read it again."""
        async with self._audit.transaction(call.connection) as note:
            await call.connection.execute(statement, call.account_id, *values)
            await note(
                call.actor,
                f"acme_account_{what}",
                "acme_account",
                call.account_id,
                {"account_id": call.account_id, **details},
            )
        return await call.connection.fetchrow(_BY_ID, call.account_id)


def _contact(document: dict[str, Any]) -> list[str] | None:
    contact = document.get("contact")
    if contact is None:
        return None
    if not isinstance(contact, list) or not all(isinstance(item, str) for item in contact):
        raise malformed("contact is a list of URLs")
    return contact


def _answer(
    call: Call,
    account_id: str,
    state: str,
    contact: list[str] | None,
    *,
    status: int = 200,
    located: bool = True,
) -> Answer:
    url = account_url(call.base, account_id)
    document: dict[str, object] = {"status": state}
    # Go leaves empty lists out.
    if contact:
        document["contact"] = contact
    # There is nothing at this URL, as at certctl's.
    document["orders"] = f"{url}/orders"
    headers = {"Location": url} if located else {}
    return json_answer(document, status=status, headers=headers)
