"""A server that does not do its work makes the matching scenario fail, and the failure says why.

The shipped scenarios run as a user runs them, against a reference server with faults. To start a stack
takes longer than a load, and the server is started anew before each scenario anyway: so runs share a
session, in which the server has other faults each time. Several sessions run at once; limits of durations
that are not looked for are wide. Where a latency is looked for, or the load takes most of the machine, nothing
runs beside it. A run whose load could not be offered, as others had the processors, says nothing of a fault: it
is made once more, by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_certload.certctl.reference.faults import FAULTS
from tests.scenarios import (
    faults_acme,
    faults_agents,
    faults_api,
    faults_fleet,
    faults_limits,
    faults_scale,
)
from tests.scenarios.caught import LATENCY, STACK, Caught, Run
from tests.scenarios.fault_session import Plan, plan_arguments
from tests.scenarios.faults_acme import ENROLMENT
from tests.scenarios.faults_agents import DAY
from tests.scenarios.faults_limits import ACCOUNT
from tests.scenarios.faults_scale import STORM
from tests.scenarios.inner import ROOT, Outcome, Scenario, run_scenarios

#: Every fault. Each tier's table stands in a module of its own.
RUNS: tuple[Run, ...] = (
    *faults_scale.RUNS,
    *faults_agents.RUNS,
    *faults_api.RUNS,
    *faults_acme.RUNS,
    *faults_fleet.RUNS,
    *faults_limits.RUNS,
)


CASES = [
    pytest.param(
        run,
        caught,
        id=f"{caught.fault}:{run.every}-{caught.scenario}-{run.transport}-{run.preflight}",
    )
    for run in RUNS
    for caught in run.caught
]
#: What is missing after so long never comes, as it is missed on purpose. And nobody reads what Postgres
#: says of such a load, which would be waited for.
SHORT = ("--certload-effects-limit=1s", "--certload-evidence=off")
AT_ONCE = 2
#: Of a session. One that has all of them would be left to run by itself.
SESSION_LOADS = 16
INVALID = "generator invalid"
#: Whose load half of a machine does not offer.
HEAVY = frozenset({DAY})


@dataclass(frozen=True, kw_only=True)
class Control:
    """Scenarios that run without any fault.

    Attributes:
        name: Its name.
        transport: The client.
        names: The scenarios.
        more: Further arguments.
    """

    name: str
    transport: str
    names: tuple[str, ...]
    more: tuple[str, ...] = ()


class Sessions:
    """The sessions of what this module's tests ask for, each made once and several of them at once.

    Args:
        runs: The runs with faults that are asked for.
        controls: Those that are asked for without any.
        folder: Makes a new folder.
    """

    def __init__(
        self, runs: Sequence[Run], controls: Sequence[Control], folder: Callable[[], Path]
    ) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(AT_ONCE)
        # What takes longest begins.
        self._controls = {
            control: self._pool.submit(run_without_faults, control, folder())
            for control in controls
            if HEAVY.isdisjoint(control.names)
        }
        self._made: dict[Run, Future[Outcome]] = {}
        for together in _sessions([run for run in runs if not _is_late(run)]):
            session = self._pool.submit(_make, together, folder())
            self._made |= dict.fromkeys(together, session)
        self._late = [run for run in runs if _is_late(run)]
        self._again: dict[Run, Future[Outcome]] = {}

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def said(self, run: Run, scenario: str) -> Scenario:
        """What is said of a scenario in a run."""
        if run in self._late:
            left = [late for late in self._late if late not in self._made]
            self._made |= self._make_by_themselves(left)
        said = _said(self._made[run], run, scenario)
        if INVALID in said.told:
            if run not in self._again:
                self._again |= self._make_by_themselves([run])
            said = _said(self._again[run], run, scenario)
        return said

    def without_faults(self, control: Control) -> Outcome:
        """What comes of the scenarios without a fault."""
        if control in self._controls:
            outcome = self._controls[control].result()
            if outcome.status == pytest.ExitCode.OK or INVALID not in outcome.output:
                return outcome
        self._wait_for_all()
        return run_without_faults(control, self._folder())

    def _make_by_themselves(self, runs: Sequence[Run]) -> dict[Run, Future[Outcome]]:
        self._wait_for_all()
        made: dict[Run, Future[Outcome]] = {}
        for together in _sessions(runs):
            session = self._pool.submit(_make, together, self._folder())
            made |= dict.fromkeys(together, session)
            wait([session])
        return made

    def _wait_for_all(self) -> None:
        wait([*self._controls.values(), *self._made.values()])


@pytest.fixture(scope="module")
def sessions(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sessions]:
    runs: dict[Run, None] = {}
    controls: dict[Control, None] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.path == request.path:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            if isinstance(run := parameters.get("run"), Run):
                runs[run] = None
            elif isinstance(control := parameters.get("control"), Control):
                controls[control] = None
    sessions = Sessions(list(runs), list(controls), lambda: tmp_path_factory.mktemp("results"))
    try:
        yield sessions
    finally:
        sessions.close()


def _said(made: Future[Outcome], run: Run, scenario: str) -> Scenario:
    outcome = made.result()
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    return outcome.of(scenario, None if _is_alone(run) else _key(run))


def _sessions(runs: Iterable[Run]) -> Iterator[Sequence[Run]]:
    """The runs of each session: alike in what a session has only one of, and not too many."""
    alike: dict[object, list[Run]] = {}
    for run in runs:
        key = run if _is_alone(run) else (run.transport, run.preflight, _is_timed(run))
        alike.setdefault(key, []).append(run)
    for group in alike.values():
        session: list[Run] = []
        for run in group:
            if session and sum(len(r.scenarios) for r in (*session, run)) > SESSION_LOADS:
                yield session
                session = []
            session.append(run)
        yield session


def _is_alone(run: Run) -> bool:
    """Not even the stack comes up."""
    return any(caught.by == STACK for caught in run.caught)


def _is_late(run: Run) -> bool:
    return _is_timed(run) or not HEAVY.isdisjoint(run.scenarios)


def _is_timed(run: Run) -> bool:
    return any(caught.by == LATENCY for caught in run.caught)


def _make(runs: Sequence[Run], results: Path) -> Outcome:
    return run_alone(runs[0], results) if _is_alone(runs[0]) else run_together(runs, results)


def _key(run: Run) -> str:
    return str(RUNS.index(run))


def run_alone(run: Run, results: Path) -> Outcome:
    return run_scenarios(
        run.scenarios,
        *SHORT,
        results=results,
        environment=run.variables,
        transport=run.transport,
        preflight=run.preflight,
    )


def run_together(runs: Sequence[Run], results: Path) -> Outcome:
    """All scenarios of runs, each with the faults of its run."""
    plan: dict[str, dict[str, dict[str, str]]] = {}
    for run in runs:
        variables = dict(variable.split("=", 1) for variable in run.variables)
        for scenario in run.scenarios:
            plan.setdefault(scenario, {})[_key(run)] = variables
    return run_scenarios(
        list(plan),
        *SHORT,
        *plan_arguments(plan, results / "plan.json", {_key(run): _durations(run) for run in runs}),
        results=results,
        transport=runs[0].transport,
        preflight=runs[0].preflight,
        loads=sum(map(len, plan.values())),
    )


def _durations(run: Run) -> Sequence[str]:
    return [c.message.strip().removesuffix(" =") for c in run.caught if c.by == LATENCY]


#: What is no control among the others: its name, the scenarios, and what they run with.
APART: tuple[tuple[str, frozenset[str], tuple[str, ...]], ...] = (
    ("heavy", HEAVY, ()),
    # It makes as many attempts as it can, and needs more than a hundred.
    ("limits", frozenset({ACCOUNT}), ("--certload-duration=6s",)),
)


def _controls() -> Iterator[Control]:
    """All scenarios that are to catch a fault, with each transport; some of them by themselves."""
    for transport in ("aiohttp", "fast"):
        left = dict.fromkeys(
            name for run in RUNS if run.transport == transport for name in run.scenarios
        )
        for name, apart, more in APART:
            some = tuple(scenario for scenario in left if scenario in apart)
            if some:
                yield Control(
                    name=f"{transport}-{name}", transport=transport, names=some, more=more
                )
            left = {scenario: None for scenario in left if scenario not in apart}
        yield Control(name=transport, transport=transport, names=tuple(left))


def run_without_faults(control: Control, results: Path) -> Outcome:
    plan: Plan = {name: {"none": {}} for name in control.names}
    return run_scenarios(
        control.names,
        *plan_arguments(plan, results / "plan.json"),
        *control.more,
        results=results,
        transport=control.transport,
    )


@pytest.mark.parametrize(("run", "caught"), CASES)
def test_a_fault_fails_its_scenario(run: Run, caught: Caught, sessions: Sessions) -> None:
    said = sessions.said(run, caught.scenario)
    assert caught.message in said.told, said.text
    if said.summary is not None:
        assert said.summary["state"] == "failed"


@pytest.mark.parametrize(
    "control",
    [pytest.param(control, id=control.name) for control in _controls()],
)
def test_without_a_fault_the_scenarios_pass(control: Control, sessions: Sessions) -> None:
    """But for latencies, which nothing that runs beside them may change: quick runs hold those."""
    outcome = sessions.without_faults(control)
    assert outcome.status == pytest.ExitCode.OK, outcome.output
    for name in control.names:
        summary = outcome.of(name, "none").summary
        assert summary is not None
        assert summary["state"] == "passed"
        assert summary["reduced"], "it is not the full contract, and the summary says so"


def test_every_fault_is_met_by_a_scenario() -> None:
    assert {caught.fault for run in RUNS for caught in run.caught} >= FAULTS.keys()


def test_the_page_says_who_catches_what() -> None:
    page = (ROOT / "docs" / "faults.md").read_text("utf-8")
    rows = [
        f"| `{caught.fault}` | {caught.scenario} | {caught.by} | `{caught.message.strip()}` |"
        for run in RUNS
        for caught in run.caught
    ]
    scenarios = dict.fromkeys(caught.scenario for run in RUNS for caught in run.caught)
    written = re.findall(rf"^\| `[^|]+` \| (?:{'|'.join(scenarios)}) \|.*\|$", page, re.MULTILINE)
    assert written == list(dict.fromkeys(rows)), "it should say:\n" + "\n".join(dict.fromkeys(rows))


def test_a_fleet_of_another_size_is_no_start(tmp_path: Path) -> None:
    """A storm of one agent would pass, and prove nothing of five thousand."""
    seeds = tmp_path / "seed"
    seeds.mkdir()
    for file in (ROOT / "seed").glob("0*.sql"):
        text = file.read_text("utf-8")
        seeds.joinpath(file.name).write_text(
            text.replace("generate_series(1, 5000)", "generate_series(1, 1)").replace("5000", "1"),
            "utf-8",
        )
    outcome = run_scenarios([STORM], results=tmp_path, seed=seeds)
    assert outcome.status == pytest.ExitCode.TESTS_FAILED, outcome.output
    assert "PreflightError: the database has 1 load-test agents" in outcome.output
    assert "the scenario wants 5,000" in outcome.output
    assert outcome.of(STORM).summary is None


def test_a_server_that_finishes_no_order_is_measured_up_to_the_order(tmp_path: Path) -> None:
    environment = ["CERTLOAD_REFERENCE_ACME_FINALIZE=broken"]
    outcome = run_scenarios([ENROLMENT], results=tmp_path, environment=environment)
    assert outcome.status == pytest.ExitCode.OK, outcome.output
    summary = outcome.of(ENROLMENT).summary
    assert summary is not None
    assert summary["state"] == "passed"
    assert "up to the order that is ready, as finalize is answered 500" in str(summary["reduced"])
