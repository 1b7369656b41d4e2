"""What every request meets before its handler: ids, headers, keys, permissions, the limiter."""

from __future__ import annotations

import http.client
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from pytest_certload.certctl.product import PRODUCT, identify

if TYPE_CHECKING:
    from .conftest import Bench, Reply, Server

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
CHECK = "/api/v1/auth/check"
HEARTBEAT = "/api/v1/agents/ag-nobody/heartbeat"
BULK_RENEW = "/api/v1/certificates/bulk-renew"
MEBIBYTE = 1024 * 1024
MOST_PENDING = 1000


def test_every_answer_has_a_request_id_of_its_own(server: Server) -> None:
    paths = ("/health", CHECK, "/nowhere", "/api/v1/nowhere")
    replies = [server.get(path, key=None) for path in paths]
    ids = {str(uuid.UUID(reply.headers["X-Request-ID"])) for reply in replies}
    assert len(ids) == len(replies)


@pytest.mark.parametrize("path", ["/health", CHECK, "/api/v1/nowhere"])
def test_every_answer_has_the_security_headers(server: Server, path: str) -> None:
    headers = server.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Strict-Transport-Security"].startswith("max-age=")
    assert "default-src" in headers["Content-Security-Policy"]


def test_only_tls_1_3_and_http_1_1_are_spoken(server: Server) -> None:
    with closing(server.connect()) as connection:
        connection.connect()
        assert connection.sock.version() == "TLSv1.3"
        assert connection.sock.selected_alpn_protocol() in (None, "http/1.1")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/health", {"status": "healthy"}),
        ("/ready", {"status": "ready", "db": "reachable"}),
        ("/api/v1/auth/info", {"auth_type": "api-key", "required": True}),
    ],
)
def test_what_needs_no_key(server: Server, path: str, body: Mapping[str, object]) -> None:
    reply = server.get(path, key=None)
    assert (reply.status, reply.content_type) == (200, JSON)
    assert reply.json() == body
    assert server.ask("POST", path, key=None).status == 405


def test_the_version_says_that_it_is_the_reference_server(server: Server) -> None:
    reply = server.get("/api/v1/version", key=None)
    assert reply.status == 200
    package = metadata.version("pytest-certload")
    assert reply.json() == {"server": "certctl-reference", "version": package}
    identity = identify(reply.json())
    assert identity.is_reference
    assert identity.server == f"certctl reference server {package}"
    assert reply.headers["Server"] == "certctl-reference"


@pytest.mark.parametrize(
    ("authorization", "body"),
    [
        (None, '{"error":"Authorization header required"}'),
        ("Bearer of-no-key", '{"error":"Invalid API key"}'),
        ("Basic bG9hZDp0ZXN0", '{"error":"Invalid Authorization header format, '),
        ("bearer key-of-an-administrator", '{"error":"Invalid Authorization header format, '),
        ("Bearer ", '{"error":"Invalid Authorization header format, '),
    ],
)
@pytest.mark.parametrize("path", [CHECK, "/acme/profile/prof-loadtest/directory", "/nowhere"])
def test_who_is_not_known_is_answered_401_in_plain_text(
    server: Server, authorization: str | None, body: str, path: str
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    reply = server.ask("GET", path, key=None, headers=headers)
    assert (reply.status, reply.content_type) == (401, TEXT)
    text = reply.body.decode()
    assert text.startswith(body)
    assert text.endswith('"}\n')
    challenge = 'Bearer realm="certctl"' if authorization is None else None
    assert reply.headers["WWW-Authenticate"] == challenge


def is_forbidden(reply: Reply) -> bool:
    return (reply.status, reply.content_type, reply.json()) == (
        403,
        "application/json; charset=utf-8",
        {"error": "Insufficient permissions"},
    )


@pytest.mark.parametrize("path", [HEARTBEAT, BULK_RENEW])
def test_a_named_key_without_admin_may_not_write(server: Server, path: str) -> None:
    assert is_forbidden(server.ask("POST", path, key=server.reader))


def test_a_role_that_is_granted_for_a_profile_holds_nowhere_else(bench: Bench) -> None:
    """Of what a role was granted for, and what it has a permission for, the narrower one counts."""
    with bench.serving() as server:
        server.database.execute(
            "UPDATE actor_roles SET scope_type = 'profile', scope_id = 'prof-1' WHERE actor_id = 'reader'"
        )
        server.database.execute(
            "UPDATE role_permissions SET scope_type = 'profile', scope_id = CASE permission_id "
            "WHEN (SELECT id FROM permissions WHERE name = 'job.read') THEN 'prof-1' ELSE 'prof-2' END "
            "WHERE role_id = 'r-viewer' AND permission_id IN "
            "(SELECT id FROM permissions WHERE name IN ('job.read', 'cert.read'))"
        )
        found = server.get(CHECK, key=server.reader).json()["effective_permissions"]
        names = {entry["permission"] for entry in found}
        assert {(entry["scope_type"], entry["scope_id"]) for entry in found} == {
            ("profile", "prof-1")
        }
        assert "job.read" in names
        assert "cert.read" not in names, "it was granted for another one"
        assert is_forbidden(server.get("/api/v1/jobs", key=server.reader))


def test_auth_check_lists_what_the_key_may_do(server: Server) -> None:
    administrator, reader = (server.get(CHECK, key=key) for key in (server.admin, server.reader))
    assert administrator.status == reader.status == 200
    everything = set(server.database.column("SELECT name FROM permissions"))
    assert len(everything) == 82
    assert set(PRODUCT.permissions(administrator.json())) == everything
    assert everything >= PRODUCT.required_permissions
    may_read = set(PRODUCT.permissions(reader.json()))
    assert {"cert.read", "job.read"} <= may_read
    assert all(name.endswith(".read") for name in may_read)
    document = reader.json()
    assert document["user"] == document["actor_id"] == "reader"
    assert set(document["roles"]) == {"r-viewer"}
    assert not document["admin"]
    assert administrator.json()["admin"]
    assert administrator.json()["admin_via_role"]


def test_keys_from_the_secret_may_only_read(bench: Bench) -> None:
    with bench.serving(CERTCTL_API_KEYS_NAMED=None, CERTCTL_AUTH_SECRET="first,second") as server:
        names = [server.get(CHECK, key=key).json()["user"] for key in ("first", "second")]
        assert names == ["legacy-key-0", "legacy-key-1"]
        for key in ("first", "second"):
            assert is_forbidden(server.ask("POST", HEARTBEAT, key=key))
            assert is_forbidden(server.ask("POST", BULK_RENEW, key=key))


def test_the_secret_is_no_key_when_there_are_named_ones(bench: Bench) -> None:
    with bench.serving(CERTCTL_AUTH_SECRET="a-secret") as server:
        assert server.get(CHECK, key="a-secret").status == 401
        assert server.get(CHECK).status == 200


def test_without_authentication_everybody_is_the_demo_administrator(bench: Bench) -> None:
    with bench.serving(CERTCTL_AUTH_TYPE="none", CERTCTL_DEMO_MODE_ACK="true") as server:
        assert server.get("/api/v1/auth/info", key=None).json()["auth_type"] == "none"
        assert server.get(CHECK, key=None).json()["user"] == "actor-demo-anon"
        assert server.ask("POST", BULK_RENEW, key=None, body={}).status == 400


def test_permissions_are_asked_for_with_every_request(server: Server) -> None:
    database = server.database
    database.execute(
        "INSERT INTO agents (id, name, hostname, status, api_key_hash)"
        " VALUES ('ag-granted', 'granted', 'host', 'Online', '')"
    )

    def heartbeat() -> int:
        path = "/api/v1/agents/ag-granted/heartbeat"
        return server.ask("POST", path, key=server.reader, body={}).status

    assert heartbeat() == 403
    database.execute(
        "INSERT INTO actor_roles (id, actor_id, actor_type, role_id, tenant_id)"
        " VALUES ('ar-test', 'reader', 'APIKey', 'r-agent', 't-default')"
    )
    try:
        assert heartbeat() == 200
        assert is_forbidden(server.ask("POST", BULK_RENEW, key=server.reader))
        database.execute(
            "UPDATE actor_roles SET expires_at = now() - interval '1 s' WHERE id = 'ar-test'"
        )
        assert heartbeat() == 403
    finally:
        database.execute("DELETE FROM actor_roles WHERE id = 'ar-test'")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nowhere", 404),
        ("GET", "/nowhere", 404),
        ("POST", "/api/v1/agents//heartbeat", 404),
        ("POST", "/api/v1/agents/ag-nobody/heartbeat/again", 404),
        ("GET", HEARTBEAT, 405),
        ("PUT", HEARTBEAT, 405),
        ("GET", BULK_RENEW, 405),
        ("POST", CHECK, 405),
    ],
)
def test_unknown_paths_and_wrong_methods(
    server: Server, method: str, path: str, status: int
) -> None:
    reply = server.ask(method, path)
    assert (reply.status, reply.content_type) == (status, TEXT)


def padded(document: bytes, size: int) -> bytes:
    return document + b" " * (size - len(document))


def test_a_body_that_is_too_long_is_an_invalid_one(server: Server) -> None:
    document = b'{"certificate_ids":["mc-nowhere"]}'
    assert server.renew(padded(document, MEBIBYTE - 1)).status == 200
    reply = server.renew(padded(document, MEBIBYTE + 1))
    assert (reply.status, reply.content_type) == (400, JSON)
    assert reply.json() == {
        "error": "Bad Request",
        "message": "Invalid request body",
        "request_id": reply.headers["X-Request-ID"],
    }


def test_the_longest_body_can_be_set(bench: Bench) -> None:
    with bench.serving(CERTCTL_MAX_BODY_SIZE="100") as server:
        document = b'{"certificate_ids":["mc-nowhere"]}'
        assert server.renew(padded(document, 99)).status == 200
        assert server.renew(padded(document, 101)).status == 400


def test_more_requests_without_an_audit_row_than_rows_may_wait(server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.admin}"}
    with closing(server.connect()) as connection:
        for _ in range(MOST_PENDING + 1):
            connection.request("GET", "/healthz", headers=headers)
            response = connection.getresponse()
            response.read()
            assert response.status == 404
    assert server.get(CHECK).status == 200


class TestSpaFallback:
    @pytest.fixture(scope="class")
    @staticmethod
    def dashboard(bench: Bench) -> Iterator[Server]:
        with bench.serving(
            CERTLOAD_REFERENCE_ACME="spa-fallback", CERTCTL_RATE_LIMIT_ENABLED="true"
        ) as server:
            yield server

    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
    @pytest.mark.parametrize("path", ["/acme/profile/prof-loadtest/directory", "/healthz", "/"])
    def test_the_start_page_answers_whatever_has_no_route(
        self, dashboard: Server, method: str, path: str
    ) -> None:
        reply = dashboard.ask(method, path, key=None)
        assert (reply.status, reply.content_type) == (200, "text/html; charset=utf-8")
        assert reply.body.startswith(b"<!doctype html>")
        assert reply.headers["Replay-Nonce"] is None

    def test_the_api_answers_all_the_same(self, dashboard: Server) -> None:
        assert dashboard.get(CHECK).status == 200
        assert dashboard.get(CHECK, key=None).status == 401
        assert dashboard.get("/api/v1/nowhere").status == 404

    def test_the_start_page_knows_no_limiter_and_no_audit(self, dashboard: Server) -> None:
        with closing(dashboard.connect()) as connection:
            for _ in range(150):
                connection.request("GET", "/acme/directory")
                response = connection.getresponse()
                response.read()
                assert response.status == 200
        assert dashboard.database.value("SELECT count(*) FROM acme_nonces") == 0
        audited = dashboard.database.column("SELECT resource_id FROM audit_events")
        assert not [path for path in audited if path.startswith("/acme")]


class TestLimiter:
    BURST = 8

    @pytest.fixture
    def limited(self, bench: Bench) -> Iterator[Server]:
        # As good as no refill: what is admitted is the burst.
        with bench.serving(
            CERTCTL_RATE_LIMIT_ENABLED="true",
            CERTCTL_RATE_LIMIT_RPS="0.0001",
            CERTCTL_RATE_LIMIT_BURST=str(self.BURST),
            CERTLOAD_REFERENCE_WORKERS="3",
        ) as server:
            yield server

    def test_after_the_burst_requests_are_refused_in_plain_text(self, limited: Server) -> None:
        replies = [limited.get(CHECK) for _ in range(self.BURST + 3)]
        statuses = [reply.status for reply in replies]
        assert statuses == [200] * self.BURST + [429] * 3
        refusal = replies[-1]
        assert refusal.content_type == TEXT
        assert refusal.body == b'{"error":"Rate limit exceeded"}\n'
        assert refusal.headers["Retry-After"] == "1"
        assert refusal.headers["X-Content-Type-Options"] == "nosniff"

    def test_a_bucket_belongs_to_an_address_whoever_asks(self, limited: Server) -> None:
        for key in ["of-no-key", server_reader := limited.reader] * (self.BURST // 2):
            expected = 200 if key == server_reader else 401
            assert limited.get(CHECK, key=key).status == expected
        # An administrator comes too late, and so does a forwarded address.
        assert limited.get(CHECK).status == 429
        forwarded = {"X-Forwarded-For": "203.0.113.7"}
        assert limited.ask("GET", CHECK, headers=forwarded).status == 429
        assert self.from_address("127.0.0.2", limited) == 200

    def test_the_open_paths_have_a_bucket_of_their_own(self, limited: Server) -> None:
        for _ in range(self.BURST):
            limited.get(CHECK)
        assert limited.get(CHECK).status == 429
        assert limited.get("/health", key=None).status == 200
        for _ in range(self.BURST):
            last = limited.get("/api/v1/version", key=None).status
        assert last == 429

    def test_refusals_and_unknown_keys_leave_no_audit_row(self, limited: Server) -> None:
        for number in range(self.BURST - 1):
            limited.get(f"/api/v1/no-key/{number}", key=None)
        assert limited.get("/api/v1/admitted").status == 404
        for number in range(3):
            assert limited.get(f"/api/v1/refused/{number}").status == 429
        # Rows are all written before the server ends.
        limited.child.stop()
        audited = limited.database.column("SELECT resource_id FROM audit_events")
        assert audited == ["/api/v1/admitted"]

    @staticmethod
    def from_address(address: str, server: Server) -> int:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", server.port, timeout=30, context=server.tls, source_address=(address, 0)
        )
        with closing(connection):
            connection.request("GET", CHECK, headers={"Authorization": f"Bearer {server.admin}"})
            response = connection.getresponse()
            response.read()
            return response.status
