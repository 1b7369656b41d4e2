"""How is one request spoken and timed? By one of two transports with one face."""

from __future__ import annotations

from typing import Any

from pytest_certload.errors import ConfigurationError

__all__ = ["TRANSPORTS", "open_client"]

#: ``aiohttp`` does all that aiohttp can; ``fast`` makes the most load of one CPU.
TRANSPORTS = ("aiohttp", "fast")


def open_client(transport: str, **options: Any) -> Any:
    """A client for the running event loop, with the methods of ``aiohttp.ClientSession``.

    Args:
        transport: One of ``TRANSPORTS``.
        **options: As for ``http.http_client`` and ``fast.fast_client``, which are the same.

    Raises:
        ConfigurationError: There is no such transport, or an option cannot be used.
    """
    if transport == "aiohttp":
        from .http import http_client

        return http_client(**options)
    if transport == "fast":
        from .fast import fast_client

        return fast_client(**options)
    raise ConfigurationError(
        f"transport: {transport!r} is none; choose one of {', '.join(TRANSPORTS)}"
    )
