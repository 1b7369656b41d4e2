"""What is particular to the fast transport: what it refuses, its deadlines, its heads, its pool."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from yarl import URL

from pytest_certload.clients.deadlines import Deadlines
from pytest_certload.clients.fast import FastClient
from pytest_certload.clients.fast_connection import Connection
from pytest_certload.clients.fast_pool import BUFFER, KEEP_ALIVE_SECONDS
from pytest_certload.clients.fast_request import Requests, requests_to
from pytest_certload.clients.fast_response import FastResponse
from pytest_certload.clients.http import classify
from pytest_certload.errors import ConfigurationError
from pytest_certload.samples import Outcome
from pytest_certload.units import ms, seconds

from .conftest import OK, PATIENCE, Peer, Server, always, client_of, once, overdue, served
from .test_conformance import MESSAGES, UNTIL_CLOSE, failure, is_error

pytestmark = pytest.mark.asyncio


class TestWhatItDoesNotDo:
    @pytest.mark.parametrize(
        ("options", "what"),
        [
            ({"auth": object()}, "the argument auth="),
            ({"proxy": "http://127.0.0.1:1"}, "the argument proxy="),
            ({"cookies": {"a": "b"}}, "the argument cookies="),
            ({"ssl": False}, "the argument ssl="),
            ({"data": aiohttp.FormData()}, "a body of FormData"),
            ({"data": {"file": b"x"}}, "a body of dict"),
            ({"data": object()}, "a body of object"),
            ({"data": [1]}, "a body of list"),
            ({"headers": {"content-length": "3"}}, "a Content-Length header of your own ('3')"),
            ({"headers": {"Transfer-Encoding": "x"}}, "a Transfer-Encoding header of your own"),
            ({"timeout": aiohttp.ClientTimeout(sock_read=1)}, "a timeout of a part of the request"),
            ({"timeout": "5s"}, "the timeout '5s'"),
        ],
    )  # fmt: skip
    async def test_arguments(self, options: dict[str, Any], what: str) -> None:
        async with served(always(OK)) as server, client_of("fast", server) as client:
            error = await failure(client, "POST", **options)
        self.is_refusal(error, what)
        assert server.requests == []

    async def test_attributes(self) -> None:
        async with served(always(OK)) as server, client_of("fast", server) as client:
            with pytest.raises(ConfigurationError) as of_client:
                _ = client.ws_connect
            async with client.get("/") as response:
                with pytest.raises(ConfigurationError) as of_response:
                    _ = response.content
                with pytest.raises(AttributeError):
                    _ = response.nothing
            with pytest.raises(AttributeError):
                _ = client.nothing
        self.is_refusal(of_client.value, "`client.ws_connect`")
        self.is_refusal(of_response.value, "`response.content`")

    async def test_credentials_in_a_url(self) -> None:
        async with served(always(OK)) as server, client_of("fast", server) as client:
            error = await failure(client, path=f"http://me:secret@127.0.0.1:{server.port}/x")
        self.is_refusal(error, f"credentials in a URL (http://127.0.0.1:{server.port}/x)")
        assert "secret" not in str(error)

    async def test_redirects_to_another_server(self) -> None:
        wire = b"HTTP/1.1 302 Go\r\nLocation: http://127.0.0.2/\r\nContent-Length: 0\r\n\r\n"
        async with served(always(wire)) as server, client_of("fast", server) as client:
            self.is_refusal(await failure(client), "redirects to another server")

    async def test_redirects_to_nowhere(self) -> None:
        wire = b"HTTP/1.1 302 Go\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n"
        async with served(always(wire)) as server, client_of("fast", server) as client:
            error = await failure(client)
        is_error(error, aiohttp.InvalidUrlRedirectClientError, Outcome.EXCEPTION)

    @pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://127.0.0.1", "http://", "http://[", ""])
    async def test_base_urls_that_are_none(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"^base_url: '.*' is not the URL of a server"):
            Requests(url, (), fresh=False)

    @staticmethod
    def is_refusal(error: BaseException, what: str) -> None:
        assert isinstance(error, ConfigurationError)
        assert str(error).startswith(f"the fast transport does not do {what}")
        assert str(error).endswith(
            "; leave it out, or choose the transport that does: --certload-transport aiohttp"
        )


class TestEncodings:
    async def test_none_is_asked_for(self) -> None:
        async with served(always(OK)) as server, client_of("fast", server) as client:
            async with client.get("/"):
                pass
        assert b"Accept-Encoding" not in server.requests[0].head

    @pytest.mark.parametrize(
        ("coding", "body", "message"),
        [
            ("br", b"xyz", "the server chose Content-Encoding 'br', which was not asked for"),
            ("gzip", b"xyz", "the body is not the gzip that its Content-Encoding says"),
            ("deflate", b"xyz", "the body is not the deflate that its Content-Encoding says"),
        ],
    )
    async def test_that_cannot_be_decoded(self, coding: str, body: bytes, message: str) -> None:
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        async with served(always(head.encode() + body)) as server:
            async with client_of("fast", server) as client:
                error = await failure(client)
        is_error(error, aiohttp.ClientPayloadError, Outcome.CONNECTION_ERROR)
        assert str(error).startswith(message)


class Entry:
    """Writes itself down when it expires."""

    def __init__(self, expired: list[Entry]) -> None:
        self._expired = expired
        self.done = asyncio.Event()

    def expire(self) -> None:
        self._expired.append(self)
        self.done.set()


class TestDeadlines:
    async def test_pass_in_order_and_only_for_what_has_not_ended(self) -> None:
        loop = asyncio.get_running_loop()
        expired: list[Entry] = []
        deadlines = Deadlines(loop, 20_000_000)
        first, second, third = (Entry(expired) for _ in range(3))
        now = time.monotonic_ns()
        assert deadlines.begin(first, now) == now + 20_000_000
        deadlines.begin(second, now + 1)
        deadlines.begin(third, now + 10_000_000_000)
        deadlines.end(second)
        deadlines.end(second)
        await first.done.wait()
        assert time.monotonic_ns() >= now + 20_000_000
        assert expired == [first]
        assert len(deadlines) == 1
        deadlines.close()
        assert len(deadlines) == 0

    async def test_cost_one_timer_for_all(self) -> None:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(loop, 1_000_000_000)
        timers: set[asyncio.TimerHandle | None] = set()
        for _ in range(100):
            entry = Entry([])
            deadlines.begin(entry, time.monotonic_ns())
            timers.add(deadlines._timer)
            deadlines.end(entry)
        assert len(timers) == 1
        deadlines.close()

    async def test_that_pass_while_another_expires(self) -> None:
        deadlines = Deadlines(asyncio.get_running_loop(), 1_000_000)
        ended: list[Entry] = []

        class Greedy(Entry):
            def expire(self) -> None:
                super().expire()
                deadlines.end(other)

        greedy, other = Greedy(ended), Entry(ended)
        now = time.monotonic_ns()
        deadlines.begin(greedy, now)
        deadlines.begin(other, now)
        await greedy.done.wait()
        assert ended == [greedy]

    async def test_none(self) -> None:
        deadlines = Deadlines(asyncio.get_running_loop(), 0)
        assert deadlines.begin(Entry([]), time.monotonic_ns()) == 0
        assert len(deadlines) == 0

    async def test_are_forgotten_with_their_requests(self) -> None:
        async def script(peer: Peer) -> None:
            for answer in (OK, UNTIL_CLOSE):
                await peer.request()
                await peer.send(answer)

        async with served(script) as server:
            async with client_of("fast", server, connections=1) as client:
                for timeout in ({}, {"timeout": 9}, {"timeout": None}):
                    async with client.get("/", **timeout) as response:
                        await response.read()
                    assert len(client._deadlines) == 0
                await failure(client, path="http://127.0.0.1:9/")
                assert len(client._deadlines) == 0
                assert [len(d) for d in client._other_deadlines.values()] == [0, 0]


class TestHeads:
    def requests(self, **headers: str) -> Requests:
        return requests_to("http://127.0.0.1:8080", tuple(headers.items()), False)

    async def test_are_made_once(self) -> None:
        requests = self.requests(Authorization="Bearer t")
        assert self.requests(Authorization="Bearer t") is requests
        head = requests.prepare("GET", "/a")
        assert requests.prepare("GET", "/a") is head
        assert requests.prepare("POST", "/a") is not head
        assert requests.prepare("GET", "/a", None, {"A": "b"}) is not head
        assert requests.prepare("GET", "/a", {"A": "b"}) is not head
        assert head.origin is requests.origin

    async def test_with_headers_are_made_once_for_what_these_say(self) -> None:
        requests = self.requests()
        headers = {"A": "b"}
        head = requests.prepare("GET", "/a", None, headers)
        assert requests.prepare("GET", "/a", None, {"A": "b"}) is head
        assert requests.prepare("GET", "/a", None, [("A", "b")]) is head
        headers["A"] = "c"
        assert b"A: c\r\n" in requests.prepare("GET", "/a", None, headers).head
        assert requests.prepare("GET", "/a", {"q": "1"}, {"A": "b"}) is not head
        assert requests.prepare("GET", "/b", None, {"A": "b"}) is not head

    async def test_are_not_kept_without_end(self) -> None:
        requests = self.requests(A="b")
        for number in range(20_000):
            requests.prepare("GET", f"/{number}")
            requests.prepare("GET", "/", None, {"Number": str(number)})
        assert len(requests._kept) <= 16_384
        assert len(requests._kept_with_headers) <= 1_024

    @pytest.mark.parametrize(
        "url", ["/", "/a", "/a/b.c/", "/a?b=c", "/a?b=c&d=e~", "/_a-b/c", "/..", "/a/../b", "/a//b", "//h/x",
                "/a%20b", "/a b", "/ä", "/a?", "/a?b=c d", "/a#b", "a", "?b", "", "http://h/x", "/a?b=%20", "/.a"],
    )  # fmt: skip
    async def test_of_plain_urls_are_those_that_the_url_library_makes(self, url: str) -> None:
        requests = self.requests()
        wanted = requests.base.join(URL(url))
        prepared = requests.prepare("GET", url)
        assert prepared.head.split(b" ")[1].decode() == wanted.raw_path_qs
        assert prepared.url == wanted.with_fragment(None)
        assert prepared.head.split(b"\r\n")[1].decode() == f"Host: {wanted.host_port_subcomponent}"

    async def test_say_what_a_response_was_to(self) -> None:
        async with served(always(OK)) as server:
            async with client_of("fast", server, headers={"X": "y"}) as client:
                async with client.get("/a b") as response:
                    info = response.request_info
        assert info.method == "GET"
        assert info.url.path == "/a b"
        assert info.headers["x"] == "y"
        assert repr(response) == "<FastResponse GET /a b [200]>"


class FakeTransport(asyncio.Transport):
    """Takes what is written, and can be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class FakePool:
    """Counts what its connection says."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.view = memoryview(bytearray(BUFFER))

    def __getattr__(self, name: str) -> Callable[[Any], None]:
        return lambda _: self.said.append(name)


def feed(connection: Connection, data: bytes) -> None:
    connection.get_buffer(-1)[: len(data)] = data
    connection.buffer_updated(len(data))


@pytest.mark.parametrize("wire", MESSAGES.values(), ids=MESSAGES.keys())
async def test_a_message_in_any_two_segments(wire: bytes) -> None:
    requests = Requests("http://127.0.0.1", (), fresh=False)
    for at in range(1, len(wire)):
        pool: Any = FakePool()
        connection = Connection(pool, fresh=False)
        connection.connection_made(FakeTransport())
        deadlines = Deadlines(asyncio.get_running_loop(), 0)
        response = FastResponse(requests.prepare("GET", "/"), None, deadlines, 0)
        connection.send(response, b"GET")
        feed(connection, wire[:at])
        feed(connection, wire[at:])
        if wire == UNTIL_CLOSE:
            assert not response.complete
            connection.eof_received()
        assert response.complete
        assert response.failure is None
        assert await response.read() == b"hello"
        assert pool.said == ["made", "gone" if wire == UNTIL_CLOSE or b"/1.0" in wire else "free"]


class TestPool:
    async def test_nagle_is_off(self) -> None:
        async with served(always(OK)) as server, client_of("fast", server) as client:
            async with client.get("/"):
                pass
            (connection,) = client._home._idle
            sock: socket.socket = connection._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    async def test_what_was_idle_for_long_is_not_used(self) -> None:
        async with served(always(OK)) as server:
            async with client_of("fast", server, connections=1) as client:
                for age in (0, KEEP_ALIVE_SECONDS // 2, KEEP_ALIVE_SECONDS + 1):
                    for connection in client._home._idle:
                        connection.idle_since -= age * 1_000_000_000
                    async with client.get("/") as response:
                        assert await response.text() == "ok"
        assert server.connections == 2

    async def test_other_servers_have_connections_of_their_own(self) -> None:
        async with served(always(OK)) as here, served(always(OK)) as there:
            async with client_of("fast", here, connections=1) as client:
                for _ in range(2):
                    for path in ("/", f"http://127.0.0.1:{there.port}/x"):
                        async with client.get(path) as response:
                            assert await response.text() == "ok"
        assert (here.connections, there.connections) == (1, 1)
        assert there.requests[0].lines[:2] == ["GET /x HTTP/1.1", f"Host: 127.0.0.1:{there.port}"]

    async def test_the_error_of_a_late_connection_is_aiohttps(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.gone()

        async with served(script) as server:
            async with client_of("fast", server, scheme="https", timeout=ms(30)) as client:
                error = await failure(client)
        is_error(error, aiohttp.ConnectionTimeoutError, Outcome.TIMEOUT)

    async def test_a_switch_of_protocols_ends_the_connection(self) -> None:
        wire = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nbytes"
        async with served(once(wire)) as server, client_of("fast", server) as client:
            async with client.get("/") as response:
                assert response.status == 101
                assert await response.read() == b""
            assert not client._home._idle

    async def test_whoever_waits_is_told_that_the_client_is_closed(self) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.gone()

        async with served(script) as server:
            async with client_of("fast", server, connections=1) as client:
                tasks = [asyncio.ensure_future(failure(client)) for _ in range(3)]
                await server.asked.wait()
            for error in await asyncio.gather(*tasks):
                is_error(error, aiohttp.ClientConnectionError, Outcome.CONNECTION_ERROR)
                assert str(error) == "the client is closed"

    @pytest.mark.parametrize("seed", range(5))
    async def test_whatever_happens_no_connection_is_lost_count_of(self, seed: int) -> None:
        dice = random.Random(seed)
        # A reset, of which nothing is asked again as the connection is new, an answer and none.
        certain = iter((0, 11, 3))

        async def script(peer: Peer) -> None:
            while True:
                await peer.request()
                fate = next(certain, None)
                if fate is None:
                    fate = dice.randrange(12)
                if fate == 0:
                    return peer.reset()
                if fate == 1:
                    return None
                if fate == 2:
                    return await peer.send(OK[:-1])
                if fate == 3:
                    await peer.gone()
                    return None
                if fate == 4:
                    await peer.send(OK + b"junk")
                elif fate == 5:
                    await peer.send(b"junk\r\n\r\n")
                elif fate == 6:
                    await peer.dribble(OK)
                else:
                    await peer.send(OK)

        async with served(script) as server:
            async with client_of("fast", server, connections=4) as client:
                outcomes = await self.storm(client, dice)
                assert set(outcomes) >= {Outcome.OK, Outcome.CONNECTION_ERROR, Outcome.TIMEOUT}
                pool = client._home
                # One that the server has closed since stays in line until its turn comes.
                idle = {connection for connection in pool._idle if not connection._ended}
                assert idle == pool._counted
                assert pool._count == len(idle) <= 4
                assert not pool._waiters
                assert len(client._deadlines) == 0
            assert not pool._alive

    @staticmethod
    async def storm(client: FastClient, dice: random.Random) -> list[Outcome | None]:
        """Many requests at once, some of them cancelled; what became of the others."""
        seen: set[Outcome | None] = set()

        async def ask() -> Outcome | None:
            method = dice.choice(["GET", "POST", "HEAD"])
            try:
                async with client.request(method, "/") as response:
                    if dice.randrange(4):
                        await response.read()
            except Exception as error:  # noqa: BLE001 - all of them are classified
                outcome = classify(error)
            else:
                outcome = Outcome.OK
            seen.add(outcome)
            return outcome

        tasks = [asyncio.ensure_future(ask()) for _ in range(200)]
        # The first have the connections, and what is certain happens to them.
        for task in dice.sample(tasks[8:], 40):
            await asyncio.sleep(0.001)
            task.cancel()
        pending = set(tasks)
        async with asyncio.timeout(PATIENCE):
            while pending:
                done, pending = await asyncio.wait(
                    pending, timeout=0.02, return_when=asyncio.FIRST_COMPLETED
                )
                if not done and seen >= {Outcome.OK, Outcome.CONNECTION_ERROR}:
                    overdue(client)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(r, (Outcome, asyncio.CancelledError)) for r in results)
        return [r for r in results if isinstance(r, Outcome)]


async def test_nobody_listens_in_time() -> None:
    # A full queue of a listener that accepts nobody: the handshake is never answered.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        crowd = [socket.socket() for _ in range(4)]
        try:
            for sock in crowd:
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", port))
            server = Server(once(b""), port=port)
            async with client_of("fast", server, timeout=ms(50)) as client:
                error = await failure(client)
            is_error(error, aiohttp.ConnectionTimeoutError, Outcome.TIMEOUT)
        finally:
            for sock in crowd:
                sock.close()


async def test_no_limit() -> None:
    async with served(always(OK)) as server:
        async with client_of("fast", server, timeout=seconds(0)) as client:
            async with client.get("/") as response:
                assert await response.text() == "ok"
