"""What came back? A response of the fast transport, with the names and ways of aiohttp's.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import functools
import gzip
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from .deadlines import Deadlines
from .exchange import Observer
from .fast_request import Prepared, unsupported

if TYPE_CHECKING:
    from .fast_connection import Connection

__all__ = ["FastResponse"]

_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json")


class FastResponse:
    """One response; also what the connection fills while it comes.

    Attributes:
        status: The status code; 0 before it came.
        method: Of the request, in capitals.
        history: The redirects that led here, the first one first.
        began: When the request began, nanoseconds of ``time.monotonic_ns()``.
        deadline: When it is overdue, nanoseconds of ``time.monotonic_ns()``; 0 for never.
        failure: What went wrong; None as long as nothing did.
        complete: The body is whole.
        waiter: Done when something has happened that the request's task waits for.
    """

    __slots__ = (
        "_body",
        "_chunks",
        "_connection",
        "_deadlines",
        "_headers",
        "_looked_at",
        "_observer",
        "_prepared",
        "_raw_headers",
        "_reason",
        "_released",
        "_version",
        "began",
        "complete",
        "deadline",
        "failure",
        "history",
        "method",
        "status",
        "waiter",
    )

    def __init__(
        self, prepared: Prepared, observer: Observer | None, deadlines: Deadlines, began: int
    ) -> None:
        self.status = 0
        self.method = prepared.method
        self.history: tuple[FastResponse, ...] = ()
        self.failure: Exception | None = None
        self.complete = False
        self.waiter: asyncio.Future[Any] | None = None
        self._prepared = prepared
        self._observer = observer
        self._deadlines = deadlines
        self._connection: Connection | None = None
        self._reason = b""
        self._version = ""
        self._raw_headers: list[tuple[bytes, bytes]] = []
        self._headers: CIMultiDictProxy[str] | None = None
        self._chunks: list[bytes] = []
        self._body: bytes | None = None
        self._released = False
        self._looked_at = False
        self.began = began
        self.deadline = deadlines.begin(self, began)

    # The connection's side.

    @property
    def observer(self) -> Observer | None:
        """Who is told of this request."""
        return self._observer

    def sent(self, connection: Connection, at: int, reused: bool) -> None:
        """The request was handed to the socket of ``connection``."""
        self._connection = connection
        if self._observer is not None:
            self._observer.sent(at, reused)

    def answered(
        self, status: int, reason: bytes, version: str, headers: list[tuple[bytes, bytes]], at: int
    ) -> None:
        """The head is complete; its first byte came ``at``."""
        self.status = status
        self._reason = reason
        self._version = version
        self._raw_headers = headers
        if self._observer is not None:
            self._observer.answered(self, at)
        self._wake()

    def add(self, chunk: bytes) -> None:
        """A part of the body came."""
        self._chunks.append(chunk)

    def finish(self) -> None:
        """The body is whole, and the connection is free for others."""
        self.complete = True
        self._connection = None
        self._deadlines.end(self)
        if self._observer is not None:
            self._observer.received(self._size())
        self._wake()

    def fail(self, error: Exception) -> None:
        """It will not come (any further)."""
        if self.failure is None and not self.complete:
            self.failure = error
            self._connection = None
            self._deadlines.end(self)
            self._wake()

    def expire(self) -> None:
        """See ``Overdue.expire``."""
        limit = self._deadlines.timeout / 1e9
        connection = self._connection
        self.fail(TimeoutError(f"no complete response within {limit:g} s"))
        if connection is not None:
            connection.abort()

    def abandon(self) -> None:
        """Nobody waits for it any more; a connection that still works on it is of no use."""
        connection, self._connection = self._connection, None
        self._deadlines.end(self)
        if connection is not None:
            connection.abort()

    def try_again(self) -> None:
        """Forget the failure of a connection that was closed before the request reached it."""
        self.failure = None
        self._deadlines.begin(self, self.began)

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def _size(self) -> int:
        chunks = self._chunks
        return len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))

    # The request's side: as ``aiohttp.ClientResponse``.

    @property
    def ok(self) -> bool:
        """The status is below 400."""
        return self.status < 400

    @property
    def reason(self) -> str:
        """The words beside the status."""
        return self._reason.decode("utf-8", "surrogateescape")

    @property
    def version(self) -> aiohttp.HttpVersion:
        """The server's version of HTTP."""
        major, _, minor = self._version.partition(".")
        return aiohttp.HttpVersion(int(major), int(minor))

    @property
    def url(self) -> URL:
        """What was asked for."""
        return self._prepared.url

    @property
    def real_url(self) -> URL:
        """What was asked for."""
        return self._prepared.url

    @property
    def request_info(self) -> aiohttp.RequestInfo:
        """What was asked, for errors."""
        url = self._prepared.url
        return aiohttp.RequestInfo(url, self.method, self._prepared.headers, url)

    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The headers as they came."""
        return tuple(self._raw_headers)

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The headers, names in any case."""
        if self._headers is None:
            self._headers = CIMultiDictProxy(
                CIMultiDict(
                    (_text(name), _text(value).strip(" \t")) for name, value in self._raw_headers
                )
            )
        return self._headers

    @property
    def content_type(self) -> str:
        """The media type without its parameters; ``application/octet-stream`` when none is said."""
        return self._media().type

    @property
    def charset(self) -> str | None:
        """The parameter of that name of the content type."""
        return self._media().charset

    @property
    def content_length(self) -> int | None:
        """What the header of that name says."""
        raw = self._header(b"content-length")
        return None if raw is None else int(raw)

    @property
    def closed(self) -> bool:
        """The connection is no longer needed: the body is whole, or nobody wants it."""
        return self._connection is None

    def raise_for_status(self) -> None:
        """Raise when the status is 400 or above.

        Raises:
            aiohttp.ClientResponseError: It is.
        """
        if not self.ok:
            raise aiohttp.ClientResponseError(
                self.request_info, cast(Any, self.history), status=self.status, message=self.reason,
                headers=self.headers,
            )  # fmt: skip

    async def read(self) -> bytes:
        """The body.

        Raises:
            aiohttp.ClientPayloadError: It did not come whole, or cannot be decompressed.
            aiohttp.ClientConnectionError: The connection was lost, or the response was released.
            TimeoutError: It did not come in time.
        """
        if self._released:
            raise aiohttp.ClientConnectionError("Connection closed")
        if self._body is None:
            if not self.complete:
                self._looked_at = True
                await self._rest()
            self._body = self._decoded()
        return self._body

    async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
        """The body as text.

        Args:
            encoding: Default: what the content type says, else UTF-8.
            errors: As for ``bytes.decode``.

        Raises:
            UnicodeDecodeError: It is not in that encoding.
        """
        body = self._body if self._body is not None else await self.read()
        return body.decode(encoding or self.get_encoding(), errors)

    async def json(
        self,
        *,
        encoding: str | None = None,
        loads: Callable[[str], Any] = json.loads,
        content_type: str | None = "application/json",
    ) -> Any:
        """The body as JSON; None when it is empty.

        Args:
            encoding: As for ``text``.
            loads: Reads the text.
            content_type: What the header must say; None: anything.

        Raises:
            aiohttp.ContentTypeError: The header says something else.
            json.JSONDecodeError: The body is not JSON.
        """
        body = self._body if self._body is not None else await self.read()
        media = self._media()
        if content_type:
            said = media.said
            if not (media.is_json if content_type == "application/json" else content_type in said):
                raise aiohttp.ContentTypeError(
                    self.request_info, cast(Any, self.history), status=self.status,
                    message=f"the content type is {said!r}, and {content_type!r} was expected",
                    headers=self.headers,
                )  # fmt: skip
        body = body.strip()
        return loads(body.decode(encoding or media.encoding)) if body else None

    def get_encoding(self) -> str:
        """The encoding that the content type says, when there is such a one; else UTF-8."""
        return self._media().encoding

    def release(self) -> None:
        """Say that nothing more is wanted. A body that is not whole is not waited for."""
        if not self._released:
            self._released = True
            if self._connection is not None:
                if self._observer is not None:
                    self._observer.received(self._size())
                self.abandon()

    def close(self) -> None:
        """The same as ``release``."""
        self.release()

    async def __aenter__(self) -> FastResponse:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            # Its user would read it, and what does not come whole is an error.
            if kind is None and not (self.complete or self._released or self._looked_at):
                await self._rest()
        finally:
            self.release()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(aiohttp.ClientResponse, name):
            raise unsupported(f"`response.{name}`")
        raise AttributeError(f"a response has no {name!r}")

    def __repr__(self) -> str:
        return f"<FastResponse {self.method} {self._prepared.target} [{self.status}]>"

    # What both need.

    def _header(self, wanted: bytes) -> bytes | None:
        """The first header of a name, which is given in small letters."""
        size = len(wanted)
        for name, value in self._raw_headers:
            if len(name) == size and name.lower() == wanted:
                return value
        return None

    def _media(self) -> _Media:
        return _media(self._header(b"content-type"))

    async def _rest(self) -> None:
        """Wait until the body is whole."""
        if self.failure is None and self._connection is not None:
            self.waiter = asyncio.get_running_loop().create_future()
            try:
                # Woken by nothing but the end, since the head was there before.
                await self.waiter
            except BaseException:
                self.abandon()
                raise
        if self.failure is not None:
            raise self.failure
        if not self.complete:
            raise aiohttp.ClientConnectionError("Connection closed")

    def _decoded(self) -> bytes:
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        raw = self._header(b"content-encoding")
        if raw is None or not body:
            return body
        encoding = _text(raw).strip().lower()
        try:
            if encoding in ("gzip", "x-gzip"):
                return gzip.decompress(body)
            if encoding == "deflate":
                # Many servers leave out the zlib header that the name stands for.
                return zlib.decompress(
                    body, zlib.MAX_WBITS if body[0] & 15 == 8 else -zlib.MAX_WBITS
                )
        except (OSError, EOFError, zlib.error) as error:
            raise aiohttp.ClientPayloadError(
                f"the body is not the {encoding} that its Content-Encoding says: {error}"
            ) from error
        if encoding == "identity":
            return body
        raise aiohttp.ClientPayloadError(
            f"the server chose Content-Encoding {encoding!r}, which was not asked for and cannot "
            "be decoded"
        )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class _Media:
    """What a Content-Type header says.

    Attributes:
        said: The header in small letters; empty when there is none.
        type: The media type without parameters.
        charset: The parameter of that name.
        encoding: The encoding that the charset names, when there is such a one; else UTF-8.
        is_json: It is JSON, or a type built on it.
    """

    said: str
    type: str
    charset: str | None
    encoding: str
    is_json: bool


@functools.lru_cache(maxsize=256)
def _media(raw: bytes | None) -> _Media:
    if raw is None:
        return _Media("", "application/octet-stream", None, "utf-8", is_json=False)
    said = _text(raw).strip()
    message = Message()
    message["Content-Type"] = said
    parameter = message.get_param("charset")
    charset = parameter if isinstance(parameter, str) else None
    encoding = "utf-8"
    # A name that nobody knows is as good as none.
    with contextlib.suppress(LookupError, ValueError):
        encoding = codecs.lookup(charset or encoding).name
    return _Media(
        said.lower(), message.get_content_type(), charset, encoding,
        is_json=_JSON.match(said.lower()) is not None,
    )  # fmt: skip
