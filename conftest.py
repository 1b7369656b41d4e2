"""This repository as the plugin's first user."""

from __future__ import annotations

import os
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_certload.gate import names_scale

pytest_plugins = ["pytester"]

# In CI a skipped test is a check that silently did not happen, so it fails there. What no CI
# machine of ours can do stands here: how the reason of such a skip begins.
MAY_SKIP = ("needs Windows", "needs macOS")
NO_SKIPS = "CERTLOAD_CI_REQUIRE_DOCKER"

# In seconds; no test takes half of it. One that hangs is to be named, with its stacks.
HANGS = 600

TESTS = Path(__file__).parent / "tests"

if find_spec("hypothesis"):  # load tests alone need none
    from hypothesis import settings

    settings.register_profile(
        "certload",
        # How long an example takes on a machine that does other things too shows nothing.
        deadline=None,
        # New examples are looked for where people work; a change is not refused for what it did not do.
        derandomize=os.environ.get(NO_SKIPS) == "1",
        print_blob=True,
    )
    settings.load_profile("certload")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m scale`` only the load tests are read: the others import what they alone need."""
    if collection_path.parent != TESTS or collection_path.name == "scale":
        return None
    return True if names_scale(config.option.markexpr) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Load takes as long as it is asked to; other tests have a limit, where pytest-timeout is installed."""
    if config.pluginmanager.hasplugin("timeout"):
        for item in items:
            if item.get_closest_marker("scale") is None:
                item.add_marker(pytest.mark.timeout(HANGS))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, a skipped test fails."""
    report = yield
    # An expected failure is reported as a skip too, but it did run.
    if not hasattr(report, "wasxfail"):
        _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI, a file that is skipped as a whole fails."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get(NO_SKIPS) != "1" or not report.skipped:
        return
    place = report.longrepr
    text = place[2] if isinstance(place, tuple) else str(place)
    reason = text.removeprefix("Skipped: ")
    if reason.startswith(MAY_SKIP):
        return
    report.outcome = "failed"
    report.longrepr = f"{NO_SKIPS}=1, so nothing may be skipped, but this test was: {reason}"
