"""Which fixtures are there, and how long do they live? Heavy imports stay inside the bodies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import pytest

from pytest_certload import gate
from pytest_certload.face import FACE
from pytest_certload.names import name_of_test

if TYPE_CHECKING:
    from pytest_certload.certctl.api import Certctl
    from pytest_certload.certctl.connectors import Connectors
    from pytest_certload.database import SessionDatabase
    from pytest_certload.proof.preflight import Check
    from pytest_certload.proof.witness import Witness
    from pytest_certload.session import Load
    from pytest_certload.stack import ProductSpec, Stack

__all__ = [
    "certctl",
    "certload_connectors",
    "certload_database",
    "certload_product",
    "certload_stack",
    "load",
]


@pytest.fixture
def load(request: pytest.FixtureRequest) -> Load:
    """Makes load; see ``pytest_certload.Load``.

    It starts no stack by itself: the server is the stack's when the test asks for one
    (``certctl``, ``certload_stack``), else ``base_url`` of the call, the marker or the option.
    """
    from pytest_certload.database import SessionDatabase
    from pytest_certload.proof.evidence import witnesses_of
    from pytest_certload.proof.preflight import server_environment
    from pytest_certload.proof.processes import ProcessWitness
    from pytest_certload.session import Load
    from pytest_certload.stack import Endpoint
    from pytest_certload.stack.hosts import check_base_url, check_host

    if not gate.is_scale(request.node):
        pytest.fail(
            "the test asks for `load` and is no load test, which run by themselves and when asked for: "
            "mark it with @pytest.mark.scale",
            pytrace=False,
        )
    face = request.config.stash[FACE]
    if request.config.pluginmanager.has_plugin("junitxml"):
        face.verdicts.add_suite_property = request.getfixturevalue("record_testsuite_property")
    settings = face.settings
    mark = gate.read_mark(request.node)
    endpoint: Endpoint | None = None
    stack: Stack | None = None
    database: SessionDatabase | None = None
    description: dict[str, str] = {}
    checks: list[Check] = []
    server_env = {**mark.server_env, **dict(settings.server_env)}
    witnesses: Callable[[], Sequence[Witness]] = tuple
    if mark.base_url is not None:
        check_host(mark.base_url, settings.allow_host, name="scale(base_url=…)")
        base_url = check_base_url(mark.base_url, name="scale(base_url=…)")
        endpoint = Endpoint(base_url=base_url, ca_path=settings.ca, token=settings.token)
    elif "certload_stack" in request.fixturenames:
        stack = request.getfixturevalue("certload_stack")
        assert stack is not None
        may_be_kept = stack.restore is None or mark.state == "keep"
        if not may_be_kept and not gate.uses_load(request.node):
            # Before a test that asks for it as it runs, nothing was put back or started for it.
            pytest.fail(
                "the test makes load on the stack and asks for `load` only while it runs, when it is too late "
                "to put the stack into its state: let the test, or a fixture of it, have `load` as a parameter",
                pytrace=False,
            )
        endpoint = stack.endpoint
        database = None if stack.dsn is None else SessionDatabase(stack.dsn)
        description = stack.describe()
        if server_env:
            said = (f"{name}={value}" for name, value in server_env.items())
            description["server_env"] = " ".join(said)
        if mark.server_env and stack.restore is None:
            checks.append(server_environment(mark.server_env, dict(settings.server_env)))
        witnesses = witnesses_of(stack, face.keeper.state_origin, counters=settings.evidence)
    return Load(
        face.runs.bookkeeper,
        nodeid=request.node.nodeid,
        name=mark.name or name_of_test(request.node.name),
        endpoint=endpoint,
        stack=description,
        processes=partial(ProcessWitness, stack, say=face.voice.announce),
        revive=None if stack is None else stack.revive,
        database=database,
        witnesses=witnesses,
        thresholds=mark.thresholds,
        server_env=server_env,
        checks=checks,
    )


@pytest.fixture(scope="session")
def certload_product() -> ProductSpec:
    """What runs under test; override it in a conftest to test another product."""
    from pytest_certload.certctl.product import PRODUCT

    return PRODUCT


@pytest.fixture(scope="session")
def certload_stack(
    request: pytest.FixtureRequest, certload_product: ProductSpec
) -> Iterator[Stack]:
    """Postgres and the server under test, seeded and checked; plain data, for the whole session.

    Database and server are put back to the seeded state before each test that makes load on them.
    """
    from pytest_certload.stack import open_stack

    face = request.config.stash[FACE]
    with open_stack(
        face.settings.stack_request(), certload_product, announce=face.voice.announce
    ) as stack:
        face.keeper.announce_stack(stack)
        with face.keeper.keeping(stack):
            yield stack


@pytest.fixture
def certload_database(certload_stack: Stack) -> SessionDatabase:
    """The stack's database, for questions of a test's own."""
    from pytest_certload.database import SessionDatabase
    from pytest_certload.errors import ConfigurationError

    if certload_stack.dsn is None:
        raise ConfigurationError(
            "the test asks the database and the external stack has none: set --certload-dsn"
        )
    return SessionDatabase(certload_stack.dsn)


@pytest.fixture
def certctl(certload_stack: Stack) -> Certctl:
    """The fleet of certctl, its API's rules, and questions to its database."""
    from pytest_certload.certctl.api import Certctl

    return Certctl.of_stack(certload_stack)


@pytest.fixture(scope="session")
def certload_connectors(request: pytest.FixtureRequest) -> Iterator[Connectors]:
    """The TLS daemons that certctl deploys to, for the whole session; no certctl and no Postgres."""
    from pytest_certload.certctl.connectors import open_connectors
    from pytest_certload.stack.daemons import DaemonMissing

    face = request.config.stash[FACE]
    try:
        with open_connectors(
            face.settings.stack_request(), announce=face.voice.announce
        ) as connectors:
            yield connectors
    except DaemonMissing as missing:
        pytest.skip(str(missing))
