"""A Postgres of its own, and the reference server as a process of its own, started as asked for."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pytest_certload.certctl.product import environment
from pytest_certload.database import Database, run_sync
from pytest_certload.stack import ServerSetup
from pytest_certload.stack.certs import CertificateAuthority
from pytest_certload.stack.embedded import NOT_INHERITED
from pytest_certload.stack.postgres import find_binaries, run_cluster
from pytest_certload.stack.processes import Child, Workspace, open_workspace

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
LOOPBACK = "127.0.0.1"
PATIENCE = 30.0
POLL_SECONDS = 0.02
BACKLOG = 128
ADMIN = "key-of-an-administrator"
READER = "key-that-may-only-read"
ARGV = (sys.executable, "-m", "pytest_certload.certctl.reference")


def eventually(
    question: Callable[[], T], holds: Callable[[T], bool] = bool, *, seconds: float = PATIENCE
) -> T:
    """The first answer that holds; fails with the last one when none does in time."""
    deadline = time.monotonic() + seconds
    while not holds(answer := question()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds:g} s"
        time.sleep(POLL_SECONDS)
    return answer


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the server answered."""

    status: int
    headers: Message
    body: bytes

    @property
    def content_type(self) -> str | None:
        return self.headers["Content-Type"]

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Asks a database, each time over a connection of its own."""

    dsn: str

    def rows(self, sql: str, *args: object) -> list[Mapping[str, Any]]:
        async def ask() -> list[Mapping[str, Any]]:
            async with Database.connect(self.dsn) as database:
                return await database.fetch(sql, *args)

        return run_sync(ask())

    def value(self, sql: str, *args: object) -> Any:
        return next(iter(self.rows(sql, *args)[0].values()))

    def column(self, sql: str, *args: object) -> list[Any]:
        return [next(iter(row.values())) for row in self.rows(sql, *args)]

    def execute(self, sql: str, *args: object) -> str:
        async def run() -> str:
            async with Database.connect(self.dsn) as database:
                return await database.execute(sql, *args)

        return run_sync(run())


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running reference server."""

    child: Child
    port: int
    database: Questions
    tls: ssl.SSLContext
    admin: str = ADMIN
    reader: str = READER

    @property
    def pid(self) -> int:
        return self.child._popen.pid

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(LOOPBACK, self.port, timeout=PATIENCE, context=self.tls)

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | str | Mapping[str, object] = b"",
        key: str | None = ADMIN,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request on a connection of its own; ``key=None`` sends no ``Authorization``."""
        sent = dict(headers or {})
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        content = json.dumps(body) if isinstance(body, Mapping) else body
        with closing(self.connect()) as connection:
            connection.request(method, path, body=content or None, headers=sent)
            response = connection.getresponse()
            return Reply(status=response.status, headers=response.headers, body=response.read())

    def get(self, path: str, *, key: str | None = ADMIN) -> Reply:
        return self.ask("GET", path, key=key)

    def heartbeat(self, agent: str, body: bytes | str | Mapping[str, object] = b"{}") -> Reply:
        return self.ask("POST", f"/api/v1/agents/{agent}/heartbeat", body=body)

    def renew(self, body: bytes | str | Mapping[str, object]) -> Reply:
        return self.ask("POST", "/api/v1/certificates/bulk-renew", body=body)

    def audited(self, path: str, rows: int = 1) -> list[Mapping[str, Any]]:
        """The audit rows of a path, when they are there: they are written after the answers."""
        return eventually(
            lambda: self.database.rows(
                "SELECT * FROM audit_events WHERE resource_id = $1 ORDER BY timestamp", path
            ),
            lambda found: len(found) >= rows,
        )


class Bench:
    """Makes databases and runs the reference server on them."""

    eventually = staticmethod(eventually)

    def __init__(self, workspace: Workspace, cluster: str, authority: CertificateAuthority) -> None:
        self.argv: tuple[str, ...] = ARGV
        self.workspace = workspace
        self.authority = authority
        self._cluster = Questions(dsn=cluster)
        self._numbers = itertools.count(1)
        self._certificate = authority.issue()
        self._tls = ssl.create_default_context(cafile=str(authority.ca_path))

    def database(self) -> Questions:
        """A new, empty database."""
        name = f"reference_{next(self._numbers)}"
        self._cluster.execute(f"CREATE DATABASE {name}")
        base, _, parameters = self._cluster.dsn.partition("?")
        return Questions(dsn=f"{base.rpartition('/')[0]}/{name}?{parameters}")

    def migrated(self) -> Questions:
        """A new database with the server's schema."""
        database = self.database()
        with self.spawned("--migrate-only", database=database) as migration:
            assert migration.wait(PATIENCE) == 0, migration.log()
        return database

    def seeded(self) -> Questions:
        """The same with the rows that the seeds' fleets hang on, which a server looks for at once."""
        database = self.migrated()
        database.execute((ROOT / "seed" / "00_base.sql").read_text("utf-8"))
        return database

    def environment(
        self, database: Questions | None, extra: Mapping[str, str | None]
    ) -> dict[str, str]:
        """All variables of a server: the stack's, ours, then the extra ones; None takes one away."""
        setup = ServerSetup(
            host=LOOPBACK,
            port=8443,
            cert_path=str(self._certificate.cert_path),
            key_path=str(self._certificate.key_path),
            database_url=database.dsn if database else "postgres://127.0.0.1:1/nowhere",
            token=ADMIN,
            secret="a-secret-of-thirty-two-characters",
        )
        variables: dict[str, str | None] = {
            **{k: v for k, v in os.environ.items() if not k.startswith(NOT_INHERITED)},
            **environment(setup),
            "CERTCTL_API_KEYS_NAMED": f"loadtest:{ADMIN}:admin,reader:{READER}",
            "CERTLOAD_REFERENCE_WORKERS": "1",
            **extra,
        }
        return {name: value for name, value in variables.items() if value is not None}

    @contextmanager
    def spawned(
        self,
        *arguments: str,
        database: Questions | None = None,
        pass_fds: tuple[int, ...] = (),
        **extra: str | None,
    ) -> Iterator[Child]:
        """The program with some arguments and variables, stopped in the end."""
        child = self.workspace.spawn(
            [*self.argv, *arguments],
            log_name=f"server-{next(self._numbers)}.log",
            env=self.environment(database, extra),
            pass_fds=pass_fds,
        )
        try:
            yield child
        finally:
            child.stop()

    @contextmanager
    def serving(self, database: Questions | None = None, **extra: str | None) -> Iterator[Server]:
        """A server that is ready, on a fresh database when none is given."""
        database = database or self.database()
        with ExitStack() as stack:
            with socket.create_server((LOOPBACK, 0), backlog=BACKLOG) as listener:
                port = int(listener.getsockname()[1])
                descriptor = listener.fileno()
                child = stack.enter_context(
                    self.spawned(
                        "--fd",
                        str(descriptor),
                        database=database,
                        pass_fds=(descriptor,),
                        **extra,
                    )
                )
            server = Server(child=child, port=port, database=database, tls=self._tls)
            eventually(lambda: _is_ready(server))
            yield server


def _is_ready(server: Server) -> bool:
    assert server.child.exit_code is None, server.child.log()
    try:
        return server.get("/ready", key=None).status == http.HTTPStatus.OK
    except OSError:
        # The socket listens before there is anybody to accept.
        return False


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    with (
        open_workspace() as workspace,
        run_cluster(
            workspace,
            find_binaries(None),
            boot_timeout=PATIENCE,
            announce=lambda _: None,
            # Nothing here is about what is left after a crash, and a busy disk takes long.
            settings={"fsync": "off", "synchronous_commit": "off"},
        ) as cluster,
    ):
        yield Bench(workspace, cluster.dsn, CertificateAuthority(workspace.directory / "tls"))


@pytest.fixture(scope="module")
def server(bench: Bench) -> Iterator[Server]:
    """One server for a module's tests, which change nothing of it but rows of their own.

    Which modules come before it depends on how the tests are divided, so it has a database of its own.
    """
    with bench.serving(bench.seeded()) as server:
        yield server
