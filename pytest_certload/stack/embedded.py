"""How does a stack run with nothing but Python? Local Postgres and the reference server.

Each is a process of its own, never in the process that makes the load: one interpreter lock, one
event loop, and the ruler would measure itself.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_certload.errors import ConfigurationError, StackError

from .certs import CertificateAuthority
from .model import (
    Endpoint,
    Part,
    ProductSpec,
    ServerSetup,
    Stack,
    StackRequest,
    cpu_count,
    port_taken,
)
from .postgres import LOOPBACK, find_binaries, run_cluster
from .prepare import finish, seed_own
from .processes import Child, Workspace, open_workspace
from .seed import read_seed
from .server import check_token, identify, wait_until_ready
from .state import SeededState

__all__ = ["open_embedded"]

BACKLOG = 4096
# Such variables must not leak from the shell into the server under test.
NOT_INHERITED = ("CERTCTL_", "CERTLOAD_", "PG", "PYTEST_")


@contextmanager
def open_embedded(
    request: StackRequest,
    product: ProductSpec,
    *,
    reason: str,
    announce: Callable[[str], None],
) -> Iterator[Stack]:
    """Run Postgres and the reference server as children; see ``open_stack``.

    Raises:
        ConfigurationError: The product's server is no module.
        StackError: One of them cannot be started.
        SeedError: The seeds cannot be applied.
    """
    if product.reference_module is None:
        raise StackError(
            f"{product.name} has no server that runs without containers; choose --certload-stack docker "
            "or external."
            + (
                ""
                if request.provider == "embedded"
                else f" It was chosen because there is {reason}."
            )
        )
    try:
        binaries = find_binaries(request.postgres_bin)
    except StackError as error:
        if request.provider == "embedded":
            raise
        raise StackError(f"{error} It was chosen because there is {reason}.") from error
    seeds = read_seed(request.seed_dir or product.seed_dir)
    with (
        open_workspace() as workspace,
        _listen(request.server_port) as listener,
        run_cluster(
            workspace,
            binaries,
            boot_timeout=request.boot_timeout,
            announce=announce,
            settings=request.postgres_settings,
        ) as cluster,
    ):
        dsn = cluster.dsn
        authority = CertificateAuthority(workspace.directory / "tls")
        certificate = authority.issue()
        port = int(listener.getsockname()[1])
        token = secrets.token_hex(24)
        setup = ServerSetup(
            host=LOOPBACK,
            port=port,
            cert_path=str(certificate.cert_path),
            key_path=str(certificate.key_path),
            database_url=dsn,
            token=token,
            secret=secrets.token_hex(32),
        )
        own = {
            **{k: v for k, v in os.environ.items() if not k.startswith(NOT_INHERITED)},
            **_import_path(product),
            **product.variables(setup),
        }
        argv = [sys.executable, "-m", product.reference_module]

        if product.migrate_arguments:
            announce(f"{product.server_name}: migrating the schema")
            migration = workspace.spawn(
                [*argv, *product.migrate_arguments],
                log_name="migrate.log",
                env={**own, **request.server_environment},
            )
            try:
                if migration.wait(request.boot_timeout) != 0:
                    raise StackError(_did_not_migrate(product, migration, request.boot_timeout))
            finally:
                migration.stop()
        applied = seed_own(dsn, seeds, announce)

        endpoint = product.endpoint(f"{LOOPBACK}:{port}", ca_path=authority.ca_path, token=token)
        server = _Server(
            workspace=workspace,
            argv=argv,
            environment=own,
            asked_for=request.server_environment,
            listener=listener,
            endpoint=endpoint,
            product=product,
            boot_timeout=request.boot_timeout,
        )
        state = SeededState(dsn, seeds, server=server, announce=announce)
        announce(f"{product.server_name}: starting")
        try:
            state.start()
            identity = identify(endpoint, product)
            postgres, settings = finish(dsn, request.postgres_settings)
            yield Stack(
                provider="embedded",
                reason=reason,
                endpoint=endpoint,
                dsn=dsn,
                server=identity.server,
                is_reference=identity.is_reference,
                image=None,
                postgres=postgres,
                postgres_settings=settings,
                cpu_count=cpu_count(),
                secrets=(setup.secret,),
                seeds=applied,
                find_parts=lambda: (
                    server.part,
                    Part(name="postgres", pid=cluster.child.pid, log_path=cluster.child.log_path),
                ),
                revive=cluster.revive,
                restore=state.restore,
            )
        finally:
            server.stop()


def _import_path(product: ProductSpec) -> Mapping[str, str]:
    """Where a server's module lies, as if Python were started in that folder; nothing for one of ours.

    Not all that can be imported here: a test's folder may have a ``types.py``.

    Raises:
        ConfigurationError: There is no such module.
    """
    name = str(product.reference_module).partition(".")[0]
    if name == __package__.partition(".")[0]:
        return {}
    spec = importlib.util.find_spec(name)
    found = (
        None
        if spec is None
        else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    )
    if found is None:
        raise ConfigurationError(
            f"ProductSpec(reference_module={product.reference_module!r}) of {product.name}: pytest finds "
            f"no {name}; install it, or name its folder in the ini option pythonpath"
        )
    path = Path(found)
    folder = path.parents[1] if path.name == "__init__.py" else path.parent
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    }


class _Server:
    """The reference server as a child, on the port of its first listener whenever it is started."""

    def __init__(
        self,
        *,
        workspace: Workspace,
        argv: Sequence[str],
        environment: Mapping[str, str],
        asked_for: Mapping[str, str],
        listener: socket.socket,
        endpoint: Endpoint,
        product: ProductSpec,
        boot_timeout: float,
    ) -> None:
        self._workspace = workspace
        self._argv = argv
        self._environment = environment
        self._asked_for = asked_for
        self._first: socket.socket | None = listener
        self._port = int(listener.getsockname()[1])
        self._endpoint = endpoint
        self._product = product
        self._boot_timeout = boot_timeout
        self._child: Child | None = None

    @property
    def part(self) -> Part:
        """Where to find it."""
        if self._child is None:
            return Part(name="server")
        return Part(name="server", pid=self._child.pid, log_path=self._child.log_path)

    def alive(self) -> bool:
        return self._child is not None and self._child.exit_code is None

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def start(self, environment: Mapping[str, str]) -> None:
        listener, self._first = self._first or _listen(self._port), None
        with listener:
            child = self._child = self._workspace.spawn(
                [*self._argv, "--fd", str(listener.fileno())],
                log_name="server.log",
                # What the options ask for is above what a test asks for.
                env={**self._environment, **environment, **self._asked_for},
                pass_fds=(listener.fileno(),),
            )
        # Closed here: its copy is the only one that counts now, a connection after its end is refused.
        wait_until_ready(
            self._endpoint,
            self._product,
            timeout=self._boot_timeout,
            check_alive=lambda: _check_alive(self._product, child),
            last_words=child.last_lines,
        )
        check_token(self._endpoint, self._product)


def _check_alive(product: ProductSpec, server: Child) -> None:
    if server.exit_code is not None:
        raise StackError(
            f"The {product.server_name} ended with exit code {server.exit_code} while it started. "
            f"{server.last_lines()}"
        )


def _listen(port: int) -> socket.socket:
    """A listening loopback socket; the server inherits it, so its port cannot be lost.

    Raises:
        StackError: The port cannot be had.
    """
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it. Servers that do not know what kind of socket they were given
        # leave it out, and answer 40 ms later.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StackError(port_taken(port)) from error
        raise StackError(
            f"Port {port} cannot be used ({error.strerror}); "
            "choose another --certload-server-port, or 0 for any free one."
        ) from error
    return listener


def _did_not_migrate(product: ProductSpec, migration: Child, timeout: float) -> str:
    if migration.exit_code is None:
        what = f"did not migrate the schema within {timeout:g} s"
    else:
        what = f"could not migrate the schema (exit code {migration.exit_code})"
    return f"The {product.server_name} {what}. {migration.last_lines()}"
