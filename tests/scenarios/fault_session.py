"""How do many faults fit into one session? A plugin of the inner pytest: a scenario once for each of its runs.

The server is started anew before each scenario anyway, so each time it may have other faults.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.scenarios.inner import scenario_of

#: By scenario: the key of each of its runs, and what the server runs with in it.
Plan = Mapping[str, Mapping[str, Mapping[str, str]]]
_OPTION = "--fault-plan"
_PLAN = pytest.StashKey[Plan]()


def plan_arguments(plan: Plan, path: Path) -> Sequence[str]:
    """Write a plan to a file; the arguments with which an inner session follows it."""
    path.write_text(json.dumps(plan), "utf-8")
    return "-p", __name__, f"{_OPTION}={path}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(_OPTION, type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_PLAN] = json.loads(config.getoption(_OPTION).read_text("utf-8"))


@pytest.fixture(autouse=True)
def fault_run(request: pytest.FixtureRequest) -> str:
    """The key of the run, which is in the test's name too, and so in that of its summary."""
    return str(request.param)


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The last of the parameters, so that the key ends the test's name."""
    scenario = scenario_of(metafunc.function.__name__)
    runs = {
        key: environment
        for planned, runs in metafunc.config.stash[_PLAN].items()
        for key, environment in runs.items()
        if planned == scenario or planned.startswith(f"{scenario}-")
    }
    marked = [
        pytest.param(key, id=key, marks=pytest.mark.scale(server_env=environment))
        for key, environment in runs.items()
    ]
    if marked:
        metafunc.parametrize("fault_run", marked, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A file may have tests, and a test parameters, that no run wants."""
    wanted = {f"{name}-{key}" for name, runs in config.stash[_PLAN].items() for key in runs}
    left_out = [item for item in items if scenario_of(item.name) not in wanted]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if scenario_of(item.name) in wanted]
