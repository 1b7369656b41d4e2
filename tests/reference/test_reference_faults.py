"""Every fault that can be switched on changes what the server says or does, and nothing else."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_certload.certctl.reference.config import FAULTS

if TYPE_CHECKING:
    from .conftest import Bench, Reply, Server

ROOT = Path(__file__).parents[2]
PROFILE = "/acme/profile/prof-loadtest"
CERTIFICATES = [f"mc-fault-{number}" for number in range(3)]
ROWS = """
INSERT INTO agents (id, name, hostname, status, last_heartbeat_at, api_key_hash)
VALUES ('ag-fault', 'fault', 'host', 'Online', '2026-01-01', '');
INSERT INTO managed_certificates (id, name, common_name, environment, owner_id, team_id,
    issuer_id, renewal_policy_id, status, expires_at)
SELECT 'mc-fault-' || n, 'fault ' || n, 'fault', 'test', 'o-loadtest-001', 't-loadtest',
    'iss-local', 'rp-loadtest', 'Active', now() + interval '80 days'
FROM generate_series(0, 2) AS n;
"""


def writes(server: Server) -> list[Reply]:
    return [server.heartbeat("ag-fault"), server.renew({"certificate_ids": CERTIFICATES})]


def forbid_writes(server: Server) -> None:
    for reply in writes(server):
        assert (reply.status, reply.json()) == (403, {"error": "Insufficient permissions"})
    assert server.get("/api/v1/auth/check").status == 200
    assert server.get(f"{PROFILE}/directory").status == 200
    assert_nothing_written(server)


def error_500(server: Server) -> None:
    for reply in writes(server):
        assert (reply.status, reply.json()["error"]) == (500, "Internal Server Error")
    assert server.get("/api/v1/auth/check").status == 200
    assert_nothing_written(server)


def assert_nothing_written(server: Server) -> None:
    assert server.database.value("SELECT count(*) FROM jobs") == 0
    assert not heartbeats(server)


def heartbeats(server: Server) -> list[str]:
    return server.database.column("SELECT id FROM agents WHERE last_heartbeat_at > '2026-01-01'")


def html_directory(server: Server) -> None:
    reply = server.get(f"{PROFILE}/directory")
    assert (reply.status, reply.content_type) == (200, "text/html; charset=utf-8")
    assert reply.headers["Replay-Nonce"] is None
    assert server.get(f"{PROFILE}/new-nonce").status == 204


def bulk_zero(server: Server) -> None:
    document = server.renew({"certificate_ids": CERTIFICATES}).json()
    assert document == {
        "total_matched": 3,
        "total_enqueued": 0,
        "total_skipped": 3,
        "total_failed": 0,
    }
    assert server.database.value("SELECT count(*) FROM jobs") == 0


def bulk_partial(server: Server) -> None:
    document = server.renew({"certificate_ids": CERTIFICATES}).json()
    assert (document["total_enqueued"], document["total_skipped"]) == (2, 1)
    renewed = [job["certificate_id"] for job in document["enqueued_jobs"]]
    assert renewed == CERTIFICATES[:2]
    assert sorted(server.database.column("SELECT certificate_id FROM jobs")) == renewed


def bulk_lost(server: Server) -> None:
    document = server.renew({"certificate_ids": CERTIFICATES}).json()
    assert (document["total_enqueued"], document["total_skipped"]) == (3, 0)
    acknowledged = {job["job_id"] for job in document["enqueued_jobs"]}
    stored = set(server.database.column("SELECT id FROM jobs"))
    assert stored < acknowledged
    assert len(acknowledged - stored) == 1


def heartbeat_drop(server: Server) -> None:
    reply = server.heartbeat("ag-fault", {"version": "9.9.9"})
    assert (reply.status, reply.json()) == (200, {"status": "heartbeat_recorded"})
    assert not heartbeats(server)
    assert server.heartbeat("ag-nobody").status == 500


def no_nonce_header(server: Server) -> None:
    for method, status in (("HEAD", 200), ("GET", 204)):
        reply = server.ask(method, f"{PROFILE}/new-nonce")
        assert (reply.status, reply.headers["Replay-Nonce"]) == (status, None)
    assert server.database.value("SELECT count(*) FROM acme_nonces") == 2
    assert server.get(f"{PROFILE}/directory").headers["Replay-Nonce"] is not None


def nonce_unstored(server: Server) -> None:
    reply = server.ask("HEAD", f"{PROFILE}/new-nonce")
    assert len(base64.urlsafe_b64decode(reply.headers["Replay-Nonce"] + "=")) == 32
    assert server.database.value("SELECT count(*) FROM acme_nonces") == 0
    server.get(f"{PROFILE}/directory")
    assert server.database.value("SELECT count(*) FROM acme_nonces") == 1


def wrong_429(server: Server) -> None:
    replies = [server.get("/api/v1/auth/check") for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert replies[-1].content_type == "application/json"
    assert replies[-1].headers["Retry-After"] is None
    assert "error" not in replies[-1].json()


def unknown_profile(server: Server) -> None:
    for resource in ("directory", "new-nonce", "renewal-info/aaaa.bbbb"):
        reply = server.get(f"{PROFILE}/{resource}")
        assert reply.status == 500
        assert reply.json()["type"] == "urn:ietf:params:acme:error:serverInternal"


EFFECTS: dict[str, Callable[[Server], None]] = {
    "forbid-writes": forbid_writes,
    "error-500": error_500,
    "html-directory": html_directory,
    "bulk-zero": bulk_zero,
    "bulk-partial": bulk_partial,
    "bulk-lost": bulk_lost,
    "heartbeat-drop": heartbeat_drop,
    "no-nonce-header": no_nonce_header,
    "nonce-unstored": nonce_unstored,
    "429-shape": wrong_429,
    "unknown-profile-500": unknown_profile,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_does_what_it_says(bench: Bench, fault: str) -> None:
    limits = {
        "CERTCTL_RATE_LIMIT_ENABLED": "true",
        "CERTCTL_RATE_LIMIT_RPS": "0.0001",
        "CERTCTL_RATE_LIMIT_BURST": "2",
    }
    limited = limits if fault == "429-shape" else {}
    with bench.serving(None, CERTLOAD_REFERENCE_FAULTS=fault, **limited) as server:
        server.database.execute((ROOT / "seed" / "00_base.sql").read_text("utf-8") + ROWS)
        EFFECTS[fault](server)


def test_several_faults_are_separated_by_commas(bench: Bench) -> None:
    with bench.serving(CERTLOAD_REFERENCE_FAULTS=" html-directory, ,forbid-writes,") as server:
        server.database.execute((ROOT / "seed" / "00_base.sql").read_text("utf-8") + ROWS)
        html_directory(server)
        assert [reply.status for reply in writes(server)] == [403, 403]
