"""Which configuration does the reference server take? certctl's variables, read and checked once."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pytest_certload.errors import ConfigurationError
from pytest_certload.units import parse_duration

from .faults import read_faults

__all__ = ["AcmeLimits", "Config", "Key", "Limit", "hash_key", "read_config"]

_HOST = "127.0.0.1"
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_TRUE = ("true", "1", "yes")
#: Of one statement, as asyncpg sends it; a claimed job is one. certctl's driver sends twice as many.
_MOST_ARGUMENTS = 32767
_FALSE = ("false", "0", "no")


@dataclass(frozen=True, kw_only=True)
class Key:
    """An API key: the name that the audit log shows, and whether it is an administrator's."""

    name: str
    admin: bool


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The global limiter: tokens a second, and how many a bucket holds."""

    rate: float
    burst: int


@dataclass(frozen=True, kw_only=True)
class AcmeLimits:
    """What one ACME account may; 0 is no limit.

    Attributes:
        orders_per_hour: Attempts to order in an hour; certctl's default is 100.
        active_orders: Orders that are not finished, at once; 5.
        challenge_responds_per_hour: Answers to one challenge in an hour; 60.
    """

    orders_per_hour: int
    active_orders: int
    challenge_responds_per_hour: int

    @property
    def in_memory(self) -> bool:
        """Whether a limit is held in one process."""
        return bool(self.orders_per_hour or self.challenge_responds_per_hour)


@dataclass(frozen=True, kw_only=True)
class Config:
    """All that the server is told.

    Attributes:
        host, port: Where it listens, unless it is handed a listening socket.
        certificate, key: PEM files for TLS.
        database_url: The Postgres.
        connections: Connections to it, all workers together.
        keys: API keys by the SHA-256 of the key, in hex; None = authentication is off.
        limit: The global limiter; None = off.
        max_body: Longest request body, in bytes.
        health_seconds: Interval of the agent health sweep, and the age that makes an agent stale.
        processor_seconds: Interval of the job processor.
        claim_limit: Jobs that one of its ticks takes.
        renewal_concurrency: Of these, how many it does at once.
        job_status: State of a new renewal job, which depends on who makes the keys.
        default_profile: ACME profile of paths that name none; None = such paths are refused.
        acme_routed: Whether ``/acme`` is routed; otherwise the start page answers, as it does in
            certctl's image.
        acme_limits: Of ACME accounts.
        acme_finalize: Whether an ACME order can be finished; ``broken``: it fails as certctl's does,
            for want of an owner.
        workers: Processes.
        faults: Those that are switched on, and how often each strikes; see ``read_faults``.
        version: What the version endpoint says.
    """

    host: str
    port: int
    certificate: str
    key: str
    database_url: str
    connections: int
    keys: Mapping[str, Key] | None
    limit: Limit | None
    max_body: int
    health_seconds: float
    processor_seconds: float
    claim_limit: int
    renewal_concurrency: int
    job_status: Literal["AwaitingCSR", "Pending"]
    default_profile: str | None
    acme_routed: bool
    acme_limits: AcmeLimits
    acme_finalize: Literal["issues", "broken"]
    workers: int
    faults: Mapping[str, int]
    version: str


def hash_key(key: str) -> str:
    """The SHA-256 of an API key in hex: keys are looked up by it."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_config(environment: Mapping[str, str]) -> Config:
    """The configuration in a set of environment variables.

    Raises:
        ConfigurationError: One is missing or wrong; the message names it.
    """
    read = _Reader(environment)
    acknowledged = read.flag("CERTCTL_DEMO_MODE_ACK", default=False)
    if read.flag("CERTCTL_AGENT_BOOTSTRAP_TOKEN_DENY_EMPTY", default=True) and not acknowledged:
        read.required("CERTCTL_AGENT_BOOTSTRAP_TOKEN")
    limit = None
    if read.flag("CERTCTL_RATE_LIMIT_ENABLED", default=True):
        limit = Limit(
            rate=read.number("CERTCTL_RATE_LIMIT_RPS", 50.0),
            burst=read.integer("CERTCTL_RATE_LIMIT_BURST", 100),
        )
    keygen = read.choice("CERTCTL_KEYGEN_MODE", ("agent", "server"))
    acme = read.choice("CERTLOAD_REFERENCE_ACME", ("routed", "spa-fallback"))
    finalize = read.choice("CERTLOAD_REFERENCE_ACME_FINALIZE", ("issues", "broken"))
    acme_limits = AcmeLimits(
        orders_per_hour=read.limit("ORDERS_PER_HOUR", 100),
        active_orders=read.limit("CONCURRENT_ORDERS", 5),
        challenge_responds_per_hour=read.limit("CHALLENGE_RESPONDS_PER_HOUR", 60),
    )
    one_process = bool(limit) or acme_limits.in_memory
    connections = read.integer("CERTCTL_DATABASE_MAX_CONNS", 50)
    # Each worker has a pool of its own: of one connection alone it would be no pool.
    workers = min(_cores(), max(1, connections // 2))
    return Config(
        host=read.text("CERTCTL_SERVER_HOST", _HOST),
        port=read.integer("CERTCTL_SERVER_PORT", 8080, most=65535),
        certificate=read.required("CERTCTL_SERVER_TLS_CERT_PATH"),
        key=read.required("CERTCTL_SERVER_TLS_KEY_PATH"),
        database_url=read.required("CERTCTL_DATABASE_URL"),
        connections=connections,
        keys=_keys(read),
        limit=limit,
        max_body=read.integer("CERTCTL_MAX_BODY_SIZE", 1024 * 1024),
        health_seconds=read.seconds("CERTCTL_SCHEDULER_AGENT_HEALTH_CHECK_INTERVAL", "2m"),
        processor_seconds=read.seconds("CERTCTL_SCHEDULER_JOB_PROCESSOR_INTERVAL", "30s"),
        claim_limit=read.integer(
            "CERTCTL_SCHEDULER_JOB_CLAIM_LIMIT", 1000, most=_MOST_ARGUMENTS, zero=1000
        ),
        renewal_concurrency=read.integer("CERTCTL_RENEWAL_CONCURRENCY", 25, zero=1),
        job_status="AwaitingCSR" if keygen == "agent" else "Pending",
        default_profile=read.text("CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID", "") or None,
        acme_routed=acme == "routed",
        acme_limits=acme_limits,
        acme_finalize="issues" if finalize == "issues" else "broken",
        # A limiter's bucket lives in one process, so with a limiter there is only one.
        workers=1 if one_process else read.integer("CERTLOAD_REFERENCE_WORKERS", workers),
        faults=read_faults(
            read.text("CERTLOAD_REFERENCE_FAULTS", ""), name="CERTLOAD_REFERENCE_FAULTS"
        ),
        version=read.text("CERTLOAD_REFERENCE_VERSION", "unknown"),
    )


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, default: str) -> str:
        return self._environment.get(name) or default

    def required(self, name: str) -> str:
        value = self._environment.get(name)
        if not value:
            raise ConfigurationError(f"{name} is not set; certctl does not start without it")
        return value

    def integer(
        self, name: str, default: int, *, most: int | None = None, zero: int | None = None
    ) -> int:
        """A number above zero; ``zero``: what certctl makes of 0."""
        text = self.text(name, str(default))
        if zero is not None and re.fullmatch(r"0{1,9}", text):
            return zero
        if not re.fullmatch(r"[0-9]{1,9}", text) or not 0 < int(text) <= (most or int(text)):
            span = f"from 1 to {most}" if most else "above zero"
            raise ConfigurationError(f"{name}={text}: write a whole number {span}")
        return int(text)

    def limit(self, name: str, default: int) -> int:
        """One of ACME's limits."""
        name = f"CERTCTL_ACME_SERVER_RATE_LIMIT_{name}"
        text = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise ConfigurationError(f"{name}={text}: write a whole number; 0 is no limit")
        return int(text)

    def number(self, name: str, default: float) -> float:
        text = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text) or float(text) == 0:
            raise ConfigurationError(f"{name}={text}: write a number above zero")
        return float(text)

    def seconds(self, name: str, default: str) -> float:
        text = self.text(name, default)
        seconds = parse_duration(text, name=name).total_seconds
        if seconds < 1:
            raise ConfigurationError(f"{name}={text}: write 1s or more")
        return seconds

    def flag(self, name: str, *, default: bool) -> bool:
        # An empty one is as good as none, to certctl as well.
        text = self._environment.get(name)
        if not text:
            return default
        if text not in (*_TRUE, *_FALSE):
            raise ConfigurationError(f"{name}={text}: write true or false")
        return text in _TRUE

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        text = self.text(name, choices[0])
        if text not in choices:
            raise ConfigurationError(f"{name}={text}: write {' or '.join(choices)}")
        return text


def _keys(read: _Reader) -> Mapping[str, Key] | None:
    kind = read.choice("CERTCTL_AUTH_TYPE", ("api-key", "none"))
    if kind == "none":
        acknowledged = read.flag("CERTCTL_DEMO_MODE_ACK", default=False)
        if not acknowledged and not _is_loopback(read.text("CERTCTL_SERVER_HOST", _HOST)):
            raise ConfigurationError(
                "CERTCTL_AUTH_TYPE=none makes everybody an administrator, and CERTCTL_SERVER_HOST is none of "
                "this machine's own addresses: set CERTCTL_DEMO_MODE_ACK=true, or use api-key"
            )
        return None
    secret = read.required("CERTCTL_AUTH_SECRET")
    named = read.text("CERTCTL_API_KEYS_NAMED", "")
    if not named:
        return {
            hash_key(key.strip()): Key(name=f"legacy-key-{number}", admin=False)
            for number, key in enumerate(secret.split(","))
        }
    keys = {}
    for entry in named.split(","):
        name, _, rest = entry.strip().partition(":")
        key, _, role = rest.partition(":")
        if not _NAME.fullmatch(name) or not key or role not in ("", "admin"):
            # The value is not repeated: it holds the key.
            raise ConfigurationError("CERTCTL_API_KEYS_NAMED: write name:key or name:key:admin")
        keys[hash_key(key)] = Key(name=name, admin=role == "admin")
    return keys


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
