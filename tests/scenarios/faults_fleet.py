"""Who catches what: the faults of the scheduler's drain and of bulk renewal at fleet scale."""

from __future__ import annotations

from tests.scenarios.caught import CHECK, DATABASE, LATENCY, Caught, Run

DRAIN, FLEETS = "scheduler-drain-10000", "bulk-renewal-fleets-10k"

RUNS: tuple[Run, ...] = (
    Run(
        caught=(
            Caught(
                fault="drain-lost",
                scenario=DRAIN,
                by=DATABASE,
                message="acknowledged done jobs are not in the database",
            ),
            Caught(
                fault="bulk-lost",
                scenario=FLEETS,
                by=DATABASE,
                message="acknowledged renewal jobs are not in the database",
            ),
        )
    ),
    Run(
        # Of the last ones there would be no second row yet when they are looked up.
        every=20,
        caught=(
            Caught(
                fault="drain-twice",
                scenario=DRAIN,
                by=DATABASE,
                message="done jobs are in the database more than once",
            ),
        ),
    ),
    Run(
        caught=(
            Caught(
                fault="bulk-other-owner",
                scenario=FLEETS,
                by=CHECK,
                message="the owner's oldest certificates are enqueued, and no others",
            ),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="drain-slow",
                scenario=DRAIN,
                by=LATENCY,
                message="time to 100 % of the renewal jobs = ",
            ),
        )
    ),
)
