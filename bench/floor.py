"""What can no generator undercut? ``floor.c``, which does nothing but be woken, send and receive.

This is no competitor, because it does none of a load generator's work; it shows what each arrival
costs on the machine whoever offers it, and how exact its timers are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.errors import GeneratorFailed
from bench.generators import BODY, HEADERS, PATH, Absent, Order, Reported
from bench.stamper import build, find_compiler

__all__ = ["Floor", "find"]

_SOURCE = Path(__file__).with_name("floor.c")
_RESULT = "floor.json"


@dataclass(frozen=True, kw_only=True)
class Floor:
    """The program in C as a ``Generator``."""

    version: str = "1"

    @property
    def name(self) -> str:
        """See ``Generator.name``."""
        return "floor"

    @property
    def ours(self) -> bool:
        """See ``Generator.ours``."""
        return False

    @property
    def constant_rate(self) -> bool:
        """See ``Generator.constant_rate``."""
        return True

    def command(self, order: Order, base_url: str, folder: Path) -> list[str]:
        """See ``Generator.command``.

        Raises:
            BenchError: The compiler refuses the source.
        """
        program = build(_SOURCE, folder)
        host = urlsplit(base_url).netloc
        headers = {"Host": host, **HEADERS, "Content-Length": str(len(BODY))}
        lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        request = folder / "request"
        request.write_bytes("\r\n".join([*lines, "", BODY]).encode())
        return [
            str(program),
            *("--port", str(urlsplit(base_url).port)),
            *("--rate", str(order.rate)),
            *("--seconds", str(order.seconds)),
            *("--slots", str(order.slots)),
            *("--grace", str(order.grace)),
            *("--request", str(request)),
            *("--out", str(folder / _RESULT)),
        ]

    def reported(self, folder: Path) -> Reported:
        """See ``Generator.reported``."""
        try:
            return Reported(**json.loads((folder / _RESULT).read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise GeneratorFailed(f"the floor left no result: {error}") from error


def find() -> Floor | Absent:
    """It can be had wherever there is a C compiler."""
    if find_compiler() is None:
        return Absent(name="floor", reason="there is no C compiler")
    return Floor()
