"""Both transports against a server that says exactly what a test wants, also what no server should."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
import zlib
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import aiohttp
import pytest
import trustme
from cryptography import x509
from yarl import URL

from pytest_certload.clients import TRANSPORTS
from pytest_certload.clients.http import classify
from pytest_certload.samples import Outcome
from pytest_certload.units import ms

from .conftest import (
    OK,
    PATIENCE,
    Authority,
    Peer,
    Script,
    Server,
    always,
    client_of,
    once,
    overdue,
    served,
)

pytestmark = pytest.mark.asyncio

CONTENT_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
TRAILERS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    b"5;note=x\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"
)
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"
INTERIM = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + CONTENT_LENGTH
)
SMALL_NAMES = b"HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello"
NO_REASON = b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello"
OLD = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"

MESSAGES = {
    "content-length": CONTENT_LENGTH,
    "chunked": CHUNKED,
    "trailers": TRAILERS,
    "until-close": UNTIL_CLOSE,
    "interim": INTERIM,
    "small-names": SMALL_NAMES,
    "no-reason": NO_REASON,
    "http/1.0": OLD,
}
message = pytest.mark.parametrize("wire", MESSAGES.values(), ids=MESSAGES.keys())


async def failure(
    client: Any,
    method: str = "GET",
    path: str = "/",
    *,
    seen: asyncio.Event | None = None,
    **options: Any,
) -> Exception:
    """What a request and the reading of its response raise; ``seen`` is set between the two."""

    async def ask() -> None:
        async with client.request(method, path, **options) as response:
            if seen is not None:
                seen.set()
            await response.read()

    with pytest.raises(Exception) as info:  # noqa: PT011 - the caller looks at it
        await ask()
    return info.value


def is_error(error: Exception, kind: type[Exception], outcome: Outcome) -> None:
    assert isinstance(error, kind), repr(error)
    assert classify(error) is outcome


class TestBodies:
    @message
    async def test_at_once(self, transport: str, wire: bytes) -> None:
        async with served(once(wire)) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert response.status == 200
                assert await response.read() == b"hello"
                assert response.headers.get("X-Sum") is None, "trailers are no headers"
                assert response.headers.get("Link") is None, "an interim answer is none"
                assert response.version == (1, 0 if wire is OLD else 1)
                assert response.reason == ("" if wire is NO_REASON else "OK")

    @message
    async def test_byte_by_byte(self, transport: str, wire: bytes) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.dribble(wire)

        async with served(script) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert await response.text() == "hello"

    @message
    async def test_the_body_after_the_code_has_seen_the_head(
        self, transport: str, wire: bytes
    ) -> None:
        seen = asyncio.Event()
        at = wire.rindex(b"\r\n\r\n", 0, -4) + 4

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(wire[:at])
            await seen.wait()
            await peer.send(wire[at:])

        async with served(script) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert not response.closed
                seen.set()
                assert await response.read() == b"hello"
                assert response.closed

    async def test_of_several_segments(self, transport: str) -> None:
        body = bytes(range(256)) * 4096
        wire = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        async with served(always(wire)) as server, client_of(transport, server) as client:
            for _ in range(3):
                async with client.get("/") as response:
                    assert await response.read() == body
        assert server.connections == 1

    async def test_read_twice_gives_the_same(self, transport: str) -> None:
        async with served(always(OK)) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert await response.read() == await response.read() == b"ok"
            assert await response.text() == "ok"

    async def test_cannot_be_read_once_released(self, transport: str) -> None:
        async with served(always(OK)) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                pass
            with pytest.raises(aiohttp.ClientConnectionError, match="Connection closed"):
                await response.read()

    @pytest.mark.parametrize(
        ("coding", "body"),
        [
            ("gzip", gzip.compress(b"hello", mtime=0)),
            ("deflate", zlib.compress(b"hello")),
            ("identity", b"hello"),
        ],
    )
    async def test_compressed_by_the_server(self, transport: str, coding: str, body: bytes) -> None:
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        script = always(head.encode() + body)
        async with served(script) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert await response.read() == b"hello"


NO_BODY = {
    "head": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
    "head-no-length": ("HEAD", b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n"),
    "head-chunked": ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    "304": ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"),
    "304-length": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    "empty": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
}


@pytest.mark.parametrize(("method", "wire"), NO_BODY.values(), ids=NO_BODY.keys())
async def test_without_a_body(transport: str, method: str, wire: bytes) -> None:
    async with served(always(wire, wire, OK)) as server, client_of(transport, server) as client:
        for _ in range(2):
            async with client.request(method, "/") as response:
                assert response.status == int(wire[9:12])
                assert await response.read() == b""
        async with client.get("/") as response:
            assert await response.text() == "ok"
    assert server.connections == 1


class TestHeaders:
    async def test_of_one_name_are_all_kept_in_order(self, transport: str) -> None:
        wire = (
            b"HTTP/1.1 200 OK\r\nA: 1\r\na:  2\r\nB: \r\nC: \xc3\xa4\r\nContent-Length: 0\r\n\r\n"
        )
        async with served(always(wire)) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert response.headers.getall("A") == ["1", "2"]
                assert response.headers["b"] == ""
                assert response.headers["C"] == "ä"
                assert [name for name, _ in response.raw_headers][:2] == [b"A", b"a"]

    async def test_many(self, transport: str) -> None:
        lines = "".join(f"X-{i}: {i}\r\n" for i in range(100))
        wire = f"HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n".encode()
        async with served(always(wire)) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert response.headers["x-99"] == "99"

    async def test_long(self, transport: str) -> None:
        wire = b"HTTP/1.1 200 OK\r\nX: %b\r\nContent-Length: 0\r\n\r\n" % (b"x" * 8000)
        async with served(always(wire)) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert len(response.headers["X"]) == 8000

    @pytest.mark.parametrize("more", [b"x" * 8192, b"X: y\r\n" * 1024], ids=["one", "many"])
    async def test_without_an_end_are_an_error_and_no_hang(
        self, transport: str, more: bytes
    ) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nX: ")
            for _ in range(1000):
                await peer.send(more)

        async with served(script) as server, client_of(transport, server) as client:
            error = await failure(client)
        if transport == "aiohttp" and isinstance(error, aiohttp.ServerDisconnectedError):
            # Older ones have no limit to their number, and read until the server is tired of it.
            assert not hasattr(aiohttp.StreamReader, "total_raw_bytes")
        else:
            is_error(error, aiohttp.ClientResponseError, Outcome.UNEXPECTED_STATUS)


BREAKS: dict[str, tuple[bytes, type[Exception], Outcome]] = {
    "before-head": (b"", aiohttp.ServerDisconnectedError, Outcome.CONNECTION_ERROR),
    "mid-head": (b"HTTP/1.1 200 OK\r\nX:", aiohttp.ServerDisconnectedError, Outcome.CONNECTION_ERROR),
    "mid-body": (CONTENT_LENGTH[:-1], aiohttp.ClientPayloadError, Outcome.CONNECTION_ERROR),
    "no-body": (CONTENT_LENGTH[:-5], aiohttp.ClientPayloadError, Outcome.CONNECTION_ERROR),
    "mid-chunk": (CHUNKED[:-12], aiohttp.ClientPayloadError, Outcome.CONNECTION_ERROR),
    "no-last-chunk": (CHUNKED[:-5], aiohttp.ClientPayloadError, Outcome.CONNECTION_ERROR),
    "interim-only": (INTERIM[:25], aiohttp.ServerDisconnectedError, Outcome.CONNECTION_ERROR),
}  # fmt: skip
GARBAGE: dict[str, tuple[bytes, type[Exception], Outcome]] = {
    "no-http": (b"nonsense\r\n\r\n", aiohttp.ClientResponseError, Outcome.UNEXPECTED_STATUS),
    "ssh": (b"SSH-2.0-OpenSSH_9.2\r\n", aiohttp.ClientResponseError, Outcome.UNEXPECTED_STATUS),
    "status": (b"HTTP/1.1 abc OK\r\n\r\n", aiohttp.ClientResponseError, Outcome.UNEXPECTED_STATUS),
    "version": (b"HTTP/x 200 OK\r\n\r\n", aiohttp.ClientResponseError, Outcome.UNEXPECTED_STATUS),
    "header": (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", aiohttp.ClientResponseError, Outcome.UNEXPECTED_STATUS),
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", aiohttp.ClientResponseError, Outcome.UNEXPECTED_STATUS),
    "lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", aiohttp.ClientResponseError, Outcome.UNEXPECTED_STATUS),
    "both": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", aiohttp.ClientResponseError, Outcome.UNEXPECTED_STATUS),
}  # fmt: skip


class TestBrokenAnswers:
    @pytest.mark.parametrize(("wire", "kind", "outcome"), BREAKS.values(), ids=BREAKS.keys())
    async def test_closed_early(
        self, transport: str, wire: bytes, kind: type[Exception], outcome: Outcome
    ) -> None:
        async with served(once(wire)) as server, client_of(transport, server) as client:
            is_error(await failure(client), kind, outcome)
        assert server.connections == 1, "what a new connection does not answer is asked once"

    @pytest.mark.parametrize(("wire", "kind", "outcome"), GARBAGE.values(), ids=GARBAGE.keys())
    async def test_garbage(
        self, transport: str, wire: bytes, kind: type[Exception], outcome: Outcome
    ) -> None:
        async with served(always(wire)) as server, client_of(transport, server) as client:
            is_error(await failure(client), kind, outcome)

    async def test_a_bad_chunk(self, transport: str) -> None:
        wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\nzz\r\n"
        seen = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(wire[:-4])
            await seen.wait()
            await peer.send(wire[-4:])
            await peer.gone()

        async with served(script) as server, client_of(transport, server) as client:
            error = await failure(client, seen=seen)
        is_error(error, aiohttp.ClientPayloadError, Outcome.CONNECTION_ERROR)

    @pytest.mark.parametrize(
        ("wire", "kind"),
        [(b"", aiohttp.ClientOSError), (CONTENT_LENGTH[:-1], aiohttp.ClientPayloadError)],
        ids=["head", "body"],
    )
    async def test_reset(self, transport: str, wire: bytes, kind: type[Exception]) -> None:
        seen = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(wire)
            if wire:
                await seen.wait()
            peer.reset()

        async with served(script) as server, client_of(transport, server) as client:
            error = await failure(client, "POST", seen=seen)
        is_error(error, kind, Outcome.CONNECTION_ERROR)

    async def test_refused(self, transport: str) -> None:
        async with client_of(transport, Server(once(b""), port=9)) as client:
            error = await failure(client)
        is_error(error, aiohttp.ClientConnectorError, Outcome.CONNECTION_ERROR)
        assert str(error).startswith("Cannot connect to host 127.0.0.1:9 ssl:default [")

    async def test_a_host_that_nobody_knows(
        self, transport: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def unknown(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
        async with client_of(transport, Server(once(b""), port=9), host="nobody.invalid") as client:
            error = await failure(client)
        is_error(error, aiohttp.ClientConnectorDNSError, Outcome.CONNECTION_ERROR)

    @pytest.mark.parametrize("junk", [b"junk", OK], ids=["junk", "answer"])
    @pytest.mark.parametrize("wire", [CONTENT_LENGTH, CHUNKED], ids=["length", "chunked"])
    async def test_what_follows_an_answer_is_not_taken_for_the_next_one(
        self, transport: str, wire: bytes, junk: bytes
    ) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(wire + junk)
            await peer.gone()

        async with served(script) as server, client_of(transport, server) as client:
            for _ in range(2):
                try:
                    async with client.get("/") as response:
                        assert await response.read() == b"hello"
                except aiohttp.ClientResponseError:
                    # aiohttp gives the answer up together with what follows it.
                    assert transport == "aiohttp"
        assert server.connections == 2

    async def test_what_comes_unasked_is_not_taken_for_an_answer(self, transport: str) -> None:
        sent = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(OK)
            if peer.number == 1:
                await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
                sent.set()
            await peer.gone()

        async with served(script) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert await response.text() == "ok"
            await sent.wait()
            # One turn of the event loop for the client to see it.
            await asyncio.sleep(0.01)
            async with client.get("/") as response:
                assert response.status == 200
        assert server.connections == 2


class TestTimeouts:
    async def test_a_slow_body_in_time(self, transport: str) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            for octet in CONTENT_LENGTH[-7:].join([CONTENT_LENGTH[:-7], b""]):
                await peer.send(bytes([octet]))
                await asyncio.sleep(0.001)

        async with served(script) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert await response.text() == "hello"

    @pytest.mark.parametrize(
        "wire", [b"", CONTENT_LENGTH[:20], CONTENT_LENGTH[:-1], CHUNKED[:-5]],
        ids=["no-head", "half-head", "half-body", "no-last-chunk"],
    )  # fmt: skip
    async def test_too_slow(self, transport: str, wire: bytes) -> None:
        closed = asyncio.Event()

        async def script(peer: Peer) -> None:
            try:
                await peer.request()
                await peer.send(wire)
                await peer.gone()
            finally:
                # On a busy machine the time may be over before the request came.
                closed.set()

        async with (
            served(script) as server,
            client_of(transport, server, timeout=ms(60), connections=1) as client,
        ):
            begin = time.monotonic()
            error = await failure(client)
            assert 0.055 < time.monotonic() - begin < PATIENCE
            is_error(error, TimeoutError, Outcome.TIMEOUT)
            if server.requests:
                assert str(error) == "no complete response within 0.06 s"
            await asyncio.wait_for(closed.wait(), PATIENCE)

    async def test_it_is_noticed_soon(self, transport: str) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.gone()

        took = []
        async with served(script) as server, client_of(transport, server, timeout=ms(60)) as client:
            for _ in range(3):
                begin = time.monotonic()
                is_error(await failure(client), TimeoutError, Outcome.TIMEOUT)
                took.append(time.monotonic() - begin)
        # The machine may hold up some.
        assert min(took) < 1

    async def test_dribbling_does_not_put_it_off(self, transport: str) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
            for _ in range(999):
                await peer.send(b"x")
                await asyncio.sleep(0.005)

        async with served(script) as server, client_of(transport, server, timeout=ms(60)) as client:
            is_error(await failure(client), TimeoutError, Outcome.TIMEOUT)

    async def test_the_wait_for_a_connection_counts(self, transport: str) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.gone()

        async with (
            served(script) as server,
            client_of(transport, server, timeout=ms(60), connections=1) as client,
        ):
            begin = time.monotonic()
            errors = await asyncio.gather(*(failure(client) for _ in range(3)))
            assert time.monotonic() - begin < PATIENCE
        for error in errors:
            is_error(error, TimeoutError, Outcome.TIMEOUT)
        assert len(server.requests) < 3

    @pytest.mark.parametrize("own", [0.06, aiohttp.ClientTimeout(total=0.06)])
    async def test_of_a_request_of_its_own(self, transport: str, own: object) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.gone()

        async with served(script) as server, client_of(transport, server) as client:
            begin = time.monotonic()
            is_error(await failure(client, timeout=own), TimeoutError, Outcome.TIMEOUT)
            assert time.monotonic() - begin < PATIENCE

    async def test_a_body_nobody_reads_in_time(self, transport: str) -> None:
        gone = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(CONTENT_LENGTH[:-1])
            await peer.gone()
            gone.set()

        async with served(script) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                overdue(client)
                await asyncio.wait_for(gone.wait(), PATIENCE)
                assert response.closed
                with pytest.raises(TimeoutError):
                    await response.read()

    async def test_the_connection_that_was_too_slow_makes_room(self, transport: str) -> None:
        async def script(peer: Peer) -> None:
            while True:
                await peer.request()
                if peer.number == 1:
                    await peer.gone()
                await peer.send(OK)

        async with (
            served(script) as server,
            client_of(transport, server, timeout=ms(100), connections=1) as client,
        ):
            assert isinstance(await failure(client), TimeoutError)
            async with client.get("/", timeout=PATIENCE) as response:
                assert await response.text() == "ok"
        assert server.connections == 2


class TestConnections:
    async def test_are_kept(self, transport: str) -> None:
        async with served(always(OK)) as server, client_of(transport, server) as client:
            for _ in range(5):
                async with client.post("/", json={}) as response:
                    await response.read()
        assert server.connections == 1

    async def test_are_kept_also_when_the_body_was_not_read(self, transport: str) -> None:
        async with served(always(OK)) as server, client_of(transport, server) as client:
            for _ in range(5):
                async with client.get("/") as response:
                    assert response.ok
        assert server.connections == 1

    @pytest.mark.parametrize(
        ("wire", "kept"),
        [
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", False),
            (b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n", False),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
            (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", True),
        ],
        ids=["close", "close-in-list", "1.0", "1.0-keep-alive"],
    )
    async def test_are_closed_when_the_server_says_so(
        self, transport: str, wire: bytes, kept: bool
    ) -> None:
        async with served(always(wire)) as server, client_of(transport, server) as client:
            for _ in range(2):
                async with client.get("/") as response:
                    await response.read()
        assert server.connections == (1 if kept else 2)

    async def test_that_the_server_has_closed_meanwhile_are_replaced(self, transport: str) -> None:
        # The request crosses the server's close, so nothing of it was heard.
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(OK)
            await peer.request()
            if peer.number > 1:
                await peer.send(OK)

        async with served(script) as server, client_of(transport, server) as client:
            for _ in range(2):
                async with client.get("/") as response:
                    assert await response.text() == "ok"
            assert server.connections == 2
            assert len(server.requests) == 3

    async def test_a_post_is_never_sent_twice(self, transport: str) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(OK)
            await peer.request()

        async with served(script) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert await response.text() == "ok"
            error = await failure(client, "POST", data=b"x")
        is_error(error, aiohttp.ServerDisconnectedError, Outcome.CONNECTION_ERROR)
        assert server.connections == 1

    async def test_closed_while_idle_are_not_used(self, transport: str) -> None:
        async with served(once(OK)) as server, client_of(transport, server) as client:
            for _ in range(3):
                async with client.get("/") as response:
                    assert await response.text() == "ok"
                if server.open:
                    await asyncio.wait(server.open)
        assert server.connections == 3
        assert len(server.requests) == 3

    async def test_are_no_more_than_allowed_and_served_in_turn(self, transport: str) -> None:
        present = peak = 0

        async def script(peer: Peer) -> None:
            nonlocal present, peak
            while True:
                await peer.request()
                present += 1
                peak = max(peak, present)
                await asyncio.sleep(0.001)
                present -= 1
                await peer.send(OK)

        async with served(script) as server, client_of(transport, server, connections=3) as client:

            async def ask(number: int) -> None:
                async with client.get(f"/{number}") as response:
                    await response.read()

            await asyncio.gather(*(ask(number) for number in range(30)))
        assert server.connections == peak == 3
        order = [int(request.lines[0].split("/")[1].split()[0]) for request in server.requests]
        assert all(abs(place - number) < 3 for place, number in enumerate(order)), order

    async def test_that_fail_make_room(self, transport: str) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()

        async with served(script) as server, client_of(transport, server, connections=2) as client:
            errors = await asyncio.gather(*(failure(client) for _ in range(10)))
        assert all(isinstance(error, aiohttp.ServerDisconnectedError) for error in errors)
        assert server.connections == 10

    async def test_that_cannot_be_made_make_room(self, transport: str) -> None:
        async with client_of(transport, Server(once(b""), port=9), connections=1) as client:
            errors = await asyncio.gather(*(failure(client) for _ in range(5)))
        assert all(isinstance(error, aiohttp.ClientConnectorError) for error in errors)

    async def test_new_for_every_request_when_asked_for(self, transport: str) -> None:
        async with (
            served(always(OK)) as server,
            client_of(transport, server, fresh=True, connections=1) as client,
        ):
            for _ in range(3):
                async with client.get("/") as response:
                    assert await response.text() == "ok"
        assert server.connections == 3
        assert all("Connection: close" in request.lines for request in server.requests)

    async def test_of_a_response_left_early_are_closed(self, transport: str) -> None:
        gone = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            if peer.number > 1:
                return await peer.send(OK)
            await peer.send(CONTENT_LENGTH[:-1])
            await peer.gone()
            gone.set()

        async with served(script) as server, client_of(transport, server, connections=1) as client:
            async with client.get("/") as response:
                assert response.status == 200
                response.close()
            await asyncio.wait_for(gone.wait(), PATIENCE)
            async with client.get("/") as response:
                assert await response.text() == "ok"


class TestABodyThatNobodyLooksAt:
    """It is the answer's all the same: a user's client reads it."""

    @pytest.mark.parametrize("wire", [CONTENT_LENGTH, CHUNKED], ids=["content-length", "chunked"])
    async def test_is_waited_for(self, transport: str, wire: bytes) -> None:
        left = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(wire[:-1])
            await asyncio.sleep(0.02)
            assert not left.is_set()
            await peer.send(wire[-1:])
            await peer.request()
            await peer.send(OK)

        async with served(script) as server, client_of(transport, server, connections=1) as client:
            async with client.get("/") as response:
                assert response.status == 200
            left.set()
            async with client.get("/") as response:
                assert await response.text() == "ok"
        assert server.connections == 1, "the connection is kept"

    async def test_and_is_cut_off_is_an_error(self, transport: str) -> None:
        async with (
            served(once(CONTENT_LENGTH[:-1])) as server,
            client_of(transport, server) as client,
        ):
            with pytest.raises(aiohttp.ClientPayloadError):
                async with client.get("/") as response:
                    assert response.status == 200

    async def test_and_does_not_come_is_overdue(self, transport: str) -> None:
        gone = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(CONTENT_LENGTH[:-1])
            await peer.gone()
            gone.set()

        async with served(script) as server, client_of(transport, server) as client:
            with pytest.raises(TimeoutError, match="no complete response within"):
                async with client.get("/"):
                    # When the end of the block waits for the rest.
                    asyncio.get_running_loop().call_soon(overdue, client)
            await asyncio.wait_for(gone.wait(), PATIENCE)

    async def test_and_became_overdue_in_the_block(self, transport: str) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(CONTENT_LENGTH[:-1])
            await peer.gone()

        async with served(script) as server, client_of(transport, server) as client:
            with pytest.raises(TimeoutError, match="no complete response within"):
                async with client.get("/"):
                    overdue(client)

    async def test_and_an_error_in_the_block_does_not_wait_for_it(self, transport: str) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(CONTENT_LENGTH[:-1])
            await peer.gone()

        async with served(script) as server, client_of(transport, server) as client:
            begun = time.monotonic()
            with pytest.raises(ValueError, match="mine"):
                async with client.get("/"):
                    raise ValueError("mine")
            assert time.monotonic() - begun < PATIENCE

    async def test_but_one_that_was_read_in_part_is_left(self) -> None:
        """Such as the first event of a stream; the fast transport has no parts."""

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(CONTENT_LENGTH[:-1])
            await peer.gone()

        async with served(script) as server, client_of("aiohttp", server) as client:
            begun = time.monotonic()
            async with client.get("/") as response:
                assert await response.content.read(2) == b"he"
            assert time.monotonic() - begun < PATIENCE


class TestCancellation:
    @pytest.mark.parametrize("wire", [b"", CONTENT_LENGTH[:-1]], ids=["head", "body"])
    async def test_closes_the_connection_and_makes_room(self, transport: str, wire: bytes) -> None:
        asked, gone = asyncio.Event(), asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            if peer.number > 1:
                return await peer.send(OK)
            await peer.send(wire)
            asked.set()
            await peer.gone()
            gone.set()

        async with served(script) as server, client_of(transport, server, connections=1) as client:

            async def ask() -> str:
                async with client.get("/") as response:
                    text: str = await response.text()
                    return text

            first, second = asyncio.ensure_future(ask()), asyncio.ensure_future(ask())
            await asked.wait()
            await asyncio.sleep(0.01)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            await asyncio.wait_for(gone.wait(), PATIENCE)
            assert await asyncio.wait_for(second, PATIENCE) == "ok"

    async def test_of_one_who_waits_for_a_connection_harms_nobody(self, transport: str) -> None:
        go = asyncio.Event()

        async def script(peer: Peer) -> None:
            while True:
                await peer.request()
                await go.wait()
                await peer.send(OK)

        async with served(script) as server, client_of(transport, server, connections=1) as client:

            async def ask() -> int:
                async with client.get("/") as response:
                    await response.read()
                    status: int = response.status
                    return status

            tasks = [asyncio.ensure_future(ask()) for _ in range(4)]
            await server.asked.wait()
            tasks[1].cancel()
            await asyncio.wait([tasks[1]])
            go.set()
            # The third is cancelled at the very moment in which it gets the connection.
            await tasks[0]
            tasks[2].cancel()
            assert await asyncio.wait_for(tasks[3], PATIENCE) == 200
            await asyncio.wait([tasks[2]])
            assert await asyncio.wait_for(ask(), PATIENCE) == 200
        assert server.connections <= 2


class TestTls:
    async def test_the_right_ca(self, transport: str, authority: Authority) -> None:
        async with (
            served(always(OK), authority.context("127.0.0.1")) as server,
            client_of(transport, server, scheme="https", ca_path=authority.file) as client,
        ):
            for _ in range(2):
                async with client.post("/", json={"a": 1}) as response:
                    assert await response.text() == "ok"
        assert server.connections == 1

    @pytest.mark.parametrize("parts", [2, 40])
    async def test_many_records_that_come_at_once(
        self, transport: str, authority: Authority, parts: int
    ) -> None:
        body = bytes(range(256)) * 40
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        size = -(-len(body) // parts)

        async def script(peer: Peer) -> None:
            for _ in range(2):
                await peer.request()
                # Each write is a record of its own, and the client finds all of them together.
                await peer.send(head)
                for at in range(0, len(body), size):
                    await peer.send(body[at : at + size])

        async with (
            served(script, authority.context("127.0.0.1")) as server,
            client_of(transport, server, scheme="https", ca_path=authority.file) as client,
        ):
            for _ in range(2):
                async with client.get("/") as response:
                    assert await response.read() == body

    async def test_a_large_body(self, transport: str, authority: Authority) -> None:
        body = bytes(range(256)) * 4096
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        async with (
            served(always(answer), authority.context("127.0.0.1")) as server,
            client_of(transport, server, scheme="https", ca_path=authority.file) as client,
        ):
            for _ in range(2):
                async with client.get("/") as response:
                    assert await response.read() == body

    async def test_a_host_name(self, transport: str, authority: Authority) -> None:
        async with (
            served(always(OK), authority.context("localhost")) as server,
            client_of(
                transport, server, scheme="https", host="localhost", ca_path=authority.file
            ) as client,
        ):
            async with client.get("/") as response:
                assert await response.text() == "ok"

    @pytest.mark.parametrize("case", ["ca", "name", "expired"])
    async def test_a_certificate_that_is_none_of_it(
        self, transport: str, authority: Authority, case: str
    ) -> None:
        stranger = Authority(trustme.CA(), authority.file)
        past = datetime.now(UTC) - timedelta(days=9)
        context = {
            "ca": stranger.context("127.0.0.1"),
            "name": authority.context("example.test"),
            "expired": authority.context(
                "127.0.0.1", not_before=past, not_after=past + timedelta(days=1)
            ),
        }[case]
        async with (
            served(always(OK), context) as server,
            client_of(
                transport, server, scheme="https", ca_path=authority.file, connections=1
            ) as client,
        ):
            for _ in range(2):
                error = await failure(client)
                is_error(error, aiohttp.ClientConnectorCertificateError, Outcome.CONNECTION_ERROR)
        assert server.requests == []

    async def test_a_server_without_tls(self, transport: str, authority: Authority) -> None:
        async def script(peer: Peer) -> None:
            await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await peer.gone()

        async with (
            served(script) as server,
            client_of(transport, server, scheme="https", ca_path=authority.file) as client,
        ):
            error = await failure(client)
        is_error(error, aiohttp.ClientConnectorSSLError, Outcome.CONNECTION_ERROR)

    async def test_no_answer_to_the_handshake(self, transport: str, authority: Authority) -> None:
        async def script(peer: Peer) -> None:
            await peer.gone()

        async with (
            served(script) as server,
            client_of(
                transport, server, scheme="https", ca_path=authority.file, timeout=ms(60)
            ) as client,
        ):
            is_error(await failure(client), TimeoutError, Outcome.TIMEOUT)

    async def test_a_new_connection_each_time(self, transport: str, authority: Authority) -> None:
        async with (
            served(always(OK), authority.context("127.0.0.1")) as server,
            client_of(
                transport, server, scheme="https", ca_path=authority.file, fresh=True
            ) as client,
        ):
            for _ in range(3):
                async with client.get("/") as response:
                    assert await response.text() == "ok"
        assert server.connections == 3

    async def test_early_close(self, transport: str, authority: Authority) -> None:
        async with (
            served(once(CONTENT_LENGTH[:-1]), authority.context("127.0.0.1")) as server,
            client_of(transport, server, scheme="https", ca_path=authority.file) as client,
        ):
            is_error(await failure(client), aiohttp.ClientPayloadError, Outcome.CONNECTION_ERROR)


def said(kind: bytes, body: bytes) -> Script:
    return always(
        b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (kind, len(body), body)
    )


class TestContent:
    @pytest.mark.parametrize(
        ("kind", "body", "wanted"),
        [
            (b"application/json", b'{"a": "\xc3\xa4"}', {"a": "ä"}),
            (b"application/json; charset=latin-1", b'{"a": "\xe4"}', {"a": "ä"}),
            (b"application/problem+json", b" 1\n", 1),
            (b"Application/JSON", b"[]", []),
            (b"application/json", b" ", None),
        ],
    )
    async def test_json(self, transport: str, kind: bytes, body: bytes, wanted: object) -> None:
        async with served(said(kind, body)) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert await response.json() == wanted

    async def test_json_of_another_type_when_asked_for(self, transport: str) -> None:
        async with served(said(b"text/html", b"{}")) as server:
            async with client_of(transport, server) as client:
                async with client.get("/") as response:
                    assert await response.json(content_type="text/html") == {}
                    assert await response.json(content_type=None) == {}
                    assert await response.json(content_type=None, loads=len) == 2

    @pytest.mark.parametrize(
        ("script", "kind"),
        [
            (said(b"text/html", b"{}"), aiohttp.ContentTypeError),
            (said(b"application/jsonx", b"{}"), None),
            (always(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), aiohttp.ContentTypeError),
            (said(b"application/json", b"{"), json.JSONDecodeError),
            (said(b"application/json", b'"\xff"'), UnicodeDecodeError),
        ],
    )
    async def test_what_is_not_the_json_that_was_asked_for(
        self, transport: str, script: Script, kind: type[Exception] | None
    ) -> None:
        async with served(script) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                if kind is None:
                    assert await response.json() == {}
                    return
                with pytest.raises(kind) as info:
                    await response.json()
        assert classify(info.value) is Outcome.CHECK_FAILED
        if isinstance(info.value, aiohttp.ContentTypeError):
            assert info.value.status == 200
            assert str(info.value.request_info.real_url).startswith("http://127.0.0.1")

    @pytest.mark.parametrize(
        ("kind", "media", "charset", "text"),
        [
            (b"text/plain; charset=ISO-8859-1", "text/plain", "ISO-8859-1", "Ã¤"),
            (b'Text/HTML;charset="utf-8"', "text/html", "utf-8", "ä"),
            (b"text/plain", "text/plain", None, "ä"),
            (b"text/plain; charset=nobody-knows", "text/plain", "nobody-knows", "ä"),
        ],
    )
    async def test_text(
        self, transport: str, kind: bytes, media: str, charset: str | None, text: str
    ) -> None:
        async with served(said(kind, "ä".encode())) as server:
            async with client_of(transport, server) as client:
                async with client.get("/") as response:
                    assert response.content_type == media
                    assert response.charset == charset
                    assert response.content_length == 2
                    assert await response.text() == text
                    assert await response.text(encoding="latin-1") == "Ã¤"

    async def test_no_type(self, transport: str) -> None:
        wire = b"HTTP/1.1 204 No Content\r\n\r\n"
        async with served(always(wire)) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert response.content_type == "application/octet-stream"
                assert response.charset is None
                assert response.content_length is None

    async def test_raise_for_status(self, transport: str) -> None:
        wire = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
        async with served(always(wire)) as server, client_of(transport, server) as client:
            async with client.get("/x?y=1") as response:
                assert not response.ok
                with pytest.raises(aiohttp.ClientResponseError) as info:
                    response.raise_for_status()
            assert (info.value.status, info.value.message) == (503, "Busy")
            assert info.value.request_info.url == URL(f"http://127.0.0.1:{server.port}/x?y=1")
            assert info.value.request_info.headers["Host"] == f"127.0.0.1:{server.port}"
            assert classify(info.value) is Outcome.UNEXPECTED_STATUS
            error = await failure(client, raise_for_status=True)
            is_error(error, aiohttp.ClientResponseError, Outcome.UNEXPECTED_STATUS)

            async def refuse(response: Any) -> None:
                raise KeyError(response.status)

            assert (await failure(client, raise_for_status=refuse)).args == (503,)


#: What is asked for, and what goes over the wire beside Host, Accept and the transport's own.
REQUESTS: list[tuple[str, str, dict[str, Any], str, set[str], bytes]] = [
    ("GET", "/a?b=c", {}, "GET /a?b=c", set(), b""),
    ("GET", "a/../b", {}, "GET /b", set(), b""),
    ("GET", "/ä b?ö=ü#z", {}, "GET /%C3%A4%20b?%C3%B6=%C3%BC", set(), b""),
    ("GET", "/a", {"params": {"b": "c d", "e": ["1", "2"]}}, "GET /a?b=c+d&e=1&e=2", set(), b""),
    ("GET", "/a?x=1", {"params": [("b", "2")]}, "GET /a?x=1&b=2", set(), b""),
    ("GET", "/a", {"params": {}}, "GET /a", set(), b""),
    ("HEAD", "/", {}, "HEAD /", set(), b""),
    ("OPTIONS", "/", {}, "OPTIONS /", set(), b""),
    ("DELETE", "/", {}, "DELETE /", {"Content-Length: 0"}, b""),
    ("POST", "/", {}, "POST /",
     {"Content-Length: 0", "Content-Type: application/octet-stream"}, b""),
    ("POST", "/", {"json": {"ä": [1, None]}}, "POST /",
     {"Content-Length: 21", "Content-Type: application/json"}, b'{"\\u00e4": [1, null]}'),
    ("PUT", "/", {"data": b"\0\1"}, "PUT /",
     {"Content-Length: 2", "Content-Type: application/octet-stream"}, b"\0\1"),
    ("PUT", "/", {"data": bytearray(b"ab")}, "PUT /",
     {"Content-Length: 2", "Content-Type: application/octet-stream"}, b"ab"),
    ("PUT", "/", {"data": memoryview(b"ab")}, "PUT /",
     {"Content-Length: 2", "Content-Type: application/octet-stream"}, b"ab"),
    ("PATCH", "/", {"data": "ä"}, "PATCH /",
     {"Content-Length: 2", "Content-Type: text/plain; charset=utf-8"}, "ä".encode()),
    ("POST", "/", {"data": {"a": "b c", "d": "ü"}}, "POST /",
     {"Content-Length: 14", "Content-Type: application/x-www-form-urlencoded"}, b"a=b+c&d=%C3%BC"),
    ("POST", "/", {"data": [("a", "1"), ("a", "2")]}, "POST /",
     {"Content-Length: 7", "Content-Type: application/x-www-form-urlencoded"}, b"a=1&a=2"),
    ("POST", "/", {"json": 1, "headers": {"content-type": "application/jose+json"}}, "POST /",
     {"Content-Length: 1", "content-type: application/jose+json"}, b"1"),
    ("GET", "/", {"headers": {"x-token": "mine", "Accept": "a/b", "Host": "h"}}, "GET /",
     {"x-token: mine", "Accept: a/b", "Host: h"}, b""),
    ("purge", "/", {}, "PURGE /", {"Content-Length: 0"}, b""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "url", "options", "line", "lines", "body"),
    REQUESTS,
    ids=[f"{r[0]} {r[1]} {'+'.join(r[2])}".strip() for r in REQUESTS],
)
async def test_what_is_sent(
    transport: str,
    method: str,
    url: str,
    options: dict[str, Any],
    line: str,
    lines: set[str],
    body: bytes,
) -> None:
    async with (
        served(once(b"HTTP/1.1 204 No Content\r\n\r\n")) as server,
        client_of(transport, server, headers={"X-Token": "t"}) as client,
    ):
        async with client.request(method, url, **options) as response:
            assert response.url == URL(f"http://127.0.0.1:{server.port}").join(
                URL(f"/{line.partition('/')[2]}", encoded=True)
            )
            assert response.method == method.upper()
    request = server.requests[0]
    first, *rest = request.lines
    assert first == f"{line} HTTP/1.1"
    own = ("Accept-Encoding", "User-Agent")
    names = {header.partition(":")[0].lower() for header in lines}
    usual = {f"Host: 127.0.0.1:{server.port}", "Accept: */*", "X-Token: t"}
    usual = {header for header in usual if header.partition(":")[0].lower() not in names}
    sent = sorted(header for header in rest if not header.startswith(own))
    assert sent == sorted(lines | usual)
    assert request.body == body


@pytest.mark.parametrize(
    "options",
    [{"headers": {"X": "a\r\nY: b"}}, {"json": 1, "data": b"2"}],
    ids=["header", "two bodies"],
)
async def test_what_cannot_be_sent(transport: str, options: dict[str, Any]) -> None:
    async with served(always(OK)) as server, client_of(transport, server) as client:
        assert isinstance(await failure(client, **options), ValueError)
        assert isinstance(await failure(client, "G T"), ValueError)
        async with client.get("/") as response:
            assert response.ok
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:x/", aiohttp.InvalidURL),
        ("http://[::1/", aiohttp.InvalidURL),
        ("ftp://127.0.0.1/", aiohttp.NonHttpUrlClientError),
    ],
)
async def test_a_url_that_is_none(transport: str, url: str, kind: type[Exception]) -> None:
    async with served(always(OK)) as server, client_of(transport, server) as client:
        error = await failure(client, path=url)
    assert isinstance(error, kind), repr(error)
    is_invalid = kind is aiohttp.InvalidURL
    assert classify(error) is (Outcome.EXCEPTION if is_invalid else Outcome.CONNECTION_ERROR)


class TestRedirects:
    def script(self, status: int, location: str) -> Script:
        async def script(peer: Peer) -> None:
            while True:
                request = await peer.request()
                if " /a" in request.lines[0]:
                    await peer.send(
                        f"HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
                        .encode()
                    )  # fmt: skip
                else:
                    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        return script

    @pytest.mark.parametrize(
        ("status", "method", "then", "body"),
        [
            (301, "GET", "GET", b""),
            (302, "POST", "GET", b""),
            (303, "PUT", "GET", b""),
            (302, "PUT", "PUT", b"x"),
            (307, "POST", "POST", b"x"),
            (308, "DELETE", "DELETE", b"x"),
        ],
    )
    async def test_are_followed(
        self, transport: str, status: int, method: str, then: str, body: bytes
    ) -> None:
        async with served(self.script(status, "b?c=1")) as server:
            async with client_of(transport, server) as client:
                data = None if method == "GET" else b"x"
                async with client.request(method, "/a", data=data, headers={"X": "y"}) as response:
                    assert response.status == 200
                    assert response.url.path_qs == "/b?c=1"
                    assert [r.status for r in response.history] == [status]
        first, second = server.requests
        assert second.lines[0] == f"{then} /b?c=1 HTTP/1.1"
        assert second.body == body
        assert "X: y" in second.lines
        assert server.connections == 1
        assert first.lines[0].startswith(method)

    async def test_are_not_followed_for_head_or_when_not_wanted(self, transport: str) -> None:
        async with served(self.script(302, "/b")) as server, client_of(transport, server) as client:
            async with client.head("/a") as response:
                assert response.status == 302
            async with client.get("/a", allow_redirects=False) as response:
                assert response.status == 302
                assert response.history == ()

    async def test_in_a_circle(self, transport: str) -> None:
        async with served(self.script(302, "/a")) as server, client_of(transport, server) as client:
            error = await failure(client, path="/a")
            is_error(error, aiohttp.TooManyRedirects, Outcome.UNEXPECTED_STATUS)
            assert len(server.requests) == 10

    async def test_without_a_target_are_the_answer(self, transport: str) -> None:
        wire = b"HTTP/1.1 302 Go\r\nContent-Length: 2\r\n\r\nno"
        async with served(always(wire)) as server, client_of(transport, server) as client:
            async with client.get("/") as response:
                assert response.status == 302
                assert await response.text() == "no"


class Watch:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.sessions: list[Any] = []

    def connected(self, dns: int, connect: int, tls: int, session: Any = None) -> None:
        self.sessions.append(session)
        self.told.append(("connected", dns, connect, tls))

    def sent(self, at: int, reused: bool) -> None:
        self.told.append(("sent", at, reused))

    def answered(self, response: Any, at: int) -> None:
        self.told.append(("answered", response.status, at, time.monotonic_ns()))

    def received(self, size: int) -> None:
        self.told.append(("received", size))

    @property
    def names(self) -> list[str]:
        return [told[0] for told in self.told]


class TestObserver:
    @message
    async def test_is_told_in_order(self, transport: str, wire: bytes) -> None:
        watches: list[Watch] = []

        def watch() -> Watch:
            watches.append(Watch())
            return watches[-1]

        async with served(once(wire)) as server:
            async with client_of(transport, server, observer=watch) as client:
                begin = time.monotonic_ns()
                async with client.post("/", data=b"x") as response:
                    assert watches[0].names[:3] == ["connected", "sent", "answered"]
                    await response.read()
                end = time.monotonic_ns()
        (told,) = [watch.told for watch in watches]
        connected, sent, answered, received = told
        assert connected[1] == connected[3] == 0
        assert 0 < connected[2] < end - begin
        assert sent[2] is False
        assert begin < sent[1] < answered[2] <= answered[3] < end
        assert answered[1] == 200
        assert received == ("received", 5)

    async def test_knows_kept_connections(self, transport: str) -> None:
        watch = Watch()
        async with served(always(OK)) as server:
            async with client_of(transport, server, observer=lambda: watch) as client:
                for _ in range(3):
                    async with client.get("/") as response:
                        await response.read()
        assert watch.names == ["connected"] + ["sent", "answered", "received"] * 3
        assert [told[2] for told in watch.told if told[0] == "sent"] == [False, True, True]

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    async def test_knows_the_phases_of_new_connections(
        self, transport: str, authority: Authority, host: str
    ) -> None:
        watch = Watch()
        async with served(always(OK), authority.context(host)) as server:
            async with client_of(
                transport, server, scheme="https", host=host, ca_path=authority.file,
                fresh=True, observer=lambda: watch,
            ) as client:  # fmt: skip
                begin = time.monotonic_ns()
                for _ in range(3):
                    async with client.get("/") as response:
                        await response.read()
                spent = time.monotonic_ns() - begin
        phases = [told[1:] for told in watch.told if told[0] == "connected"]
        assert len(phases) == 3
        assert all(connect > 0 and tls > 0 for _, connect, tls in phases)
        assert sum(map(sum, phases)) < spent
        looked_up = [dns > 0 for dns, _, _ in phases]
        assert looked_up == [host == "localhost", False, False]
        assert [told[2] for told in watch.told if told[0] == "sent"] == [False] * 3

    async def test_knows_each_tls_session_also_after_its_end(
        self, transport: str, authority: Authority
    ) -> None:
        watch = Watch()
        async with served(always(OK), authority.context("127.0.0.1")) as server:
            async with client_of(
                transport, server, scheme="https", ca_path=authority.file,
                fresh=True, observer=lambda: watch,
            ) as client:  # fmt: skip
                for _ in range(3):
                    async with client.get("/") as response:
                        await response.read()
        assert len({id(session) for session in watch.sessions}) == 3
        for session in watch.sessions:
            assert session.session_reused is False, "a full handshake each time"
            assert session.version() == "TLSv1.3"
            certificate = x509.load_der_x509_certificate(session.getpeercert(True))
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            assert names.value.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1")]

    async def test_knows_no_tls_session_without_tls(self, transport: str) -> None:
        watch = Watch()
        async with served(always(OK)) as server:
            async with client_of(transport, server, observer=lambda: watch) as client:
                async with client.get("/") as response:
                    await response.read()
        assert watch.sessions == [None]

    async def test_the_first_byte_is_not_that_of_an_interim_answer(self, transport: str) -> None:
        watch = Watch()
        instants: list[int] = []

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await asyncio.sleep(0.02)
            instants.append(time.monotonic_ns())
            await peer.send(CONTENT_LENGTH[:3])
            await asyncio.sleep(0.02)
            instants.append(time.monotonic_ns())
            await peer.send(CONTENT_LENGTH[3:])

        async with served(script) as server:
            async with client_of(transport, server, observer=lambda: watch) as client:
                async with client.get("/") as response:
                    await response.read()
        (answered,) = [told for told in watch.told if told[0] == "answered"]
        assert instants[0] < answered[2] < instants[1] < answered[3]

    async def test_is_told_of_what_came_before_a_release(self, transport: str) -> None:
        watch = Watch()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(CONTENT_LENGTH[:-2])
            await peer.gone()

        async with served(script) as server:
            async with client_of(transport, server, observer=lambda: watch) as client:
                async with client.get("/") as response:
                    response.close()
        assert watch.told[-1] == ("received", 3)
        assert watch.names.count("received") == 1

    @pytest.mark.parametrize(
        ("wire", "names"),
        [
            (b"", ["connected", "sent"]),
            (b"nonsense\r\n\r\n", ["connected", "sent"]),
            (CONTENT_LENGTH[:-1], ["connected", "sent", "answered"]),
        ],
    )
    async def test_is_told_as_far_as_it_came(
        self, transport: str, wire: bytes, names: list[str]
    ) -> None:
        watch = Watch()
        async with served(once(wire)) as server:
            async with client_of(transport, server, observer=lambda: watch) as client:
                await failure(client)
        assert watch.names == names

    async def test_of_compressed_bodies_is_told_what_came(self, transport: str) -> None:
        watch = Watch()
        body = gzip.compress(b"x" * 1000)
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(
            body
        )
        async with served(always(head + body)) as server:
            async with client_of(transport, server, observer=lambda: watch) as client:
                async with client.get("/") as response:
                    assert len(await response.read()) == 1000
        # Older aiohttp counts what it has decompressed.
        counted_raw = transport == "fast" or hasattr(aiohttp.StreamReader, "total_raw_bytes")
        assert watch.told[-1] == ("received", len(body) if counted_raw else 1000)

    async def test_nobody_watches(self, transport: str) -> None:
        async with served(always(OK)) as server:
            async with client_of(transport, server, observer=lambda: None) as client:
                async with client.get("/") as response:
                    assert await response.text() == "ok"


async def test_a_response_without_a_context(transport: str) -> None:
    async with served(always(OK)) as server, client_of(transport, server) as client:
        response = await client.get("/")
        assert await response.text() == "ok"
        async with await client.get("/") as response:
            assert response.status == 200
        response = await client.get("/")
        response.release()
        assert response.closed
    assert server.connections == 1


async def test_closing_ends_all(transport: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with served(script) as server:
        client = client_of(transport, server, connections=1)
        async with client:
            assert not client.closed
            asked = [asyncio.ensure_future(failure(client)) for _ in range(2)]
            await server.asked.wait()
        assert client.closed
        errors = await asyncio.wait_for(asyncio.gather(*asked[:1]), PATIENCE)
        is_error(errors[0], aiohttp.ClientError, Outcome.CONNECTION_ERROR)
        # aiohttp cancels who waits for a connection, and so the task itself.
        await asyncio.wait(asked[1:], timeout=PATIENCE)
        assert asked[1].done()
        with pytest.raises(RuntimeError, match="closed"):
            await client.get("/")


async def test_many_clients_are_cheap(authority: Authority) -> None:
    async with served(always(OK), authority.context("127.0.0.1")) as server:
        for transport in TRANSPORTS:
            begin = time.process_time()
            clients = [
                client_of(transport, server, scheme="https", ca_path=authority.file, connections=1)
                for _ in range(200)
            ]
            assert time.process_time() - begin < 1
            for client in clients:
                await client.close()
