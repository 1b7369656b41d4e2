"""How does pytest meet the rest? Every hook in here is a call or two."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import Any

import pytest

from pytest_certload import gate
from pytest_certload.errors import CertloadError
from pytest_certload.face import FACE, Face, add_section
from pytest_certload.fixtures import (
    certctl,
    certload_connectors,
    certload_database,
    certload_product,
    certload_stack,
    load,
)
from pytest_certload.options import add_options, read_settings

__all__ = [
    "certctl",
    "certload_connectors",
    "certload_database",
    "certload_product",
    "certload_stack",
    "load",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the options."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, check the options, refuse to share the machine with other workers."""
    config.addinivalue_line("markers", gate.MARKER_HELP)
    try:
        face = Face(config, read_settings(config, os.environ))
    except CertloadError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[FACE] = face
    face.selection.refuse_workers()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Mark async load tests for pytest-asyncio before it looks at them."""
    result = yield
    gate.add_asyncio_marker(result if isinstance(result, list) else [result])
    return result


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out load tests that ``-m`` does not select; check those that it does."""
    config.stash[FACE].selection.choose(items)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which stack load tests will run on, and where their results go."""
    return config.stash[FACE].selection.header_lines()


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Say what was left out."""
    return config.stash[FACE].selection.collection_lines()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse load in a worker that has neighbours, and on a stack that has died; begin on the seeded state."""
    face = item.config.stash[FACE]
    face.verdicts.begin()
    face.selection.refuse_worker(item)
    face.keeper.refuse_dead_stack(item)
    face.keeper.restore_state(item)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Start the server of a new stack as its first test wants it: not in the fixture, whose error is all tests'."""
    value = yield
    if fixturedef.argname == "certload_stack":
        request.config.stash[FACE].keeper.give_environment()
    return value


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """A load test that raised nothing must still have proven something, and be as good as its baseline."""
    verdicts = item.config.stash[FACE].verdicts
    with verdicts.calling():
        yield
    verdicts.require_proof(item)
    verdicts.require_baseline(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give the runs their verdict before the report is made, and their words after."""
    face = item.config.stash[FACE]
    problem = None
    ended = face.verdicts.take_end(call)
    if ended:
        problem = face.verdicts.close_runs(item, call)
        face.outputs.push()
    report = yield
    if call.when == "call" and not ended:
        face.verdicts.note_part(report)
    face.words.explain(item, call, report)
    if problem is not None:
        report.outcome = "failed"
        add_section(report, "certload", str(problem))
    face.words.redact(item, report)
    face.outputs.note_failure(item, report)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what is written of all runs together, also of a session that was interrupted."""
    face = session.config.stash[FACE]
    face.outputs.write_session(session, selected=face.selection.selected)
    face.outputs.write_report()


def pytest_assertrepr_compare(
    config: pytest.Config, op: str, left: object, right: object
) -> list[str] | None:
    """Let a figure that missed its limit explain itself."""
    if "pytest_certload.verdict.measure" not in sys.modules:
        return None
    return config.stash[FACE].words.explain_comparison(op, left, right)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the closing table."""
    face = config.stash[FACE]
    lines = face.outputs.closing_lines(terminalreporter._tw.fullwidth, unicode=face.voice.unicode)
    lines += face.voice.notes
    if lines:
        terminalreporter.section("load tests")
        for line in lines:
            tone = getattr(line, "tone", "")
            terminalreporter.write_line(line, **({tone: True} if tone else {}))
