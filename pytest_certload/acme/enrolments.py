"""What does a client bring along? Keys and CSRs, made before the load: they are no part of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from pytest_certload.units import Duration

from .keys import AccountKey

__all__ = ["Enrolment", "Enrolments", "new_enrolment", "public_der"]


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One machine that will get a certificate: a client of its own.

    Attributes:
        names: DNS names; the first is the common name too.
        key: Of its account.
        csr: For its certificate, DER.
        public_key: The certificate's key, as DER of a SubjectPublicKeyInfo. The private half signed the
            CSR and is not kept: nothing in an enrolment needs it again.
    """

    names: Sequence[str]
    key: AccountKey
    csr: bytes
    public_key: bytes


class Enrolments:
    """So many machines, each with an account key, a certificate key and a CSR of its own.

    That is what is true of a fleet that enrols for the first time, and it is cheap enough: 0.1 ms
    each.

    Args:
        count: How many.
        names: The DNS names of one, by its number from 0.

    Attributes:
        cost: CPU time that it took to make one, on average.
    """

    def __init__(self, count: int, names: Callable[[int], Sequence[str]]) -> None:
        began = time.thread_time_ns()
        self._made = [new_enrolment(names(number)) for number in range(count)]
        self.cost = Duration(round((time.thread_time_ns() - began) / max(1, count)))

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, number: int) -> Enrolment:
        return self._made[number]

    def __iter__(self) -> Iterator[Enrolment]:
        return iter(self._made)


def new_enrolment(names: Sequence[str]) -> Enrolment:
    """Make one machine's keys and CSR.

    Args:
        names: DNS names, one or more.
    """
    private = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
        .sign(private, hashes.SHA256())
    )
    return Enrolment(
        names=tuple(names),
        key=AccountKey(),
        csr=request.public_bytes(Encoding.DER),
        public_key=public_der(private.public_key()),
    )


def public_der(key: PublicKeyTypes) -> bytes:
    """A public key as DER of a SubjectPublicKeyInfo, by which keys are compared."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
