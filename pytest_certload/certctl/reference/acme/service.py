"""Which resource is asked for? All that lie below ``/acme``, with or without a signature."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import asyncpg

from pytest_certload.certctl.reference.audit import AuditLog
from pytest_certload.certctl.reference.authority import Authority
from pytest_certload.certctl.reference.config import Config
from pytest_certload.certctl.reference.web import Answer, Request, html_page, json_answer

from .accounts import Accounts
from .authorizations import Authorizations
from .issuance import Issuance, Issuer
from .limits import OrderLimits
from .nonces import Nonces
from .orders import Orders
from .problems import INTERNAL, Refused
from .profiles import Profiles
from .renewal_info import RenewalInfo
from .signing import Call, authenticate

__all__ = ["Acme"]

#: Resources that need no signature, by method.
_OPEN = frozenset(
    {
        ("GET", "directory"),
        ("HEAD", "directory"),
        ("GET", "new-nonce"),
        ("HEAD", "new-nonce"),
        ("GET", "renewal-info/"),
        ("HEAD", "renewal-info/"),
    }
)
_NEW_ACCOUNT = "new-account"
_log = logging.getLogger(__name__)

Handler = Callable[[Call, str], Awaitable[Answer]]


class Acme:
    """Answers ACME requests.

    Args:
        config: The configuration.
        audit: For what is done.
        authority: Signs certificates.
        issuer: Whose certificates are issued, and known to renewal-info; None: nobody's.
    """

    def __init__(
        self, config: Config, audit: AuditLog, authority: Authority, issuer: Issuer | None
    ) -> None:
        self._faults = config.faults
        self._nonces = Nonces(config)
        self._profiles = Profiles(config)
        self._renewal_info = RenewalInfo(config, issuer.id if issuer else None)
        limits = OrderLimits(config)
        accounts = Accounts(config, audit, self._profiles)
        orders = Orders(config, audit, self._profiles, limits)
        authorizations = Authorizations(limits)
        issuance = Issuance(config, audit, self._profiles, authority, issuer)
        # A slash at the end stands for an id.
        self._signed: Mapping[str, Handler] = {
            _NEW_ACCOUNT: accounts.new,
            "account/": accounts.show,
            "new-order": orders.new,
            "order/": orders.show,
            "order/finalize": issuance.finalize,
            "authz/": authorizations.show,
            "challenge/": authorizations.challenge,
            "cert/": issuance.certificate,
        }

    async def answer(self, connection: Any, request: Request, path: list[str]) -> Answer | None:
        """The answer for a resource; None when there is no such resource.

        Args:
            connection: To the database.
            request: The request.
            path: The parts of its path behind ``/acme``.
        """
        base = f"https://{request.host}/acme"
        profile_id = None
        if path[:1] == ["profile"] and len(path) > 1:
            profile_id, path = path[1], path[2:]
            base += f"/profile/{profile_id}"
        resource, argument = _resource(path)
        try:
            if (request.method, resource) in _OPEN:
                return await self._open(connection, request, base, profile_id, resource, argument)
            if request.method == "POST" and resource in self._signed:
                return await self._answer_signed(
                    connection, request, base, profile_id, resource, argument
                )
        except Refused as refused:
            return refused.answer
        return None

    async def _open(
        self,
        connection: Any,
        request: Request,
        base: str,
        profile_id: str | None,
        resource: str,
        argument: str,
    ) -> Answer:
        if (request.method, resource) == ("GET", "directory") and "html-directory" in self._faults:
            return html_page()
        await self._profiles.find(connection, profile_id)
        if resource == "directory":
            return await self._directory(connection, base)
        if resource == "new-nonce":
            return await self._new_nonce(connection, request)
        return await self._renewal_info.answer(connection, argument)

    async def _directory(self, connection: Any, base: str) -> Answer:
        return json_answer(
            {
                "newNonce": f"{base}/new-nonce",
                "newAccount": f"{base}/new-account",
                "newOrder": f"{base}/new-order",
                "revokeCert": f"{base}/revoke-cert",
                "keyChange": f"{base}/key-change",
                "renewalInfo": f"{base}/renewal-info",
            },
            headers={
                "Replay-Nonce": await self._nonces.issue(connection),
                "Cache-Control": "public, max-age=0, no-cache",
            },
        )

    async def _new_nonce(self, connection: Any, request: Request) -> Answer:
        store = "nonce-unstored" not in self._faults
        nonce = await self._nonces.issue(connection, store=store)
        headers = {"Cache-Control": "no-store"}
        if "no-nonce-header" not in self._faults:
            headers["Replay-Nonce"] = nonce
        return Answer(status=200 if request.method == "HEAD" else 204, headers=headers)

    async def _answer_signed(
        self,
        connection: Any,
        request: Request,
        base: str,
        profile_id: str | None,
        resource: str,
        argument: str,
    ) -> Answer:
        if "error-500" in self._faults:
            return INTERNAL
        call = await authenticate(
            connection,
            request,
            self._nonces,
            base=base,
            profile_id=profile_id,
            new_account=resource == _NEW_ACCOUNT,
            checked="acme-signature-unchecked" not in self._faults,
        )
        try:
            answer = await self._signed[resource](call, argument)
        except asyncpg.PostgresError as error:
            _log.warning("%s: %s", request.path, error)
            return INTERNAL
        # Only a success brings a nonce, although RFC 8555 (6.5) wants one with errors, too.
        nonce = await self._nonces.issue(connection)
        return replace(answer, headers={**answer.headers, "Replay-Nonce": nonce})


def _resource(path: list[str]) -> tuple[str, str]:
    """Name of the resource, a slash in the place of an id, and the id."""
    match path:
        case [name]:
            return name, ""
        case [name, argument] if argument:
            return f"{name}/", argument
        case [name, argument, part] if argument:
            return f"{name}/{part}", argument
    return "", ""
