"""Is it the certificate that was asked for? Chain, key and names of what came, after the load."""

from __future__ import annotations

import hashlib
import ssl
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from .enrolments import Enrolment, public_der

__all__ = ["Issued", "Trust", "fingerprint", "leaf_of"]

#: By so much the clock of who signs may be ahead.
_CLOCKS_APART = timedelta(seconds=5)
_END = b"-----END CERTIFICATE-----"


class Trust:
    """A CA, and what it signed.

    Args:
        ca: PEM of its certificate.

    Raises:
        ValueError: It is none.
    """

    def __init__(self, ca: bytes) -> None:
        self._certificate = x509.load_pem_x509_certificate(ca)
        self._store = Store([self._certificate])

    @classmethod
    def first_seen(cls, chain: bytes) -> Trust:
        """The CA at the end of a chain: who has seen one certificate holds all others to its CA.

        Raises:
            ValueError: The chain has no CA.
        """
        certificates = x509.load_pem_x509_certificates(chain)
        if len(certificates) < 2:
            raise ValueError("the chain is a certificate alone, without the CA that signed it")
        return cls(certificates[-1].public_bytes(Encoding.PEM))

    def fault(
        self, chain: bytes, enrolment: Enrolment, *, at: datetime | None = None
    ) -> str | None:
        """What is wrong with a certificate, in a line; None when nothing is.

        Its chain must lead to this CA, as a TLS client would follow it (RFC 5280, 6.1), for every name; it
        must have exactly the enrolment's names, no other name of any kind, and its key.

        Args:
            chain: PEM, the leaf first.
            enrolment: Of the machine that it is for.
            at: When it must be valid; default: now, and as much later as clocks may differ.
        """
        try:
            leaf, *others = x509.load_pem_x509_certificates(chain)
        except ValueError:
            return "what came is no chain of certificates"
        at = at or datetime.now(UTC) + _CLOCKS_APART
        policy = PolicyBuilder().store(self._store).time(at.replace(tzinfo=None))
        try:
            for name in enrolment.names:
                # Of a wildcard, a host that it is for.
                host = f"certload.{name[2:]}" if name.startswith("*.") else name
                policy.build_server_verifier(x509.DNSName(host)).verify(leaf, others)
        except VerificationError as error:
            reason = str(error).removeprefix("validation failed: ").partition(" (encountered")[0]
            return f"the chain does not verify: {reason}"
        if public_der(leaf.public_key()) != enrolment.public_key:
            return "the certificate is for another key"
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        own = {name.lower() for name in enrolment.names}
        if {_spelled(name) for name in names} | _common_names(leaf) != own:
            return "the certificate has other names beside its own"
        return None


def _spelled(name: x509.GeneralName) -> str:
    """A name in small letters; of another kind than DNS, with its kind."""
    return name.value.lower() if isinstance(name, x509.DNSName) else repr(name)


def _common_names(leaf: x509.Certificate) -> set[str]:
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return {str(name.value).lower() for name in names}


class Issued:
    """The certificates that came in a load, to be looked at when it is over."""

    def __init__(self) -> None:
        self._came: list[tuple[Enrolment, bytes, float]] = []

    def add(self, enrolment: Enrolment, chain: bytes) -> None:
        """One came for a machine: PEM, the leaf first."""
        self._came.append((enrolment, chain, time.time()))

    def __len__(self) -> int:
        return len(self._came)

    def faults(self, ca: bytes | None = None) -> dict[str, int]:
        """What is wrong with how many of them; see ``Trust.fault``.

        Args:
            ca: A chain that ends in the CA which all must lead to; default: the first that came.
        """
        found: Counter[str] = Counter()
        trust: Trust | None = None
        for enrolment, chain, came in self._came:
            try:
                trust = trust or Trust.first_seen(ca or chain)
            except ValueError as error:
                found[str(error)] += 1
                continue
            # Not now: it may have been meant for a shorter time than the load takes.
            at = datetime.fromtimestamp(came, UTC) + _CLOCKS_APART
            fault = trust.fault(chain, enrolment, at=at)
            if fault is not None:
                found[fault] += 1
        return dict(found)


def fingerprint(chain: bytes) -> str:
    """SHA-256 of the leaf's DER, in hex.

    Raises:
        ValueError: It is no certificate.
    """
    der = ssl.PEM_cert_to_DER_cert(leaf_of(chain).decode("ascii"))
    if not der:
        raise ValueError("the leaf is empty")
    return hashlib.sha256(der).hexdigest()


def leaf_of(chain: bytes) -> bytes:
    """The first certificate of a PEM chain."""
    leaf, end, _ = chain.partition(_END)
    return leaf + end + b"\n"
