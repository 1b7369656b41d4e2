"""Which rules does a certificate break? Asked before it is stored; a broken rule is noted, no more."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

__all__ = ["Candidate", "broken_rules"]

_RULES = (
    "SELECT id, name, type, config, enabled, severity, created_at, updated_at FROM policy_rules"
    " ORDER BY created_at DESC"
)
_LATEST_VERSION = (
    "SELECT id, certificate_id, serial_number, not_before, not_after, fingerprint_sha256, pem_chain,"
    " csr_pem, key_algorithm, key_size, created_at FROM certificate_versions"
    " WHERE certificate_id = $1 ORDER BY created_at DESC LIMIT 1"
)
_LEAD_DAYS = 30
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What the rules look at."""

    id: str
    issuer_id: str
    names: tuple[str, ...]
    environment: str
    tags: Mapping[str, str]
    expires: datetime


async def broken_rules(
    connection: Any, candidate: Candidate, now: datetime
) -> list[tuple[str, str]]:
    """Id and message of each rule that is broken. A rule that cannot be read breaks nothing."""
    found = []
    for rule in await connection.fetch(_RULES):
        if not rule["enabled"]:
            continue
        try:
            message = await _judge(connection, rule, candidate, now)
        except (ValueError, TypeError, AttributeError) as error:
            _log.error("policy rule %s: %s", rule["id"], error)
            continue
        if message is not None:
            found.append((rule["id"], message))
    return found


async def _judge(connection: Any, rule: Any, candidate: Candidate, now: datetime) -> str | None:
    config = json.loads(rule["config"]) or {}
    match rule["type"]:
        case "AllowedIssuers":
            allowed = config.get("allowed_issuer_ids")
            if allowed and candidate.issuer_id not in allowed:
                return f"the issuer {candidate.issuer_id} is not allowed"
        case "AllowedDomains":
            if not candidate.names:
                return "there is no name"
            for name in candidate.names:
                if config.get("allowed_domains") and not _is_within(
                    name, config["allowed_domains"]
                ):
                    return f"the name {name} is not allowed"
        case "RequiredMetadata":
            if not candidate.tags:
                return "there are no tags"
            for key in config.get("required_keys") or ():
                if key not in candidate.tags:
                    return f"there is no tag {key}"
        case "AllowedEnvironments":
            if not candidate.environment:
                return "there is no environment"
            if config.get("allowed") and candidate.environment not in config["allowed"]:
                return f"the environment {candidate.environment} is not allowed"
        case "RenewalLeadTime":
            lead = timedelta(days=max(0, config.get("lead_time_days") or 0) or _LEAD_DAYS)
            left = candidate.expires - now
            if timedelta() < left < lead:
                return f"it expires in {left}, and is to be renewed {lead} before"
        case "CertificateLifetime":
            most = config.get("max_days") or 0
            if most <= 0:
                return None
            version = await connection.fetchrow(_LATEST_VERSION, candidate.id)
            if version is not None:
                life = version["not_after"] - version["not_before"]
                if life > timedelta(days=most):
                    return f"it holds for {life}, and {most} days are allowed"
        case kind:
            raise ValueError(f"there is no rule of the type {kind}")
    return None


def _is_within(name: str, domains: list[str]) -> bool:
    """Whether a name is one of some domains; a ``*`` before a domain is exactly one label."""
    name = name.strip().lower()
    for domain in (domain.strip().lower() for domain in domains):
        if name == domain:
            return True
        if domain.startswith("*.") and name.endswith(domain[1:]):
            label = name.removesuffix(domain[1:])
            if label and "." not in label:
                return True
    return False
