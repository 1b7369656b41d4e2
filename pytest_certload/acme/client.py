"""How does one client speak with the server? Signed requests, each with a nonce, some sent again.

PYTEST_DONT_REWRITE: this is the hot path.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

from pytest_certload.units import Duration

from .jws import CONTENT_TYPE, signed
from .keys import AccountKey, base64url
from .resources import Account, Authorization, Certificate, Directory, Order, problem_type

__all__ = ["PEM_CHAIN", "AcmeClient", "Asker", "Tally", "read_directory"]

#: Of a certificate with its chain (RFC 8555, 9.1).
PEM_CHAIN = "application/pem-certificate-chain"

_HEADERS = {"Content-Type": CONTENT_TYPE}
#: RFC 8555, 6.5.1.
_NONCE = re.compile(r"[A-Za-z0-9_-]+")
#: Pauses between two looks at what is pending, seconds, when the server asks for none.
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0

_Pending = TypeVar("_Pending", Order, Authorization)


class Asker(Protocol):
    """Makes the requests and judges the answers: an ``Iteration``, or what a test takes for one."""

    @property
    def client(self) -> Any:
        """Does what an ``aiohttp.ClientSession`` does."""

    def expect(self, response: Any, *statuses: int) -> None:
        """Raise when the response has none of the statuses."""

    def check(self, condition: object, message: str) -> None:
        """Raise when the condition does not hold."""


@dataclass
class Tally:
    """What clients did, counted together.

    Attributes:
        signed: Requests that were signed.
        signing_ns: CPU time that this took, nanoseconds.
        bad_nonces: Requests that were refused as ``badNonce``.
        nonces_fetched: Nonces that were asked for by themselves.
        looks: How often something was still pending and had to be looked at again.
    """

    signed: int = 0
    signing_ns: int = 0
    bad_nonces: int = 0
    nonces_fetched: int = 0
    looks: int = 0

    def signing_of_each(self, clients: int) -> Duration:
        """CPU time of all signatures of one client, on average over so many."""
        return Duration(round(self.signing_ns / max(1, clients)))


@dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int
    kind: str
    location: str | None
    retry_after: str | None
    body: bytes


class AcmeClient:
    """One ACME client: a key, its account, and its nonces (RFC 8555).

    It asks one thing after the other, and belongs to one iteration or one VU. A nonce that comes with
    an answer is used for the next request. A request that is refused as ``badNonce`` is signed again
    with the nonce that came with the refusal, or else a new one (6.5), and counted.

    What is wrong with an answer the asker's ``expect`` and ``check`` raise.

    Args:
        asker: The iteration.
        directory: The server's.
        key: The account's.
        tally: Counts.
        account: The account's URL, if the key has one already.
        retries: How often a request that is refused as ``badNonce`` is sent again.
        patience: How long something may stay pending, seconds.
    """

    def __init__(
        self,
        asker: Asker,
        directory: Directory,
        key: AccountKey,
        tally: Tally,
        *,
        account: str | None = None,
        retries: int = 3,
        patience: float = 30.0,
    ) -> None:
        self._asker = asker
        self._directory = directory
        self._key = key
        self._tally = tally
        self._account = account
        self._retries = retries
        self._patience = patience
        self._nonces: list[str] = []

    async def new_nonce(self) -> None:
        """Fetch a nonce for the next request (7.2)."""
        self._tally.nonces_fetched += 1
        async with self._asker.client.head(self._directory.new_nonce) as response:
            self._asker.expect(response, 200)
            nonce = response.headers.get("Replay-Nonce")
        self._asker.check(nonce, "a nonce: Replay-Nonce is there")
        self._keep(nonce)

    async def new_account(self, contact: Sequence[str] = ()) -> Account:
        """Make the key's account, or find it (7.3).

        Args:
            contact: URLs such as ``mailto:…``.
        """
        payload: dict[str, object] = {"termsOfServiceAgreed": True}
        if contact:
            payload["contact"] = list(contact)
        answer = await self._post(self._directory.new_account, payload, 201, 200, by_key=True)
        self._account = self._location(answer, "an account")
        return Account(url=self._account, created=answer.status == 201)

    async def new_order(self, names: Sequence[str]) -> Order:
        """Ask for a certificate for DNS names (7.4)."""
        payload = {"identifiers": [{"type": "dns", "value": name} for name in names]}
        answer = await self._post(self._directory.new_order, payload, 201)
        order = self._order_of(self._location(answer, "an order"), answer)
        self._asker.check(
            sorted(order.names) == sorted(names), "an order is for the names that were asked for"
        )
        return order

    async def order(self, url: str) -> Order:
        """Read an order (7.4)."""
        return (await self._read_order(url))[0]

    async def authorization(self, url: str) -> Authorization:
        """Read an authorization (7.5)."""
        return (await self._read_authorization(url))[0]

    async def ready(self, order: Order) -> Order:
        """Get the authorizations of an order, and the order as it is then: ready (7.5).

        Which ones there are is the server's to decide (7.1.3): one for several names, for a parent of one, or
        none. One that is pending is asked for by its challenge ``http-01``, or else by its first. What the
        server then looks for must be there before (``authorization``, ``Challenge.token`` and
        ``AccountKey.thumbprint`` say what that is), or it must be a server that does not look.
        """
        names = [f".{name.removeprefix('*.')}" for name in order.names]
        for url in order.authorizations:
            authorized = await self._authorize(url)
            self._asker.check(
                any(name.endswith(f".{authorized}") for name in names),
                "the authorizations of an order are for its names",
            )
        if order.status == "pending":
            order = await self._settled(self._read_order, order.url, "pending")
        self._asker.check(
            order.status == "ready", f"an authorized order is ready, not {order.status}"
        )
        return order

    async def finalize(self, order: Order, csr: bytes) -> Order:
        """Send the CSR, and get the order as it is then: valid (7.4).

        Args:
            order: A ready one.
            csr: PKCS #10, DER.
        """
        answer = await self._post(order.finalize, {"csr": base64url(csr)}, 200)
        order = self._order_of(order.url, answer)
        if order.status == "processing":
            order = await self._settled(self._read_order, order.url, "processing", answer)
        self._asker.check(
            order.status == "valid", f"a finalized order is valid, not {order.status}"
        )
        return order

    async def certificate(self, order: Order) -> Certificate:
        """Fetch the certificate of a valid order (7.4.2)."""
        url = order.certificate
        self._asker.check(url, "a valid order has a certificate")
        assert url is not None
        answer = await self._post(url, None, 200)
        self._asker.check(answer.kind == PEM_CHAIN, f"a certificate comes as {PEM_CHAIN}")
        return Certificate(url=url, chain=answer.body)

    async def _authorize(self, url: str) -> str:
        """Get an authorization, and return the name that it is for."""
        found = await self.authorization(url)
        if found.status == "pending":
            self._asker.check(found.challenges, "a pending authorization has a challenge")
            by_type = {challenge.type: challenge for challenge in found.challenges}
            challenge = by_type.get("http-01", found.challenges[0])
            if challenge.status == "pending":
                await self._post(challenge.url, {}, 200)
            found = await self._settled(self._read_authorization, url, "pending")
        self._asker.check(
            found.status == "valid",
            f"an authorization that was asked for is valid, not {found.status}",
        )
        return found.name

    async def _read_order(self, url: str) -> tuple[Order, _Answer]:
        answer = await self._post(url, None, 200)
        return self._order_of(url, answer), answer

    async def _read_authorization(self, url: str) -> tuple[Authorization, _Answer]:
        answer = await self._post(url, None, 200)
        return self._parsed(Authorization.of, answer), answer

    async def _settled(
        self,
        read: Callable[[str], Awaitable[tuple[_Pending, _Answer]]],
        url: str,
        pending: str,
        answer: _Answer | None = None,
    ) -> _Pending:
        """Look again and again until the status is another one, as often as the server asks for."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        pause = _FIRST_PAUSE
        while True:
            if answer is not None:
                left = max(0.0, deadline - loop.time())
                await asyncio.sleep(min(_asked_pause(answer) or pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._tally.looks += 1
            found, answer = await read(url)
            if found.status != pending:
                return found
            self._asker.check(
                loop.time() < deadline, f"what is {pending} is over in {self._patience:g} s"
            )

    async def _post(
        self, url: str, payload: object, *statuses: int, by_key: bool = False
    ) -> _Answer:
        """A signed request, sent again as long as its nonce is refused."""
        asker = self._asker
        sent = 0
        while True:
            if not self._nonces:
                await self.new_nonce()
            body = self._signed(url, payload, by_key)
            sent += 1
            async with asker.client.post(url, data=body, headers=_HEADERS) as response:
                answer = _Answer(
                    status=response.status,
                    kind=response.headers.get("Content-Type", "").partition(";")[0].strip(),
                    location=response.headers.get("Location"),
                    retry_after=response.headers.get("Retry-After"),
                    body=await response.read(),
                )
                nonce = response.headers.get("Replay-Nonce")
                if nonce is not None:
                    self._keep(nonce)
                if not _is_bad_nonce(answer):
                    asker.expect(response, *statuses)
                    asker.check(nonce, "an answer to a signed request brings a Replay-Nonce")
                    return answer
                self._tally.bad_nonces += 1
                # Declared, as it is no error of this client's: unless it is refused for ever.
                asker.expect(response, *((400,) if sent <= self._retries else statuses))

    def _signed(self, url: str, payload: object, by_key: bool) -> bytes:
        began = time.thread_time_ns()
        body = signed(
            self._key,
            url=url,
            # The latest: after a refusal, the one that came with it.
            nonce=self._nonces.pop(),
            payload=payload,
            kid=None if by_key else self._account,
        )
        self._tally.signing_ns += time.thread_time_ns() - began
        self._tally.signed += 1
        return body

    def _keep(self, nonce: str) -> None:
        self._asker.check(_NONCE.fullmatch(nonce), "a nonce is base64url without padding")
        self._nonces.append(nonce)

    def _location(self, answer: _Answer, what: str) -> str:
        self._asker.check(answer.location, f"{what} comes with its Location")
        assert answer.location is not None
        return answer.location

    def _order_of(self, url: str, answer: _Answer) -> Order:
        return self._parsed(lambda document: Order.of(url, document), answer)

    def _parsed(self, parse: Callable[[object], _Pending], answer: _Answer) -> _Pending:
        try:
            return parse(json.loads(answer.body))
        except json.JSONDecodeError:
            message = "an ACME resource is JSON"
        except ValueError as error:
            message = str(error)
        self._asker.check(False, message)
        raise AssertionError(message)


async def read_directory(asker: Asker, response: Any) -> Directory:
    """The directory in an answer to ``GET directory``, which must be one: else the asker's checks raise."""
    asker.expect(response, 200)
    document = None
    try:
        document = json.loads(await response.text())
    except ValueError:
        asker.check(False, "the directory is JSON")
    try:
        return Directory.of(document)
    except ValueError as error:
        message = str(error)
    asker.check(False, message)
    raise AssertionError(message)


def _is_bad_nonce(answer: _Answer) -> bool:
    if answer.status != 400:
        return False
    try:
        return problem_type(json.loads(answer.body)) == "badNonce"
    except ValueError:
        return False


def _asked_pause(answer: _Answer) -> float | None:
    """Seconds of ``Retry-After``, which may be a date (RFC 9110, 10.2.3); None when there is none."""
    text = answer.retry_after
    if text is None or text.isdecimal():
        return None if text is None else float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
