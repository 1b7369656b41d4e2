"""Each kind of policy rule is broken by what it is about, and a rule that cannot be read by nothing."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pytest_certload.certctl.reference.policy import Candidate, broken_rules

NOW = datetime(2026, 11, 25, tzinfo=UTC)


class Rules:
    """A database of one rule, and of one version at most."""

    def __init__(self, kind: str, config: object, *, enabled: bool, life: timedelta | None) -> None:
        self._rule = {"id": "pr", "type": kind, "config": json.dumps(config), "enabled": enabled}
        self._life = life

    async def fetch(self, _: str) -> list[dict[str, Any]]:
        return [self._rule]

    async def fetchrow(self, _: str, certificate: str) -> dict[str, Any] | None:
        assert certificate == "mc"
        return None if self._life is None else {"not_before": NOW, "not_after": NOW + self._life}


def candidate(**changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "id": "mc",
        "issuer_id": "iss-a",
        "names": ("a.example.test",),
        "environment": "staging",
        "tags": {"owner": "me"},
        "expires": NOW + timedelta(days=60),
    }
    return Candidate(**{**values, **changes})


def breaks(
    kind: str,
    config: object,
    *,
    enabled: bool = True,
    life: timedelta | None = None,
    **changes: Any,
) -> bool:
    rules = Rules(kind, config, enabled=enabled, life=life)
    found = asyncio.run(broken_rules(rules, candidate(**changes), NOW))
    assert all(rule == "pr" and message for rule, message in found)
    return bool(found)


@pytest.mark.parametrize(
    ("kind", "config", "good", "bad"),
    [
        ("AllowedIssuers", {"allowed_issuer_ids": ["iss-a"]}, {}, {"issuer_id": "iss-b"}),
        ("AllowedDomains", {}, {}, {"names": ()}),
        (
            "AllowedDomains",
            {"allowed_domains": ["*.Example.test"]},
            {},
            {"names": ("a.b.example.test",)},
        ),
        (
            "AllowedDomains",
            {"allowed_domains": ["a.example.test"]},
            {"names": ("A.example.test",)},
            {"names": ("a.example.test", "example.test")},
        ),
        ("RequiredMetadata", {"required_keys": ["owner"]}, {}, {"tags": {"other": ""}}),
        ("RequiredMetadata", None, {}, {"tags": {}}),
        ("AllowedEnvironments", {"allowed": ["staging"]}, {}, {"environment": "test"}),
        ("AllowedEnvironments", {}, {}, {"environment": ""}),
        (
            "RenewalLeadTime",
            {"lead_time_days": 14},
            {"expires": NOW + timedelta(days=14)},
            {"expires": NOW + timedelta(days=13)},
        ),
        (
            "RenewalLeadTime",
            {},
            {"expires": NOW - timedelta(days=1)},
            {"expires": NOW + timedelta(days=29)},
        ),
        (
            "CertificateLifetime",
            {"max_days": 90},
            {"life": timedelta(days=90)},
            {"life": timedelta(days=91)},
        ),
    ],
)
def test_a_rule_is_broken_by_what_it_is_about(
    kind: str, config: object, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    assert not breaks(kind, config, **good)
    assert breaks(kind, config, **bad)
    assert not breaks(kind, config, enabled=False, **bad)


def test_a_life_that_is_not_known_or_not_limited_breaks_nothing() -> None:
    assert not breaks("CertificateLifetime", {"max_days": 90})
    assert not breaks("CertificateLifetime", {"max_days": 0}, life=timedelta(days=9000))


@pytest.mark.parametrize(
    ("kind", "config"),
    [("NoSuchRule", {}), ("RenewalLeadTime", {"lead_time_days": "x"}), ("AllowedIssuers", [1])],
)
def test_a_rule_that_cannot_be_read_breaks_nothing(kind: str, config: object) -> None:
    assert not breaks(kind, config)
