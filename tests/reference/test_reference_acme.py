"""The three ACME resources that need no signature, and what certctl answers to wrong requests."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.certctl.fleet import RENEWALS
from pytest_certload.certctl.reference.acme.renewal_info import renewal_serial
from pytest_certload.certctl.renewals import renewals
from pytest_certload.database import SessionDatabase
from pytest_certload.errors import PreflightError

if TYPE_CHECKING:
    from .conftest import Bench, Questions, Reply, Server

SEED = Path(__file__).parents[2] / "seed"
JSON = "application/json"
PROBLEM = "application/problem+json"
PROFILE = "/acme/profile/prof-loadtest"
KEYS = {
    "newNonce": "new-nonce",
    "newAccount": "new-account",
    "newOrder": "new-order",
    "revokeCert": "revoke-cert",
    "keyChange": "key-change",
    "renewalInfo": "renewal-info",
}


def is_problem(reply: Reply, status: int, kind: str) -> bool:
    document = reply.json()
    return (
        (reply.status, reply.content_type) == (status, PROBLEM)
        and document["status"] == status
        and document["type"] == f"urn:ietf:params:acme:error:{kind}"
        and bool(document["detail"])
        and reply.headers["Replay-Nonce"] is None
    )


def is_stored(database: Questions, nonce: str | None) -> bool:
    """Whether it is a nonce of 256 bits that can be used once in the next five minutes."""
    assert nonce is not None
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", nonce)
    rows = database.rows("SELECT * FROM acme_nonces WHERE nonce = $1", nonce)
    if not rows:
        return False
    (row,) = rows
    assert not row["used"]
    life = row["expires_at"] - row["issued_at"]
    assert abs(life - timedelta(minutes=5)) < timedelta(seconds=5)
    return True


def test_the_directory_names_its_resources_at_the_host_that_was_asked(server: Server) -> None:
    reply = server.get(f"{PROFILE}/directory")
    assert (reply.status, reply.content_type) == (200, JSON)
    base = f"https://127.0.0.1:{server.port}{PROFILE}"
    assert reply.json() == {key: f"{base}/{path}" for key, path in KEYS.items()}
    assert reply.headers["Cache-Control"] == "public, max-age=0, no-cache"
    assert is_stored(server.database, reply.headers["Replay-Nonce"])
    mapped = server.ask("GET", f"{PROFILE}/directory", headers={"Host": "certctl.test:9443"})
    assert mapped.json()["newNonce"] == f"https://certctl.test:9443{PROFILE}/new-nonce"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204)])
def test_a_new_nonce(server: Server, method: str, status: int) -> None:
    replies = [server.ask(method, f"{PROFILE}/new-nonce") for _ in range(2)]
    for reply in replies:
        assert (reply.status, reply.body) == (status, b"")
        assert reply.headers["Cache-Control"] == "no-store"
        assert is_stored(server.database, reply.headers["Replay-Nonce"])
    assert replies[0].headers["Replay-Nonce"] != replies[1].headers["Replay-Nonce"]


@pytest.mark.parametrize("resource", ["directory", "new-nonce", "renewal-info/aaaa.bbbb"])
def test_an_unknown_profile_is_a_failure_of_the_server(server: Server, resource: str) -> None:
    before = server.database.value("SELECT count(*) FROM acme_nonces")
    reply = server.get(f"/acme/profile/prof-test/{resource}")
    assert is_problem(reply, 500, "serverInternal")
    assert server.database.value("SELECT count(*) FROM acme_nonces") == before


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_a_profile_that_is_switched_off_answers_too(server: Server, enabled: str) -> None:
    server.database.execute(
        f"INSERT INTO certificate_profiles (id, name, enabled)"
        f" VALUES ('prof-{enabled}', 'profile {enabled}', {enabled})"
    )
    assert server.get(f"/acme/profile/prof-{enabled}/directory").status == 200


@pytest.mark.parametrize(
    "renewal_id", ["nodot", "two.dots.here", ".bbbb", "aaaa.", "aa+a.bbbb", "aaaa.bbb=", "a.bbbb"]
)
def test_what_is_no_renewal_id_is_malformed(server: Server, renewal_id: str) -> None:
    assert is_problem(server.get(f"{PROFILE}/renewal-info/{renewal_id}"), 400, "malformed")


def test_a_serial_that_nobody_has_is_not_found(server: Server) -> None:
    reply = server.get(f"{PROFILE}/renewal-info/aaaa.bbbb")
    assert is_problem(reply, 404, "malformed")
    assert reply.json()["detail"] == "resource not found"


def b64u(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def renewal_id(serial: int) -> str:
    size = (serial.bit_length() + 7) // 8
    return f"{b64u(bytes(range(20)))}.{b64u(serial.to_bytes(size, 'big'))}"


def add_version(
    database: Questions,
    serial: int,
    *,
    lifetime: tuple[datetime, datetime],
    policy: str = "rp-loadtest",
    issuer: str = "iss-local",
) -> None:
    name = f"mc-serial-{serial:x}"
    not_before, expires = lifetime
    database.execute(
        "INSERT INTO managed_certificates (id, name, common_name, environment, owner_id, team_id,"
        " issuer_id, renewal_policy_id, status, expires_at) VALUES ($1::text, $1::text, $1::text,"
        " 'test', 'o-loadtest-001', 't-loadtest', $2, $3, 'Active', $4)",
        name,
        issuer,
        policy,
        expires,
    )
    database.execute(
        "INSERT INTO certificate_versions (id, certificate_id, serial_number, not_before,"
        " not_after, fingerprint_sha256, pem_chain)"
        " VALUES ($1::text, $1::text, $2, $3, $4, $1::text, '')",
        name,
        # As certctl stores it.
        f"{serial:040x}",
        not_before,
        expires,
    )


def window(reply: Reply) -> tuple[datetime, datetime]:
    assert (reply.status, reply.content_type) == (200, JSON)
    assert reply.headers["Retry-After"] == "21600"
    assert reply.headers["Cache-Control"] == "no-store"
    suggested: dict[str, Any] = reply.json()["suggestedWindow"]
    assert suggested.keys() == {"start", "end"}
    assert all(instant.endswith("Z") for instant in suggested.values())
    start, end = (datetime.fromisoformat(suggested[name]) for name in ("start", "end"))
    return start, end


def test_the_seeded_certificates_have_the_window_that_the_scenario_expects(bench: Bench) -> None:
    database = bench.seeded()
    database.execute((SEED / "04_acme.sql").read_text("utf-8"))
    with bench.serving(database) as server:
        expected = asyncio.run(renewals(SessionDatabase(database.dsn)))
        assert len({renewal.id for renewal in expected}) == RENEWALS
        for renewal in expected[::20]:
            reply = server.get(f"{PROFILE}/renewal-info/{renewal.id}")
            assert window(reply) == (renewal.start, renewal.end)
            assert renewal.is_named_by(reply.json())


def test_another_number_of_seeded_certificates_is_no_start(bench: Bench) -> None:
    database = bench.seeded()
    with pytest.raises(
        PreflightError, match=r"0 load-test certificates for renewal-info .*04_acme"
    ):
        asyncio.run(renewals(SessionDatabase(database.dsn)))


class TestRenewalWindow:
    FULL = int("9" + "5" * 38 + "a", 16)

    @pytest.fixture(scope="class")
    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC).replace(microsecond=0)

    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def policies(server: Server) -> None:
        server.database.execute(
            "INSERT INTO renewal_policies (id, name, renewal_window_days)"
            " VALUES ('rp-no-window', 'no window', 0)"
        )

    def test_is_the_first_half_of_the_policys_window(self, server: Server, now: datetime) -> None:
        expires = now + timedelta(days=80)
        add_version(server.database, self.FULL, lifetime=(now, expires))
        assert window(server.get(f"{PROFILE}/renewal-info/{renewal_id(self.FULL)}")) == (
            expires - timedelta(days=30),
            expires - timedelta(days=15),
        )

    def test_does_not_begin_in_the_past(self, server: Server, now: datetime) -> None:
        serial, expires = self.FULL + 1, now + timedelta(days=20)
        add_version(server.database, serial, lifetime=(now - timedelta(days=70), expires))
        start, end = window(server.get(f"{PROFILE}/renewal-info/{renewal_id(serial)}"))
        assert now <= start <= now + timedelta(minutes=1)
        assert end == expires - timedelta(days=15)

    def test_is_the_last_third_when_the_policy_has_none(
        self, server: Server, now: datetime
    ) -> None:
        serial = self.FULL + 2
        lifetime = (now, now + timedelta(days=90))
        add_version(server.database, serial, lifetime=lifetime, policy="rp-no-window")
        start, end = window(server.get(f"{PROFILE}/renewal-info/{renewal_id(serial)}"))
        assert (start, end) == (now + timedelta(days=60), now + timedelta(days=80))

    def test_is_now_for_what_has_expired(self, server: Server, now: datetime) -> None:
        serial = self.FULL + 3
        lifetime = (now - timedelta(days=90), now - timedelta(days=1))
        add_version(server.database, serial, lifetime=lifetime)
        start, end = window(server.get(f"{PROFILE}/renewal-info/{renewal_id(serial)}"))
        assert now <= start <= now + timedelta(minutes=1)
        assert end - start == timedelta(days=1)

    def test_a_serial_that_begins_with_a_zero_is_never_found(
        self, server: Server, now: datetime
    ) -> None:
        serial = int("9" * 39, 16)
        add_version(server.database, serial, lifetime=(now, now + timedelta(days=80)))
        reply = server.get(f"{PROFILE}/renewal-info/{renewal_id(serial)}")
        assert is_problem(reply, 404, "malformed")

    def test_another_issuers_certificate_is_not_found(self, server: Server, now: datetime) -> None:
        serial = self.FULL + 4
        server.database.execute(
            "INSERT INTO issuers (id, name, type) VALUES ('iss-other', 'other', 'GenericCA')"
        )
        lifetime = (now, now + timedelta(days=80))
        add_version(server.database, serial, lifetime=lifetime, issuer="iss-other")
        reply = server.get(f"{PROFILE}/renewal-info/{renewal_id(serial)}")
        assert is_problem(reply, 404, "malformed")


@pytest.mark.parametrize("resource", ["directory", "new-nonce", "renewal-info/aaaa.bbbb"])
def test_a_path_without_a_profile_is_refused(server: Server, resource: str) -> None:
    assert is_problem(server.get(f"/acme/{resource}"), 403, "userActionRequired")


class TestDefaultProfile:
    @pytest.fixture(scope="class")
    @staticmethod
    def with_default(bench: Bench, server: Server) -> Iterator[Server]:
        with bench.serving(
            server.database, CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID="prof-loadtest"
        ) as other:
            yield other

    def test_paths_without_a_profile_are_its(self, with_default: Server) -> None:
        reply = with_default.get("/acme/directory")
        base = f"https://127.0.0.1:{with_default.port}/acme"
        assert reply.json() == {key: f"{base}/{path}" for key, path in KEYS.items()}
        nonce = with_default.ask("HEAD", "/acme/new-nonce").headers["Replay-Nonce"]
        assert is_stored(with_default.database, nonce)
        reply = with_default.get("/acme/renewal-info/aaaa.bbbb")
        assert is_problem(reply, 404, "malformed")

    def test_paths_that_name_one_are_that_ones(self, with_default: Server) -> None:
        reply = with_default.get("/acme/profile/prof-test/directory")
        assert is_problem(reply, 500, "serverInternal")


def test_any_key_will_do_but_one_is_needed(server: Server) -> None:
    assert server.get(f"{PROFILE}/directory", key=server.reader).status == 200
    assert server.get(f"{PROFILE}/directory", key=None).status == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/acme"),
        ("GET", "/acme/profile"),
        ("GET", f"{PROFILE}/nowhere"),
        ("GET", f"{PROFILE}/directory/more"),
        ("GET", f"{PROFILE}/renewal-info"),
        ("GET", f"{PROFILE}/renewal-info/a.b/c"),
        ("GET", f"{PROFILE}/new-account"),
        ("POST", f"{PROFILE}/key-change"),
        ("POST", f"{PROFILE}/revoke-cert"),
    ],
)
def test_what_there_is_not(server: Server, method: str, path: str) -> None:
    reply = server.ask(method, path)
    assert (reply.status, reply.content_type) == (404, "text/plain; charset=utf-8")


@given(st.binary(min_size=1, max_size=20), st.binary(min_size=1, max_size=20))
def test_the_serial_of_a_renewal_id_has_no_leading_zeros(key_id: bytes, serial: bytes) -> None:
    found = renewal_serial(f"{b64u(key_id)}.{b64u(serial)}")
    assert found is not None
    assert int(found, 16) == int.from_bytes(serial, "big")
    assert found == "0" or not found.startswith("0")
    assert found == found.lower()


@given(st.text(alphabet="abcXYZ019-_.=+/ é", max_size=12))
def test_a_renewal_id_is_two_parts_in_base64url(text: str) -> None:
    parts = text.split(".")
    well_formed = len(parts) == 2 and all(
        re.fullmatch("[A-Za-z0-9_-]+", part) and len(part) % 4 != 1 for part in parts
    )
    assert (renewal_serial(text) is not None) == well_formed
