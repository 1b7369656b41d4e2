"""How do TLS daemons run in containers? All from one image of Debian's packages, each with its files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from docker.models.containers import Container

from pytest_certload.stack.daemons import (
    BASE_IMAGE,
    Daemon,
    DaemonFiles,
    DaemonSetup,
    DaemonSpec,
    wait_until_served,
)
from pytest_certload.stack.postgres import free_port
from pytest_certload.stack.processes import Workspace

from .daemon import connect
from .images import build_package_image
from .running import (
    ENDED,
    PORT_ATTEMPTS,
    READABLE_BY_ALL,
    REQUEST_SECONDS,
    PortTaken,
    Run,
    check_alive,
    explaining,
    last_words,
    new_container,
    open_run,
    start_container,
    status_of,
)

__all__ = ["open_containers"]

REPOSITORY = "certload-daemons"
PORT = 8443
DIRECTORY = "/certload"
CERT, KEY, BOTH = (f"{DIRECTORY}/{name}.pem" for name in ("cert", "key", "both"))


@contextmanager
def open_containers(
    workspace: Workspace,
    packages: Sequence[str],
    *,
    boot_timeout: float,
    announce: Callable[[str], None],
) -> Iterator[Callable[[DaemonSpec, DaemonFiles], Daemon]]:
    """What starts a daemon as a container; all of them are removed in the end.

    Args:
        workspace: Guards what is started.
        packages: Debian packages of all daemons.
        boot_timeout: Seconds that each has to become ready.
        announce: Told in a few words what is going on.

    Raises:
        StackError: The daemon of Docker is absent or refuses, or the image cannot be built.
    """
    with connect(REQUEST_SECONDS) as client:
        name, image = build_package_image(
            client, BASE_IMAGE, packages, repository=REPOSITORY, announce=announce
        )
        with open_run(client, workspace) as run:

            def start(spec: DaemonSpec, files: DaemonFiles) -> Daemon:
                container, port = _start(run, name, str(image.id), spec, files)
                if not wait_until_served(
                    port,
                    alive=lambda: status_of(container) not in ENDED,
                    name=spec.name,
                    timeout=boot_timeout,
                    last_words=lambda: last_words(container),
                ):
                    check_alive(container, name)
                return Daemon(
                    name=spec.name,
                    endpoint=files.endpoint(port),
                    path=spec.path,
                    fingerprint=files.fingerprint,
                    read_log=lambda: _log(container),
                    spec=spec,
                )

            yield start


def _start(
    run: Run, name: str, image: str, spec: DaemonSpec, files: DaemonFiles
) -> tuple[Container, int]:
    # Between our choice of a port and its use somebody else may take it.
    for _ in range(PORT_ATTEMPTS - 1):
        with contextlib.suppress(PortTaken):
            return _start_once(run, name, image, spec, files)
    return _start_once(run, name, image, spec, files)


def _start_once(
    run: Run, name: str, image: str, spec: DaemonSpec, files: DaemonFiles
) -> tuple[Container, int]:
    setup = DaemonSetup(
        host="0.0.0.0",
        port=PORT,
        cert_path=CERT,
        key_path=KEY,
        both_path=BOTH,
        directory=DIRECTORY,
        log="/dev/stdout",
        resumption=files.resumption,
    )
    container = new_container(run.client.images.get(image)).with_command(list(spec.command(setup)))
    contents = {
        CERT: files.served.cert_path.read_bytes(),
        KEY: files.served.key_path.read_bytes(),
        BOTH: files.both,
        **{f"{DIRECTORY}/{path}": text.encode() for path, text in spec.files(setup).items()},
    }
    for path, content in contents.items():
        container.with_copy_into_container(content, path, READABLE_BY_ALL)
    port = free_port()
    return start_container(run, container, spec.name, {PORT: port}, name), port


def _log(container: Container) -> str:
    with explaining("The log of a TLS daemon cannot be read"):
        return container.logs(stdout=True, stderr=False).decode("utf-8", "replace")
