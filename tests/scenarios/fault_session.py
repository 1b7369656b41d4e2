"""How do many faults fit into one session? A plugin of the inner pytest: a scenario once for each of its runs.

The server is started anew before each scenario anyway, so each time it may have other faults.
Where no latency is looked for, limits of durations are wide: what a busy machine does to a load of 1.5 s would
be said in place of what is looked for, as the first assertion that fails is the only one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pytest_certload.units import Duration
from pytest_certload.verdict.measure import Measure
from tests.scenarios.inner import scenario_of

#: By scenario: the key of each of its runs, and what the server runs with in it.
Plan = Mapping[str, Mapping[str, Mapping[str, str]]]
_OPTION, _WIDE = "--fault-plan", "--fault-wide-limits"
_PLAN = pytest.StashKey[Plan]()
_WIDER = 20


def plan_arguments(plan: Plan, path: Path, *, wide: bool) -> Sequence[str]:
    """Write a plan to a file; the arguments with which an inner session follows it.

    Args:
        plan: The plan.
        path: The file.
        wide: Whether limits of durations are wide.
    """
    path.write_text(json.dumps(plan), "utf-8")
    return "-p", __name__, f"{_OPTION}={path}", *([_WIDE] if wide else [])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(_OPTION, type=Path, required=True)
    parser.addoption(_WIDE, action="store_true")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_PLAN] = json.loads(config.getoption(_OPTION).read_text("utf-8"))
    if config.getoption(_WIDE):
        _widen(config)


def _widen(config: pytest.Config) -> None:
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    below = Measure.__lt__

    def below_wide(measure: Measure, limit: object) -> bool:
        __tracebackhide__ = True
        return below(measure, Duration(limit * _WIDER) if isinstance(limit, Duration) else limit)

    patch.setattr(Measure, "__lt__", below_wide)


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
