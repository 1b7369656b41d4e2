"""A server that does to each connection what a test's script says, byte for byte."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from pytest_certload.clients import TRANSPORTS, open_client
from pytest_certload.units import Duration, seconds


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Clients run in whatever event loop the user has; pytest-asyncio asks for it since 1.4."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


# Seconds for what comes at once, unless the machine is busy; well below the client's timeout.
PATIENCE = 30
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Request:
    """What arrived: the head with its line ends, and the body."""

    head: bytes
    body: bytes

    @property
    def lines(self) -> list[str]:
        return self.head.decode().split("\r\n")[:-2]


class Peer:
    """The server's end of one connection."""

    def __init__(
        self,
        server: Server,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
    ) -> None:
        self.server = server
        self.number = number
        self._reader = reader
        self._writer = writer

    async def request(self) -> Request:
        """The next request, whole."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        body = await self._reader.readexactly(int(size[1])) if size else b""
        request = Request(head, body)
        self.server.requests.append(request)
        self.server.asked.set()
        return request

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def dribble(self, data: bytes) -> None:
        """Send byte by byte, each in a segment of its own."""
        for index in range(len(data)):
            await self.send(data[index : index + 1])
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Wait until the client has closed its end."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            pass

    def reset(self) -> None:
        """Break the connection off: the client sees a reset."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Server:
    """Where the client's requests arrive.

    Attributes:
        port: On 127.0.0.1.
        connections: How many were accepted.
        requests: All of them, in the order of their arrival.
        failures: What scripts raised beside the client's hanging up.
        open: What treats the present connections.
        asked: A request has arrived.
    """

    script: Script
    port: int = 0
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    open: set[asyncio.Task[None]] = field(default_factory=set)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(
            self._serve(Peer(self, reader, writer, self.connections), writer)
        )
        self.open.add(task)
        task.add_done_callback(self.open.discard)

    async def _serve(self, peer: Peer, writer: asyncio.StreamWriter) -> None:
        try:
            await self.script(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client hangs up when it is done
        except Exception as error:  # noqa: BLE001 - raised where the server ends
            # What uvloop says of writing to a client that has hung up.
            if "the handler is closed" not in str(error):
                self.failures.append(error)
        finally:
            writer.close()
            await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])


@asynccontextmanager
async def served(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server whose every connection is treated by ``script``, and closed after it."""
    server = Server(script)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        if server.open:
            _, late = await asyncio.wait(server.open, timeout=PATIENCE)
            for task in late:
                task.cancel()
            assert not late, "a script never ended"
        assert server.failures == []


def always(*answers: bytes) -> Script:
    """Answers each request of a connection with the next of the answers, the last one for ever."""

    async def script(peer: Peer) -> None:
        number = 0
        while True:
            await peer.request()
            await peer.send(answers[min(number, len(answers) - 1)])
            number += 1

    return script


def once(data: bytes) -> Script:
    """Answers one request of a connection, and closes it."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)

    return script


def client_of(
    transport: str,
    server: Server,
    *,
    scheme: str = "http",
    host: str = "127.0.0.1",
    connections: int = 10,
    timeout: Duration = seconds(60),  # noqa: B008 - immutable
    **options: Any,
) -> Any:
    """A client of the server."""
    return open_client(
        transport,
        base_url=f"{scheme}://{host}:{server.port}",
        connections=connections,
        timeout=timeout,
        **options,
    )


def overdue(client: Any) -> None:
    """As if the time of all that the client has asked were over: no test need wait for it."""
    deadlines = client._deadlines
    for entry in list(deadlines._entries):
        # One that is expired may have ended others.
        if deadlines._entries.pop(entry, None) is not None:
            entry.expire()


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """Each of the transports."""
    name: str = request.param
    return name


@dataclass(frozen=True)
class Authority:
    """A CA, and the file that says so."""

    ca: trustme.CA
    file: Path

    def context(self, *names: str, **options: Any) -> ssl.SSLContext:
        """For a server with a certificate of this CA."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(*names, **options).configure_cert(context)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA for the session."""
    ca = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return Authority(ca, path)
