"""How does a client tell what it saw of a request? The seam between clients and whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["SWITCHING_PROTOCOLS", "Observer", "ObserverOf"]

#: The status after which a connection speaks no HTTP any more (RFC 9110, 15.2.2).
SWITCHING_PROTOCOLS = 101


class Observer(Protocol):
    """Told by a client what becomes of the requests of the task it runs in.

    Instants are whole nanoseconds of ``time.monotonic_ns()``. A request that is sent again, as its
    kept connection was already closed, and each hop of a redirect are told like requests of their
    own. A request that fails is told as far as it came; its error is for the request's own code.

    The methods are called by the event loop, not by the task and not in its context, and must not
    raise.
    """

    def connected(self, dns: int, connect: int, tls: int, session: Any = None) -> None:
        """A new connection was made for this request.

        Args:
            dns: Nanoseconds of the look-up of the host; 0 for an address, and from the cache.
            connect: Nanoseconds of the TCP handshake.
            tls: Nanoseconds of the TLS handshake; 0 without TLS.
            session: The ``ssl.SSLObject`` that made it, or what an event loop has in its place; None
                without TLS.
        """

    def sent(self, at: int, reused: bool) -> None:
        """Head and body were handed to the socket.

        Args:
            at: When.
            reused: The connection has carried a request before.
        """

    def answered(self, response: Any, at: int) -> None:
        """Status and headers are complete; the request's own code has not seen them yet.

        Args:
            response: The client's response: ``status``, ``headers``, ``method``, ``url``.
            at: When the first byte of this answer came; that of an interim answer (1xx) before
                it does not count.
        """

    def received(self, size: int) -> None:
        """The body is whole, or the response was released before it was.

        Args:
            size: Octets of the body that came, as they were sent: without the framing, and
                before any decompression.
        """


#: The observer of the running task, asked for at the start of each request; None: nobody watches.
ObserverOf = Callable[[], Observer | None]
