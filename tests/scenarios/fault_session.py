"""How do many faults fit into one session? A plugin of the inner pytest: a scenario once for each of its runs.

The server is started anew before each scenario anyway, so each time it may have other faults.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    scenario = metafunc.function.__name__.removeprefix("test_").replace("_", "-")
    runs = metafunc.config.stash[_PLAN].get(scenario, {})
    marked = [
        pytest.param(key, id=key, marks=pytest.mark.scale(server_env=environment))
        for key, environment in runs.items()
    ]
    if marked:
        metafunc.parametrize("fault_run", marked, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A file may have tests beside the scenario that is planned."""
    planned = [item for item in items if "fault_run" in _parameters(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in planned])
    items[:] = planned


def _parameters(item: pytest.Item) -> Mapping[str, object]:
    return (
        item.callspec.params
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else {}
    )
