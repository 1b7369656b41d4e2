"""The bench of enrolments measures what it says, at small size."""

from __future__ import annotations

import re

import pytest

from bench.enrolment import main, offer, signing_costs


def test_what_is_signed_costs_something() -> None:
    costs = signing_costs(repeats=20)
    assert all(0 < cost < 100_000 for cost in costs.values())
    assert costs["account key, certificate key and CSR"] > costs["an account key"]


@pytest.mark.parametrize("transport", ["aiohttp", "fast"])
def test_all_that_is_offered_is_made(transport: str) -> None:
    found = offer(transport, 20, 0.5)
    assert (found.due, found.ok) == (10, 10)
    assert 0 < found.signing_ms < found.cpu_ms
    assert found.p99_ms > 0


def test_the_command_tells_each_load(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "0.3", "--rates", "10"]) == 0
    said = capsys.readouterr().out
    assert re.findall(r"(\w+) +10/s: 3 of 3;", said) == ["aiohttp", "fast"]
