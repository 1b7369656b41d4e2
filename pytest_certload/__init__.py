"""Load scenarios as pytest tests.

Installed but unused it costs nothing: the public names are imported when they are first asked for
(PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine.executors.constant_arrival_rate import ConstantArrivalRate
    from .engine.executors.constant_vus import ConstantVUs
    from .engine.executors.fleet_arrivals import FleetArrivals
    from .engine.executors.poisson_arrival_rate import PoissonArrivalRate
    from .engine.executors.ramping_arrival_rate import RampingArrivalRate
    from .engine.executors.ramping_vus import RampingVUs
    from .engine.executors.replayed_arrivals import ReplayedArrivals
    from .engine.executors.shared_iterations import SharedIterations
    from .engine.scenario import Iteration, Scenario
    from .engine.stages import Stage
    from .errors import (
        CertloadError,
        ConfigurationError,
        IntegrityFailed,
        InvalidRun,
        PreflightError,
        ReportError,
        ScaleFailure,
        ScenarioError,
        SeedError,
        StackDied,
        StackError,
        ThresholdsMissed,
    )
    from .proof.backlog import Backlog, Counted
    from .proof.ledger import Ledger
    from .proof.preflight import Preflight
    from .proof.sightings import Sightings
    from .samples import Outcome, Samples
    from .session import Load
    from .units import Duration, Rate, minutes, ms, seconds, us
    from .verdict.measure import Measure
    from .verdict.result import CombinedResult, RunResult, StepResult

_HOMES = {
    "Backlog": "proof.backlog",
    "CertloadError": "errors",
    "CombinedResult": "verdict.result",
    "ConfigurationError": "errors",
    "ConstantArrivalRate": "engine.executors.constant_arrival_rate",
    "ConstantVUs": "engine.executors.constant_vus",
    "Counted": "proof.backlog",
    "Duration": "units",
    "FleetArrivals": "engine.executors.fleet_arrivals",
    "IntegrityFailed": "errors",
    "InvalidRun": "errors",
    "Iteration": "engine.scenario",
    "Ledger": "proof.ledger",
    "Load": "session",
    "Measure": "verdict.measure",
    "Outcome": "samples",
    "PoissonArrivalRate": "engine.executors.poisson_arrival_rate",
    "Preflight": "proof.preflight",
    "PreflightError": "errors",
    "RampingArrivalRate": "engine.executors.ramping_arrival_rate",
    "RampingVUs": "engine.executors.ramping_vus",
    "Rate": "units",
    "ReplayedArrivals": "engine.executors.replayed_arrivals",
    "ReportError": "errors",
    "RunResult": "verdict.result",
    "Samples": "samples",
    "ScaleFailure": "errors",
    "Scenario": "engine.scenario",
    "ScenarioError": "errors",
    "SeedError": "errors",
    "SharedIterations": "engine.executors.shared_iterations",
    "Sightings": "proof.sightings",
    "StackDied": "errors",
    "StackError": "errors",
    "Stage": "engine.stages",
    "StepResult": "verdict.result",
    "ThresholdsMissed": "errors",
    "minutes": "units",
    "ms": "units",
    "seconds": "units",
    "us": "units",
}

__all__ = [
    "Backlog",
    "CertloadError",
    "CombinedResult",
    "ConfigurationError",
    "ConstantArrivalRate",
    "ConstantVUs",
    "Counted",
    "Duration",
    "FleetArrivals",
    "IntegrityFailed",
    "InvalidRun",
    "Iteration",
    "Ledger",
    "Load",
    "Measure",
    "Outcome",
    "PoissonArrivalRate",
    "Preflight",
    "PreflightError",
    "RampingArrivalRate",
    "RampingVUs",
    "Rate",
    "ReplayedArrivals",
    "ReportError",
    "RunResult",
    "Samples",
    "ScaleFailure",
    "Scenario",
    "ScenarioError",
    "SeedError",
    "SharedIterations",
    "Sightings",
    "StackDied",
    "StackError",
    "Stage",
    "StepResult",
    "ThresholdsMissed",
    "minutes",
    "ms",
    "seconds",
    "us",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
