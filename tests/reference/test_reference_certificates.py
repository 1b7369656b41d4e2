"""The inventory: how certificates are entered, listed, shown and renewed one by one."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

if TYPE_CHECKING:
    from .conftest import Questions, Reply, Server

JSON = "application/json"
PATH = "/api/v1/certificates"
IN_TIME = datetime(2030, 1, 1, tzinfo=UTC)
YEAR_ONE = datetime(1, 1, 1, tzinfo=UTC)
_numbers = itertools.count(1)


def wanted(**fields: object) -> dict[str, object]:
    name = f"entered-{next(_numbers)}.example.test"
    return {
        "name": name,
        "common_name": name,
        "owner_id": "o-loadtest-001",
        "team_id": "t-loadtest",
        "issuer_id": "iss-local",
        "renewal_policy_id": "rp-loadtest",
        **fields,
    }


def enter(server: Server, **fields: object) -> Reply:
    return server.ask("POST", PATH, body=wanted(**fields))


def entered(server: Server, **fields: object) -> str:
    reply = enter(server, **fields)
    assert reply.status == 201, reply.body
    certificate_id: str = reply.json()["id"]
    return certificate_id


def stored(database: Questions, certificate_id: str) -> Mapping[str, Any]:
    return database.rows("SELECT * FROM managed_certificates WHERE id = $1", certificate_id)[0]


def page(server: Server, **parameters: object) -> dict[str, Any]:
    reply = server.get(f"{PATH}?{urlencode(parameters)}")
    assert (reply.status, reply.content_type) == (200, JSON), reply.body
    document: dict[str, Any] = reply.json()
    return document


def ids(document: Mapping[str, Any]) -> list[str]:
    return [certificate["id"] for certificate in document["data"]]


@pytest.fixture
def owner(server: Server) -> str:
    """Somebody who has no certificate yet."""
    name = f"o-inventory-{next(_numbers)}"
    server.database.execute(
        "INSERT INTO owners (id, name, email, team_id) VALUES ($1::text, $1::text, $1::text, 't-loadtest')",
        name,
    )
    return name


def test_what_is_entered_is_stored_and_answered(server: Server) -> None:
    body = wanted(
        sans=["a.example.test"],
        environment="test",
        expires_at="2030-01-01T01:00:00+01:00",
        tags={"b": "2", "a": "1"},
    )
    reply = server.ask("POST", PATH, body=body)
    assert (reply.status, reply.content_type) == (201, JSON)
    answer = reply.json()
    row = stored(server.database, answer["id"])
    assert answer["id"].startswith("cert-")
    assert list(answer) == [
        "id", "name", "common_name", "sans", "environment", "owner_id", "team_id", "issuer_id",
        "target_ids", "renewal_policy_id", "status", "expires_at", "tags", "created_at", "updated_at",
    ]  # fmt: skip
    assert answer == {
        **body,
        "id": row["id"],
        "target_ids": None,
        "status": "Pending",
        "expires_at": "2030-01-01T00:00:00Z",
        "created_at": answer["created_at"],
        "updated_at": answer["created_at"],
    }
    assert abs(datetime.now(UTC) - row["created_at"]) < timedelta(minutes=1)
    assert (row["status"], row["expires_at"], row["sans"]) == (
        "Pending",
        IN_TIME,
        ["a.example.test"],
    )
    assert (row["tags"], row["environment"]) == ('{"a": "1", "b": "2"}', "test")
    empty = ("certificate_profile_id", "revocation_reason", "last_renewal_at", "revoked_at")
    assert all(row[column] is None for column in empty)


def test_one_of_acme_has_no_tags_and_can_be_read(server: Server) -> None:
    certificate_id = enter(server).json()["id"]
    server.database.execute(
        "UPDATE managed_certificates SET tags = 'null' WHERE id = $1", certificate_id
    )
    reply = server.get(f"{PATH}/{certificate_id}")
    assert (reply.status, reply.json()["tags"]) == (200, None)
    assert server.get(f"{PATH}?per_page=500").status == 200


def test_what_is_left_out_gets_its_default(server: Server) -> None:
    reply = enter(server)
    answer = reply.json()
    row = stored(server.database, answer["id"])
    assert (row["status"], row["environment"], row["tags"]) == ("Pending", "", "{}")
    # Not NULL: that is how a certificate becomes one that has been expired for two thousand years.
    assert row["expires_at"] == YEAR_ONE
    assert answer["expires_at"] == "0001-01-01T00:00:00Z"
    assert (answer["sans"], row["sans"]) == (None, None)


def test_a_client_may_set_what_the_server_would(server: Server) -> None:
    certificate_id = entered(
        server,
        id="cert-of-ours",
        status="Active",
        created_at="2026-01-01T00:00:00.125Z",
        certificate_profile_id="prof-loadtest",
        source="EST",
        target_ids=["nowhere"],
    )
    assert certificate_id == "cert-of-ours"
    shown = server.get(f"{PATH}/{certificate_id}").json()
    assert shown["status"] == "Active"
    assert shown["created_at"] == "2026-01-01T00:00:00.125Z"
    assert shown["certificate_profile_id"] == "prof-loadtest"
    assert shown["source"] == "EST"
    # Accepted, and bound to nothing.
    assert shown["target_ids"] == []


@pytest.mark.parametrize(
    "field",
    ["common_name", "owner_id", "team_id", "issuer_id", "name", "renewal_policy_id"],
)
def test_what_must_not_be_missing(server: Server, field: str) -> None:
    reply = enter(server, **{field: ""})
    assert reply.status == 400
    answer = reply.json()
    assert (answer["error"], answer["message"]) == ("Bad Request", f"{field} is required")
    assert answer["request_id"] == reply.headers["X-Request-ID"]


@pytest.mark.parametrize(
    "common_name", ["a b.example.test", "-a.test", "a-.test", "a..test", "a" * 254, "@"]
)
def test_a_common_name_that_is_none(server: Server, common_name: str) -> None:
    assert enter(server, common_name=common_name).status == 400


@pytest.mark.parametrize("common_name", ["*.example.test", "10.0.0.1", "::1", "me@example.test"])
def test_a_common_name_may_be_more_than_a_host(server: Server, common_name: str) -> None:
    assert enter(server, common_name=common_name).status == 201


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": "2030-01-01"},
        {"expires_at": "2030-01-01T00:00:00"},
        {"expires_at": "2030-13-01T00:00:00Z"},
        {"expires_at": 1},
        {"sans": "a"},
        {"sans": [1]},
        {"tags": {"a": 1}},
        {"environment": 0},
        {"status": False},
    ],
)
def test_a_field_of_another_type_is_no_body(server: Server, fields: dict[str, object]) -> None:
    reply = enter(server, **fields)
    assert (reply.status, reply.json()["message"]) == (400, "Invalid request body")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"text"'])
def test_a_body_that_is_no_object(server: Server, body: bytes) -> None:
    assert server.ask("POST", PATH, body=body).status == 400


def test_a_name_that_is_taken_is_500_and_so_is_an_owner_that_nobody_is(server: Server) -> None:
    body = wanted()
    assert server.ask("POST", PATH, body=body).status == 201
    for refused in (body, wanted(owner_id="nobody"), wanted(name="n" * 256)):
        reply = server.ask("POST", PATH, body=refused)
        assert (reply.status, reply.json()["message"]) == (500, "Failed to create certificate")


def test_who_may_only_read_enters_nothing_and_reads_all(server: Server, owner: str) -> None:
    certificate_id = entered(server, owner_id=owner)
    assert server.ask("POST", PATH, body=wanted(), key=server.reader).status == 403
    assert server.ask("POST", f"{PATH}/{certificate_id}/renew", key=server.reader).status == 403
    # Of its owner alone: what other tests leave may be what no page can show.
    assert server.get(f"{PATH}?owner_id={owner}", key=server.reader).status == 200
    assert server.get(f"{PATH}/{certificate_id}", key=server.reader).status == 200
    assert server.get(PATH, key=None).status == 401


def test_each_call_leaves_its_audit_row(server: Server) -> None:
    certificate_id = entered(server)
    server.get(f"{PATH}/{certificate_id}?page=1")
    (row,) = server.audited(f"{PATH}/{certificate_id}")
    assert (row["action"], row["resource_type"]) == ("api_get", "api")


def test_one_that_is_not_there_is_404(server: Server) -> None:
    reply = server.get(f"{PATH}/nobody")
    assert (reply.status, reply.json()["message"]) == (404, "Certificate not found")


def test_a_page_is_the_oldest_and_the_total_all(server: Server, owner: str) -> None:
    names = [
        entered(server, owner_id=owner, created_at=f"2026-01-01T00:00:{number:02}Z")
        for number in (3, 1, 2)
    ]
    oldest = [names[1], names[2], names[0]]
    first = page(server, owner_id=owner, per_page=2)
    assert ids(first) == oldest[:2]
    assert (first["total"], first["page"], first["per_page"]) == (3, 1, 2)
    assert ids(page(server, owner_id=owner, per_page=2, page=2)) == oldest[2:]
    assert ids(page(server, owner_id=owner, page_size=1)) == oldest[:1]
    beyond = page(server, owner_id=owner, page=9)
    assert (beyond["data"], beyond["total"]) == ([], 3)


@pytest.mark.parametrize("per_page", ["0", "501", "-1", "many", ""])
def test_a_page_size_that_is_none_is_50(server: Server, owner: str, per_page: str) -> None:
    server.database.execute(
        "INSERT INTO managed_certificates (id, name, common_name, environment, owner_id, team_id,"
        " issuer_id, renewal_policy_id, status, expires_at) SELECT name, name, name, 'test', $1,"
        " 't-loadtest', 'iss-local', 'rp-loadtest', 'Active', $2"
        " FROM (SELECT $1 || n AS name FROM generate_series(1, 55) AS n) AS names",
        owner,
        IN_TIME,
    )
    found = page(server, owner_id=owner, per_page=per_page)
    assert (len(found["data"]), found["per_page"], found["total"]) == (50, 50, 55)
    assert len(page(server, owner_id=owner, per_page=500)["data"]) == 55


def test_filters_are_and(server: Server, owner: str) -> None:
    active = entered(server, owner_id=owner, status="Active", expires_at="2030-01-01T00:00:00Z")
    late = entered(server, owner_id=owner, status="Active", expires_at="2031-01-01T00:00:00Z")
    pending = entered(server, owner_id=owner, environment="test")

    def found(**parameters: object) -> set[str]:
        return set(ids(page(server, owner_id=owner, **parameters)))

    assert found() == {active, late, pending}
    assert found(status="Active") == {active, late}
    assert found(status="active") == set()
    assert found(status="Active", expires_after="2030-06-01T00:00:00Z") == {late}
    assert found(expires_before="2030-06-01T00:00:00Z") == {active, pending}
    # What is no time is no filter.
    assert found(expires_before="2030") == {active, late, pending}
    assert found(environment="test") == {pending}
    assert found(team_id="t-loadtest", issuer_id="iss-local") == {active, late, pending}
    assert found(team_id="t-nobody") == set()
    assert found(profile_id="prof-loadtest") == set()


def test_the_filter_by_agent_follows_the_targets(server: Server, owner: str) -> None:
    database = server.database
    bound, _ = entered(server, owner_id=owner), entered(server, owner_id=owner)
    database.execute(
        "INSERT INTO agents (id, name, hostname, api_key_hash) VALUES ($1::text, $1::text, $1::text, 'none')",
        f"ag-{owner}",
    )
    database.execute(
        "INSERT INTO deployment_targets (id, name, type, agent_id) VALUES ($1::text, $1::text, 'nginx', $2)",
        f"t-{owner}",
        f"ag-{owner}",
    )
    database.execute("INSERT INTO certificate_target_mappings VALUES ($1, $2)", bound, f"t-{owner}")
    document = page(server, agent_id=f"ag-{owner}")
    assert ids(document) == [bound]
    assert document["data"][0]["target_ids"] == [f"t-{owner}"]
    assert server.get(f"{PATH}/{bound}").json()["target_ids"] == [f"t-{owner}"]


def test_the_order_that_is_asked_for(server: Server, owner: str) -> None:
    first = entered(server, owner_id=owner, common_name="a.test", created_at="2026-01-02T00:00:00Z")
    second = entered(
        server, owner_id=owner, common_name="b.test", created_at="2026-01-01T00:00:00Z"
    )

    def found(**parameters: object) -> list[str]:
        return ids(page(server, owner_id=owner, **parameters))

    assert found(sort="commonName") == [first, second]
    assert found(sort="-commonName") == [second, first]
    assert found(sort="commonName", sort_desc="true") == [second, first]
    assert found(sort="color") == [second, first]
    assert found(sort="-color") == [first, second]


def test_some_fields_only(server: Server, owner: str) -> None:
    certificate_id = entered(server, owner_id=owner)
    document = page(server, owner_id=owner, fields="status,id")
    assert document["data"] == [{"id": certificate_id, "status": "Pending"}]


def test_a_cursor_is_never_understood(server: Server, owner: str) -> None:
    for number in range(3):
        entered(server, owner_id=owner, created_at=f"2026-01-01T00:00:0{number}Z")
    first = page(server, owner_id=owner, page_size=2, cursor="begin")
    assert first.keys() == {"data", "total", "next_cursor", "page_size"}
    again = page(server, owner_id=owner, page_size=2, cursor=first["next_cursor"])
    assert again == first


def test_a_page_that_is_known_is_304_after_all_the_work(server: Server, owner: str) -> None:
    entered(server, owner_id=owner)
    path = f"{PATH}?owner_id={owner}"
    first = server.get(path)
    tag = first.headers["ETag"]
    assert tag == f'"{hashlib.sha256(first.body).hexdigest()}"'
    for known in (tag, f'"other", {tag}', "*"):
        reply = server.ask("GET", path, headers={"If-None-Match": known})
        assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", tag)
        assert reply.content_type is None
    entered(server, owner_id=owner)
    reply = server.ask("GET", path, headers={"If-None-Match": tag})
    assert (reply.status, len(reply.json()["data"])) == (200, 2)


def test_a_long_page_has_no_tag(server: Server, owner: str) -> None:
    entered(server, owner_id=owner, tags={"long": "x" * 70_000})
    reply = server.ask("GET", f"{PATH}?owner_id={owner}", headers={"If-None-Match": "*"})
    assert (reply.status, reply.headers["ETag"]) == (200, None)


def test_a_certificate_that_cannot_be_read_fails_the_page(server: Server, owner: str) -> None:
    certificate_id = entered(server, owner_id=owner)
    server.database.execute(
        "UPDATE managed_certificates SET expires_at = NULL WHERE id = $1", certificate_id
    )
    reply = server.get(f"{PATH}?owner_id={owner}")
    assert (reply.status, reply.json()["message"]) == (500, "Failed to list certificates")
    assert server.get(f"{PATH}/{certificate_id}").status == 404
    assert server.ask("POST", f"{PATH}/{certificate_id}/renew").status == 500


def renew(server: Server, certificate_id: str, query: str = "") -> Reply:
    return server.ask("POST", f"{PATH}/{certificate_id}/renew{query}")


def jobs(server: Server, certificate_id: str) -> list[Mapping[str, Any]]:
    return server.database.rows(
        "SELECT * FROM jobs WHERE certificate_id = $1 ORDER BY created_at", certificate_id
    )


def test_one_certificate_is_renewed(server: Server) -> None:
    certificate_id = entered(server, status="Active", expires_at="2030-01-01T00:00:00Z")
    reply = renew(server, certificate_id)
    assert (reply.status, reply.json()) == (202, {"status": "renewal_triggered"})
    (job,) = jobs(server, certificate_id)
    assert (job["type"], job["status"], job["max_attempts"]) == ("Renewal", "AwaitingCSR", 3)
    assert stored(server.database, certificate_id)["status"] == "RenewalInProgress"
    (row,) = server.audited(certificate_id)
    assert (row["action"], row["resource_type"]) == ("renewal_triggered", "certificate")


def test_one_that_was_never_issued_is_issued(server: Server) -> None:
    certificate_id = entered(server)
    assert renew(server, certificate_id).status == 202
    (job,) = jobs(server, certificate_id)
    assert job["type"] == "Issuance"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("RenewalInProgress", 409),
        ("Archived", 400),
        ("Expired", 400),
        ("Revoked", 202),
        ("Failed", 202),
        ("archived", 202),
    ],
)
def test_which_status_is_renewed(server: Server, status: str, code: int) -> None:
    certificate_id = entered(server, status=status)
    assert renew(server, certificate_id).status == code
    assert len(jobs(server, certificate_id)) == (code == 202)


def test_force_renews_what_is_being_renewed_and_nothing_else(server: Server) -> None:
    stuck = entered(server, status="RenewalInProgress")
    assert renew(server, stuck, "?force=yes").status == 409
    assert renew(server, stuck, "?force=true").status == 202
    body = {"force": True}
    path = f"{PATH}/{stuck}/renew"
    assert server.ask("POST", path, body=body).status == 409
    assert server.ask("POST", path, body=body, headers={"Content-Type": JSON}).status == 202
    assert len(jobs(server, stuck)) == 2
    assert renew(server, entered(server, status="Expired"), "?force=1").status == 400


def test_one_that_nobody_has_is_not_renewed_and_not_404(server: Server) -> None:
    reply = renew(server, "nobody")
    assert (reply.status, reply.json()["message"]) == (500, "Failed to trigger renewal")


def test_a_profile_that_wants_an_approval_is_not_heeded(server: Server) -> None:
    server.database.execute(
        "INSERT INTO certificate_profiles (id, name, requires_approval) VALUES ('prof-asks', 'asks', true)"
    )
    certificate_id = entered(server, certificate_profile_id="prof-asks")
    assert renew(server, certificate_id).status == 202
    (job,) = jobs(server, certificate_id)
    assert job["status"] == "AwaitingCSR"


def test_the_methods_that_there_are(server: Server) -> None:
    assert server.ask("PATCH", PATH).status == 405
    assert server.ask("POST", f"{PATH}/nobody").status == 405
    assert server.get(f"{PATH}/nobody/renew").status == 405
    assert server.get(f"{PATH}/").status == 404
