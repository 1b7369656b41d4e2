"""Does a Docker daemon answer, and if not, why not?"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import docker
import requests
from docker.errors import APIError, DockerException
from testcontainers.core.docker_client import DockerClient, get_docker_host

from pytest_certload.errors import StackError
from pytest_certload.stack.hosts import is_loopback_host
from pytest_certload.stack.interruptions import deferring_interruptions

__all__ = [
    "DOCKER_ERRORS",
    "GONE",
    "LABEL",
    "DaemonUnavailable",
    "carry_out",
    "connect",
    "explain",
    "remove_all",
]

T = TypeVar("T")

LABEL = "certload.run"
UNIX = "unix://"
_SOCKETS = (UNIX, "http+unix://", "npipe://")
DEFAULT_HOST = "unix:///var/run/docker.sock"
DOCKER_ERRORS = (DockerException, requests.exceptions.RequestException)
# The daemon answers these when somebody else removes the same thing, or has done so.
GONE = (404, 409)


class DaemonUnavailable(StackError):
    """Docker does not answer.

    Attributes:
        reason: Why, in a few words, without the remedy.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}, or choose --certload-stack embedded.")
        self.reason = reason


@contextmanager
def connect(timeout: float) -> Iterator[docker.DockerClient]:
    """A client of the daemon that the environment names; closed in the end.

    Args:
        timeout: Seconds that one request may be silent.

    Raises:
        DaemonUnavailable: There is none, or it does not let us in.
    """
    try:
        host = get_docker_host() or DEFAULT_HOST
        _refuse_remote(host)
        _knock(host)
        # testcontainers knows DOCKER_HOST, contexts, its properties file and registry logins.
        client = DockerClient(timeout=timeout).client
    except (*DOCKER_ERRORS, OSError, ValueError) as error:
        raise _unavailable(error) from error
    try:
        yield client
    finally:
        client.close()


def _refuse_remote(host: str) -> None:
    """Ports are published on the daemon's own loopback, which is ours only on this machine.

    Raises:
        DaemonUnavailable: It is another machine's.
    """
    # Without a scheme it is an address, and without a host this machine's.
    name = urlsplit(host if "://" in host else f"//{host}").hostname
    if not host.startswith(_SOCKETS) and name and not is_loopback_host(name.rstrip(".")):
        raise DaemonUnavailable(
            f"The Docker daemon is on another machine, {name}, whose loopback cannot be reached",
            "unset DOCKER_HOST or choose a context of this machine",
        )


def _knock(host: str) -> None:
    """See whether somebody listens; docker's own client leaves its socket open when nobody does.

    Raises:
        OSError: Nobody does, or we may not ask.
    """
    if host.startswith(UNIX):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(host.removeprefix(UNIX))


def _unavailable(error: BaseException) -> DaemonUnavailable:
    root = _root_cause(error)
    if isinstance(root, PermissionError):
        return DaemonUnavailable(
            "The Docker daemon does not let this user in (permission denied on its socket)",
            "add the user to the group docker",
        )
    return DaemonUnavailable(
        f"No Docker daemon answers ({explain(root)})", "start one or set DOCKER_HOST"
    )


def _root_cause(error: BaseException) -> BaseException:
    """The operating system's error inside the layers that wrap it, else the outermost one."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        candidate = waiting.pop()
        if id(candidate) in seen:
            continue
        seen.add(id(candidate))
        if isinstance(candidate, OSError) and candidate.errno is not None:
            return candidate
        waiting += [inner for inner in candidate.args if isinstance(inner, BaseException)]
        waiting += [e for e in (candidate.__cause__, candidate.__context__) if e is not None]
    return error


def explain(error: BaseException) -> str:
    """What the daemon said, on one line."""
    text = (
        str(error.explanation) if isinstance(error, APIError) and error.explanation else str(error)
    )
    return " ".join(text.split())[:500]


def carry_out(request: Callable[[], T]) -> T:
    """Send a request that makes something, and see it through.

    An interruption (Ctrl-C) is raised when the daemon has answered: it carries out also the
    request of a sender that no longer listens, and what comes of that nobody would remove.
    """
    with deferring_interruptions():
        return request()


def remove_all(client: docker.DockerClient, run: str) -> None:
    """Remove every container (with its anonymous volumes) and network of a run.

    Raises:
        StackError: The daemon refuses.
    """
    labelled: dict[str, str | list[str] | bool] = {"label": f"{LABEL}={run}"}
    try:
        for container in client.containers.list(all=True, filters=labelled, ignore_removed=True):
            try:
                container.remove(force=True, v=True)
            except APIError as error:
                if error.status_code not in GONE:
                    raise
        for network in client.networks.list(filters=labelled):
            try:
                network.remove()
            except APIError as error:
                if error.status_code not in GONE:
                    raise
    except DOCKER_ERRORS as error:
        raise StackError(
            f"The containers of this run cannot be removed ({explain(error)}); "
            f"remove what docker ps -a --filter label={LABEL}={run} lists."
        ) from error
