"""What does an error usually mean? For those whose words say what a client saw, and not what a server did."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["hint"]

#: What a message has in it, and what that usually means; the first that fits is told.
_HINTS: Sequence[tuple[tuple[str, ...], str]] = (
    (
        ("Bad status line", "Invalid HTTP", "Invalid method", "Expected HTTP/"),
        "what came is not the begin of an answer: usually the one before it on this connection was longer "
        "than its Content-Length",
    ),
    (
        ("JSONDecodeError",),
        "the body is no whole JSON: usually a Content-Length that is too small, or an error page in place "
        "of JSON",
    ),
    (
        ("ContentTypeError", "unexpected mimetype"),
        "the answer is no JSON: usually an error page, or a proxy that answers in the server's place",
    ),
    (
        ("payload is not completed", "before the body was whole"),
        "the body ended early: usually a worker that died while answering, or a Content-Length that is too "
        "large",
    ),
    (
        ("Server disconnected", "ServerDisconnectedError"),
        "the server closed the connection without an answer: usually a worker that died, or a keep-alive "
        "time that is shorter than the pauses between requests",
    ),
    (
        ("Connection reset", "ConnectionResetError", "Broken pipe"),
        "the server cut the connection: usually a worker that died, or a full accept queue",
    ),
    (
        ("Connect call failed", "Connection refused", "ConnectionRefusedError"),
        "nothing listens there: usually a server that has ended or is being started again",
    ),
    (
        ("Too many open files", "Errno 24"),
        "the load generator has no descriptors left: raise `ulimit -n`, or use fewer VUs",
    ),
    (
        ("Cannot assign requested address", "Errno 99"),
        "the load generator has no ports left: keep connections open instead of making new ones",
    ),
    (
        ("got 429",),
        "a rate limiter refused it: switch it off for the load, or offer less",
    ),
    (
        ("got 502", "got 503", "got 504"),
        "the server, or a proxy before it, had no capacity to answer: look at its pools and workers",
    ),
    (
        ("got 401", "got 403"),
        "the token was refused: it may have expired during the load, or lack a role",
    ),
)


def hint(message: str) -> str | None:
    """What an error with such a message usually means; None: it speaks for itself."""
    return next((means for words, means in _HINTS if any(w in message for w in words)), None)
