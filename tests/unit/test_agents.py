"""What an agent has beside its requests: keys, CSRs, and a listener that it deploys to."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from pytest_certload.certctl.keys import KeyPair, Leaf, make_keys, read_leaf, self_signed
from pytest_certload.certctl.reference.authority import Authority
from pytest_certload.certctl.target import Target, serve_target

NAME = "one.example.test"
AUTHORITY = Authority("Test CA", now=datetime.now(UTC))


def issue(key: KeyPair) -> str:
    """A chain for a key."""
    request = x509.load_pem_x509_csr(key.csr_pem.encode())
    lifetime = timedelta(hours=1)
    return AUTHORITY.issue(request, lifetime=lifetime, now=datetime.now(UTC)).pem_chain


def leaf_of(chain: str) -> Leaf:
    leaf = read_leaf(chain)
    assert leaf is not None
    return leaf


def test_a_csr_is_of_its_key_and_for_its_name() -> None:
    one, other = make_keys([NAME, "other.example.test"])
    assert one.point != other.point
    request = x509.load_pem_x509_csr(one.csr_pem.encode())
    private = load_pem_private_key(one.key_pem.encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert request.is_signature_valid
    assert request.public_key() == private.public_key()
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert bytes.fromhex(one.point) == point
    assert request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == NAME
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME]


def test_of_a_chain_the_first_one_is_the_leaf() -> None:
    (key,) = make_keys([NAME])
    chain = issue(key)
    leaf = leaf_of(chain)
    certificate = x509.load_pem_x509_certificates(chain.encode())[0]
    assert leaf.point == key.point
    assert leaf.serial == f"{certificate.serial_number:040x}"
    der = certificate.public_bytes(Encoding.DER)
    assert leaf.fingerprint == hashlib.sha256(der).hexdigest()
    assert chain == leaf.pem + AUTHORITY.pem


def test_another_kind_of_key_has_no_point() -> None:
    assert leaf_of(AUTHORITY.pem).point is None
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now).sign(key, None)
    assert leaf_of(certificate.public_bytes(Encoding.PEM).decode()).point is None


def test_what_is_no_certificate_has_no_leaf() -> None:
    broken = self_signed(NAME).pem.replace("MII", "!!!", 1)
    for text in ("", "nothing", broken):
        assert read_leaf(text) is None


def test_one_that_signs_itself_has_a_key_of_its_own() -> None:
    first, second = self_signed(NAME), self_signed(NAME)
    assert len({first.point, second.point, None}) == 3
    assert read_leaf(first.pem) == first


class TestTarget:
    def run(self, tmp_path: Path, what: object) -> None:
        async def body() -> None:
            async with serve_target(tmp_path) as target:
                await what(target)  # type: ignore[operator]

        asyncio.run(body())
        assert not list(tmp_path.iterdir()), "no key is left in a file"

    def test_it_serves_what_was_deployed_last(self, tmp_path: Path) -> None:
        async def body(target: Target) -> None:
            for key in make_keys([NAME] * 3):
                chain = issue(key)
                target.deploy(NAME, chain, key.key_pem)
                served = await target.fingerprint(NAME, AUTHORITY.pem)
                assert served == leaf_of(chain).fingerprint

        self.run(tmp_path, body)

    def test_each_name_has_its_own_also_at_once(self, tmp_path: Path) -> None:
        async def body(target: Target) -> None:
            keys = make_keys([f"{number}.example.test" for number in range(10)])
            chains = {key.name: issue(key) for key in keys}
            for key in keys:
                target.deploy(key.name, chains[key.name], key.key_pem)
            served = await asyncio.gather(
                *(target.fingerprint(name, AUTHORITY.pem) for name in chains)
            )
            assert served == [leaf_of(chain).fingerprint for chain in chains.values()]

        self.run(tmp_path, body)

    def test_a_key_that_is_not_the_certificates_is_refused(self, tmp_path: Path) -> None:
        async def body(target: Target) -> None:
            one, other = make_keys([NAME, NAME])
            with pytest.raises(ssl.SSLError):
                target.deploy(NAME, issue(one), other.key_pem)
            # asyncio's listener says nothing before it hangs up.
            with pytest.raises((ConnectionResetError, ssl.SSLError)):
                await target.fingerprint(NAME, AUTHORITY.pem)

        self.run(tmp_path, body)

    def test_a_certificate_for_another_name_or_of_another_ca_is_not_taken(
        self, tmp_path: Path
    ) -> None:
        async def body(target: Target) -> None:
            (key,) = make_keys(["other.example.test"])
            target.deploy(NAME, issue(key), key.key_pem)
            with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
                await target.fingerprint(NAME, AUTHORITY.pem)
            stranger = Authority("Another CA", now=datetime.now(UTC))
            target.deploy("other.example.test", issue(key), key.key_pem)
            with pytest.raises(ssl.SSLCertVerificationError):
                await target.fingerprint("other.example.test", stranger.pem)

        self.run(tmp_path, body)
