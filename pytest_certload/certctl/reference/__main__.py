"""``python -m pytest_certload.certctl.reference``: the reference server as a program."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Sequence

import asyncpg

from pytest_certload.errors import ConfigurationError

from .authority import Authority
from .clock import server_clock
from .config import Config, read_config
from .distributor import SIGNALS, distribute
from .migrate import migrate
from .worker import serve, tls_context

_BACKLOG = 4096
_CONNECT_SECONDS = 10.0
_WRONG_USE = 2
#: Name of the local CA.
_AUTHORITY = "Load test CA"


def main(arguments: Sequence[str] | None = None) -> int:
    """Migrate, and serve until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a wanted end, 1 when something fails, 2 for a wrong configuration.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pytest_certload.certctl.reference",
        description="certctl's load-relevant surface on a real Postgres. Takes CERTCTL_* variables.",
    )
    parser.add_argument("--migrate-only", action="store_true", help="make the schema and end")
    parser.add_argument("--fd", type=int, help="a listening socket that was inherited")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        config = read_config(os.environ)
        tls = tls_context(config)
    except ConfigurationError as error:
        return _fail(str(error), code=_WRONG_USE)
    except OSError as error:
        return _fail(f"CERTCTL_SERVER_TLS_*: {error}", code=_WRONG_USE)
    try:
        asyncio.run(_migrate(config))
    # asyncpg raises ValueError for a port that is none.
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        return _fail(f"CERTCTL_DATABASE_URL: {error}")
    if options.migrate_only:
        return 0
    try:
        listener = _listen(config, options.fd)
    except OSError as error:
        return _fail(f"{config.host}:{config.port} cannot be listened on: {error.strerror}")
    return _run_workers(
        config, listener, tls, Authority(_AUTHORITY, now=server_clock(config.faults)())
    )


def _fail(message: str, *, code: int = 1) -> int:
    print(f"certctl reference server: {message}", file=sys.stderr)
    return code


async def _migrate(config: Config) -> None:
    connection = await asyncpg.connect(config.database_url, timeout=_CONNECT_SECONDS)
    try:
        await migrate(connection, config)
    finally:
        await connection.close()


def _listen(config: Config, descriptor: int | None) -> socket.socket:
    if descriptor is not None:
        return socket.socket(fileno=descriptor)
    return socket.create_server((config.host, config.port), backlog=_BACKLOG)


def _run_workers(
    config: Config, listener: socket.socket, tls: ssl.SSLContext, authority: Authority
) -> int:
    """Fork the workers, hand them connections, and wait: when one ends by itself, all do.

    They are forked before this process has a loop or a thread. Each has its end of a socket pair,
    which reads as ended when the other process is gone, however it went.
    """
    channels: dict[int, socket.socket] = {}
    # A signal between two forks would miss those that are not born yet.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in range(config.workers):
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            for held in (listener, ours, *channels.values()):
                held.close()
            return _work(config, theirs, tls, authority, number)
        theirs.close()
        channels[child] = ours
    with listener:
        wanted = asyncio.run(distribute(listener, list(channels.values())))
    for channel in channels.values():
        channel.close()
    failed = not wanted
    for worker in channels:
        _, status = os.waitpid(worker, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != 0:
            print(f"worker {worker} ended with {code}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


def _work(
    config: Config,
    channel: socket.socket,
    tls: ssl.SSLContext,
    authority: Authority,
    number: int,
) -> int:
    try:
        asyncio.run(serve(config, channel, tls, authority, worker=number))
    except Exception:
        logging.exception("worker %d failed", number)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
