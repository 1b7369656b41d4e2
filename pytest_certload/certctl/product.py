"""How is certctl run for a load test? Everything product-specific that a stack needs.

The recipe is that of certctl's own configuration: an administrator's named key (a plain secret is
read-only), the bootstrap token without which it refuses to start, the limiter off (it counts by
address, and a load generator is one address), schedulers that stay quiet during a measurement,
and an empty dashboard directory (with a dashboard, /acme answers with its start page).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pytest_certload.stack import ProductSpec, ReferenceImage, ServerIdentity, ServerSetup

__all__ = [
    "AUTHORISED_PATH",
    "KEY_NAME",
    "PRODUCT",
    "REFERENCE_MODULE",
    "VERSION_PATH",
    "environment",
    "identify",
]

KEY_NAME = "loadtest"
VERSION_PATH = "/api/v1/version"
AUTHORISED_PATH = "/api/v1/auth/check"
REFERENCE_MODULE = "pytest_certload.certctl.reference"
REFERENCE_SERVER = "certctl-reference"
# Longer than any run: Go durations have no days.
QUIET = "720h"
QUIET_INTERVALS = (
    "CERTCTL_SCHEDULER_RENEWAL_CHECK_INTERVAL",
    "CERTCTL_SCHEDULER_JOB_PROCESSOR_INTERVAL",
    "CERTCTL_SCHEDULER_RETRY_INTERVAL",
    "CERTCTL_SCHEDULER_NOTIFICATION_PROCESS_INTERVAL",
    "CERTCTL_NOTIFICATION_RETRY_INTERVAL",
    "CERTCTL_JOB_TIMEOUT_INTERVAL",
    "CERTCTL_JOB_AWAITING_CSR_TIMEOUT",
    "CERTCTL_SHORT_LIVED_EXPIRY_CHECK_INTERVAL",
    "CERTCTL_AUDIT_CHAIN_VERIFY_INTERVAL",
    "CERTCTL_ACME_SERVER_GC_INTERVAL",
)
ACME_LIMITS = (
    "CERTCTL_ACME_SERVER_RATE_LIMIT_ORDERS_PER_HOUR",
    "CERTCTL_ACME_SERVER_RATE_LIMIT_CONCURRENT_ORDERS",
    "CERTCTL_ACME_SERVER_RATE_LIMIT_KEY_CHANGE_PER_HOUR",
    "CERTCTL_ACME_SERVER_RATE_LIMIT_CHALLENGE_RESPONDS_PER_HOUR",
)
_HERE = Path(__file__).resolve().parent


def environment(setup: ServerSetup) -> dict[str, str]:
    """The server's environment variables for a set-up."""
    return {
        "CERTCTL_SERVER_HOST": setup.host,
        "CERTCTL_SERVER_PORT": str(setup.port),
        "CERTCTL_SERVER_TLS_CERT_PATH": setup.cert_path,
        "CERTCTL_SERVER_TLS_KEY_PATH": setup.key_path,
        "CERTCTL_DATABASE_URL": setup.database_url,
        "CERTCTL_AUTH_TYPE": "api-key",
        # Must not be empty, and is ignored as soon as there are named keys.
        "CERTCTL_AUTH_SECRET": setup.secret,
        "CERTCTL_API_KEYS_NAMED": f"{KEY_NAME}:{setup.token}:admin",
        # Registration compares it with the caller's key, so they must be one.
        "CERTCTL_AGENT_BOOTSTRAP_TOKEN": setup.token,
        "CERTCTL_CONFIG_ENCRYPTION_KEY": setup.secret,
        "CERTCTL_RATE_LIMIT_ENABLED": "false",
        # Of ACME accounts: a load may have a single one.
        **dict.fromkeys(ACME_LIMITS, "0"),
        "CERTCTL_LOG_LEVEL": "warn",
        # In its image the reference server is source alone, which does not know its version.
        "CERTLOAD_REFERENCE_VERSION": metadata.version("pytest-certload"),
        # Two minutes is certctl's default: a fleet that sends heartbeats must stay Online.
        "CERTCTL_SCHEDULER_AGENT_HEALTH_CHECK_INTERVAL": "2m",
        **dict.fromkeys(QUIET_INTERVALS, QUIET),
    }


def identify(version: Mapping[str, Any]) -> ServerIdentity:
    """Who answers at /api/v1/version.

    Raises:
        KeyError: The document has no version, so it is not certctl's.
    """
    number = str(version["version"])
    if version.get("server") == REFERENCE_SERVER:
        return ServerIdentity(server=f"certctl reference server {number}", is_reference=True)
    return ServerIdentity(server=f"certctl {number}", is_reference=False)


def permissions(check: Mapping[str, Any]) -> Collection[str]:
    """The permissions in the answer of /api/v1/auth/check that hold everywhere."""
    return {
        str(entry["permission"])
        for entry in check.get("effective_permissions") or ()
        if entry.get("scope_type", "global") == "global"
    }


def _seed_dir() -> Path:
    # In a wheel the seeds lie beside this file; in a checkout, at its top.
    packaged = _HERE / "seed"
    return packaged if packaged.is_dir() else _HERE.parent.parent / "seed"


PRODUCT = ProductSpec(
    name="certctl",
    image="ghcr.io/certctl-io/certctl-server:latest",
    port=8443,
    reference_module=REFERENCE_MODULE,
    reference_image=ReferenceImage(
        dockerfile=_HERE / "reference_image" / "Dockerfile",
        base_image="debian:bookworm-slim",
        requirements=("aiohttp", "asyncpg", "cryptography"),
    ),
    environment=environment,
    migrate_arguments=("--migrate-only",),
    empty_mounts=("/app/web/dist",),
    seed_dir=_seed_dir(),
    ready_path="/ready",
    version_path=VERSION_PATH,
    identify=identify,
    authorised_path=AUTHORISED_PATH,
    permissions=permissions,
    required_permissions=frozenset(
        {
            "agent.heartbeat",
            "agent.job.poll",
            "agent.job.complete",
            "cert.issue",
            "cert.read",
            "verification.run",
        }
    ),
    token_help=(
        f"Start certctl with CERTCTL_API_KEYS_NAMED={KEY_NAME}:KEY:admin and give KEY as the "
        "token: a key without :admin, or one from CERTCTL_AUTH_SECRET, may only read."
    ),
)
