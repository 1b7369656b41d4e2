"""A slowdown of a tenth is found, and equal runs are called equal: in small, with fewer pairs."""

from __future__ import annotations

import pytest

from bench.regression import RATE, SECONDS, SERVERS, Server, detection, main


@pytest.mark.parametrize("server", [s for s in SERVERS if s.bar], ids=lambda server: server.name)
def test_a_tenth_is_found_and_equals_are_not_called_different(server: Server) -> None:
    found = detection(server, pairs=20, count=RATE * SECONDS, seed=5)
    assert found.found >= 0.95
    assert found.different <= 0.05
    assert found.smallest < 0.11


def test_what_cannot_be_seen_is_said() -> None:
    (busy,) = (server for server in SERVERS if server.name == "M/M/1, load 70%")
    found = detection(busy, pairs=6, count=4_000, seed=5)
    assert found.smallest > 0.3


def test_the_table_has_every_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pairs", "2", "--count", "200"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line[:27].strip() for line in lines[3 : 3 + len(SERVERS)]] == [s.name for s in SERVERS]
    assert any(line.startswith("bar missed: ") for line in lines)
