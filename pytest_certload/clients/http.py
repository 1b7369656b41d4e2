"""How is an HTTP request spoken? aiohttp, set up for load: bounded, verified, and watched.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import functools
import json
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from pytest_certload.errors import ConfigurationError
from pytest_certload.samples import Outcome
from pytest_certload.units import Duration

__all__ = ["classify", "http_client"]

#: Below the 60 s after which common servers close idle connections.
_KEEP_ALIVE_SECONDS = 30.0


def http_client(
    *,
    base_url: str,
    connections: int,
    timeout: Duration,
    ca_path: Path | None = None,
    headers: Mapping[str, str] | None = None,
    observe: Callable[[aiohttp.ClientResponse], None] | None = None,
) -> aiohttp.ClientSession:
    """A client session bound to a base URL, for one event loop.

    Cookies are not kept; certificates are always verified.

    Args:
        base_url: Where relative URLs lead, such as ``https://127.0.0.1:8443``.
        connections: Most connections at once.
        timeout: Total time a request may take.
        ca_path: PEM file of the only CA to trust; default: the machine's.
        headers: Sent with every request.
        observe: Told of every response, in the task that made the request, before the request's
            own code sees it.

    Raises:
        ConfigurationError: The CA file cannot be read.
    """
    connector = _Connector(
        limit=connections,
        ssl=tls_context(ca_path),
        keepalive_timeout=_KEEP_ALIVE_SECONDS,
        ttl_dns_cache=300,
    )
    return aiohttp.ClientSession(
        base_url=base_url,
        connector=connector,
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=timeout.total_seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(_telling(observe),) if observe is not None else (),
    )


def tls_context(ca_path: Path | None) -> ssl.SSLContext:
    """A context that verifies certificate and host name.

    Raises:
        ConfigurationError: The CA file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca_path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the CA file {ca_path} cannot be used ({error}); name a PEM file with --certload-ca"
        ) from error


class _Protocol(ResponseHandler):
    """Keeps the connection after an answer to HEAD that has no Content-Length.

    Such an answer has no body and ends with its headers (RFC 9112, 6.3), so the next request may
    follow. aiohttp's parser takes it for one that lasts until the connection is closed, and would
    make a TLS handshake for each request after a HEAD, which no user's client does.
    """

    def feed_data(self, data: Any, size: int = 0) -> None:
        message = data[0]
        if (
            message.should_close
            and self._skip_payload
            and message.version >= aiohttp.HttpVersion11
            and "close" not in message.headers.get("Connection", "").lower()
        ):
            self._should_close = False
        super().feed_data(data, size)


class _Connector(aiohttp.TCPConnector):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # There is no public way to say which protocol a connection speaks.
        self._factory: Any = functools.partial(_Protocol, loop=self._loop)


def _telling(
    observe: Callable[[aiohttp.ClientResponse], None],
) -> aiohttp.ClientMiddlewareType:
    async def tell(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await handler(request)
        observe(response)
        return response

    return tell


def classify(error: BaseException) -> Outcome | None:
    """The outcome that an exception of this client means; None when it is not the client's."""
    if isinstance(error, TimeoutError):
        return Outcome.TIMEOUT
    if isinstance(error, (aiohttp.ContentTypeError, json.JSONDecodeError, UnicodeDecodeError)):
        return Outcome.CHECK_FAILED
    if isinstance(error, aiohttp.InvalidURL):
        return Outcome.EXCEPTION
    if isinstance(error, aiohttp.ClientResponseError):
        return Outcome.UNEXPECTED_STATUS
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return Outcome.CONNECTION_ERROR
    return None
