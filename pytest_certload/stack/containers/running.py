"""How is a container run, and what becomes of it? One label and one network for all of a run."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.models.images import Image
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

import pytest_certload
from pytest_certload.errors import StackError
from pytest_certload.stack.model import port_taken
from pytest_certload.stack.processes import Workspace, last_lines

from . import cleanup
from .daemon import DOCKER_ERRORS, LABEL, carry_out, explain, remove_all

__all__ = [
    "ENDED",
    "LOOPBACK",
    "PORT_ATTEMPTS",
    "READABLE_BY_ALL",
    "REQUEST_SECONDS",
    "ContainerRemoved",
    "PortTaken",
    "Run",
    "check_alive",
    "explaining",
    "last_words",
    "new_container",
    "open_run",
    "published",
    "start_container",
    "status_of",
]

REQUEST_SECONDS = 60
PORT_ATTEMPTS = 5
LOOPBACK = "127.0.0.1"
READABLE_BY_ALL = 0o644
ENDED = ("exited", "dead", "removing")


class PortTaken(StackError):
    """Somebody else listens on a port that was to be published."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """The label and the network that the containers of one run share.

    Attributes:
        client: The daemon.
        name: Of the network, and the label's value.
    """

    client: docker.DockerClient
    name: str

    @property
    def labels(self) -> dict[str, str]:
        """By which everything of the run is found."""
        return {LABEL: self.name}


@contextmanager
def open_run(client: docker.DockerClient, workspace: Workspace) -> Iterator[Run]:
    """A network for containers; all that carries its label is removed in the end, however that comes."""
    run = Run(client=client, name=f"certload-{secrets.token_hex(6)}")
    # Told before the first of them exists, so that there is no gap.
    package_parent = str(Path(pytest_certload.__file__).resolve().parent.parent)
    search_path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    key = workspace.guard_command(
        [sys.executable, "-m", cleanup.__name__, run.name],
        env={**os.environ, "PYTHONPATH": search_path},
    )
    try:
        with explaining("The network of the stack cannot be made"):
            carry_out(lambda: client.networks.create(run.name, driver="bridge", labels=run.labels))
        yield run
    except BaseException as error:
        # What went wrong is worth more than that it could not be cleared up, which the guard tries again
        # and tells.
        with contextlib.suppress(StackError):
            remove_all(client, run.name)
            # An interruption may have left a request with the daemon: what comes of that the guard finds.
            if isinstance(error, Exception):
                workspace.forget(key)
        raise
    remove_all(client, run.name)
    workspace.forget(key)


def new_container(image: Image) -> DockerContainer:
    """A container that is to be configured, and started by ``start_container``."""
    container = DockerContainer(str(image.id))
    # Its constructor prepends a registry prefix, if one is configured, also to an image's id.
    container.image = str(image.id)
    return container


def start_container(
    run: Run,
    container: DockerContainer,
    alias: str,
    ports: Mapping[int, int],
    name: str,
) -> Container:
    """Start a container on the run's network, its ports published on loopback (0 = any).

    Args:
        run: The run.
        container: Image, command and environment.
        alias: Its host name on that network.
        ports: From the container's port to the loopback port.
        name: The image's name, for messages.
    """
    # testcontainers' own types know ports on all interfaces only.
    for inner, outer in ports.items():
        container.ports[f"{inner}/tcp"] = (LOOPBACK, outer or None)  # type: ignore[assignment]
    endpoint = run.client.api.create_endpoint_config(aliases=[alias])
    container.with_kwargs(
        labels=run.labels, network=run.name, networking_config={run.name: endpoint}
    )
    try:
        with _without_ryuk():
            carry_out(container.start)
    except APIError as error:
        text = explain(error)
        if "already allocated" in text or "already in use" in text:
            raise PortTaken(port_taken(next(iter(ports.values()), 0))) from error
        raise StackError(
            f"The image {name} cannot be started ({text}); is it the right one?"
        ) from error
    except DOCKER_ERRORS as error:
        raise StackError(f"The image {name} cannot be started ({explain(error)}).") from error
    finally:
        # Each has a client of its own; ours does the rest.
        container.get_docker_client().client.close()
    with explaining(f"The container of {name} cannot be looked at"):
        return run.client.containers.get(container.get_container_id())


@contextmanager
def _without_ryuk() -> Iterator[None]:
    """The guard does what testcontainers' Ryuk does, without an image to pull."""
    before = testcontainers_config.ryuk_disabled
    testcontainers_config.ryuk_disabled = True
    try:
        yield
    finally:
        testcontainers_config.ryuk_disabled = before


@contextmanager
def explaining(what: str) -> Iterator[None]:
    """Say what could not be done when the daemon refuses."""
    try:
        yield
    except DOCKER_ERRORS as error:
        raise StackError(f"{what} ({explain(error)}).") from error


def published(container: Container, port: int, name: str) -> int:
    """The loopback port that leads to a container's port; the container is of the image ``name``."""
    # One that has ended publishes nothing any more.
    check_alive(container, name)
    bindings = container.ports.get(f"{port}/tcp")
    if not bindings:
        raise StackError(
            f"The container of {name} publishes no port {port}. {last_words(container)}"
        )
    return int(bindings[0]["HostPort"])


class ContainerRemoved(StackError):
    """A container is not there any more."""


def status_of(container: Container) -> str:
    """What the daemon says of it now, such as ``running`` or one of ``ENDED``."""
    try:
        container.reload()
    except NotFound as error:
        raise ContainerRemoved("A container of the stack was removed from outside.") from error
    except DOCKER_ERRORS as error:
        raise StackError(
            f"A container of the stack cannot be looked at ({explain(error)})."
        ) from error
    return str(container.status)


def check_alive(container: Container, name: str) -> None:
    """Refuse to go on with a container of the image ``name`` that has ended."""
    if status_of(container) in ENDED:
        exit_code = container.attrs["State"]["ExitCode"]
        raise StackError(
            f"The container of {name} ended with exit code {exit_code} while it started. "
            f"{last_words(container)}"
        )


def last_words(container: Container) -> str:
    """The end of its log, for an error message."""
    try:
        log = container.logs(tail=50)
    except DOCKER_ERRORS as error:
        return f"Its log cannot be read ({explain(error)})."
    return last_lines(log.decode("utf-8", "replace"))
