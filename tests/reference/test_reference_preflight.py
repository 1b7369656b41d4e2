"""certctl's checks before a load: each finds its fault, names the remedy, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from aiohttp import web

from pytest_certload.certctl.checks import checks_of
from pytest_certload.certctl.checks.certificates import CertificateChecks
from pytest_certload.clients import open_client
from pytest_certload.database import SessionDatabase
from pytest_certload.errors import ConfigurationError
from pytest_certload.proof.findings import CheckFinding
from pytest_certload.proof.preflight import Check, Preflight, make_checks
from pytest_certload.units import seconds

from .conftest import LOOPBACK, READER, ROOT, Bench, Questions, Server

FLEET = 3
KINDS = ("agents", "certificates", "inventory", "scheduler", "acme", "work", "deployment")
NAMES = {
    "agents": ["identity", "clock", "schema", "agents", "heartbeat", "limiter"],
    "certificates": ["identity", "clock", "schema", "certificates", "bulk-renew", "limiter"],
    "inventory": [
        "identity",
        "clock",
        "schema",
        "list-certificates",
        "enter-certificate",
        "limiter",
    ],
    "scheduler": [
        "identity",
        "clock",
        "schema",
        "certificates",
        "queue",
        "agents",
        "heartbeat",
        "limiter",
    ],
    "acme": ["identity", "clock", "schema", "acme", "limiter"],
    "work": ["identity", "clock", "schema", "agents", "heartbeat", "targets", "poll", "limiter"],
    "deployment": [
        "identity",
        "clock",
        "schema",
        "certificates",
        "bulk-renew",
        "targets",
        "poll",
        "limiter",
    ],
}


def seed(database: Questions) -> None:
    for file in sorted((ROOT / "seed").glob("0*.sql")):
        database.execute(re.sub(r"generate_series\(1, (5000|10000)\)", f"generate_series(1, {FLEET})", file.read_text("utf-8")))  # fmt: skip


async def ask(
    checks: list[Check], base_url: str, *, transport: str = "aiohttp", **options: Any
) -> dict[str, CheckFinding]:
    client = open_client(
        transport, base_url=base_url, connections=16, timeout=seconds(10), **options
    )
    async with client:
        preflight = Preflight(
            client=client,
            base_url=base_url,
            slots=1,
            connections="keep-alive",
            rate=None,
            iterations=None,
        )
        found = await make_checks(checks, preflight)
    return {finding.name: finding for finding in found}


def look(
    bench: Bench,
    server: Server,
    kind: str,
    *,
    key: str | None = None,
    transport: str = "aiohttp",
    limited: bool = False,
) -> dict[str, CheckFinding]:
    database = SessionDatabase(server.database.dsn)
    return asyncio.run(
        ask(
            checks_of(kind, database=database, fleet=FLEET, limited=limited),
            f"https://{LOOPBACK}:{server.port}",
            transport=transport,
            ca_path=bench.authority.ca_path,
            headers={"Authorization": f"Bearer {key or server.admin}"},
        )
    )


def failed(findings: Mapping[str, CheckFinding]) -> dict[str, str]:
    return {name: finding.detail for name, finding in findings.items() if not finding.passed}


@pytest.fixture
def own(bench: Bench) -> Iterator[Server]:
    """A server of the test's own, on a database with a fleet of three."""
    database = bench.migrated()
    seed(database)
    with bench.serving(database) as server:
        yield server


def traces(database: Questions) -> dict[str, list[Any]]:
    return {
        "agents": database.rows("SELECT * FROM agents ORDER BY id"),
        "certificates": database.rows("SELECT * FROM managed_certificates ORDER BY id"),
        "jobs": database.rows("SELECT * FROM jobs"),
        "nonces": database.rows("SELECT * FROM acme_nonces"),
    }


@pytest.mark.parametrize("transport", ["aiohttp", "fast"])
def test_a_good_server_passes_and_nothing_is_left_behind(
    bench: Bench, own: Server, transport: str
) -> None:
    before = traces(own.database)
    for kind in KINDS:
        rows = int(own.database.value("SELECT count(*) FROM audit_events"))
        found = look(bench, own, kind, transport=transport)
        # The audit rows of what was asked are all there: none comes during the load. A bulk renewal
        # writes one of its own besides, the limiter's burst none.
        added = int(own.database.value("SELECT count(*) FROM audit_events")) - rows
        assert failed(found) == {}
        assert list(found) == NAMES[kind]
        expected = {
            "agents": 1,
            "certificates": 2,
            "inventory": 2,
            "scheduler": 1,
            "acme": 2,
            "work": 2,
            "deployment": 3,
        }
        assert added == expected[kind]
        assert found["identity"].detail.startswith("certctl reference server")
        assert re.match(r"\d+ requests in ", found["limiter"].detail)
    assert traces(own.database) == before


def test_a_queue_that_is_not_empty_is_no_start(bench: Bench, own: Server) -> None:
    own.database.execute(
        "INSERT INTO jobs (id, type, status) SELECT n::text, 'Validation', "
        "CASE WHEN n < 3 THEN 'Pending' ELSE 'Running' END FROM generate_series(1, 3) AS n"
    )
    (detail,) = failed(look(bench, own, "scheduler")).values()
    assert detail == (
        "the scheduler's queue is not empty, 2 Pending and 1 Running: wait until they are done, or "
        "delete them"
    )


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (
            "forbid-writes,unknown-profile-500",
            {
                "heartbeat": r"POST \S+/heartbeat is answered 403: .*CERTCTL_API_KEYS_NAMED",
                "bulk-renew": r"POST \S+bulk-renew is answered 403: .*CERTCTL_API_KEYS_NAMED",
                "enter-certificate": r"POST \S+ is answered 403: .*CERTCTL_API_KEYS_NAMED",
                "acme": r"GET \S+/directory answers 500 .*prof-loadtest is in the database",
            },
        ),
        (
            "error-500,html-directory",
            {
                "heartbeat": r"POST \S+/heartbeat answers 500 .*look into the server's log",
                "bulk-renew": r"POST \S+bulk-renew answers 500 .*look into the server's log",
                "enter-certificate": r"POST \S+ answers 500 .*look into the server's log",
                "acme": r"GET \S+/directory answers HTML: .*empty directory .* /app/web/dist",
            },
        ),
        (
            "heartbeat-drop,no-nonce-header",
            {
                "heartbeat": "heartbeat of ag-loadtest-00001 was acknowledged and is not in the",
                "acme": "new-nonce answers without Replay-Nonce",
            },
        ),
        ("nonce-unstored", {"acme": "handed out two nonces and the database has 1 of them"}),
    ],
)
def test_a_fault_is_found_before_the_load(
    bench: Bench, faults: str, expected: dict[str, str]
) -> None:
    database = bench.migrated()
    seed(database)
    found: dict[str, str] = {}
    with bench.serving(database, CERTLOAD_REFERENCE_FAULTS=faults) as server:
        for kind in KINDS:
            found |= failed(look(bench, server, kind))
    assert found.keys() == expected.keys()
    for name, message in expected.items():
        assert re.search(message, found[name]), found[name]


def test_a_limiter_that_is_on(bench: Bench) -> None:
    database = bench.migrated()
    seed(database)
    with bench.serving(database, CERTCTL_RATE_LIMIT_ENABLED="true") as server:
        first = look(bench, server, "agents")
        # What is left in the bucket is not enough for the next one's questions, or for its burst.
        second = look(bench, server, "certificates")
    assert re.search(
        r"of (150|300|450|600) requests at once are refused with 429: .*CERTCTL_RATE_LIMIT_ENABLED=false",
        failed(first)["limiter"],
    )
    assert list(failed(first)) == ["limiter"]
    assert "CERTCTL_RATE_LIMIT_ENABLED=false" in failed(second)["limiter"]
    assert all("429" in detail for detail in failed(second).values())


def test_a_limiter_that_is_to_be_on(bench: Bench, own: Server) -> None:
    off = look(bench, own, "acme", limited=True)
    assert list(failed(off)) == ["limiter"]
    assert re.search(
        r"of (150|300|450|600) requests at once none is refused: .*CERTCTL_RATE_LIMIT_ENABLED=true",
        off["limiter"].detail,
    )
    database = bench.migrated()
    seed(database)
    with bench.serving(database, CERTCTL_RATE_LIMIT_ENABLED="true") as server:
        on = look(bench, server, "acme", limited=True)
        assert failed(on) == {}
        assert re.fullmatch(
            r"\d+ of (150|300|450|600) requests at once are refused", on["limiter"].detail
        )
        # Neither who is unknown nor who is refused leaves an audit row.
        assert not database.value(
            "SELECT count(*) FROM audit_events WHERE resource_id = '/api/v1/auth/check'"
            " AND details->>'status' <> '200'"
        )


def test_a_limiter_that_is_wide_enough(bench: Bench) -> None:
    database = bench.migrated()
    seed(database)
    wide = {"CERTCTL_RATE_LIMIT_ENABLED": "true", "CERTCTL_RATE_LIMIT_BURST": "5000"}
    with bench.serving(database, **wide) as server:
        assert failed(look(bench, server, "agents")) == {}


def test_the_dashboard_in_place_of_acme(bench: Bench) -> None:
    database = bench.migrated()
    seed(database)
    with bench.serving(database, CERTLOAD_REFERENCE_ACME="spa-fallback") as server:
        found = failed(look(bench, server, "acme"))
    assert list(found) == ["acme"]
    assert "mounted over /app/web/dist" in found["acme"]


def test_a_key_that_may_only_read_and_one_that_nobody_has(bench: Bench, own: Server) -> None:
    for kind, name in (
        ("agents", "heartbeat"),
        ("certificates", "bulk-renew"),
        ("inventory", "enter-certificate"),
    ):
        found = failed(look(bench, own, kind, key=READER))
        assert list(found) == [name]
        assert "403: the token may not do that" in found[name]
        assert "key without :admin" in found[name]
    found = failed(look(bench, own, "acme", key="nobody-has-this"))
    assert list(found) == ["acme"]
    assert "401: the token is not known" in found["acme"]


def test_a_fleet_in_another_state(bench: Bench, own: Server) -> None:
    own.database.execute("UPDATE agents SET status = 'Offline' WHERE id = 'ag-loadtest-00002'")
    own.database.execute("DELETE FROM managed_certificates WHERE id = 'cert-loadtest-bulk-00003'")
    found = failed(look(bench, own, "agents"))
    assert list(found) == ["agents"]
    assert "of 3 agents 1 are not Online and 0 are retired; set them back" in found["agents"]
    found = failed(look(bench, own, "certificates"))
    assert "has 2 load-test certificates and the scenario wants 3" in found["certificates"]
    own.database.execute("UPDATE agents SET status = 'Offline'")
    found = failed(look(bench, own, "agents"))
    assert "no agent of the fleet is Online" in found["heartbeat"]


def test_certificates_that_are_renewed_already(bench: Bench, own: Server) -> None:
    assert own.renew({"certificate_ids": ["cert-loadtest-bulk-00001"]}).status == 200
    found = failed(look(bench, own, "certificates"))
    assert "of 3 certificates 1 are not Active, and they have 1 jobs" in found["certificates"]


def test_an_inventory_that_is_another_one(bench: Bench, own: Server) -> None:
    own.database.execute("DELETE FROM owners WHERE id = 'o-api-loadtest'")
    found = failed(look(bench, own, "inventory"))
    assert list(found) == ["enter-certificate"]
    assert "the seed file 05_api_owner.sql is missing" in found["enter-certificate"]
    other = SessionDatabase(bench.migrated().dsn)
    checks = CertificateChecks(database=other)
    found = failed(
        asyncio.run(
            ask(
                [checks.list_certificates],
                f"https://{LOOPBACK}:{own.port}",
                ca_path=bench.authority.ca_path,
                headers={"Authorization": f"Bearer {own.admin}"},
            )
        )
    )
    assert "its audit row is not there" in found["list-certificates"]


def test_a_profile_that_no_seed_brought(bench: Bench, own: Server) -> None:
    own.database.execute("DELETE FROM certificate_profiles")
    found = failed(look(bench, own, "acme"))
    assert "prof-loadtest is not in the database: the seed file 00_base.sql" in found["acme"]


def test_columns_and_tables_that_are_missing(bench: Bench, own: Server) -> None:
    own.database.execute("ALTER TABLE jobs RENAME COLUMN type TO kind")
    assert (
        "the database has no jobs.type: it is not migrated"
        in (failed(look(bench, own, "certificates"))["schema"])
    )
    own.database.execute("ALTER TABLE acme_nonces RENAME TO nonces")
    missing = failed(look(bench, own, "acme"))["schema"]
    assert "no acme_nonces.expires_at, acme_nonces.issued_at, acme_nonces.nonce," in missing


def test_a_server_that_writes_the_wrong_time(bench: Bench, own: Server) -> None:
    own.database.execute(
        """
        CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.last_heartbeat_at > OLD.last_heartbeat_at THEN
                NEW.last_heartbeat_at := NEW.last_heartbeat_at - interval '10 minutes';
            END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER late BEFORE UPDATE ON agents FOR EACH ROW EXECUTE FUNCTION late();
        """
    )
    found = failed(look(bench, own, "agents"))
    assert list(found) == ["heartbeat"]
    assert re.search(r"(599\.\d|60\d\.\d) s behind the database's clock", found["heartbeat"])


def test_a_database_with_another_clock(bench: Bench, own: Server) -> None:
    name = own.database.value("SELECT current_database()")
    own.database.execute(
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
        "$$ SELECT pg_catalog.clock_timestamp() + interval '1 minute' $$;"
        f"ALTER DATABASE {name} SET search_path = public, pg_catalog"
    )
    found = failed(look(bench, own, "acme"))
    assert list(found) == ["clock"]
    match = re.search(
        r"database's clock is ([\d.]+) s ahead of this machine's \(± ([\d.e+]+) ms\)",
        found["clock"],
    )
    assert match is not None, found["clock"]
    # Both are rounded: one to a tenth, the other to two digits.
    assert abs(float(match[1]) - 60) <= 0.06 + 1.1 * float(match[2]) / 1000


@pytest.mark.parametrize(
    ("date", "detail"),
    [
        ("Wed, 01 Jan 2020 00:00:00 GMT", r"server's clock is [\d,.]+ s behind this machine's"),
        ("Sat, 01 Jan 2050 00:00:00 GMT", r"server's clock is [\d,.]+ s ahead of this machine's"),
    ],
)
def test_a_server_with_another_clock(own: Server, date: str, detail: str) -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.json_response({"version": "2.0.9"}, headers={"Date": date})

    found = failed(asyncio.run(ask_a_stranger(answer, own)))
    assert re.search(detail, found["clock"])
    assert "identity" not in found


def test_a_server_that_is_another_product(own: Server) -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    found = failed(asyncio.run(ask_a_stranger(answer, own)))
    assert "is no certctl: /api/v1/version answers 200 '<html>'; correct" in found["identity"]
    assert "answers HTML: the server is no certctl" in found["bulk-renew"]


def test_targets_that_are_missing_or_shared(bench: Bench, own: Server) -> None:
    own.database.execute(
        "UPDATE deployment_targets SET agent_id = 'ag-loadtest-00001' "
        "WHERE id = 'tg-loadtest-00002'"
    )
    found = failed(look(bench, own, "work"))
    assert list(found) == ["targets"]
    assert "3 targets are of 2 agents and take 3 certificates, instead of" in found["targets"]
    own.database.execute("DELETE FROM deployment_targets WHERE id = 'tg-loadtest-00002'")
    found = failed(look(bench, own, "deployment"))
    assert list(found) == ["targets"]
    assert "has 2 load-test targets and the scenario wants 3: the seed file 03_" in found["targets"]


def test_a_poll_claims_nothing(bench: Bench, own: Server) -> None:
    own.database.execute(
        "INSERT INTO jobs (id, type, certificate_id, target_id, agent_id, status, scheduled_at) "
        "SELECT 'job-' || id, 'Deployment', 'cert-loadtest-bulk-00001', id, "
        "CASE WHEN id = 'tg-loadtest-00001' THEN agent_id END, 'Pending', now() "
        "FROM deployment_targets WHERE id < 'tg-loadtest-00003'"
    )
    own.database.execute(
        "INSERT INTO jobs (id, type, certificate_id, status, scheduled_at) "
        "VALUES ('job-csr', 'Renewal', 'cert-loadtest-bulk-00003', 'AwaitingCSR', now())"
    )
    found = look(bench, own, "work")
    assert failed(found) == {}
    assert "ag-loadtest-00003 is given 1 jobs, as the database has" in found["poll"].detail
    pending = "SELECT count(*) FROM jobs WHERE status = 'Pending'"
    assert own.database.value(pending) == 2
    # Busy all of them, there is nobody to ask as.
    own.database.execute("UPDATE jobs SET agent_id = 'ag-loadtest-00003' WHERE id = 'job-csr'")
    own.database.execute(
        "UPDATE jobs SET type = 'Deployment', status = 'Pending' WHERE id = 'job-csr'"
    )
    found = look(bench, own, "work")
    assert "every agent of the fleet has Pending deployments" in failed(found)["poll"]
    assert own.database.value(pending) == 3


async def ask_a_stranger(answer: Any, server: Server) -> dict[str, CheckFinding]:
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, 0).start()
        host, port = runner.addresses[0][:2]
        checks = checks_of(
            "certificates", database=SessionDatabase(server.database.dsn), fleet=FLEET
        )
        chosen = [c for c in checks if c.__name__ in ("identity", "clock", "bulk_renew")]
        return await ask(chosen, f"http://{host}:{port}")
    finally:
        await runner.cleanup()


def test_a_kind_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match="'agent' is none of agents, certificates, "):
        checks_of("agent", database=SessionDatabase("postgresql://localhost/x"))
