"""What else can be loaded than a product's server? TLS daemons that certificates are deployed to.

Each runs by itself on a loopback port, as nobody in particular, with a certificate of a CA that is made
for the run, and writes a line for each request that it answers. It closes each connection after its
answer, so a line is a handshake. On the docker stack they are containers, on the embedded one processes
of programs that the machine has.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest_certload
from pytest_certload.errors import ConfigurationError, StackError

from .certs import LOOPBACK_NAMES, READABLE_BY_ALL, CertificateAuthority, ServerCertificate
from .embedded import NOT_INHERITED
from .model import PROVIDERS, Endpoint, StackRequest
from .postgres import LOOPBACK, free_port, plain_environment, unprivileged_account
from .processes import Account, Child, Workspace, open_workspace

__all__ = [
    "BASE_IMAGE",
    "Daemon",
    "DaemonFiles",
    "DaemonMissing",
    "DaemonSetup",
    "DaemonSpec",
    "Deploy",
    "Handshake",
    "deploy",
    "open_daemons",
    "wait_until_served",
]

#: What the daemons' image is made from.
BASE_IMAGE = "debian:bookworm-slim"
PORT_ATTEMPTS = 5
POLL_SECONDS = 0.02
HANDSHAKE_SECONDS = 2.0
#: What a line of a daemon's log begins with that tells of a handshake.
MARK = "handshake "
IN_USE = ("already in use", "cannot bind", "could not bind", "Address in use")


class DaemonMissing(StackError):
    """There is no program or no stack to run a daemon with, and the message says how to get one."""


@dataclass(frozen=True, kw_only=True)
class DaemonSetup:
    """What a daemon is told.

    Attributes:
        host: Address to listen on.
        port: Port to listen on.
        cert_path: PEM file of its certificate, leaf first.
        key_path: PEM file of its key.
        both_path: PEM file of both.
        directory: Where it may write, and where its files are.
        log: File for its line per request; it need not exist.
        resumption: Whether TLS sessions may be resumed.
    """

    host: str
    port: int
    cert_path: str
    key_path: str
    both_path: str
    directory: str
    log: str
    resumption: bool


@dataclass(frozen=True, kw_only=True)
class DaemonSpec:
    """How a daemon is run.

    Its line per request is ``handshake TARGET WORD``: the target as it was asked for, and how the
    connection's TLS session came to be.

    Attributes:
        name: What it is called.
        path: What is asked of it, and answered 200.
        full, resumed: The words for a full handshake, and for one that resumes a session.
        command: Program and arguments.
        files: Its configuration, by file name; below one folder at most.
        package: Debian package that brings the program; None: it is this Python.
        on_output: It writes its lines to its standard output, whatever ``log`` says.
    """

    name: str
    path: str
    full: str
    resumed: str
    command: Callable[[DaemonSetup], Sequence[str]]
    files: Callable[[DaemonSetup], Mapping[str, str]]
    package: str | None = None
    on_output: bool = False


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """One answered request of a daemon's log, on a connection of its own.

    Attributes:
        target: What was asked for, path and query.
        full: Whether the handshake was a full one, and no session was resumed.
    """

    target: str
    full: bool


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """A daemon that runs.

    Attributes:
        name: What it is called.
        endpoint: Where it answers.
        path: What is asked of it.
        fingerprint: SHA-256 of the certificate that was deployed to it, hexadecimal.
        read_log: All that it has logged.
        spec: How it is run.
        pid: Its first process, when it is a child of ours.
    """

    name: str
    endpoint: Endpoint
    path: str
    fingerprint: str
    read_log: Callable[[], str]
    spec: DaemonSpec
    pid: int | None = None

    def handshakes(self) -> list[Handshake]:
        """All handshakes in its log, in order.

        Raises:
            StackError: A line does not say how its session came to be.
        """
        # A line that is being written has no end yet.
        whole, _, _ = self.read_log().rpartition("\n")
        return [
            self._handshake(line.removeprefix(MARK))
            for line in whole.splitlines()
            if line.startswith(MARK)
        ]

    def _handshake(self, line: str) -> Handshake:
        target, _, word = line.rpartition(" ")
        if word not in (self.spec.full, self.spec.resumed):
            raise StackError(
                f"{self.name} has logged {line!r}, which tells neither a full handshake "
                f"({self.spec.full}) nor a resumed session ({self.spec.resumed})"
            )
        return Handshake(target=target, full=word == self.spec.full)


class Deploy(Protocol):
    """Gives a daemon its certificate."""

    def __call__(self, authority: CertificateAuthority, name: str) -> ServerCertificate:
        """The certificate that the daemon of that name is to serve."""


def deploy(authority: CertificateAuthority, name: str) -> ServerCertificate:
    """A certificate of the run's CA, each daemon's its own, for the loopback names."""
    return authority.issue(*LOOPBACK_NAMES, file_name=name)


@contextmanager
def open_daemons(
    request: StackRequest,
    specs: Sequence[DaemonSpec],
    *,
    announce: Callable[[str], None],
    deploy: Deploy = deploy,
    serve: Deploy | None = None,
    resumption: bool = False,
) -> Iterator[tuple[Daemon, ...]]:
    """Run daemons, each with a certificate of its own; nothing of them is left afterwards.

    Args:
        request: What the options ask for; ``auto`` is docker when a daemon of it answers and has the base
            image, else embedded.
        specs: What to run.
        announce: Told in a few words what is going on.
        deploy: Gives each its certificate.
        serve: What it really serves; default: what was deployed. Another one is a fault, for tests.
        resumption: Whether they resume TLS sessions.

    Raises:
        DaemonMissing: A program is not installed, or the stack is external.
        StackError: One does not start.
    """
    provider, reason = _choose(request)
    announce(f"TLS daemons: {provider} ({reason})")
    with ExitStack() as stack:
        workspace = stack.enter_context(open_workspace())
        authority = CertificateAuthority(workspace.directory / "tls")
        start: Callable[[DaemonSpec, DaemonFiles], Daemon]
        if provider == "docker":
            from .containers.daemons import open_containers

            start = stack.enter_context(
                open_containers(
                    workspace,
                    [spec.package for spec in specs if spec.package is not None],
                    boot_timeout=request.boot_timeout,
                    announce=announce,
                )
            )
        else:
            _check_programs(specs)
            start = partial(_start, workspace, stack, boot_timeout=request.boot_timeout)
        running = []
        for spec in specs:
            deployed = deploy(authority, spec.name)
            served = deployed if serve is None else serve(authority, spec.name)
            files = DaemonFiles(
                authority=authority, deployed=deployed, served=served, resumption=resumption
            )
            if spec.package is None:
                running.append(
                    _start(workspace, stack, spec, files, boot_timeout=request.boot_timeout)
                )
            else:
                running.append(start(spec, files))
        announce(f"TLS daemons: ready ({', '.join(daemon.name for daemon in running)})")
        yield tuple(running)


@dataclass(frozen=True, kw_only=True)
class DaemonFiles:
    """A daemon's certificates, and whose they are."""

    authority: CertificateAuthority
    deployed: ServerCertificate
    served: ServerCertificate
    resumption: bool

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate that was deployed, hexadecimal."""
        pem = self.deployed.cert_path.read_text("ascii")
        end = "-----END CERTIFICATE-----"
        leaf = pem[: pem.index(end) + len(end)]
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(leaf)).hexdigest()

    @property
    def both(self) -> bytes:
        """The certificate that is served, and its key."""
        return self.served.cert_path.read_bytes() + self.served.key_path.read_bytes()

    def endpoint(self, port: int) -> Endpoint:
        """Where a daemon on a loopback port answers, and whose certificate it must have."""
        return Endpoint(base_url=f"https://{LOOPBACK}:{port}", ca_path=self.authority.ca_path)


def _choose(request: StackRequest) -> tuple[str, str]:
    """Which provider will run them, and why.

    Raises:
        ConfigurationError: The request's provider is none.
        DaemonMissing: It is external, where nothing is started.
    """
    provider = request.provider
    if provider not in PROVIDERS:
        raise ConfigurationError(
            f"--certload-stack {provider!r} is no stack; choose {', '.join(PROVIDERS)}"
        )
    if provider == "external":
        raise DaemonMissing(
            "an external stack has no TLS daemons of ours, whose logs prove the handshakes; run them "
            "with --certload-stack embedded or docker: they need nothing of certctl"
        )
    if provider != "auto":
        return provider, "asked for by --certload-stack"
    from .containers import why_no_image

    obstacle = why_no_image(BASE_IMAGE)
    if obstacle is None:
        return "docker", "a Docker daemon answers and its base image is at hand"
    return "embedded", f"no Docker stack: {obstacle}"


def _check_programs(specs: Sequence[DaemonSpec]) -> None:
    missing = [
        spec.package for spec in specs if spec.package is not None and _program(spec) is None
    ]
    if missing:
        raise DaemonMissing(
            f"{', '.join(missing)} not installed: apt-get install --no-install-recommends "
            f"{' '.join(missing)}"
        )


def _program(spec: DaemonSpec) -> str | None:
    # The folders of daemons are not in everybody's path.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which(spec.package or sys.executable, path=path)


def _start(
    workspace: Workspace,
    stack: ExitStack,
    spec: DaemonSpec,
    files: DaemonFiles,
    *,
    boot_timeout: float,
) -> Daemon:
    """Start one as a process; the exit stack ends it."""
    # Our own Python may lie where nobody else may look.
    account = unprivileged_account() if spec.package is not None else None
    directory = workspace.directory / spec.name
    _make(directory, account)
    both = directory / "both.pem"
    both.write_bytes(files.both)
    both.chmod(READABLE_BY_ALL)
    # A daemon cannot be handed a listening socket, so between our choice of a port and its bind
    # somebody else may take the port.
    for attempt in range(PORT_ATTEMPTS):
        port = free_port()
        setup = DaemonSetup(
            host=LOOPBACK,
            port=port,
            cert_path=str(files.served.cert_path),
            key_path=str(files.served.key_path),
            both_path=str(both),
            directory=str(directory),
            log=str(directory / f"handshakes-{attempt}.log"),
            resumption=files.resumption,
        )
        for name, content in spec.files(setup).items():
            path = directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, "utf-8")
        program, *arguments = spec.command(setup)
        child = workspace.spawn(
            [_program(spec) or program, *arguments],
            log_name=f"{spec.name}-{attempt}.log",
            env=_environment(spec),
            account=account,
        )
        stack.callback(child.stop)
        endpoint = files.endpoint(port)
        if wait_until_served(
            port,
            alive=lambda child=child: child.exit_code is None,  # type: ignore[misc]
            name=spec.name,
            timeout=boot_timeout,
            last_words=child.last_lines,
        ):
            return Daemon(
                name=spec.name,
                endpoint=endpoint,
                path=spec.path,
                fingerprint=files.fingerprint,
                read_log=_reader(child, None if spec.on_output else Path(setup.log)),
                spec=spec,
                pid=child.pid,
            )
        if not any(words in child.log() for words in IN_USE):
            break
    raise StackError(f"{spec.name} ended while it started. {child.last_lines()}")


def _make(directory: Path, account: Account | None) -> None:
    directory.mkdir()
    directory.chmod(0o755)
    if account is not None:
        os.chown(directory, account.uid, account.gid)


def _environment(spec: DaemonSpec) -> Mapping[str, str]:
    if spec.package is not None:
        return plain_environment()
    # This Python, which must find this package as we do.
    package_parent = str(Path(pytest_certload.__file__).resolve().parent.parent)
    search_path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(NOT_INHERITED)}
    return {**inherited, "PYTHONPATH": search_path}


def _reader(child: Child, log: Path | None) -> Callable[[], str]:
    def read() -> str:
        if log is None:
            return child.log()
        return log.read_text("utf-8", "replace") if log.exists() else ""

    return read


def wait_until_served(
    port: int,
    *,
    alive: Callable[[], bool],
    name: str,
    timeout: float,
    last_words: Callable[[], str],
) -> bool:
    """Wait until a loopback port makes TLS handshakes; False: the daemon has ended before.

    Whose certificate it has is for others to judge.

    Raises:
        StackError: Not in time.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    deadline = time.monotonic() + timeout
    while alive():
        with (
            contextlib.suppress(OSError),
            socket.create_connection((LOOPBACK, port), HANDSHAKE_SECONDS) as raw,
            context.wrap_socket(raw),
        ):
            # Somebody else's, if ours could not have the port.
            return alive()
        if time.monotonic() >= deadline:
            raise StackError(
                f"{name} makes no TLS handshake {timeout:g} s after its start; if the machine is slow, "
                f"raise --certload-boot-timeout. {last_words()}"
            )
        time.sleep(POLL_SECONDS)
    return False
