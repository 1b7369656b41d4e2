"""How much is measured? The lengths and repetitions of a whole run and of a quick one."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Plan", "default_plan", "quick_plan"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Lengths in seconds.

    Attributes:
        rounds: Repetitions of every measurement but ``overload``, ``sustained`` and ``ceiling``;
            the generators take turns within a round, so that a machine that slows down slows all of them.
        slots: Most requests at once, the same for every generator.
        rates: Constant rates at which fidelity is measured, requests a second.
        start: Of every load at a constant rate so much is left out of its lags.
        window: Length of a load at such a rate, without its start.
        bias_window: Length of a load against a server with a known service time.
        overload_window: Length of a load that is too much for the server.
        probe: Length of one probe of the search for the highest rate, without its start.
        tries: How often a rate must fail before the search believes it.
        precision: The search ends when the lowest rate that failed is at most this many times
            the highest that held.
        ceiling_window: Length of a closed loop.
    """

    rounds: int
    slots: int = 100
    rates: tuple[int, ...] = (167, 1000, 5000)
    start: float
    window: float
    bias_window: float
    overload_window: float
    probe: float
    tries: int
    precision: float
    ceiling_window: float


def default_plan(rounds: int | None = None) -> Plan:
    """About a quarter of an hour for all generators, with the three rounds that it has."""
    return Plan(
        rounds=rounds or 3,
        start=0.5,
        window=10.0,
        bias_window=4.0,
        overload_window=10.0,
        probe=2.0,
        tries=2,
        precision=1.06,
        ceiling_window=5.0,
    )


def quick_plan(rounds: int | None = None) -> Plan:
    """A few minutes for all generators: shows that all works, and the order of magnitude."""
    return Plan(
        rounds=rounds or 1,
        start=0.5,
        window=3.0,
        bias_window=2.0,
        overload_window=3.0,
        probe=1.0,
        tries=1,
        precision=1.15,
        ceiling_window=2.0,
    )
