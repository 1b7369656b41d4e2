"""The HTTP client against real sockets and real TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from typing import Any

import aiohttp
import pytest
import trustme

from pytest_certload.clients.http import classify, http_client
from pytest_certload.errors import ConfigurationError
from pytest_certload.samples import Outcome
from pytest_certload.units import Duration, ms, seconds

pytestmark = pytest.mark.asyncio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[bytes], bytes]


class Server:
    """Answers raw bytes and counts its connections."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0
        self.open: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self.serve(reader, writer))
        self.open.add(task)
        task.add_done_callback(self.open.discard)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                answer = self.answer(head)
                writer.write(answer)
                await writer.drain()
                if b"Connection: close" in answer or not answer:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client hangs up when it is done
        finally:
            writer.close()
            await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])


@asynccontextmanager
async def served(answer: Answer, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(answer)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0, ssl=context)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        if server.open:
            await asyncio.wait(server.open, timeout=10)


def client(
    server: Server,
    *,
    scheme: str = "http",
    host: str = "127.0.0.1",
    ca_path: Path | None = None,
    timeout: Duration = seconds(5),  # noqa: B008 - immutable
    connections: int = 10,
    headers: dict[str, str] | None = None,
) -> aiohttp.ClientSession:
    return http_client(
        base_url=f"{scheme}://{host}:{server.port}",
        connections=connections,
        timeout=timeout,
        ca_path=ca_path,
        headers=headers,
    )


async def outcome(session: aiohttp.ClientSession, path: str = "/") -> Outcome | None:
    try:
        async with session.get(path) as response:
            await response.json()
    except Exception as error:  # noqa: BLE001 - all of them are classified
        return classify(error)
    return Outcome.OK


class TestKeepAlive:
    async def test_after_head_without_a_length(self) -> None:
        def answer(head: bytes) -> bytes:
            return b"HTTP/1.1 200 OK\r\nReplay-Nonce: x\r\n\r\n" if head[:4] == b"HEAD" else OK

        async with served(answer) as server, client(server) as session:
            for _ in range(3):
                async with session.head("/nonce") as response:
                    assert response.headers["Replay-Nonce"] == "x"
                async with session.get("/") as response:
                    assert await response.text() == "ok"
        assert server.connections == 1

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\n",
        ],
    )
    async def test_not_when_the_server_says_so(self, answer: bytes) -> None:
        async with served(lambda _: answer) as server, client(server) as session:
            for _ in range(2):
                async with session.head("/") as response:
                    assert response.status == 200
        assert server.connections == 2

    async def test_a_body_until_the_end_of_the_connection_is_read_whole(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole"
        async with (
            served(lambda _: answer) as server,
            client(server) as session,
            session.get("/") as response,
        ):
            assert await response.text() == "whole"

    async def test_no_more_connections_than_slots(self) -> None:
        async with served(lambda _: OK) as server, client(server, connections=3) as session:

            async def ask() -> None:
                async with session.get("/") as response:
                    await response.read()

            await asyncio.gather(*(ask() for _ in range(50)))
        assert 1 <= server.connections <= 3
        assert len(server.requests) == 50


class TestTls:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    def context(self, authority: trustme.CA, *names: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*names).configure_cert(context)
        return context

    def ca_file(self, authority: trustme.CA, folder: Path) -> Path:
        path = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(path))
        return path

    async def test_the_right_ca(self, authority: trustme.CA, tmp_path: Path) -> None:
        ca = self.ca_file(authority, tmp_path)
        async with (
            served(lambda _: OK, self.context(authority, "127.0.0.1")) as server,
            client(server, scheme="https", ca_path=ca) as session,
            session.get("/") as response,
        ):
            assert response.status == 200

    async def test_another_ca_or_another_name_is_an_error(
        self, authority: trustme.CA, tmp_path: Path
    ) -> None:
        for signer, name in ((trustme.CA(), "127.0.0.1"), (authority, "example.test")):
            async with (
                served(lambda _: OK, self.context(signer, name)) as server,
                client(
                    server, scheme="https", ca_path=self.ca_file(authority, tmp_path)
                ) as session,
            ):
                assert await outcome(session) is Outcome.CONNECTION_ERROR

    async def test_a_ca_file_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("nothing")
        for path in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
            with pytest.raises(ConfigurationError, match=r"name a PEM file with --certload-ca"):
                http_client(
                    base_url="https://127.0.0.1:1", connections=1, timeout=ms(1), ca_path=path
                )


class TestOutcomes:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (b"", Outcome.CONNECTION_ERROR),
            (b"nonsense\r\n\r\n", Outcome.UNEXPECTED_STATUS),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nshort", Outcome.CONNECTION_ERROR),
            (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n{}", Outcome.CHECK_FAILED),
            (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{", Outcome.CHECK_FAILED),
            (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", Outcome.OK),
        ],
    )  # fmt: skip
    async def test_of_answers(self, answer: bytes, expected: Outcome) -> None:
        async with served(lambda _: answer) as server, client(server) as session:
            assert await outcome(session) is expected

    async def test_of_a_server_that_does_not_answer(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
        async with served(lambda _: answer) as server, client(server, timeout=ms(50)) as session:
            assert await outcome(session) is Outcome.TIMEOUT

    async def test_of_nobody_there(self) -> None:
        async with http_client(
            base_url="http://127.0.0.1:9", connections=1, timeout=seconds(1)
        ) as session:
            assert await outcome(session) is Outcome.CONNECTION_ERROR

    async def test_of_what_is_not_the_clients(self) -> None:
        assert classify(KeyError("x")) is None
        assert classify(json.JSONDecodeError("x", "", 0)) is Outcome.CHECK_FAILED


async def test_headers_go_with_every_request_and_cookies_do_not() -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    async with (
        served(lambda _: answer) as server,
        client(server, headers={"Authorization": "Bearer t"}) as session,
    ):
        for _ in range(2):
            async with session.get("/") as response:
                await response.read()
    assert all(b"Authorization: Bearer t\r\n" in head for head in server.requests)
    assert not any(b"Cookie" in head for head in server.requests)
