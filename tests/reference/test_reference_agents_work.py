"""Agents at work: what a poll claims, what becomes of a CSR, and what is said of a job."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from pytest_certload.database import Database, run_sync

from .agents_at_work import (
    add_agent,
    add_certificate,
    add_job,
    add_target,
    audited,
    key_for,
    leaf_of,
    pick_up,
    row,
    say,
    sign,
    submit,
    versions,
    work,
)

if TYPE_CHECKING:
    from .conftest import Questions, Reply, Server

PENDING = {"type": "Deployment", "status": "Pending"}
YEAR = timedelta(days=365)
VERIFIED = {
    "target_id": "tg",
    "expected_fingerprint": "aa",
    "actual_fingerprint": "aa",
    "verified": True,
}


def refused(reply: Reply, status: int, message: str) -> None:
    document = reply.json()
    assert (reply.status, document["message"]) == (status, message)
    assert document["request_id"] == reply.headers["X-Request-ID"]


class TestWork:
    def test_deployments_are_claimed_once_however_they_are_the_agents(self, server: Server) -> None:
        database = server.database
        agent, other = add_agent(database, "ag-claim"), add_agent(database, "ag-claim-other")
        target = add_target(database, agent, "tg-claim", '{"path": "/etc", "port": 443}')
        certificate = add_certificate(database, "mc-claim", target)
        direct = add_job(
            database, "job-claim-1", certificate, agent_id=agent, target_id=target, **PENDING
        )
        legacy = add_job(database, "job-claim-2", certificate, target_id=target, **PENDING)
        bare = add_job(database, "job-claim-3", certificate, agent_id=agent, **PENDING)
        add_job(database, "job-claim-done", certificate, agent_id=agent, type="Deployment", status="Completed")  # fmt: skip
        add_job(database, "job-claim-other", certificate, agent_id=other, **PENDING)
        common = {"type": "Deployment", "certificate_id": certificate, "status": "Running"}
        place = {
            "target_id": target,
            "target_type": "NGINX",
            "target_config": {"path": "/etc", "port": 443},
        }
        assert work(server, agent) == [
            {"id": direct, **common, **place},
            {"id": bare, **common},
            {"id": legacy, **common, **place},
        ]
        for job in (direct, legacy, bare):
            assert row(database, "jobs", job)["status"] == "Running"
        assert row(database, "jobs", "job-claim-other")["status"] == "Pending"
        assert work(server, agent) == []

    def test_a_csr_is_asked_for_until_it_comes(self, server: Server) -> None:
        database = server.database
        agent = add_agent(database, "ag-asked")
        target = add_target(database, agent, "tg-asked")
        certificate = add_certificate(database, "mc-asked", target)
        add_certificate(database, "mc-asked-elsewhere")
        job = add_job(database, "job-asked", certificate, type="Issuance")
        add_job(database, "job-asked-elsewhere", "mc-asked-elsewhere")
        expected = {
            "id": job,
            "type": "Issuance",
            "certificate_id": certificate,
            "common_name": "mc-asked.example.test",
            "sans": ["mc-asked.example.test", "10.0.0.1"],
            "status": "AwaitingCSR",
        }
        for _ in range(2):
            assert work(server, agent) == [expected]
        assert row(database, "jobs", job)["status"] == "AwaitingCSR"

    def test_of_two_polls_at_once_each_job_comes_in_one(self, server: Server) -> None:
        database = server.database
        agent = add_agent(database, "ag-twins")
        certificate = add_certificate(database, "mc-twins")
        jobs = [
            add_job(database, f"job-twins-{number:03}", certificate, agent_id=agent, **PENDING)
            for number in range(40)
        ]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: work(server, agent), range(8)))
        given = [job["id"] for answer in answers for job in answer]
        assert sorted(given) == jobs

    def test_a_job_that_somebody_else_holds_is_passed_over(self, server: Server) -> None:
        """As by FOR UPDATE SKIP LOCKED: the poll neither waits for it nor hands it out."""
        database = server.database
        agent = add_agent(database, "ag-held")
        certificate = add_certificate(database, "mc-held")
        add_job(database, "job-held", certificate, agent_id=agent, **PENDING)
        free = add_job(database, "job-held-not", certificate, agent_id=agent, **PENDING)

        async def poll_meanwhile() -> Any:
            async with Database.connect(database.dsn) as connection, connection.transaction():
                await connection.fetch("SELECT id FROM jobs WHERE id = 'job-held' FOR UPDATE")
                return work(server, agent)

        assert [job["id"] for job in run_sync(poll_meanwhile())] == [free]
        assert [job["id"] for job in work(server, agent)] == ["job-held"]

    def test_a_retired_agent_is_served_and_an_unknown_one_is_an_error(self, server: Server) -> None:
        agent = add_agent(server.database, "ag-retired-work")
        server.database.execute("UPDATE agents SET retired_at = now() WHERE id = $1", agent)
        assert work(server, agent) == []
        refused(server.get("/api/v1/agents/ag-nobody/work"), 500, "Failed to get pending work")

    def test_who_may_only_read_may_not_poll(self, server: Server) -> None:
        agent = add_agent(server.database, "ag-reader")
        assert server.get(f"/api/v1/agents/{agent}/work", key=server.reader).status == 403
        assert server.ask("POST", f"/api/v1/agents/{agent}/work").status == 405


class TestCsr:
    def renewing(self, database: Questions, name: str, **columns: object) -> str:
        agent = add_agent(database, f"ag-{name}")
        targets = [add_target(database, agent, f"tg-{name}-{number}") for number in range(2)]
        certificate = add_certificate(database, f"mc-{name}", *targets, **columns)
        add_job(database, f"job-{name}", certificate)
        return agent

    def test_it_becomes_the_newest_version_and_deployments(self, server: Server) -> None:
        database = server.database
        agent = self.renewing(database, "whole")
        older = datetime.now(UTC) - timedelta(hours=1)
        add_job(database, "job-whole-older", "mc-whole", created_at=older)
        began = datetime.now(UTC)
        key = sign(server, agent, "mc-whole")

        (version,) = versions(database, "mc-whole")
        leaf = x509.load_pem_x509_certificate(version["pem_chain"].encode())
        assert leaf_of(version["pem_chain"]).point == key.point
        assert version["fingerprint_sha256"] == leaf.fingerprint(hashes.SHA256()).hex()
        assert version["serial_number"] == f"{leaf.serial_number:040x}"
        assert (version["csr_pem"], version["key_algorithm"]) == (key.csr_pem, "ECDSA")
        assert version["key_size"] == 256
        assert version["not_after"] - version["not_before"] == timedelta(days=90)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["mc-whole.example.test"]
        assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]
        issuer = x509.load_pem_x509_certificates(version["pem_chain"].encode())[1]
        public = issuer.public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        assert leaf.signature_hash_algorithm is not None
        public.verify(
            leaf.signature,
            leaf.tbs_certificate_bytes,
            padding.PKCS1v15(),
            leaf.signature_hash_algorithm,
        )

        certificate = row(database, "managed_certificates", "mc-whole")
        assert (certificate["status"], certificate["expires_at"]) == (
            "Active",
            version["not_after"],
        )
        assert certificate["last_renewal_at"] >= began - timedelta(seconds=1)
        # The newest job that waited; an older one goes on waiting.
        assert row(database, "jobs", "job-whole")["status"] == "Completed"
        assert row(database, "jobs", "job-whole-older")["status"] == "AwaitingCSR"
        deployments = database.rows(
            "SELECT * FROM jobs WHERE certificate_id = 'mc-whole' AND type = 'Deployment' "
            "ORDER BY target_id"
        )
        assert [(job["target_id"], job["agent_id"], job["status"]) for job in deployments] == [
            ("tg-whole-0", agent, "Pending"),
            ("tg-whole-1", agent, "Pending"),
        ]
        (notification,) = database.rows(
            "SELECT * FROM notification_events WHERE certificate_id = 'mc-whole'"
        )
        assert (notification["status"], notification["recipient"]) == (
            "sent",
            "owner-001@loadtest.example.test",
        )
        (system,) = audited(database, "renewal_job_completed", "mc-whole")
        (by_agent,) = audited(database, "csr_submitted", "mc-whole")
        assert (system["actor"], system["actor_type"]) == ("system", "System")
        assert (by_agent["actor"], by_agent["actor_type"]) == (agent, "Agent")
        assert json.loads(by_agent["details"])["job_id"] == "job-whole"

    def test_without_a_job_it_is_signed_all_the_same(self, server: Server) -> None:
        database = server.database
        agent = add_agent(database, "ag-adhoc")
        # Whose certificate it is, is not asked.
        add_certificate(database, "mc-adhoc", status="Active")
        keys = [sign(server, agent, "mc-adhoc") for _ in range(2)]
        points = [leaf_of(version["pem_chain"]).point for version in versions(database, "mc-adhoc")]
        assert points == [key.point for key in reversed(keys)]
        assert database.value("SELECT count(*) FROM jobs WHERE certificate_id = 'mc-adhoc'") == 0

    def test_without_a_certificate_it_is_accepted_and_nothing_is_signed(
        self, server: Server
    ) -> None:
        agent = add_agent(server.database, "ag-accepted")
        before = server.database.value("SELECT count(*) FROM certificate_versions")
        reply = submit(server, agent, {"csr_pem": key_for("mc-none").csr_pem})
        assert (reply.status, reply.json()) == (202, {"status": "csr_accepted"})
        assert server.database.value("SELECT count(*) FROM certificate_versions") == before

    def test_an_issuer_that_is_not_there_signs_nothing(self, server: Server) -> None:
        database = server.database
        database.execute(
            "INSERT INTO issuers (id, name, type, enabled) "
            "VALUES ('iss-late', 'late', 'GenericCA', true)"
        )
        agent = self.renewing(database, "late", issuer_id="iss-late")
        body = {"csr_pem": key_for("mc-late").csr_pem, "certificate_id": "mc-late"}
        refused(submit(server, agent, body), 500, "Failed to submit CSR")
        assert row(database, "jobs", "job-late")["status"] == "Failed"
        # And without a job it says that it did.
        sign(server, agent, "mc-late")
        assert versions(database, "mc-late") == []

    def test_a_profile_says_which_keys_and_how_long(self, server: Server) -> None:
        database = server.database
        database.execute(
            "INSERT INTO certificate_profiles (id, name, max_ttl_seconds, allowed_key_algorithms) "
            "VALUES ('prof-short', 'short', 3600, '[{\"algorithm\": \"ECDSA\", \"min_size\": 256}]')"
        )
        agent = self.renewing(database, "short", certificate_profile_id="prof-short")
        builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
        other = builder.sign(ed25519.Ed25519PrivateKey.generate(), None)
        body = {
            "csr_pem": other.public_bytes(Encoding.PEM).decode(),
            "certificate_id": "mc-short",
        }
        refused(submit(server, agent, body), 500, "Failed to submit CSR")
        job = row(database, "jobs", "job-short")
        assert (job["status"], "prof-short" in job["last_error"]) == ("Failed", True)
        sign(server, agent, "mc-short")
        (version,) = versions(database, "mc-short")
        assert version["not_after"] - version["not_before"] == timedelta(hours=1)

    @pytest.mark.parametrize("how", ["no base64", "cut short", "forged"])
    def test_one_that_cannot_be_read_fails_its_job(self, server: Server, how: str) -> None:
        name = how.replace(" ", "-")
        agent = self.renewing(server.database, name)
        pem = key_for(f"mc-{name}").csr_pem
        head, tail = "-----BEGIN CERTIFICATE REQUEST-----\n", "-----END CERTIFICATE REQUEST-----\n"
        # The last octets of a CSR are its signature's.
        body = re.sub(r"(.)(.{7})(=*\n-----END)", lambda m: ("A" if m[1] != "A" else "B") + m[2] + m[3], pem)  # fmt: skip
        bad = {
            "no base64": f"{head}!!!\n{tail}",
            "cut short": f"{pem[:200]}\n{tail}",
            "forged": body,
        }
        assert bad[how] != pem
        reply = submit(server, agent, {"csr_pem": bad[how], "certificate_id": f"mc-{name}"})
        refused(reply, 500, "Failed to submit CSR")
        job = row(server.database, "jobs", f"job-{name}")
        assert job["status"] == "Failed"
        assert job["last_error"]

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"", "Invalid request body"),
            (b"[]", "Invalid request body"),
            (b'{"csr_pem": 1}', "Invalid request body"),
            (b"{}", "csr_pem is required"),
            (b'{"csr_pem": null}', "csr_pem is required"),
            (
                b'{"csr_pem": "-----BEGIN CERTIFICATE-----"}',
                "csr_pem must be a valid PEM-encoded certificate request",
            ),
        ],
    )
    def test_a_body_without_one_is_refused(self, server: Server, body: bytes, message: str) -> None:
        refused(server.ask("POST", "/api/v1/agents/ag-nobody/csr", body=body), 400, message)

    def test_nobodys_certificate_and_nobodys_agent_are_errors(self, server: Server) -> None:
        agent = add_agent(server.database, "ag-nobodys")
        body = {"csr_pem": key_for("mc-nobody").csr_pem, "certificate_id": "mc-nobody"}
        for name in (agent, "ag-nobody"):
            refused(submit(server, name, body), 500, "Failed to submit CSR")


class TestPickUp:
    def test_the_newest_version_is_handed_out(self, server: Server) -> None:
        database = server.database
        agent = add_agent(database, "ag-pick")
        add_certificate(database, "mc-pick")
        sign(server, agent, "mc-pick")
        key = sign(server, agent, "mc-pick")
        chain = pick_up(server, agent, "mc-pick")
        assert chain == versions(database, "mc-pick")[0]["pem_chain"]
        assert leaf_of(chain).point == key.point
        (row_,) = audited(database, "certificate_retrieved", "mc-pick")
        assert (row_["actor"], row_["actor_type"]) == (agent, "Agent")

    def test_what_is_not_there_is_not_found(self, server: Server) -> None:
        agent = add_agent(server.database, "ag-pick-none")
        add_certificate(server.database, "mc-pick-none")
        for path in (f"{agent}/certificates/mc-pick-none", "ag-nobody/certificates/mc-pick-none"):
            reply = server.get(f"/api/v1/agents/{path}")
            refused(reply, 404, "Certificate not found or not ready")


class TestStatus:
    def test_any_text_is_a_state_and_times_stay_as_they_are(self, server: Server) -> None:
        database = server.database
        agent = add_agent(database, "ag-status")
        certificate = add_certificate(database, "mc-status")
        job = add_job(database, "job-status", certificate, agent_id=agent, status="Running")
        before = row(database, "jobs", job)
        reply = say(server, agent, job, {"status": "Done, I say", "error": "disk full"})
        assert (reply.status, reply.json()) == (200, {"status": "updated"})
        changes = {"status": "Done, I say", "last_error": "disk full"}
        assert row(database, "jobs", job) == {**before, **changes}
        # Whose job it is, is not asked.
        assert say(server, "ag-nobody", job, {"status": "Completed"}).status == 200
        assert row(database, "jobs", job) == {**before, "status": "Completed", "last_error": None}
        first, second = audited(database, "job_status_reported", job)
        assert (first["actor"], second["actor"]) == (agent, "ag-nobody")
        assert json.loads(first["details"]) == {"status": "Done, I say", "error": "disk full"}

    def test_what_cannot_be_is_refused(self, server: Server) -> None:
        refused(say(server, "a", "job-nobody", b"["), 400, "Invalid request body")
        refused(say(server, "a", "job-nobody", b'{"status": 1}'), 400, "Invalid request body")
        refused(say(server, "a", "job-nobody", b"{}"), 400, "Status is required")
        reply = say(server, "a", "job-nobody", {"status": "Completed"})
        refused(reply, 500, "Failed to update job status")


class TestVerify:
    def test_it_is_acknowledged_and_nothing_of_it_is_kept(self, server: Server) -> None:
        database = server.database
        certificate = add_certificate(database, "mc-verify")
        job = add_job(database, "job-verify", certificate, status="Completed")
        before = row(database, "jobs", job)
        reply = server.ask("POST", f"/api/v1/jobs/{job}/verify", body=VERIFIED)
        document = reply.json()
        assert (reply.status, reply.content_type) == (200, "application/json")
        assert (document["job_id"], document["verified"]) == (job, True)
        told = datetime.fromisoformat(document["verified_at"])
        assert abs(datetime.now(UTC) - told) < timedelta(minutes=1)
        assert row(database, "jobs", job) == before
        failing = {**VERIFIED, "verified": False, "error": "unreachable"}
        assert server.ask("POST", f"/api/v1/jobs/{job}/verify", body=failing).status == 200
        (good,) = audited(database, "job_verification_success", job)
        (bad,) = audited(database, "job_verification_failed", job)
        assert (good["actor"], good["actor_type"]) == ("agent", "Agent")
        assert json.loads(bad["details"])["error"] == "unreachable"

    def test_what_cannot_be_is_refused(self, server: Server) -> None:
        path = "/api/v1/jobs/job-nobody/verify"
        for name in ("target_id", "expected_fingerprint", "actual_fingerprint"):
            body = {key: value for key, value in VERIFIED.items() if key != name}
            refused(server.ask("POST", path, body=body), 400, f"{name} is required")
        for body in ({**VERIFIED, "verified": "yes"}, {**VERIFIED, "error": 1}):
            refused(server.ask("POST", path, body=body), 400, "Invalid request body")
        reply = server.ask("POST", path, body=VERIFIED)
        refused(reply, 500, "Failed to record verification result: job not found")


@pytest.fixture(scope="module")
def busy(server: Server) -> str:
    """A certificate with jobs of a type of their own, the newest last by number."""
    certificate = add_certificate(server.database, "mc-jobs")
    for number in range(60):
        add_job(
            server.database,
            f"job-list-{number:02}",
            certificate,
            type="Listed",
            status="Even" if number % 2 == 0 else "Odd",
            created_at=datetime.now(UTC) + YEAR + timedelta(seconds=number),
        )
    return certificate


class TestJobs:
    def test_a_page_is_of_fifty_the_newest_first(self, server: Server, busy: str) -> None:
        document = server.get("/api/v1/jobs?type=Listed").json()
        assert {name: document[name] for name in ("total", "page", "per_page")} == {
            "total": 60,
            "page": 1,
            "per_page": 50,
        }
        assert [job["id"] for job in document["data"]] == [
            f"job-list-{number:02}" for number in range(59, 9, -1)
        ]

    def test_pages_and_states_are_asked_for(self, server: Server, busy: str) -> None:
        document = server.get("/api/v1/jobs?type=Listed&status=Odd&page=2&per_page=20").json()
        assert (document["total"], document["page"], document["per_page"]) == (30, 2, 20)
        assert [job["id"] for job in document["data"]] == [
            f"job-list-{number:02}" for number in range(19, 0, -2)
        ]
        # Nothing is null, and what is no number or too large is passed over.
        assert server.get("/api/v1/jobs?status=odd").json()["data"] is None
        for size in ("501", "0", "-1", "x"):
            assert server.get(f"/api/v1/jobs?per_page={size}").json()["per_page"] == 50

    def test_one_is_shown_with_what_it_has(self, server: Server, busy: str) -> None:
        reply = server.get("/api/v1/jobs/job-list-00")
        job = reply.json()
        stored = row(server.database, "jobs", "job-list-00")
        assert datetime.fromisoformat(job.pop("created_at")) == stored["created_at"]
        assert datetime.fromisoformat(job.pop("scheduled_at")) == stored["scheduled_at"]
        assert job == {
            "id": "job-list-00",
            "type": "Listed",
            "certificate_id": busy,
            "status": "Even",
            "attempts": 0,
            "max_attempts": 3,
            "verification_status": "",
        }
        refused(server.get("/api/v1/jobs/job-nobody"), 404, "Job not found")
        assert server.get("/api/v1/jobs/job-list-00", key=server.reader).status == 200
