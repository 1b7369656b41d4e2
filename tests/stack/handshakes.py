"""What does a client see of a daemon's handshake?"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from pytest_certload.certctl.connectors import Target


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a client saw of one request on a connection of its own."""

    answer: bytes
    fingerprint: bytes | None
    resumed: bool | None
    session: ssl.SSLSession | None


def context_for(target: Target, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=target.daemon.endpoint.ca_path)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def ask(
    target: Target,
    path: str,
    context: ssl.SSLContext,
    session: ssl.SSLSession | None = None,
    *,
    host: str = "127.0.0.1",
) -> Asked:
    port = urlsplit(target.base_url).port
    with (
        socket.create_connection(("127.0.0.1", port or 0), 10) as raw,
        context.wrap_socket(raw, server_hostname=host, session=session) as connection,
    ):
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return Asked(
            answer=answer,
            fingerprint=connection.getpeercert(binary_form=True),
            resumed=connection.session_reused,
            session=connection.session,
        )
