"""Which tests find the stack put back to its seeded state, and what when that fails?"""

from __future__ import annotations

import json

import pytest

from .conftest import Target

STACK = """
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_certload.stack
from pytest_certload.errors import StackError
from pytest_certload.stack import Endpoint, Stack


def note(text):
    with Path("noted").open("a") as file:
        file.write(text + "\\n")


def restore(environment):
    note("restored" + "".join(" " + "=".join(variable) for variable in environment.items()))
    if Path("broken").exists():
        Path("broken").unlink()
        raise StackError("The database cannot be put back: End the sessions that are on it.")
    return "template, cloned in 0.12 s"


@pytest.fixture(autouse=True)
def noted(request):
    note(request.node.name)


@contextmanager
def open_stack(request, product, *, announce):
    yield Stack(
        provider="embedded", reason="", endpoint=Endpoint(base_url="{base_url}"), dsn=None,
        server="s", is_reference=True, image=None, postgres=None, postgres_settings={{}},
        cpu_count=1, seeds=(), restore={restore},
    )


@pytest.fixture(autouse=True, scope="session")
def fake_stack():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest_certload.stack, "open_stack", open_stack)
        yield
"""

LOAD = """
import pytest


async def make(load):
    async def ask(iteration):
        async with iteration.client.get("/fine") as response:
            iteration.expect(response, 200)

    await load.constant_arrival_rate(ask, rate=20, duration="100ms")


"""


def write(pytester: pytest.Pytester, target: Target, tests: str, restore: str = "restore") -> None:
    pytester.makeconftest(STACK.format(base_url=target.base_url, restore=restore))
    pytester.makepyfile(test_it=LOAD + tests)


def noted(pytester: pytest.Pytester) -> list[str]:
    return (pytester.path / "noted").read_text("utf-8").split()


TESTS = """
@pytest.mark.scale
async def test_first(load, certload_stack):
    await make(load)

@pytest.mark.scale
async def test_second(load, certload_stack):
    await make(load)

@pytest.mark.scale(state="keep")
async def test_that_keeps(load, certload_stack):
    await make(load)

@pytest.mark.scale(base_url="{base_url}")
async def test_of_another_server(load, certload_stack):
    await make(load)

@pytest.mark.scale
def test_without_load(certload_stack):
    pass

@pytest.mark.scale(state="seeded")
async def test_last(load, certload_stack):
    await make(load)
"""


def test_all_that_make_load_on_it_but_the_first(pytester: pytest.Pytester, target: Target) -> None:
    write(pytester, target, TESTS.format(base_url=target.base_url))
    pytester.runpytest("-m", "scale").assert_outcomes(passed=6)
    assert noted(pytester) == [
        *("test_first", "restored", "test_second", "test_that_keeps"),
        *("test_of_another_server", "test_without_load", "restored", "test_last"),
    ]


def test_an_external_stack_is_taken_as_it_is(pytester: pytest.Pytester, target: Target) -> None:
    write(pytester, target, TESTS.format(base_url=target.base_url), restore="None")
    pytester.runpytest("-m", "scale").assert_outcomes(passed=6)
    assert "restored" not in noted(pytester)


def test_a_state_that_does_not_come_back_is_one_error(
    pytester: pytest.Pytester, target: Target
) -> None:
    write(pytester, target, TESTS.format(base_url=target.base_url))
    (pytester.path / "broken").touch()
    result = pytester.runpytest("-m", "scale")
    result.assert_outcomes(passed=5, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_second*",
            "*StackError: The database cannot be put back: End the*",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    assert "keeper.py" not in result.stdout.str()
    assert "test_second" not in noted(pytester), "no load on a state that nobody knows"
    assert noted(pytester).count("restored") == 2, "and the next test is tried again"


ENVIRONMENTS = """
@pytest.mark.scale(server_env={"LEVEL": "debug", "POOL": "5"})
class TestOfSettings:
    @pytest.mark.parametrize("pool", [
        "5",
        pytest.param("9", marks=pytest.mark.scale(server_env={"POOL": "9"})),
    ])
    async def test_pool(self, load, certload_stack, pool):
        assert load.server_env["POOL"] == pool
        await make(load)

@pytest.mark.scale
async def test_plain(load, certload_stack):
    assert "LEVEL" not in load.server_env
    await make(load)
"""


def test_a_test_says_what_its_server_runs_with(pytester: pytest.Pytester, target: Target) -> None:
    write(pytester, target, ENVIRONMENTS)
    pytester.runpytest("-m", "scale").assert_outcomes(passed=3)
    assert (pytester.path / "noted").read_text("utf-8").splitlines() == [
        # Also before the first test on the stack.
        *("restored LEVEL=debug POOL=5", "test_pool[5]"),
        *("restored LEVEL=debug POOL=9", "test_pool[9]", "restored", "test_plain"),
    ]
    summary = json.loads((pytester.path / "results" / "summary-pool-9.json").read_text("utf-8"))
    assert summary["stack"]["server_env"] == "LEVEL=debug POOL=9"
    summary = json.loads((pytester.path / "results" / "summary-plain.json").read_text("utf-8"))
    assert "server_env" not in summary["stack"]


def test_the_options_are_above_it(pytester: pytest.Pytester, target: Target) -> None:
    tests = """
@pytest.mark.scale(server_env={"LEVEL": "debug", "POOL": "5"})
async def test_it(load, certload_stack):
    assert load.server_env == {"LEVEL": "debug", "POOL": "7", "MORE": "1"}
    await make(load)
"""
    write(pytester, target, tests)
    options = ("--certload-server-env=POOL=7", "--certload-server-env=MORE=1")
    pytester.runpytest("-m", "scale", *options).assert_outcomes(passed=1)
    summary = json.loads((pytester.path / "results" / "summary-it.json").read_text("utf-8"))
    assert summary["stack"]["server_env"] == "LEVEL=debug POOL=7 MORE=1"


def test_a_server_that_does_not_start_so_is_that_tests_error(
    pytester: pytest.Pytester, target: Target
) -> None:
    write(pytester, target, ENVIRONMENTS)
    (pytester.path / "broken").touch()
    result = pytester.runpytest("-m", "scale")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at setup of TestOfSettings.test_pool?5?*"])


def test_of_an_external_server_the_options_must_say_it(
    pytester: pytest.Pytester, target: Target
) -> None:
    write(pytester, target, ENVIRONMENTS, restore="None")
    result = pytester.runpytest("-m", "scale")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*a server that runs with LEVEL=debug POOL=5, and the external one is not ours to start: *"
        ]
    )
    result.stdout.fnmatch_lines(["*say so with --certload-server-env LEVEL=debug --certload-s*"])
    said = ("--certload-server-env=LEVEL=debug", "--certload-server-env=POOL=5")
    result = pytester.runpytest("-m", "scale", "-k", "test_pool", *said)
    result.assert_outcomes(passed=1, failed=1, deselected=1)
