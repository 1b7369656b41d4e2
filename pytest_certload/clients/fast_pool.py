"""Which connection carries the next request? Those to one server: bounded, kept, and awaited in turn.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import aiohttp

from .fast_connection import Connection
from .fast_request import Origin
from .fast_response import FastResponse

__all__ = ["KEEP_ALIVE_SECONDS", "Pool"]

#: Below the 60 s after which common servers close idle connections.
KEEP_ALIVE_SECONDS = 30
#: Octets that are taken from the socket at once. asyncio's own way to read allocates four times as
#: much for every segment, which costs more than all that is done here.
BUFFER = 65_536
_KEEP_ALIVE = KEEP_ALIVE_SECONDS * 1_000_000_000
_NEVER = 2**63
_ADDRESSES_KEPT = 300 * 1_000_000_000

_Addresses = Sequence[tuple[int, int, int, str, Any]]
#: What who waits is given: a connection, or True for the right to open one. None: nothing, as the
#: request has failed meanwhile.
_Grant = Connection | bool | None


class Pool:
    """The connections to one origin.

    A request takes an idle connection, else opens one while there are fewer than the limit, else
    waits. Who waits is served in the order of coming: a connection that becomes free is handed to
    the first, and so is the right to open one in place of one that is gone.

    Args:
        origin: Where they lead.
        limit: Most of them at once.
        tls: For an origin with TLS.
        fresh: Each carries one request.
    """

    def __init__(
        self, origin: Origin, *, limit: int, tls: ssl.SSLContext | None, fresh: bool
    ) -> None:
        self._origin = origin
        self._limit = limit
        self._tls = tls
        self._fresh = fresh
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Connection] = deque()
        self._waiters: deque[asyncio.Future[_Grant]] = deque()
        #: Open, or about to be; each that is open is in ``_counted``.
        self._count = 0
        self._counted: set[Connection] = set()
        #: All that asyncio has not closed yet.
        self._alive: set[Connection] = set()
        self._all_lost: asyncio.Future[None] | None = None
        self._closed = False
        #: What all connections read into, one after the other: asyncio fills it and hands it over in
        #: one go, and a small one stays in the processor's cache.
        self.view = memoryview(bytearray(BUFFER))
        self._addresses: _Addresses = ()
        self._addresses_until = 0
        self._looking_up = asyncio.Lock()
        if origin.is_address:
            family = socket.AF_INET6 if ":" in origin.host else socket.AF_INET
            where = (origin.host, origin.port)
            # The protocol by number: without it asyncio leaves Nagle on.
            self._addresses = [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)]
            self._addresses_until = _NEVER

    def take(self, now: int) -> Connection | None:
        """An idle connection; None when there is none."""
        idle = self._idle
        while idle:
            connection = idle.popleft()
            if connection.usable:
                if now - connection.idle_since <= _KEEP_ALIVE:
                    return connection
                connection.close()
        return None

    async def acquire(self, response: FastResponse) -> Connection:
        """A connection for a request: a new one if there may be one, else the next that is free.

        Raises:
            aiohttp.ClientConnectorError: No connection could be made; and the like for DNS and TLS.
            aiohttp.ConnectionTimeoutError: Not in time.
            TimeoutError: None became free in time.
        """
        while True:
            if self._count < self._limit:
                self._count += 1
                return await self._open(response)
            connection = self.take(time.monotonic_ns())
            if connection is not None:
                return connection
            granted = await self._wait(response)
            if not isinstance(granted, Connection):
                return await self._open(response)
            if granted.usable:
                return granted

    def free(self, connection: Connection) -> None:
        """The connection has done its work and can do more."""
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
        else:
            self._idle.append(connection)

    def made(self, connection: Connection) -> None:
        """The connection has been made."""
        self._alive.add(connection)

    def gone(self, connection: Connection) -> None:
        """The connection carries no request any more."""
        if connection in self._counted:
            self._counted.remove(connection)
            self._vacate()

    def lost(self, connection: Connection) -> None:
        """Nothing of the connection is left."""
        self._alive.discard(connection)
        if self._all_lost is not None and not self._alive and not self._all_lost.done():
            self._all_lost.set_result(None)

    async def close(self) -> None:
        """Close all connections, whatever they do, and wait until they are gone."""
        self._closed = True
        while (waiter := self._next_waiter()) is not None:
            waiter.set_exception(_closed())
        self._idle.clear()
        for connection in list(self._alive):
            connection.interrupt(_closed())
        if self._alive:
            self._all_lost = self._loop.create_future()
            await self._all_lost

    def _next_waiter(self) -> asyncio.Future[_Grant] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _vacate(self) -> None:
        """There may be one more connection; the right goes to the first who waits."""
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(True)
        else:
            self._count -= 1

    async def _wait(self, response: FastResponse) -> _Grant:
        waiter: asyncio.Future[_Grant] = self._loop.create_future()
        self._waiters.append(waiter)
        response.waiter = waiter
        try:
            granted = await waiter
        except asyncio.CancelledError:
            # Cancelled after it was served: the next in line is.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._hand_on(waiter.result())
            raise
        if response.failure is not None:
            self._hand_on(granted)
            raise response.failure
        return granted

    def _hand_on(self, granted: _Grant) -> None:
        if granted is True:
            self._vacate()
        elif isinstance(granted, Connection) and granted.usable:
            self.free(granted)

    # Opening.

    async def _open(self, response: FastResponse) -> Connection:
        """Open one, which has been counted already."""
        try:
            connection = await self._opened(response)
            self._check(connection, response)
        except BaseException:
            self._vacate()
            raise
        self._counted.add(connection)
        return connection

    def _check(self, connection: Connection, response: FastResponse) -> None:
        """Refuse a connection that came too late."""
        if self._closed or response.failure is not None:
            connection.abort()
            raise response.failure or _closed()
        if not connection.usable:
            raise aiohttp.ServerDisconnectedError

    async def _opened(self, response: FastResponse) -> Connection:
        origin = self._origin
        # Errors of aiohttp ask a connection key for no more than an origin has.
        key: Any = origin
        try:
            async with asyncio.timeout(_seconds_until(response.deadline)):
                return await self._connect(response, key)
        except ssl.SSLCertVerificationError as error:
            raise aiohttp.ClientConnectorCertificateError(key, error) from error
        except ssl.SSLError as error:
            raise aiohttp.ClientConnectorSSLError(key, error) from error
        except aiohttp.ClientError:
            raise
        except OSError as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                raise aiohttp.ConnectionTimeoutError(
                    f"no connection to {origin.host}:{origin.port} within the timeout"
                ) from error
            raise aiohttp.ClientConnectorError(key, error) from error

    async def _connect(self, response: FastResponse, key: Any) -> Connection:
        origin, loop = self._origin, self._loop
        begin = looked_up = time.monotonic_ns()
        if begin >= self._addresses_until:
            try:
                looked_up = await self._look_up()
            except socket.gaierror as error:
                raise aiohttp.ClientConnectorDNSError(key, error) from error
        sock = await self._first_that_answers(self._addresses)
        connected = time.monotonic_ns()
        connection = Connection(self, fresh=self._fresh)
        try:
            transport, _ = await loop.create_connection(
                lambda: connection,
                sock=sock,
                ssl=self._tls,
                server_hostname=origin.host if self._tls is not None else None,
            )
        except BaseException:
            # uvloop closes one whose making is cancelled without telling it that it is lost.
            loop.call_soon(self.lost, connection)
            raise
        if response.observer is not None:
            tls = time.monotonic_ns() - connected if self._tls is not None else 0
            session = transport.get_extra_info("ssl_object")
            response.observer.connected(looked_up - begin, connected - looked_up, tls, session)
        return connection

    async def _look_up(self) -> int:
        """Find the addresses, once for all who want them at the same time; returns when that was over.

        The event loop asks a thread, and a load that begins wants a hundred connections at once.
        """
        async with self._looking_up:
            now = time.monotonic_ns()
            if now >= self._addresses_until:
                self._addresses = await self._loop.getaddrinfo(
                    self._origin.host, self._origin.port, type=socket.SOCK_STREAM
                )
                now = time.monotonic_ns()
                self._addresses_until = now + _ADDRESSES_KEPT
        return now

    async def _first_that_answers(self, addresses: _Addresses) -> socket.socket:
        failure: OSError | None = None
        for family, kind, protocol, _, address in addresses:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setblocking(False)
                await self._loop.sock_connect(sock, address)
                return sock
            except BaseException as error:
                sock.close()
                if not isinstance(error, OSError):
                    raise
                failure = failure or error
        raise failure or OSError(f"no address of {self._origin.host} is known")


def _seconds_until(deadline: int) -> float | None:
    return max(0, deadline - time.monotonic_ns()) / 1e9 if deadline else None


def _closed() -> aiohttp.ClientConnectionError:
    return aiohttp.ClientConnectionError("the client is closed")
