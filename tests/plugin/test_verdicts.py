from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import FULL_DISK, RERUN, interrupted

if TYPE_CHECKING:
    from .conftest import Target


@pytest.fixture(autouse=True)
def ini(pytester: pytest.Pytester) -> None:
    pytester.makeini(
        "[pytest]\naddopts = --strict-markers\nasyncio_default_fixture_loop_scope = function\n"
    )


def scale_test(target: Target, iteration: str, after: str = "", call: str = "") -> str:
    """A test file with one load of 0.5 s at 40/s, as users write it."""
    call = call or "load.constant_arrival_rate(ask, rate=40, duration=0.5)"
    lines = [
        "import pytest",
        "from pytest_certload import ms, seconds",
        "",
        f'@pytest.mark.scale(base_url="{target.base_url}")',
        "async def test_storm(load):",
        "    async def ask(iteration):",
        *(f"        {line}" for line in iteration.splitlines()),
        f"    result = await {call}",
        *(f"    {line}" for line in after.splitlines()),
    ]
    return "\n".join(lines) + "\n"


STUBBORN = """
import asyncio

async def stubborn(iteration):
    # It is cancelled five times at the end of a load, and once at the end of the event loop.
    for _ in range(6):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def cut_short(load, work):
    work = asyncio.ensure_future(work)
    while not load.traffic.sent and not work.done():
        await asyncio.sleep(0.01)
    work.cancel()
    await work

"""
GET = 'async with iteration.client.get("{path}") as response:\n    iteration.expect(response, 200)'


def run(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=source)
    return pytester.runpytest("-m", "scale", "--junitxml=out.xml", *arguments)


def summary(pytester: pytest.Pytester, name: str = "storm") -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (pytester.path / f"results/summary-{name}.json").read_text()
    )
    return document


def junit(pytester: pytest.Pytester) -> ElementTree.Element:
    return ElementTree.parse(pytester.path / "out.xml").getroot()


def test_a_pass_is_told_everywhere(pytester: pytest.Pytester, target: Target) -> None:
    result = run(
        pytester,
        scale_test(
            target,
            GET.format(path="/fine"),
            "assert result.p95 < seconds(25)\nassert result.error_rate < 0.01",
        ),
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "certload: stack auto, results in results",
            "*load tests*",
            f"against {target.base_url}",
            "storm: passed",
            "*response time p95*< 25 s*",
        ]
    )
    document = summary(pytester)
    assert document["state"] == "passed"
    assert (document["offered"], document["finished"]) == (20, 20)
    assert [t["passed"] for t in document["thresholds"]] == [True, True]
    assert (pytester.path / "results/summary-storm.txt").exists()
    assert len(target.seen) == 20


@pytest.mark.parametrize("family", ["xunit2", "xunit1"])
def test_properties_stand_where_the_schema_lets_them(
    pytester: pytest.Pytester, target: Target, family: str
) -> None:
    source = scale_test(target, GET.format(path="/fine"), "assert result.error_rate < 0.01")
    run(pytester, source, "-o", f"junit_family={family}").assert_outcomes(passed=1)
    root = junit(pytester)
    (suite,) = root.iter("testsuite")
    (case,) = root.iter("testcase")
    holder, other = (suite, case) if family == "xunit2" else (case, suite)
    found = {p.get("name"): p.get("value") for p in holder.findall("properties/property")}
    assert float(found["certload.storm.response_time.p95"] or "nan") < 5
    assert (found["certload.storm.count"], found["certload.storm.validity"]) == ("20", "valid")
    assert other.find("properties") is None
    # The order that the schema of xunit2 prescribes.
    assert [child.tag for child in suite][: 1 + (family == "xunit2")] == (
        ["properties", "testcase"] if family == "xunit2" else ["testcase"]
    )


def test_without_junit_there_are_no_properties(pytester: pytest.Pytester, target: Target) -> None:
    pytester.makepyfile(
        test_it=scale_test(target, GET.format(path="/fine"), "assert result.error_rate < 0.01")
    )
    pytester.runpytest("-m", "scale", "-p", "no:junitxml").assert_outcomes(passed=1)


def test_a_missed_percentile_explains_itself(pytester: pytest.Pytester, target: Target) -> None:
    result = run(
        pytester, scale_test(target, GET.format(path="/slow/30"), "assert result.p95 < ms(10)")
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*assert*response time p95 = *s (*), wanted < 10 ms (missed by *",
            "*all along, in 100 % of the run, p95 *s in a usual moment*",
            "*response times of whole iterations:*",
            "*limit 10 ms: all of them lie above it*",
            "*the slowest requests:*",
            "*due at*iteration*status 200*",
            "*offered 40/s, achieved */s for 500 ms*",
            "*p50*p90*p95*p99*max*",
            "*results/summary-storm*",
        ]
    )
    assert summary(pytester)["state"] == "failed"
    root = junit(pytester)
    suite = next(root.iter("testsuite"))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
    (failure,) = root.iter("failure")
    assert "response time p95" in (failure.get("message") or "")
    assert "p99" in (failure.text or "")


def test_the_whole_table_is_in_the_failure_without_verbosity(
    pytester: pytest.Pytester, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    result = run(
        pytester,
        scale_test(target, GET.format(path="/status/503"), "assert result.error_rate < 0.001"),
    )
    result.stdout.fnmatch_lines(
        [
            "E *error rate = 100 %*, wanted < 0.1 %*",
            "E *20 of 20 failed: all along, in 100 % of the run",
            "E *expected status 200, got 503*",
            "E *had no capacity to answer*",
            "*503 ×20",
        ]
    )


def test_no_samples_hold_no_threshold(pytester: pytest.Pytester, target: Target) -> None:
    after = "assert result.error_rate <= 1.0\nassert result.p95 < ms(5000)"
    result = run(pytester, scale_test(target, GET.format(path="/status/500"), after))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*response time p95 = no samples, wanted < 5 s*", "E *20 of 20 failed: all along*"]
    )


def test_a_terminal_without_unicode_is_told_in_ascii(
    pytester: pytest.Pytester, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    pytester.makepyfile(
        test_it=scale_test(target, GET.format(path="/slow/30"), "assert result.p95 < ms(10)")
    )
    result = pytester.runpytest_subprocess("-m", "scale")
    result.assert_outcomes(failed=1)
    told = result.stdout.str()
    assert told.isascii()
    assert "\\n" not in told
    result.stdout.fnmatch_lines(["E *wanted < 10 ms*", "*ms - *s  #*", "*FAIL response*"])


def test_a_step_that_never_ran_holds_no_threshold(
    pytester: pytest.Pytester, target: Target
) -> None:
    iteration = (
        'async with iteration.step("one"):\n'
        '    async with iteration.client.get("/x") as r:\n'
        "        iteration.expect(r, 200)"
    )
    result = run(
        pytester, scale_test(target, iteration, 'assert result.step("two").p95 < ms(5000)')
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*response time p95 of step two = no samples*",
            "*step 'two' was never finished; steps that were: one*",
        ]
    )


class TestAGreenTestThatProvesNothing:
    def test_errors_nobody_judged(self, pytester: pytest.Pytester, target: Target) -> None:
        result = run(
            pytester,
            scale_test(target, GET.format(path="/status/403"), "assert result.count == 20"),
        )
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*20 of 20 iterations of scenario storm failed and the test does not judge it*"]
        )
        assert summary(pytester)["state"] == "failed"

    def test_a_status_nobody_looked_at(self, pytester: pytest.Pytester, target: Target) -> None:
        iteration = (
            'async with iteration.client.get("/status/404") as response:\n    await response.read()'
        )
        result = run(pytester, scale_test(target, iteration, "assert result.error_rate < 0.01"))
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*expected status below 400, got 404*"])

    @pytest.mark.parametrize(
        "iteration",
        [
            "pass",
            'iteration.client.get("/fine")',
            "import aiohttp\n"
            "async with aiohttp.ClientSession() as own, own.get(BASE) as response:\n"
            "    assert response.status == 200",
        ],
        ids=["nothing", "no await", "a client of its own"],
    )
    def test_iterations_that_saw_no_answer(
        self, pytester: pytest.Pytester, target: Target, iteration: str
    ) -> None:
        after = "assert result.error_rate < 0.01"
        source = f"BASE = {target.base_url!r}\n" + scale_test(target, iteration, after)
        ignored = (
            "-W",
            "ignore::RuntimeWarning",
            "-W",
            "ignore::pytest.PytestUnraisableExceptionWarning",
        )
        result = run(pytester, source, *ignored)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*no iteration of scenario storm saw an answer*`await`*"])
        told = source.replace("duration=0.5", "duration=0.5, must_be_answered=False")
        run(pytester, told, *ignored).assert_outcomes(passed=1)

    @pytest.mark.parametrize(
        ("iteration", "message"),
        [
            (GET.format(path="/status/500"), "expected status 200, got 500"),
            (
                'async with iteration.client.get("/fine") as response:\n'
                "    iteration.check(response.status == 201, 'it was made')",
                "it was made",
            ),
            (
                'async with iteration.client.get("/fine") as response:\n'
                "    iteration.expect(response, 304)",
                "expected status 304, got 200",
            ),
            (
                'await iteration.client.get("http://127.0.0.1:1/")',
                "a request had no answer, and the scenario swallowed the reason",
            ),
        ],
    )
    def test_errors_that_are_swallowed(
        self, pytester: pytest.Pytester, target: Target, iteration: str, message: str
    ) -> None:
        lines = "\n".join(f"    {line}" for line in iteration.splitlines())
        swallowed = f"try:\n{lines}\nexcept Exception:\n    pass"
        result = run(pytester, scale_test(target, swallowed, "assert result.error_rate < 0.01"))
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*error rate = 100 %*", f"*{message}*"])

    def test_a_condition_without_assert(self, pytester: pytest.Pytester, target: Target) -> None:
        after = "assert result.error_rate < 0.01\nresult.p95 < ms(0)"
        result = run(pytester, scale_test(target, GET.format(path="/fine"), after))
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*response time p95 = *the test went on: is an `assert` missing?*"]
        )
        assert summary(pytester)["state"] == "failed"
        after = "assert result.error_rate < 0.01\nassert not float(result.p95) < 0"
        run(pytester, scale_test(target, GET.format(path="/fine"), after)).assert_outcomes(passed=1)

    def test_load_that_was_offered_late(self, pytester: pytest.Pytester, target: Target) -> None:
        call = "load.constant_arrival_rate(ask, rate=50, duration=0.5, max_in_flight=1)"
        slow = scale_test(
            target, GET.format(path="/slow/50"), "assert result.error_rate == 0", call
        )
        result = run(pytester, slow)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*InvalidRun: the offered load was offered late: *"])

    @pytest.mark.parametrize(
        ("path", "call", "why"),
        [
            (
                "/slow/50",
                "load.constant_arrival_rate(ask, rate=50, duration=0.5, max_in_flight=1)",
                "*the load of scenario storm is invalid: the offered load was offered late: *proves nothing*",
            ),
            (
                "/fine",
                "cut_short(load, load.constant_arrival_rate(ask, rate=50, duration='1m'))",
                "*the load of scenario storm was interrupted before it was over*proves nothing*",
            ),
            (
                "/fine",
                "load.constant_arrival_rate(stubborn, rate=5, duration=0.5, grace=0)",
                "*the load of scenario storm failed: the load ended with ScenarioError: *proves nothing*",
            ),
        ],
        ids=["late", "interrupted", "failed"],
    )
    def test_a_verdict_that_the_test_catches(
        self, pytester: pytest.Pytester, target: Target, path: str, call: str, why: str
    ) -> None:
        call = f"asyncio.gather({call}, return_exceptions=True)"
        source = STUBBORN + scale_test(target, GET.format(path=path), call=call)
        result = run(pytester, source)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([why])
        assert summary(pytester)["state"] == ("interrupted" if "interrupted" in why else "failed")

    def test_an_earlier_attempt_judges_no_later_one(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        pytester.makeconftest(RERUN)
        after = (
            "ledger = load.ledger('orders')\n"
            "assert result.error_rate < 0.01\n"
            "import pathlib\n"
            "again = pathlib.Path('again').exists()\n"
            "pathlib.Path('again').touch()\n"
            "assert result.p95 < (seconds(25) if again else ms(0))\n"
            "ledger.compared = 0"
        )
        run(pytester, scale_test(target, GET.format(path="/fine"), after)).assert_outcomes(passed=1)
        assert [summary(pytester, name)["state"] for name in ("storm", "storm-2")] == [
            "failed",
            "passed",
        ]

    def test_a_missing_await(self, pytester: pytest.Pytester, target: Target) -> None:
        pytester.makepyfile(
            test_it=f"""
            import pytest

            @pytest.mark.scale(base_url="{target.base_url}")
            async def test_storm(load):
                async def ask(iteration): ...
                load.constant_arrival_rate(ask, rate=1, duration=1)
            """
        )
        result = pytester.runpytest(
            "-m",
            "scale",
            "-W",
            "ignore::RuntimeWarning",
            "-W",
            "ignore::pytest.PytestUnraisableExceptionWarning",
        )
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*asked for `load` and made none*is an `await` missing*"])

    def test_load_that_was_not_offered(self, pytester: pytest.Pytester, target: Target) -> None:
        call = (
            'load.constant_arrival_rate(ask, rate=100, duration=0.5, max_in_flight=1, grace="0.2s")'
        )
        result = run(
            pytester,
            scale_test(
                target, GET.format(path="/slow/100"), "assert result.error_rate <= 1.0", call
            ),
        )
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*InvalidRun: the offered load was not offered: * of 50 iterations never started*"]
        )
        assert summary(pytester)["dropped"] > 0

    def test_a_scenario_that_raises(self, pytester: pytest.Pytester, target: Target) -> None:
        result = run(
            pytester,
            scale_test(
                target,
                'raise KeyError("no such key")',
                call="load.constant_arrival_rate(ask, rate=1000, duration=10)",
            ),
        )
        result.assert_outcomes(failed=1)
        text = result.stdout.str()
        found = re.search(
            r"the scenario's own code raised ([\d,]+) times, so the load was ended", text
        )
        # Of 10,000; what begins before the load is told of its end raises too.
        assert found is not None
        assert 50 <= int(found[1].replace(",", "")) < 1000
        assert text.count('raise KeyError("no such key")') <= 3, "shown, not fifty times"
        assert "run_iteration" not in text


class TestWhatIsNotAScenario:
    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (
                "load.constant_arrival_rate(print, rate=1, duration=1)",
                "the scenario function print is not async*",
            ),
            ("load.constant_arrival_rate(ask, rate=0, duration=1)", "rate: 0 is not a rate*"),
            (
                "load.constant_arrival_rate(ask, rate=1, duration='x')",
                "duration: 'x' is not a duration*",
            ),
            (
                "load.constant_vus(ask, vus=0, duration=1)",
                "vus: 0 is not a whole number of at least 1",
            ),
            (
                "load.constant_vus(ask, vus=1, duration=1, name='a b')",
                "name: 'a b' is no scenario name*",
            ),
            (
                "load.constant_vus(ask, vus=1, duration=1, timeout='x')",
                "timeout: 'x' is not a duration*",
            ),
            (
                "load.constant_vus(ask, vus=1, duration=1, base_url='https://a.example.org')",
                "*a.example.org*--certload-allow-host*",
            ),
        ],
    )
    def test_is_one_error_at_the_users_own_line(
        self, pytester: pytest.Pytester, target: Target, call: str, message: str
    ) -> None:
        result = run(pytester, scale_test(target, "pass", call=call))
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([f"*ConfigurationError: {message}"])
        assert "session.py" not in result.stdout.str()
        assert target.seen == []

    def test_no_loop(self, pytester: pytest.Pytester, target: Target) -> None:
        pytester.makepyfile(
            f"""
            import pytest

            @pytest.mark.scale(base_url="{target.base_url}")
            async def test_storm(load):
                import threading, asyncio
                async def ask(iteration): ...
                problems = []
                def elsewhere():
                    coroutine = load.constant_vus(ask, vus=1, duration=1)
                    try:
                        coroutine.send(None)
                    except Exception as error:
                        problems.append(error)
                thread = threading.Thread(target=elsewhere)
                thread.start(); thread.join()
                raise problems[0]
            """
        )
        result = pytester.runpytest("-m", "scale")
        result.stdout.fnmatch_lines(["*load needs a running asyncio event loop*pytest-asyncio*"])


def test_a_run_scaled_down_says_so(pytester: pytest.Pytester, target: Target) -> None:
    source = scale_test(
        target,
        GET.format(path="/x"),
        "assert result.error_rate < 0.01",
        "load.constant_arrival_rate(ask, rate=40, duration='5m')",
    )
    result = run(pytester, source, "--certload-duration=0.5s", "--certload-rate=20/s")
    result.assert_outcomes(passed=1)
    assert len(target.seen) == 10
    result.stdout.fnmatch_lines(["*educed*500 ms instead of 5m*"])
    assert summary(pytester)["reduced"] == [
        "duration 500 ms instead of 5m",
        "rate 20/s instead of 40/s",
    ]


def test_vus_can_be_scaled(pytester: pytest.Pytester, target: Target) -> None:
    source = scale_test(
        target,
        GET.format(path="/slow/50"),
        "assert result.error_rate < 0.01",
        "load.constant_vus(ask, vus=100, duration='5m')",
    )
    result = run(pytester, source, "--certload-duration=0.2s", "--certload-vus=2")
    result.assert_outcomes(passed=1)
    assert summary(pytester)["in_flight_peak"] == 2


def test_a_warm_up_can_be_shortened_and_none_is_added(
    pytester: pytest.Pytester, target: Target
) -> None:
    after = "again = await load.constant_vus(ask, vus=1, duration=0.1)\nassert again.error_rate < 1"
    call = "load.constant_arrival_rate(ask, rate=100, duration=0.2, warm_up='1m')"
    source = scale_test(target, GET.format(path="/slow/5"), after, call)
    result = run(pytester, source, "--certload-warm-up=100ms", "--certload-threshold=rate<1")
    result.assert_outcomes(passed=1)
    shortened, without = summary(pytester, "storm"), summary(pytester, "storm-2")
    assert shortened["reduced"] == ["warm-up 100 ms instead of 1m"]
    assert shortened["parameters"]["warm_up_seconds"] == 0.1
    assert without["reduced"] == []
    assert without["parameters"]["warm_up_seconds"] == 0


def test_two_loads_in_one_test_have_a_summary_each(
    pytester: pytest.Pytester, target: Target
) -> None:
    after = "assert result.error_rate < 0.1\nagain = await load.constant_vus(ask, vus=1, duration=0.1)\nassert again.error_rate < 0.1"
    run(pytester, scale_test(target, GET.format(path="/slow/5"), after)).assert_outcomes(passed=1)
    assert summary(pytester, "storm")["executor"] == "constant_arrival_rate"
    assert summary(pytester, "storm-2")["executor"] == "constant_vus"


def test_integrity_may_be_off_by_what_failed(pytester: pytest.Pytester, target: Target) -> None:
    after = (
        "assert result.unacknowledged == 0\n"
        'result.integrity("rows", actual=21, expected=20, more=1)\n'
        'result.integrity("jobs", actual=17, expected=20, fewer=3, more=1)\n'
        'result.integrity("sums", actual=22, expected=20, fewer=9, more=1)'
    )
    outcome = run(pytester, scale_test(target, GET.format(path="/fine"), after))
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["*IntegrityFailed: sums: 22, expected 11 to 21*"])
    held = {t["metric"]: (t["condition"], t["passed"]) for t in summary(pytester)["thresholds"]}
    assert held["rows"] == ("in 20 to 21", True)
    assert held["jobs"] == ("in 17 to 21", True)
    assert held["sums"] == ("in 11 to 21", False)


@pytest.mark.parametrize(
    "slack", ["actual='a', expected='b', more=1", "actual=1, expected=1, fewer=-1"]
)
def test_what_integrity_may_be_off_by_is_a_number(
    pytester: pytest.Pytester, target: Target, slack: str
) -> None:
    outcome = run(
        pytester,
        scale_test(target, GET.format(path="/fine"), f'result.integrity("rows", {slack})'),
    )
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(
        ["*ConfigurationError: integrity('rows', *they are numbers from 0 on*"]
    )


def test_integrity_that_does_not_hold_fails(pytester: pytest.Pytester, target: Target) -> None:
    after = 'result.integrity("rows", actual=20, expected=20)\nresult.integrity("sums", actual=19, expected=20)'
    result = run(pytester, scale_test(target, GET.format(path="/x"), after))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*IntegrityFailed: sums: 19, expected 20*"])
    assert [t["passed"] for t in summary(pytester)["thresholds"]] == [True, False]


def test_a_figure_of_the_tests_own_is_a_condition_like_any_other(
    pytester: pytest.Pytester, target: Target
) -> None:
    after = (
        "from pytest_certload import ms\n"
        'assert result.figure("signing", ms(0.2)) < ms(2)\n'
        'assert result.figure("retries", 3) == 2'
    )
    result = run(pytester, scale_test(target, GET.format(path="/x"), after))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*signing < 2 ms (200 µs)", "*retries == 2 (3*"])
    held = [(t["metric"], t["actual"], t["passed"]) for t in summary(pytester)["thresholds"]]
    assert held == [("signing", "200 µs", True), ("retries", "3", False)]


def test_a_refused_connection_is_an_error_and_no_crash(
    pytester: pytest.Pytester, target: Target
) -> None:
    source = scale_test(
        target,
        GET.format(path="/x"),
        "assert result.error_rate < 0.01",
        'load.constant_arrival_rate(ask, rate=40, duration=0.5, base_url="http://127.0.0.1:9")',
    )
    result = run(pytester, source, "--certload-preflight=off")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*error rate = 100 %*", "*connection error*20*"])


def test_a_full_disk_fails_the_test_and_loses_no_report(
    pytester: pytest.Pytester, target: Target
) -> None:
    pytester.makeconftest(FULL_DISK)
    source = scale_test(target, GET.format(path="/x"), "assert result.error_rate < 0.01")
    pytester.makepyfile(test_it=source)
    result = pytester.runpytest_subprocess("-m", "scale", "--junitxml=out.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*No space left on device*"])
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert "storm: failed" in result.stdout.str()
    (case,) = junit(pytester).iter("testcase")
    assert case.find("failure") is not None


def test_a_disk_that_fills_up_at_the_end_fails_the_test(
    pytester: pytest.Pytester, target: Target
) -> None:
    """The first summary is written when the load is over, the last when the test is."""
    pytester.makeconftest(
        """
        import errno, os
        from pytest_certload.face.verdicts import Verdicts
        import pytest_certload.bookkeeping as bookkeeping
        from pytest_certload.errors import ReportError

        close = Verdicts.close_runs

        def closing(self, item, call):
            def full(record, directory):
                raise ReportError("no space left")

            bookkeeping.write_summary = full
            return close(self, item, call)

        Verdicts.close_runs = closing
        """
    )
    source = scale_test(target, GET.format(path="/x"), "assert result.error_rate < 0.01")
    pytester.makepyfile(test_it=source)
    result = pytester.runpytest_subprocess("-m", "scale", "--junitxml=out.xml")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["--- certload ---", "no space left", "storm: failed"])
    assert "None" not in [line.strip() for line in result.outlines]


def test_a_scenario_that_breaks_in_its_warm_up_is_told_and_ends_nothing_else(
    pytester: pytest.Pytester, target: Target
) -> None:
    call = 'load.constant_arrival_rate(ask, rate=400, duration=10, warm_up="10s")'
    source = scale_test(target, "raise KeyError(iteration.index)", call=call)
    again = source.replace("test_storm", "test_again").partition("@pytest")
    result = run(pytester, source + again[1] + again[2])
    result.assert_outcomes(failed=2)
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    result.stdout.fnmatch_lines(["*scenario's own code raised * times, so the load was ended*"])
    assert summary(pytester)["offered_rate"] == 0


def test_errors_of_a_step_must_be_judged_too(pytester: pytest.Pytester, target: Target) -> None:
    iteration = "\n".join(
        (
            'async with iteration.step("good"):',
            f"    {GET.format(path='/fine')}".replace("\n", "\n    "),
            'async with iteration.step("bad"):',
            f"    {GET.format(path='/status/500')}".replace("\n", "\n    "),
        )
    )
    good = 'assert result.step("good").error_rate < 0.01'
    result = run(pytester, scale_test(target, iteration, good))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*20 of 20 iterations of scenario storm failed*does not judge it*"]
    )
    result = run(pytester, scale_test(target, iteration, "assert result.count > 0"))
    result.assert_outcomes(failed=1)
    bad = 'assert result.step("bad").error_rate <= 1.0'
    run(pytester, scale_test(target, iteration, bad)).assert_outcomes(passed=1)


def test_very_many_kinds_of_errors_are_no_exceptions(
    pytester: pytest.Pytester, target: Target
) -> None:
    iteration = 'iteration.check(False, f"kind {iteration.index}")'
    call = "load.constant_arrival_rate(ask, rate=400, duration=0.5)"
    result = run(
        pytester, scale_test(target, iteration, "assert result.error_rate <= 1.0", call=call)
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://127.0.0.1", "'ftp://127.0.0.1' is no http or https URL; write https://HOST:PORT"),
        ("http://127.0.0.1/api", "holds more than scheme, host and port"),
        ("http://me:s3cret@127.0.0.1", "holds more than scheme, host and port"),
    ],
)
@pytest.mark.parametrize("where", ["marker", "call"])
def test_a_base_url_that_is_none_is_refused_wherever_it_stands(
    pytester: pytest.Pytester, target: Target, url: str, message: str, where: str
) -> None:
    source = scale_test(target, GET.format(path="/x"))
    if where == "marker":
        result = run(pytester, source.replace(target.base_url, url))
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            [f"ERROR: test_it.py::test_storm: scale(base_url=…)*{message}*"]
        )
        assert "s3cret" not in result.stderr.str() + result.stdout.str()
    else:
        result = run(pytester, source.replace("0.5)", f"0.5, base_url={url!r})"))
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([f"*ConfigurationError: base_url*{message}*"])
    assert target.seen == []


def test_scenarios_together_have_a_summary_each_and_one_for_all(
    pytester: pytest.Pytester, target: Target
) -> None:
    pytester.makepyfile(
        test_it=f"""
        import pytest
        from pytest_certload import ConstantArrivalRate, Scenario, SharedIterations, ms, seconds

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_mix(load):
            async def browse(iteration):
                async with iteration.client.get("/browse") as response:
                    iteration.expect(response, 200)

            async def buy(iteration):
                async with iteration.step("pay"), iteration.client.get("/status/402") as response:
                    iteration.expect(response, 200)

            result = await load.run(
                Scenario(name="browse", iteration=browse, executor=ConstantArrivalRate(rate=40, duration=1)),
                Scenario(
                    name="buy",
                    iteration=buy,
                    executor=SharedIterations(iterations=5, vus=1, pacing=0.1),
                    start=seconds(0.5),
                ),
            )
            assert result["browse"].count == 40
            assert result["browse"].error_rate == 0
            assert result["buy"].error_rate == 1
            assert result.count == 45
            assert result.step("buy.pay").count == 5
            assert result.p95 < ms(25_000)
            with pytest.raises(KeyError, match="'sell' is none of the scenarios browse, buy"):
                result["sell"]
        """
    )
    result = pytester.runpytest("-m", "scale")
    result.assert_outcomes(passed=1)
    assert [summary(pytester, n)["offered"] for n in ("browse", "buy", "mix")] == [40, 5, 45]
    assert summary(pytester, "mix")["executor"] == "combined"
    assert summary(pytester, "mix")["parameters"] == {}
    assert summary(pytester, "buy")["parameters"]["start_seconds"] == 0.5


def test_one_of_several_scenarios_that_asks_nothing_proves_nothing(
    pytester: pytest.Pytester, target: Target
) -> None:
    pytester.makepyfile(
        test_it=f"""
        import pytest
        from pytest_certload import ConstantArrivalRate, Scenario

        async def browse(iteration):
            async with iteration.client.get("/fine") as response:
                iteration.expect(response, 200)

        async def buy(iteration):
            pass

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_mix(load):
            executor = ConstantArrivalRate(rate=40, duration=0.2)
            result = await load.run(
                Scenario(name="browse", iteration=browse, executor=executor),
                Scenario(name="buy", iteration=buy, executor=executor),
            )
            assert result.error_rate < 0.01
        """
    )
    outcome = pytester.runpytest("-m", "scale")
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["*no iteration of scenario buy saw an answer*"])


@pytest.mark.parametrize("figure", ["count", "ok", "errors", "finished", "rate"])
def test_what_is_counted_of_a_step_that_never_ran_is_not_0(
    pytester: pytest.Pytester, target: Target, figure: str
) -> None:
    after = f"assert result.errors == 0\nassert result.step('chekout').{figure} < 5"
    outcome = run(pytester, scale_test(target, GET.format(path="/fine"), after))
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines([f"*assert {figure} of step chekout = no samples*"])


def test_a_window_in_which_nothing_was_due_is_invalid(
    pytester: pytest.Pytester, target: Target
) -> None:
    call = 'load.constant_arrival_rate(ask, rate="30/min", duration=0.2, warm_up=0.5)'
    source = scale_test(target, GET.format(path="/fine"), "assert result.dropped == 0", call)
    outcome = run(pytester, source)
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["*nothing was due in the measured window*"])
    assert summary(pytester)["validity"] == "invalid"


def test_load_that_is_asked_for_while_the_test_runs_is_held_to_all_the_same(
    pytester: pytest.Pytester, target: Target
) -> None:
    pytester.makepyfile(
        test_it=f"""
        import pytest

        @pytest.fixture
        def maker(request):
            return request.getfixturevalue("load")

        @pytest.mark.scale(base_url="{target.base_url}", thresholds=["p(95)<0.001"])
        async def test_storm(maker):
            async def ask(iteration):
                async with iteration.client.get("/slow/5") as response:
                    iteration.expect(response, 200)
            result = await maker.constant_arrival_rate(ask, rate=40, duration=0.5)
            assert result.errors == 0
        """
    )
    outcome = pytester.runpytest("-m", "scale")
    outcome.assert_outcomes(failed=1)
    outcome.stdout.fnmatch_lines(["*ThresholdsMissed*"])


def test_half_a_character_in_an_error_ends_nothing(
    pytester: pytest.Pytester, target: Target
) -> None:
    iteration = f"{GET.format(path='/fine')}\niteration.check(False, 'broken: \\ud83d')"
    source = scale_test(target, iteration, "assert result.error_rate < 0.5")
    pytester.makepyfile(test_it=source, test_other="def test_other(): pass")
    outcome = pytester.runpytest("-m", "scale", "--junitxml=out.xml", "test_it.py", "test_other.py")
    outcome.assert_outcomes(failed=1, deselected=1)
    assert outcome.ret == pytest.ExitCode.TESTS_FAILED
    (error,) = summary(pytester)["errors"]
    assert "broken: \ud83d" in error["message"]


def test_scenarios_keep_the_names_that_their_test_gave_them(
    pytester: pytest.Pytester, target: Target
) -> None:
    pytester.makepyfile(
        test_it=f"""
        import pytest
        from pytest_certload import ConstantArrivalRate, Scenario

        async def ask(iteration):
            async with iteration.step("get"), iteration.client.get("/fine") as response:
                iteration.expect(response, 200)

        @pytest.mark.scale(base_url="{target.base_url}")
        @pytest.mark.parametrize("turn", [1, 2])
        async def test_mix(load, turn):
            executor = ConstantArrivalRate(rate=40, duration=0.2)
            result = await load.run(
                Scenario(name="browse", iteration=ask, executor=executor),
                Scenario(name="buy", iteration=ask, executor=executor),
            )
            assert result["browse"].count == result.step("buy.get").count == 8
            assert result.errors == 0
        """
    )
    pytester.runpytest("-m", "scale").assert_outcomes(passed=2)
    assert [summary(pytester, n)["offered"] for n in ("browse", "browse-2")] == [8, 8]


def test_a_failure_names_the_scenario_whose_figure_it_is(
    pytester: pytest.Pytester, target: Target
) -> None:
    pytester.makepyfile(
        test_it=f"""
        import pytest
        from pytest_certload import ConstantArrivalRate, Scenario, ms

        async def ask(iteration):
            async with iteration.client.get("/slow/5") as response:
                iteration.expect(response, 200)

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_mix(load):
            executor = ConstantArrivalRate(rate=40, duration=0.5)
            result = await load.run(
                Scenario(name="browse", iteration=ask, executor=executor),
                Scenario(name="buy", iteration=ask, executor=executor),
            )
            assert result.errors == 0
            assert result["buy"].p50 < ms(1)
        """
    )
    pytester.runpytest("-m", "scale").assert_outcomes(failed=1)
    assert summary(pytester, "buy")["failure"].startswith("assert response time p50 = ")
    for name in ("browse", "mix"):
        assert summary(pytester, name)["failure"].startswith("buy: assert response time p50 = ")


@pytest.mark.parametrize("transport", ["aiohttp", "fast"])
@pytest.mark.parametrize("connections", ["keep-alive", "per-vu", "fresh"])
def test_transports_and_connections(
    pytester: pytest.Pytester, target: Target, transport: str, connections: str
) -> None:
    call = (
        "load.constant_arrival_rate(ask, rate=40, duration=0.5, max_in_flight=5, "
        f"connections={connections!r})"
    )
    after = "\n".join(
        (
            "assert result.error_rate == 0",
            "assert result.service_time.p95 < seconds(25)",
            "assert result.first_byte.max <= result.service_time.max",
            f"fresh = {connections == 'fresh'}",
            "made = len(result.report.connections)",
            "assert made == 20 if fresh else 1 <= made <= 5",
            "assert result.samples.reused.sum() == 20 - made",
            "assert result.connect.max < seconds(25)",
            "assert result.summary.received_bytes > 20 * 10",
        )
    )
    result = run(
        pytester,
        scale_test(target, GET.format(path="/x"), after, call),
        f"--certload-transport={transport}",
    )
    result.assert_outcomes(passed=1)
    assert len(target.seen) == 20
    assert summary(pytester)["stack"]["transport"] == transport
    assert "connect" in summary(pytester)["iterations"]["phases"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ('connections="many"', "connections: 'many' is none of keep-alive, per-vu, fresh"),
        ('transport="curl"', "transport: 'curl' is none of aiohttp, fast"),
        ("allow_dropped=2", "allow_dropped: 2 is no share from 0 to 1"),
        ('timeout="soon"', "timeout: 'soon' is not a duration"),
        ('grace="never"', "grace: 'never' is not a duration"),
        ("preflight=5", "preflight: 5 is no list of checks; write preflight=[[]check[]]"),
        ("preflight=[5]", "preflight: 5 is no check; give a list of functions"),
        ('when_full="wait"', "when_full: 'wait' is neither 'queue'"),
    ],
)
def test_options_of_a_load_that_are_none(
    pytester: pytest.Pytester, target: Target, options: str, message: str
) -> None:
    call = f"load.constant_arrival_rate(ask, rate=40, duration=0.5, {options})"
    result = run(pytester, scale_test(target, GET.format(path="/x"), call=call))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*ConfigurationError: {message}*"])
    assert target.seen == []


def test_exceptions_of_the_scenarios_own_are_none_of_the_servers(
    pytester: pytest.Pytester, target: Target
) -> None:
    iteration = 'open("/nowhere/to/be/found.json")'
    result = run(pytester, scale_test(target, iteration, "assert result.error_rate <= 1.0"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the scenario's own code raised 20 times*FileNotFoundError*"])
    failing = scale_test(target, "pytest.fail('no more')", "assert result.error_rate <= 1.0")
    result = run(pytester, failing)
    result.assert_outcomes(failed=1)
    text = result.stdout.str() + result.stderr.str()
    assert "the scenario's own code raised 20 times" in text
    assert "never retrieved" not in text


@pytest.mark.parametrize("value", ["999999999999h", "367 * 86400"])
def test_more_time_than_there_is(pytester: pytest.Pytester, target: Target, value: str) -> None:
    duration = value if "*" in value else repr(value)
    call = f"load.constant_arrival_rate(ask, rate=1, duration={duration})"
    result = run(pytester, scale_test(target, GET.format(path="/x"), call=call))
    result.stdout.fnmatch_lines(["*ConfigurationError: duration: * is longer than a year; *"])


@pytest.mark.parametrize("transport", ["aiohttp", "fast"])
@pytest.mark.parametrize("path", ["http://shop.example.com/x", "/to/shop.example.com"])
def test_a_stranger_is_not_loaded_by_a_redirect_or_a_whole_url(
    pytester: pytest.Pytester, target: Target, transport: str, path: str
) -> None:
    result = run(
        pytester,
        scale_test(target, GET.format(path=path), "assert result.error_rate <= 1.0"),
        f"--certload-transport={transport}",
    )
    result.assert_outcomes(failed=1)
    if transport == "fast" and path.startswith("/"):
        result.stdout.fnmatch_lines(["*does not do redirects to another server*"])
    else:
        result.stdout.fnmatch_lines(
            ["*a request or redirect: shop.example.com is neither loopback*"]
        )


def test_more_load_than_there_is_memory(pytester: pytest.Pytester, target: Target) -> None:
    source = scale_test(target, GET.format(path="/x"))
    result = run(pytester, source, "--certload-rate=999999999999999")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*PreflightError: 1 of 4 checks before the load failed*"])
    result.stdout.fnmatch_lines(["*memory: storm: * for the samples of * offer less*"])
    assert "Traceback" not in result.stdout.str()


def test_one_error_is_one_error(pytester: pytest.Pytester, target: Target) -> None:
    """What a message was wrapped from is not printed above it."""
    source = scale_test(target, GET.format(path="/x"))
    empty = pytester.makefile(".pem", "no certificate")
    result = run(pytester, source, "--certload-ca", str(empty))
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert "direct cause" not in text
    assert "During handling" not in text
    assert "traceback entries are hidden" not in text
    assert len([line for line in result.outlines if line.startswith("E ")]) == 1


def test_a_bare_number_is_told_at_the_users_own_line(
    pytester: pytest.Pytester, target: Target
) -> None:
    for after, message in (
        ("assert result.p95 < 500", "response time p95 is a duration: compare it with ms(500)"),
        ("assert result.p(101) < ms(5)", "101 is not a percentage"),
    ):
        result = run(pytester, scale_test(target, GET.format(path="/x"), after))
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([f"*{message}*"])
        assert "measure.py" not in result.stdout.str()
        assert "percentile.py" not in result.stdout.str()


def test_dropping_must_be_allowed(pytester: pytest.Pytester, target: Target) -> None:
    call = (
        "load.constant_arrival_rate("
        'ask, rate=100, duration=0.5, max_in_flight=1, when_full="drop"{})'
    )
    after = "assert result.dropped > 0\nassert result.error_rate < 1.0"
    slow = GET.format(path="/slow/50")
    result = run(pytester, scale_test(target, slow, after, call.format("")))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*InvalidRun: the offered load was not offered: * never started*"])
    assert summary(pytester)["validity"] == "invalid"
    result = run(pytester, scale_test(target, slow, after, call.format(", allow_dropped=0.98")))
    result.assert_outcomes(passed=1)


#: Ctrl-C comes when a load is ended early.
CTRL_C_AT_THE_END = """
import os, signal
from pytest_certload.engine.runner import ScenarioRun

cut_short = ScenarioRun.cut_short

def interrupted(self):
    cut_short(self)
    os.kill(os.getpid(), signal.SIGINT)

ScenarioRun.cut_short = interrupted
"""
#: Thresholds that are looked at while the load runs, and what is asked of the server until Ctrl-C comes.
WATCHED = {
    "nothing watched": ("", 20),
    "between two looks": ('thresholds=[{"threshold": "p(95)<60s", "abort_on_fail": True}]', 60),
    # From the first look on that has enough samples, the load is hopeless.
    "as it ends early": ('thresholds=[{"threshold": "p(95)<1us", "abort_on_fail": True}]', None),
}


@pytest.mark.parametrize("watched", WATCHED)
def test_ctrl_c_keeps_the_partial_result(
    pytester: pytest.Pytester, target: Target, watched: str
) -> None:
    thresholds, requests = WATCHED[watched]
    source = scale_test(
        target,
        GET.format(path="/slow/300" if watched == "as it ends early" else "/x"),
        call=f"load.constant_arrival_rate(ask, rate=40, duration=60, max_in_flight=20, {thresholds})",
    )
    pytester.makepyfile(test_it=source)
    if requests is None:
        pytester.makeconftest(CTRL_C_AT_THE_END)
    output = interrupted(pytester.path, target, "--junitxml=out.xml", requests=requests)
    document = summary(pytester)
    assert document["state"] == "interrupted"
    # What was on its way is not counted; 20 samples are the fewest that have a p95.
    assert document["finished"] >= (requests - 20 if requests is not None else 20)
    assert document["duration_seconds"] < 30
    assert "interrupted" in output
    assert "Task exception was never retrieved" not in output
    assert "Task was destroyed" not in output
    assert (pytester.path / "out.xml").exists()
