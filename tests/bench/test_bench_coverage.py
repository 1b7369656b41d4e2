"""Intervals hold the truth as often as they say: in small, with a queue whose truth is known."""

from __future__ import annotations

import pytest

from bench.coverage import QUEUES, coverage, main


def test_more_often_than_naive_ones() -> None:
    queue = next(queue for queue in QUEUES if queue.name == "M/M/1, load 70%")
    found = coverage(queue, 95, runs=60, count=4_000, seed=3)
    assert found.held >= 0.88
    assert found.naive <= 0.6
    assert found.effective < 1_000


def test_the_table_has_every_queue(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--runs", "2", "--count", "200"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:18].strip() for line in lines[2:]] == [queue.name for queue in QUEUES]
