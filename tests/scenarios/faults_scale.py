"""Who catches what: the faults of the three scale scenarios."""

from __future__ import annotations

from tests.scenarios.caught import (
    BEFORE,
    CHECK,
    DATABASE,
    ERRORS,
    LATENCY,
    LIMITER,
    ONE_WORKER,
    STACK,
    STATUS,
    Caught,
    Run,
)

STORM, RENEWAL, ACME = "agent-storm", "bulk-renewal", "acme-burst"
SPA = "CERTLOAD_REFERENCE_ACME=spa-fallback"

ENQUEUED = "every certificate that was asked for is enqueued"
FORBIDDEN, SERVER_ERROR = "expected status 200, got 403", "expected status 200, got 500"
HEARTBEATS_LOST = "acknowledged heartbeats never showed in the database"
JOBS_LOST = "acknowledged renewal jobs are not in the database"
NONCES_LOST = "acknowledged nonces are not in the database"


def everywhere(fault: str, by: str, message: str) -> tuple[Caught, ...]:
    return tuple(
        Caught(fault=fault, scenario=scenario, by=by, message=message)
        for scenario in (STORM, RENEWAL, ACME)
    )


#: What strikes once in N strikes oftener here, so that a load of 1.5 s meets it.
RUNS: tuple[Run, ...] = (
    Run(
        caught=(
            Caught(fault="forbid-writes", scenario=STORM, by=STATUS, message=FORBIDDEN),
            Caught(fault="forbid-writes", scenario=RENEWAL, by=STATUS, message=FORBIDDEN),
        )
    ),
    Run(
        caught=(
            Caught(fault="error-500", scenario=STORM, by=STATUS, message=SERVER_ERROR),
            Caught(fault="error-500", scenario=RENEWAL, by=STATUS, message=SERVER_ERROR),
        )
    ),
    Run(caught=everywhere("read-only-key", STACK, "a key without :admin")),
    Run(
        caught=(
            Caught(fault="heartbeat-drop", scenario=STORM, by=DATABASE, message=HEARTBEATS_LOST),
            Caught(fault="bulk-zero", scenario=RENEWAL, by=CHECK, message=ENQUEUED),
            Caught(
                fault="html-directory",
                scenario=ACME,
                by=CHECK,
                message="the directory is JSON, not HTML",
            ),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="heartbeat-wrong-agent", scenario=STORM, by=DATABASE, message=HEARTBEATS_LOST
            ),
            Caught(fault="bulk-partial", scenario=RENEWAL, by=CHECK, message=ENQUEUED),
            Caught(
                fault="no-nonce-header",
                scenario=ACME,
                by=CHECK,
                message="a nonce: Replay-Nonce is there",
            ),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="stale-clock",
                scenario=STORM,
                by=DATABASE,
                message=HEARTBEATS_LOST,
            ),
            Caught(fault="bulk-lost", scenario=RENEWAL, by=DATABASE, message=JOBS_LOST),
            Caught(fault="nonce-unstored", scenario=ACME, by=DATABASE, message=NONCES_LOST),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="audit-missing",
                scenario=STORM,
                by=DATABASE,
                message="audit rows: ",
            ),
            Caught(
                fault="jobs-duplicated",
                scenario=RENEWAL,
                by=DATABASE,
                message="renewal jobs that nobody acknowledged",
            ),
            Caught(fault="unknown-profile-500", scenario=ACME, by=STATUS, message=SERVER_ERROR),
        )
    ),
    Run(
        caught=(
            Caught(
                fault="audit-broken",
                scenario=STORM,
                by=DATABASE,
                message="chain",
            ),
            Caught(fault=SPA, scenario=ACME, by=CHECK, message="the directory is JSON, not HTML"),
        )
    ),
    Run(
        every=10,
        environment=(ONE_WORKER,),
        caught=(
            Caught(
                fault="write-lost",
                scenario=STORM,
                by=DATABASE,
                message=HEARTBEATS_LOST,
            ),
            Caught(fault="write-lost", scenario=RENEWAL, by=DATABASE, message=JOBS_LOST),
            Caught(fault="write-lost", scenario=ACME, by=DATABASE, message=NONCES_LOST),
        ),
    ),
    # Once in 200, as a rule: no percentile below 99.5 sees it.
    Run(
        environment=(ONE_WORKER,),
        caught=(
            Caught(
                fault="tail-latency", scenario=STORM, by=LATENCY, message="response time p99.9 = "
            ),
            Caught(
                fault="tail-latency", scenario=ACME, by=LATENCY, message="response time p99.9 = "
            ),
        ),
    ),
    Run(
        every=100,
        environment=(ONE_WORKER,),
        caught=(Caught(fault="stall", scenario=STORM, by=LATENCY, message="response time p95 = "),),
    ),
    # Once in 50, as a rule: the client asks again, so that no iteration hears of it.
    Run(
        environment=(ONE_WORKER,),
        caught=(
            Caught(fault="reset", scenario=STORM, by=ERRORS, message="Connection reset by peer"),
            Caught(fault="reset", scenario=ACME, by=ERRORS, message="unanswered rate = "),
        ),
    ),
    Run(
        every=4,
        environment=(ONE_WORKER,),
        caught=everywhere("reset", ERRORS, "Connection reset by peer"),
    ),
    *(
        Run(
            every=4,
            environment=(ONE_WORKER,),
            transport=transport,
            caught=everywhere("truncated-body", ERRORS, message),
        )
        for transport, message in (
            ("aiohttp", "Response payload is not completed"),
            ("fast", "the connection was lost before the body was whole"),
        )
    ),
    *(
        Run(
            every=2,
            environment=(ONE_WORKER,),
            transport=transport,
            caught=everywhere("wrong-length", ERRORS, message),
        )
        for transport, message in (("aiohttp", "Bad status line"), ("fast", "JSONDecodeError"))
    ),
    Run(
        caught=(
            Caught(
                fault=LIMITER,
                scenario=ACME,
                by=STATUS,
                message="expected status 200, got 429",
            ),
        )
    ),
    Run(
        environment=(LIMITER,),
        caught=(
            Caught(
                fault="429-shape",
                scenario=ACME,
                by=CHECK,
                message="429 with a wrong shape: the global limiter answers text/plain",
            ),
        ),
    ),
    Run(
        preflight="on",
        caught=(
            Caught(fault="forbid-writes", scenario=STORM, by=BEFORE, message="is answered 403"),
            Caught(
                fault="nonce-unstored",
                scenario=ACME,
                by=BEFORE,
                message="the server does not store them",
            ),
            *everywhere(LIMITER, BEFORE, "run certctl with CERTCTL_RATE_LIMIT_ENABLED=false"),
        ),
    ),
    Run(
        preflight="on",
        caught=(
            *everywhere("stale-clock", BEFORE, "the server's clock is"),
            Caught(fault=SPA, scenario=ACME, by=BEFORE, message="mounted over /app/web/dist"),
        ),
    ),
    Run(
        preflight="on",
        caught=(
            Caught(fault="error-500", scenario=RENEWAL, by=BEFORE, message="answers 500"),
            Caught(fault="unknown-profile-500", scenario=ACME, by=BEFORE, message="answers 500"),
        ),
    ),
)
