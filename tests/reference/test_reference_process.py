"""The reference server as a program: its configuration, its schema, its workers, its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_certload.certctl.reference import config as config_module
from pytest_certload.certctl.reference.__main__ import main
from pytest_certload.certctl.reference.config import read_config
from pytest_certload.certctl.reference.faults import FAULTS

if TYPE_CHECKING:
    from .conftest import Bench, Server

CHECK = "/api/v1/auth/check"
WRONG_USE = 2


class TestConfiguration:
    """Run in this process, which ends before there is anything to fork or to connect to."""

    @pytest.fixture(autouse=True)
    def correct(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in os.environ if name.startswith(("CERTCTL_", "CERTLOAD_"))]:
            monkeypatch.delenv(name)
        for name, value in bench.environment(None, {}).items():
            monkeypatch.setenv(name, value)

    @staticmethod
    def refusal(capsys: pytest.CaptureFixture[str]) -> str:
        assert main(["--migrate-only"]) == WRONG_USE
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("certctl reference server: ")
        assert captured.err.count("\n") == 1
        return captured.err

    @pytest.mark.parametrize(
        "name",
        [
            "CERTCTL_AGENT_BOOTSTRAP_TOKEN",
            "CERTCTL_AUTH_SECRET",
            "CERTCTL_DATABASE_URL",
            "CERTCTL_SERVER_TLS_CERT_PATH",
            "CERTCTL_SERVER_TLS_KEY_PATH",
        ],
    )
    @pytest.mark.parametrize("value", [None, ""])
    def test_what_is_missing_is_named(
        self,
        name: str,
        value: str | None,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
        assert f"{name} is not set" in self.refusal(capsys)

    @pytest.mark.parametrize(
        ("name", "value", "remedy"),
        [
            ("CERTCTL_SERVER_PORT", "https", "a whole number from 1 to 65535"),
            ("CERTCTL_SERVER_PORT", "0", "a whole number from 1 to 65535"),
            ("CERTCTL_SERVER_PORT", "65536", "a whole number from 1 to 65535"),
            ("CERTCTL_DATABASE_MAX_CONNS", "-1", "a whole number above zero"),
            ("CERTCTL_MAX_BODY_SIZE", "1MiB", "a whole number above zero"),
            ("CERTLOAD_REFERENCE_WORKERS", "0", "a whole number above zero"),
            ("CERTLOAD_REFERENCE_WORKERS", "1.5", "a whole number above zero"),
            ("CERTCTL_RATE_LIMIT_ENABLED", "on", "true or false"),
            ("CERTCTL_KEYGEN_MODE", "client", "agent or server"),
            ("CERTCTL_AUTH_TYPE", "jwt", "api-key or none"),
            ("CERTCTL_AUTH_TYPE", "oidc", "api-key or none"),
            ("CERTLOAD_REFERENCE_ACME", "off", "routed or spa-fallback"),
            ("CERTCTL_SCHEDULER_AGENT_HEALTH_CHECK_INTERVAL", "2 days", "duration"),
            ("CERTCTL_SCHEDULER_AGENT_HEALTH_CHECK_INTERVAL", "0s", "1s or more"),
        ],
    )
    def test_a_wrong_value_is_shown_with_its_remedy(
        self,
        name: str,
        value: str,
        remedy: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv(name, value)
        message = self.refusal(capsys)
        assert name in message
        assert value in message
        assert remedy in message

    @pytest.mark.parametrize(
        ("name", "value", "remedy"),
        [
            ("CERTCTL_RATE_LIMIT_RPS", "many", "a number above zero"),
            ("CERTCTL_RATE_LIMIT_RPS", "0.0", "a number above zero"),
            ("CERTCTL_RATE_LIMIT_BURST", "1.5", "a whole number above zero"),
        ],
    )
    def test_the_limiters_values_are_read_when_it_is_on(
        self,
        name: str,
        value: str,
        remedy: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("CERTCTL_RATE_LIMIT_ENABLED", "true")
        monkeypatch.setenv(name, value)
        assert f"{name}={value}: write {remedy}" in self.refusal(capsys)

    @pytest.mark.parametrize(
        "value", ["secret-key", "load test:secret-key", "name:", "name:secret-key:root", "a:b,"]
    )
    def test_named_keys_are_checked_and_never_shown(
        self, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("CERTCTL_API_KEYS_NAMED", value)
        message = self.refusal(capsys)
        assert "CERTCTL_API_KEYS_NAMED: write name:key or name:key:admin" in message
        assert "secret-key" not in message

    def test_no_authentication_must_be_acknowledged(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("CERTCTL_AUTH_TYPE", "none")
        monkeypatch.setenv("CERTCTL_SERVER_HOST", "0.0.0.0")
        message = self.refusal(capsys)
        assert "CERTCTL_AUTH_TYPE=none" in message
        assert "CERTCTL_DEMO_MODE_ACK=true" in message

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
    def test_on_its_own_machine_nobody_need_be_known(
        self, host: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CERTCTL_AUTH_TYPE", "none")
        monkeypatch.setenv("CERTCTL_SERVER_HOST", host)
        assert read_config(os.environ).keys is None

    @pytest.mark.parametrize(
        ("name", "value"),
        [("CERTCTL_AGENT_BOOTSTRAP_TOKEN_DENY_EMPTY", "false"), ("CERTCTL_DEMO_MODE_ACK", "true")],
    )
    def test_a_bootstrap_token_may_be_left_out(
        self, name: str, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CERTCTL_AGENT_BOOTSTRAP_TOKEN")
        monkeypatch.setenv(name, value)
        assert read_config(os.environ).keys

    def test_what_is_empty_or_0_is_what_certctl_makes_of_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CERTCTL_RATE_LIMIT_ENABLED", "")
        monkeypatch.setenv("CERTCTL_SCHEDULER_JOB_CLAIM_LIMIT", "0")
        monkeypatch.setenv("CERTCTL_RENEWAL_CONCURRENCY", "0")
        config = read_config(os.environ)
        assert config.limit is not None
        assert (config.claim_limit, config.renewal_concurrency) == (1000, 1)

    @pytest.mark.parametrize(("connections", "most"), [(1, 1), (3, 1), (4, 2), (50, 25)])
    def test_each_worker_has_more_than_one_connection(
        self, connections: int, most: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("CERTLOAD_REFERENCE_WORKERS")
        monkeypatch.setenv("CERTCTL_DATABASE_MAX_CONNS", str(connections))
        monkeypatch.setenv("CERTCTL_RATE_LIMIT_ENABLED", "false")
        for limit in ("ORDERS_PER_HOUR", "CHALLENGE_RESPONDS_PER_HOUR"):
            monkeypatch.setenv(f"CERTCTL_ACME_SERVER_RATE_LIMIT_{limit}", "0")
        monkeypatch.setattr(config_module, "_cores", lambda: 64)
        assert read_config(os.environ).workers == most

    def test_an_unknown_fault_is_named_with_those_there_are(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("CERTLOAD_REFERENCE_FAULTS", "bulk-zero,no-such-fault")
        message = self.refusal(capsys)
        assert "CERTLOAD_REFERENCE_FAULTS=no-such-fault" in message
        assert all(fault in message for fault in FAULTS)

    @pytest.mark.parametrize("which", ["CERT", "KEY"])
    @pytest.mark.parametrize("content", [None, "no PEM"])
    def test_tls_files_that_cannot_be_read_or_used(
        self,
        which: str,
        content: str | None,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        file = tmp_path / "tls.pem"
        if content is not None:
            file.write_text(content)
        monkeypatch.setenv(f"CERTCTL_SERVER_TLS_{which}_PATH", str(file))
        assert "CERTCTL_SERVER_TLS_" in self.refusal(capsys)

    def test_a_key_that_is_not_the_certificates(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        other = bench.authority.issue(file_name="other")
        monkeypatch.setenv("CERTCTL_SERVER_TLS_KEY_PATH", str(other.key_path))
        message = self.refusal(capsys)
        assert "CERTCTL_SERVER_TLS_" in message
        assert "mismatch" in message.lower()


def test_a_wrong_configuration_ends_the_program_with_2(bench: Bench) -> None:
    with bench.spawned(CERTLOAD_REFERENCE_FAULTS="no-such-fault") as child:
        assert child.wait(30) == WRONG_USE
        assert "CERTLOAD_REFERENCE_FAULTS=no-such-fault" in child.log()
        assert "Traceback" not in child.log()


@pytest.mark.parametrize(
    "url",
    [
        "not-a-url",
        "postgres://127.0.0.1:1/nowhere",
        "postgres://user@127.0.0.1:notaport/nowhere",
        "mysql://127.0.0.1:1/nowhere",
    ],
)
def test_a_database_that_cannot_be_reached_ends_the_program_with_1(bench: Bench, url: str) -> None:
    with bench.spawned("--migrate-only", CERTCTL_DATABASE_URL=url) as child:
        assert child.wait(30) == 1
        assert "certctl reference server: CERTCTL_DATABASE_URL: " in child.log()
        assert "Traceback" not in child.log()


def test_a_database_that_is_not_there_ends_the_program_with_1(bench: Bench) -> None:
    dsn = bench.database().dsn.replace("/reference_", "/no_such_database_")
    with bench.spawned(CERTCTL_DATABASE_URL=dsn) as child:
        assert child.wait(30) == 1
        assert "CERTCTL_DATABASE_URL: " in child.log()
        assert "no_such_database" in child.log()


SHAPE = """
SELECT (SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public')
    || ' columns, ' || (SELECT count(*) FROM pg_indexes WHERE schemaname = 'public')
    || ' indexes, ' || (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal)
    || ' triggers, ' || (SELECT count(*) FROM role_permissions)
    || ' permissions of roles, ' || (SELECT count(*) FROM schema_migrations) || ' migration'
"""


def test_migrating_twice_and_at_once_gives_the_same_schema(bench: Bench) -> None:
    database = bench.database()
    with (
        bench.spawned("--migrate-only", database=database) as first,
        bench.spawned("--migrate-only", database=database) as second,
    ):
        for child in (first, second):
            assert child.wait(30) == 0, child.log()
            assert child.log() == ""
    once = database.value(SHAPE)
    assert once.endswith(", 1 migration")
    assert "2 triggers" in once
    with bench.spawned("--migrate-only", database=database) as third:
        assert third.wait(30) == 0
    assert database.value(SHAPE) == once
    # Each start grants the two keys their roles again, as certctl's does.
    granted = Counter(
        (row["actor_id"], row["role_id"])
        for row in database.rows("SELECT * FROM actor_roles WHERE actor_type = 'APIKey'")
    )
    assert granted == {("loadtest", "r-admin"): 3, ("reader", "r-viewer"): 3}
    # They are as much as one.
    with bench.serving(database) as server:
        assert len(server.get(CHECK).json()["effective_permissions"]) == 82


def test_a_port_that_is_taken_is_named(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        database = bench.database()
        with bench.spawned(database=database, CERTCTL_SERVER_PORT=str(port)) as child:
            assert child.wait(30) == 1
            assert f"127.0.0.1:{port} cannot be listened on" in child.log()
            assert "in use" in child.log()


def test_by_itself_it_listens_where_it_is_told(bench: Bench) -> None:
    # A loopback address of this process's own, on which no port can be anybody else's.
    number = os.getpid()
    host = f"127.{64 + (number >> 16) % 64}.{number >> 8 & 255}.{number & 255}"
    certificate = bench.authority.issue(host, file_name="own-address")
    context = ssl.create_default_context(cafile=str(bench.authority.ca_path))
    with bench.spawned(
        database=bench.database(),
        CERTCTL_SERVER_HOST=host,
        CERTCTL_SERVER_PORT="8443",
        CERTCTL_SERVER_TLS_CERT_PATH=str(certificate.cert_path),
        CERTCTL_SERVER_TLS_KEY_PATH=str(certificate.key_path),
    ) as child:

        def listens() -> bool:
            assert child.exit_code is None, child.log()
            try:
                with (
                    socket.create_connection((host, 8443), timeout=30) as connection,
                    context.wrap_socket(connection, server_hostname=host) as secured,
                ):
                    secured.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    return secured.recv(20).startswith(b"HTTP/1.1 200 OK")
            except ConnectionRefusedError:
                return False

        bench.eventually(listens)


def workers_of(server: Server) -> list[int]:
    """The server's child processes, oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and parent_of(int(entry.name)) == server.pid:
            found.append(int(entry.name))
    return sorted(found)


def parent_of(pid: int) -> int | None:
    """The parent of a process, None when it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Behind the name, which may hold anything: state and parent.
    state, parent = text.rpartition(")")[2].split()[:2]
    return None if state in "ZX" else int(parent)


class TestWorkers:
    @pytest.fixture
    def pair(self, bench: Bench) -> Iterator[Server]:
        with bench.serving(CERTLOAD_REFERENCE_WORKERS="2") as server:
            assert len(workers_of(server)) == 2
            yield server

    @staticmethod
    def all_end(bench: Bench, workers: list[int]) -> None:
        bench.eventually(lambda: [pid for pid in workers if parent_of(pid)], lambda left: not left)

    def test_connections_are_handed_out_in_turn(self, bench: Bench, pair: Server) -> None:
        connections = [pair.connect() for _ in range(10)]
        headers = {"Authorization": f"Bearer {pair.admin}"}
        try:
            for number, connection in enumerate(connections):
                connection.request("GET", f"/api/v1/turn/{number}", headers=headers)
                connection.getresponse().read()
        finally:
            for connection in connections:
                connection.close()
        bench.eventually(
            lambda: pair.database.value("SELECT count(*) FROM audit_events"),
            lambda count: count >= len(connections),
        )
        pair.child.stop()
        # A worker's rows have numbers of its own.
        workers = {
            int(row["resource_id"].rpartition("/")[2]): int(row["id"].rpartition("-")[2]) % 2
            for row in pair.database.rows("SELECT id, resource_id FROM audit_events")
        }
        first = workers[0]
        assert workers == {number: (first + number) % 2 for number in range(10)}

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_all_with_0(
        self, bench: Bench, pair: Server, number: signal.Signals
    ) -> None:
        workers = workers_of(pair)
        os.kill(pair.pid, number)
        assert pair.child.wait(20) == 0, pair.child.log()
        self.all_end(bench, workers)
        assert pair.child.log() == ""
        with closing(pair.connect()) as connection, pytest.raises(ConnectionRefusedError):
            connection.connect()

    def test_an_idle_connection_is_no_reason_to_wait(self, pair: Server) -> None:
        with closing(pair.connect()) as connection:
            connection.request("GET", "/health")
            connection.getresponse().read()
            started = time.monotonic()
            os.kill(pair.pid, signal.SIGTERM)
            assert pair.child.wait(20) == 0
            assert time.monotonic() - started < 10

    def test_a_worker_that_is_killed_ends_the_server_with_1(
        self, bench: Bench, pair: Server
    ) -> None:
        first, second = workers_of(pair)
        os.kill(first, signal.SIGKILL)
        assert pair.child.wait(20) == 1
        assert f"worker {first} ended with -9" in pair.child.log()
        self.all_end(bench, [first, second])

    def test_workers_do_not_outlive_the_server(self, bench: Bench, pair: Server) -> None:
        workers = workers_of(pair)
        os.kill(pair.pid, signal.SIGKILL)
        assert pair.child.wait(20) == -signal.SIGKILL
        self.all_end(bench, workers)

    def test_with_a_limiter_there_is_one(self, bench: Bench) -> None:
        with bench.serving(
            CERTLOAD_REFERENCE_WORKERS="3", CERTCTL_RATE_LIMIT_ENABLED="true"
        ) as server:
            assert len(workers_of(server)) == 1

    def test_by_default_there_is_one_a_core(self, bench: Bench) -> None:
        with bench.serving(CERTLOAD_REFERENCE_WORKERS=None) as server:
            # Each has two of the 50 connections at least.
            assert len(workers_of(server)) == min(len(os.sched_getaffinity(0)), 25)


def test_nothing_is_logged_for_a_connection(bench: Bench) -> None:
    with bench.serving() as server:
        assert server.get(CHECK).status == 200
        # A handshake that fails, and one that never comes, are the client's affair.
        with closing(socket.create_connection(("127.0.0.1", server.port))) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            connection.recv(100)
        with closing(socket.create_connection(("127.0.0.1", server.port))):
            pass
        assert server.get(CHECK).status == 200
        server.child.stop()
        assert re.sub(r"\s", "", server.child.log()) == ""
