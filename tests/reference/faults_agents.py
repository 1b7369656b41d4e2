"""What each fault of agents' work changes, and what it leaves as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .agents_at_work import (
    add_certificate,
    add_job,
    add_target,
    leaf_of,
    pick_up,
    row,
    say,
    sign,
    versions,
    work,
)

if TYPE_CHECKING:
    from .conftest import Server

AGENT, TARGET, CERTIFICATE = "ag-fault", "tg-fault", "mc-work"


def busy(server: Server) -> list[str]:
    """Give the agent two deployments."""
    add_target(server.database, AGENT, TARGET)
    add_certificate(server.database, CERTIFICATE, TARGET)
    return [
        add_job(
            server.database,
            f"job-{number}",
            CERTIFICATE,
            type="Deployment",
            status="Pending",
            agent_id=AGENT,
            target_id=TARGET,
        )
        for number in range(2)
    ]


def renewing(server: Server) -> None:
    """Give it a CSR to send."""
    add_target(server.database, AGENT, TARGET)
    add_certificate(server.database, CERTIFICATE, TARGET)
    add_job(server.database, "job-csr", CERTIFICATE)


def work_twice(server: Server) -> None:
    jobs = busy(server)
    for _ in range(2):
        assert [job["id"] for job in work(server, AGENT)] == jobs
    assert server.database.column("SELECT DISTINCT status FROM jobs") == ["Pending"]


def work_lost(server: Server) -> None:
    jobs = busy(server)
    assert [job["id"] for job in work(server, AGENT)] == jobs[:1]
    assert work(server, AGENT) == []
    assert server.database.column("SELECT DISTINCT status FROM jobs") == ["Running"]


def csr_unsigned(server: Server) -> None:
    renewing(server)
    sign(server, AGENT, CERTIFICATE)
    assert versions(server.database, CERTIFICATE) == []
    assert row(server.database, "jobs", "job-csr")["status"] == "Completed"
    assert row(server.database, "managed_certificates", CERTIFICATE)["status"] == "Active"
    assert work(server, AGENT) == []


def csr_other_key(server: Server) -> None:
    renewing(server)
    key = sign(server, AGENT, CERTIFICATE)
    (version,) = versions(server.database, CERTIFICATE)
    leaf = leaf_of(version["pem_chain"])
    assert leaf.point not in (None, key.point)
    assert (leaf.fingerprint, version["csr_pem"]) == (version["fingerprint_sha256"], key.csr_pem)
    assert [job["type"] for job in work(server, AGENT)] == ["Deployment"]


def certificate_stale(server: Server) -> None:
    renewing(server)
    first = sign(server, AGENT, CERTIFICATE)
    assert leaf_of(pick_up(server, AGENT, CERTIFICATE)).point == first.point, "there is no other"
    second = sign(server, AGENT, CERTIFICATE)
    newest = versions(server.database, CERTIFICATE)[0]
    assert leaf_of(newest["pem_chain"]).point == second.point
    assert leaf_of(pick_up(server, AGENT, CERTIFICATE)).point == first.point


def status_lost(server: Server) -> None:
    jobs = busy(server)
    work(server, AGENT)
    reply = say(server, AGENT, jobs[0], {"status": "Completed"})
    assert (reply.status, reply.json()) == (200, {"status": "updated"})
    assert row(server.database, "jobs", jobs[0])["status"] == "Running"
    assert say(server, AGENT, "job-nobody", {"status": "Completed"}).status == 500


EFFECTS: dict[str, Callable[[Server], None]] = {
    "work-twice": work_twice,
    "work-lost": work_lost,
    "csr-unsigned": csr_unsigned,
    "csr-other-key": csr_other_key,
    "certificate-stale": certificate_stale,
    "status-lost": status_lost,
}
