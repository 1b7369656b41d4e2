"""What is particular to the aiohttp transport: all of aiohttp, under this project's deadlines."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from pytest_certload.clients import open_client
from pytest_certload.clients.http import classify, http_client
from pytest_certload.errors import ConfigurationError
from pytest_certload.samples import Outcome
from pytest_certload.stack.certs import CertificateAuthority
from pytest_certload.units import ms, seconds

from .conftest import OK, Peer, always, client_of, once, overdue, served

pytestmark = pytest.mark.asyncio


async def test_has_all_that_a_session_has() -> None:
    async with (
        served(always(OK)) as server,
        client_of("aiohttp", server, headers={"X-Token": "t"}) as client,
    ):
        assert client.headers["X-Token"] == "t"
        form = aiohttp.FormData()
        form.add_field("file", b"content", filename="a.txt")
        async with client.post("/", data=form) as response:
            assert [chunk async for chunk in response.content.iter_any()] == [b"ok"]
        async with client.get("/", headers={"X": "y"}, auth=None, chunked=None) as response:
            assert response.ok
        with pytest.raises(AttributeError, match="nothing"):
            _ = client.nothing
    assert b'filename="a.txt"' in server.requests[0].body


async def test_cookies_are_not_kept() -> None:
    wire = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    async with served(always(wire)) as server, client_of("aiohttp", server) as client:
        for _ in range(2):
            async with client.get("/") as response:
                assert response.cookies["a"].value == "b"
    assert not any(b"Cookie" in request.head for request in server.requests)


async def test_a_streamed_body_is_held_to_the_deadline() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nx")
        await peer.gone()

    async with served(script) as server, client_of("aiohttp", server) as client:
        async with client.get("/") as response:
            assert await response.content.read(1) == b"x"
            asyncio.get_running_loop().call_soon(overdue, client)
            with pytest.raises(TimeoutError, match=r"no complete response within 60 s"):
                await response.content.read(1)


async def test_a_cancelled_task_stays_cancelled_though_its_request_is_overdue() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with served(script) as server, client_of("aiohttp", server) as client:
        task = asyncio.ensure_future(client.get("/").__aenter__())
        await server.asked.wait()
        loop = asyncio.get_running_loop()
        # In the same turn of the event loop, the other's wish first.
        client._deadlines._timer.cancel()
        task.cancel()
        loop.call_soon(next(iter(client._deadlines._entries)).expire)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_no_limit() -> None:
    async with (
        served(always(OK)) as server,
        client_of("aiohttp", server, timeout=seconds(0)) as client,
    ):
        async with client.get("/") as response:
            assert await response.text() == "ok"


async def test_a_proxy_is_told_apart_from_the_server() -> None:
    async with served(once(OK)) as proxy:
        async with http_client(
            base_url="http://nobody.invalid", connections=1, timeout=seconds(60)
        ) as client:
            async with client.get("/x", proxy=f"http://127.0.0.1:{proxy.port}") as response:
                assert await response.text() == "ok"
    assert proxy.requests[0].lines[0] == "GET http://nobody.invalid/x HTTP/1.1"


async def test_a_ca_file_that_is_none(tmp_path: Path, transport: str) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for path in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        with pytest.raises(ConfigurationError, match=r"name a PEM file with --certload-ca"):
            open_client(
                transport,
                base_url="https://127.0.0.1:1",
                connections=1,
                timeout=ms(1),
                ca_path=path,
            )


async def test_a_transport_that_is_none() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"^transport: 'carrier pigeon' is none; choose one of aiohttp, fast$",
    ):
        open_client("carrier pigeon")


async def test_outcomes_of_what_is_not_the_clients() -> None:
    assert classify(KeyError("x")) is None
    assert classify(json.JSONDecodeError("x", "", 0)) is Outcome.CHECK_FAILED
    assert classify(ConnectionResetError()) is Outcome.CONNECTION_ERROR


async def test_a_node_whose_tls_fails_is_no_reason_to_ask_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a name with two addresses one has another CA's certificate: its users meet an error."""
    trusted, other = (CertificateAuthority(tmp_path / name) for name in ("trusted", "other"))
    asked: list[str] = []

    async def resolve(self: object, host: str, port: int = 0, family: int = 0) -> list[object]:
        return [
            {
                "hostname": host, "host": address, "port": port, "family": socket.AF_INET,
                "proto": 0, "flags": socket.AI_NUMERICHOST,
            }
            for address in ("127.0.0.2", "127.0.0.3")
        ]  # fmt: skip

    monkeypatch.setattr(aiohttp.DefaultResolver, "resolve", resolve)

    async def start(authority: CertificateAuthority, address: str, port: int) -> asyncio.Server:
        certificate = authority.issue("node.localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.cert_path, certificate.key_path)

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(address)
            writer.close()

        return await asyncio.start_server(accept, address, port, ssl=context)

    async with await start(other, "127.0.0.2", 0) as bad:
        port = bad.sockets[0].getsockname()[1]
        async with (
            await start(trusted, "127.0.0.3", port),
            http_client(
                base_url=f"https://node.localhost:{port}",
                connections=1,
                timeout=seconds(60),
                ca_path=trusted.ca_path,
            ) as client,
        ):
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await client.get("/").__aenter__()
    assert asked == []
