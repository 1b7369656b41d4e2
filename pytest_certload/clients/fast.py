"""How is an HTTP request spoken with the least work? A lean client with the face of aiohttp's.

It does the part of ``aiohttp.ClientSession`` that load scenarios use, and says so when it is asked for
more. PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from yarl import URL

from pytest_certload.units import Duration

from .deadlines import Deadlines
from .exchange import ObserverOf
from .fast_connection import Connection
from .fast_pool import Pool
from .fast_request import Origin, Prepared, Requests, body_of, requests_to, unsupported
from .fast_response import FastResponse
from .tls import tls_context

__all__ = ["FastClient", "fast_client"]

#: Asking twice is the same as asking once (RFC 9110, 9.2.2); as in aiohttp.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_UNSET: Any = object()

_RaiseForStatus = bool | Callable[[FastResponse], Awaitable[None]] | None


def fast_client(
    *,
    base_url: str,
    connections: int,
    timeout: Duration,
    ca_path: Path | None = None,
    headers: Mapping[str, str] | None = None,
    observer: ObserverOf | None = None,
    fresh: bool = False,
    guard: Callable[[str], None] | None = None,
) -> FastClient:
    """A lean client bound to a base URL, for the running event loop.

    Cookies are not kept; certificates are always verified; no content coding is asked for.

    Args:
        base_url: Where relative URLs lead, such as ``https://127.0.0.1:8443``.
        connections: Most connections at once, to each server.
        timeout: Total time a request may take, from the wait for a connection to the end of the
            body; 0 for no limit.
        ca_path: PEM file of the only CA to trust; default: the machine's.
        headers: Sent with every request.
        observer: Who is told what becomes of the requests; default: nobody.
        fresh: Make a new connection for every request, instead of keeping them.
        guard: Told each URL that leads to another server than the base URL; raises when it must not
            be loaded.

    Raises:
        ConfigurationError: The CA file cannot be read, or the base URL is none.
    """
    return FastClient(
        requests=requests_to(base_url, tuple((headers or {}).items()), fresh),
        connections=connections,
        timeout=timeout,
        ca_path=ca_path,
        observer=observer,
        fresh=fresh,
        guard=guard,
    )


class Call:
    """A request that is made when it is awaited or entered: ``async with client.get(…) as response``."""

    __slots__ = ("_response", "_work")

    def __init__(self, work: Coroutine[Any, Any, FastResponse]) -> None:
        self._work = work
        self._response: FastResponse | None = None

    def __await__(self) -> Generator[Any, None, FastResponse]:
        return self._work.__await__()

    async def __aenter__(self) -> FastResponse:
        response = self._response = await self._work
        return response

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._response is not None:
            await self._response.__aexit__(kind, error, traceback)


class FastClient:
    """See ``fast_client``. Methods and errors are those of ``aiohttp.ClientSession``.

    Each request takes ``params``, ``json``, ``data`` (bytes, text, a form as a mapping), ``headers``,
    ``timeout`` (seconds or ``aiohttp.ClientTimeout``, total only), ``allow_redirects``,
    ``max_redirects`` and ``raise_for_status``. Redirects are followed on the same server.

    Raises:
        ConfigurationError: Something is asked for that this client does not do.
    """

    def __init__(
        self,
        *,
        requests: Requests,
        connections: int,
        timeout: Duration,
        ca_path: Path | None,
        observer: ObserverOf | None,
        fresh: bool,
        guard: Callable[[str], None] | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._requests = requests
        self._connections = connections
        # Read now, so that a CA that is none is told before the load; it costs nothing the second time.
        self._tls = tls_context(ca_path)
        self._observer = observer
        self._fresh = fresh
        self._pools: dict[Origin, Pool] = {}
        self._guard = guard
        self._home = self._pool_to(requests.origin)
        self._deadlines = Deadlines(self._loop, timeout)
        self._other_deadlines: dict[int, Deadlines] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """No request can be made any more."""
        return self._closed

    def get(self, url: str | URL, **options: Any) -> Call:
        """Ask with GET."""
        return Call(self._request("GET", url, **options))

    def options(self, url: str | URL, **options: Any) -> Call:
        """Ask with OPTIONS."""
        return Call(self._request("OPTIONS", url, **options))

    def head(self, url: str | URL, *, allow_redirects: bool = False, **options: Any) -> Call:
        """Ask with HEAD; redirects are not followed unless asked for."""
        return Call(self._request("HEAD", url, allow_redirects=allow_redirects, **options))

    def post(self, url: str | URL, **options: Any) -> Call:
        """Ask with POST."""
        return Call(self._request("POST", url, **options))

    def put(self, url: str | URL, **options: Any) -> Call:
        """Ask with PUT."""
        return Call(self._request("PUT", url, **options))

    def patch(self, url: str | URL, **options: Any) -> Call:
        """Ask with PATCH."""
        return Call(self._request("PATCH", url, **options))

    def delete(self, url: str | URL, **options: Any) -> Call:
        """Ask with DELETE."""
        return Call(self._request("DELETE", url, **options))

    def request(self, method: str, url: str | URL, **options: Any) -> Call:
        """Ask with any method."""
        return Call(self._request(method.upper(), url, **options))

    async def close(self) -> None:
        """Close all connections and wait until they are gone; requests on their way fail."""
        self._closed = True
        for deadlines in (self._deadlines, *self._other_deadlines.values()):
            deadlines.close()
        for pool in self._pools.values():
            await pool.close()

    async def __aenter__(self) -> FastClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(aiohttp.ClientSession, name):
            raise unsupported(f"`client.{name}`")
        raise AttributeError(f"the client has no {name!r}")

    async def _request(
        self,
        method: str,
        url: str | URL,
        *,
        params: Any = None,
        json: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: Any = _UNSET,
        allow_redirects: bool = True,
        max_redirects: int = 10,
        raise_for_status: _RaiseForStatus = None,
        **unknown: Any,
    ) -> FastResponse:
        if unknown:
            raise unsupported(f"the argument {next(iter(unknown))}=")
        if self._closed:
            raise RuntimeError("the client is closed")
        prepared = self._requests.prepare(method, url, params, headers)
        if json is None and data is None:
            message = prepared.without_body()
        else:
            message = prepared.with_body(*body_of(json, data))
        deadlines = self._deadlines if timeout is _UNSET else self._deadlines_of(timeout)
        response = await self._exchange(prepared, message, deadlines, time.monotonic_ns())
        if allow_redirects and response.status in _REDIRECTS:
            follow = _Redirects(self, deadlines, max_redirects, headers, json, data)
            response = await follow(response)
        if raise_for_status is not None:
            await _raise_for_status(response, raise_for_status)
        return response

    async def _exchange(
        self, prepared: Prepared, message: bytes, deadlines: Deadlines, began: int
    ) -> FastResponse:
        """Send one request, once or twice, and wait until the head of its response is complete."""
        observer = self._observer() if self._observer is not None else None
        response = FastResponse(prepared, observer, deadlines, began)
        at_home = prepared.origin is self._requests.origin
        pool = self._home if at_home else self._pool_to(prepared.origin)
        try:
            connection = pool.take(began) or await pool.acquire(response)
            was_kept = connection.used
            waiter = response.waiter = self._loop.create_future()
            connection.send(response, message)
            await waiter
            if response.failure is not None and was_kept and _lost_unheard(response, connection):
                # The server had closed the kept connection before the request reached it.
                response.try_again()
                connection = await pool.acquire(response)
                waiter = response.waiter = self._loop.create_future()
                connection.send(response, message)
                await waiter
        except BaseException:
            response.abandon()
            raise
        if response.failure is not None and not response.status:
            raise response.failure
        return response

    def _pool_to(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            if self._guard is not None and origin.host != self._requests.origin.host:
                self._guard(f"http://{origin.host}")
            tls = self._tls if origin.is_ssl else None
            pool = Pool(origin, limit=self._connections, tls=tls, fresh=self._fresh)
            self._pools[origin] = pool
        return pool

    def _deadlines_of(self, timeout: Any) -> Deadlines:
        """For a timeout of a request's own, as seconds, ``ClientTimeout``, or None for no limit."""
        if isinstance(timeout, aiohttp.ClientTimeout):
            others = (timeout.connect, timeout.sock_connect, timeout.sock_read)
            if any(limit is not None for limit in others):
                raise unsupported("a timeout of a part of the request (it takes total alone)")
            timeout = timeout.total
        if timeout is not None and not isinstance(timeout, (int, float)):
            raise unsupported(f"the timeout {timeout!r} (it takes seconds)")
        nanoseconds = round((timeout or 0) * 1e9)
        deadlines = self._other_deadlines.get(nanoseconds)
        if deadlines is None:
            deadlines = self._other_deadlines[nanoseconds] = Deadlines(self._loop, nanoseconds)
        return deadlines


class _Redirects:
    """Follows the redirects of one request, as aiohttp does, on the same server."""

    def __init__(
        self,
        client: FastClient,
        deadlines: Deadlines,
        most: int,
        headers: Mapping[str, str] | None,
        json: Any,
        data: Any,
    ) -> None:
        self._client = client
        self._deadlines = deadlines
        self._most = most
        self._headers = headers
        self._body = None if json is None and data is None else (json, data)

    async def __call__(self, response: FastResponse) -> FastResponse:
        history: list[FastResponse] = []
        began = response.began
        while response.status in _REDIRECTS:
            history.append(response)
            location = response.headers.get("Location") or response.headers.get("URI")
            if self._most and len(history) >= self._most:
                response.release()
                past: Any = tuple(history)
                raise aiohttp.TooManyRedirects(history[0].request_info, past)
            if location is None:
                break
            response.release()
            prepared, message = self._next(response, location)
            response = await self._client._exchange(prepared, message, self._deadlines, began)
        response.history = tuple(r for r in history if r is not response)
        return response

    def _next(self, response: FastResponse, location: str) -> tuple[Prepared, bytes]:
        method = response.method
        if (response.status == 303 and method != "HEAD") or (
            response.status in (301, 302) and method == "POST"
        ):
            method, self._body = "GET", None
        try:
            url = response.url.join(URL(location))
            origin = Origin.of(url)
        except ValueError as error:
            raise aiohttp.InvalidUrlRedirectClientError(
                location, "the server redirects to what is no URL"
            ) from error
        if origin != Origin.of(response.url):
            raise unsupported(f"redirects to another server ({location})")
        prepared = self._client._requests.prepare(method, url, None, self._headers)
        if self._body is None:
            return prepared, prepared.without_body()
        return prepared, prepared.with_body(*body_of(*self._body))


async def _raise_for_status(response: FastResponse, how: _RaiseForStatus) -> None:
    try:
        if callable(how):
            await how(response)
        elif how:
            response.raise_for_status()
    except BaseException:
        response.release()
        raise


def _lost_unheard(response: FastResponse, connection: Connection) -> bool:
    """Nothing was heard of a request before its connection was lost, and it may be sent twice."""
    return (
        response.method in _IDEMPOTENT
        and not connection.started
        and isinstance(response.failure, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError))
    )
