"""What each fault of the signed ACME resources changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from .acme_client import PROFILE, Client, problem_of, registered, request_for
from .conftest import eventually

if TYPE_CHECKING:
    from .conftest import Server

LIMITS = "CERTCTL_ACME_SERVER_RATE_LIMIT_"
#: Variables that a server needs to show a fault.
VARIABLES: Mapping[str, Mapping[str, str]] = {
    "limiter-lax": {
        "CERTCTL_RATE_LIMIT_ENABLED": "true",
        "CERTCTL_RATE_LIMIT_RPS": "1",
        "CERTCTL_RATE_LIMIT_BURST": "1",
    },
    "acme-limit-off": {f"{LIMITS}CONCURRENT_ORDERS": "1", f"{LIMITS}ORDERS_PER_HOUR": "1"},
    "acme-429-shape": {f"{LIMITS}CONCURRENT_ORDERS": "1"},
}
#: Of the serial 12, in hex.
RENEWAL_ID = "AAAA.Eg"


def limiter_lax(server: Server) -> None:
    path = "/api/v1/auth/check"

    def admitted() -> bool:
        return server.get(path).status != 429

    def seconds_apart() -> float:
        """From before one that is let through to after the next one: never less than a token takes."""
        began = time.monotonic()
        while not admitted():
            began = time.monotonic()
        while not admitted():
            pass
        return time.monotonic() - began

    # A token a second, twice as fast; who is held up meanwhile asks again.
    eventually(seconds_apart, lambda seconds: seconds < 0.95)


def renewal_window_late(server: Server) -> None:
    server.database.execute(
        "INSERT INTO certificate_versions (id, certificate_id, serial_number, not_before,"
        " not_after, fingerprint_sha256, pem_chain)"
        " VALUES ('cv-fault', 'mc-fault-0', '12', now(), now(), 'cv-fault', '')"
    )
    expires = server.database.value(
        "SELECT expires_at FROM managed_certificates WHERE id = 'mc-fault-0'"
    )
    window = server.get(f"{PROFILE}/renewal-info/{RENEWAL_ID}").json()["suggestedWindow"]
    start, end = (datetime.fromisoformat(window[name]) for name in ("start", "end"))
    assert start == expires - timedelta(days=29)
    assert end - start == timedelta(days=15)


def nonce_reused(server: Server) -> None:
    client = registered(server)
    assert client.account is not None
    nonce = client.nonce()
    for _ in range(2):
        assert client.post(client.account, protected={"nonce": nonce}).status == 200
    assert not server.database.value("SELECT used FROM acme_nonces WHERE nonce = $1", nonce)
    reply = client.post(client.account, protected={"nonce": "never-handed-out"})
    assert problem_of(reply) == (400, "badNonce")


def bad_nonce(server: Server) -> None:
    client = registered_in_the_end(server)
    assert client.account is not None
    outcomes = [client.post(client.account) for _ in range(8)]
    refused = [reply for reply in outcomes if reply.status != 200]
    assert len(refused) in (3, 4, 5)
    assert {problem_of(reply) for reply in refused} == {(400, "badNonce")}
    # Also one that is refused is used up.
    handed_out = "SELECT count(*) FROM acme_nonces WHERE NOT used"
    assert server.database.value(handed_out) == len(outcomes) - len(refused) + 1


def registered_in_the_end(server: Server) -> Client:
    client = Client(server)
    # Of each two that come in turn one is refused, so no three are.
    assert any(client.register().status == 201 for _ in range(3))
    return client


def limit_off(server: Server) -> None:
    client = registered(server)
    assert [client.order("a.test").status for _ in range(4)] == [201] * 4


def wrong_429(server: Server) -> None:
    client = registered(server)
    assert client.order("a.test").status == 201
    refused = client.order("a.test")
    assert (refused.status, refused.content_type) == (429, "application/json")
    assert "type" not in refused.json()


def signature_unchecked(server: Server) -> None:
    client = registered(server)
    # Somebody else signs, and says that it is that account.
    other = Client(server, account=client.account)
    assert other.order("a.test").status == 201
    nobody = Client(server, account=f"{client.account}x")
    assert problem_of(nobody.order("a.test"))[1] == "accountDoesNotExist"


def order_lost(server: Server) -> None:
    client = registered(server)
    made = client.order("a.test")
    done = client.finalize(made, request_for("a.test"))
    assert done.json()["status"] == "valid"
    assert client.post(done.json()["certificate"]).status == 200
    assert client.post(made.headers["Location"]).json()["status"] == "processing"


def other_key(server: Server) -> None:
    client = registered(server)
    key = ec.generate_private_key(ec.SECP256R1())
    done = client.finalize(client.order("a.test"), request_for("a.test", key=key))
    assert done.json()["status"] == "valid"
    leaf, _ = x509.load_pem_x509_certificates(client.post(done.json()["certificate"]).body)
    assert leaf.public_key() != key.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.test"]


EFFECTS: Mapping[str, Callable[[Server], None]] = {
    "limiter-lax": limiter_lax,
    "renewal-window-late": renewal_window_late,
    "acme-nonce-reused": nonce_reused,
    "acme-bad-nonce": bad_nonce,
    "acme-limit-off": limit_off,
    "acme-429-shape": wrong_429,
    "acme-signature-unchecked": signature_unchecked,
    "acme-order-lost": order_lost,
    "acme-cert-other-key": other_key,
}
