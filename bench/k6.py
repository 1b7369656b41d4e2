"""How is k6 told to make a load? With a script of its constant-arrival-rate executor.

k6 runs as it is: with its default of one Go thread a core, so it may use every core while each of
our workers and of Locust's has one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.errors import GeneratorFailed
from bench.generators import BODY, HEADERS, PATH, Absent, Order, Reported

__all__ = ["K6", "find"]

_RESULT = "k6.json"
_SCRIPT = """\
import http from 'k6/http';

const order = %s;
const parameters = { headers: order.headers };

export const options = {
  discardResponseBodies: true,
  summaryTrendStats: ['med', 'p(95)', 'p(99)'],
  scenarios: {
    bench: {
      executor: 'constant-arrival-rate',
      rate: order.rate,
      timeUnit: '1s',
      duration: order.duration,
      preAllocatedVUs: order.slots,
      maxVUs: order.slots,
      gracefulStop: order.grace,
    },
  },
};

export default function () {
  http.post(order.url, order.body, parameters);
}

export function handleSummary(data) {
  return { [order.result]: JSON.stringify(data.metrics) };
}
"""


@dataclass(frozen=True, kw_only=True)
class K6:
    """The ``Generator`` that others are compared with."""

    program: str
    version: str

    @property
    def name(self) -> str:
        """See ``Generator.name``."""
        return "k6"

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
        told = {
            "url": base_url + PATH,
            "body": BODY,
            "headers": HEADERS,
            "rate": order.rate,
            "duration": f"{round(order.seconds * 1000)}ms",
            "slots": order.slots,
            "grace": f"{round(order.grace * 1000)}ms",
            "result": str(folder / _RESULT),
        }
        script = folder / "k6.js"
        script.write_text(_SCRIPT % json.dumps(told), encoding="utf-8")
        # Any free port for its control interface, so that another k6 is in nobody's way.
        quiet = ["--quiet", "--no-usage-report", "--no-color", "--address", "127.0.0.1:0"]
        return [self.program, "run", *quiet, str(script)]

    def reported(self, folder: Path) -> Reported:
        """See ``Generator.reported``. Its response time is ``http_req_duration``."""
        try:
            metrics = json.loads((folder / _RESULT).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise GeneratorFailed(f"k6 left no summary: {error}") from error

        def value(metric: str, name: str) -> float | None:
            found = metrics.get(metric, {}).get("values", {}).get(name)
            return None if found is None else float(found)

        return Reported(
            requests=int(value("http_reqs", "count") or 0),
            # A rate's passes are the requests for which it is true: here, that they failed.
            errors=int(value("http_req_failed", "passes") or 0),
            dropped=int(value("dropped_iterations", "count") or 0),
            p50=value("http_req_duration", "med"),
            p95=value("http_req_duration", "p(95)"),
            p99=value("http_req_duration", "p(99)"),
        )


def find() -> K6 | Absent:
    """The k6 beside this Python, or on the path."""
    beside = str(Path(sys.executable).parent)
    program = shutil.which("k6", path=beside) or shutil.which("k6")
    if program is None:
        return Absent(name="k6", reason="there is no k6 program; the bench extra brings it")
    shown = subprocess.run([program, "version"], capture_output=True, text=True, check=False)
    words = shown.stdout.split()
    if shown.returncode or len(words) < 2:
        return Absent(name="k6", reason=f"{program} does not run: {shown.stderr.strip()[-200:]}")
    return K6(program=program, version=words[1].removeprefix("v"))
