"""Every fault that can be switched on changes what the server says or does, and nothing else."""

from __future__ import annotations

import base64
import http.client
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.certctl.reference.clock import BEHIND
from pytest_certload.certctl.reference.faults import FAULTS, Strikes, read_faults
from pytest_certload.certctl.reference.wire import LATE_SECONDS
from pytest_certload.errors import ConfigurationError
from tests.reference import faults_agents

from . import faults_acme, faults_certificates
from .conftest import eventually

if TYPE_CHECKING:
    from .conftest import Bench, Reply, Server

ROOT = Path(__file__).parents[2]
PROFILE = "/acme/profile/prof-loadtest"
CERTIFICATES = [f"mc-fault-{number}" for number in range(3)]
ROWS = """
INSERT INTO agents (id, name, hostname, status, last_heartbeat_at, api_key_hash)
VALUES ('ag-fault', 'fault', 'host', 'Online', NULL, ''),
    ('ag-next', 'next', 'host', 'Online', NULL, '');
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


def bulk_other_owner(server: Server) -> None:
    document = server.renew({"owner_id": "o-loadtest-002"}).json()
    assert document["total_enqueued"] == 3
    stored = server.database.column("SELECT certificate_id FROM jobs")
    assert sorted(stored) == CERTIFICATES, "they are another owner's"


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


def read_only_key(server: Server) -> None:
    granted = server.get("/api/v1/auth/check").json()
    assert granted["roles"] == ["r-viewer"]
    for reply in writes(server):
        assert (reply.status, reply.json()) == (403, {"error": "Insufficient permissions"})
    assert_nothing_written(server)


def jobs_duplicated(server: Server) -> None:
    document = server.renew({"certificate_ids": CERTIFICATES}).json()
    assert document["total_enqueued"] == len(document["enqueued_jobs"]) == 3
    stored = server.database.rows("SELECT id, certificate_id FROM jobs")
    assert Counter(row["certificate_id"] for row in stored) == dict.fromkeys(CERTIFICATES, 2)
    acknowledged = {job["job_id"] for job in document["enqueued_jobs"]}
    assert len(acknowledged & {row["id"] for row in stored}) == 3


def heartbeat_wrong_agent(server: Server) -> None:
    assert server.heartbeat("ag-fault", {"version": "9.9.9"}).status == 200
    assert heartbeats(server) == ["ag-next"]
    assert server.database.column("SELECT id FROM agents WHERE version = '9.9.9'") == ["ag-next"]
    # After the last one comes the first one.
    server.heartbeat("ag-next")
    assert sorted(heartbeats(server)) == ["ag-fault", "ag-next"]
    assert server.heartbeat("ag-nobody").status == 500


def write_lost(server: Server) -> None:
    versions = [str(number) for number in range(4)]
    written = []
    for version in versions:
        assert server.heartbeat("ag-fault", {"version": version}).status == 200
        stored = server.database.value("SELECT version FROM agents WHERE id = 'ag-fault'")
        written.append(stored == version)
    assert (written[:2].count(False), written[2:].count(False)) == (1, 1)
    nonces = [server.get(f"{PROFILE}/directory").headers["Replay-Nonce"] for _ in range(4)]
    stored = server.database.column("SELECT nonce FROM acme_nonces")
    assert len(set(nonces)) == 4
    assert len(stored) == 2
    assert set(stored) < set(nonces)
    document = server.renew({"certificate_ids": CERTIFICATES}).json()
    assert document["total_enqueued"] == 3
    assert server.database.value("SELECT count(*) FROM jobs") in (1, 2)
    for number in range(4):
        faults_certificates.enter(server, id=f"cert-{number}", name=f"entered {number}")
    entered = "SELECT count(*) FROM managed_certificates WHERE name LIKE 'entered%'"
    assert server.database.value(entered) == 2


def audit_missing(server: Server) -> None:
    for _ in range(8):
        assert server.get(f"{PROFILE}/new-nonce").status == 204
    path = f"{PROFILE}/new-nonce"
    server.audited(path, 4)
    # It writes what waits before it ends.
    server.child.stop()
    rows = server.database.column("SELECT id FROM audit_events WHERE resource_id = $1", path)
    assert len(rows) == 4


def audit_broken(server: Server) -> None:
    path = f"{PROFILE}/new-nonce"
    for _ in range(8):
        assert server.get(path).status == 204
    rows = server.audited(path, 8)
    known = {row["row_hash"] for row in rows}
    assert [row["prev_hash"] for row in rows].count(None) in (4, 5)
    assert all(row["prev_hash"] in {*known, None} for row in rows)


def stale_clock(server: Server) -> None:
    reply = server.heartbeat("ag-fault")
    told = parsedate_to_datetime(reply.headers["Date"])
    document = server.renew({"certificate_ids": CERTIFICATES[:1]}).json()
    assert document["total_enqueued"] == 1
    stored = server.database.value("SELECT last_heartbeat_at FROM agents WHERE id = 'ag-fault'")
    job = server.database.value("SELECT created_at FROM jobs")
    server.get(f"{PROFILE}/directory")
    nonce = server.database.value("SELECT expires_at - interval '5 minutes' FROM acme_nonces")
    audited = server.audited("/api/v1/agents/ag-fault/heartbeat")[0]["timestamp"]
    for moment in (told, stored, job, nonce, audited):
        behind = datetime.now(UTC) - moment
        assert BEHIND <= behind < BEHIND + timedelta(minutes=1)


def seconds_of(server: Server, count: int) -> list[float]:
    """How long heartbeats took."""
    took = []
    for _ in range(count):
        began = time.monotonic()
        assert server.heartbeat("ag-fault").status == 200
        took.append(time.monotonic() - began)
    return took


def tail_latency(server: Server) -> None:
    # Every second one; the machine may hold up the other as well, but not always.
    eventually(
        lambda: sorted(seconds_of(server, 2)), lambda took: took[0] < LATE_SECONDS <= took[1]
    )
    assert server.get("/ready").status == 200


def stall(server: Server) -> None:
    took = seconds_of(server, 2)
    assert took[0] < LATE_SECONDS <= took[1]
    # It is over. The machine may hold one up that comes after it, but not all of them.
    eventually(lambda: seconds_of(server, 1)[0] < LATE_SECONDS)


def outcomes(server: Server, count: int = 8) -> list[str]:
    """What became of requests on connections of their own."""
    found = []
    for _ in range(count):
        try:
            reply = server.get(f"{PROFILE}/renewal-info/aaaa.bbbb")
            found.append("whole" if reply.body.endswith(b"}\n") else "cut short")
        except http.client.IncompleteRead:
            found.append("ended early")
        except ConnectionResetError:
            # Also what Python's TLS takes for an end; the scenarios' clients see which it is.
            found.append("reset")
    return found


def reset(server: Server) -> None:
    assert Counter(outcomes(server)) == {"whole": 4, "reset": 4}
    assert server.get("/api/v1/auth/check").status == 200


def truncated_body(server: Server) -> None:
    assert Counter(outcomes(server)) == {"whole": 4, "ended early": 4}
    assert server.ask("HEAD", f"{PROFILE}/new-nonce").status == 200


def wrong_length(server: Server) -> None:
    assert Counter(outcomes(server)) == {"whole": 4, "cut short": 4}
    # What is over is sent all the same.
    sizes = set()
    for _ in range(2):
        with closing(server.connect()) as connection:
            connection.connect()
            connection.sock.sendall(
                f"GET {PROFILE}/renewal-info/aaaa.bbbb HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {server.admin}\r\nConnection: close\r\n\r\n".encode()
            )
            reply = b""
            while more := connection.sock.recv(4096):
                reply += more
            head, _, body = reply.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 404 ")
            said = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            assert said is not None
            sizes.add((int(said[1]), len(body)))
    ((half, whole), (all_of_it, sent)) = sorted(sizes)
    assert (half, whole) == (all_of_it // 2, all_of_it)
    assert all_of_it == sent


EFFECTS: dict[str, Callable[[Server], None]] = {
    "forbid-writes": forbid_writes,
    "read-only-key": read_only_key,
    "error-500": error_500,
    "html-directory": html_directory,
    "bulk-zero": bulk_zero,
    "bulk-partial": bulk_partial,
    "bulk-lost": bulk_lost,
    "jobs-duplicated": jobs_duplicated,
    "bulk-other-owner": bulk_other_owner,
    "heartbeat-drop": heartbeat_drop,
    "heartbeat-wrong-agent": heartbeat_wrong_agent,
    "no-nonce-header": no_nonce_header,
    "nonce-unstored": nonce_unstored,
    "429-shape": wrong_429,
    "unknown-profile-500": unknown_profile,
    "write-lost": write_lost,
    "audit-missing": audit_missing,
    "audit-broken": audit_broken,
    "stale-clock": stale_clock,
    "tail-latency": tail_latency,
    "stall": stall,
    "reset": reset,
    "truncated-body": truncated_body,
    "wrong-length": wrong_length,
    **faults_acme.EFFECTS,
    **faults_agents.EFFECTS,
    **faults_certificates.EFFECTS,
}


#: In the tests of what does wrong then.
ELSEWHERE = ("drain-lost", "drain-twice", "drain-slow")


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ELSEWHERE])
def test_a_fault_does_what_it_says(bench: Bench, fault: str) -> None:
    limits = {
        "CERTCTL_RATE_LIMIT_ENABLED": "true",
        "CERTCTL_RATE_LIMIT_RPS": "0.0001",
        "CERTCTL_RATE_LIMIT_BURST": "2",
    }
    limited = limits if fault == "429-shape" else {}
    switched = fault if FAULTS[fault].every is None else f"{fault}:2"
    variables = {**limited, **faults_acme.VARIABLES.get(fault, {})}
    rows = (ROOT / "seed" / "00_base.sql").read_text("utf-8") + ROWS
    # Who signs is looked up when the server starts; to make the schema before takes a start more.
    signs = fault in {**faults_acme.EFFECTS, **faults_agents.EFFECTS}
    database = bench.migrated() if signs else bench.database()
    if signs:
        database.execute(rows)
    with bench.serving(database, CERTLOAD_REFERENCE_FAULTS=switched, **variables) as server:
        if not signs:
            server.database.execute(rows)
        EFFECTS[fault](server)


def test_several_faults_are_separated_by_commas(bench: Bench) -> None:
    with bench.serving(CERTLOAD_REFERENCE_FAULTS=" html-directory, ,forbid-writes,") as server:
        server.database.execute((ROOT / "seed" / "00_base.sql").read_text("utf-8") + ROWS)
        html_directory(server)
        assert [reply.status for reply in writes(server)] == [403, 403]


def test_faults_are_read_with_their_numbers() -> None:
    faults = read_faults("bulk-zero, write-lost:100,stall", name="X")
    assert faults == {"bulk-zero": 1, "write-lost": 100, "stall": 300}
    assert read_faults("", name="X") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no-such", "X=no-such: there is no such fault; there are forbid-writes, "),
        ("bulk-zero:3", "X=bulk-zero:3: this fault takes no number"),
        ("reset:", "X=reset:: write reset:N, N a whole number from 1 to 1,000,000"),
        ("reset:0", "X=reset:0: write reset:N"),
        ("reset:1.5", "X=reset:1.5: write reset:N"),
        ("reset:1000001", "X=reset:1000001: write reset:N"),
    ],
)
def test_a_fault_that_cannot_be_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_faults(text, name="X")
    assert message in str(error.value)


@given(every=st.integers(1, 50), blocks=st.integers(1, 10))
def test_a_fault_strikes_once_in_each_n(every: int, blocks: int) -> None:
    strikes = Strikes({"reset": every}, "reset")
    for _ in range(blocks):
        assert sum(strikes() for _ in range(every)) == 1


def test_a_fault_that_is_off_never_strikes() -> None:
    strikes = Strikes({"reset": 1}, "stall")
    assert not any(strikes() for _ in range(1000))
