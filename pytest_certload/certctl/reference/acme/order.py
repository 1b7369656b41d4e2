"""What is known of an order? Its row, and the document that it is shown as (RFC 8555, 7.1.3)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pytest_certload.certctl.reference.web import Answer, json_answer

from .problems import NOT_FOUND, Refused, unauthorized
from .signing import Call

__all__ = ["Order", "find_order", "order_answer", "store_order", "timestamp"]

_SELECT_ORDER = (
    "SELECT order_id, account_id, identifiers, status, expires_at, not_before, not_after, error,"
    " coalesce(csr_pem, '') AS csr_pem, coalesce(certificate_id, '') AS certificate_id, created_at,"
    " updated_at FROM acme_orders WHERE order_id = $1"
)
_UPDATE_ORDER = (
    "UPDATE acme_orders SET status = $2, error = $3, csr_pem = $4, certificate_id = $5,"
    " updated_at = $6 WHERE order_id = $1"
)
# In the order in which certctl asks for them; those of one order were made at the same moment.
_SELECT_AUTHORIZATIONS = (
    "SELECT authz_id, order_id, identifier, status, expires_at, wildcard, created_at, updated_at"
    " FROM acme_authorizations WHERE order_id = $1 ORDER BY created_at ASC"
)


@dataclass(frozen=True, kw_only=True)
class Order:
    """An order as it is stored.

    Attributes:
        id: Its id.
        account_id: Whose it is.
        identifiers: What it asks for, each with ``type`` and ``value``.
        state: ``pending``, ``ready``, ``processing``, ``valid`` or ``invalid``.
        expires: Until when it can be finished.
        not_before, not_after: What validity it asks for; nobody heeds it.
        error: The problem that made it invalid.
        csr: The request that finished it, PEM; empty before.
        certificate_id: What came of it; empty before.
    """

    id: str
    account_id: str
    identifiers: Sequence[dict[str, str]]
    state: str
    expires: datetime
    not_before: datetime | None = None
    not_after: datetime | None = None
    error: dict[str, object] | None = None
    csr: str = ""
    certificate_id: str = ""


def timestamp(instant: datetime) -> str:
    """A moment as Go writes it in ACME documents: UTC, whole seconds."""
    return instant.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


async def find_order(call: Call, order_id: str) -> Order:
    """The caller's order.

    Raises:
        Refused: There is none, or it is another account's.
    """
    row = await call.connection.fetchrow(_SELECT_ORDER, order_id)
    if row is None:
        raise Refused(NOT_FOUND)
    if row["account_id"] != call.account_id:
        raise unauthorized("the order is another account's")
    return Order(
        id=row["order_id"],
        account_id=row["account_id"],
        identifiers=json.loads(row["identifiers"]),
        state=row["status"],
        expires=row["expires_at"],
        not_before=row["not_before"],
        not_after=row["not_after"],
        error=json.loads(row["error"]) if row["error"] else None,
        csr=row["csr_pem"],
        certificate_id=row["certificate_id"],
    )


async def store_order(connection: Any, order: Order, now: datetime) -> None:
    """Write what can change of an order: state, error, request and certificate.

    Args:
        connection: To the database.
        order: As it is to be.
        now: The server's time.
    """
    await connection.execute(
        _UPDATE_ORDER,
        order.id,
        order.state,
        None if order.error is None else json.dumps(order.error),
        order.csr,
        order.certificate_id or None,
        now,
    )


async def order_answer(
    call: Call, order: Order, *, status: int = 200, located: bool = False
) -> Answer:
    """The document of an order; its authorizations are asked for."""
    url = f"{call.base}/order/{order.id}"
    rows = await call.connection.fetch(_SELECT_AUTHORIZATIONS, order.id)
    document: dict[str, object] = {"status": order.state, "expires": timestamp(order.expires)}
    for name, instant in (("notBefore", order.not_before), ("notAfter", order.not_after)):
        if instant is not None:
            document[name] = timestamp(instant)
    document["identifiers"] = order.identifiers
    document["authorizations"] = [f"{call.base}/authz/{row['authz_id']}" for row in rows]
    document["finalize"] = f"{url}/finalize"
    if order.certificate_id and order.state == "valid":
        document["certificate"] = f"{call.base}/cert/{order.certificate_id}"
    if order.error is not None:
        document["error"] = order.error
    return json_answer(document, status=status, headers={"Location": url} if located else {})
