"""Is certctl as a scenario needs it? Asked before the load, each answer with its remedy.

The checks leave nothing behind that a scenario counts: nonces are deleted, a heartbeat's time is set
back, and the audit rows of what was asked are waited for.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from pytest_certload.database import Database, SessionDatabase
from pytest_certload.errors import ConfigurationError, PreflightError
from pytest_certload.proof.preflight import Check, Preflight

from .fleet import (
    ACME_PROFILE,
    AGENT_IDS,
    AGENTS,
    API_OWNER,
    CERTIFICATE_IDS,
    CERTIFICATES,
    TARGET_IDS,
    TARGETS,
    check_size,
)
from .product import PRODUCT

__all__ = ["DIRECTORY_KEYS", "KINDS", "CertctlChecks"]

#: What a load can be about.
KINDS: Mapping[str, str] = {
    "agents": "heartbeats",
    "certificates": "renewals",
    "inventory": "certificates that are entered and listed",
    "acme": "ACME without signatures",
    "work": "what agents are given to do",
    "deployment": "certificates on their way to their targets",
    "enrolment": "ACME with signatures",
    "scheduler": "jobs that it does, and heartbeats beside it",
}

#: What an ACME directory holds (RFC 8555, 7.1.1; renewalInfo: RFC 9773).
DIRECTORY_KEYS = frozenset(
    {"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo"}
)
#: A certificate that no seed makes.
NOBODY = "cert-loadtest-nobody"

_LIMITER = (
    "the limiter is on, and counts a load generator as one address: run certctl with "
    "CERTCTL_RATE_LIMIT_ENABLED=false"
)
_DASHBOARD = (
    "this is the dashboard's start page, which answers in place of ACME: run certctl with an empty "
    "directory mounted over /app/web/dist"
)
_CLOCK = "synchronise the clocks of the machines (NTP)"

#: The limiter's defaults: a bucket of 100 requests, refilled with 50 a second.
_BUCKET = 100
_REFILL = 50
_BURST = 150
_MOST_REQUESTS = 4 * _BURST
_SPARE = 10
#: An HTTP date is whole seconds, a heartbeat's time waits for its turn.
_CLOCK_SECONDS = 2.0
_WRITE_SECONDS = 5.0
_AUDIT_SECONDS = 5.0
_POLL_SECONDS = 0.01

# An agent whose poll claims nothing, and how many certificates wait for its CSR.
_IDLE = """
SELECT id, (
    SELECT count(*) FROM jobs WHERE status = 'AwaitingCSR' AND type IN ('Renewal', 'Issuance')
        AND certificate_id IN (
        SELECT certificate_id FROM certificate_target_mappings
        JOIN deployment_targets ON deployment_targets.id = target_id
        WHERE deployment_targets.agent_id = agents.id)) AS awaiting
FROM agents WHERE id LIKE $1 AND NOT EXISTS (
    SELECT 1 FROM jobs LEFT JOIN deployment_targets ON deployment_targets.id = target_id
    WHERE jobs.type = 'Deployment' AND jobs.status = 'Pending'
        AND coalesce(jobs.agent_id, deployment_targets.agent_id) = agents.id)
ORDER BY id LIMIT 1
"""
_AUDIT_ROWS = "SELECT count(*) FROM audit_events WHERE resource_type = 'api' AND resource_id = $1"
_AUDIT_COLUMNS = ("id", "actor", "action", "resource_type", "resource_id", "timestamp", "row_hash")
#: What the seeds, the scenarios and their proof ask for.
_SCHEMA: Mapping[str, Mapping[str, Sequence[str]]] = {
    "certificates": {
        "managed_certificates": ("id", "name", "owner_id", "status", "expires_at", "created_at"),
        "jobs": ("id", "type", "certificate_id", "status", "created_at"),
        "audit_events": _AUDIT_COLUMNS,
    },
    "inventory": {
        "managed_certificates": ("id", "name", "owner_id", "status", "expires_at", "created_at"),
        "owners": ("id", "team_id"),
        "audit_events": _AUDIT_COLUMNS,
    },
    "acme": {
        "acme_nonces": ("nonce", "issued_at", "expires_at", "used"),
        "certificate_profiles": ("id", "acme_auth_mode"),
        "audit_events": _AUDIT_COLUMNS,
    },
    "enrolment": {
        "acme_nonces": ("nonce", "issued_at", "expires_at", "used"),
        "certificate_profiles": ("id", "acme_auth_mode"),
        "acme_accounts": ("account_id", "status"),
        "acme_orders": ("order_id", "account_id", "status"),
        "managed_certificates": ("id", "name"),
        "certificate_versions": ("certificate_id", "fingerprint_sha256"),
        "audit_events": _AUDIT_COLUMNS,
    },
    "agents": {
        "agents": (
            "id", "name", "hostname", "status", "last_heartbeat_at", "os", "architecture",
            "ip_address", "version", "retired_at",
        ),
        "audit_events": _AUDIT_COLUMNS,
    },
}  # fmt: skip
_WORK_SCHEMA: Mapping[str, Sequence[str]] = {
    "deployment_targets": ("id", "agent_id", "type", "config"),
    "certificate_target_mappings": ("certificate_id", "target_id"),
    "certificate_versions": (
        "certificate_id", "serial_number", "fingerprint_sha256", "pem_chain", "created_at",
    ),
    "jobs": (
        "id", "type", "certificate_id", "target_id", "agent_id", "status", "scheduled_at",
        "created_at",
    ),
}  # fmt: skip
_SCHEMA = {
    **_SCHEMA,
    "work": {**_SCHEMA["agents"], **_WORK_SCHEMA},
    "deployment": {**_SCHEMA["certificates"], **_WORK_SCHEMA},
}
_SCHEMA = {
    **_SCHEMA,
    "scheduler": {
        **_SCHEMA["agents"],
        "managed_certificates": ("id", "status"),
        "jobs": (
            "id", "type", "certificate_id", "status", "max_attempts", "scheduled_at", "created_at",
        ),
    },
}  # fmt: skip
_METADATA = ("version", "hostname", "os", "architecture", "ip_address")


@dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def kind(self) -> str:
        """Media type of the body."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip()

    def json(self) -> Any:
        """The body; None when it is no JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    def __str__(self) -> str:
        text = " ".join(self.text.split())
        return f"{self.status}{f' {text[:120]!r}' if text else ' without a body'}"


@dataclass(frozen=True, kw_only=True)
class CertctlChecks:
    """The checks before a scenario of one kind.

    Args:
        database: certctl's.
        kind: What the scenario is about: one of ``KINDS``.
        fleet: How many agents or certificates there must be; default: all that the seeds make.
        limited: Whether the limiter must be on; else it must be off.

    Raises:
        ConfigurationError: There is no such kind.
    """

    database: SessionDatabase
    kind: str
    fleet: int | None = None
    limited: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigurationError(
                f"certctl.preflight: {self.kind!r} is none of {', '.join(KINDS)}"
            )

    def all(self) -> list[Check]:
        """All of them, in the order in which one's failure explains the next one's."""
        own: dict[str, list[Check]] = {
            "agents": [self.agents, self.heartbeat],
            "certificates": [self.certificates, self.bulk_renew],
            "scheduler": [self.certificates, self.queue, self.agents, self.heartbeat],
            "inventory": [self.list_certificates, self.enter_certificate],
            "acme": [self.acme],
            "work": [self.agents, self.heartbeat, self.targets, self.poll],
            "deployment": [self.certificates, self.bulk_renew, self.targets, self.poll],
            "enrolment": [self.acme],
        }
        # The limiter's burst would empty the bucket that the others need.
        return [self.identity, self.clock, self.schema, *own[self.kind], self.limiter]

    async def identity(self, preflight: Preflight) -> str:
        """It is certctl, and of which version."""
        answer = await _ask(preflight, "GET", PRODUCT.version_path)
        document = answer.json()
        try:
            if answer.status == 200 and isinstance(document, dict):
                return PRODUCT.identify(document).server
        except KeyError:
            pass
        raise PreflightError(
            f"{preflight.base_url} is no certctl: {PRODUCT.version_path} answers {answer}; correct "
            "--certload-base-url"
        )

    async def clock(self, preflight: Preflight) -> str:
        """Server, database and load generator know the same time."""
        began = time.time()
        answer = await _ask(preflight, "GET", PRODUCT.version_path)
        ended = time.time()
        date = answer.headers.get("Date")
        server = "the server sends no Date"
        if date is not None:
            said = parsedate_to_datetime(date).timestamp()
            # It was cut to a whole second, at some moment between the two.
            off = said - ended if said > ended else min(0.0, said + 1 - began)
            if abs(off) > _CLOCK_SECONDS:
                raise PreflightError(
                    f"the server's clock is {_apart(off)} this machine's (Date: {date}); {_CLOCK}"
                )
            server = "the server's Date agrees"
        async with self.database.connect() as database:
            began = time.time()
            now: datetime = await database.fetchval("SELECT clock_timestamp()")
            half = (time.time() - began) / 2
        off = now.timestamp() - began - half
        if abs(off) - half > _CLOCK_SECONDS:
            raise PreflightError(
                f"the database's clock is {_apart(off)} this machine's (± {half * 1000:.2g} ms); "
                f"{_CLOCK}"
            )
        return f"{server}, the database's clock is {_apart(off)} ours (± {half * 1000:.2g} ms)"

    async def schema(self, _: Preflight) -> str:
        """The database has the tables and columns that the scenario asks."""
        wanted = {
            f"{table}.{column}"
            for table, columns in _SCHEMA[self.kind].items()
            for column in columns
        }
        rows = await self.database.fetch(
            "SELECT table_name || '.' || column_name AS name FROM information_schema.columns "
            "WHERE table_schema = ANY(current_schemas(false)) AND table_name = ANY($1)",
            list(_SCHEMA[self.kind]),
        )
        missing = wanted - {row["name"] for row in rows}
        if missing:
            raise PreflightError(
                f"the database has no {', '.join(sorted(missing))}: it is not migrated, is another "
                "one (--certload-dsn), or certctl's schema is newer than these scenarios"
            )
        return f"{len(_SCHEMA[self.kind])} tables, {len(wanted)} columns"

    async def agents(self, _: Preflight) -> str:
        """The fleet has its size, and every agent is Online."""
        expected = AGENTS if self.fleet is None else self.fleet
        (row,) = await self.database.fetch(
            "SELECT count(*) AS all, count(*) FILTER (WHERE status <> 'Online') AS offline, "
            "count(*) FILTER (WHERE retired_at IS NOT NULL) AS retired "
            "FROM agents WHERE id LIKE $1",
            AGENT_IDS,
        )
        check_size("agents", row["all"], expected, "02_agent_fleet.sql")
        if row["offline"] or row["retired"]:
            raise PreflightError(
                f"of {row['all']:,} agents {row['offline']:,} are not Online and "
                f"{row['retired']:,} are retired; set them back by certctl.agents()"
            )
        return f"{row['all']:,} agents, all Online"

    async def certificates(self, _: Preflight) -> str:
        """The fleet has its size, and every certificate can be renewed."""
        expected = CERTIFICATES if self.fleet is None else self.fleet
        (row,) = await self.database.fetch(
            "SELECT count(*) AS all, count(*) FILTER (WHERE status <> 'Active') AS others, "
            "(SELECT count(*) FROM jobs WHERE certificate_id LIKE $1) AS jobs "
            "FROM managed_certificates WHERE id LIKE $1",
            CERTIFICATE_IDS,
        )
        check_size("certificates", row["all"], expected, "01_bulk_renewal_certs.sql")
        if row["others"] or row["jobs"]:
            raise PreflightError(
                f"of {row['all']:,} certificates {row['others']:,} are not Active, and they have "
                f"{row['jobs']:,} jobs; set them back by certctl.certificates()"
            )
        return f"{row['all']:,} certificates, all Active and without jobs"

    async def targets(self, _: Preflight) -> str:
        """Every agent has its target, and every certificate goes to one."""
        (row,) = await self.database.fetch(
            "SELECT count(*) AS all, count(DISTINCT agent_id) AS agents, "
            "(SELECT count(*) FROM certificate_target_mappings "
            "WHERE certificate_id LIKE $2 AND target_id LIKE $1) AS mappings "
            "FROM deployment_targets WHERE id LIKE $1 AND enabled AND retired_at IS NULL",
            TARGET_IDS,
            CERTIFICATE_IDS,
        )
        check_size("targets", row["all"], self.fleet or TARGETS, "03_targets.sql")
        certificates = self.fleet or CERTIFICATES
        if row["agents"] != row["all"] or row["mappings"] != certificates:
            raise PreflightError(
                f"{row['all']:,} targets are of {row['agents']:,} agents and take "
                f"{row['mappings']:,} certificates, instead of one agent each and "
                f"{certificates:,} in all: the seed file 03_targets.sql is missing from the seed "
                "folder (--certload-seed), or is another one"
            )
        return f"{row['all']:,} targets, one for each agent, take {row['mappings']:,} certificates"

    async def poll(self, preflight: Preflight) -> str:
        """The token may poll for work: as an agent whose poll claims nothing."""
        rows = await self.database.fetch(_IDLE, AGENT_IDS)
        if not rows:
            raise PreflightError(
                "every agent of the fleet has Pending deployments, so that no poll is without "
                "effect; leave some agents without"
            )
        (agent,) = rows
        path = f"/api/v1/agents/{agent['id']}/work"
        answer = await self._ask(preflight, "GET", path)
        document = answer.json()
        if answer.status != 200 or not isinstance(document, dict):
            raise _unexpected("GET", path, answer)
        if document.get("count") != agent["awaiting"]:
            raise PreflightError(
                f"GET {path} answers {document.get('count')} jobs and the database has "
                f"{agent['awaiting']} that wait for that agent's CSR: the server does something "
                "else than certctl, or asks another database (--certload-dsn)"
            )
        return (
            f"the token may; {agent['id']} is given {agent['awaiting']} jobs, as the database has"
        )

    async def queue(self, _: Preflight) -> str:
        """No job waits for the scheduler, and none is being done."""
        rows = await self.database.fetch(
            "SELECT status, count(*) AS jobs FROM jobs WHERE status IN ('Pending', 'Running') "
            "GROUP BY 1 ORDER BY 1"
        )
        if rows:
            found = " and ".join(f"{row['jobs']:,} {row['status']}" for row in rows)
            raise PreflightError(
                f"the scheduler's queue is not empty, {found}: wait until they are done, or delete them"
            )
        return "no job waits for the scheduler"

    async def bulk_renew(self, preflight: Preflight) -> str:
        """The token may renew: asked with a certificate that nobody has."""
        path = "/api/v1/certificates/bulk-renew"
        answer = await self._ask(preflight, "POST", path, json={"certificate_ids": [NOBODY]})
        document = answer.json()
        if answer.status != 200 or not isinstance(document, dict):
            raise _unexpected("POST", path, answer)
        if document.get("total_matched") != 0 or document.get("total_enqueued") != 0:
            raise PreflightError(
                f"a renewal of {NOBODY}, a certificate that nobody has, is answered {answer}: "
                "nothing may be matched or enqueued; the server does something else than certctl"
            )
        return "the token may renew; a certificate that nobody has matches nothing"

    async def list_certificates(self, preflight: Preflight) -> str:
        """The token may read, and the list counts what is in the database."""
        path = "/api/v1/certificates"
        answer = await self._ask(preflight, "GET", f"{path}?per_page=1", audited=path)
        document = answer.json()
        if answer.status != 200 or not isinstance(document, dict):
            raise _unexpected("GET", path, answer)
        there = await self.database.fetchval("SELECT count(*) FROM managed_certificates")
        if document.get("total") != there:
            raise PreflightError(
                f"GET {path} counts {document.get('total')} certificates and the database has "
                f"{there}: the server reads another database (--certload-dsn), or is at work"
            )
        return f"{there:,} certificates, and the list counts them"

    async def enter_certificate(self, preflight: Preflight) -> str:
        """The token may enter certificates: asked without one, so that none is; and its owner is there."""
        path = "/api/v1/certificates"
        answer = await self._ask(preflight, "POST", path, json={}, audited=path)
        if answer.status != 400 or answer.kind != "application/json":
            raise _unexpected("POST", path, answer)
        owners = await self.database.fetchval(
            "SELECT count(*) FROM owners WHERE id = $1", API_OWNER
        )
        check_size("owners of what is entered", owners, 1, "05_api_owner.sql")
        return "the token may enter certificates; without a name it is refused"

    async def heartbeat(self, preflight: Preflight) -> str:
        """The token may send heartbeats: one is sent as an agent's, found, and taken back."""
        async with self.database.connect() as database:
            rows = await database.fetch(
                f"SELECT id, {', '.join(_METADATA)}, last_heartbeat_at, clock_timestamp() AS now "
                "FROM agents WHERE id LIKE $1 AND status = 'Online' ORDER BY id LIMIT 1",
                AGENT_IDS,
            )
            if not rows:
                raise PreflightError(
                    "no agent of the fleet is Online; call certctl.agents() before"
                )
            (agent,) = rows
            path = f"/api/v1/agents/{agent['id']}/heartbeat"
            metadata = {name: agent[name] for name in _METADATA}
            answer = await self._ask(preflight, "POST", path, json=metadata)
            if answer.status != 200 or answer.json() != {"status": "heartbeat_recorded"}:
                raise _unexpected("POST", path, answer)
            return await _take_back(database, agent)

    async def acme(self, preflight: Preflight) -> str:
        """ACME is there: its directory is JSON, and the seeded profile's nonces are stored."""
        base = f"/acme/profile/{ACME_PROFILE}"
        directory = await self._ask(preflight, "GET", f"{base}/directory")
        if directory.kind == "text/html":
            raise PreflightError(f"GET {base}/directory answers HTML: {_DASHBOARD}")
        if directory.status != 200:
            there = await self.database.fetchval(
                "SELECT count(*) FROM certificate_profiles WHERE id = $1", ACME_PROFILE
            )
            raise PreflightError(
                f"GET {base}/directory answers {directory} instead of 200; the profile "
                f"{ACME_PROFILE} is {'' if there else 'not '}in the database: "
                + (
                    "look into the server's log"
                    if there
                    else "the seed file 00_base.sql brings it (--certload-seed)"
                )
            )
        document = directory.json()
        missing = DIRECTORY_KEYS - set(document if isinstance(document, dict) else ())
        if directory.kind != "application/json" or missing:
            raise PreflightError(
                f"GET {base}/directory answers {directory.kind} without "
                f"{', '.join(sorted(missing)) or 'the type of JSON'}; it is no ACME directory as the "
                "scenario needs it: check CERTCTL_ACME_SERVER_* of the server"
            )
        fresh = await self._ask(preflight, "HEAD", f"{base}/new-nonce")
        if fresh.status != 200:
            raise _unexpected("HEAD", f"{base}/new-nonce", fresh)
        nonces = [answer.headers.get("Replay-Nonce") for answer in (directory, fresh)]
        if None in nonces:
            name = "directory" if nonces[0] is None else "new-nonce"
            raise PreflightError(
                f"{base}/{name} answers without Replay-Nonce; whatever stands before the server "
                "must not take it out"
            )
        deleted = await self.database.execute(
            "DELETE FROM acme_nonces WHERE nonce = ANY($1)", nonces
        )
        if deleted != "DELETE 2":
            raise PreflightError(
                "directory and new-nonce handed out two nonces and the database has "
                f"{deleted.split()[-1]} of them: the server does not store them, or stores them in "
                "another database (--certload-dsn)"
            )
        return "the directory is JSON, nonces are handed out and stored"

    async def limiter(self, preflight: Preflight) -> str:
        """So many requests at once are let through as the limiter's bucket would not hold.

        They come without a token: the limiter counts them all the same, and the refusal after it
        costs the server no query and no audit row.
        """
        path = PRODUCT.authorised_path
        rows = await self._audit_rows(path)
        began = time.monotonic()
        statuses: list[int] = []
        seconds = 0.0
        while len(statuses) < _MOST_REQUESTS and len(statuses) <= _let_through(seconds):
            statuses += await asyncio.gather(*(_status(preflight, path) for _ in range(_BURST)))
            seconds = time.monotonic() - began
        refused = statuses.count(429)
        if self.limited:
            await self._settle(path, rows + len(statuses) - statuses.count(401) - refused)
            if not refused:
                raise PreflightError(
                    f"of {len(statuses)} requests at once none is refused: the limiter is off, and the "
                    "scenario is about it; run certctl with CERTCTL_RATE_LIMIT_ENABLED=true"
                )
            return f"{refused} of {len(statuses)} requests at once are refused"
        if refused:
            raise PreflightError(
                f"{refused} of {len(statuses)} requests at once are refused with 429: {_LIMITER}"
            )
        await self._settle(path, rows + len(statuses) - statuses.count(401))
        found = f"{len(statuses)} requests in {seconds:.2g} s, none refused"
        if len(statuses) <= _let_through(seconds):
            return f"{found}; answered too slowly to tell a limiter of {_REFILL} a second"
        return found

    async def _ask(
        self, preflight: Preflight, method: str, path: str, *, audited: str = "", **options: Any
    ) -> _Answer:
        """Ask, and wait for the audit row: it is written after the answer, and is not the load's.

        Args:
            preflight: Makes the request.
            method: Its method.
            path: Its path.
            audited: The path without query, of an answer that leaves an audit row whatever its status;
                default: an answer below 300 leaves one.
            **options: Its other parts.
        """
        rows = await self._audit_rows(audited or path)
        answer = await _ask(preflight, method, path, **options)
        if (audited or answer.status < 300) and answer.kind != "text/html":
            await self._settle(audited or path, rows + 1)
        return answer

    async def _audit_rows(self, path: str) -> int:
        return int(await self.database.fetchval(_AUDIT_ROWS, path))

    async def _settle(self, path: str, rows: int) -> None:
        deadline = time.monotonic() + _AUDIT_SECONDS
        async with self.database.connect() as database:
            while await database.fetchval(_AUDIT_ROWS, path) < rows:
                if time.monotonic() > deadline:
                    raise PreflightError(
                        f"{path} was answered and its audit row is not there after "
                        f"{_AUDIT_SECONDS:g} s: the server does not write its audit log, or writes "
                        "it to another database (--certload-dsn)"
                    )
                await asyncio.sleep(_POLL_SECONDS)


def _let_through(seconds: float) -> float:
    """How many requests certctl's own limiter would let through, with a little to spare."""
    return _BUCKET + _REFILL * seconds + _SPARE


async def _take_back(database: Database, agent: Mapping[str, Any]) -> str:
    """Find the heartbeat of an agent in its row, and set the row back."""
    (row,) = await database.fetch(
        "SELECT last_heartbeat_at AS written, clock_timestamp() AS now FROM agents WHERE id = $1",
        agent["id"],
    )
    written: datetime = row["written"]
    if written == agent["last_heartbeat_at"]:
        raise PreflightError(
            f"the heartbeat of {agent['id']} was acknowledged and is not in the database: the server "
            "does not store it, or stores it in another database (--certload-dsn)"
        )
    await database.execute(
        "UPDATE agents SET last_heartbeat_at = $2 WHERE id = $1",
        agent["id"],
        agent["last_heartbeat_at"],
    )
    slack = timedelta(seconds=_WRITE_SECONDS)
    if not agent["now"] - slack <= written <= row["now"] + slack:
        off = (written - row["now"]).total_seconds()
        raise PreflightError(
            f"the server wrote {written.astimezone(UTC):%H:%M:%S} UTC as the time of a heartbeat, "
            f"{_apart(off)} the database's clock; {_CLOCK}"
        )
    return f"the token may; the heartbeat of {agent['id']} was stored with the right time"


async def _ask(preflight: Preflight, method: str, path: str, **options: Any) -> _Answer:
    async with preflight.client.request(method, path, **options) as response:
        text = await response.text(errors="replace")
        answer = _Answer(status=response.status, headers=response.headers, text=text)
    if answer.status == 429:
        raise PreflightError(f"{method} {path} is refused with 429: {_LIMITER}")
    if answer.status in (401, 403):
        why = "is not known" if answer.status == 401 else "may not do that"
        raise PreflightError(
            f"{method} {path} is answered {answer.status}: the token {why}. {PRODUCT.token_help}"
        )
    return answer


async def _status(preflight: Preflight, path: str) -> int:
    async with preflight.client.get(path, headers={"Authorization": ""}) as response:
        await response.read()
        status: int = response.status
        return status


def _unexpected(method: str, path: str, answer: _Answer) -> PreflightError:
    if answer.kind == "text/html":
        return PreflightError(
            f"{method} {path} answers HTML: the server is no certctl; correct --certload-base-url"
        )
    return PreflightError(
        f"{method} {path} answers {answer} instead of what certctl does; look into the server's log"
    )


def _apart(seconds: float) -> str:
    size = abs(seconds)
    length = f"{size * 1000:.2g} ms" if size < 1 else f"{size:,.1f} s"
    return f"{length} {'behind' if seconds < 0 else 'ahead of'}"
