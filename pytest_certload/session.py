"""How does a test make load? ``Load``, the object behind the ``load`` fixture.

Nothing in here knows pytest: node ids and settings come in as plain data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar, Unpack, cast, overload

from pytest_certload.aftermath import Aftermath, Question
from pytest_certload.bookkeeping import Bookkeeper, Run
from pytest_certload.clients import open_client
from pytest_certload.clients.http import classify
from pytest_certload.database import SessionDatabase
from pytest_certload.early_end import EarlyEnd
from pytest_certload.engine.arrivals import WhenFull
from pytest_certload.engine.clock import SystemClock
from pytest_certload.engine.collector import QuietCollector
from pytest_certload.engine.executors import Executor
from pytest_certload.engine.executors.constant_arrival_rate import ConstantArrivalRate
from pytest_certload.engine.executors.constant_vus import ConstantVUs
from pytest_certload.engine.executors.fleet_arrivals import FleetArrivals
from pytest_certload.engine.runner import ScenarioRun, execute_together
from pytest_certload.engine.scenario import (
    IterationFunction,
    Scenario,
    check_iteration_function,
    current_iteration,
)
from pytest_certload.engine.traffic import Traffic
from pytest_certload.engine.watchdog import SelfReport, Watchdog
from pytest_certload.errors import (
    ConfigurationError,
    InvalidRun,
    ReportError,
    ScaleFailure,
    ScenarioError,
)
from pytest_certload.limits import arrival_rate, descriptors, memory, ports, together
from pytest_certload.names import check_scenario_name
from pytest_certload.options import Settings
from pytest_certload.proof.findings import CheckFinding, Proof
from pytest_certload.proof.ledger import Ledger
from pytest_certload.proof.preflight import (
    Check,
    Preflight,
    failure_of,
    make_checks,
    reachable,
)
from pytest_certload.proof.processes import PartDeath, ProcessWitness
from pytest_certload.proof.witness import Witness, looking_on
from pytest_certload.report.live import LiveBoard
from pytest_certload.run_options import CheckedOptions, RunOptions
from pytest_certload.samples import Outcome
from pytest_certload.stack import Endpoint
from pytest_certload.stack.hosts import check_base_url, check_host
from pytest_certload.units import Duration, Rate, parse_duration, parse_rate
from pytest_certload.verdict.diagnosis import diagnose
from pytest_certload.verdict.held import missed
from pytest_certload.verdict.policy import Policy
from pytest_certload.verdict.result import CombinedResult, RunResult
from pytest_certload.verdict.thresholds import Threshold

__all__ = ["Load"]

AnyExecutor = TypeVar("AnyExecutor", bound=Executor)

_PREFLIGHT_CONNECTIONS = 16
_PREFLIGHT_TIMEOUT = "10s"


class Load:
    """Makes load. Await one of its methods in an async test.

    Attributes:
        runs: What this test has run so far.
        server_env: Environment variables that the stack's server runs with beside its own: those of
            ``scale(server_env=…)``, and above them those of ``--certload-server-env``.
    """

    def __init__(
        self,
        bookkeeper: Bookkeeper,
        *,
        nodeid: str,
        name: str,
        endpoint: Endpoint | None,
        stack: Mapping[str, str],
        database: SessionDatabase | None = None,
        witnesses: Callable[[], Sequence[Witness]] = tuple,
        processes: Callable[[], ProcessWitness] = ProcessWitness,
        revive: Callable[[], None] | None = None,
        thresholds: Sequence[Threshold] = (),
        server_env: Mapping[str, str] = MappingProxyType({}),
        checks: Sequence[Check] = (),
    ) -> None:
        self.server_env = server_env
        self._checks = checks
        self._thresholds = thresholds
        bookkeeper.begin_test(nodeid, thresholds)
        self._bookkeeper = bookkeeper
        self._nodeid = nodeid
        self._name = name
        self._endpoint = endpoint
        self._stack = stack
        self._database = database
        self._witnesses = witnesses
        self._processes = processes
        self._aftermath = Aftermath(revive, bookkeeper.announce)
        self._watching: list[Witness] = []
        self._traffic: list[Traffic] = []
        self._busy = False

    @property
    def runs(self) -> list[Run]:
        """What this test has run so far."""
        return self._bookkeeper.of_test(self._nodeid)

    @property
    def traffic(self) -> Traffic:
        """The requests of the load that runs, so far, or of the last one: of all its scenarios."""
        return Traffic.together(self._traffic)

    @property
    def effects_limit(self) -> Duration:
        """How long after a load what it must leave behind may still come."""
        return self._policy.effects_limit

    @property
    def _policy(self) -> Policy:
        return self._bookkeeper.settings.policy()

    def planned_iterations(self, *, rate: object, duration: object) -> int:
        """How many iterations a constant rate makes due, once the options have scaled it."""
        executor = ConstantArrivalRate(rate=rate, duration=duration)
        settings = self._bookkeeper.settings
        return executor.replaced(duration=settings.duration, rate=settings.rate).iterations

    def planned_rate(self, rate: object) -> Rate:
        """The arrival rate there will be, once the options have scaled it."""
        return self._bookkeeper.settings.rate or parse_rate(rate)

    def planned(self, executor: AnyExecutor) -> AnyExecutor:
        """An executor as it will be, once the options have scaled it."""
        return _scale(executor, self._bookkeeper.settings)[0]

    def watch(self, witness: Witness) -> None:
        """Let a witness look on at the next load of this test."""
        self._watching.append(witness)

    def ledger(self, name: str, *, repeats: bool = False) -> Ledger:
        """Where iterations note what the server acknowledged; to be compared after the load.

        With ``await result.effects(ledger, …)``, or ``await result.sightings(ledger, …)`` for state that
        is overwritten. A test that makes a ledger and compares it with nothing fails.

        Args:
            name: What its keys are, in the plural: ``renewal jobs``.
            repeats: One key may be acknowledged more than once, as when rows are overwritten.

        Raises:
            ConfigurationError: The name is none.
        """
        ledger = Ledger(name, repeats=repeats)
        self._bookkeeper.ledgers.setdefault(self._nodeid, []).append(ledger)
        return ledger

    def after_death(self, question: Question) -> None:
        """Ask what survived, should the server or Postgres die in a load of this test.

        Args:
            question: Awaited with the ``RunResult`` before ``StackDied`` is raised, once Postgres is
                up again; adds what it finds to ``result.proof.effects``. It has 5 s.
        """
        self._aftermath.questions.append(question)

    async def constant_arrival_rate(
        self,
        iteration: IterationFunction,
        *,
        rate: object,
        duration: object,
        max_in_flight: int = 100,
        when_full: WhenFull = "queue",
        warm_up: object = 0,
        name: str | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult:
        """Offer iterations at a constant rate, whether or not earlier ones are answered.

        Args:
            iteration: ``async def f(iteration)``.
            rate: ``167``, ``"167/s"``, ``"100/min"``.
            duration: ``"5m"``, ``300`` (seconds), ``minutes(5)``.
            max_in_flight: Most iterations at once; later ones wait, and their response time
                counts from their due time.
            when_full: ``queue`` lets arrivals wait that find no slot, ``drop`` drops them.
            warm_up: Load before the measured window, left out of the results.
            name: Name in reports; default: the test's.
            **options: As for ``run``.

        Raises:
            ConfigurationError: An argument that cannot be used.
            PreflightError: A check before the load failed; none was made.
            InvalidRun: Not all of the load could be offered, or the generator was the bottleneck.
            ScenarioError: The scenario's own code raised.
        """
        __tracebackhide__ = True
        executor = ConstantArrivalRate(
            rate=rate,
            duration=duration,
            max_in_flight=max_in_flight,
            when_full=when_full,
            warm_up=warm_up,
        )
        return await self._run(iteration, executor, name, options)

    async def constant_vus(
        self,
        iteration: IterationFunction,
        *,
        vus: int,
        duration: object,
        pacing: object = 0,
        think_time: object = 0,
        warm_up: object = 0,
        name: str | None = None,
        **options: Unpack[RunOptions],
    ) -> RunResult:
        """Keep a number of VUs busy, each running iterations one after the other.

        Args:
            iteration: ``async def f(iteration)``.
            vus: How many.
            duration: As for ``constant_arrival_rate``.
            pacing: Least time from the begin of an iteration to the begin of the VU's next one.
            think_time: Pause of a VU after each iteration; both may be ranges, ``("1s", "3s")``.
            warm_up: As for ``constant_arrival_rate``.
            name: Name in reports; default: the test's.
            **options: As for ``run``.

        Raises:
            ConfigurationError: An argument that cannot be used.
            PreflightError: A check before the load failed; none was made.
            InvalidRun: The generator was the bottleneck.
            ScenarioError: The scenario's own code raised.
        """
        __tracebackhide__ = True
        executor = ConstantVUs(
            vus=vus, duration=duration, pacing=pacing, think_time=think_time, warm_up=warm_up
        )
        return await self._run(iteration, executor, name, options)

    async def _run(
        self,
        iteration: IterationFunction,
        executor: Executor,
        name: str | None,
        options: RunOptions,
    ) -> RunResult:
        __tracebackhide__ = True
        check_iteration_function(iteration)
        scenario = Scenario(name=name or self._name, executor=executor, iteration=iteration)
        return await self.run(scenario, **options)

    @overload
    async def run(self, scenario: Scenario, /, **options: Unpack[RunOptions]) -> RunResult: ...

    @overload
    async def run(
        self, first: Scenario, second: Scenario, /, *more: Scenario, **options: Unpack[RunOptions]
    ) -> CombinedResult: ...

    async def run(self, *scenarios: Scenario, **options: Unpack[RunOptions]) -> RunResult:
        """Run a scenario, or several at once, and return the figures.

        Several scenarios begin together, each after its own ``Scenario.start``; the result holds the
        figures of all together, and ``result["browse"]`` those of one.

        Args:
            *scenarios: What to do and when.
            **options: See ``RunOptions``.

        Raises:
            ConfigurationError: An argument or option that cannot be used, or no running asyncio loop.
            PreflightError: A check before the load failed; none was made.
            InvalidRun: Not all of the load could be offered, or the generator was the bottleneck.
            ScenarioError: The scenario's own code raised.
            StackDied: The server or Postgres ended during the load, which ends with it.
            ThresholdsMissed: A threshold with ``abort_on_fail`` did not hold, and the load was ended early.
                Others that do not hold are raised when the test is over.
            ReportError: The summary cannot be written.
        """
        __tracebackhide__ = True
        if self._busy:
            raise ConfigurationError(
                "a load of this test runs still, and two at once measure each other; await it first, or let "
                "one load have both: load.run(Scenario(…), Scenario(…))"
            )
        if self._nodeid in self._bookkeeper.over:
            raise ConfigurationError(
                "the test is over and has its verdict, so nothing would judge this load; make it in the "
                "test, or in a fixture before its yield"
            )
        self._busy = True
        try:
            return await self._make(scenarios, options)
        finally:
            self._busy = False

    async def _make(self, scenarios: Sequence[Scenario], options: RunOptions) -> RunResult:
        __tracebackhide__ = True
        _check_loop()
        _check_scenarios(scenarios)
        checked = CheckedOptions(**options)
        endpoints = [self._where(scenario, checked) for scenario in scenarios]
        self._bookkeeper.redactor.learn_headers(checked.headers or {})
        transport = checked.transport or self._bookkeeper.settings.transport
        how = {"transport": transport}
        if checked.connections != "keep-alive":
            how["connections"] = checked.connections

        def described(base_url: str) -> dict[str, str]:
            return {**self._stack, "base_url": base_url, **how}

        scaled = [self._scaled(scenario) for scenario in scenarios]
        if checked.preflight and self._bookkeeper.settings.preflight == "off":
            scaled = [(s, (*notes, "preflight left out")) for s, notes in scaled]
        keep_samples = self._bookkeeper.settings.samples == "keep"
        findings, less = await self._preflight(
            [s for s, _ in scaled], endpoints, transport, checked
        )
        scaled = [(scenario, (*notes, *less)) for scenario, notes in scaled]

        clock = SystemClock()
        self._traffic = []
        runs: list[tuple[Run, ScenarioRun]] = []
        async with AsyncExitStack() as clients:
            board = self._board([s for s, _ in scaled])
            if board is not None:
                clients.callback(board.close)
            for position, ((scenario, reduced), endpoint) in enumerate(
                zip(scaled, endpoints, strict=True)
            ):
                opened = _clients(
                    endpoint,
                    transport,
                    checked,
                    slots=scenario.executor.slots,
                    allow_hosts=self._bookkeeper.settings.allow_host,
                )
                for client in opened:
                    await clients.enter_async_context(client)
                engine = ScenarioRun(
                    scenario,
                    clients=opened,
                    clock=clock,
                    classify=classify,
                    grace=checked.grace_period,
                    seed=_arrival_seed(scenario, checked.seed, position),
                    rng_seed=_own_seed(checked.seed, position),
                    keep_samples=keep_samples,
                    on_progress=None if board is None else board.teller(scenario.name),
                    on_finish=None if board is None else board.window.note,
                )
                run = self._open(
                    scenario.name,
                    scenarios[position].name,
                    scenario.executor,
                    reduced,
                    described(endpoint.base_url),
                    checked.must_be_answered,
                )
                if scenario.start:
                    run.parameters = {
                        **run.parameters,
                        "start_seconds": scenario.start.total_seconds,
                    }
                run.proof.preflight.extend(findings)
                runs.append((run, engine))
                self._traffic.append(engine.traffic)
            proof = runs[0][0].proof if len(runs) == 1 else Proof(preflight=findings)
            # The fixture's look on at the stack's server alone, not at one of the call's own.
            on_stack = any(endpoint is self._endpoint for endpoint in endpoints)
            usual = self._witnesses() if on_stack else ()
            witnesses, self._watching = [*usual, *self._watching], []
            processes = self._processes() if on_stack else ProcessWitness()
            engines = [engine for _, engine in runs]
            early_end = EarlyEnd(
                [
                    threshold
                    for threshold in self._bookkeeper.thresholds_of(self._thresholds, checked.held)
                    if threshold.abort_on_fail
                ],
                {run.name: engine for run, engine in runs},
                name=self._name,
                policy=self._policy,
                keep_samples=keep_samples,
                given={run.name: run.given for run, _ in runs},
            )
            try:
                async with looking_on(witnesses, proof):
                    # The innermost: its begin and end are the load's.
                    async with looking_on([processes], proof):
                        generator, before = await _watched(engines, clock, processes, early_end)
                    if processes.deaths:
                        await self._aftermath.revive(processes.deaths)
            except asyncio.CancelledError as error:
                why = "interrupted before the load was over: the figures are partial"
                self._keep(runs, "interrupted", why, error)
                raise
            except Exception as error:
                begun = [(run, engine) for run, engine in runs if engine.begun]
                reason = (str(error).splitlines() or [""])[0]
                why = f"the load ended with {type(error).__name__}: {reason}; the figures are those until then"
                self._keep(begun, "failed", why, error)
                if processes.deaths:
                    self._note_death(processes.deaths)
                    error.add_note(", ".join(map(str, processes.deaths)))
                raise
        # Nothing more comes of the dead.
        policy = self._aftermath.policy(self._policy) if processes.deaths else self._policy
        for run, engine in runs:
            run.result = RunResult(
                replace(engine.report(), generator=generator),
                run.proof,
                policy,
                given=run.given,
            )
        if len(runs) > 1:
            unique = self._bookkeeper.unique_name(self._name)
            notes = dict.fromkeys(note for run, _ in runs for note in run.reduced)
            together = self._open(
                unique,
                self._name,
                None,
                tuple(notes),
                described(", ".join(dict.fromkeys(e.base_url for e in endpoints))),
                checked.must_be_answered,
            )
            # By the names that the test gave them, whatever is unique in the session.
            results = {
                scenario.name: run.result
                for scenario, (run, _) in zip(scenarios, runs, strict=True)
                if run.result is not None
            }
            together.proof = proof
            begins = min(s.start + s.executor.warm_up for s, _ in scaled)
            if begins:
                together.parameters = {"start_seconds": begins / 1e9}
            together.result = CombinedResult(results, together.proof, policy, name=together.name)
            judged = [together, *(run for run, _ in runs)]
        else:
            judged = [runs[0][0]]
        result = judged[0].result
        assert result is not None
        if processes.deaths:
            after = sum(engine.succeeded for engine in engines) - before
            await self._mourn(judged, processes.deaths, result, before=before, after=after)
        self._judge(judged, checked, early_end)
        return result

    def _keep(
        self,
        runs: Sequence[tuple[Run, ScenarioRun]],
        state: str,
        why: str,
        error: BaseException,
    ) -> None:
        """Write what there is of runs that were not brought to their end, which is what an error has ended."""
        for run, engine in runs:
            run.state, run.failure = state, why
            run.result = RunResult(engine.report(), run.proof, self._policy, given=run.given)
        self._save([run for run, _ in runs], error)

    def _save(self, runs: Sequence[Run], error: BaseException) -> None:
        """Write runs; that they cannot be written is noted at the error that is about to be raised."""
        for run in runs:
            try:
                self._bookkeeper.save(run)
            except ReportError as unwritten:
                error.add_note(str(unwritten))

    def _note_death(self, deaths: Sequence[PartDeath]) -> None:
        self._bookkeeper.dead_stack = f"{deaths[0]}, in {self._nodeid}"

    async def _mourn(
        self,
        runs: Sequence[Run],
        deaths: Sequence[PartDeath],
        result: RunResult,
        *,
        before: int,
        after: int,
    ) -> None:
        """Write what the runs came to until a part of the stack died, and fail.

        Raises:
            StackDied: Always.
        """
        __tracebackhide__ = True
        self._note_death(deaths)
        failure = await self._aftermath.failure(deaths, result, before=before, after=after)
        self._save(runs, failure)
        raise failure

    async def _preflight(
        self,
        scenarios: Sequence[Scenario],
        endpoints: Sequence[Endpoint],
        transport: str,
        options: CheckedOptions,
    ) -> tuple[list[CheckFinding], Sequence[str]]:
        """Make all checks before a load; also what they say that the load must leave out.

        What asks on the check's client asks the first server.

        Raises:
            PreflightError: Some failed; it names them all.
        """
        __tracebackhide__ = True
        executors = [scenario.executor for scenario in scenarios]
        endpoint = endpoints[0]
        client = open_client(
            transport,
            base_url=endpoint.base_url,
            connections=_PREFLIGHT_CONNECTIONS,
            timeout=parse_duration(_PREFLIGHT_TIMEOUT),
            ca_path=endpoint.ca_path,
            headers={**_authorisation(endpoint), **(options.headers or {})},
            guard=partial(
                check_host,
                allow_hosts=self._bookkeeper.settings.allow_host,
                name="a request or redirect",
            ),
        )
        async with client:
            preflight = Preflight(
                client=client,
                stack_database=self._database,
                base_url=endpoint.base_url,
                slots=sum(executor.slots for executor in executors),
                connections=options.connections,
                rate=together([arrival_rate(executor) for executor in executors]),
                iterations=together([executor.planned for executor in executors]),
            )
            machine = [
                memory(
                    {scenario.name: scenario.executor.planned for scenario in scenarios},
                    self._bookkeeper.announce,
                    keep_samples=self._bookkeeper.settings.samples == "keep",
                ),
                descriptors(executors),
            ]
            findings = await make_checks(machine, preflight)
            not_made = 0
            if self._bookkeeper.settings.preflight == "on":
                own = self._checks if options.base_url is None else ()
                findings += await make_checks([ports, *own], preflight)
                # What speaks by a client of its own may speak to another server.
                servers = {e.base_url: e for e in endpoints} if options.must_be_answered else {}
                connection = [reachable(server) for server in servers.values()]
                connected = await make_checks(connection, preflight)
                findings += connected
                if all(check.passed for check in connected):
                    findings += await make_checks(options.preflight, preflight)
                else:
                    not_made = len(options.preflight)
        failure = failure_of(findings, not_made=not_made)
        if failure:
            raise failure
        return findings, preflight.reductions

    def _board(self, scenarios: Sequence[Scenario]) -> LiveBoard | None:
        """What those who watch are shown; None when nobody does."""
        show = self._bookkeeper.live
        if show is None:
            return None
        whole = max(s.start + s.executor.warm_up + s.executor.duration for s in scenarios)
        return LiveBoard(show, total=Duration(whole))

    def _open(
        self,
        name: str,
        given: str,
        executor: Executor | None,
        reduced: tuple[str, ...],
        stack: Mapping[str, str],
        must_be_answered: bool,
    ) -> Run:
        run = Run(
            nodeid=self._nodeid,
            name=name,
            given=given,
            lasting=self._bookkeeper.lasting_name(self._nodeid, given),
            executor="combined" if executor is None else executor.kind,
            parameters={} if executor is None else dict(executor.parameters),
            reduced=reduced,
            stack=stack,
            must_be_answered=must_be_answered,
            redactor=self._bookkeeper.redactor,
        )
        self._bookkeeper.runs.append(run)
        return run

    def _scaled(self, scenario: Scenario) -> tuple[Scenario, tuple[str, ...]]:
        """The scenario with the command line's values and a name of its own; what that changed."""
        executor, notes = _scale(scenario.executor, self._bookkeeper.settings)
        unique = self._bookkeeper.unique_name(scenario.name)
        return replace(scenario, name=unique, executor=executor), notes

    def _judge(self, runs: Sequence[Run], options: CheckedOptions, early_end: EarlyEnd) -> None:
        """Write what the runs came to, and refuse one that proves nothing, whatever the test asserts.

        Raises:
            ThresholdsMissed: The load was ended early.
        """
        __tracebackhide__ = True
        result = runs[0].result
        assert result is not None
        judgements = self._bookkeeper.hold(
            self._nodeid,
            result,
            test=self._thresholds,
            call=options.held,
            decided=early_end.breaches,
        )
        ended = f"ended early after {early_end.after}" if early_end.breaches else None
        for run in runs:
            assert run.result is not None
            if ended:
                # Whether all of it would have been offered nobody knows.
                run.reduced = (*run.reduced, ended)
            else:
                run.validity = diagnose(run.result.report, allow_dropped=options.allow_dropped)
        try:
            for run in runs:
                _judge_run(run)
            if ended:
                raise missed({runs[0].name: judgements}, before=f"{ended}: ")
        except ScaleFailure as failure:
            self._save(runs, failure)
            raise
        for run in runs:
            self._bookkeeper.save(run)

    def _where(self, scenario: Scenario, options: CheckedOptions) -> Endpoint:
        settings = self._bookkeeper.settings
        ca_path = settings.ca if options.ca is None else options.ca
        base_url = options.base_url if scenario.base_url is None else scenario.base_url
        if base_url is not None:
            if not isinstance(base_url, str):
                raise ConfigurationError(
                    f"base_url: {base_url!r} is no text; write https://HOST:PORT"
                )
            base_url = check_base_url(base_url, name="base_url")
            # The token is the stack's server's: another one must not learn it.
            token = settings.token if scenario.base_url is None else None
            endpoint = Endpoint(base_url=base_url, ca_path=ca_path, token=token)
        elif self._endpoint is not None:
            # The stack's own has the stack's CA; the marker's may have one of the call's.
            own_ca = options.ca is not None and not self._stack
            return replace(self._endpoint, ca_path=ca_path) if own_ca else self._endpoint
        elif settings.base_url is not None:
            endpoint = Endpoint(base_url=settings.base_url, ca_path=ca_path, token=settings.token)
        else:
            raise ConfigurationError(
                "load has no server to load: pass base_url=… to the call or to the scale marker, "
                "set --certload-base-url, or ask for the certload_stack fixture"
            )
        check_host(endpoint.base_url, settings.allow_host)
        return endpoint


def _check_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "load needs a running asyncio event loop and there is none here; "
            "run the test with pytest-asyncio, not with another async framework"
        ) from None


def _authorisation(endpoint: Endpoint) -> dict[str, str]:
    return {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}


def _check_scenarios(scenarios: Sequence[Scenario]) -> None:
    if not scenarios:
        raise ConfigurationError("load.run() needs a scenario: load.run(Scenario(…))")
    names = [scenario.name for scenario in scenarios]
    for name in names:
        check_scenario_name(name)
        if names.count(name) > 1:
            raise ConfigurationError(
                f"name: {name!r} is the name of {names.count(name)} scenarios of one run; "
                "give each its own"
            )


def _scale(executor: AnyExecutor, settings: Settings) -> tuple[AnyExecutor, tuple[str, ...]]:
    """The executor with the command line's values, and what that changed."""
    changes: dict[str, Any] = {}
    for name in ("duration", "rate", "vus"):
        wanted, present = getattr(settings, name), getattr(executor, name, None)
        if wanted is not None and present is not None and wanted != present:
            changes[name] = wanted
    if settings.warm_up is not None and executor.warm_up not in (0, settings.warm_up):
        changes["warm_up"] = settings.warm_up
    notes = (
        f"{name.replace('_', '-')} {new} instead of {getattr(executor, name)}"
        for name, new in changes.items()
    )
    scaled = cast(AnyExecutor, executor.replaced(**changes)) if changes else executor
    return scaled, tuple(notes)


def _clients(
    endpoint: Endpoint,
    transport: str,
    options: CheckedOptions,
    *,
    slots: int,
    allow_hosts: Collection[str],
) -> list[Any]:
    """The clients of one scenario: one for all of its slots, or one for each."""
    guard = partial(check_host, allow_hosts=allow_hosts, name="a request or redirect")
    many = slots if options.connections == "per-vu" else 1
    return [
        open_client(
            transport,
            base_url=endpoint.base_url,
            connections=slots // many,
            timeout=options.request_timeout,
            ca_path=endpoint.ca_path,
            headers={**_authorisation(endpoint), **(options.headers or {})},
            observer=current_iteration,
            fresh=options.connections == "fresh",
            guard=guard,
        )
        for _ in range(many)
    ]


def _own_seed(seed: int, position: int) -> int:
    """Of scenarios that run together each draws numbers of its own."""
    return seed + (position << 32)


def _arrival_seed(scenario: Scenario, seed: int, position: int) -> int:
    """What the arrivals are drawn from: the members of a fleet are the same ones in all scenarios."""
    is_fleet = isinstance(scenario.executor, FleetArrivals)
    return seed if is_fleet else _own_seed(seed, position)


async def _watched(
    engines: Sequence[ScenarioRun],
    clock: SystemClock,
    processes: ProcessWitness,
    early_end: EarlyEnd,
) -> tuple[SelfReport, int]:
    """Run scenarios with a collector that keeps quiet and a watchdog beside them.

    Returns:
        What the generator saw of itself, and how many iterations had succeeded when a part of the
        stack died, which ends the load; when none did, in all.
    """
    doom = asyncio.ensure_future(processes.doomed())
    succeeded: list[int] = []

    def end_early(_: object) -> None:
        if not doom.cancelled():
            succeeded.append(sum(engine.succeeded for engine in engines))
            for engine in engines:
                engine.cut_short()

    doom.add_done_callback(end_early)
    with QuietCollector() as collector:
        watchdog = Watchdog(clock, collector)
        watchdog.start()
        early_end.start()
        try:
            await execute_together(engines)
        finally:
            own = watchdog.stop()
            doom.cancel()
            await early_end.stop()
    return own, succeeded[0] if succeeded else sum(engine.succeeded for engine in engines)


def _judge_run(run: Run) -> None:
    """Refuse a run that proves nothing, whatever the test would assert.

    Raises:
        ScenarioError: The scenario's own code raised.
        InvalidRun: Not all of the load was offered, or the generator was the bottleneck.
    """
    __tracebackhide__ = True
    assert run.result is not None
    report = run.result.report
    raised = [e for e in report.errors if e.outcome is Outcome.EXCEPTION]
    if raised:
        total = sum(e.count for e in raised)
        ended = ", so the load was ended" if report.broken else ""
        first = (raised[0].traceback or "").rstrip()
        raise ScenarioError(
            f"the scenario's own code raised {total:,} times{ended}; first: {raised[0].message}\n"
            f"{first}"
        )
    if run.validity is not None and run.validity.state == "invalid":
        raise InvalidRun("; ".join(run.validity.reasons))
