"""Scenarios of one run that each have a server of their own, and what a server's log proves of them."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from aiohttp import web

if TYPE_CHECKING:
    from .conftest import Target

TWO = """
from pathlib import Path
import pytest
from pytest_certload import ConstantArrivalRate, Scenario

def scenario(name, base_url):
    async def ask(iteration):
        async with iteration.client.get("/" + name) as response:
            iteration.expect(response, 200)
            assert (iteration.tls is not None) == base_url.startswith("https")

    executor = ConstantArrivalRate(rate=20, duration=0.2)
    return Scenario(name=name, executor=executor, iteration=ask, base_url=base_url)

@pytest.mark.scale{mark}
async def test_both(load):
    result = await load.run(
        scenario("one", "{one}"), scenario("two", {two!r}), connections="fresh", {options}
    )
    assert result.error_rate < 0.01
    assert result["two"].ok == 4
"""


@pytest.fixture(autouse=True)
def ini(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")


def summary(pytester: pytest.Pytester, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        (pytester.path / f"results/summary-{name}.json").read_text("utf-8")
    )
    return found


class Secure:
    """A server with TLS that notes the headers of what it is asked."""

    def __init__(self, folder: Path) -> None:
        ca = trustme.CA()
        self.ca_path = folder / "own-ca.pem"
        ca.cert_pem.write_to_path(str(self.ca_path))
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert("127.0.0.1").configure_cert(self.context)
        self.base_url = ""
        self.tokens: list[str | None] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("Authorization"))
        return web.Response(text="fine")

    @contextmanager
    def serving(self) -> Iterator[None]:
        loop = asyncio.new_event_loop()
        ready = threading.Event()

        async def start() -> web.AppRunner:
            application = web.Application()
            application.router.add_get("/{path:.*}", self.answer)
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.context).start()
            self.base_url = f"https://127.0.0.1:{runner.addresses[0][1]}"
            return runner

        def serve() -> None:
            runner = loop.run_until_complete(start())
            ready.set()
            loop.run_forever()
            loop.run_until_complete(runner.cleanup())
            loop.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert ready.wait(60)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Secure]:
    server = Secure(tmp_path)
    with server.serving():
        yield server


def test_each_scenario_goes_to_its_own(
    pytester: pytest.Pytester, target: Target, secure: Secure
) -> None:
    source = TWO.format(
        mark="",
        one=target.base_url,
        two=secure.base_url,
        options=f"ca=Path({str(secure.ca_path)!r})",
    )
    pytester.makepyfile(test_it=source)
    result = pytester.runpytest("-m", "scale", "--certload-token", "secret-of-the-stack")
    result.assert_outcomes(passed=1)
    assert target.seen == ["/one"] * 4
    assert secure.tokens == [None] * 4, "a server of a scenario's own learns no token"
    stacks = {name: summary(pytester, name)["stack"] for name in ("one", "two", "both")}
    urls = {name: stack["base_url"] for name, stack in stacks.items() if isinstance(stack, dict)}
    assert urls == {
        "one": target.base_url,
        "two": secure.base_url,
        "both": f"{target.base_url}, {secure.base_url}",
    }


@pytest.mark.parametrize(
    ("options", "argument"), [("ca=Path({ca!r})", "-q"), ("", "--certload-ca={ca}")]
)
def test_others_go_to_the_runs(
    pytester: pytest.Pytester, target: Target, secure: Secure, options: str, argument: str
) -> None:
    source = TWO.format(
        mark=f'(base_url="{secure.base_url}")',
        one=target.base_url,
        two=None,
        options=options.format(ca=str(secure.ca_path)),
    ).replace('base_url.startswith("https")', "(base_url is None)")
    pytester.makepyfile(test_it=source)
    result = pytester.runpytest(
        "-m", "scale", "--certload-token", "known", argument.format(ca=secure.ca_path)
    )
    result.assert_outcomes(passed=1)
    assert (target.seen, secure.tokens) == (["/one"] * 4, ["Bearer known"] * 4)


def test_each_must_be_reachable(pytester: pytest.Pytester, target: Target, secure: Secure) -> None:
    pytester.makepyfile(
        test_it=TWO.format(mark="", one=target.base_url, two="http://127.0.0.1:9", options="")
    )
    result = pytester.runpytest("-m", "scale")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E     reachable: http://127.0.0.1:9 cannot be reached (*"])
    assert target.seen == []


@pytest.mark.parametrize(
    ("one", "options", "message"),
    [
        ("ftp://x", "", "*base_url 'ftp://x' is no http or https URL*"),
        ("http://example.com", "", "*example.com is neither loopback nor a private name*"),
        ("http://127.0.0.1:9", 'ca="ca.pem"', "*ca: 'ca.pem' is no path; write ca=Path('ca.pem')*"),
        ("http://127.0.0.1:9", 'ca=Path("no.pem")', "*the CA file no.pem cannot be used*"),
    ],
)
def test_what_cannot_be_is_told(
    pytester: pytest.Pytester, one: str, options: str, message: str
) -> None:
    pytester.makepyfile(test_it=TWO.format(mark="", one=one, two=one, options=options))
    result = pytester.runpytest("-m", "scale")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([message])


TRACES = """
import pytest

@pytest.mark.scale(base_url="{base_url}")
async def test_storm(load):
    visits = load.ledger("visits")

    async def ask(iteration):
        visits.asked(iteration.index)
        async with iteration.client.get("/fine") as response:
            iteration.expect(response, 200)
        visits.acknowledged(iteration.index)

    async def read():
        return {read}

    result = await load.constant_arrival_rate(ask, rate=40, duration=0.2)
    assert result.error_rate < 0.01
    await result.traces(visits, read, where="the log of the shop", limit="100ms")
"""


@pytest.mark.parametrize(
    ("read", "message"),
    [
        ("range(8)", None),
        ("range(7)", "1 of 8 acknowledged visits are not in the log of the shop"),
        ("[*range(8), 3]", "1 visits are in the log of the shop more than once"),
        ("range(9)", "1 visits in the log of the shop were never asked for"),
    ],
)
def test_what_was_acknowledged_stands_in_a_log(
    pytester: pytest.Pytester, target: Target, read: str, message: str | None
) -> None:
    pytester.makepyfile(test_it=TRACES.format(base_url=target.base_url, read=read))
    result = pytester.runpytest("-m", "scale")
    if message is None:
        result.assert_outcomes(passed=1)
    else:
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([f"*IntegrityFailed: *{message}*"])
