"""What does a scenario ask of certctl? Its seeded fleet, its rules, and its database afterwards."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from pytest_certload.database import SessionDatabase
from pytest_certload.engine.scenario import Iteration
from pytest_certload.errors import ConfigurationError
from pytest_certload.proof.backlog import Backlog
from pytest_certload.proof.preflight import Check
from pytest_certload.proof.sightings import Sightings

from .audit import NOT_AUDITED, AuditRows, acknowledged, at_most
from .checks import checks_of
from .enlarge import enlarge, shrink
from .enrolment import Trial
from .fleet import (
    ACME_PROFILE,
    AGENT_IDS,
    AGENTS,
    API_OWNER,
    CERTIFICATE_IDS,
    CERTIFICATES,
    check_size,
)
from .queue import RenewalQueue
from .renewals import Renewal, renewals
from .work import Work

if TYPE_CHECKING:
    from pytest_certload.session import Load
    from pytest_certload.stack import Stack

__all__ = ["ACME_PROFILE", "AGENTS", "API_OWNER", "CERTIFICATES", "Agent", "Certctl", "share"]


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One agent of the seeded fleet.

    Attributes:
        id: Its id in the path of the API.
        metadata: What it says of itself with each heartbeat: ``version``, ``hostname``, ``os``,
            ``architecture``, ``ip_address``.
    """

    id: str
    metadata: Mapping[str, str]

    def at_version(self, version: str) -> Agent:
        """The same agent, whose version is another one."""
        return replace(self, metadata={**self.metadata, "version": version})


class Response(Protocol):
    """The part of an ``aiohttp.ClientResponse`` that is looked at."""

    @property
    def method(self) -> str:
        """The request's."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, names in any case."""

    async def text(self) -> str:
        """The body."""


class Certctl:
    """The seeded certctl under test.

    Every question opens a connection of its own, outside the server's pool, and closes it; so
    the object belongs to no event loop.
    """

    def __init__(self, dsn: str) -> None:
        #: For questions of a test's own.
        self.database = SessionDatabase(dsn)
        #: The jobs that agents are given.
        self.work = Work(self.database)

    @classmethod
    def of_stack(cls, stack: Stack) -> Certctl:
        """The certctl that a stack runs.

        Raises:
            ConfigurationError: An external stack without a database: the work could not be proven.
        """
        if stack.dsn is None:
            raise ConfigurationError(
                "the scenarios prove their work in certctl's database, and the external stack has "
                "none: set --certload-dsn to the Postgres of the server"
            )
        return cls(stack.dsn)

    def preflight(
        self, kind: str, *, fleet: int | None = None, limited: bool = False
    ) -> Sequence[Check]:
        """The checks before a load, for its option ``preflight``.

        Identity, clocks, schema, one authorised call without effect, the limiter; and of the fleet its
        size and state, or that ACME answers as such. They leave nothing behind that a test counts.

        Args:
            kind: What the load is about: one of ``checks.KINDS``, such as ``agents``.
            fleet: How many agents or certificates there must be; default: all that the seeds make.
            limited: Whether the limiter must be on, as the load is about it; else it must be off.

        Raises:
            ConfigurationError: There is no such kind.
        """
        return checks_of(kind, database=self.database, fleet=fleet, limited=limited)

    # Agents.

    async def now(self) -> datetime:
        """The database's clock, which also stamps nonces."""
        moment: datetime = await self.database.fetchval("SELECT clock_timestamp()")
        return moment

    async def agents(self, expected: int = AGENTS) -> Sequence[Agent]:
        """The seeded fleet, by id, set back to the state of a healthy fleet.

        All agents are Online with a heartbeat of less than 20 s ago: what an earlier scenario left
        behind must not decide this one. (An agent that was Offline keeps its old heartbeat time
        through the first new one.) So one whose first heartbeat comes a minute after the load began
        is not yet two minutes silent, after which the server would set it Offline.

        Args:
            expected: How many there must be.

        Raises:
            PreflightError: There are more or fewer.
        """
        async with self.database.connect() as db:
            await db.execute(
                "UPDATE agents SET status = 'Online', retired_at = NULL, "
                "last_heartbeat_at = now() - random() * interval '20 seconds' WHERE id LIKE $1",
                AGENT_IDS,
            )
            rows = await db.fetch(
                "SELECT id, version, hostname, os, architecture, ip_address "
                "FROM agents WHERE id LIKE $1 ORDER BY id",
                AGENT_IDS,
            )
        check_size("agents", len(rows), expected, "02_agent_fleet.sql")
        return [
            Agent(id=row["id"], metadata={k: v for k, v in row.items() if k != "id"})
            for row in rows
        ]

    async def agents_described_otherwise(self, fleet: Sequence[Agent]) -> int:
        """How many agents' rows differ from the metadata that the agent sends, or are not there."""
        rows = await self.database.fetch(
            "SELECT id, version, hostname, os, architecture, ip_address "
            "FROM agents WHERE id = ANY($1)",
            [agent.id for agent in fleet],
        )
        stored = {row["id"]: {k: v for k, v in row.items() if k != "id"} for row in rows}
        return sum(stored.get(agent.id) != agent.metadata for agent in fleet)

    async def agents_offline(self, ids: Collection[str] | None = None) -> int:
        """How many agents are not Online; of the whole fleet, or of ``ids``."""
        return int(
            await self.database.fetchval(
                "SELECT count(*) FROM agents WHERE id LIKE $1 AND status <> 'Online' "
                "AND ($2::text[] IS NULL OR id = ANY($2))",
                AGENT_IDS,
                None if ids is None else list(ids),
            )
        )

    def heartbeats_seen(self) -> Sightings:
        """Reads when the agents were last seen, three times between two heartbeats of each.

        For ``load.watch(…)`` before the load, and ``result.sightings(…)`` after it.
        """
        return Sightings(
            self.database,
            "SELECT id, last_heartbeat_at FROM agents WHERE id LIKE $1",
            AGENT_IDS,
            every="8s",
            # The server's clock and the database's may each be 2 s off this machine's.
            tolerance="5s",
        )

    # Certificates.

    async def certificates(self, expected: int = CERTIFICATES) -> Sequence[str]:
        """Ids of the seeded certificates, in order, set back to renewable: Active, without jobs.

        On a database that is kept they grow old: those that certctl's own sweep would soon renew are
        given 60 days again.

        Args:
            expected: How many there must be.

        Raises:
            PreflightError: There are more or fewer.
        """
        async with self.database.connect() as db, db.transaction():
            await db.execute("DELETE FROM jobs WHERE certificate_id LIKE $1", CERTIFICATE_IDS)
            await db.execute(
                "UPDATE managed_certificates SET status = 'Active', "
                "expires_at = greatest(expires_at, now() + interval '60 days') "
                "WHERE id LIKE $1 AND (status <> 'Active' OR expires_at < now() + interval '45 days')",
                CERTIFICATE_IDS,
            )
            rows = await db.fetch(
                "SELECT id FROM managed_certificates WHERE id LIKE $1 ORDER BY id", CERTIFICATE_IDS
            )
        check_size("certificates", len(rows), expected, "01_bulk_renewal_certs.sql")
        return [row["id"] for row in rows]

    async def enlarge_fleet(self, size: int) -> int:
        """Make the fleet of certificates larger than the seeds have it; see ``enlarge``.

        Args:
            size: Certificates in all. The page of 50 that is added in front of them is not counted.

        Returns:
            How many rows were written.

        Raises:
            ConfigurationError: The seeds alone make more, or it is too large.
        """
        return await enlarge(self.database, size)

    async def forget_larger_fleet(self) -> None:
        """Remove what ``enlarge_fleet`` has added, on a database that is kept: its page in front, too."""
        await shrink(self.database)

    async def certificates_by_owner(self) -> Mapping[str, Sequence[str]]:
        """The seeded certificates of each owner, by its id: the oldest ones that it has."""
        rows = await self.database.fetch(
            "SELECT owner_id, array_agg(id ORDER BY created_at) AS ids FROM managed_certificates "
            "WHERE id LIKE $1 GROUP BY owner_id ORDER BY owner_id",
            CERTIFICATE_IDS,
        )
        return {row["owner_id"]: row["ids"] for row in rows}

    async def certificates_renewing(self) -> int:
        """How many of the seeded certificates are in the state RenewalInProgress."""
        return int(
            await self.database.fetchval(
                "SELECT count(*) FROM managed_certificates "
                "WHERE id LIKE $1 AND status = 'RenewalInProgress'",
                CERTIFICATE_IDS,
            )
        )

    # The scheduler's queue.

    async def renewal_queue(self, size: int, *, keygen: str = "agent") -> RenewalQueue:
        """Renewal jobs for the scheduler, to be put in when a load begins; see ``RenewalQueue``.

        The certificates are set back to renewable first, as ``certificates`` does it.

        Args:
            size: How many, each of a certificate of its own.
            keygen: Who makes the keys: ``agent`` or ``server``.

        Raises:
            ConfigurationError: There are not so many certificates, or nobody of that name makes keys.
            PreflightError: There are more or fewer certificates than the seeds make.
        """
        queue = RenewalQueue(self.database, size, keygen=keygen)
        await self.certificates()
        # A job done adds one, and is told by it.
        await self.work.forget_versions()
        return queue

    async def forget_entered(self) -> int:
        """Remove the certificates that earlier runs of the API tier entered; returns how many.

        On a database that is kept, each run would list a larger table than the one before, and a month
        later certctl would renew them all.
        """
        done = await self.database.execute(
            "DELETE FROM managed_certificates WHERE owner_id = $1", API_OWNER
        )
        return int(done.rpartition(" ")[2])

    async def certificates_in_all(self) -> int:
        """How many certificates there are, whoever entered them."""
        return int(await self.database.fetchval("SELECT count(*) FROM managed_certificates"))

    async def certificates_expiring_otherwise(self, names: str, expiry: datetime) -> int:
        """How many certificates, by a pattern for LIKE of their names, have another expiry."""
        return int(
            await self.database.fetchval(
                "SELECT count(*) FROM managed_certificates "
                "WHERE name LIKE $1 AND expires_at IS DISTINCT FROM $2",
                names,
                expiry,
            )
        )

    # ACME.

    def acme(self, resource: str) -> str:
        """Path of an ACME resource of the seeded profile, such as ``directory``."""
        return f"/acme/profile/{ACME_PROFILE}/{resource}"

    async def nonces_unused(self, nonces: Collection[str]) -> int:
        """How many of some nonces could still be used."""
        return int(
            await self.database.fetchval(
                "SELECT count(*) FROM acme_nonces WHERE nonce = ANY($1) AND NOT used", list(nonces)
            )
        )

    async def renewals(self) -> Sequence[Renewal]:
        """What renewal-info must say of the seeded certificates that ACME knows.

        Raises:
            PreflightError: There are more or fewer than the seeds make.
        """
        return await renewals(self.database)

    def trial_enrolment(self) -> Trial:
        """The check that a machine can enrol by ACME, and how far; see ``enrolment.Trial``."""
        return Trial(self.acme("directory"), self.database)

    # Audit log.

    def audit_backlog(
        self, load: Load, *, limit: object = None, unaudited: tuple[int, ...] = NOT_AUDITED
    ) -> Backlog:
        """Watches whether each request of a load gets its audit row, and the chain of the rows.

        ``load.watch(certctl.audit_backlog(load))`` before the load, ``result.caught_up()`` after
        it. It counts what is asked on ``iteration.client``; paths that certctl does not audit
        (``/health``, ``/ready``, ``/api/v1/version``) do not belong into such a load.

        Args:
            load: Makes the requests.
            limit: How long after the load the last row may come; default:
                ``--certload-effects-limit``.
            unaudited: Statuses of answers that leave no row; default: 401, and the 429 of the
                limiter. The limits of an ACME account refuse with 429, too, and leave one.
        """
        return Backlog(
            "audit rows",
            self.database,
            AuditRows(),
            wanted=lambda: acknowledged(load.traffic, unaudited),
            most=lambda: at_most(load.traffic, unaudited),
            limit=load.effects_limit if limit is None else limit,
        )

    # Rules.

    async def check_rate_limited(self, iteration: Iteration, response: Response) -> None:
        """Hold the shape of a refusal by the global limiter, if this is one (status 429).

        A plain-text answer with ``Retry-After: 1`` and the body ``{"error":"Rate limit exceeded"}``.
        An answer with any other status is not looked at. A refusal in the right shape is still
        not the status that the scenario expects.
        """
        if response.status != 429:
            return
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        retry_after = response.headers.get("Retry-After")
        body: object = None
        with contextlib.suppress(ValueError):
            body = json.loads(await response.text())
        # The answer to HEAD has none.
        has_its_body = response.method == "HEAD" or body == {"error": "Rate limit exceeded"}
        iteration.check(
            kind == "text/plain" and retry_after == "1" and has_its_body,
            "429 with a wrong shape: the global limiter answers text/plain with Retry-After: 1 "
            'and {"error":"Rate limit exceeded"}',
        )

    async def check_order_limited(self, iteration: Iteration, response: Response) -> str | None:
        """Hold the shape of a refusal by the limits of an ACME account, if this is one (status 429).

        A problem document of type ``rateLimited`` (RFC 8555, 6.6 and 6.7), which says in ``detail`` which
        limit it was. An answer with any other status is not looked at.

        Returns:
            The ``detail``; None when it is no refusal.
        """
        if response.status != 429:
            return None
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        try:
            problem = json.loads(await response.text())
        except ValueError:
            problem = None
        detail = problem.get("detail") if isinstance(problem, dict) else None
        iteration.check(
            kind == "application/problem+json"
            and isinstance(detail, str)
            and problem.get("type") == "urn:ietf:params:acme:error:rateLimited"
            and problem.get("status", 429) == 429,
            "429 with a wrong shape: the limits of an ACME account answer with a problem document of "
            "type rateLimited",
        )
        return str(detail)


def share(items: Sequence[str], number: int, *, of: int) -> Sequence[str]:
    """Part ``number`` of a sequence cut into ``of`` parts, the sizes as even as can be.

    The parts follow one another, hold each item once, and together are the whole.

    Raises:
        IndexError: There is no such part.
    """
    if not 0 <= number < of:
        raise IndexError(f"part {number} of {of}")
    return items[number * len(items) // of : (number + 1) * len(items) // of]
