"""A server that already runs is checked before it is loaded, and its database is spared unless told."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from pytest_certload.certctl.product import PRODUCT
from pytest_certload.database import Database, run_sync
from pytest_certload.errors import CertloadError, ConfigurationError, SeedError, StackError
from pytest_certload.stack import Endpoint, Stack, StackRequest, open_stack
from pytest_certload.stack.server import get

READER = "key-that-may-only-read"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@pytest.fixture(scope="module")
def running() -> Iterator[Stack]:
    product = replace(
        PRODUCT,
        environment=lambda setup: {
            **PRODUCT.environment(setup),
            "CERTCTL_API_KEYS_NAMED": f"admin:{setup.token}:admin,reader:{READER}",
        },
    )
    request = StackRequest(provider="embedded")
    with open_stack(request, product, announce=lambda _: None) as stack:
        yield stack


@pytest.fixture
def request_(running: Stack) -> StackRequest:
    """What asks for the running server, without its database."""
    return StackRequest(
        provider="external",
        base_url=running.endpoint.base_url,
        token=running.endpoint.token,
        ca_path=running.endpoint.ca_path,
    )


def opened(request: StackRequest) -> Stack:
    with open_stack(request, PRODUCT, announce=lambda _: None) as stack:
        return stack


def comment_on(dsn: str, comment: str) -> None:
    async def run() -> None:
        async with Database.connect(dsn) as database:
            name = await database.fetchval("SELECT current_database()")
            await database.execute(f"COMMENT ON DATABASE {name} IS '{comment}'")

    run_sync(run())


class TestAServer:
    def test_without_a_database(self, running: Stack, request_: StackRequest) -> None:
        stack = opened(request_)
        assert (stack.provider, stack.dsn, stack.postgres) == ("external", None, None)
        assert stack.server == running.server

    def test_with_its_database(self, running: Stack, request_: StackRequest) -> None:
        stack = opened(replace(request_, dsn=running.dsn))
        assert stack.postgres == running.postgres
        assert [seed.rows_changed for seed in stack.seeds] == [0] * 6

    def test_auto_takes_it_when_address_and_token_are_given(self, request_: StackRequest) -> None:
        stack = opened(replace(request_, provider="auto"))
        assert (stack.provider, stack.reason) == ("external", "a base URL and a token are given")


class TestItsDatabase:
    def test_that_is_neither_marked_nor_seeded_is_left_alone(
        self, request_: StackRequest, certctl_database: str
    ) -> None:
        with pytest.raises(SeedError, match=r"neither seeded .* nor marked .*COMMENT ON DATABASE"):
            opened(replace(request_, dsn=certctl_database))

    def test_that_is_marked_is_seeded(self, request_: StackRequest, certctl_database: str) -> None:
        comment_on(certctl_database, "certload: of the load-test team")
        stack = opened(replace(request_, dsn=certctl_database))
        assert [seed.rows_changed for seed in stack.seeds] == [204, 10_000, 5_000, 15_000, 202, 1]

    def test_that_is_not_marked_is_seeded_when_told(
        self, request_: StackRequest, certctl_database: str
    ) -> None:
        comment_on(certctl_database, "production")
        stack = opened(replace(request_, dsn=certctl_database, allow_seed=True))
        assert stack.seeds[1].rows_changed == 10_000
        comment_on(certctl_database, "production")
        again = opened(replace(request_, dsn=certctl_database))
        assert [seed.rows_changed for seed in again.seeds] == [0] * 6, "seeded already"

    def test_of_a_stranger_is_refused(self, request_: StackRequest) -> None:
        with pytest.raises(ConfigurationError, match=r"db.example.com .*--certload-allow-host"):
            opened(replace(request_, dsn="postgresql://u:p@db.example.com/certctl"))

    def test_whose_password_is_wrong(self, running: Stack, request_: StackRequest) -> None:
        dsn = str(running.dsn).replace("certload:", "certload:not", 1)
        with pytest.raises(StackError, match=r"refuses the user or the password .*--certload-dsn"):
            opened(replace(request_, dsn=dsn))


class TestTheToken:
    @pytest.mark.parametrize(
        ("token", "message"),
        [
            (None, r"No token was given, and that is refused by .* \(401\); .*--certload-token"),
            ("wrong", r"The token is refused by .* \(401\); .*--certload-token"),
            (READER, r"may do too little on .*: it lacks agent.heartbeat, .*cert.issue.*:admin"),
        ],
    )
    def test_that_is_not_enough(
        self, request_: StackRequest, token: str | None, message: str
    ) -> None:
        with pytest.raises(StackError, match=message) as caught:
            opened(replace(request_, token=token))
        assert READER not in str(caught.value)

    def test_whose_rights_are_told_in_another_way(self, request_: StackRequest) -> None:
        product = replace(PRODUCT, permissions=lambda document: document["none"])
        with (
            pytest.raises(StackError, match=r"answers JSON without what it must hold \('none'\)"),
            open_stack(request_, product, announce=lambda _: None),
        ):
            pass


class TestTheAddress:
    def test_is_needed(self, request_: StackRequest) -> None:
        with pytest.raises(ConfigurationError, match=r"external needs --certload-base-url"):
            opened(replace(request_, base_url=None))

    def test_of_a_stranger_is_refused(self, request_: StackRequest) -> None:
        with pytest.raises(ConfigurationError, match=r"--certload-allow-host shop.example.com"):
            opened(replace(request_, base_url="https://shop.example.com"))

    def test_with_the_wrong_scheme(self, request_: StackRequest) -> None:
        plain = str(request_.base_url).replace("https:", "http:")
        with pytest.raises(StackError, match=r"cannot be reached|is no certctl server"):
            opened(replace(request_, base_url=plain))
        with pytest.raises(ConfigurationError, match=r"is no http or https URL"):
            opened(replace(request_, base_url="ftp://localhost"))

    def test_where_nobody_listens(self, request_: StackRequest) -> None:
        with pytest.raises(StackError, match=r"cannot be reached .*--certload-base-url"):
            opened(replace(request_, base_url="https://127.0.0.1:1"))

    def test_of_another_product(self, request_: StackRequest) -> None:
        with serving(None) as port, pytest.raises(StackError, match=r"is no certctl server"):
            opened(replace(request_, base_url=f"http://127.0.0.1:{port}", ca_path=None))


@contextmanager
def serving(context: ssl.SSLContext | None) -> Iterator[int]:
    """A server that answers every request with an empty JSON object; gives its port."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    ports: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(ANSWER)
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        async with server:
            await stop.wait()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


class TestTheCertificate:
    @pytest.fixture
    def ca(self, tmp_path: Path) -> tuple[trustme.CA, Path]:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        return authority, tmp_path / "ca.pem"

    def ask(self, port: int, ca_path: Path | None) -> None:
        get(Endpoint(base_url=f"https://127.0.0.1:{port}", ca_path=ca_path), "/")

    def context(self, leaf: trustme.LeafCert) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        return context

    def test_that_is_right(self, ca: tuple[trustme.CA, Path]) -> None:
        with serving(self.context(ca[0].issue_cert("127.0.0.1"))) as port:
            self.ask(port, ca[1])

    def test_of_an_unknown_ca(self, ca: tuple[trustme.CA, Path]) -> None:
        with serving(self.context(ca[0].issue_cert("127.0.0.1"))) as port:
            with pytest.raises(StackError, match=r"does not come from the CAs of this system"):
                self.ask(port, None)

    def test_of_another_ca(self, ca: tuple[trustme.CA, Path], tmp_path: Path) -> None:
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(str(other))
        with serving(self.context(ca[0].issue_cert("127.0.0.1"))) as port:
            with pytest.raises(StackError, match=r"does not come from .*other\.pem.*--certload-ca"):
                self.ask(port, other)

    def test_that_has_expired(self, ca: tuple[trustme.CA, Path]) -> None:
        past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        leaf = ca[0].issue_cert(
            "127.0.0.1", not_before=past - datetime.timedelta(days=1), not_after=past
        )
        with serving(self.context(leaf)) as port:
            with pytest.raises(StackError, match=r"has expired; renew it"):
                self.ask(port, ca[1])

    def test_of_another_name(self, ca: tuple[trustme.CA, Path]) -> None:
        with serving(self.context(ca[0].issue_cert("certctl.test"))) as port:
            with pytest.raises(StackError, match=r"is for another name .*--certload-base-url"):
                self.ask(port, ca[1])

    def test_where_there_is_none(self, ca: tuple[trustme.CA, Path]) -> None:
        with serving(None) as port:
            with pytest.raises(StackError, match=r"write http:// in --certload-base-url"):
                self.ask(port, ca[1])

    @pytest.mark.parametrize(
        "make", [lambda path: None, lambda path: path.write_text("no certificate")]
    )
    def test_ca_file_that_is_none(self, tmp_path: Path, make: Callable[[Path], object]) -> None:
        make(tmp_path / "ca.pem")
        with pytest.raises(ConfigurationError, match=r"--certload-ca .*ca\.pem is not a readable"):
            self.ask(1, tmp_path / "ca.pem")


class TestAuto:
    def test_is_embedded_without_docker_and_says_why(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
        said: list[str] = []
        with open_stack(StackRequest(), PRODUCT, announce=said.append) as stack:
            assert stack.provider == "embedded"
        assert said[0].startswith("stack: embedded (no Docker stack: No Docker daemon answers")

    def test_names_docker_when_neither_can_run(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
        with pytest.raises(CertloadError, match=r"It was chosen because there is no Docker stack"):
            opened(StackRequest(postgres_bin=tmp_path))

    def test_what_is_no_provider(self) -> None:
        with pytest.raises(ConfigurationError, match=r"'k8s' is no stack; choose auto, docker"):
            opened(StackRequest(provider="k8s"))
