"""Signed ACME requests: what is held against them, in which order, and what they leave behind."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.acme.keys import AccountKey, base64url, compact_json
from pytest_certload.certctl.reference.acme.jws import (
    NotJws,
    from_base64url,
    key_from_jwk,
    key_from_pem,
    parse,
    to_base64url,
)

from .acme_client import PROFILE, Client, problem_of, registered, request_for

if TYPE_CHECKING:
    from .conftest import Bench, Server

NO_BODY = ""


class RsaKey:
    """Signs RS256 as an ``AccountKey`` signs ES256."""

    def __init__(self) -> None:
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = self._private.public_key().public_numbers()
        self.jwk = {
            "e": base64url(numbers.e.to_bytes(3, "big")),
            "kty": "RSA",
            "n": base64url(numbers.n.to_bytes(256, "big")),
        }

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data, padding.PKCS1v15(), hashes.SHA256())


class EdKey:
    """Signs EdDSA."""

    def __init__(self) -> None:
        self._private = ed25519.Ed25519PrivateKey.generate()
        self.jwk = {
            "crv": "Ed25519",
            "kty": "OKP",
            "x": base64url(self._private.public_key().public_bytes_raw()),
        }

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)


def is_unused(server: Server, nonce: str) -> bool:
    (used,) = server.database.column("SELECT used FROM acme_nonces WHERE nonce = $1", nonce)
    return not used


@pytest.mark.parametrize(
    ("algorithm", "key"), [("ES256", AccountKey), ("RS256", RsaKey), ("EdDSA", EdKey)]
)
def test_the_algorithms_that_are_taken(server: Server, algorithm: str, key: Any) -> None:
    client = Client(server, key=key(), algorithm=algorithm)
    reply = client.register()
    assert reply.status == 201
    thumbprint = base64url(hashlib.sha256(compact_json(client.key.jwk)).digest())
    account = f"acme-acc-{thumbprint}"
    assert client.account == client.url(f"account/{account}")
    (row,) = server.database.rows("SELECT * FROM acme_accounts WHERE account_id = $1", account)
    assert (row["jwk_thumbprint"], row["status"], row["profile_id"], row["owner_id"]) == (
        thumbprint,
        "valid",
        "prof-loadtest",
        None,
    )
    begin, *lines, end = row["jwk_pem"].splitlines()
    assert (begin, end) == (
        "-----BEGIN ACME ACCOUNT JWK-----",
        "-----END ACME ACCOUNT JWK-----",
    )
    assert all(len(line) == 64 for line in lines[:-1])
    assert json.loads(base64.b64decode("".join(lines))) == client.key.jwk
    # By account now, with the key as it is stored.
    assert client.post(client.account).status == 200
    assert problem_of(client.post(client.account, protected={"alg": "HS256"})) == (400, "malformed")


WRONG_PROTECTED: list[tuple[dict[str, object], int, str, bool]] = [
    ({"typ": "application/jose+json"}, 200, NO_BODY, False),
    ({"typ": ""}, 200, NO_BODY, False),
    ({"typ": "JWT"}, 400, "malformed", True),
    ({"url": None}, 401, "unauthorized", True),
    ({"url": "https://elsewhere/acme"}, 401, "unauthorized", True),
    ({"alg": "none"}, 400, "malformed", True),
    ({"alg": "ES384"}, 400, "malformed", True),
    ({"alg": "RS256"}, 401, "unauthorized", False),
    ({"crit": ["exp"]}, 401, "unauthorized", False),
    ({"kid": None}, 400, "malformed", False),
    ({"kid": "https://elsewhere/account/acme-acc-x"}, 400, "malformed", False),
    ({"kid": 7}, 400, "malformed", True),
    ({"jwk": {"kty": "oct", "k": "AAAA"}}, 400, "malformed", True),
    ({"jwk": AccountKey().jwk}, 400, "malformed", False),
    ({"kid": None, "jwk": AccountKey().jwk}, 400, "malformed", False),
]


@pytest.mark.parametrize(("protected", "status", "kind", "unused"), WRONG_PROTECTED)
def test_what_is_looked_at_before_the_nonce_leaves_it_as_it_is(
    server: Server, protected: dict[str, object], status: int, kind: str, unused: bool
) -> None:
    client = registered(server)
    nonce = client.nonce()
    assert client.account is not None
    reply = client.post(client.account, protected={"nonce": nonce, **protected})
    assert reply.status == status
    if kind:
        assert problem_of(reply) == (status, kind)
    assert is_unused(server, nonce) is unused


def test_a_nonce_is_good_once(server: Server) -> None:
    client = registered(server)
    assert client.account is not None
    nonce = client.nonce()
    reply = client.post(client.account, protected={"nonce": nonce})
    assert reply.status == 200
    following = reply.headers["Replay-Nonce"]
    for bad in (nonce, "never-handed-out", "", None):
        refused = client.post(client.account, protected={"nonce": bad})
        assert problem_of(refused) == (400, "badNonce")
    server.database.execute("UPDATE acme_nonces SET expires_at = now() WHERE nonce = $1", following)
    refused = client.post(client.account, protected={"nonce": following})
    assert problem_of(refused) == (400, "badNonce")
    assert client.post(client.account, protected={"nonce": 7}).status == 400


def test_a_wrong_signature_costs_a_nonce(server: Server) -> None:
    client = registered(server)
    assert client.account is not None
    for signature in (base64url(bytes(64)), base64url(bytes(63)), ""):
        nonce = client.nonce()
        body = client.signed(client.account, None, protected={"nonce": nonce})
        reply = client.send(client.account, {**body, "signature": signature})
        assert problem_of(reply) == (401, "unauthorized")
        assert not is_unused(server, nonce)


def test_a_payload_that_was_changed_is_refused(server: Server) -> None:
    client = registered(server)
    body = client.signed("new-order", {"identifiers": [{"type": "dns", "value": "a.test"}]})
    other = base64url(compact_json({"identifiers": [{"type": "dns", "value": "b.test"}]}))
    assert problem_of(client.send("new-order", {**body, "payload": other})) == (401, "unauthorized")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"null",
        b"a.b",
        b'{"protected": "", "payload": ""}',
        b'{"protected": "e30", "payload": "", "signature": 1}',
        b"\xff",
        b"{" * 60_000,
        b"a" * 70_000,
    ],
)
def test_what_is_no_jws(server: Server, body: bytes) -> None:
    assert problem_of(registered(server).send("new-order", body)) == (400, "malformed")


def test_a_compact_jws_is_taken_and_more_than_one_signature_is_not(server: Server) -> None:
    client = registered(server)
    assert client.account is not None
    body = client.signed(client.account, None)
    compact = ".".join((body["protected"], body["payload"], body["signature"]))
    assert client.send(client.account, compact).status == 200
    one = client.signed(client.account, None)
    both = {"payload": "", "signatures": [one, one]}
    assert problem_of(client.send(client.account, both)) == (400, "malformed")
    header = {**client.signed(client.account, None), "header": {"nonce": "x"}}
    assert problem_of(client.send(client.account, header)) == (400, "malformed")


class TestAccounts:
    def test_a_key_has_one_account(self, server: Server) -> None:
        client = Client(server)
        contact = ["mailto:a@example.test"]
        made = client.register({"contact": contact, "termsOfServiceAgreed": True})
        assert made.status == 201
        document = {"status": "valid", "contact": contact, "orders": f"{client.account}/orders"}
        assert made.json() == document
        again = client.register({"contact": ["mailto:other@example.test"]})
        assert (again.status, again.json()) == (200, document)
        assert again.headers["Location"] == made.headers["Location"]
        account = str(client.account).rpartition("/")[2]
        (row,) = server.database.rows("SELECT * FROM audit_events WHERE resource_id = $1", account)
        assert (row["actor"], row["actor_type"], row["action"], row["resource_type"]) == (
            f"acme:{account}",
            "User",
            "acme_account_created",
            "acme_account",
        )
        assert json.loads(row["details"]) == {
            "profile_id": "prof-loadtest",
            "jwk_thumbprint": account.removeprefix("acme-acc-"),
            "contact_count": 1,
            "tos_agreed": True,
        }

    def test_an_account_can_be_asked_for_without_being_made(self, server: Server) -> None:
        client = Client(server)
        wanted = {"onlyReturnExisting": True}
        assert problem_of(client.register(wanted)) == (400, "accountDoesNotExist")
        client.register()
        assert client.register(wanted).status == 200

    @pytest.mark.parametrize(
        "payload", [[], "text", {"contact": "a"}, {"contact": [1]}, {"onlyReturnExisting": "yes"}]
    )
    def test_a_payload_of_another_kind(self, server: Server, payload: object) -> None:
        assert problem_of(Client(server).register(payload)) == (400, "malformed")

    def test_a_key_on_a_second_profile_is_a_failure_of_the_server(self, server: Server) -> None:
        server.database.execute(
            "INSERT INTO certificate_profiles (id, name) VALUES ('prof-second', 'second')"
            " ON CONFLICT DO NOTHING"
        )
        client = registered(server)
        client.profile = "/acme/profile/prof-second"
        assert problem_of(client.register()) == (500, "serverInternal")
        client.profile = "/acme/profile/prof-nowhere"
        client.key = AccountKey()
        assert problem_of(client.register()) == (500, "serverInternal")

    def test_an_account_is_shown_to_itself_only(self, server: Server) -> None:
        client, other = registered(server), registered(server)
        assert client.account is not None
        assert other.account is not None
        payloads: tuple[object, ...] = (None, {})
        for payload in payloads:
            reply = client.post(client.account, payload)
            assert (reply.status, reply.json()["status"]) == (200, "valid")
            assert "contact" not in reply.json()
            assert reply.headers["Location"] is None
        assert problem_of(client.post(other.account)) == (401, "unauthorized")

    def test_contacts_can_be_changed_and_an_account_deactivated(self, server: Server) -> None:
        client = registered(server)
        assert client.account is not None
        changed = client.post(client.account, {"contact": ["mailto:b@example.test"]})
        assert changed.json()["contact"] == ["mailto:b@example.test"]
        assert client.post(client.account, {"contact": None}).json() == changed.json()
        assert problem_of(client.post(client.account, {"status": "revoked"})) == (400, "malformed")
        gone = client.post(client.account, {"status": "deactivated"})
        assert (gone.status, gone.json()["status"]) == (200, "deactivated")
        assert problem_of(client.post(client.account)) == (401, "unauthorized")
        account = client.account.rpartition("/")[2]
        actions = server.database.column(
            "SELECT action FROM audit_events WHERE resource_id = $1 ORDER BY timestamp", account
        )
        assert actions == [
            "acme_account_created",
            "acme_account_updated",
            "acme_account_deactivated",
        ]

    def test_an_account_that_nobody_has(self, server: Server) -> None:
        client = Client(server, account=Client(server).url("account/acme-acc-nobody"))
        assert problem_of(client.order("a.test")) == (400, "accountDoesNotExist")


class TestOrders:
    def test_an_order_in_trust_mode_is_ready_at_once(self, server: Server) -> None:
        client = registered(server)
        names = ["a.example.test", "*.b.example.test"]
        made = client.order(*names)
        document = made.json()
        url = made.headers["Location"]
        assert made.status == 201
        assert url.startswith(client.url("order/acme-ord-"))
        assert document["status"] == "ready"
        assert document["identifiers"] == [{"type": "dns", "value": name} for name in names]
        assert document["finalize"] == f"{url}/finalize"
        assert len(document["authorizations"]) == 2
        assert "certificate" not in document
        shown = client.post(url)
        assert (shown.status, shown.json()) == (200, document)
        found = {}
        for link in document["authorizations"]:
            authorization = client.post(link).json()
            found[authorization["identifier"]["value"]] = authorization
            (challenge,) = authorization["challenges"]
            assert (challenge["type"], challenge["status"]) == ("http-01", "valid")
            assert len(challenge["token"]) == 16
            assert client.post(challenge["url"], {}).json() == challenge
        assert sorted(found) == sorted(names)
        assert all(authorization["status"] == "valid" for authorization in found.values())
        assert found["*.b.example.test"]["wildcard"] is True
        assert "wildcard" not in found["a.example.test"]

    def test_what_an_order_leaves_behind(self, server: Server) -> None:
        client = registered(server)
        order = client.order("a.example.test").headers["Location"].rpartition("/")[2]
        (row,) = server.database.rows("SELECT * FROM acme_orders WHERE order_id = $1", order)
        life = row["expires_at"] - row["created_at"]
        assert (row["status"], life.total_seconds()) == ("ready", 24 * 3600)
        (audit,) = server.database.rows("SELECT * FROM audit_events WHERE resource_id = $1", order)
        assert audit["action"] == "acme_order_created"
        assert json.loads(audit["details"])["identifiers"] == ["a.example.test"]

    @pytest.mark.parametrize(
        ("payload", "kinds"),
        [
            ({}, ["malformed"]),
            ({"identifiers": []}, ["malformed"]),
            ({"identifiers": [{"type": "ip", "value": "127.0.0.1"}]}, ["rejectedIdentifier"]),
            (
                {"identifiers": [{"type": "dns"}, {}, {"type": "DNS", "value": "a.test"}]},
                ["rejectedIdentifier"] * 2,
            ),
        ],
    )
    def test_identifiers_that_cannot_be_ordered(
        self, server: Server, payload: object, kinds: list[str]
    ) -> None:
        client = registered(server)
        before = server.database.value("SELECT count(*) FROM acme_orders")
        reply = client.post("new-order", payload)
        assert problem_of(reply) == (400, "rejectedIdentifier")
        subproblems = reply.json()["subproblems"]
        assert [problem["type"].rpartition(":")[2] for problem in subproblems] == kinds
        assert server.database.value("SELECT count(*) FROM acme_orders") == before

    @pytest.mark.parametrize(
        "payload", [None, [], {"identifiers": {}}, {"identifiers": [1]}, {"notBefore": 1}]
    )
    def test_a_payload_of_another_kind(self, server: Server, payload: object) -> None:
        kinds = {"malformed", "rejectedIdentifier"}
        assert problem_of(registered(server).post("new-order", payload))[1] in kinds

    def test_the_validity_that_is_asked_for_is_shown(self, server: Server) -> None:
        identifiers = [{"type": "dns", "value": "a.test"}]
        wanted = {"notBefore": "2030-01-02T03:04:05+01:00", "notAfter": "tomorrow"}
        reply = registered(server).post("new-order", {"identifiers": identifiers, **wanted})
        assert reply.json()["notBefore"] == "2030-01-02T02:04:05Z"
        assert "notAfter" not in reply.json()

    def test_an_order_is_its_accounts_and_an_authorization_is_everybodys(
        self, server: Server
    ) -> None:
        client, other = registered(server), registered(server)
        made = client.order("a.test")
        assert problem_of(other.post(made.headers["Location"])) == (401, "unauthorized")
        assert other.post(made.json()["authorizations"][0]).status == 200

    @pytest.mark.parametrize("resource", ["order", "authz", "challenge"])
    def test_what_nobody_has(self, server: Server, resource: str) -> None:
        reply = registered(server).post(f"{resource}/acme-nobody", {})
        assert problem_of(reply) == (404, "malformed")

    def test_without_trust_an_order_waits_for_a_challenge_that_nobody_validates(
        self, server: Server
    ) -> None:
        server.database.execute(
            "INSERT INTO certificate_profiles (id, name, acme_auth_mode)"
            " VALUES ('prof-challenge', 'challenge', 'challenge') ON CONFLICT DO NOTHING"
        )
        client = Client(server, profile="/acme/profile/prof-challenge")
        client.register()
        made = client.order("a.test")
        assert made.json()["status"] == "pending"
        authorization = client.post(made.json()["authorizations"][0]).json()
        (challenge,) = authorization["challenges"]
        assert (authorization["status"], challenge["status"]) == ("pending", "pending")
        assert problem_of(client.post(challenge["url"], {})) == (500, "serverInternal")
        reply = client.finalize(made, request_for("a.test"))
        assert problem_of(reply) == (403, "orderNotReady")


class TestCertificates:
    def test_the_certificate_is_the_one_that_was_ordered(self, server: Server) -> None:
        client = registered(server)
        key = ec.generate_private_key(ec.SECP256R1())
        made = client.order("a.example.test", "b.example.test")
        done = client.finalize(
            made, request_for("B.example.test", common_name="a.example.test", key=key)
        )
        assert (done.status, done.json()["status"]) == (200, "valid")
        assert done.headers["Location"] == made.headers["Location"]
        assert client.post(made.headers["Location"]).json() == done.json()
        reply = client.post(done.json()["certificate"])
        assert (reply.status, reply.content_type) == (200, "application/pem-certificate-chain")
        leaf, ca = x509.load_pem_x509_certificates(reply.body)
        assert leaf.public_key() == key.public_key()
        store = Store([ca])
        for name in ("a.example.test", "b.example.test"):
            verifier = PolicyBuilder().store(store).build_server_verifier(x509.DNSName(name))
            verifier.verify(leaf, [])
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        assert life.days == 90

    def test_what_a_certificate_leaves_behind(self, server: Server) -> None:
        client = registered(server)
        made = client.order("a.example.test")
        done = client.finalize(made, request_for("a.example.test"))
        order = made.headers["Location"].rpartition("/")[2]
        certificate = done.json()["certificate"].rpartition("/")[2]
        (row,) = server.database.rows(
            "SELECT * FROM managed_certificates WHERE id = $1", certificate
        )
        assert (row["name"], row["source"], row["status"]) == (f"acme-{order}", "ACME", "Active")
        assert (row["owner_id"], row["team_id"]) == ("o-loadtest-001", "t-loadtest")
        (version,) = server.database.rows(
            "SELECT * FROM certificate_versions WHERE certificate_id = $1", certificate
        )
        leaf, _ = x509.load_pem_x509_certificates(version["pem_chain"].encode())
        assert version["fingerprint_sha256"] == leaf.fingerprint(hashes.SHA256()).hex()
        assert version["serial_number"] == f"{leaf.serial_number:040x}"
        (stored,) = server.database.rows("SELECT * FROM acme_orders WHERE order_id = $1", order)
        assert (stored["status"], stored["certificate_id"]) == ("valid", certificate)
        assert stored["csr_pem"] == version["csr_pem"]
        account = str(client.account).rpartition("/")[2]
        actions = server.database.column(
            "SELECT action FROM audit_events WHERE actor = $1 ORDER BY timestamp",
            f"acme:{account}",
        )
        assert actions == [
            "acme_account_created",
            "acme_order_created",
            "acme_order_processing",
            # It has no tags and no environment, which certctl's own rules want.
            "policy_violation_detected",
            "policy_violation_detected",
            "certificate_created",
            "acme_order_finalized",
        ]

    def test_a_finished_order_is_not_finished_again(self, server: Server) -> None:
        client = registered(server)
        made = client.order("a.test")
        assert client.finalize(made, request_for("a.test")).status == 200
        reply = client.finalize(made, request_for("a.test"))
        assert problem_of(reply) == (403, "orderNotReady")

    @pytest.mark.parametrize("payload", [{"csr": "?"}, {"csr": "AAAA"}, {"csr": ""}, {}])
    def test_what_is_no_certificate_request(self, server: Server, payload: object) -> None:
        client = registered(server)
        made = client.order("a.test")
        assert problem_of(client.post(made.json()["finalize"], payload)) == (400, "badCSR")
        assert client.post(made.headers["Location"]).json()["status"] == "ready"

    @pytest.mark.parametrize("names", [("b.test",), ("a.test", "b.test"), ()])
    def test_other_names_than_ordered_make_the_order_invalid(
        self, server: Server, names: tuple[str, ...]
    ) -> None:
        client = registered(server)
        made = client.order("a.test")
        reply = client.finalize(made, request_for(*names))
        assert problem_of(reply) == (500, "serverInternal")
        shown = client.post(made.headers["Location"]).json()
        assert shown["status"] == "invalid"
        assert shown["error"]["type"] == "urn:ietf:params:acme:error:badCSR"

    def test_a_request_that_is_not_signed_by_its_key_makes_the_order_invalid(
        self, server: Server
    ) -> None:
        client = registered(server)
        made = client.order("a.test")
        forged = bytearray(request_for("a.test"))
        forged[-1] ^= 1
        assert problem_of(client.finalize(made, bytes(forged))) == (500, "serverInternal")
        assert client.post(made.headers["Location"]).json()["status"] == "invalid"

    def test_a_profile_may_shorten_the_life(self, server: Server) -> None:
        server.database.execute(
            "INSERT INTO certificate_profiles (id, name, max_ttl_seconds)"
            " VALUES ('prof-short', 'short', 3600) ON CONFLICT DO NOTHING"
        )
        client = Client(server, profile="/acme/profile/prof-short")
        client.register()
        done = client.finalize(client.order("a.test"), request_for("a.test"))
        chain = client.post(done.json()["certificate"]).body
        leaf, _ = x509.load_pem_x509_certificates(chain)
        assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() == 3600

    def test_a_certificate_that_nobody_has_is_a_failure_of_the_server(self, server: Server) -> None:
        client = registered(server)
        assert problem_of(client.post("cert/mc-acme-nobody")) == (500, "serverInternal")

    def test_a_certificate_that_did_not_come_by_acme_is_not_shown(self, server: Server) -> None:
        server.database.execute(
            "INSERT INTO managed_certificates (id, name, common_name, owner_id, team_id, issuer_id,"
            " renewal_policy_id) VALUES ('mc-other', 'other', 'other', 'o-loadtest-001',"
            " 't-loadtest', 'iss-local', 'rp-loadtest') ON CONFLICT DO NOTHING"
        )
        assert problem_of(registered(server).post("cert/mc-other")) == (404, "malformed")

    def test_finalize_can_be_as_broken_as_certctls(self, bench: Bench) -> None:
        database = bench.seeded()
        with bench.serving(database, CERTLOAD_REFERENCE_ACME_FINALIZE="broken") as server:
            client = registered(server)
            made = client.order("a.test")
            reply = client.finalize(made, request_for("a.test"))
            assert problem_of(reply) == (500, "serverInternal")
            assert client.post(made.headers["Location"]).json()["status"] == "processing"
            assert database.value("SELECT count(*) FROM managed_certificates") == 0


class TestLimits:
    LIMITS = "CERTCTL_ACME_SERVER_RATE_LIMIT_"

    def serving(self, bench: Bench, **limits: str) -> Any:
        variables = {f"{self.LIMITS}{name}": value for name, value in limits.items()}
        return bench.serving(bench.seeded(), **variables)

    def test_orders_that_are_not_finished(self, bench: Bench) -> None:
        with self.serving(bench, CONCURRENT_ORDERS="2") as server:
            client, other = registered(server), registered(server)
            made = [client.order("a.test") for _ in range(2)]
            refused = client.order("a.test")
            assert problem_of(refused) == (429, "rateLimited")
            assert refused.headers["Retry-After"] is None
            assert other.order("a.test").status == 201
            assert client.finalize(made[0], request_for("a.test")).status == 200
            assert client.order("a.test").status == 201
            assert problem_of(client.order("a.test")) == (429, "rateLimited")

    def test_orders_in_an_hour_count_those_that_were_refused(self, bench: Bench) -> None:
        with self.serving(bench, CONCURRENT_ORDERS="1", ORDERS_PER_HOUR="3") as server:
            client, other = registered(server), registered(server)
            assert client.order("a.test").status == 201
            refusals = [client.order("a.test") for _ in range(4)]
            assert [problem_of(reply) for reply in refusals] == [(429, "rateLimited")] * 4
            details = [reply.json()["detail"] for reply in refusals]
            assert details[0] == details[1] != details[2] == details[3]
            assert other.order("a.test").status == 201

    def test_answers_to_a_challenge_in_an_hour(self, bench: Bench) -> None:
        with self.serving(bench, CHALLENGE_RESPONDS_PER_HOUR="2") as server:
            client = registered(server)
            first, second = (
                client.post(client.order("a.test").json()["authorizations"][0]).json()
                for _ in range(2)
            )
            url = first["challenges"][0]["url"]
            assert [client.post(url, {}).status for _ in range(2)] == [200, 200]
            assert problem_of(client.post(url, {})) == (429, "rateLimited")
            assert client.post(second["challenges"][0]["url"], {}).status == 200


SOME = st.binary(max_size=80)


@given(SOME)
def test_base64url_is_read_as_it_was_written(data: bytes) -> None:
    assert from_base64url(to_base64url(data)) == data


@pytest.mark.parametrize("text", ["a", "aa=", "a+", "ä", "a a"])
def test_what_is_no_base64url(text: str) -> None:
    with pytest.raises(NotJws):
        from_base64url(text)


@pytest.mark.parametrize("make", [AccountKey, RsaKey, EdKey])
def test_a_key_is_stored_and_read(make: Callable[[], Any]) -> None:
    jwk = dict(make().jwk)
    key = key_from_jwk({**jwk, "kid": "left out", "use": "sig"})
    assert json.loads(key.jwk) == jwk
    assert key_from_pem(key.pem()) == key


EC = AccountKey().jwk


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        [],
        {},
        {"kty": "EC"},
        {"kty": ["EC"]},
        {**EC, "d": "AAAA"},
        {**EC, "crv": "P-224"},
        {**EC, "x": "AAAA"},
        {**EC, "x": 1},
        {"kty": "RSA", "n": "", "e": ""},
        {"kty": "OKP", "crv": "X25519", "x": "AAAA"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
    ],
)
def test_what_is_no_public_key(jwk: object) -> None:
    with pytest.raises(NotJws):
        key_from_jwk(jwk)


@given(st.binary(max_size=300))
def test_any_octets_are_a_jws_or_are_none(body: bytes) -> None:
    with pytest.raises(NotJws):
        parse(body)


def test_paths_that_are_no_resource(server: Server) -> None:
    client = registered(server)
    for resource in ("order", "order/", "order/a/b", "order/a/finalize/b", "account", "cert"):
        reply = server.ask("POST", f"{PROFILE}/{resource}", body=b"{}")
        assert reply.status == 404
    assert client.account is not None
    orders = client.account.split("/", 3)[3] + "/orders"
    assert server.ask("POST", f"/{orders}", body=b"{}").status == 404
