"""How do many faults fit into one session? A plugin of the inner pytest: a scenario once for each of its runs.

The server is started anew before each scenario anyway, so each time it may have other faults.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.inner import wide
from tests.scenarios.inner import scenario_of

#: By scenario: the key of each of its runs, and what the server runs with in it.
Plan = Mapping[str, Mapping[str, Mapping[str, str]]]
#: By the key of a run: the durations that are looked for in it, such as ``response time p95``.
Durations = Mapping[str, Sequence[str]]
_OPTION = "--fault-plan"
_NONE: Durations = MappingProxyType({})
_PLAN = pytest.StashKey[Plan]()
_DURATIONS = pytest.StashKey[Durations]()


def plan_arguments(plan: Plan, path: Path, durations: Durations = _NONE) -> Sequence[str]:
    """Write a plan to a file; the arguments with which an inner session follows it.

    Args:
        plan: The plan.
        path: The file.
        durations: Whose limits are not wide.
    """
    path.write_text(json.dumps([plan, dict(durations)]), "utf-8")
    return "-p", __name__, f"{_OPTION}={path}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(_OPTION, type=Path, required=True)


def pytest_configure(config: pytest.Config) -> None:
    plan, durations = json.loads(config.getoption(_OPTION).read_text("utf-8"))
    config.stash[_PLAN], config.stash[_DURATIONS] = plan, durations


@pytest.fixture(autouse=True)
def fault_run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The key of the run, which is in the test's name too, and so in that of its summary."""
    key = str(request.param)
    monkeypatch.setattr(wide, "narrow", set(request.config.stash[_DURATIONS].get(key, ())))
    return key


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
