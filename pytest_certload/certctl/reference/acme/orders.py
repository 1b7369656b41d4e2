"""What is ordered? new-order and order (RFC 8555, 7.4).

In trust mode, which is the default of a profile, an order is ready at once: its authorizations and
their one challenge are valid from the beginning.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from pytest_certload.certctl.reference.audit import AuditLog
from pytest_certload.certctl.reference.clock import server_clock
from pytest_certload.certctl.reference.config import Config
from pytest_certload.certctl.reference.web import Answer, problem

from .ids import new_id
from .limits import OrderLimits
from .order import Order, find_order, order_answer
from .problems import Refused, malformed
from .profiles import Profiles
from .signing import Call

__all__ = ["Orders"]

LIFE = timedelta(hours=24)

_INSERT_ORDER = (
    "INSERT INTO acme_orders (order_id, account_id, identifiers, status, expires_at, not_before,"
    " not_after, error, csr_pem, certificate_id, created_at, updated_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, '', NULL, $8, $8)"
)
_INSERT_AUTHORIZATION = (
    "INSERT INTO acme_authorizations (authz_id, order_id, identifier, status, expires_at, wildcard,"
    " created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7)"
)
_INSERT_CHALLENGE = (
    "INSERT INTO acme_challenges (challenge_id, authz_id, type, status, token, validated_at, error,"
    " created_at) VALUES ($1, $2, 'http-01', $3, $4, $5, NULL, $6)"
)


class Orders:
    """Takes orders and shows them."""

    def __init__(
        self, config: Config, audit: AuditLog, profiles: Profiles, limits: OrderLimits
    ) -> None:
        self._audit = audit
        self._profiles = profiles
        self._clock = server_clock(config.faults)
        self._limits = limits

    async def new(self, call: Call, _: str) -> Answer:
        """``POST new-order``: 201, unless the account has had enough."""
        wanted = call.document("order")
        identifiers = _identifiers(wanted)
        not_before, not_after = (_instant(wanted.get(name)) for name in ("notBefore", "notAfter"))
        await self._limits.order(call.connection, call.account_id)
        # certctl asks twice.
        for _attempt in range(2):
            profile = await self._profiles.find(call.connection, call.profile_id)
        trusted = profile["acme_auth_mode"] == "trust_authenticated"
        now = self._clock()
        order = Order(
            id=new_id("acme-ord-"),
            account_id=call.account_id,
            identifiers=identifiers,
            state="ready" if trusted else "pending",
            expires=now + LIFE,
            not_before=not_before,
            not_after=not_after,
        )
        async with self._audit.transaction(call.connection) as note:
            await self._store(call.connection, order, now, trusted=trusted)
            await note(
                call.actor,
                "acme_order_created",
                "acme_order",
                order.id,
                {
                    "account_id": call.account_id,
                    "profile_id": profile["id"],
                    "auth_mode": profile["acme_auth_mode"],
                    "identifier_n": len(identifiers),
                    "identifiers": [identifier["value"] for identifier in identifiers],
                },
            )
        return await order_answer(call, order, status=201, located=True)

    async def _store(self, connection: Any, order: Order, now: datetime, *, trusted: bool) -> None:
        await connection.execute(
            _INSERT_ORDER,
            order.id,
            order.account_id,
            json.dumps(order.identifiers),
            order.state,
            order.expires,
            order.not_before,
            order.not_after,
            now,
        )
        state, validated = ("valid", now) if trusted else ("pending", None)
        for identifier in order.identifiers:
            authorization = new_id("acme-authz-")
            await connection.execute(
                _INSERT_AUTHORIZATION,
                authorization,
                order.id,
                json.dumps(identifier),
                state,
                now + LIFE,
                identifier["value"].startswith("*."),
                now,
            )
            await connection.execute(
                _INSERT_CHALLENGE,
                new_id("acme-chall-"),
                authorization,
                state,
                new_id(),
                validated,
                now,
            )

    async def show(self, call: Call, order_id: str) -> Answer:
        """``POST order/<id>``."""
        order = await find_order(call, order_id)
        return await order_answer(call, order)


def _identifiers(wanted: dict[str, Any]) -> list[dict[str, str]]:
    given = wanted.get("identifiers") or []
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise malformed("identifiers is a list of objects")
    identifiers = []
    rejected: list[dict[str, object]] = []
    for item in given:
        kind, value = (item.get(name) or "" for name in ("type", "value"))
        if not isinstance(kind, str) or not isinstance(value, str):
            raise malformed("type and value of an identifier are texts")
        identifier = {"type": kind, "value": value}
        identifiers.append(identifier)
        if kind.lower() != "dns" or not value:
            detail = "the value is empty" if kind.lower() == "dns" else f"{kind!r} is not dns"
            rejected.append(_subproblem("rejectedIdentifier", detail, identifier))
    if not given:
        rejected.append(_subproblem("malformed", "an order names an identifier or more"))
    if rejected:
        raise Refused(
            problem(
                400,
                "rejectedIdentifier",
                "not all identifiers can be ordered",
                subproblems=rejected,
            )
        )
    return identifiers


def _subproblem(
    kind: str, detail: str, identifier: dict[str, str] | None = None
) -> dict[str, object]:
    document: dict[str, object] = {
        "type": f"urn:ietf:params:acme:error:{kind}",
        "detail": detail,
        "status": 400,
    }
    if identifier is not None:
        document["identifier"] = identifier
    return document


def _instant(value: object) -> datetime | None:
    """What RFC 3339 makes of a text; None for anything else, as certctl takes it."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise malformed("notBefore and notAfter are texts")
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None
