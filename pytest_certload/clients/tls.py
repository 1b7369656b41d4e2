"""Whom does a client trust? One TLS context for all clients of a CA."""

from __future__ import annotations

import functools
import ssl
from pathlib import Path

from pytest_certload.errors import ConfigurationError

__all__ = ["tls_context"]


def tls_context(ca_path: Path | None) -> ssl.SSLContext:
    """A context that verifies certificate and host name; the same one as long as the file is.

    Args:
        ca_path: PEM file of the only CA to trust; None: those of the machine.

    Raises:
        ConfigurationError: The CA file cannot be read.
    """
    try:
        if ca_path is None:
            return _context(None, 0, 0)
        state = ca_path.stat()
        return _context(ca_path, state.st_mtime_ns, state.st_ino)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the CA file {ca_path} cannot be used ({error}); name a PEM file with --certload-ca"
        ) from error


@functools.lru_cache(maxsize=16)
def _context(ca_path: Path | None, changed: int, inode: int) -> ssl.SSLContext:
    # Reading the CAs of a machine takes longer than a hundred requests, and each VU may have a client.
    return ssl.create_default_context(cafile=ca_path)
