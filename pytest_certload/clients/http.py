"""How is an HTTP request spoken? aiohttp, set up for load: bounded, verified, and watched.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Callable, Coroutine, Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from pytest_certload.samples import Outcome
from pytest_certload.units import Duration

from .deadlines import Deadlines
from .exchange import SWITCHING_PROTOCOLS, Observer, ObserverOf
from .tls import tls_context

__all__ = ["HttpClient", "classify", "http_client"]

#: Below the 60 s after which common servers close idle connections.
_KEEP_ALIVE_SECONDS = 30.0
#: Octets that are taken from the socket at once. asyncio's other way to read allocates four times as
#: much for every segment, which is a fifth of all that a small request costs.
_BUFFER = 65_536


def http_client(
    *,
    base_url: str,
    connections: int,
    timeout: Duration,
    ca_path: Path | None = None,
    headers: Mapping[str, str] | None = None,
    observer: ObserverOf | None = None,
    fresh: bool = False,
    guard: Callable[[str], None] | None = None,
) -> HttpClient:
    """An ``aiohttp.ClientSession`` bound to a base URL, for the running event loop.

    Cookies are not kept; certificates are always verified.

    Args:
        base_url: Where relative URLs lead, such as ``https://127.0.0.1:8443``.
        connections: Most connections at once.
        timeout: Total time a request may take, from the wait for a connection to the end of the
            body; 0 for no limit.
        ca_path: PEM file of the only CA to trust; default: the machine's.
        headers: Sent with every request.
        observer: Who is told what becomes of the requests; default: nobody.
        fresh: Make a new connection for every request, instead of keeping them.
        guard: Told each URL that leads to another host than the base URL, a redirect's too; raises
            when it must not be loaded.

    Raises:
        ConfigurationError: The CA file cannot be read.
    """
    reuse: dict[str, Any] = (
        {"force_close": True} if fresh else {"keepalive_timeout": _KEEP_ALIVE_SECONDS}
    )
    resolver = _Resolver()
    connector = _Connector(
        observer,
        resolver=resolver,
        guard=_guard_beside(URL(base_url).raw_host, guard),
        limit=connections,
        ssl=tls_context(ca_path),
        ttl_dns_cache=300,
        **reuse,
    )
    session = aiohttp.ClientSession(
        base_url=base_url,
        connector=connector,
        headers=headers,
        # The client's own deadlines, which need no timer a request.
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        request_class=_Request,
        response_class=_Response,
    )
    return HttpClient(session, resolver, URL(base_url), timeout)


def _guard_beside(
    home: str | None, guard: Callable[[str], None] | None
) -> Callable[[URL], None] | None:
    if guard is None:
        return None

    def check(url: URL) -> None:
        if url.raw_host != home:
            guard(str(url.origin()))

    return check


class HttpClient:
    """An ``aiohttp.ClientSession`` whose requests are watched by one timer, not by one each.

    It has all that the session has.
    """

    def __init__(
        self, session: aiohttp.ClientSession, resolver: AbstractResolver, base: URL, timeout: int
    ) -> None:
        self._session = session
        self._resolver = resolver
        self._base = base
        self._deadlines = Deadlines(asyncio.get_running_loop(), timeout)

    def get(self, url: str | URL, **options: Any) -> _Call:
        """Ask with GET."""
        return _Call(self._request("GET", url, options))

    def options(self, url: str | URL, **options: Any) -> _Call:
        """Ask with OPTIONS."""
        return _Call(self._request("OPTIONS", url, options))

    def head(self, url: str | URL, **options: Any) -> _Call:
        """Ask with HEAD; redirects are not followed unless asked for."""
        return _Call(self._request("HEAD", url, {"allow_redirects": False, **options}))

    def post(self, url: str | URL, **options: Any) -> _Call:
        """Ask with POST."""
        return _Call(self._request("POST", url, options))

    def put(self, url: str | URL, **options: Any) -> _Call:
        """Ask with PUT."""
        return _Call(self._request("PUT", url, options))

    def patch(self, url: str | URL, **options: Any) -> _Call:
        """Ask with PATCH."""
        return _Call(self._request("PATCH", url, options))

    def delete(self, url: str | URL, **options: Any) -> _Call:
        """Ask with DELETE."""
        return _Call(self._request("DELETE", url, options))

    def request(self, method: str, url: str | URL, **options: Any) -> _Call:
        """Ask with any method."""
        return _Call(self._request(method, url, options))

    async def close(self) -> None:
        """Close the session and its connections."""
        self._deadlines.close()
        await self._session.close()
        await self._resolver.close()

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def _url(self, url: str | URL) -> str | URL:
        """The URL joined with the base, from memory if it can be."""
        if not isinstance(url, str):
            return url
        try:
            return _joined(self._base, url)
        except ValueError:
            return url  # aiohttp says what is wrong with it

    async def _request(
        self, method: str, url: str | URL, options: dict[str, Any]
    ) -> aiohttp.ClientResponse:
        limit = _Limit(self._deadlines)
        # One with a timeout of its own is aiohttp's to watch.
        if "timeout" not in options:
            limit.begin()
        try:
            response = await self._session.request(method, self._url(url), **options)
        except BaseException as error:
            if limit.caused(error):
                raise limit.error() from error
            if isinstance(error, _OnNewConnection):
                raise error.failure from None
            raise
        if isinstance(response, _Response):
            limit.watch(response)
        return response


@functools.lru_cache(maxsize=16_384)
def _joined(base: URL, url: str) -> URL:
    # One memory for all clients: each VU may have one, and load has many URLs.
    return base.join(URL(url))


class _Call:
    """A request that is made when it is awaited or entered: ``async with client.get(…) as response``."""

    __slots__ = ("_response", "_work")

    def __init__(self, work: Coroutine[Any, Any, aiohttp.ClientResponse]) -> None:
        self._work = work
        self._response: aiohttp.ClientResponse | None = None

    def __await__(self) -> Generator[Any, None, aiohttp.ClientResponse]:
        return self._work.__await__()

    async def __aenter__(self) -> aiohttp.ClientResponse:
        response = self._response = await self._work
        return await response.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._response is not None:
            await self._response.__aexit__(kind, error, traceback)


class _Limit:
    """Ends one request when it is overdue: its task's wait for the head, then the body."""

    __slots__ = ("_cancelling", "_deadlines", "_expired", "_response", "_task")

    def __init__(self, deadlines: Deadlines) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is made inside a task")
        self._deadlines = deadlines
        self._task = task
        self._cancelling = task.cancelling()
        self._response: _Response | None = None
        self._expired = False

    def begin(self) -> None:
        """The request is about to be made."""
        self._deadlines.begin(self, time.monotonic_ns())

    def watch(self, response: _Response) -> None:
        """The head is there; the body may still be late."""
        if response.over:
            self._deadlines.end(self)
        else:
            self._response = response
            response.when_over = functools.partial(self._deadlines.end, self)

    def expire(self) -> None:
        """See ``Overdue.expire``."""
        self._expired = True
        if self._response is None:
            self._task.cancel()
        else:
            self._response.fail(self.error())

    def caused(self, error: BaseException) -> bool:
        """The request failed as the task was cancelled by this limit, and by nobody else."""
        self._deadlines.end(self)
        if not self._expired:
            return False
        others = self._task.uncancel() > self._cancelling
        return isinstance(error, asyncio.CancelledError) and not others

    def error(self) -> TimeoutError:
        """What the request's own code sees."""
        return TimeoutError(f"no complete response within {self._deadlines.timeout / 1e9:g} s")


class _OnNewConnection(aiohttp.ClientError):
    """A new connection broke before the answer.

    aiohttp asks twice when a connection breaks, also a new one, as it cannot tell it from one that the
    server had closed while it was idle. A server that fails every second request would never be seen
    failing. This error is none that it asks twice for.
    """

    def __init__(self, failure: aiohttp.ClientError) -> None:
        super().__init__(str(failure))
        self.failure = failure


class _Request(aiohttp.ClientRequest):
    """A request that tells when it was sent."""

    _reused = False
    _writes_body = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.observer: Observer | None = None
        connector = self.session.connector
        if isinstance(connector, _Connector):
            # Now: a request that never gets a connection has been asked for, too.
            self.observer = connector.observer()
            if connector.guard is not None:
                connector.guard(self.url)

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        protocol: _Protocol = conn.protocol
        self._reused = protocol.begin_request()
        response = await super().send(conn)
        if isinstance(response, _Response):
            response.observer = self.observer
        if not self._writes_body:
            self._sent()
        return response

    def write_bytes(self, *args: Any, **options: Any) -> Coroutine[Any, Any, None]:
        self._writes_body = True
        return self._write_and_tell(*args, **options)

    async def _write_and_tell(self, *args: Any, **options: Any) -> None:
        await super().write_bytes(*args, **options)
        self._sent()

    def _sent(self) -> None:
        if self.observer is not None:
            self.observer.sent(time.monotonic_ns(), self._reused)


class _Response(aiohttp.ClientResponse):
    """A response that tells when its head and its body are there."""

    observer: Observer | None = None
    #: Called once, when nothing more will come.
    when_over: Callable[[], None] | None = None
    over = False
    _payload: Any = None
    #: Somebody read of the body, or gave up the rest of it.
    _looked_at = False

    @property
    def content(self) -> Any:
        """The body as it comes. Whoever asks for it reads as much of it as they want."""
        self._looked_at = True
        return self._payload

    @content.setter
    def content(self, payload: Any) -> None:
        self._payload = payload

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        protocol: _Protocol = connection.protocol
        try:
            await super().start(connection)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            if not protocol.reused:
                raise _OnNewConnection(error) from error
            raise
        if self.observer is not None:
            self.observer.answered(self, protocol.first_byte)
        self._payload.on_eof(self._end)
        # Until now it was aiohttp itself.
        self._looked_at = False
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                await self._rest()
        finally:
            await super().__aexit__(kind, error, traceback)

    async def _rest(self) -> None:
        """Read a body that nobody looked at: its user would, and what does not come whole is an error."""
        if self._looked_at or self.status == SWITCHING_PROTOCOLS:
            return
        failure = self._payload.exception()
        if failure is not None:
            raise failure
        if not self.over:
            async for _ in self._payload.iter_any():
                pass

    def fail(self, error: Exception) -> None:
        """The rest will not come."""
        looked_at = self._looked_at
        self._payload.set_exception(error)
        self._end()
        super().close()
        self._looked_at = looked_at

    def release(self) -> Any:
        self._looked_at = True
        self._end()
        return super().release()

    def close(self) -> None:
        self._looked_at = True
        self._end()
        super().close()

    def _end(self) -> None:
        content = self._payload
        # Without content there was no head, and an exception is told by itself.
        if self.over or content is None:
            return
        self.over = True
        if self.observer is not None and content.exception() is None:
            # Older ones know no more than what was decompressed.
            self.observer.received(getattr(content, "total_raw_bytes", content.total_bytes))
        if self.when_over is not None:
            self.when_over()


class _Protocol(ResponseHandler, asyncio.BufferedProtocol):
    """The connection's end: reads without waste, and knows when what happened.

    It keeps the connection after an answer to HEAD that has no Content-Length. Such an answer has no
    body and ends with its headers (RFC 9112, 6.3), so the next request may follow. aiohttp's parser
    takes it for one that lasts until the connection is closed, and would make a TLS handshake for
    each request after a HEAD, which no user's client does.

    Attributes:
        made_at: When TCP was connected, nanoseconds of ``time.monotonic_ns()``.
        ready_at: When TLS was, too.
        first_byte: When the first byte of the answer came; 0 before it did.
        reused: The latest request was not the first.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._read_view = memoryview(bytearray(_BUFFER))
        self._used = False
        self._now = 0
        # asyncio makes the protocol once it has the connected socket.
        self.made_at = self.ready_at = time.monotonic_ns()
        self.first_byte = 0
        self.reused = False
        self._latest_payload: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        self.ready_at = time.monotonic_ns()
        super().connection_made(transport)

    def begin_request(self) -> bool:
        """The next request is about to be sent; whether there was one before."""
        self.reused, self._used = self._used, True
        self.first_byte = 0
        return self.reused

    def get_buffer(self, sizehint: int) -> memoryview:
        """See ``asyncio.BufferedProtocol``.

        A view, not the buffer itself: asyncio's TLS reads the next records into slices of it, and a
        slice of a bytearray is a copy.
        """
        return self._read_view

    def buffer_updated(self, nbytes: int) -> None:
        """See ``asyncio.BufferedProtocol``."""
        self.data_received(bytes(self._read_view[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``: what an event loop such as uvloop calls, as this is one too."""
        self._now = time.monotonic_ns()
        if not self.first_byte:
            self.first_byte = self._now
        super().data_received(data)

    def set_exception(self, exc: BaseException, *cause: Any) -> None:
        """The connection is of no use any more, and neither is the body that is on its way.

        aiohttp tells that to who waits for a head, but lets the reader of a body wait for ever when
        the body's framing is broken.
        """
        payload = self._latest_payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(aiohttp.ClientPayloadError(f"the body is broken: {exc}"), exc)
        super().set_exception(exc, *cause)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """A head is complete."""
        message, self._latest_payload = data
        if message.code < 200 and message.code != 101:
            self.first_byte = 0  # an interim answer
        elif not self.first_byte:
            self.first_byte = self._now
        if (
            message.should_close
            and self._skip_payload
            and message.version >= aiohttp.HttpVersion11
            and "close" not in message.headers.get("Connection", "").lower()
        ):
            self._should_close = False
        super().feed_data(data, size)


class _Connector(aiohttp.TCPConnector):
    def __init__(
        self,
        observer_of: ObserverOf | None,
        *,
        resolver: _Resolver,
        guard: Callable[[URL], None] | None,
        **options: Any,
    ) -> None:
        super().__init__(resolver=resolver, **options)
        self.guard = guard
        self._observer_of = observer_of
        self._timed_resolver = resolver
        # There is no public way to say which protocol a connection speaks.
        self._factory: Any = functools.partial(_Protocol, loop=self._loop)

    def observer(self) -> Observer | None:
        """Who watches the request that is being made."""
        return self._observer_of() if self._observer_of is not None else None

    async def _wrap_create_connection(self, *args: Any, **options: Any) -> Any:
        # TCP has tried all addresses by then. aiohttp would go on to the next one when TLS fails, as with
        # a node whose certificate has expired, and tell nobody.
        try:
            return await super()._wrap_create_connection(*args, **options)
        except aiohttp.ClientConnectorError as error:
            raise _OnNewConnection(error) from error

    async def _create_connection(self, req: aiohttp.ClientRequest, *args: Any) -> ResponseHandler:
        observer = req.observer if isinstance(req, _Request) else None
        begin = time.monotonic_ns()
        try:
            protocol = await super()._create_connection(req, *args)
        except _OnNewConnection as error:
            # It has kept aiohttp from the next address, and is no error that users know.
            raise error.failure from error.failure.__cause__
        if observer is not None and isinstance(protocol, _Protocol):
            dns = self._timed_resolver.spent_since(begin)
            tls = protocol.ready_at - protocol.made_at if req.is_ssl() else 0
            transport = protocol.transport
            session = None if transport is None else transport.get_extra_info("ssl_object")
            observer.connected(dns, protocol.made_at - begin - dns, tls, session)
        return protocol


class _Resolver(AbstractResolver):
    """aiohttp's resolver, timed."""

    def __init__(self) -> None:
        self._resolver = aiohttp.DefaultResolver()
        self._begin = 0
        self._end = 0

    def spent_since(self, instant: int) -> int:
        """Nanoseconds that the latest look-up took, of those since an instant."""
        return max(0, self._end - max(self._begin, instant))

    async def resolve(self, host: str, *args: Any, **options: Any) -> list[ResolveResult]:
        begin = time.monotonic_ns()
        found = await self._resolver.resolve(host, *args, **options)
        self._begin, self._end = begin, time.monotonic_ns()
        return found

    async def close(self) -> None:
        await self._resolver.close()


def classify(error: BaseException) -> Outcome | None:
    """The outcome that an exception of a client means; None when it is not a client's."""
    if isinstance(error, TimeoutError):
        return Outcome.TIMEOUT
    if isinstance(error, (aiohttp.ContentTypeError, json.JSONDecodeError, UnicodeDecodeError)):
        return Outcome.CHECK_FAILED
    if isinstance(error, aiohttp.InvalidURL):
        return Outcome.EXCEPTION
    if isinstance(error, aiohttp.ClientResponseError):
        return Outcome.UNEXPECTED_STATUS
    if isinstance(error, (aiohttp.ClientError, ConnectionError)):
        return Outcome.CONNECTION_ERROR
    return None
