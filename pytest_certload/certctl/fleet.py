"""What do the seeds bring? Names and sizes, as the files in the seed folder have them."""

from __future__ import annotations

from pytest_certload.errors import PreflightError

__all__ = [
    "ACME_PROFILE",
    "AGENTS",
    "AGENT_IDS",
    "API_OWNER",
    "CERTIFICATES",
    "CERTIFICATE_IDS",
    "OWNERS",
    "PAGE",
    "RENEWALS",
    "RENEWAL_IDS",
    "TARGETS",
    "TARGET_IDS",
    "check_size",
]

#: The profile that the seed makes for ACME, in trust mode.
ACME_PROFILE = "prof-loadtest"

#: Who owns what the API tier enters.
API_OWNER = "o-api-loadtest"

#: Sizes of the seeded fleet.
AGENTS = 5_000
CERTIFICATES = 10_000
#: One for each agent; each certificate goes to one of them.
TARGETS = AGENTS
#: Owners of the certificates, 50 each.
OWNERS = 200
#: Certificates that a renewal by criteria looks at, the oldest ones.
PAGE = 50
#: Certificates that renewal-info knows.
RENEWALS = 100

#: Their ids, as patterns for LIKE.
AGENT_IDS = "ag-loadtest-%"
CERTIFICATE_IDS = "cert-loadtest-bulk-%"
TARGET_IDS = "tg-loadtest-%"
RENEWAL_IDS = "cert-loadtest-acme-%"


def check_size(what: str, found: int, expected: int, file: str) -> None:
    """Hold the size of a fleet.

    Args:
        what: What it is made of.
        found: How many there are.
        expected: How many there must be.
        file: The seed file that makes them.

    Raises:
        PreflightError: There are more or fewer.
    """
    if found != expected:
        raise PreflightError(
            f"the database has {found:,} load-test {what} and the scenario wants {expected:,}: the "
            f"seed file {file} is missing from the seed folder (--certload-seed), or is another one"
        )
