"""Who catches what: the faults of the ACME scenarios."""

from __future__ import annotations

from tests.scenarios.caught import BEFORE, DATABASE, Caught, Run

ENROLMENT = "acme-enrolment"

RUNS: tuple[Run, ...] = (
    Run(
        caught=(
            Caught(
                fault="acme-cert-other-key",
                scenario=ENROLMENT,
                by="certificates",
                message="wrong certificates: {'the certificate is for another key':",
            ),
        ),
    ),
    Run(
        caught=(
            Caught(
                fault="acme-order-lost",
                scenario=ENROLMENT,
                by=DATABASE,
                message="acknowledged orders are not in the database",
            ),
        ),
    ),
    # A server that does not look is quicker than an honest one.
    *(
        Run(
            preflight="on",
            caught=(Caught(fault=fault, scenario=ENROLMENT, by=BEFORE, message=message),),
        )
        for fault, message in (
            ("acme-signature-unchecked", "a request that another key has signed is refused"),
            ("acme-nonce-reused", "a nonce that was used is refused as badNonce"),
        )
    ),
    # The client signs again and gets through: no status tells it, only the count.
    Run(
        every=20,
        caught=(
            Caught(
                fault="acme-bad-nonce",
                scenario=ENROLMENT,
                by="count of retries",
                message="fresh nonces that were refused:",
            ),
        ),
    ),
)
