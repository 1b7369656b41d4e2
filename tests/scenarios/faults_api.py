"""Who catches what: the faults of the API tier."""

from __future__ import annotations

from tests.scenarios.caught import CHECK, DATABASE, Caught, Run

API = "api-tier"

#: A failure tells of both scenarios that run together, so a run may have a fault for each.
RUNS: tuple[Run, ...] = (
    Run(
        caught=(
            Caught(
                fault="certificate-lost",
                scenario=API,
                by=DATABASE,
                message="acknowledged certificates are not in the database",
            ),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="expiry-unstored",
                scenario=API,
                by=DATABASE,
                message="certificates with another expiry than they were sent with",
            ),
            Caught(
                fault="list-short",
                scenario=API,
                by=CHECK,
                message="a page has 50 certificates, none twice",
            ),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="list-stale",
                scenario=API,
                by=CHECK,
                message="the total counts every certificate that is acknowledged",
            ),
        )
    ),
)
