"""The F5's stand-in: a certificate is deployed to it by the calls that certctl makes, in their order."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pytest_certload.certctl.connectors.icontrol import USER
from pytest_certload.certctl.connectors.specs import F5
from pytest_certload.stack import StackRequest
from pytest_certload.stack.certs import CertificateAuthority, ServerCertificate
from pytest_certload.stack.daemons import Daemon, open_daemons

PROFILE = "/mgmt/tm/ltm/profile/client-ssl/~Common~clientssl"
UPLOADS = "/mgmt/shared/file-transfer/uploads"
LOCAL = "/var/config/rest/downloads"


@dataclass
class Client:
    """Calls the device, each time on a new connection, and trusts it whatever it serves."""

    daemon: Daemon
    token: str = ""

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | bytes | None = None,
        **headers: str,
    ) -> tuple[int, Any]:
        parts = urlsplit(self.daemon.endpoint.base_url)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=10, context=context
        )
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, content, {"X-F5-Auth-Token": self.token, **named})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        is_json = response.getheader("Content-Type", "").startswith("application/json")
        return response.status, json.loads(text) if is_json else text

    def done(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        status, answer = self.call(method, path, body, **headers)
        assert status == 200, answer
        return answer

    def log_in(self) -> None:
        credentials = {"username": USER[0], "password": USER[1], "loginProviderName": "tmos"}
        answer = self.done("POST", "/mgmt/shared/authn/login", credentials)
        self.token = answer["token"]["token"]

    def upload(self, name: str, content: bytes) -> None:
        size = len(content)
        self.done("POST", f"{UPLOADS}/{name}", content, Content_Range=f"0-{size - 1}/{size}")

    def install(self, kind: str, name: str, content: bytes) -> None:
        self.upload(f"{name}.pem", content)
        self.done(
            "POST",
            f"/mgmt/tm/sys/crypto/{kind}",
            {"command": "install", "name": name, "from-local-file": f"{LOCAL}/{name}.pem"},
        )

    def served(self) -> str:
        """SHA-256 of the certificate that a new connection is served."""
        parts = urlsplit(self.daemon.endpoint.base_url)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection((parts.hostname or "", parts.port or 0), 10) as raw,
            context.wrap_socket(raw) as connection,
        ):
            certificate = connection.getpeercert(binary_form=True)
        assert certificate is not None
        return hashlib.sha256(certificate).hexdigest()


@pytest.fixture
def client() -> Iterator[Client]:
    request = StackRequest(provider="embedded")
    with open_daemons(request, [F5], announce=lambda _: None) as (daemon,):
        client = Client(daemon)
        client.log_in()
        yield client


Issue = Callable[[str], ServerCertificate]


@pytest.fixture
def issue(tmp_path: Path) -> Issue:
    authority = CertificateAuthority(tmp_path / "other")
    return lambda name: authority.issue(file_name=name)


def fingerprint(certificate: ServerCertificate) -> str:
    pem = certificate.cert_path.read_text("ascii").partition("-----END")[0]
    der = ssl.PEM_cert_to_DER_cert(f"{pem}-----END CERTIFICATE-----\n")
    return hashlib.sha256(der).hexdigest()


def put(client: Client, name: str, certificate: ServerCertificate) -> None:
    client.install("cert", f"{name}-cert", certificate.cert_path.read_bytes())
    client.install("key", f"{name}-key", certificate.key_path.read_bytes())


def test_a_deployment_is_served_once_its_transaction_is_committed(
    client: Client, issue: Issue
) -> None:
    first = client.served()
    assert first == client.daemon.fingerprint
    certificate = issue("new")
    put(client, "new", certificate)
    client.install("cert", "new-chain", certificate.cert_path.read_bytes())
    number = client.done("POST", "/mgmt/tm/transaction", {})["transId"]
    within = {"X_F5_REST_Overriding_Collection": f"/mgmt/tm/transaction/{number}"}
    names = {"cert": "/Common/new-cert", "key": "/Common/new-key", "chain": "/Common/new-chain"}
    client.done("PATCH", PROFILE, names, **within)
    assert client.served() == first, "it is not committed yet"
    assert client.done("GET", PROFILE)["cert"] != names["cert"]
    client.done("PATCH", f"/mgmt/tm/transaction/{number}", {"state": "VALIDATING"})
    assert client.served() == fingerprint(certificate)
    assert client.done("GET", PROFILE) == {"name": "clientssl", **names}


def test_a_certificate_of_another_kind_of_key_takes_the_olds_place(
    client: Client, tmp_path: Path
) -> None:
    """Beside one for ECDSA, which clients prefer, OpenSSL would never serve one for RSA."""
    certificate = self_signed_for_rsa(tmp_path)
    put(client, "rsa", certificate)
    client.done("PATCH", PROFILE, {"cert": "/Common/rsa-cert", "key": "/Common/rsa-key"})
    assert client.served() == fingerprint(certificate)


def self_signed_for_rsa(folder: Path) -> ServerCertificate:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rsa.example.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    made = ServerCertificate(cert_path=folder / "rsa.crt", key_path=folder / "rsa.key")
    made.cert_path.write_bytes(certificate.public_bytes(Encoding.PEM))
    made.key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


def test_every_answer_is_logged_and_ends_its_connection(client: Client) -> None:
    """The log is what handshakes are proven by."""
    for path, status in (("/mgmt/nowhere", 404), (PROFILE, 405)):
        before = client.daemon.read_log()
        assert client.call("DELETE", path)[0] == status
        assert client.daemon.read_log().removeprefix(before) == f"handshake {path} full\n"


def test_a_key_that_does_not_match_is_refused_and_all_stays_as_it_was(
    client: Client, issue: Issue
) -> None:
    first, before = client.served(), client.done("GET", PROFILE)
    put(client, "one", issue("one"))
    put(client, "two", issue("two"))
    names = {"cert": "/Common/one-cert", "key": "/Common/two-key"}
    number = client.done("POST", "/mgmt/tm/transaction", {})["transId"]
    within = {"X_F5_REST_Overriding_Collection": f"/mgmt/tm/transaction/{number}"}
    client.done("PATCH", PROFILE, names, **within)
    commit = ("PATCH", f"/mgmt/tm/transaction/{number}", {"state": "VALIDATING"})
    status, answer = client.call(*commit)
    assert (status, "cannot be used" in answer["message"]) == (400, True)
    assert client.call(*commit)[0] == 404, "a transaction is over, whatever came of it"
    assert (client.served(), client.done("GET", PROFILE)) == (first, before)
    # The same without a transaction.
    assert client.call("PATCH", PROFILE, names)[0] == 400
    names["key"] = "/Common/one-key"
    client.done("PATCH", PROFILE, names)
    assert client.served() != first


def test_objects_in_use_stay_and_others_can_be_removed(client: Client, issue: Issue) -> None:
    put(client, "old", issue("old"))
    client.done("PATCH", PROFILE, {"cert": "/Common/old-cert", "key": "/Common/old-key"})
    for kind in ("cert", "key"):
        path = f"/mgmt/tm/sys/crypto/{kind}/~Common~old-{kind}"
        status, answer = client.call("DELETE", path)
        assert (status, "in use" in answer["message"]) == (400, True)
    default = "/mgmt/tm/sys/crypto/cert/~Common~default.crt"
    client.done("DELETE", default)
    assert client.call("DELETE", default)[0] == 404


REFUSED: list[tuple[str, str, Any, int]] = [
    ("POST", f"{UPLOADS}/x.pem", b"content", 400),
    ("POST", "/mgmt/tm/sys/crypto/cert", {"command": "install", "name": "x"}, 400),
    ("POST", "/mgmt/tm/sys/crypto/cert", {"command": "remove"}, 400),
    ("POST", "/mgmt/tm/sys/crypto/cert", b"no json", 400),
    ("POST", "/mgmt/tm/sys/crypto/cert", b'"\xff"', 400),
    ("POST", "/mgmt/tm/sys/crypto/cert", b"[]", 400),
    ("PATCH", PROFILE, {"cert": "/Common/nobody", "key": "/Common/nobody"}, 400),
    ("PATCH", "/mgmt/tm/transaction/7", {"state": "VALIDATING"}, 404),
    ("GET", "/mgmt/tm/ltm/profile/client-ssl/~Common~other", None, 404),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), REFUSED)
def test_what_makes_no_sense_is_refused(
    client: Client, method: str, path: str, body: Any, status: int
) -> None:
    assert client.call(method, path, body)[0] == status


def test_without_a_token_only_the_health_is_told(client: Client) -> None:
    client.token = "none"
    assert client.call("GET", "/healthz")[0] == 200
    for method, path, _, _ in REFUSED:
        assert client.call(method, path)[0] == 401
    wrong = {"username": USER[0], "password": "wrong", "loginProviderName": "tmos"}
    assert client.call("POST", "/mgmt/shared/authn/login", wrong)[0] == 401


def test_a_transaction_is_committed_by_its_state_alone(client: Client) -> None:
    number = client.done("POST", "/mgmt/tm/transaction", {})["transId"]
    path = f"/mgmt/tm/transaction/{number}"
    assert client.call("PATCH", path, {"state": "STARTED"})[0] == 400
    client.done("PATCH", path, {"state": "VALIDATING"})
    within = {"X_F5_REST_Overriding_Collection": path}
    assert client.call("PATCH", PROFILE, {"cert": "x"}, **within)[0] == 404
