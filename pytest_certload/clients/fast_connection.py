"""How are one request and its response carried? HTTP/1.1 on one connection, parsed by llhttp.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import aiohttp
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from .exchange import SWITCHING_PROTOCOLS
from .fast_response import FastResponse

if TYPE_CHECKING:
    from .fast_pool import Pool

__all__ = ["Connection"]

#: Longest head of a response. aiohttp allows 8 KiB a header.
_LONGEST_HEAD = 65_536
_NO_BODY = frozenset({SWITCHING_PROTOCOLS, 204, 304})


class Connection(asyncio.BufferedProtocol):
    """Carries one request after the other, never two at once.

    Attributes:
        used: It has carried a request before.
        idle_since: When the latest response was complete, nanoseconds of ``time.monotonic_ns()``.
    """

    __slots__ = (
        "_at",
        "_done",
        "_ended",
        "_fresh",
        "_head",
        "_headers",
        "_interim",
        "_junk",
        "_keep",
        "_now",
        "_parser",
        "_pool",
        "_reason",
        "_response",
        "_spent",
        "_started",
        "_transport",
        "_view",
        "idle_since",
        "used",
    )

    def __init__(self, pool: Pool, *, fresh: bool) -> None:
        self._pool = pool
        self._fresh = fresh
        self._view = pool.view
        self._transport: Any = None
        self._parser: HttpResponseParser | None = None
        self._response: FastResponse | None = None
        self.used = False
        self.idle_since = 0
        #: No request can be sent any more.
        self._ended = False
        # Of the response that comes: its headers so far, and what is known of it.
        self._headers: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._now = 0
        self._at = 0
        self._head = 0
        self._started = False
        self._interim = False
        self._done = False
        self._keep = False
        self._junk = False
        #: The parser stands inside a message whose rest does not come.
        self._spent = True

    @property
    def usable(self) -> bool:
        """A request can be sent."""
        return not self._ended and not self._transport.is_closing()

    @property
    def started(self) -> bool:
        """Something has come in answer to the latest request."""
        return self._started

    def send(self, response: FastResponse, message: bytes) -> None:
        """Send a request; ``response`` is told what becomes of it."""
        if self._spent:
            self._parser = HttpResponseParser(self)
            # As lenient as aiohttp: a server that users' clients get on with is not failing.
            self._parser.set_dangerous_leniencies(
                lenient_headers=True,
                lenient_optional_cr_before_lf=True,
                lenient_spaces_after_chunk_size=True,
            )
            self._spent = False
        self._response = response
        self._done = self._started = False
        self._head = 0
        self._transport.write(message)
        reused, self.used = self.used, True
        response.sent(self, time.monotonic_ns(), reused)

    def close(self) -> None:
        """Close in good order, by and by."""
        self._end()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what is on its way is lost."""
        self._response = None
        self._end()
        self._transport.abort()

    def interrupt(self, error: Exception) -> None:
        """Close at once, and fail the request that is on its way."""
        response = self._response
        self.abort()
        if response is not None:
            response.fail(error)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._pool.gone(self)

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._transport = transport
        self._pool.made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See ``asyncio.BufferedProtocol``.

        A view, not the buffer itself: asyncio's TLS reads the next records into slices of it, and a
        slice of a bytearray is a copy.
        """
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """See ``asyncio.BufferedProtocol``."""
        self._now = time.monotonic_ns()
        if self._response is None or self._parser is None:
            # Nobody has asked: most of all a server that says why it closes an idle connection.
            self.abort()
            return
        self._started = True
        try:
            self._parser.feed_data(self._view[:nbytes])
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self._done:
                self._garbled(error)
                return
            self._junk = True
        if self._done:
            self._finish()
        elif not self._response.status:
            self._head += nbytes
            if self._head > _LONGEST_HEAD:
                self._garbled(ValueError(f"the head is longer than {_LONGEST_HEAD:,} octets"))

    def eof_received(self) -> bool:
        """See ``asyncio.BufferedProtocol``."""
        self._lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._lost(exc)
        self._pool.lost(self)
        # The parser knows its connection and the connection its parser.
        self._parser = None

    # llhttp's side.

    def on_message_begin(self) -> None:
        """The first byte of a message is there."""
        if self._done:
            self._junk = True
        self._at = self._now
        self._headers = []
        self._reason = b""

    def on_status(self, status: bytes) -> None:
        """A part of the words beside the status."""
        self._reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        parser, response = self._parser, self._response
        if self._done or parser is None or response is None:
            return
        status = parser.get_status_code()
        if status < 200 and status != SWITCHING_PROTOCOLS:
            self._interim = True
            return
        version = parser.get_http_version()
        headers, self._headers = self._headers, []  # trailers are no headers
        if response.method == "HEAD" or status in _NO_BODY:
            # llhttp does not know what was asked, and would wait for the body that the headers
            # speak of. They end the message.
            self._done = self._spent = True
            self._keep = status != SWITCHING_PROTOCOLS and _stays_open(version, headers)
        response.answered(status, self._reason, version, headers, self._at)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._done or self._response is None:
            self._junk = True
        else:
            self._response.add(body)

    def on_message_complete(self) -> None:
        """The message has ended."""
        if self._interim:
            self._interim = False
        elif not self._done and self._parser is not None:
            self._done = True
            self._keep = self._parser.should_keep_alive()

    # How it ends.

    def _finish(self) -> None:
        response, self._response = self._response, None
        if self._keep and not self._junk and not self._fresh and not self._ended:
            self.idle_since = self._now
            self._pool.free(self)
        else:
            self.close()
        if response is not None:
            response.finish()

    def _garbled(self, error: Exception) -> None:
        """What came is not HTTP."""
        response = self._response
        failure: aiohttp.ClientError
        if response is None:
            return
        if response.status:
            failure = aiohttp.ClientPayloadError(f"the body of the response is broken: {error}")
        else:
            failure = aiohttp.ClientResponseError(
                response.request_info, (), status=400,
                message=f"the response is not HTTP/1.1: {error}",
            )  # fmt: skip
        failure.__cause__ = error
        self.interrupt(failure)

    def _lost(self, error: Exception | None) -> None:
        """The server has closed the connection, or it broke."""
        self._end()
        response, self._response = self._response, None
        if response is None:
            return
        if response.status:
            if error is None and _lasts_until_close(response.raw_headers):
                response.finish()
                return
            why = "" if error is None else f" ({error})"
            response.fail(
                aiohttp.ClientPayloadError(
                    f"the connection was lost before the body was whole{why}"
                )
            )
        elif isinstance(error, OSError):
            response.fail(aiohttp.ClientOSError(*error.args))
        else:
            response.fail(aiohttp.ServerDisconnectedError())


def _values(headers: Any, wanted: bytes) -> list[bytes]:
    return [
        part.strip().lower()
        for name, value in headers
        if name.lower() == wanted
        for part in value.split(b",")
    ]


def _stays_open(version: str, headers: list[tuple[bytes, bytes]]) -> bool:
    options = _values(headers, b"connection")
    return b"close" not in options and (version >= "1.1" or b"keep-alive" in options)


def _lasts_until_close(headers: tuple[tuple[bytes, bytes], ...]) -> bool:
    """No other end of the body is told."""
    codings = _values(headers, b"transfer-encoding")
    if codings:
        return codings[-1] != b"chunked"
    return not _values(headers, b"content-length")
