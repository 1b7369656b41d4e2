"""What an ACME client does with each answer, on a server that says what a test tells it to."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from pytest_certload.acme.client import AcmeClient, Asker, Tally
from pytest_certload.acme.keys import AccountKey
from pytest_certload.acme.resources import Certificate, Directory, Order
from pytest_certload.testing import run_virtual

DIRECTORY = Directory(new_nonce="/nonce", new_account="/account", new_order="/order")
ORDER = {
    "status": "ready",
    "identifiers": [{"type": "dns", "value": "a.test"}],
    "authorizations": ["/authz/1"],
    "finalize": "/finalize",
}
VALID = {**ORDER, "status": "valid", "certificate": "/cert"}
CHALLENGES = [
    {"type": "dns-01", "url": "/challenge/dns", "status": "pending"},
    {"type": "http-01", "url": "/challenge/http", "status": "pending", "token": "t"},
]
AUTHORIZATION = {
    "identifier": {"type": "dns", "value": "a.test"},
    "status": "pending",
    "challenges": CHALLENGES,
}


@dataclass
class Answer:
    """One answer, with what of a response is looked at."""

    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    nonce: str | None = ""

    async def read(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def bad_nonce(nonce: str | None) -> Answer:
    return Answer(400, {"type": "urn:ietf:params:acme:error:badNonce"}, nonce=nonce)


class Server(Asker):
    """Answers as told, in order, and judges as an iteration does."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, Any]] = []
        self.payloads: list[object] = []
        self.declared: list[tuple[int, ...]] = []
        self._nonces = 0

    @property
    def client(self) -> Server:
        return self

    def head(self, url: str) -> AbstractAsyncContextManager[Answer]:
        return self._answer("HEAD", url, Answer())

    def post(
        self, url: str, *, data: bytes, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Answer]:
        assert headers == {"Content-Type": "application/jose+json"}
        document = json.loads(data)
        self.headers.append(json.loads(decoded(document["protected"])))
        payload = decoded(document["payload"])
        self.payloads.append(json.loads(payload) if payload else None)
        return self._answer("POST", url, self.answers.pop(0))

    @asynccontextmanager
    async def _answer(self, method: str, url: str, answer: Answer) -> Any:
        self.asked.append((method, url))
        if answer.nonce == "":
            self._nonces += 1
            answer.nonce = f"nonce-{self._nonces}"
        if answer.nonce is not None:
            answer.headers["Replay-Nonce"] = answer.nonce
        yield answer

    def expect(self, response: Answer, *statuses: int) -> None:
        self.declared.append(statuses)
        assert response.status in statuses, f"{response.status}"

    def check(self, condition: object, message: str) -> None:
        assert condition, message


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def asking(
    server: Server, question: Callable[[AcmeClient], Awaitable[Any]], **options: Any
) -> tuple[Any, Tally]:
    """What a client with an account gets for a question, in virtual time."""
    tally = Tally()
    options.setdefault("account", "/account/1")

    async def ask() -> Any:
        return await question(AcmeClient(server, DIRECTORY, AccountKey(), tally, **options))

    return run_virtual(ask()), tally


def order(**changes: Any) -> Order:
    return Order.of("/order/1", {**ORDER, **changes})


def test_a_new_account_is_asked_for_by_key_and_known_by_its_url() -> None:
    server = Server(Answer(201, {}, {"Location": "/account/9"}), Answer(200, ORDER))

    async def ask(client: AcmeClient) -> Any:
        account = await client.new_account(["mailto:a@b.test"])
        await client.order("/order/1")
        return account

    account, _ = asking(server, ask, account=None)
    assert (account.url, account.created) == ("/account/9", True)
    assert server.payloads[0] == {
        "termsOfServiceAgreed": True,
        "contact": ["mailto:a@b.test"],
    }
    assert "jwk" in server.headers[0]
    assert server.headers[1]["kid"] == "/account/9"
    assert "jwk" not in server.headers[1]


def test_a_key_that_has_an_account_finds_it() -> None:
    server = Server(Answer(200, {}, {"Location": "/account/9"}))
    account, _ = asking(server, lambda client: client.new_account())
    assert not account.created
    assert server.payloads == [{"termsOfServiceAgreed": True}]
    assert "jwk" in server.headers[0], "also when the client knows its URL"


def test_the_nonce_of_an_answer_is_the_next_one() -> None:
    server = Server(Answer(200, ORDER), Answer(200, ORDER))

    async def ask(client: AcmeClient) -> None:
        await client.new_nonce()
        await client.order("/order/1")
        await client.order("/order/1")

    _, tally = asking(server, ask)
    assert server.asked == [("HEAD", "/nonce"), ("POST", "/order/1"), ("POST", "/order/1")]
    assert [header["nonce"] for header in server.headers] == ["nonce-1", "nonce-2"]
    assert (tally.signed, tally.nonces_fetched, tally.bad_nonces) == (2, 1, 0)


def test_a_refused_nonce_is_replaced_by_the_one_that_came_with_the_refusal() -> None:
    server = Server(bad_nonce("fresh"), Answer(200, ORDER))
    _, tally = asking(server, lambda client: client.order("/order/1"))
    assert [header["nonce"] for header in server.headers] == ["nonce-1", "fresh"]
    assert server.asked == [("HEAD", "/nonce"), ("POST", "/order/1"), ("POST", "/order/1")]
    assert server.declared == [(200,), (400,), (200,)]
    assert (tally.signed, tally.nonces_fetched, tally.bad_nonces) == (2, 1, 1)


def test_a_refusal_without_a_nonce_makes_the_client_fetch_one() -> None:
    server = Server(bad_nonce(None), Answer(200, ORDER))
    _, tally = asking(server, lambda client: client.order("/order/1"))
    assert [header["nonce"] for header in server.headers] == ["nonce-1", "nonce-2"]
    assert [method for method, _ in server.asked] == ["HEAD", "POST", "HEAD", "POST"]
    assert (tally.signed, tally.nonces_fetched, tally.bad_nonces) == (2, 2, 1)


def test_a_nonce_that_is_refused_for_ever_is_an_error() -> None:
    server = Server(*(bad_nonce(f"n{number}") for number in range(3)))
    with pytest.raises(AssertionError, match="400"):
        asking(server, lambda client: client.order("/order/1"), retries=2)
    assert len(server.headers) == 3


def test_another_problem_is_not_sent_again() -> None:
    refused = Answer(400, {"type": "urn:ietf:params:acme:error:malformed"})
    server = Server(refused)
    with pytest.raises(AssertionError, match="400"):
        asking(server, lambda client: client.order("/order/1"))
    assert len(server.headers) == 1


def identifiers(*names: str) -> list[dict[str, str]]:
    return [{"type": "dns", "value": name} for name in names]


def test_names_are_ordered() -> None:
    # The server may have them in another order.
    answer = {
        **ORDER,
        "identifiers": identifiers("*.b.test", "a.test"),
        "authorizations": ["/authz/1", "/authz/2"],
    }
    server = Server(Answer(201, answer, {"Location": "/order/7"}))
    made, _ = asking(server, lambda client: client.new_order(["a.test", "*.b.test"]))
    assert (made.url, made.status, made.certificate) == ("/order/7", "ready", None)
    assert server.payloads == [{"identifiers": identifiers("a.test", "*.b.test")}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identifiers": identifiers("b.test")}, "an order is for the names that were asked for"),
        ({"identifiers": []}, "an order is for the names that were asked for"),
    ],
)
def test_an_order_is_what_was_asked_for(changes: dict[str, object], message: str) -> None:
    server = Server(Answer(201, {**ORDER, **changes}, {"Location": "/order/7"}))
    with pytest.raises(AssertionError, match=message):
        asking(server, lambda client: client.new_order(["a.test"]))


@pytest.mark.parametrize("authorized", [None, "test", "a.test"])
def test_what_must_be_proven_is_the_servers_to_decide(authorized: str | None) -> None:
    """Nothing, as it knows these names; a parent of both; one of them, as it knows the other (RFC 9444)."""
    wanted = order(
        identifiers=identifiers("a.test", "b.a.test"),
        authorizations=[] if authorized is None else ["/authz/1"],
    )
    given = {"status": "valid", "identifier": identifiers(str(authorized))[0]}
    server = Server(Answer(200, {**AUTHORIZATION, **given}))
    assert asking(server, lambda client: client.ready(wanted))[0] == wanted


def test_a_challenge_says_what_its_proof_is_made_from() -> None:
    server = Server(Answer(200, AUTHORIZATION))
    found, _ = asking(server, lambda client: client.authorization("/authz/1"))
    assert [challenge.token for challenge in found.challenges] == [None, "t"]


def test_an_authorization_is_for_a_name_of_the_order() -> None:
    other = {**AUTHORIZATION, "status": "valid", "identifier": identifiers("b.test")[0]}
    with pytest.raises(AssertionError, match="the authorizations of an order are for its names"):
        asking(Server(Answer(200, other)), lambda client: client.ready(order()))


def test_of_a_wildcard_the_authorization_is_for_the_name_below_it() -> None:
    server = Server(Answer(200, {**AUTHORIZATION, "status": "valid"}))
    wild = order(identifiers=identifiers("*.a.test"))
    assert asking(server, lambda client: client.ready(wild))[0] == wild


def test_a_valid_authorization_is_read_and_no_more() -> None:
    server = Server(Answer(200, {**AUTHORIZATION, "status": "valid"}))
    ready, _ = asking(server, lambda client: client.ready(order()))
    assert ready == order()
    assert server.asked[1:] == [("POST", "/authz/1")]
    assert server.payloads == [None], "POST-as-GET"


def test_a_pending_authorization_is_asked_for_and_waited_for() -> None:
    server = Server(
        Answer(200, AUTHORIZATION),
        Answer(200, {}),
        Answer(200, AUTHORIZATION, {"Retry-After": "7"}),
        Answer(200, {**AUTHORIZATION, "status": "valid"}),
        Answer(200, {**ORDER, "status": "pending"}),
        Answer(200, ORDER),
    )

    async def ask(client: AcmeClient) -> Any:
        began = asyncio.get_running_loop().time()
        ready = await client.ready(order(status="pending"))
        return ready, asyncio.get_running_loop().time() - began

    (ready, took), tally = asking(server, ask)
    assert ready.status == "ready"
    urls = [url for _, url in server.asked[1:]]
    assert urls == [
        "/authz/1", "/challenge/http", "/authz/1", "/authz/1", "/order/1", "/order/1",
    ]  # fmt: skip
    assert server.payloads == [None, {}, None, None, None, None]
    assert took == pytest.approx(7.05), "as the server asks for, and else shortly"
    assert tally.looks == 2


def test_what_stays_pending_is_an_error() -> None:
    pending = {**AUTHORIZATION, "status": "pending"}
    server = Server(
        Answer(200, pending), Answer(200, {}), *(Answer(200, pending) for _ in range(50))
    )
    with pytest.raises(AssertionError, match="what is pending is over in 5 s"):
        asking(server, lambda client: client.ready(order()), patience=5)


@pytest.mark.parametrize(
    "said",
    ["3600", format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)],
    ids=["seconds", "date"],
)
def test_nobody_waits_longer_than_their_patience(said: str) -> None:
    pending = Answer(200, {**AUTHORIZATION, "status": "pending"}, {"Retry-After": said})
    server = Server(Answer(200, AUTHORIZATION), Answer(200, {}), pending, pending, pending)

    async def ask(client: AcmeClient) -> float:
        began = asyncio.get_running_loop().time()
        with pytest.raises(AssertionError, match="what is pending is over in 5 s"):
            await client.ready(order())
        return asyncio.get_running_loop().time() - began

    assert asking(server, ask, patience=5)[0] == pytest.approx(5)


@pytest.mark.parametrize(
    "said", ["soon", format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)]
)
def test_a_time_to_come_back_that_is_none_or_past_is_left_to_the_client(said: str) -> None:
    pending = Answer(200, {**AUTHORIZATION, "status": "pending"}, {"Retry-After": said})
    valid = Answer(200, {**AUTHORIZATION, "status": "valid"})
    server = Server(Answer(200, AUTHORIZATION), Answer(200, {}), pending, valid)

    async def ask(client: AcmeClient) -> float:
        began = asyncio.get_running_loop().time()
        await client.ready(order())
        return asyncio.get_running_loop().time() - began

    assert asking(server, ask)[0] == pytest.approx(0.05)


def test_an_authorization_that_is_refused_is_an_error() -> None:
    server = Server(Answer(200, {**AUTHORIZATION, "status": "invalid"}))
    with pytest.raises(AssertionError, match="is valid, not invalid"):
        asking(server, lambda client: client.ready(order()))


def test_an_order_is_finalized_and_its_certificate_fetched() -> None:
    chain = Answer(200, b"PEM", {"Content-Type": "application/pem-certificate-chain"})
    server = Server(Answer(200, VALID), chain)

    async def ask(client: AcmeClient) -> Certificate:
        return await client.certificate(await client.finalize(order(), b"\xff\x00"))

    assert asking(server, ask)[0] == Certificate(url="/cert", chain=b"PEM")
    assert server.payloads == [{"csr": "_wA"}, None]
    assert server.asked[1:] == [("POST", "/finalize"), ("POST", "/cert")]


def test_an_order_that_is_being_processed_is_waited_for() -> None:
    processing = {**ORDER, "status": "processing"}
    server = Server(Answer(200, processing), Answer(200, processing), Answer(200, VALID))
    made, tally = asking(server, lambda client: client.finalize(order(), b""))
    assert made.certificate == "/cert"
    assert [url for _, url in server.asked[1:]] == ["/finalize", "/order/1", "/order/1"]
    assert tally.looks == 2


@pytest.mark.parametrize(
    ("answer", "question", "message"),
    [
        (
            Answer(200, {**ORDER, "status": "invalid"}),
            lambda client: client.finalize(order(), b""),
            "a finalized order is valid, not invalid",
        ),
        (
            Answer(200, {**ORDER, "status": "valid"}),
            lambda client: client.finalize(order(), b""),
            "an order has no certificate",
        ),
        (
            Answer(200, b"PEM", {"Content-Type": "text/plain; charset=utf-8"}),
            lambda client: client.certificate(Order.of("/order/1", VALID)),
            "a certificate comes as application/pem-certificate-chain",
        ),
        (Answer(200, b"<html>"), lambda client: client.order("/order/1"), "an ACME resource is JSON"),
        (Answer(200, []), lambda client: client.order("/order/1"), "an order has no"),
        (
            Answer(201, ORDER),
            lambda client: client.new_order(["a.test"]),
            "an order comes with its Location",
        ),
        (
            Answer(200, ORDER, nonce=None),
            lambda client: client.order("/order/1"),
            "an answer to a signed request brings a Replay-Nonce",
        ),
        (
            Answer(200, ORDER, nonce="a+b="),
            lambda client: client.order("/order/1"),
            "a nonce is base64url without padding",
        ),
        (
            Answer(200, {**AUTHORIZATION, "challenges": []}),
            lambda client: client.ready(order()),
            "a pending authorization has a challenge",
        ),
    ],
    ids=[
        "invalid", "no certificate", "media type", "HTML", "a list", "no Location", "no nonce",
        "nonce", "no challenge",
    ],
)  # fmt: skip
def test_an_answer_that_is_no_good(
    answer: Answer, question: Callable[[AcmeClient], Awaitable[Any]], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        asking(Server(answer), question)


@pytest.mark.parametrize("missing", ["newNonce", "newAccount", "newOrder"])
def test_a_directory_has_its_members(missing: str) -> None:
    members: Sequence[str] = ("newNonce", "newAccount", "newOrder")
    document = {name: f"/{name}" for name in members}
    assert Directory.of(document).new_order == "/newOrder"
    with pytest.raises(ValueError, match=f"the directory has no {missing}"):
        Directory.of({name: url for name, url in document.items() if name != missing})
