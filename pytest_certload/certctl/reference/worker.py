"""How does one process of the server live? It answers, and writes its rows before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from aiohttp import web

from .acme import Acme, find_issuer
from .agents import sweep
from .app import App
from .audit import AuditLog
from .authority import Authority
from .certificates import Certificates
from .clock import server_clock
from .config import Config
from .deploying import Deployments
from .distributor import SIGNALS
from .jobs import Jobs
from .processor import JobProcessor
from .renewal import Renewals
from .renewing import RenewalWork
from .signing import Signing, read_issuers
from .work import AgentWork

__all__ = ["serve", "tls_context"]

# What follows SIGTERM must be over before whoever sent it loses patience (5 s for our stacks).
_FINISH_SECONDS = 1.0
_DRAIN_SECONDS = 3.0
_HANDSHAKE_SECONDS = 10.0
_KEEP_ALIVE_SECONDS = 60.0
_log = logging.getLogger(__name__)


def tls_context(config: Config) -> ssl.SSLContext:
    """TLS 1.3 and nothing older, as certctl.

    Raises:
        OSError: The files cannot be read or are no certificate and key (``ssl.SSLError``).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(config.certificate, config.key)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def serve(
    config: Config,
    channel: socket.socket,
    tls: ssl.SSLContext,
    authority: Authority,
    *,
    worker: int,
) -> None:
    """Serve until SIGTERM, SIGINT, or the end of the distributor.

    Args:
        config: The configuration.
        channel: Where connections come from; reads as ended when the distributor is gone.
        tls: For each connection.
        authority: Signs certificates; the same one in all workers.
        worker: Number of this worker, from 0.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in SIGNALS:
        loop.add_signal_handler(number, ended.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    async with _pool(config, worker) as pool:
        audit = AuditLog(pool, worker=worker, workers=config.workers, faults=config.faults)
        issuers = await read_issuers(pool)
        acme = Acme(config, audit, authority, await find_issuer(pool))
        renewals = Renewals(config, audit, worker=worker, workers=config.workers)
        certificates = Certificates(config, worker=worker, workers=config.workers)
        app = App(
            config,
            pool,
            audit,
            acme,
            renewals,
            certificates,
            work=AgentWork(config, audit),
            signing=Signing(
                config,
                audit,
                authority,
                issuers,
                worker=worker,
                workers=config.workers,
            ),
            jobs=Jobs(config, audit),
        )
        server = web.Server(
            app.handle,
            request_factory=_reader(config),
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            access_log=None,
        )
        writer = asyncio.create_task(audit.run(), name="audit")
        endless = [asyncio.create_task(_receive(channel, ended, server, tls), name="receive")]
        if worker == 0:
            sweeping = sweep(pool, config.health_seconds, server_clock(config.faults))
            endless.append(asyncio.create_task(sweeping, name="sweep"))
            which: dict[str, int] = {"worker": worker, "workers": config.workers}
            processor = JobProcessor(
                config,
                pool,
                RenewalWork(config, pool, audit, authority, issuers, **which),
                Deployments(config, pool, audit, **which),
            )
            endless.append(asyncio.create_task(processor.run(), name="job processor"))
        waiting = asyncio.create_task(ended.wait(), name="wait")
        done, _ = await asyncio.wait(
            [waiting, writer, *endless], return_when=asyncio.FIRST_COMPLETED
        )
        await _cancel(waiting, *endless)
        server.pre_shutdown()
        await server.shutdown(_FINISH_SECONDS)
        unwritten = await audit.drain(_DRAIN_SECONDS)
        if unwritten:
            _log.warning("%d audit rows were not written in time", unwritten)
        await _cancel(writer)
        for task in done - {waiting}:
            # Neither may end by itself: the server without it is not the one that was asked for.
            await task


def _reader(config: Config) -> Callable[[Any, Any, Any, Any, Any], web.BaseRequest]:
    """What makes requests: aiohttp's server does not hand its longest body on to them."""
    loop = asyncio.get_running_loop()

    def request(
        message: Any, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=config.max_body
        )

    return request


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@asynccontextmanager
async def _pool(config: Config, worker: int) -> AsyncIterator[asyncpg.Pool[Any]]:
    each, left = divmod(config.connections, config.workers)
    size = max(1, each + (worker < left))

    async def as_it_is(_: Any) -> None:
        """Nothing in a session is ever changed, so nothing needs a reset, which is a round trip."""

    pool = await asyncpg.create_pool(
        config.database_url,
        min_size=min(size, 5),
        max_size=size,
        reset=as_it_is,
        server_settings={"application_name": "certctl-reference"},
    )
    try:
        yield pool
    finally:
        pool.terminate()


async def _receive(
    channel: socket.socket, ended: asyncio.Event, server: web.Server, tls: ssl.SSLContext
) -> None:
    """Take connections until cancelled."""
    loop = asyncio.get_running_loop()
    handshakes: set[asyncio.Task[None]] = set()
    channel.setblocking(False)

    def receive() -> None:
        data, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
        for descriptor in descriptors:
            connection = socket.socket(fileno=descriptor)
            task = asyncio.create_task(_connect(connection, server, tls))
            handshakes.add(task)
            task.add_done_callback(handshakes.discard)
        if not data:
            loop.remove_reader(channel)
            ended.set()

    loop.add_reader(channel, receive)
    try:
        await asyncio.Future()
    finally:
        loop.remove_reader(channel)
        for task in handshakes:
            task.cancel()


async def _connect(connection: socket.socket, server: web.Server, tls: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    # A handshake that the client gives up is the client's affair.
    with contextlib.suppress(OSError, asyncio.TimeoutError):
        await loop.connect_accepted_socket(
            server, connection, ssl=tls, ssl_handshake_timeout=_HANDSHAKE_SECONDS
        )
