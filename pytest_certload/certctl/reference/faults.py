"""What can the server be told to do wrong? Every fault, and how often it strikes."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_certload.errors import ConfigurationError

__all__ = ["FAULTS", "Fault", "Strikes", "read_faults"]

_MOST = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        does: What the server does then. N stands for ``every``.
        every: It strikes once in so many, unless another number is asked for; None: each time.
    """

    does: str
    every: int | None = None


def _always(does: str) -> Fault:
    return Fault(does=does)


#: Every fault that can be switched on. They prove the scenarios, not the server.
FAULTS: Mapping[str, Fault] = {
    "forbid-writes": _always(
        "every POST of the API is answered 403, as to a key that may only read"
    ),
    "read-only-key": _always("no key is an administrator's, as if `:admin` had been left out"),
    "error-500": _always("every POST is answered 500"),
    "html-directory": _always("the ACME directory is the dashboard's start page, 200 `text/html`"),
    "bulk-zero": _always("bulk-renew answers 200 and enqueues nothing"),
    "bulk-partial": _always("bulk-renew leaves out the last certificate of a call, and says so"),
    "bulk-lost": _always("bulk-renew acknowledges one job a call that it does not store"),
    "jobs-duplicated": _always("bulk-renew stores two jobs a certificate and acknowledges one"),
    "certificate-lost": _always("a new certificate is answered 201 and not stored"),
    "expiry-unstored": _always(
        "a new certificate is stored with the year 1 as its expiry, whatever was sent"
    ),
    "list-short": _always("a page of certificates lacks its last one"),
    "list-stale": _always("a page of certificates stays as each worker has read it first"),
    "heartbeat-drop": _always("heartbeats are answered 200 and not stored"),
    "heartbeat-wrong-agent": _always(
        "heartbeats are answered 200 and stored in the next agent's row"
    ),
    "no-nonce-header": _always("new-nonce answers without `Replay-Nonce`"),
    "nonce-unstored": _always("new-nonce hands out nonces that are not in the database"),
    "429-shape": _always("the limiter refuses with JSON and without `Retry-After`"),
    "unknown-profile-500": _always("no ACME profile is found, which certctl answers with 500"),
    "work-twice": _always("the work poll hands out deployments and leaves them Pending"),
    "work-lost": _always("the work poll leaves out the last deployment that it has set to Running"),
    "csr-unsigned": _always(
        "a CSR is answered 202 `csr_signed`, its job Completed, and nothing is signed"
    ),
    "csr-other-key": _always("a CSR is signed with another key than its own"),
    "certificate-stale": _always("agents pick up the version before the newest one"),
    "status-lost": _always("what an agent says of its job is answered 200 and not stored"),
    "drain-lost": Fault(
        does="of N jobs that the job processor has claimed, one is not done and stays Running",
        every=50,
    ),
    "drain-twice": Fault(
        does="of N jobs that the job processor has claimed, one is done twice", every=50
    ),
    "drain-slow": _always("the job processor does one job at a time, after a pause of 60 ms"),
    "bulk-other-owner": _always(
        "bulk-renew by an owner renews the oldest certificates, whoever owns them"
    ),
    "limiter-lax": _always("the limiter's buckets fill twice as fast as they should"),
    "renewal-window-late": _always("renewal-info names a window that is a day too late"),
    "acme-nonce-reused": _always("a nonce can be used again as long as it lives"),
    "acme-bad-nonce": Fault(
        does="of N signed requests with a good nonce, one is refused with `badNonce`", every=50
    ),
    "acme-limit-off": _always("accounts may make as many ACME orders as they like"),
    "acme-429-shape": _always("the limits of ACME accounts refuse with JSON that is no problem"),
    "acme-signature-unchecked": _always("signed ACME requests are believed, whoever signed them"),
    "acme-order-lost": _always(
        "a finished ACME order is answered as valid and stays `processing` in the database"
    ),
    "acme-cert-other-key": _always("ACME certificates are those of another key than the request's"),
    "write-lost": Fault(
        does="of N heartbeats, jobs, nonces and certificates each that are acknowledged, one is not "
        "stored",
        every=1000,
    ),
    "audit-missing": Fault(
        does="of N requests, one has its audit row neither written nor missed", every=10
    ),
    "audit-broken": Fault(does="of N audit rows, one is chained to no row before it", every=10),
    "stale-clock": _always(
        "the server's clock is ten minutes behind: in `Date`, and in all that it stores"
    ),
    "tail-latency": Fault(does="of N answers, one takes 3 s longer", every=200),
    "stall": Fault(
        does="each worker stands still for 3 s, once, when N requests have come to it", every=300
    ),
    "reset": Fault(
        does="of N requests, one has its connection reset in place of an answer", every=50
    ),
    "truncated-body": Fault(
        does="of N answers with a body, one ends with the connection in the middle of it", every=50
    ),
    "wrong-length": Fault(
        does="of N answers with a body, one has half its length as `Content-Length`", every=50
    ),
}


def read_faults(text: str, *, name: str) -> Mapping[str, int]:
    """The faults in a text such as ``bulk-zero,write-lost:100``.

    Args:
        text: Names, separated by commas; one that strikes once in N may have its N behind a colon.
        name: Of the variable that it comes from, for messages.

    Returns:
        Each fault that is switched on, and how often it strikes: once in so many, 1: each time.

    Raises:
        ConfigurationError: There is no such fault, or no such N.
    """
    found: dict[str, int] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        fault, colon, number = entry.partition(":")
        if fault not in FAULTS:
            raise ConfigurationError(
                f"{name}={fault}: there is no such fault; there are {', '.join(FAULTS)}"
            )
        every = FAULTS[fault].every
        if colon:
            if every is None:
                raise ConfigurationError(f"{name}={entry}: this fault takes no number")
            if not re.fullmatch(r"[0-9]{1,7}", number) or not 0 < int(number) <= _MOST:
                raise ConfigurationError(
                    f"{name}={entry}: write {fault}:N, N a whole number from 1 to {_MOST:,}"
                )
            every = int(number)
        found[fault] = every or 1
    return found


class Strikes:
    """Says when a fault strikes: once in each N calls, at a random place among them.

    A fixed place would meet the same one of two things that come in turn, and pure chance could
    spare a short run: N calls are met for certain.

    Args:
        faults: Those that are switched on; see ``read_faults``.
        fault: Which one this is about. One that is not switched on never strikes.
    """

    def __init__(self, faults: Mapping[str, int], fault: str) -> None:
        self._every = faults.get(fault, 0)
        self._left = 0
        self._until = 0

    def __call__(self) -> bool:
        """Count one call; whether the fault strikes it."""
        if not self._every:
            return False
        if not self._left:
            self._left = self._every
            self._until = random.randrange(self._every)
        self._left -= 1
        self._until -= 1
        return self._until == -1
