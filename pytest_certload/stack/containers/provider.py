"""In which order do containers become a stack?"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import NotFound
from docker.models.containers import Container
from docker.models.images import Image

from pytest_certload.database import Database, DatabaseUnreachable, run_sync
from pytest_certload.errors import StackError
from pytest_certload.stack.certs import (
    LOOPBACK_NAMES,
    CertificateAuthority,
    ServerCertificate,
)
from pytest_certload.stack.model import (
    REFERENCE_IMAGE,
    Endpoint,
    Part,
    ProductSpec,
    ServerSetup,
    Stack,
    StackRequest,
    cpu_count,
)
from pytest_certload.stack.postgres import free_port
from pytest_certload.stack.prepare import finish, seed_own
from pytest_certload.stack.processes import open_workspace
from pytest_certload.stack.seed import read_seed
from pytest_certload.stack.server import check_token, identify, wait_until_ready
from pytest_certload.stack.settings import explaining_settings
from pytest_certload.stack.state import SeededState

from .daemon import DaemonUnavailable, connect
from .images import (
    build_reference_image,
    describe_image,
    ensure_image,
    reference_image_of,
    why_not_available,
)
from .running import (
    ENDED,
    LOOPBACK,
    PORT_ATTEMPTS,
    READABLE_BY_ALL,
    REQUEST_SECONDS,
    ContainerRemoved,
    PortTaken,
    Run,
    check_alive,
    explaining,
    last_words,
    new_container,
    open_run,
    published,
    start_container,
    status_of,
)

__all__ = ["open_docker", "why_no_image", "why_not_docker"]

LOOK_SECONDS = 10
STOP_SECONDS = 10
POLL_SECONDS = 0.1
POSTGRES_PORT = 5432
POSTGRES_HOST = "postgres"
SERVER_HOST = "certload-server"
USER = "certload"
CERT_IN_CONTAINER = "/certload/server.pem"
KEY_IN_CONTAINER = "/certload/server.key"
POSTGRES_SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "max_connections": "200",
}


def why_no_image(name: str) -> str | None:
    """None when a daemon answers and the image is here or can be had; else the reason."""
    try:
        with connect(LOOK_SECONDS) as client:
            return why_not_available(client, name)
    except DaemonUnavailable as error:
        return error.reason


def why_not_docker(request: StackRequest, product: ProductSpec) -> str | None:
    """None when a daemon answers and each image is here or can be had; else the reason."""
    server_image = request.server_image or product.image
    if server_image == REFERENCE_IMAGE:
        server_image = reference_image_of(product).base_image
    try:
        with connect(LOOK_SECONDS) as client:
            for name in (request.postgres_image, server_image):
                obstacle = why_not_available(client, name)
                if obstacle is not None:
                    return obstacle
    except DaemonUnavailable as error:
        return error.reason
    return None


@contextmanager
def open_docker(
    request: StackRequest,
    product: ProductSpec,
    *,
    reason: str,
    announce: Callable[[str], None],
) -> Iterator[Stack]:
    """Run Postgres and the server as containers; see ``open_stack``.

    Raises:
        StackError: The daemon is absent or refuses, a port is taken, a container ends or is not
            ready in time (with the last lines of its log).
        ImageUnavailable: An image is not here and cannot be pulled.
        SeedError: The seeds cannot be applied.
    """
    seeds = read_seed(request.seed_dir or product.seed_dir)
    with open_workspace() as workspace, connect(REQUEST_SECONDS) as client:
        postgres_image = ensure_image(
            client,
            request.postgres_image,
            option="--certload-postgres-image",
            announce=announce,
        )
        server_name, server_image = _server_image(client, request, product, announce)
        with open_run(client, workspace) as run:
            announce(f"starting {request.postgres_image}")
            with explaining_settings(request.postgres_settings):
                postgres = _start_postgres(
                    run, request.postgres_image, postgres_image, request.postgres_settings
                )
                dsn = postgres.dsn
                _wait_for_postgres(postgres, request.boot_timeout)

            authority = CertificateAuthority(workspace.directory / "tls")
            server = _Server(
                run=run,
                name=server_name,
                image=server_image,
                request=request,
                product=product,
                certificate=authority.issue(*LOOPBACK_NAMES, SERVER_HOST),
                database_url=(
                    f"postgresql://{USER}:{postgres.password}@{POSTGRES_HOST}:{POSTGRES_PORT}/{USER}"
                    "?sslmode=disable"
                ),
                token=secrets.token_hex(24),
                secret=secrets.token_hex(32),
            )
            if product.migrate_arguments:
                announce(f"{server_name}: migrating the schema")
                _migrate(server)
            applied = seed_own(dsn, seeds, announce)
            serving = _Serving(server, ca_path=authority.ca_path)
            state = SeededState(dsn, seeds, server=serving, announce=announce)
            announce(f"{server_name}: starting")
            state.start()
            identity = identify(serving.endpoint, product)
            version, settings = finish(dsn, request.postgres_settings)
            yield Stack(
                provider="docker",
                reason=reason,
                endpoint=serving.endpoint,
                dsn=dsn,
                server=identity.server,
                is_reference=identity.is_reference,
                image=describe_image(server_name, server_image),
                postgres=version,
                postgres_settings=settings,
                cpu_count=cpu_count(),
                seeds=applied,
                secrets=(server.secret,),
                find_parts=lambda: (
                    Part(name="server", container=serving.container),
                    Part(name="postgres", container=postgres.container.id),
                ),
                revive=lambda: _revive(postgres, request.boot_timeout),
                restore=state.restore,
            )


@dataclass(frozen=True, kw_only=True)
class _Postgres:
    container: Container
    image: str
    password: str

    @property
    def dsn(self) -> str:
        port = published(self.container, POSTGRES_PORT, self.image)
        return f"postgresql://{USER}:{self.password}@{LOOPBACK}:{port}/{USER}?sslmode=disable"


@dataclass(frozen=True, kw_only=True)
class _Server:
    """All that both runs of the server image need: the one that migrates and the one that serves."""

    run: Run
    name: str
    image: Image
    request: StackRequest
    product: ProductSpec
    certificate: ServerCertificate
    database_url: str
    token: str
    secret: str

    def environment(self, more: Mapping[str, str]) -> Mapping[str, str]:
        setup = ServerSetup(
            host="0.0.0.0",
            port=self.product.port,
            cert_path=CERT_IN_CONTAINER,
            key_path=KEY_IN_CONTAINER,
            database_url=self.database_url,
            token=self.token,
            secret=self.secret,
        )
        # What the options ask for is above what a test asks for.
        return {**self.product.variables(setup), **more, **self.request.server_environment}


class _Serving:
    """The server's container: a new one each time it is started, published on the same port."""

    def __init__(self, server: _Server, *, ca_path: Path) -> None:
        self._server = server
        self._ca_path = ca_path
        self._port = server.request.server_port
        self._container: Container | None = None

    @property
    def endpoint(self) -> Endpoint:
        server = self._server
        return server.product.endpoint(
            f"{LOOPBACK}:{self._port}", ca_path=self._ca_path, token=server.token
        )

    @property
    def container(self) -> str | None:
        """Its id; None while there is none."""
        return None if self._container is None else str(self._container.id)

    def alive(self) -> bool:
        try:
            return self._container is not None and status_of(self._container) not in ENDED
        except ContainerRemoved:
            return False

    def stop(self) -> None:
        if self._container is None:
            return
        # One that was removed from outside is as good as stopped.
        with explaining("The server's container cannot be stopped"), contextlib.suppress(NotFound):
            self._container.stop(timeout=STOP_SECONDS)
            self._container.remove(v=True, force=True)
        self._container = None

    def start(self, environment: Mapping[str, str]) -> None:
        product, name = self._server.product, self._server.name
        container = self._container = _start(
            self._server, command=None, port=self._port, environment=environment
        )
        # Docker's own choice, if the first one was left to it.
        self._port = published(container, product.port, name)
        wait_until_ready(
            self.endpoint,
            product,
            timeout=self._server.request.boot_timeout,
            check_alive=lambda: check_alive(container, name),
            last_words=lambda: last_words(container),
        )
        check_token(self.endpoint, product)


def _server_image(
    client: docker.DockerClient,
    request: StackRequest,
    product: ProductSpec,
    announce: Callable[[str], None],
) -> tuple[str, Image]:
    if request.server_image == REFERENCE_IMAGE:
        return build_reference_image(client, product, announce=announce)
    name = request.server_image or product.image
    return name, ensure_image(client, name, option="--certload-server-image", announce=announce)


def _start_postgres(run: Run, name: str, image: Image, settings: Mapping[str, str]) -> _Postgres:
    # Between our choice of a port and its use somebody else may take it.
    for _ in range(PORT_ATTEMPTS - 1):
        with contextlib.suppress(PortTaken):
            return _start_postgres_once(run, name, image, settings)
    return _start_postgres_once(run, name, image, settings)


def _start_postgres_once(
    run: Run, name: str, image: Image, settings: Mapping[str, str]
) -> _Postgres:
    password = secrets.token_hex(16)
    command = ["postgres"]
    for setting, value in {**POSTGRES_SETTINGS, **settings}.items():
        command += ["-c", f"{setting}={value}"]
    container = new_container(image).with_command(command)
    container.with_envs(POSTGRES_USER=USER, POSTGRES_PASSWORD=password, POSTGRES_DB=USER)
    # Not a port that Docker chooses: it would choose another one when it is started again.
    ports = {POSTGRES_PORT: free_port()}
    started = start_container(run, container, POSTGRES_HOST, ports, name)
    return _Postgres(container=started, image=name, password=password)


def _revive(postgres: _Postgres, timeout: float) -> None:
    """Start a Postgres that has died again, on its data and at its port."""
    with explaining("Postgres cannot be started again"):
        postgres.container.start()
    _wait_for_postgres(postgres, timeout)


def _wait_for_postgres(postgres: _Postgres, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        check_alive(postgres.container, postgres.image)
        try:
            run_sync(_connect_once(postgres.dsn))
            return
        except DatabaseUnreachable as error:
            if time.monotonic() >= deadline:
                raise StackError(
                    f"Postgres in {postgres.image} is not ready after {timeout:g} s ({error}); if the "
                    "machine is slow, raise --certload-boot-timeout. "
                    f"{last_words(postgres.container)}"
                ) from error
        time.sleep(POLL_SECONDS)


async def _connect_once(dsn: str) -> None:
    async with Database.connect(dsn):
        pass


def _migrate(server: _Server) -> None:
    arguments = server.product.migrate_arguments
    timeout = server.request.boot_timeout
    container = _start(server, command=[*arguments], port=None, environment={})
    deadline = time.monotonic() + timeout
    while status_of(container) not in ENDED:
        if time.monotonic() >= deadline:
            raise StackError(
                f"The image {server.name} with {' '.join(arguments)} did not end within {timeout:g} s. "
                f"{last_words(container)}"
            )
        time.sleep(POLL_SECONDS)
    exit_code = container.attrs["State"]["ExitCode"]
    if exit_code != 0:
        raise StackError(
            f"The image {server.name} could not migrate the schema (exit code {exit_code}). "
            f"{last_words(container)}"
        )
    with explaining("The container that migrated the schema cannot be removed"):
        container.remove(v=True)


def _start(
    server: _Server, *, command: list[str] | None, port: int | None, environment: Mapping[str, str]
) -> Container:
    product = server.product
    container = new_container(server.image).with_envs(**server.environment(environment))
    if command is not None:
        container.with_command(command)
    for path in product.empty_mounts:
        container.with_tmpfs_mount(path)
    # Copied, not mounted: also a daemon that sees another file system gets them.
    container.with_copy_into_container(
        server.certificate.cert_path, CERT_IN_CONTAINER, READABLE_BY_ALL
    )
    container.with_copy_into_container(
        server.certificate.key_path, KEY_IN_CONTAINER, READABLE_BY_ALL
    )
    ports = {} if port is None else {product.port: port}
    return start_container(server.run, container, SERVER_HOST, ports, server.name)
