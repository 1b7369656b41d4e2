"""What each fault of the inventory changes, and what it leaves as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conftest import Server

PATH = "/api/v1/certificates"
# What the faults' own rows have entered before.
BEFORE = 3
NEW = {
    "id": "cert-fault",
    "name": "fault",
    "common_name": "fault.example.test",
    "owner_id": "o-loadtest-001",
    "team_id": "t-loadtest",
    "issuer_id": "iss-local",
    "renewal_policy_id": "rp-loadtest",
    "expires_at": "2030-01-01T00:00:00Z",
}


def enter(server: Server, **changes: str) -> None:
    body = {**NEW, **changes}
    reply = server.ask("POST", PATH, body=body)
    assert reply.status == 201
    assert reply.json().items() >= body.items()


def page(server: Server, query: str = "") -> Mapping[str, Any]:
    reply = server.get(f"{PATH}{query}")
    assert reply.status == 200
    document: Mapping[str, Any] = reply.json()
    return document


def certificate_lost(server: Server) -> None:
    enter(server)
    found = page(server)
    assert (found["total"], len(found["data"])) == (BEFORE, BEFORE)


def expiry_unstored(server: Server) -> None:
    enter(server)
    expiries = server.database.column(
        "SELECT expires_at FROM managed_certificates ORDER BY id = 'cert-fault'"
    )
    assert expiries[-1] == datetime(1, 1, 1, tzinfo=UTC)
    assert min(expiries[:-1]) > datetime.now(UTC)


def list_short(server: Server) -> None:
    enter(server)
    found = page(server)
    assert (found["total"], len(found["data"])) == (BEFORE + 1, BEFORE)
    assert "cert-fault" not in [certificate["id"] for certificate in found["data"]]


def list_stale(server: Server) -> None:
    first = page(server)
    enter(server)
    assert page(server) == first
    assert page(server, "?per_page=2")["total"] == BEFORE + 1


EFFECTS: dict[str, Callable[[Server], None]] = {
    "certificate-lost": certificate_lost,
    "expiry-unstored": expiry_unstored,
    "list-short": list_short,
    "list-stale": list_stale,
}
