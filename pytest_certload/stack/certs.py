"""Whom does the client trust? A certificate authority made for one run, and forgotten with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme

__all__ = ["LOOPBACK_NAMES", "CertificateAuthority", "ServerCertificate"]

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
# The server in a container runs as another user (uid 1000) and must be able to read its files.
READABLE_BY_ALL = 0o644


@dataclass(frozen=True, kw_only=True)
class ServerCertificate:
    """The files of one server: certificate (leaf first) and private key, both PEM."""

    cert_path: Path
    key_path: Path


class CertificateAuthority:
    """A CA whose private key lives in memory only.

    Attributes:
        ca_path: PEM file of its certificate, what a client needs to trust it.
    """

    def __init__(self, directory: Path) -> None:
        """Make the CA and write its certificate into ``directory``, which is made if needed."""
        directory.mkdir(exist_ok=True)
        self._directory = directory
        self._ca = trustme.CA(organization_name="pytest-certload")
        self.ca_path = directory / "ca.pem"
        self._write(self.ca_path, self._ca.cert_pem.bytes())

    def issue(
        self,
        *names: str,
        file_name: str = "server",
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> ServerCertificate:
        """Issue a server certificate.

        Args:
            names: DNS names and IP addresses; none = the loopback names.
            file_name: Stem of the two files.
            not_before: Start of its validity; None = long ago.
            not_after: End of its validity; None = far away.
        """
        leaf = self._ca.issue_cert(
            *(names or LOOPBACK_NAMES), not_before=not_before, not_after=not_after
        )
        certificate = ServerCertificate(
            cert_path=self._directory / f"{file_name}.pem",
            key_path=self._directory / f"{file_name}.key",
        )
        self._write(certificate.cert_path, b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        self._write(certificate.key_path, leaf.private_key_pem.bytes())
        return certificate

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        path.write_bytes(content)
        path.chmod(READABLE_BY_ALL)
