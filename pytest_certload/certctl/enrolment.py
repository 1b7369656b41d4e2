"""Can a machine enrol by ACME here, from first to last? And what must then be in the database."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from pytest_certload.acme.certificates import Trust, fingerprint
from pytest_certload.acme.client import AcmeClient, Tally, read_directory
from pytest_certload.acme.enrolments import Enrolment, Enrolments, new_enrolment
from pytest_certload.acme.jws import CONTENT_TYPE, signed
from pytest_certload.acme.keys import AccountKey
from pytest_certload.acme.resources import Account, Certificate, Directory, Order, problem_type
from pytest_certload.database import SessionDatabase
from pytest_certload.errors import PreflightError
from pytest_certload.proof.preflight import Preflight

__all__ = ["ACCOUNTS", "ORDERS", "Trial", "accounts_of", "last_part", "new_machines", "order_key"]

_DOMAIN = "acme.loadtest.example.test"

#: Accounts, and orders with their certificates, of some accounts; one key a row. By account and not by
#: time, so that no clock has a say. A certificate is found by the name that certctl makes of its
#: order, not by what the order says of itself.
ACCOUNTS = "SELECT account_id FROM acme_accounts WHERE account_id = ANY($1) AND status = 'valid'"
ORDERS = (
    "SELECT o.order_id || ' of ' || o.account_id || ' for '"
    " || (SELECT string_agg(i->>'value', ' ' ORDER BY i->>'value')"
    " FROM jsonb_array_elements(o.identifiers) AS i) || ': ' || o.status"
    " || coalesce(', ' || c.id, '') || coalesce(' ' || v.fingerprint_sha256, '')"
    " FROM acme_orders o LEFT JOIN managed_certificates c ON c.name = 'acme-' || o.order_id"
    " LEFT JOIN certificate_versions v ON v.certificate_id = c.id WHERE o.account_id = ANY($1)"
)


# What a finalize that fails leaves behind.
_LEFT = (
    "SELECT status, (SELECT count(*) FROM managed_certificates WHERE name = 'acme-' || order_id)"
    " AS certificates FROM acme_orders WHERE order_id = $1"
)


def new_machines(count: int) -> Enrolments:
    """So many machines that have no account yet, each with keys, a CSR and a name of its own."""
    return Enrolments(count, lambda number: [f"host-{number}.{_DOMAIN}"])


def accounts_of(fleet: Iterable[Enrolment]) -> list[str]:
    """The ids that certctl gives to the accounts of machines: made of their keys."""
    return [f"acme-acc-{machine.key.thumbprint}" for machine in fleet]


def order_key(account: Account, order: Order, certificate: Certificate | None = None) -> str:
    """What ``ORDERS`` must say of an order, and of the certificate if there is to be one."""
    names = " ".join(sorted(order.names))
    key = f"{last_part(order.url)} of {last_part(account.url)} for {names}: {order.status}"
    if certificate is None:
        return key
    try:
        found = fingerprint(certificate.chain)
    except ValueError:
        found = "of what is no certificate"
    return f"{key}, {last_part(certificate.url)} {found}"


def last_part(url: str) -> str:
    """The id at the end of the URL of an account, an order or a certificate."""
    return url.rpartition("/")[2]


def _path(url: str) -> str:
    return urlsplit(url).path


class Trial:
    """The check that one machine can enrol, and how far; it is one of its own.

    certctl itself cannot finish an order: it stores the certificate without an owner, which its schema
    refuses, and answers finalize with 500. Such a server passes up to the order that is ready, and the
    run is marked as reduced. Account, order and certificate stay in the database.

    Attributes:
        finalizes: Whether orders can be finished; True as long as the check was not made.
        chain: The certificate that came, with its chain; None if none did.

    A request that another key signed, and one with a nonce that was used, must be refused: a server
    that does not look would be quicker than an honest one.

    Args:
        directory: Path of the directory.
        database: certctl's.
    """

    __name__ = "enrolment"

    def __init__(self, directory: str, database: SessionDatabase) -> None:
        self.finalizes = True
        self.chain: bytes | None = None
        self._directory = directory
        self._database = database

    async def __call__(self, preflight: Preflight) -> str:
        """Enrol one machine.

        Raises:
            PreflightError: It does not come as far as an order that is ready, or gets a wrong certificate.
        """
        began = time.perf_counter()
        asker = _Asker(preflight.client)
        machine = new_enrolment([f"trial.{_DOMAIN}"])
        directory = await self._found(asker)
        acme = AcmeClient(asker, directory, machine.key, Tally())
        account = await acme.new_account()
        await self._refused(asker, directory, machine.key, account)
        order = ready = await acme.ready(await acme.new_order(machine.names))
        try:
            order = await acme.finalize(order, machine.csr)
        except _Unexpected as error:
            if error.status != 500 or error.path != _path(ready.finalize):
                raise
            await self._be_the_known_defect(ready)
            self.finalizes = False
            preflight.reduce("up to the order that is ready, as finalize is answered 500")
            return "an order becomes ready, and finalize is answered 500: measured up to there"
        chain = (await acme.certificate(order)).chain
        try:
            fault = Trust.first_seen(chain).fault(chain, machine)
        except ValueError as error:
            fault = str(error)
        if fault is not None:
            raise PreflightError(
                f"a machine enrolled and got a wrong certificate: {fault}; look into the server's issuer"
            )
        self.chain = chain
        return (
            f"a machine enrolled in {time.perf_counter() - began:.2g} s; its certificate verifies"
        )

    async def _found(self, asker: _Asker) -> Directory:
        async with asker.client.get(self._directory) as response:
            return await read_directory(asker, response)

    async def _refused(
        self, asker: _Asker, directory: Directory, key: AccountKey, account: Account
    ) -> None:
        """See a wrong signature and a used nonce refused (RFC 8555, 6.2 and 6.5)."""

        async def ask(signer: AccountKey, nonce: str) -> tuple[int, str | None]:
            body = signed(signer, url=account.url, nonce=nonce, payload={}, kid=account.url)
            headers = {"Content-Type": CONTENT_TYPE}
            async with asker.client.post(account.url, data=body, headers=headers) as response:
                try:
                    document = json.loads(await response.text())
                except ValueError:
                    document = None
                return response.status, problem_type(document)

        status, problem = await ask(AccountKey(), await self._nonce(asker, directory))
        asker.check(
            400 <= status < 500 and problem in ("unauthorized", "malformed"),
            "a request that another key has signed is refused as unauthorized (RFC 8555, 6.2), not "
            f"answered {status} {problem or ''}".rstrip(),
        )
        nonce = await self._nonce(asker, directory)
        first = await ask(key, nonce)
        asker.check(
            first[0] == 200,
            f"the account is there for who signs with its key, not answered {first[0]}",
        )
        status, problem = await ask(key, nonce)
        asker.check(
            (status, problem) == (400, "badNonce"),
            "a nonce that was used is refused as badNonce (RFC 8555, 6.5), not answered "
            f"{status} {problem or ''}".rstrip(),
        )

    async def _nonce(self, asker: _Asker, directory: Directory) -> str:
        async with asker.client.head(directory.new_nonce) as response:
            asker.expect(response, 200)
            nonce = response.headers.get("Replay-Nonce")
        asker.check(nonce, "a nonce: Replay-Nonce is there")
        return str(nonce)

    async def _be_the_known_defect(self, order: Order) -> None:
        """Make sure that finalize failed as certctl's does, and for no other reason.

        Raises:
            PreflightError: It has not left the order as certctl does.
        """
        rows = await self._database.fetch(_LEFT, last_part(order.url))
        left = "it is not there" if not rows else f"it is {rows[0]['status']}"
        if not rows or rows[0]["status"] != "processing" or rows[0]["certificates"]:
            raise PreflightError(
                f"finalize is answered 500, and not as by certctl, which leaves its order processing and "
                f"without a certificate: {left}"
                f"{', with one' if rows and rows[0]['certificates'] else ''}; look into the server's log"
            )


class _Unexpected(PreflightError):
    """An answer has another status than the protocol says."""

    def __init__(self, response: Any, statuses: Sequence[int]) -> None:
        super().__init__(
            f"{response.method} {response.url} is answered {response.status} instead of "
            f"{' or '.join(map(str, statuses))}: no machine can enrol; look into the server's log"
        )
        self.status: int = response.status
        self.path = _path(str(response.url))


class _Asker:
    """What an ``AcmeClient`` asks with before a load."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def expect(self, response: Any, *statuses: int) -> None:
        if response.status not in statuses:
            raise _Unexpected(response, statuses)

    def check(self, condition: object, message: str) -> None:
        if not condition:
            raise PreflightError(
                f"a machine cannot enrol, as this does not hold: {message}; look into the server's log"
            )
