"""What can a load be about, and what is checked before it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_certload.database import SessionDatabase
from pytest_certload.errors import ConfigurationError
from pytest_certload.proof.preflight import Check

from .acme import AcmeChecks
from .agents import AgentChecks
from .certificates import CertificateChecks
from .common import CommonChecks
from .work import WorkChecks

__all__ = ["KINDS", "Kind", "checks_of"]


Tables = dict[str, Sequence[str]]

_AUDIT: Tables = {
    "audit_events": (
        "id", "actor", "action", "resource_type", "resource_id", "timestamp", "row_hash",
    ),
}  # fmt: skip
_AGENTS: Tables = {
    "agents": (
        "id", "name", "hostname", "status", "last_heartbeat_at", "os", "architecture",
        "ip_address", "version", "retired_at",
    ),
}  # fmt: skip
_CERTIFICATES: Tables = {
    "managed_certificates": ("id", "name", "owner_id", "status", "expires_at", "created_at"),
}
_RENEWALS: Tables = {"jobs": ("id", "type", "certificate_id", "status", "created_at")}
_QUEUE: Tables = {
    "jobs": (
        "id", "type", "certificate_id", "status", "max_attempts", "scheduled_at", "created_at",
    ),
}  # fmt: skip
_WORK: Tables = {
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
_ACME: Tables = {
    "acme_nonces": ("nonce", "issued_at", "expires_at", "used"),
    "certificate_profiles": ("id", "acme_auth_mode"),
}
_ENROLMENT: Tables = {
    "acme_accounts": ("account_id", "status"),
    "acme_orders": ("order_id", "account_id", "status"),
    "managed_certificates": ("id", "name"),
    "certificate_versions": ("certificate_id", "fingerprint_sha256"),
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a load is about.

    Attributes:
        about: In words.
        tables: What the seeds, the scenario and its proof ask for, beside the audit log.
        checks: Its own checks, by their names, in the order in which one's failure explains the next one's.
    """

    about: str
    tables: Mapping[str, Sequence[str]]
    checks: Sequence[str]


#: What a load can be about.
KINDS: Mapping[str, Kind] = {
    "agents": Kind(about="heartbeats", tables=_AGENTS, checks=("agents", "heartbeat")),
    "certificates": Kind(
        about="renewals",
        tables=_CERTIFICATES | _RENEWALS,
        checks=("certificates", "bulk_renew"),
    ),
    "inventory": Kind(
        about="certificates that are entered and listed",
        tables=_CERTIFICATES | {"owners": ("id", "team_id")},
        checks=("list_certificates", "enter_certificate"),
    ),
    "acme": Kind(about="ACME without signatures", tables=_ACME, checks=("acme",)),
    "enrolment": Kind(about="ACME with signatures", tables=_ACME | _ENROLMENT, checks=("acme",)),
    "work": Kind(
        about="what agents are given to do",
        tables=_AGENTS | _WORK,
        checks=("agents", "heartbeat", "targets", "poll"),
    ),
    "deployment": Kind(
        about="certificates on their way to their targets",
        tables=_CERTIFICATES | _WORK,
        checks=("certificates", "bulk_renew", "targets", "poll"),
    ),
    "scheduler": Kind(
        about="jobs that it does, and heartbeats beside it",
        tables=_AGENTS | {"managed_certificates": ("id", "status")} | _QUEUE,
        checks=("certificates", "queue", "agents", "heartbeat"),
    ),
}


def checks_of(
    kind: str, *, database: SessionDatabase, fleet: int | None = None, limited: bool = False
) -> list[Check]:
    """The checks before a load, in the order in which one's failure explains the next one's.

    Args:
        kind: What it is about: one of ``KINDS``.
        database: certctl's.
        fleet: How many agents or certificates there must be; default: all that the seeds make.
        limited: Whether the limiter must be on; else it must be off.

    Raises:
        ConfigurationError: There is no such kind.
    """
    if kind not in KINDS:
        raise ConfigurationError(f"certctl.preflight: {kind!r} is none of {', '.join(KINDS)}")
    common = CommonChecks(
        database=database, tables={**KINDS[kind].tables, **_AUDIT}, limited=limited
    )
    agents = AgentChecks(database=database, fleet=fleet)
    certificates = CertificateChecks(database=database, fleet=fleet)
    work = WorkChecks(database=database, fleet=fleet)
    own: Mapping[str, Check] = {
        "agents": agents.agents,
        "heartbeat": agents.heartbeat,
        "certificates": certificates.certificates,
        "bulk_renew": certificates.bulk_renew,
        "list_certificates": certificates.list_certificates,
        "enter_certificate": certificates.enter_certificate,
        "targets": work.targets,
        "poll": work.poll,
        "queue": work.queue,
        "acme": AcmeChecks(database=database).acme,
    }
    return [
        common.identity,
        common.clock,
        common.schema,
        *(own[name] for name in KINDS[kind].checks),
        # Its burst would empty the bucket that the others need.
        common.limiter,
    ]
