"""What certctl does that nobody would expect, one request each: docs/certctl-findings.md says more.

Not part of a load; they pass as long as certctl does so, and fail when it has been mended:

    pytest -m scale tests/findings/test_certctl_findings.py --certload-stack docker

The reference server does the same, but for what is said here of it.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from pytest_certload.certctl.api import Certctl
from pytest_certload.certctl.keys import make_keys
from pytest_certload.stack import Stack

pytestmark = pytest.mark.scale

API = "/api/v1"
ACME = "/acme/profile/prof-loadtest"
AGENT = "ag-loadtest-00001"
PROBLEM = "application/problem+json"


@pytest_asyncio.fixture
async def client(certload_stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with the stack's token that trusts its CA."""
    endpoint = certload_stack.endpoint
    trust = ssl.create_default_context(cafile=endpoint.ca_path)
    async with aiohttp.ClientSession(
        endpoint.base_url,
        connector=aiohttp.TCPConnector(ssl=trust),
        headers={"Authorization": f"Bearer {endpoint.token}"},
        timeout=aiohttp.ClientTimeout(total=30),
    ) as session:
        yield session


def entered(**fields: object) -> dict[str, object]:
    """A certificate to enter."""
    name = f"finding-{secrets.token_hex(4)}.example.test"
    return {
        "name": name,
        "common_name": name,
        "owner_id": "o-api-loadtest",
        "team_id": "t-loadtest",
        "issuer_id": "iss-local",
        "renewal_policy_id": "rp-loadtest",
        "expires_at": "2099-01-01T00:00:00Z",
        **fields,
    }


async def ask(
    client: aiohttp.ClientSession, method: str, path: str, **options: Any
) -> tuple[int, Mapping[str, str], Any]:
    """Status, headers and body: JSON where it is some, else text."""
    async with client.request(method, path, **options) as response:
        kind = response.content_type
        json = kind.endswith("json")
        body = await (response.json(content_type=None) if json else response.text())
        return response.status, response.headers, body


async def test_nobody_is_an_internal_error(client: aiohttp.ClientSession) -> None:
    """What is not there is answered 500, so that no client can tell it from a broken server."""
    for method, path in (
        ("POST", f"{API}/agents/ag-nobody/heartbeat"),
        ("GET", f"{API}/agents/ag-nobody/work"),
        ("POST", f"{API}/certificates/mc-nobody/renew"),
        ("GET", "/acme/profile/prof-nobody/directory"),
    ):
        status, _, body = await ask(client, method, path)
        assert status == 500, (path, body)


async def test_a_name_that_is_taken_is_an_internal_error(client: aiohttp.ClientSession) -> None:
    certificate = entered()
    status, _, _ = await ask(client, "POST", f"{API}/certificates", json=certificate)
    assert status == 201
    status, _, body = await ask(client, "POST", f"{API}/certificates", json=certificate)
    assert (status, body["message"]) == (500, "Failed to create certificate")


async def test_without_an_expiry_a_certificate_expires_in_the_year_1(
    client: aiohttp.ClientSession, certctl: Certctl
) -> None:
    certificate = entered()
    del certificate["expires_at"]
    status, _, body = await ask(client, "POST", f"{API}/certificates", json=certificate)
    assert status == 201
    before = await certctl.database.fetchval(
        "SELECT expires_at < '0002-01-01' FROM managed_certificates WHERE id = $1", body["id"]
    )
    assert before is True, "and it is read by every sweep for what has expired"


async def test_a_cursor_is_never_understood(client: aiohttp.ClientSession) -> None:
    """Who pages by cursor reads the first page for ever."""
    pages: list[Sequence[str]] = []
    # Whoever has none asks with any, else the page comes without one.
    cursor = "first"
    for _ in range(3):
        path = f"{API}/certificates?per_page=5&cursor={cursor}&page_size=5"
        status, _, body = await ask(client, "GET", path)
        assert status == 200
        pages.append([certificate["id"] for certificate in body["data"]])
        cursor = quote(body["next_cursor"])
    assert pages[0] == pages[1] == pages[2]


async def test_a_renewal_by_criteria_comes_to_its_end_after_fifty(
    client: aiohttp.ClientSession, certctl: Certctl
) -> None:
    """Asked for the 10,000 of a team, it renews the oldest 50; asked again, none."""
    await certctl.certificates()
    body = {"team_id": "t-loadtest", "issuer_id": "iss-local"}
    answers = [
        (await ask(client, "POST", f"{API}/certificates/bulk-renew", json=body))[2]
        for _ in range(2)
    ]
    assert [(a["total_matched"], a["total_enqueued"]) for a in answers] == [(50, 50), (50, 0)]


async def test_two_renewals_at_once_are_two_jobs(
    client: aiohttp.ClientSession, certctl: Certctl
) -> None:
    """Nothing is locked: one certificate named twice has two jobs."""
    certificates = await certctl.certificates()
    body = {"certificate_ids": [certificates[0]] * 2}
    _, _, answer = await ask(client, "POST", f"{API}/certificates/bulk-renew", json=body)
    assert answer["total_enqueued"] == 2


async def test_a_csr_is_accepted_and_nothing_is_signed(
    client: aiohttp.ClientSession, certctl: Certctl
) -> None:
    """202, as for one that is signed."""
    (key,) = make_keys(["finding.example.test"])
    before = await certctl.database.fetchval("SELECT count(*) FROM certificate_versions")
    status, _, body = await ask(
        client, "POST", f"{API}/agents/{AGENT}/csr", json={"csr_pem": key.csr_pem}
    )
    assert (status, body["status"]) == (202, "csr_accepted")
    after = await certctl.database.fetchval("SELECT count(*) FROM certificate_versions")
    assert after == before


async def test_a_verification_is_acknowledged_and_forgotten(
    client: aiohttp.ClientSession, certctl: Certctl
) -> None:
    certificates = await certctl.certificates()
    job = f"job-finding-{secrets.token_hex(4)}"
    await certctl.database.execute(
        "INSERT INTO jobs (id, type, certificate_id, target_id, agent_id, status, scheduled_at) "
        "VALUES ($1, 'Deployment', $2, 'tg-loadtest-00001', $3, 'Running', now())",
        job,
        certificates[0],
        AGENT,
    )
    print_ = "ab" * 32
    body = {
        "target_id": "tg-loadtest-00001",
        "expected_fingerprint": print_,
        "actual_fingerprint": print_,
        "verified": True,
    }
    status, _, answer = await ask(client, "POST", f"{API}/jobs/{job}/verify", json=body)
    assert (status, answer["verified"]) == (200, True)
    (row,) = await certctl.database.fetch(
        "SELECT verification_status, verified_at, verification_fingerprint FROM jobs WHERE id = $1",
        job,
    )
    assert dict(row) == {
        "verification_status": "pending",
        "verified_at": None,
        "verification_fingerprint": None,
    }


async def test_the_first_heartbeat_after_a_silence_is_stored_with_the_old_time(
    client: aiohttp.ClientSession, certctl: Certctl
) -> None:
    """The agent is Online again, and looks as silent as before: the next sweep takes it Offline."""
    old = datetime(2026, 1, 1, tzinfo=UTC)
    await certctl.database.execute(
        "UPDATE agents SET status = 'Offline', last_heartbeat_at = $2 WHERE id = $1", AGENT, old
    )
    status, _, _ = await ask(client, "POST", f"{API}/agents/{AGENT}/heartbeat", json={})
    assert status == 200
    (row,) = await certctl.database.fetch(
        "SELECT status, last_heartbeat_at FROM agents WHERE id = $1", AGENT
    )
    assert (row["status"], row["last_heartbeat_at"]) == ("Online", old)


async def test_renewal_info_misses_serials_that_begin_with_a_zero(
    client: aiohttp.ClientSession, certctl: Certctl
) -> None:
    """About one in eight: serials are stored with their zeros and looked for without."""
    found = {}
    for digit in ("5", "0"):
        serial = digit + secrets.token_hex(20)[1:]
        await certctl.database.execute(
            "UPDATE certificate_versions SET serial_number = $1 WHERE id = 'version-loadtest-acme-001'",
            serial,
        )
        renewal_id = f"AAAA.{_base64url(bytes.fromhex(serial))}"
        found[digit], _, _ = await ask(client, "GET", f"{ACME}/renewal-info/{renewal_id}")
    assert found == {"5": 200, "0": 404}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def test_a_problem_brings_no_nonce(client: aiohttp.ClientSession) -> None:
    """RFC 8555, 6.5: an error with a nonce can be retried at once; without one it costs a request more."""
    status, headers, body = await ask(client, "POST", f"{ACME}/new-order", data=b"{}")
    assert (status, body["type"]) == (400, "urn:ietf:params:acme:error:malformed")
    assert headers["Content-Type"].startswith(PROBLEM)
    assert "Replay-Nonce" not in headers


async def test_a_page_that_is_not_modified_costs_the_same_queries(
    client: aiohttp.ClientSession, certctl: Certctl
) -> None:
    """The answer 304 is made from the body, after all of it was read."""
    path = f"{API}/certificates?per_page=5"
    _, headers, _ = await ask(client, "GET", path)
    reads = (
        "SELECT sum(calls) FROM pg_stat_statements WHERE query ILIKE '%FROM managed_certificates%'"
    )
    mine = await certctl.database.fetchval(reads) or 0
    status, _, _ = await ask(client, "GET", path, headers={"If-None-Match": headers["ETag"]})
    assert status == 304
    assert (await certctl.database.fetchval(reads) or 0) - mine >= 2


async def test_the_chain_of_audit_rows_is_called_broken_when_two_wrote_at_once(
    client: aiohttp.ClientSession, certctl: Certctl, certload_stack: Stack
) -> None:
    """certctl's own check walks by time, the rows are chained in the order of their lock.

    The reference server has no such function.
    """
    if certload_stack.is_reference:
        there = await certctl.database.fetchval(
            "SELECT count(*) FROM pg_proc WHERE proname = 'audit_events_verify_chain'"
        )
        assert there == 0
        return
    rows = "SELECT count(*) FROM audit_events"
    before = await certctl.database.fetchval(rows)
    path = f"{API}/agents/{AGENT}/heartbeat"
    for _ in range(20):
        await asyncio.gather(*(ask(client, "POST", path, json={}) for _ in range(20)))
    async with asyncio.timeout(10):
        # Each question is a connection of its own, so this is no busy loop.
        while await certctl.database.fetchval(rows) < before + 400:
            pass
    broken = await certctl.database.fetchval(
        "SELECT first_break_id FROM audit_events_verify_chain()"
    )
    assert broken is not None, "and every row is linked to the one before it"
