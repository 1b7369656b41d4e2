"""Is it the certificate that was asked for? Chain, key and names of what came, after the load."""

from __future__ import annotations

import hashlib
import ssl
from collections import Counter

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from .enrolments import Enrolment, public_der

__all__ = ["Issued", "Trust", "fingerprint", "leaf_of"]

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

    def fault(self, chain: bytes, enrolment: Enrolment) -> str | None:
        """What is wrong with a certificate, in a line; None when nothing is.

        Its chain must lead to this CA, as a TLS client would follow it (RFC 5280, 6.1), for every name; it
        must have exactly the enrolment's names and its key.

        Args:
            chain: PEM, the leaf first.
            enrolment: Of the machine that it is for.
        """
        try:
            leaf, *others = x509.load_pem_x509_certificates(chain)
        except ValueError:
            return "what came is no chain of certificates"
        try:
            for name in enrolment.names:
                verifier = (
                    PolicyBuilder().store(self._store).build_server_verifier(x509.DNSName(name))
                )
                verifier.verify(leaf, others)
        except VerificationError as error:
            reason = str(error).removeprefix("validation failed: ").partition(" (encountered")[0]
            return f"the chain does not verify: {reason}"
        if public_der(leaf.public_key()) != enrolment.public_key:
            return "the certificate is for another key"
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if sorted(names.get_values_for_type(x509.DNSName)) != sorted(enrolment.names):
            return "the certificate has other names beside its own"
        return None


class Issued:
    """The certificates that came in a load, to be looked at when it is over."""

    def __init__(self) -> None:
        self._came: list[tuple[Enrolment, bytes]] = []

    def add(self, enrolment: Enrolment, chain: bytes) -> None:
        """One came for a machine: PEM, the leaf first."""
        self._came.append((enrolment, chain))

    def __len__(self) -> int:
        return len(self._came)

    def faults(self, ca: bytes | None = None) -> dict[str, int]:
        """What is wrong with how many of them; see ``Trust.fault``.

        Args:
            ca: A chain that ends in the CA which all must lead to; default: the first that came.
        """
        found: Counter[str] = Counter()
        trust: Trust | None = None
        for enrolment, chain in self._came:
            try:
                trust = trust or Trust.first_seen(ca or chain)
            except ValueError as error:
                found[str(error)] += 1
                continue
            fault = trust.fault(chain, enrolment)
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
