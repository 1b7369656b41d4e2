"""A real HTTP server for tests of the plugin's face: it answers as the path says."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import ddsketch
import numpy as np
import pyarrow.parquet as pq
import pytest
from aiohttp import web

# pytester forgets every module that an inner session was the first to import, and numpy and pyarrow cannot
# be loaded twice: they, and what is loaded with them, belong to the outer session. ddsketch as well, so that
# the outer session's sketches and those of inner ones are of one kind.
import pytest_certload.clients.http
import pytest_certload.session
from tests.inner.fixture import unhurried

NEEDED_FROM_OUTSIDE = (ddsketch, np, pq, pytest_certload.clients.http, pytest_certload.session)
__all__ = ["unhurried"]


#: A conftest that runs a test which failed once more, as pytest-rerunfailures does.
RERUN = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if any(report.failed for report in reports):
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""
#: A conftest by which no file can be put into its place once a test is called.
FULL_DISK = """
import errno, os
import pytest_certload.report.whole_file as files

def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

def pytest_runtest_call(item):
    files.os.replace = full
"""


def eventually(condition: Callable[[], object], patience: float = 60) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "that never came"
        time.sleep(0.02)


def interrupted(folder: Path, target: Target, *arguments: str, requests: int | None = 20) -> str:
    """What a session says that Ctrl-C ends when the server was asked so often; None: it ends itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-m", "scale", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": "120"},
    )
    try:
        if requests is not None:
            eventually(lambda: len(target.seen) >= requests or process.poll() is not None)
            assert process.poll() is None, process.communicate()[0]
            process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    return output


@dataclass
class Target:
    """Where the server listens, and what it was asked."""

    base_url: str
    seen: list[str] = field(default_factory=list)


async def answer(request: web.Request) -> web.Response:
    request.app[TARGET].seen.append(request.path)
    match request.path.split("/"):
        case [_, "status", status]:
            return web.Response(status=int(status), text="as you wished")
        case [_, "slow", milliseconds]:
            await asyncio.sleep(int(milliseconds) / 1000)
            return web.json_response({"slow": milliseconds})
        case [_, "to", host]:
            raise web.HTTPFound(f"http://{host}/")
        case [_, "html"]:
            return web.Response(text="<html>", content_type="text/html")
        case _:
            return web.json_response({"path": request.path})


TARGET = web.AppKey("target", Target)


@pytest.fixture
def target() -> Iterator[Target]:
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    found = Target("")

    async def start() -> web.AppRunner:
        app = web.Application()
        app[TARGET] = found
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        found.base_url = f"http://{host}:{port}"
        return runner

    def serve() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(60)
    yield found
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.fixture
def load_test(pytester: pytest.Pytester, target: Target) -> str:
    """A test file with one load test of 0.2 s that passes; returns the target's URL."""
    pytester.makeini(
        "[pytest]\naddopts = --strict-markers\nasyncio_default_fixture_loop_scope = function\nmarkers =\n  slow\n  smoke\n"
    )
    pytester.makepyfile(
        test_it=f"""
        import pytest
        from pytest_certload import ms

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_storm(load):
            async def ask(iteration):
                async with iteration.client.get("/fine") as response:
                    iteration.expect(response, 200)

            result = await load.constant_arrival_rate(ask, rate=50, duration=0.2)
            assert result.p95 < ms(25_000)
            assert result.error_rate < 0.001

        def test_fast():
            pass
        """
    )
    return target.base_url
