"""Bulk renewal: which certificates it finds, what it writes, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Bench, Questions, Server

JSON = "application/json"
EARLY = datetime(2026, 1, 1, tzinfo=UTC)
IN_TIME = datetime(2030, 1, 1, tzinfo=UTC)
PAGE = 50
NOTHING = {"total_matched": 0, "total_enqueued": 0, "total_skipped": 0, "total_failed": 0}


def add_certificate(database: Questions, name: str, **columns: object) -> str:
    values = {
        "id": name,
        "name": name,
        "common_name": f"{name}.example.test",
        "environment": "test",
        "owner_id": "o-loadtest-001",
        "team_id": "t-loadtest",
        "issuer_id": "iss-local",
        "renewal_policy_id": "rp-loadtest",
        "status": "Active",
        "expires_at": IN_TIME,
        "created_at": EARLY,
        "updated_at": EARLY,
        **columns,
    }
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    database.execute(
        f"INSERT INTO managed_certificates ({', '.join(values)}) VALUES ({places})",
        *values.values(),
    )
    return name


def add_owner(database: Questions, name: str) -> str:
    database.execute(
        "INSERT INTO owners (id, name, email, team_id) VALUES ($1::text, $1::text, $1::text, 't-loadtest')",
        name,
    )
    return name


def renew(server: Server, body: Mapping[str, object]) -> dict[str, Any]:
    reply = server.renew(body)
    assert (reply.status, reply.content_type) == (200, JSON), reply.body
    document: dict[str, Any] = reply.json()
    return document


def enqueued(document: Mapping[str, Any]) -> list[str]:
    return [job["certificate_id"] for job in document["enqueued_jobs"]]


def jobs(database: Questions, *certificates: str) -> list[Mapping[str, Any]]:
    return database.rows(
        "SELECT * FROM jobs WHERE certificate_id = ANY($1) ORDER BY certificate_id",
        list(certificates),
    )


def certificate(database: Questions, name: str) -> Mapping[str, Any]:
    return database.rows("SELECT * FROM managed_certificates WHERE id = $1", name)[0]


def test_by_ids_each_certificate_is_flipped_and_gets_a_job(server: Server) -> None:
    database = server.database
    names = [add_certificate(database, f"mc-ids-{number}") for number in range(3)]
    untouched = add_certificate(database, "mc-ids-untouched")
    document = renew(server, {"certificate_ids": names})
    assert document == {
        **NOTHING,
        "total_matched": 3,
        "total_enqueued": 3,
        "enqueued_jobs": document["enqueued_jobs"],
    }
    stored = jobs(database, *names, untouched)
    assert [(row["certificate_id"], row["id"]) for row in stored] == [
        (job["certificate_id"], job["job_id"]) for job in document["enqueued_jobs"]
    ]
    assert enqueued(document) == names
    for row in stored:
        assert row["id"].startswith("job-")
        assert abs(datetime.now(UTC) - row["created_at"]) < timedelta(minutes=1)
        assert row["scheduled_at"] == row["created_at"]
        expected = {"type": "Renewal", "status": "AwaitingCSR", "attempts": 0, "max_attempts": 3}
        assert {column: row[column] for column in expected} == expected
        empty = ("target_id", "agent_id", "last_error", "started_at", "completed_at")
        assert all(row[column] is None for column in empty)
    for name in names:
        row = certificate(database, name)
        assert (row["status"], row["updated_at"]) == ("RenewalInProgress", EARLY)
        assert (row["tags"], row["sans"], row["expires_at"]) == ("{}", [], IN_TIME)
    assert certificate(database, untouched)["status"] == "Active"


def test_more_than_a_page_can_be_renewed_by_ids(server: Server) -> None:
    names = [f"mc-many-{number:03}" for number in range(PAGE + 5)]
    server.database.execute(
        "INSERT INTO managed_certificates (id, name, common_name, environment, owner_id, team_id,"
        " issuer_id, renewal_policy_id, status, expires_at) SELECT name, name, name, 'test',"
        " 'o-loadtest-001', 't-loadtest', 'iss-local', 'rp-loadtest', 'Active', $2"
        " FROM unnest($1::text[]) AS name",
        names,
        IN_TIME,
    )
    assert enqueued(renew(server, {"certificate_ids": names})) == names


def test_ids_that_nobody_has_are_left_out_without_a_word(server: Server) -> None:
    name = add_certificate(server.database, "mc-known")
    document = renew(server, {"certificate_ids": ["mc-nobody", name, ""]})
    assert (document["total_matched"], enqueued(document)) == (1, [name])
    assert "errors" not in document
    assert renew(server, {"certificate_ids": ["mc-nobody"]}) == NOTHING


def test_fields_that_it_does_not_know_are_ignored(server: Server) -> None:
    name = add_certificate(server.database, "mc-extra")
    body = {"certificate_ids": [name], "tags": {"a": "b"}, "status": "Failed", "owner_id": None}
    assert enqueued(renew(server, body)) == [name]


@pytest.mark.parametrize("status", ["Archived", "Revoked", "Expired", "RenewalInProgress"])
def test_statuses_that_are_skipped(server: Server, status: str) -> None:
    name = add_certificate(server.database, f"mc-skip-{status}", status=status)
    document = renew(server, {"certificate_ids": [name]})
    assert document == {**NOTHING, "total_matched": 1, "total_skipped": 1}
    assert certificate(server.database, name)["status"] == status
    assert not jobs(server.database, name)


@pytest.mark.parametrize("status", ["active", "archived", "Pending", "Failed", "Expiring", "any"])
def test_every_other_status_is_renewed(server: Server, status: str) -> None:
    name = add_certificate(server.database, f"mc-take-{status}", status=status)
    assert enqueued(renew(server, {"certificate_ids": [name]})) == [name]


def set_back(database: Questions) -> None:
    database.execute(
        "UPDATE managed_certificates SET status = 'Active' WHERE owner_id = 'o-criteria'"
    )


class TestCriteria:
    @pytest.fixture(scope="class")
    @staticmethod
    def fleet(server: Server) -> list[str]:
        """More certificates of an owner than a page holds, the youngest first in the table."""
        owner = add_owner(server.database, "o-criteria")
        names = [f"mc-criteria-{number:02}" for number in range(PAGE + 10)]
        for number, name in reversed(list(enumerate(names))):
            created = EARLY + timedelta(days=number)
            add_certificate(server.database, name, owner_id=owner, created_at=created)
        return names

    @pytest.fixture(autouse=True)
    def active(self, server: Server) -> None:
        set_back(server.database)

    def test_they_see_the_fifty_oldest_and_never_more(
        self, server: Server, fleet: list[str]
    ) -> None:
        body = {"owner_id": "o-criteria"}
        first = renew(server, body)
        assert (first["total_matched"], enqueued(first)) == (PAGE, fleet[:PAGE])
        assert renew(server, body) == {**NOTHING, "total_matched": PAGE, "total_skipped": PAGE}

    def test_with_ids_only_those_of_the_fifty_that_are_named(
        self, server: Server, fleet: list[str]
    ) -> None:
        elsewhere = add_certificate(server.database, "mc-elsewhere")
        ids = [fleet[-1], fleet[7], elsewhere, fleet[0]]
        document = renew(server, {"owner_id": "o-criteria", "certificate_ids": ids})
        assert (document["total_matched"], enqueued(document)) == (2, [fleet[0], fleet[7]])

    def test_all_of_them_must_hold(self, server: Server, fleet: list[str]) -> None:
        database = server.database
        for suffix in ("here", "there"):
            database.execute(
                "INSERT INTO agents (id, name, hostname, status, api_key_hash)"
                " VALUES ($1::text, $1::text, 'host', 'Online', '')",
                f"ag-{suffix}",
            )
            database.execute(
                "INSERT INTO deployment_targets (id, name, type, agent_id)"
                " VALUES ($1::text, $1::text, 'nginx', $2)",
                f"target-{suffix}",
                f"ag-{suffix}",
            )
        database.execute(
            "INSERT INTO certificate_target_mappings (certificate_id, target_id)"
            " VALUES ($1, 'target-here'), ($2, 'target-here'), ($2, 'target-there')",
            fleet[3],
            fleet[4],
        )
        database.execute(
            "UPDATE managed_certificates SET certificate_profile_id = 'prof-loadtest'"
            " WHERE id = ANY($1)",
            fleet[4:6],
        )
        every = {"owner_id": "o-criteria", "team_id": "t-loadtest", "issuer_id": "iss-local"}
        assert enqueued(renew(server, {**every, "agent_id": "ag-there"})) == [fleet[4]]
        set_back(server.database)
        assert enqueued(renew(server, {**every, "agent_id": "ag-here"})) == fleet[3:5]
        set_back(server.database)
        assert enqueued(renew(server, {**every, "profile_id": "prof-loadtest"})) == fleet[4:6]
        set_back(server.database)
        both = {**every, "profile_id": "prof-loadtest", "agent_id": "ag-here"}
        assert enqueued(renew(server, both)) == [fleet[4]]
        assert renew(server, {**every, "issuer_id": "iss-other"}) == NOTHING
        assert renew(server, {**every, "team_id": "t-other"}) == NOTHING


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid request body"),
        (b"{", "Invalid request body"),
        (b'["mc-1"]', "Invalid request body"),
        (b"null", "Invalid request body"),
        (b'{"owner_id": 5}', "Invalid request body"),
        (b'{"certificate_ids": "mc-1"}', "Invalid request body"),
        (b'{"certificate_ids": ["mc-1", 2]}', "Invalid request body"),
        (b"{}", "At least one filter criterion is required"),
        (b'{"owner_id": "", "certificate_ids": []}', "At least one filter criterion is required"),
        (b'{"status": "Active"}', "At least one filter criterion is required"),
    ],
)
def test_a_body_that_asks_for_nothing_is_refused(server: Server, body: bytes, message: str) -> None:
    reply = server.renew(body)
    assert (reply.status, reply.content_type) == (400, JSON)
    document = reply.json()
    assert document["error"] == "Bad Request"
    assert document["message"].startswith(message)
    assert document["request_id"] == reply.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("expires", "kind"),
    [
        (datetime(1, 1, 1, tzinfo=UTC), "Issuance"),
        (datetime(1999, 12, 31, 23, 59, tzinfo=UTC), "Issuance"),
        (datetime(2000, 1, 1, tzinfo=UTC), "Renewal"),
    ],
)
def test_what_never_expired_properly_is_issued_not_renewed(
    server: Server, expires: datetime, kind: str
) -> None:
    name = add_certificate(server.database, f"mc-year-{expires:%Y%m%d}", expires_at=expires)
    renew(server, {"certificate_ids": [name]})
    assert [row["type"] for row in jobs(server.database, name)] == [kind]


def test_when_the_server_makes_the_keys_jobs_wait_for_the_scheduler(
    bench: Bench, server: Server
) -> None:
    name = add_certificate(server.database, "mc-server-keys")
    # Nobody knows how to do it, so that it stays as the scheduler's first tick leaves it.
    canary = add_certificate(server.database, "mc-first-tick")
    server.database.execute(
        "INSERT INTO jobs (id, type, certificate_id, status, scheduled_at)"
        " VALUES ('job-first-tick', 'Validation', $1, 'Pending', now())",
        canary,
    )
    with bench.serving(server.database, CERTCTL_KEYGEN_MODE="server") as other:
        bench.eventually(lambda: jobs(server.database, canary)[0]["status"] == "Running")
        assert enqueued(renew(other, {"certificate_ids": [name]})) == [name]
    assert [row["status"] for row in jobs(server.database, name)] == ["Pending"]


def test_a_certificate_that_fails_is_an_error_and_the_others_are_renewed(server: Server) -> None:
    database = server.database
    names = [add_certificate(database, f"mc-fail-{number}") for number in range(3)]
    database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no job for it'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON jobs FOR EACH ROW"
        " WHEN (NEW.certificate_id = 'mc-fail-1') EXECUTE FUNCTION refuse()"
    )
    document = renew(server, {"certificate_ids": names})
    assert enqueued(document) == [names[0], names[2]]
    assert document["total_failed"] == 1
    (error,) = document["errors"]
    assert error["certificate_id"] == names[1]
    assert "no job for it" in error["error"]
    # Nothing is rolled back: the flip of its status stays, without a job.
    assert certificate(database, names[1])["status"] == "RenewalInProgress"
    assert not jobs(database, names[1])


def test_a_call_leaves_a_row_of_its_own_in_the_audit_log(server: Server) -> None:
    name = add_certificate(
        server.database, "mc-audited", owner_id=add_owner(server.database, "o-audited")
    )
    renew(server, {"owner_id": "o-audited", "certificate_ids": [name, "mc-nobody"]})
    # It is written before the answer.
    (row,) = server.database.rows(
        "SELECT * FROM audit_events"
        " WHERE action = 'bulk_renewal_initiated' AND details ->> 'owner_id' = 'o-audited'"
    )
    assert (row["resource_type"], row["resource_id"]) == ("certificate", "bulk")
    assert (row["actor"], row["actor_type"]) == ("loadtest", "User")
    assert json.loads(row["details"]) == {
        **NOTHING,
        "owner_id": "o-audited",
        "certificate_ids": f"{name},mc-nobody",
        "total_matched": 1,
        "total_enqueued": 1,
    }
    assert row["event_category"] == "cert_lifecycle"


def test_one_certificate_can_be_enqueued_twice(server: Server) -> None:
    name = add_certificate(server.database, "mc-twice")
    document = renew(server, {"certificate_ids": [name, name]})
    assert (document["total_matched"], enqueued(document)) == (2, [name, name])
    assert len(jobs(server.database, name)) == 2


@pytest.mark.parametrize("column", ["expires_at", "environment"])
def test_a_row_with_null_where_certctl_knows_none(server: Server, column: str) -> None:
    owner = add_owner(server.database, f"o-null-{column}")
    nulls: dict[str, object] = {column: None}
    unreadable = add_certificate(server.database, f"mc-null-{column}", owner_id=owner, **nulls)
    readable = add_certificate(server.database, f"mc-beside-{column}", owner_id=owner)
    # Criteria refuse the whole call; by id it is as if nobody had it.
    reply = server.renew({"owner_id": owner})
    assert reply.status == 500
    assert reply.json()["message"].startswith("Bulk renewal failed: ")
    assert not jobs(server.database, readable, unreadable)
    assert enqueued(renew(server, {"certificate_ids": [unreadable, readable]})) == [readable]
    assert certificate(server.database, unreadable)["status"] == "Active"
    # It fails every page that it is on, also those of the tests that come.
    server.database.execute(f"DELETE FROM managed_certificates WHERE id = '{unreadable}'")
