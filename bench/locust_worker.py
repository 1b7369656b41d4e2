"""How does Locust make the load? A process of its own, because Locust patches the whole one."""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path
from typing import Any

from locust import FastHttpUser, task
from locust.env import Environment
from locust.exception import StopUser

from bench.generators import BODY, HEADERS, PATH


def main() -> None:
    """Make the load that the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.locust_worker", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("--result", type=Path, required=True)
    arguments = parser.parse_args()
    reported = _run(arguments)
    arguments.result.write_text(json.dumps(reported), encoding="utf-8")


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    offered = round(arguments.rate * arguments.seconds)
    # No more users than requests, or the first round would already be too many.
    users = min(arguments.users, offered)
    # Locust has patched these modules: waiting lets the other users run.
    all_there = threading.Event()
    begin = 0.0
    numbers = iter(range(users))
    asked = 0

    class Asker(FastHttpUser):
        host = arguments.url
        network_timeout = connection_timeout = 30.0

        def on_start(self) -> None:
            number = next(numbers)
            all_there.wait()
            self.turn: float = begin + number / arguments.rate
            time.sleep(max(0.0, self.turn - time.monotonic()))

        def wait_time(self) -> float:
            # The rule of Locust's constant_throughput, which would count the wait for the first
            # turn as work, and drift: a turn that was overrun is now, and is not made up.
            now = time.monotonic()
            self.turn = max(now, self.turn + users / arguments.rate)
            return self.turn - now

        @task
        def ask(self) -> None:
            nonlocal asked
            if asked == offered or time.monotonic() >= begin + arguments.seconds:
                raise StopUser
            asked += 1
            self.client.post(PATH, data=BODY, headers=HEADERS)

    def go(**_: Any) -> None:
        nonlocal begin
        begin = time.monotonic()
        all_there.set()

    environment = Environment(user_classes=[Asker])
    environment.events.spawning_complete.add_listener(go)  # type: ignore[no-untyped-call]
    runner = environment.create_local_runner()
    runner.start(users, spawn_rate=users)
    all_there.wait()
    runner.user_greenlets.join(timeout=arguments.seconds + arguments.grace)
    runner.quit()

    total = environment.stats.total
    quantile = total.get_response_time_percentile if total.num_requests else lambda _: None
    return {
        "requests": total.num_requests,
        "errors": total.num_failures,
        "dropped": None,
        "p50": quantile(0.5),
        "p95": quantile(0.95),
        "p99": quantile(0.99),
    }


if __name__ == "__main__":
    main()
