"""Connector tier: 100 new TLS connections a minute to each kind of daemon, each a full handshake."""

from __future__ import annotations

import pytest

from pytest_certload import ConstantArrivalRate, Iteration, Load, Scenario, ms, seconds
from pytest_certload.certctl.connectors import Connectors, Target

RATE = "100/min"
DURATION = "5m"
#: p95 and p99. An F5 answers from its management plane.
LIMITS = {"f5": (seconds(1.5), seconds(5))}
USUAL = (seconds(1), seconds(3))


@pytest.mark.scale
@pytest.mark.tier_connector
async def test_connector_tier(load: Load, certload_connectors: Connectors) -> None:
    ledgers = {t.name: load.ledger(f"full {t.name} handshakes") for t in certload_connectors}
    seen = {target.name: target.watch() for target in certload_connectors}

    def scenario(target: Target, start: int) -> Scenario:
        ledger = ledgers[target.name]

        async def handshake(iteration: Iteration) -> None:
            ledger.asked(target.handshake(iteration.index))
            async with iteration.client.get(target.path(iteration.index)) as response:
                iteration.expect(response, 200)
                await response.read()
            target.check_handshake(iteration)
            ledger.acknowledged(target.handshake(iteration.index))

        return Scenario(
            name=f"{target.name}-handshake",
            base_url=target.base_url,
            executor=ConstantArrivalRate(rate=RATE, duration=DURATION, max_in_flight=50),
            iteration=handshake,
            # In turn: at once, one's handshake would wait for the generator's part in another's.
            start=ms(start),
        )

    result = await load.run(
        *(scenario(target, 150 * n) for n, target in enumerate(certload_connectors)),
        connections="fresh",
        ca=certload_connectors.ca_path,
        preflight=certload_connectors.preflight(),
    )

    for target in certload_connectors:
        figures = result[f"{target.name}-handshake"]
        p95, p99 = LIMITS.get(target.name, USUAL)
        for part in (figures.connect, figures.tls, figures.response_time):
            assert part.p95 < p95
            assert part.p99 < p99
        assert figures.error_rate < 0.01
        # Keys are of full handshakes: a resumed session is one that is missing and one too many.
        await figures.traces(
            ledgers[target.name], seen[target.name], where=f"the log of {target.name}"
        )
