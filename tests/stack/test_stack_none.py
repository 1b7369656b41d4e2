"""A service that runs already and its database, without a stack: the example of the guide is held to both."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from pytest_certload.database import SessionDatabase, run_sync

if TYPE_CHECKING:
    from .conftest import NewDatabase

GUIDE = Path(__file__).parents[2] / "docs" / "writing-load-tests.md"
ADDRESS = "http://127.0.0.1:9090"


@contextmanager
def shop(order: Callable[[int], object]) -> Iterator[str]:
    """A server that answers ``POST /orders`` with the id that ``order`` gives for the body's ``n``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            number = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["n"]
            body = json.dumps({"id": order(number)}).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("loses", [False, True])
def test_orders_are_looked_up_in_the_database(
    pytester: pytest.Pytester,
    new_database: NewDatabase,
    monkeypatch: pytest.MonkeyPatch,
    loses: bool,
) -> None:
    dsn = new_database(None)
    database = SessionDatabase(dsn)
    run_sync(database.execute("CREATE TABLE orders (id bigserial PRIMARY KEY, n int)"))

    def order(number: int) -> object:
        if loses and number == 7:
            return 1_000_007
        return run_sync(
            database.fetchval("INSERT INTO orders (n) VALUES ($1) RETURNING id", number)
        )

    (source,) = re.findall(
        r"<!-- example: orders -->\n```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL
    )
    assert ADDRESS in source
    monkeypatch.setenv("SHOP_DSN", dsn)
    with shop(order) as base_url:
        pytester.makepyfile(test_shop=source.replace(ADDRESS, base_url))
        result = pytester.runpytest_subprocess(
            *(
                "-m",
                "scale",
                "--certload-rate=5/s",
                "--certload-duration=10s",
                "--certload-effects-limit=100ms",
            )
        )
    if loses:
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*1 of 50 acknowledged orders are not in the database*"])
    else:
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["*orders lost == 0 (0 of 50 acknowledged)*"])
    assert dsn not in result.stdout.str()
