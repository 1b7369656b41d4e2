"""What is kept of a run? One document, written as ``bench.json``; README.md describes its keys."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.bars import Bar
from bench.figures import Findings, ratio
from bench.generators import Absent
from bench.lag import SHARES
from bench.machine import Machine
from bench.plan import Plan

__all__ = ["SCHEMA", "Record", "write_record"]

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Record:
    """A whole run.

    Attributes:
        started_at: UTC, ISO 8601.
        seconds: How long it took.
        machine: Where.
        plan: How much.
        tools: Version of each generator that was measured.
        left_out: Generators that were not there.
        findings: What was measured.
        bars: What that means.
        failure: Why the run ended early; None when it did not.
    """

    started_at: str
    seconds: float
    machine: Machine
    plan: Plan
    tools: dict[str, str]
    left_out: tuple[Absent, ...]
    findings: Findings
    bars: tuple[Bar, ...]
    failure: str | None = None

    def document(self) -> dict[str, Any]:
        """The same as plain data."""
        figures = self.findings.figures
        return {
            "schema": SCHEMA,
            "started_at": self.started_at,
            "seconds": round(self.seconds, 1),
            "machine": asdict(self.machine),
            "plan": asdict(self.plan),
            "tools": self.tools,
            "left_out": {absent.name: absent.reason for absent in self.left_out},
            "failure": self.failure,
            "figures": [
                {
                    **asdict(figure),
                    "median": figure.median,
                    "low": figure.low,
                    "high": figure.high,
                    "ratio_to_k6": ratio(figures, figure),
                }
                for figure in figures
            ],
            "curves": {
                "shares": SHARES,
                "lag_ms": [asdict(curve) for curve in self.findings.curves],
            },
            "bars": [asdict(bar) for bar in self.bars],
            "notes": self.findings.notes,
        }


def write_record(record: Record, folder: Path) -> Path:
    """Write ``bench.json`` into a folder and return its path."""
    path = folder / "bench.json"
    text = json.dumps(record.document(), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path
