"""The job processor: what it claims, in which order, and what becomes of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pytest_certload.certctl.reference.processor import JobProcessor
from pytest_certload.testing import run_virtual

from .conftest import ROOT

if TYPE_CHECKING:
    from .conftest import Bench, Questions, Server

EVERY_SECOND = {"CERTCTL_SCHEDULER_JOB_PROCESSOR_INTERVAL": "1s"}


def seeded(bench: Bench, certificates: int) -> Questions:
    """A database with certificates ``c-1`` …, each deployed to ``target`` of ``agent``."""
    database = bench.migrated()
    database.execute((ROOT / "seed" / "00_base.sql").read_text("utf-8"))
    database.execute(
        "INSERT INTO managed_certificates (id, name, common_name, sans, environment, owner_id,"
        " team_id, issuer_id, renewal_policy_id, status, expires_at)"
        " SELECT 'c-' || n, 'c-' || n, n || '.example.test', ARRAY[n || '.example.test'], 'test',"
        " 'o-loadtest-001', 't-loadtest', 'iss-local', 'rp-loadtest', 'Active', now() + interval"
        " '60 days' FROM generate_series(1, $1::int) AS n",
        certificates,
    )
    database.execute(
        "INSERT INTO agents (id, name, hostname, status, api_key_hash, last_heartbeat_at)"
        " VALUES ('agent', 'agent', 'host', 'Online', '', now())"
    )
    database.execute(
        "INSERT INTO deployment_targets (id, name, type, agent_id, source)"
        " VALUES ('target', 'target', 'NGINX', 'agent', 'env')"
    )
    database.execute(
        "INSERT INTO certificate_target_mappings SELECT id, 'target' FROM managed_certificates"
    )
    return database


def add_job(
    database: Questions,
    name: str,
    certificate: str | None,
    kind: str = "Renewal",
    **columns: object,
) -> str:
    values: dict[str, object] = {"target_id": None, "agent_id": None, **columns}
    database.execute(
        "INSERT INTO jobs (id, type, certificate_id, target_id, agent_id, status, scheduled_at)"
        " VALUES ($1, $2, $3, $4, $5, 'Pending', clock_timestamp())",
        name,
        kind,
        certificate,
        values["target_id"],
        values["agent_id"],
    )
    return name


def states(database: Questions) -> dict[str, str]:
    return {row["id"]: row["status"] for row in database.rows("SELECT id, status FROM jobs")}


def notes(database: Questions, action: str) -> list[Any]:
    return database.rows(
        "SELECT *, details->>'job_id' AS job FROM audit_events WHERE action = $1 ORDER BY timestamp",
        action,
    )


@pytest.fixture(scope="module")
def busy(bench: Bench) -> Iterator[Server]:
    database = seeded(bench, 20)
    for number in range(1, 6):
        add_job(database, f"early-{number}", f"c-{number}")
    with bench.serving(database, **EVERY_SECOND, CERTCTL_SCHEDULER_JOB_CLAIM_LIMIT="2") as server:
        yield server


def test_a_tick_comes_at_the_start_and_at_the_interval() -> None:
    moments: list[float] = []

    class Ticking(JobProcessor):
        async def tick(self) -> None:
            moments.append(asyncio.get_running_loop().time())

    config: Any = SimpleNamespace(
        processor_seconds=1.0, claim_limit=2, renewal_concurrency=1, faults={}
    )
    nobody: Any = None

    async def run() -> None:
        task = asyncio.create_task(Ticking(config, nobody, nobody, nobody).run())
        await asyncio.sleep(60)
        task.cancel()
        await asyncio.wait([task])

    run_virtual(run())
    apart = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert len(apart) > 50
    # A tenth earlier or later.
    assert 0.89 < min(apart) < max(apart) < 1.11


class TestWhereAgentsMakeKeys:
    def test_a_tick_takes_so_many_the_oldest_first_and_one_comes_at_the_start(
        self, bench: Bench, busy: Server
    ) -> None:
        wanted = dict.fromkeys((f"early-{number}" for number in range(1, 6)), "AwaitingCSR")
        bench.eventually(lambda: states(busy.database), lambda found: found == wanted)
        done = bench.eventually(
            lambda: notes(busy.database, "renewal_awaiting_csr"), lambda found: len(found) == 5
        )
        ticks = [{row["job"] for row in done[begin : begin + 2]} for begin in (0, 2, 4)]
        assert ticks == [{"early-1", "early-2"}, {"early-3", "early-4"}, {"early-5"}]

    def test_what_is_written(self, bench: Bench, busy: Server) -> None:
        add_job(busy.database, "one", "c-11", "Issuance")
        bench.eventually(lambda: states(busy.database)["one"], lambda s: s == "AwaitingCSR")
        (row,) = bench.eventually(
            lambda: [r for r in notes(busy.database, "renewal_awaiting_csr") if r["job"] == "one"]
        )
        assert (row["actor"], row["actor_type"]) == ("system", "System")
        assert (row["resource_type"], row["resource_id"]) == ("certificate", "c-11")
        assert busy.database.value("SELECT details->>'keygen_mode' FROM audit_events LIMIT 1")
        certificate = busy.database.rows("SELECT * FROM managed_certificates WHERE id = 'c-11'")[0]
        assert certificate["status"] == "RenewalInProgress"
        assert certificate["updated_at"] > certificate["created_at"]
        (job,) = busy.database.rows("SELECT * FROM jobs WHERE id = 'one'")
        assert (job["attempts"], job["started_at"], job["completed_at"]) == (0, None, None)

    def test_what_nobody_does_stays_running(self, bench: Bench, busy: Server) -> None:
        add_job(busy.database, "agents", "c-12", "Deployment", agent_id="agent")
        add_job(busy.database, "handed", "c-12", "Deployment", target_id="target")
        add_job(busy.database, "unknown", "c-12", "Validation")
        names = ("agents", "handed", "unknown")
        bench.eventually(
            lambda: {states(busy.database)[name] for name in names},
            lambda found: found == {"Running"},
        )
        (row,) = bench.eventually(lambda: notes(busy.database, "deployment_job_dispatched"))
        assert row["job"] == "handed"

    def test_what_cannot_be_done_fails_with_its_reason(self, bench: Bench, busy: Server) -> None:
        database = busy.database
        database.execute(
            "INSERT INTO issuers (id, name, type, enabled, source)"
            " VALUES ('iss-late', 'late', 'GenericCA', true, 'env')"
        )
        database.execute("UPDATE managed_certificates SET issuer_id = 'iss-late' WHERE id = 'c-13'")
        add_job(database, "late", "c-13")
        add_job(database, "nowhere", "c-14", "Deployment")
        database.execute(
            "INSERT INTO agents (id, name, hostname, status, api_key_hash, last_heartbeat_at)"
            " VALUES ('silent', 'silent', 'host', 'Online', '', now() - interval '6 minutes')"
        )
        database.execute(
            "INSERT INTO deployment_targets (id, name, type, agent_id, source)"
            " VALUES ('silent', 'silent', 'NGINX', 'silent', 'env')"
        )
        add_job(database, "silent", "c-15", "Deployment", target_id="silent")
        names = ("late", "nowhere", "silent")
        bench.eventually(
            lambda: {states(database)[name] for name in names}, lambda found: found == {"Failed"}
        )
        errors = database.column(
            "SELECT last_error FROM jobs WHERE id = ANY($1) ORDER BY id", list(names)
        )
        assert errors == [
            "there is no issuer iss-late", "there is no such target or agent", "agent offline"
        ]  # fmt: skip
        told = bench.eventually(
            lambda: database.rows("SELECT * FROM notification_events WHERE status = 'sent'")
        )
        assert [(row["type"], row["certificate_id"]) for row in told] == [
            ("DeploymentFailure", "c-15")
        ]

    def test_a_row_that_cannot_be_read_stops_it(self, bench: Bench, busy: Server) -> None:
        add_job(busy.database, "nobodys", None)
        add_job(busy.database, "behind", "c-16")
        bench.eventually(lambda: "nothing is claimed: nobodys has no" in busy.child.log())
        assert states(busy.database)["behind"] == "Pending"
        busy.database.execute("DELETE FROM jobs WHERE id = 'nobodys'")
        bench.eventually(lambda: states(busy.database)["behind"], lambda s: s == "AwaitingCSR")


class TestWhereTheServerMakesKeys:
    def test_the_certificate_is_issued(self, bench: Bench) -> None:
        database = seeded(bench, 3)
        add_job(database, "job", "c-1")
        with bench.serving(
            database, **EVERY_SECOND, CERTCTL_KEYGEN_MODE="server", CERTCTL_DEMO_MODE_ACK="true"
        ):
            bench.eventually(lambda: states(database).get("job"), lambda s: s == "Completed")
            # Deployments are for agents, and the next tick takes them all the same.
            bench.eventually(
                lambda: database.column("SELECT status FROM jobs WHERE type = 'Deployment'"),
                lambda found: found == ["Running"],
            )
        (version,) = database.rows("SELECT * FROM certificate_versions")
        leaf, authority = x509.load_pem_x509_certificates(version["pem_chain"].encode())
        leaf.verify_directly_issued_by(authority)
        key = load_pem_private_key(version["csr_pem"].encode(), None)
        assert key.public_key() == leaf.public_key()
        assert (version["key_algorithm"], version["key_size"]) == ("RSA", 2048)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["1.example.test"]
        (certificate,) = database.rows("SELECT * FROM managed_certificates WHERE id = 'c-1'")
        assert certificate["status"] == "Active"
        assert certificate["expires_at"] == leaf.not_valid_after_utc
        assert certificate["last_renewal_at"] is not None
        (deployment,) = database.rows("SELECT * FROM jobs WHERE type = 'Deployment'")
        assert (deployment["target_id"], deployment["agent_id"]) == ("target", "agent")
        (note,) = notes(database, "renewal_job_completed")
        assert note["job"] == "job"
        (told,) = database.rows("SELECT * FROM notification_events")
        assert (told["type"], told["status"]) == ("RenewalSuccess", "sent")
        assert told["recipient"] == "owner-001@loadtest.example.test"


class TestFaults:
    def test_a_slow_processor_leaves_ticks_out_and_does_no_job_twice(self, bench: Bench) -> None:
        database = seeded(bench, 30)
        for number in range(1, 31):
            add_job(database, f"job-{number}", f"c-{number}")
        with bench.serving(
            database, **EVERY_SECOND, CERTLOAD_REFERENCE_FAULTS="drain-slow"
        ) as server:
            bench.eventually(
                lambda: set(states(database).values()), lambda found: found == {"AwaitingCSR"}
            )
            assert "a tick is left out" in server.child.log()
            # A note comes after what it tells of.
            done = bench.eventually(
                lambda: notes(database, "renewal_awaiting_csr"), lambda found: len(found) >= 30
            )
        assert len({row["job"] for row in done}) == len(done) == 30
        took = (done[-1]["timestamp"] - done[0]["timestamp"]).total_seconds()
        assert took > 30 * 0.06 * 0.9

    def test_jobs_are_lost_and_done_twice(self, bench: Bench) -> None:
        database = seeded(bench, 20)
        for number in range(1, 21):
            add_job(database, f"job-{number}", f"c-{number}")
        faults = "drain-lost:10,drain-twice:10"
        with bench.serving(database, **EVERY_SECOND, CERTLOAD_REFERENCE_FAULTS=faults):
            bench.eventually(
                lambda: [row["job"] for row in notes(database, "renewal_awaiting_csr")],
                lambda found: len(set(found)) == 18 and len(found) > 18,
            )
            # A second one may still be done again.
            bench.eventually(
                lambda: sorted(states(database).values()),
                lambda found: found == ["AwaitingCSR"] * 18 + ["Running"] * 2,
            )
        assert len(notes(database, "renewal_awaiting_csr")) <= 20
