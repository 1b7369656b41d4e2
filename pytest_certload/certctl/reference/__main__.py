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

from .config import Config, read_config
from .migrate import migrate
from .worker import serve, tls_context

_BACKLOG = 4096
_CONNECT_SECONDS = 10.0
_WRONG_USE = 2


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
    except (ConfigurationError, ssl.SSLError) as error:
        return _fail(str(error), code=_WRONG_USE)
    except OSError as error:
        return _fail(f"CERTCTL_SERVER_TLS_*: {error}", code=_WRONG_USE)
    try:
        asyncio.run(_migrate(config))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        return _fail(f"CERTCTL_DATABASE_URL: {error}")
    if options.migrate_only:
        return 0
    try:
        listener = _listen(config, options.fd)
    except OSError as error:
        return _fail(f"{config.host}:{config.port} cannot be listened on: {error.strerror}")
    return _run_workers(config, listener, tls)


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


def _run_workers(config: Config, listener: socket.socket, tls: ssl.SSLContext) -> int:
    """Fork the workers and wait: when one ends by itself, all do.

    They are forked, before this process has a loop or a thread, so that all accept from one
    socket. Each holds the reading end of a pipe whose writing end only this process has: it reads
    as ended when this process is gone, however it went.
    """
    reading, writing = os.pipe()
    workers: set[int] = set()
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        for worker in workers:
            os.kill(worker, signal.SIGTERM)

    wanted = (signal.SIGTERM, signal.SIGINT)
    # A signal between two forks would miss those that are not born yet.
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    for number in range(config.workers):
        child = os.fork()
        if child == 0:
            os.close(writing)
            return _work(config, listener, tls, number, reading)
        workers.add(child)
    os.close(reading)
    listener.close()
    for signum in wanted:
        signal.signal(signum, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
    failed = False
    while workers:
        ended, status = os.wait()
        workers.discard(ended)
        code = os.waitstatus_to_exitcode(status)
        failed = failed or code != 0 or not stopping
        if not stopping:
            print(f"worker {ended} ended with {code}: all end", file=sys.stderr)
            stop()
    return 1 if failed else 0


def _work(
    config: Config, listener: socket.socket, tls: ssl.SSLContext, number: int, parent: int
) -> int:
    async def work() -> None:
        serving = asyncio.create_task(serve(config, listener, tls, worker=number, parent=parent))
        # The loop has the handlers as soon as this task has run once.
        await asyncio.sleep(0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
        await serving

    try:
        asyncio.run(work())
    except Exception:
        logging.exception("worker %d failed", number)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
