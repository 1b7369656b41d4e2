"""Where does an agent deploy to? A TLS listener on loopback, which serves what it was given."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

__all__ = ["Target", "serve_target"]

_LOOPBACK = "127.0.0.1"
_HANDSHAKE_SECONDS = 10.0


class Target:
    """A listener that has a certificate for each name, and swaps them while it runs.

    Args:
        directory: Where keys lie while they are read: Python's ssl takes them from files alone.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.sni_callback = self._choose
        self._port = 0

    def deploy(self, name: str, chain_pem: str, key_pem: str) -> None:
        """Serve a chain and its key under a name from now on.

        Raises:
            ssl.SSLError: They are none, or do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        file = self._directory / f"{name}.pem"
        file.touch(mode=0o600)
        file.write_text(f"{chain_pem}\n{key_pem}", "utf-8")
        try:
            context.load_cert_chain(file)
        finally:
            file.unlink()
        self._contexts[name] = context

    async def fingerprint(self, name: str, ca_pem: str) -> str:
        """Make a full handshake for a name, and return the SHA-256 of the leaf's DER, in hex.

        Args:
            name: The name; the certificate must be for it.
            ca_pem: The CA that must have signed it.

        Raises:
            ssl.SSLCertVerificationError: It is not for the name, or not signed by the CA.
            OSError: None is served for the name.
        """
        # A new one each time: with an old one, a session could be resumed.
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.load_verify_locations(cadata=ca_pem)
        # It may be one below another.
        tls.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        _, writer = await asyncio.open_connection(
            _LOOPBACK,
            self._port,
            ssl=tls,
            server_hostname=name,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
        )
        try:
            leaf = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.close()
        return hashlib.sha256(leaf).hexdigest()

    def _choose(
        self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> int | None:
        context = self._contexts.get(name or "")
        if context is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        connection.context = context
        return None

    async def _serve(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(
            self._serve, _LOOPBACK, 0, ssl=self._tls, ssl_handshake_timeout=_HANDSHAKE_SECONDS
        )
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()


@asynccontextmanager
async def serve_target(directory: Path) -> AsyncIterator[Target]:
    """A target that listens on a free port of loopback until the end of the block."""
    target = Target(directory)
    async with target._listening():
        yield target
