"""Is it the certificate that was asked for? Chain, key and names of what came, after the load."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from .enrolments import Enrolment, public_der

__all__ = ["Trust", "fingerprint", "leaf_of"]

_END = b"-----END CERTIFICATE-----\n"


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
        return cls(_pem_parts(chain)[-1])

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


def fingerprint(chain: bytes) -> str:
    """SHA-256 of the leaf's DER, in hex.

    Raises:
        ValueError: It is no certificate.
    """
    return x509.load_pem_x509_certificate(leaf_of(chain)).fingerprint(hashes.SHA256()).hex()


def leaf_of(chain: bytes) -> bytes:
    """The first certificate of a PEM chain."""
    return _pem_parts(chain)[0]


def _pem_parts(chain: bytes) -> Sequence[bytes]:
    return [part + _END for part in chain.split(_END) if part.strip()]
