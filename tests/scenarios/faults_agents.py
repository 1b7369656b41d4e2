"""Who catches what: the faults of the scenarios of agents at work."""

from __future__ import annotations

from tests.scenarios.caught import CHECK, DATABASE, Caught, Run

DAY, CSR, DEPLOY = "agent-day", "csr-submit", "deploy-verify"

CERTIFICATES_LOST = "acknowledged certificates are not in the database"
OTHER_KEY = "the certificate that is picked up is for the CSR's key"

RUNS: tuple[Run, ...] = (
    Run(
        caught=(
            Caught(
                fault="work-twice",
                scenario=DAY,
                by=DATABASE,
                message="acknowledged deliveries are not in the database",
            ),
            Caught(
                fault="status-lost",
                scenario=DEPLOY,
                by=DATABASE,
                message="acknowledged deployments are not in the database",
            ),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="work-lost",
                scenario=DAY,
                by=DATABASE,
                message="deliveries in the database were never acknowledged",
            ),
            Caught(fault="csr-unsigned", scenario=CSR, by=DATABASE, message=CERTIFICATES_LOST),
        )
    ),
    Run(
        caught=(
            Caught(fault="csr-other-key", scenario=CSR, by=DATABASE, message=CERTIFICATES_LOST),
            Caught(fault="csr-other-key", scenario=DEPLOY, by=CHECK, message=OTHER_KEY),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="heartbeat-drop",
                scenario=DAY,
                by=DATABASE,
                message="acknowledged heartbeats never showed in the database",
            ),
            Caught(fault="certificate-stale", scenario=DEPLOY, by=CHECK, message=OTHER_KEY),
        )
    ),
)
