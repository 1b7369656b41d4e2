"""Who catches what: the faults of the ACME flow and of the limits."""

from __future__ import annotations

from tests.scenarios.caught import CHECK, DATABASE, ONE_WORKER, Caught, Run
from tests.scenarios.faults_scale import NONCES_LOST

FLOW, ACCOUNT, ADDRESS = "acme-flow", "acme-limits", "rate-limit"
COUNT = "count of answers"

RUNS: tuple[Run, ...] = (
    Run(
        caught=(
            Caught(
                fault="renewal-window-late",
                scenario=FLOW,
                by=CHECK,
                message="the window to renew in is the one that follows from policy and expiry",
            ),
            Caught(
                fault="acme-limit-off",
                scenario=ACCOUNT,
                by=DATABASE,
                message="orders that were let through: ",
            ),
            Caught(
                fault="limiter-lax",
                scenario=ADDRESS,
                by=COUNT,
                message="requests let through above the limit: ",
            ),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="acme-429-shape",
                scenario=ACCOUNT,
                by=CHECK,
                message="429 with a wrong shape: the limits of an ACME account answer",
            ),
            Caught(
                fault="429-shape",
                scenario=ADDRESS,
                by=CHECK,
                message="429 with a wrong shape: the global limiter answers text/plain",
            ),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="acme-nonce-reused",
                scenario=ACCOUNT,
                by=DATABASE,
                message="nonces that were used and can be used again: ",
            ),
        )
    ),
    Run(
        every=10,
        environment=(ONE_WORKER,),
        caught=(
            Caught(fault="write-lost", scenario=FLOW, by=DATABASE, message=NONCES_LOST),
            Caught(fault="write-lost", scenario=ADDRESS, by=DATABASE, message=NONCES_LOST),
        ),
    ),
)
