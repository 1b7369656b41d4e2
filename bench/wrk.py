"""How is wrk told to make a load? It asks as fast as it is answered, and so shows the ceiling."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.errors import GeneratorFailed
from bench.generators import BODY, HEADERS, PATH, Absent, Order, Reported

__all__ = ["Wrk", "find"]

_RESULT = "wrk.json"
_SCRIPT = """\
wrk.method = "POST"
wrk.body = %s
%s

function done(summary, latency, requests)
  local e = summary.errors
  local file = assert(io.open(%s, "w"))
  file:write(string.format(
    '{"requests":%%d,"errors":%%d,"p50":%%f,"p95":%%f,"p99":%%f}',
    summary.requests, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(95) / 1000, latency:percentile(99) / 1000))
  file:close()
end
"""


@dataclass(frozen=True, kw_only=True)
class Wrk:
    """wrk with one thread as a ``Generator``: a closed loop, so it has no rate to be true to."""

    program: str
    version: str

    @property
    def name(self) -> str:
        """See ``Generator.name``."""
        return "wrk"

    @property
    def ours(self) -> bool:
        """See ``Generator.ours``."""
        return False

    @property
    def constant_rate(self) -> bool:
        """See ``Generator.constant_rate``."""
        return False

    def command(self, order: Order, base_url: str, folder: Path) -> list[str]:
        """See ``Generator.command``. Seconds are rounded up to whole ones."""
        # A JSON string without characters outside ASCII is a Lua string too.
        headers = "\n".join(
            f"wrk.headers[{json.dumps(n)}] = {json.dumps(HEADERS[n])}" for n in HEADERS
        )
        script = folder / "wrk.lua"
        result = json.dumps(str(folder / _RESULT))
        script.write_text(_SCRIPT % (json.dumps(BODY), headers, result), encoding="utf-8")
        seconds = math.ceil(order.seconds)
        size = ["--threads", "1", "--connections", str(order.slots), "--duration", f"{seconds}s"]
        return [self.program, *size, "--script", str(script), base_url + PATH]

    def reported(self, folder: Path) -> Reported:
        """See ``Generator.reported``."""
        try:
            return Reported(dropped=None, **json.loads((folder / _RESULT).read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise GeneratorFailed(f"wrk left no result: {error}") from error


def find() -> Wrk | Absent:
    """The wrk on the path."""
    program = shutil.which("wrk")
    if program is None:
        return Absent(name="wrk", reason="there is no wrk program on the path")
    # It says its version when it is asked for help, and calls that a failure.
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    words = (shown.stdout + shown.stderr).split()
    return Wrk(program=program, version=words[1] if len(words) > 1 else "unknown")
