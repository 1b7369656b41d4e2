"""How is Locust told to make a load? By users that pace themselves, in a worker of its own.

Locust has no arrival rate: its users ask, wait for the answer, and pause. What comes nearest is as
many users as there are slots, each paced by the rule of Locust's ``constant_throughput(rate /
users)``, begun one after the other so that their requests interleave evenly. A user that waits for
an answer asks nothing else meanwhile, so a stalled server is offered less.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.errors import GeneratorFailed
from bench.generators import Absent, Order, Reported

__all__ = ["RESULT", "Locust", "find"]

RESULT = "locust.json"


@dataclass(frozen=True, kw_only=True)
class Locust:
    """Locust's ``FastHttpUser`` as a ``Generator``."""

    version: str

    @property
    def name(self) -> str:
        """See ``Generator.name``."""
        return "locust"

    @property
    def ours(self) -> bool:
        """See ``Generator.ours``."""
        return False

    @property
    def constant_rate(self) -> bool:
        """See ``Generator.constant_rate``."""
        return True

    def command(self, order: Order, base_url: str, folder: Path) -> list[str]:
        """See ``Generator.command``."""
        return [
            *(sys.executable, "-m", "bench.locust_worker"),
            *("--url", base_url),
            *("--rate", str(order.rate)),
            *("--seconds", str(order.seconds)),
            *("--users", str(order.slots)),
            *("--grace", str(order.grace)),
            *("--result", str(folder / RESULT)),
        ]

    def reported(self, folder: Path) -> Reported:
        """See ``Generator.reported``."""
        try:
            return Reported(**json.loads((folder / RESULT).read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise GeneratorFailed(f"Locust left no result: {error}") from error


def find() -> Locust | Absent:
    """Locust, where it is installed."""
    # Looked for and not imported: importing it changes the standard library under everybody.
    if importlib.util.find_spec("locust") is None:
        return Absent(name="locust", reason="it is not installed; the bench extra brings it")
    return Locust(version=importlib.metadata.version("locust"))
