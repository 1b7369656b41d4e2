"""What is sent for a request? Its head, prepared once for each method and URL, and its body.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from json import dumps
from typing import Any
from urllib.parse import urlencode

from aiohttp import ClientError, InvalidURL, NonHttpUrlClientError
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy
from yarl import URL

from pytest_certload.errors import ConfigurationError

__all__ = ["Origin", "Prepared", "Requests", "body_of", "requests_to", "unsupported"]

#: Heads kept for reuse, about 500 bytes each. When there are more, all are prepared again.
_KEPT_HEADS = 16_384
#: The same for heads with headers of their own, which may be new for each request.
_KEPT_HEADS_WITH_HEADERS = 1_024
#: URLs that mean themselves: nothing to quote, no ``..`` to resolve, no other host.
_SEGMENT = "[A-Za-z0-9_~-][A-Za-z0-9_~.-]*"
_PLAIN_URL = re.compile(rf"/(?:{_SEGMENT}(?:/{_SEGMENT})*/?)?(?:\?[A-Za-z0-9_~.=&-]+)?")
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_HEADER = re.compile(r"[\r\n\0]")
#: Methods that say nothing of a body when they have none.
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
#: Methods whose body is said to be of some type, even when it is not there.
_TYPED = frozenset({"POST", "PUT", "PATCH"})
_Headers = Mapping[str, str] | Iterable[tuple[str, str]]
_OWN_HEADERS = ("Content-Length", "Transfer-Encoding")


def unsupported(what: str) -> ConfigurationError:
    """The error for a part of aiohttp's API that the fast transport does not have."""
    return ConfigurationError(
        f"the fast transport does not do {what}; leave it out, or choose the transport that does: "
        "--certload-transport aiohttp"
    )


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection leads, and what an error says of it.

    Attributes:
        host: Name or address, without brackets.
        port: TCP port.
        is_ssl: Whether TLS is spoken.
        is_address: The host is an IP address, so nothing must be looked up.
        ssl: What aiohttp's errors print: True stands for "verified".
    """

    host: str
    port: int
    is_ssl: bool
    is_address: bool
    ssl: bool = True

    @classmethod
    def of(cls, url: URL) -> Origin:
        """The origin of an absolute URL.

        Raises:
            InvalidURL: No host in it, or a scheme that is not HTTP's.
        """
        if url.scheme not in ("http", "https"):
            raise NonHttpUrlClientError(url)
        if not url.raw_host or url.port is None:
            raise InvalidURL(url, "it names no host")
        host = url.raw_host
        return cls(host, url.port, url.scheme == "https", _is_address(host))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Prepared:
    """The head of a request up to the lines that depend on the body.

    Attributes:
        method: In capitals.
        target: What was asked for, a URL's text.
        origin: Where it goes.
        head: Request line and headers, each with its line end.
        typed: The headers name a content type already.
    """

    __slots__ = ("_base", "_url", "head", "method", "origin", "target", "typed")

    def __init__(
        self,
        *,
        method: str,
        target: str,
        base: URL,
        url: URL | None,
        origin: Origin,
        head: bytes,
        typed: bool,
    ) -> None:
        self.method = method
        self.target = target
        self.origin = origin
        self.head = head
        self.typed = typed
        self._base = base
        self._url = url

    @property
    def url(self) -> URL:
        """The absolute URL."""
        if self._url is None:
            self._url = self._base.join(URL(self.target))
        return self._url

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The headers that do not depend on the body."""
        lines = self.head.decode("utf-8", "surrogateescape").split("\r\n")[1:-1]
        pairs = (line.partition(": ") for line in lines)
        return CIMultiDictProxy(CIMultiDict((name, value) for name, _, value in pairs))

    def without_body(self) -> bytes:
        """The whole request when it has no body."""
        if self.method in _BODILESS:
            return self.head + b"\r\n"
        if self.method in _TYPED:
            return self.with_body(b"application/octet-stream", b"")
        return self.head + b"Content-Length: 0\r\n\r\n"

    def with_body(self, kind: bytes, body: bytes) -> bytes:
        """The whole request.

        Args:
            kind: Content type of the body, for when the headers name none.
            body: The body.
        """
        if self.typed:
            return b"%bContent-Length: %d\r\n\r\n%b" % (self.head, len(body), body)
        return b"%bContent-Length: %d\r\nContent-Type: %b\r\n\r\n%b" % (
            self.head, len(body), kind, body,
        )  # fmt: skip


class Requests:
    """Prepares the requests of all clients that share these; belongs to no event loop.

    Args:
        base_url: Where relative URLs lead.
        headers: Sent with every request.
        fresh: Ask for each connection to be closed.

    Raises:
        ConfigurationError: The base URL is none, or a header cannot be sent.
    """

    def __init__(self, base_url: str, headers: Iterable[tuple[str, str]], *, fresh: bool) -> None:
        try:
            self.base = URL(base_url)
            self.origin = Origin.of(self.base)
        except (ValueError, ClientError) as error:
            raise ConfigurationError(
                f"base_url: {base_url!r} is not the URL of a server; write http://host:port"
            ) from error
        self._headers = CIMultiDict(headers)
        self._fresh = fresh
        self._kept: dict[tuple[str, str | URL], Prepared] = {}
        self._kept_with_headers: dict[tuple[object, ...], Prepared] = {}
        self._rest = self._header_lines(self._host(self.base), self._headers)

    def prepare(
        self,
        method: str,
        url: str | URL,
        params: Any = None,
        headers: _Headers | None = None,
    ) -> Prepared:
        """The head of a request; the same object for the same method, URL and headers.

        Args:
            method: In capitals.
            url: Absolute, or relative to the base URL.
            params: Added to its query.
            headers: Instead of the client's of the same name, or beside them.

        Raises:
            InvalidURL: The URL cannot be used.
            ConfigurationError: A header says how long the body is.
            ValueError: A method or header that would break the request.
        """
        if params is not None:
            return self._prepare(method, url, params, headers)
        if headers is None:
            kept = self._kept.get((method, url))
            if kept is None:
                if len(self._kept) >= _KEPT_HEADS:
                    self._kept.clear()
                kept = self._kept[method, url] = self._prepare(method, url, None, None)
            return kept
        # Headers may be changed between two requests, so it is what they say that is remembered.
        pairs = headers.items() if hasattr(headers, "items") else tuple(headers)
        key = (method, url, *pairs)
        kept = self._kept_with_headers.get(key)
        if kept is None:
            if len(self._kept_with_headers) >= _KEPT_HEADS_WITH_HEADERS:
                self._kept_with_headers.clear()
            kept = self._kept_with_headers[key] = self._prepare(method, url, None, pairs)
        return kept

    def _prepare(
        self, method: str, url: str | URL, params: Any, headers: _Headers | None
    ) -> Prepared:
        if not _METHOD.fullmatch(method):
            raise ValueError(f"the method {method!r} is not a word; write GET, POST, …")
        whole: URL | None = None
        if not params and isinstance(url, str) and _PLAIN_URL.fullmatch(url):
            path, origin, rest = url, self.origin, self._rest
        else:
            whole = self._absolute(url)
            if params:
                whole = whole.extend_query(params)
            path, origin = whole.raw_path_qs, Origin.of(whole)
            rest = self._header_lines(self._host(whole), self._headers)
        typed = "Content-Type" in self._headers
        if headers:
            merged = self._merged(headers)
            rest = self._header_lines(self._host(whole or self.base), merged)
            typed = "Content-Type" in merged
        return Prepared(
            method=method,
            target=str(url),
            base=self.base,
            url=whole,
            origin=origin,
            head=f"{method} {path} HTTP/1.1\r\n{rest}".encode("utf-8", "surrogateescape"),
            typed=typed,
        )

    def _absolute(self, url: str | URL) -> URL:
        try:
            whole = self.base.join(URL(url))
            Origin.of(whole)
        except ValueError as error:
            if isinstance(error, InvalidURL):
                raise
            raise InvalidURL(url, str(error)) from error
        if whole.raw_user is not None or whole.raw_password is not None:
            raise unsupported(f"credentials in a URL ({whole.with_user(None)})")
        return whole.with_fragment(None)

    def _merged(self, headers: _Headers) -> CIMultiDict[str]:
        """The client's headers, those of the same name replaced."""
        wanted = CIMultiDict(headers)
        kept = ((k, v) for k, v in self._headers.items() if k not in wanted)
        return CIMultiDict([*kept, *wanted.items()])

    def _host(self, url: URL) -> str:
        host = url.host_port_subcomponent
        if host is None:
            raise InvalidURL(url, "it names no host")
        return host

    def _header_lines(self, host: str, headers: CIMultiDict[str]) -> str:
        for name in _OWN_HEADERS:
            if name in headers:
                raise unsupported(f"a {name} header of your own ({headers[name]!r})")
        lines = [] if "Host" in headers else [("Host", host)]
        lines += headers.items()
        if "Accept" not in headers:
            lines.append(("Accept", "*/*"))
        if "User-Agent" not in headers:
            lines.append(("User-Agent", _user_agent()))
        if self._fresh and "Connection" not in headers:
            lines.append(("Connection", "close"))
        for name, value in lines:
            if not _METHOD.fullmatch(name) or _NOT_IN_A_HEADER.search(value):
                raise ValueError(
                    f"the header {name!r}: {value!r} would break the request; "
                    "leave out line ends and, in the name, all but letters, digits and -"
                )
        return "".join(f"{name}: {value}\r\n" for name, value in lines)


@functools.lru_cache(maxsize=16)
def requests_to(base_url: str, headers: tuple[tuple[str, str], ...], fresh: bool) -> Requests:
    """The same ``Requests`` for the same arguments: each VU may have a client, and heads are many.

    Raises:
        ConfigurationError: See ``Requests``.
    """
    return Requests(base_url, headers, fresh=fresh)


@functools.cache
def _user_agent() -> str:
    return f"pytest-certload/{version('pytest-certload')}"


def body_of(json: Any, data: Any) -> tuple[bytes, bytes]:
    """Content type and octets of a body.

    Args:
        json: Anything ``json.dumps`` takes; None when ``data`` is given.
        data: Bytes, text, or a form as a mapping or a sequence of pairs.

    Raises:
        ConfigurationError: A body of another kind.
        ValueError: Both are given.
    """
    if json is not None:
        if data is not None:
            raise ValueError("json and data are both given; a request has one body")
        return b"application/json", dumps(json).encode()
    if isinstance(data, bytes):
        return b"application/octet-stream", data
    if isinstance(data, str):
        return b"text/plain; charset=utf-8", data.encode()
    if isinstance(data, (bytearray, memoryview)):
        return b"application/octet-stream", bytes(data)
    pairs: Any = None
    if isinstance(data, (Mapping, MultiDict, MultiDictProxy)):
        pairs = list(data.items())
    elif isinstance(data, (list, tuple)):
        pairs = list(data)
    if pairs is None or not all(
        isinstance(pair, (tuple, list))
        and len(pair) == 2
        and isinstance(pair[1], (str, int, float))
        for pair in pairs
    ):
        raise unsupported(
            f"a body of {type(data).__name__} (it sends json, bytes, text, and forms of text)"
        )
    return b"application/x-www-form-urlencoded", urlencode(pairs).encode()
