"""How is the pace of work told that waited when a load began?"""

from __future__ import annotations

from pytest_certload.proof.findings import BacklogFinding
from pytest_certload.units import format_duration, format_rate

__all__ = ["pace"]


def pace(found: BacklogFinding) -> str:
    """Such as ``50 % after 2.1 s, 95 % after 4.0 s, 100 % after 4.3 s, 232/s``."""
    parts = [
        f"{share} % after {format_duration(seconds * 1e9)}"
        for share, seconds in found.done_after.items()
        if seconds is not None
    ]
    if found.done_after.get("100") is None:
        parts.append("never all of them")
    if found.rate is not None:
        parts.append(format_rate(found.rate))
    return ", ".join(parts)
