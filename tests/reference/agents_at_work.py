"""An agent with targets, certificates on their way to them, and its requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_certload.certctl.keys import KeyPair, Leaf, make_keys, read_leaf

if TYPE_CHECKING:
    from .conftest import Questions, Reply, Server


def add_agent(database: Questions, name: str) -> str:
    database.execute(
        "INSERT INTO agents (id, name, hostname, status, last_heartbeat_at, api_key_hash) "
        "VALUES ($1::text, $1::text, $2, 'Online', '2026-01-01', '')",
        name,
        f"{name}.example.test",
    )
    return name


def add_target(database: Questions, agent: str, name: str, config: str | None = None) -> str:
    database.execute(
        "INSERT INTO deployment_targets (id, name, type, agent_id, config) "
        "VALUES ($1::text, $1::text, 'NGINX', $2, $3::text::jsonb)",
        name,
        agent,
        config,
    )
    return name


def add_certificate(database: Questions, name: str, *targets: str, **columns: object) -> str:
    values: dict[str, object] = {
        "id": name,
        "name": name,
        "common_name": f"{name}.example.test",
        "sans": [f"{name}.example.test", "10.0.0.1"],
        "environment": "test",
        "owner_id": "o-loadtest-001",
        "team_id": "t-loadtest",
        "issuer_id": "iss-local",
        "renewal_policy_id": "rp-loadtest",
        "status": "RenewalInProgress",
        **columns,
    }
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    database.execute(
        f"INSERT INTO managed_certificates ({', '.join(values)}, expires_at) "
        f"VALUES ({places}, now())",
        *values.values(),
    )
    for target in targets:
        database.execute("INSERT INTO certificate_target_mappings VALUES ($1, $2)", name, target)
    return name


def add_job(database: Questions, name: str, certificate: str, **columns: object) -> str:
    values: dict[str, object] = {
        "id": name,
        "type": "Renewal",
        "status": "AwaitingCSR",
        "certificate_id": certificate,
        **columns,
    }
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    database.execute(
        f"INSERT INTO jobs ({', '.join(values)}, scheduled_at) VALUES ({places}, now())",
        *values.values(),
    )
    return name


def key_for(certificate: str) -> KeyPair:
    (key,) = make_keys([f"{certificate}.example.test"])
    return key


def leaf_of(pem_chain: str) -> Leaf:
    leaf = read_leaf(pem_chain)
    assert leaf is not None
    return leaf


def work(server: Server, agent: str) -> Any:
    reply = server.get(f"/api/v1/agents/{agent}/work")
    assert (reply.status, reply.content_type) == (200, "application/json"), reply.body
    document = reply.json()
    assert document.keys() == {"jobs", "count"}
    assert document["count"] == len(document["jobs"])
    return document["jobs"]


def submit(server: Server, agent: str, body: Mapping[str, object]) -> Reply:
    return server.ask("POST", f"/api/v1/agents/{agent}/csr", body=body)


def sign(server: Server, agent: str, certificate: str) -> KeyPair:
    """Have a new key signed."""
    key = key_for(certificate)
    reply = submit(server, agent, {"csr_pem": key.csr_pem, "certificate_id": certificate})
    assert (reply.status, reply.content_type) == (202, "application/json"), reply.body
    assert reply.json() == {"status": "csr_signed"}
    return key


def pick_up(server: Server, agent: str, certificate: str) -> str:
    reply = server.get(f"/api/v1/agents/{agent}/certificates/{certificate}")
    assert reply.status == 200, reply.body
    pem: str = reply.json()["certificate_pem"]
    return pem


def say(server: Server, agent: str, job: str, body: Mapping[str, object] | bytes) -> Reply:
    return server.ask("POST", f"/api/v1/agents/{agent}/jobs/{job}/status", body=body)


def row(database: Questions, table: str, name: str) -> Mapping[str, Any]:
    return database.rows(f"SELECT * FROM {table} WHERE id = $1", name)[0]


def versions(database: Questions, certificate: str) -> list[Mapping[str, Any]]:
    """The newest first."""
    return database.rows(
        "SELECT * FROM certificate_versions WHERE certificate_id = $1 ORDER BY created_at DESC",
        certificate,
    )


def audited(database: Questions, action: str, resource: str) -> list[Mapping[str, Any]]:
    return database.rows(
        "SELECT * FROM audit_events WHERE action = $1 AND resource_id = $2 ORDER BY timestamp",
        action,
        resource,
    )
