"""Thresholds that are written as text, end to end."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Target

GET = 'async with iteration.client.get("{path}") as response:\n    iteration.expect(response, 200)'
STEPS = (
    'async with iteration.step("login"), iteration.client.get("/login") as response:\n'
    "    iteration.expect(response, 200)\n"
    'async with iteration.step("pay"), iteration.client.get("/slow/20") as response:\n'
    "    iteration.expect(response, 200)"
)


@pytest.fixture(autouse=True)
def ini(pytester: pytest.Pytester) -> None:
    write_ini(pytester)


def write_ini(pytester: pytest.Pytester, *lines: str) -> None:
    head = [
        "[pytest]",
        "addopts = --strict-markers",
        "asyncio_default_fixture_loop_scope = function",
    ]
    pytester.makeini("\n".join([*head, *lines]))


def scale_test(
    target: Target,
    iteration: str = GET.format(path="/fine"),
    *,
    mark: str = "",
    call: str = "",
    after: str = "",
) -> str:
    """A test file with one load of 0.5 s at 80/s, as users write it."""
    lines = [
        "import pytest",
        "from pytest_certload import ConstantArrivalRate, Scenario, ThresholdsMissed, ms",
        "",
        f'@pytest.mark.scale(base_url="{target.base_url}"{mark and f", {mark}"})',
        "async def test_storm(load):",
        "    async def ask(iteration):",
        *(f"        {line}" for line in iteration.splitlines()),
        f"    result = await load.constant_arrival_rate(ask, rate=80, {call or 'duration=0.5'})",
        *(f"    {line}" for line in after.splitlines()),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def run(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=source)
    return pytester.runpytest("-m", "scale", "--junitxml=out.xml", *arguments)


def summary(pytester: pytest.Pytester, name: str = "storm") -> dict[str, Any]:
    path = pytester.path / f"results/summary-{name}.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def counts(pytester: pytest.Pytester) -> tuple[str | None, ...]:
    suite = next(ElementTree.parse(pytester.path / "out.xml").getroot().iter("testsuite"))
    return suite.get("tests"), suite.get("failures"), suite.get("errors")


def test_thresholds_that_hold_are_told_everywhere(
    pytester: pytest.Pytester, target: Target
) -> None:
    write_ini(pytester, "certload_thresholds =", "    med<25s", "    count > 10")
    result = run(
        pytester,
        scale_test(
            target,
            mark='thresholds={"http_req_duration": ["p(95)<25000"], "http_req_failed": "rate<0.1"}',
            call='duration=0.5, thresholds=["max<25s"]',
            after='result.hold("iterations: rate>1", {"checks": ["rate>0.99"]})',
        ),
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*response time p95 < 25 s (*"])
    found = [(t["expression"], t["metric"], t["passed"]) for t in summary(pytester)["thresholds"]]
    assert found == [
        ("max<25s", "response time max", True),
        ("http_req_duration: p(95)<25000", "response time p95", True),
        ("http_req_failed: rate<0.1", "error rate", True),
        ("med<25s", "response time p50", True),
        ("count > 10", "finished", True),
        ("iterations: rate>1", "rate", True),
        ("checks: rate>0.99", "success rate", True),
    ]


def test_those_of_the_module_hold_beside_the_tests_own(
    pytester: pytest.Pytester, target: Target
) -> None:
    source = scale_test(target, mark='thresholds=["p(95)<25s", "max<25s"]')
    module = 'pytestmark = pytest.mark.scale(thresholds=["rate<0.5", "max<25s"])\n'
    result = run(pytester, f"{source}\n{module}")
    result.assert_outcomes(passed=1)
    found = [t["expression"] for t in summary(pytester)["thresholds"]]
    assert found == ["p(95)<25s", "max<25s", "rate<0.5"]


def test_all_breaches_are_one_failure_when_the_test_is_over(
    pytester: pytest.Pytester, target: Target
) -> None:
    result = run(
        pytester,
        scale_test(
            target,
            GET.format(path="/status/503"),
            mark='thresholds=["rate<0.01", "count>10"]',
            call='duration=0.5, thresholds=["p(95)<500"]',
            after="print('the body went on')",
        ),
        "--certload-threshold=iterations: count>1000",
        "-s",
    )
    result.assert_outcomes(failed=1)
    assert counts(pytester) == ("1", "1", "0")
    result.stdout.fnmatch_lines(
        [
            "the body went on",
            "3 of 4 thresholds missed: response time p95, error rate, finished",
            "*response time p95 = no samples, wanted < 500 ms",
            "*error rate = 100 % (*, 95 % sure), wanted < 1 % (missed by *",
            "*finished = 40, wanted > 1,000 (missed by 960, *",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    document = summary(pytester)
    assert document["state"] == "failed"
    assert "3 of 4 thresholds missed: response time p95" in document["failure"]
    assert [t["passed"] for t in document["thresholds"]] == [False, False, True, False]
    (failure,) = ElementTree.parse(pytester.path / "out.xml").getroot().iter("failure")
    assert "wanted > 1,000" in (failure.text or "")


def test_breaches_stand_beside_what_the_body_raised(
    pytester: pytest.Pytester, target: Target
) -> None:
    mark = 'thresholds=["max<1us", "rate<0.01"]'
    source = scale_test(target, mark=mark, after='assert 1 == 2, "of the body"')
    result = run(pytester, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*of the body*", "*certload thresholds*", "threshold missed: response time max = *"]
    )


def test_what_is_not_proven_is_told_with_the_breaches(
    pytester: pytest.Pytester, target: Target
) -> None:
    source = scale_test(target, GET.format(path="/status/503"), mark='thresholds="p(50)<10"')
    result = run(pytester, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*threshold missed: response time p50 = no samples, wanted < 10 ms",
            "*40 of 40 iterations of scenario storm failed and the test does not judge it*",
        ]
    )


@pytest.mark.parametrize("threshold", ["rate<=1", "checks: rate>=0", "errors: count<1000"])
def test_a_threshold_on_errors_judges_them(
    pytester: pytest.Pytester, target: Target, threshold: str
) -> None:
    source = scale_test(target, GET.format(path="/status/503"))
    run(pytester, source, f"--certload-threshold={threshold}").assert_outcomes(passed=1)


def test_hold_raises_at_once_with_all_breaches(pytester: pytest.Pytester, target: Target) -> None:
    after = 'result.hold("max<1us", "rate<0.01", "count>1000")\nprint("never")'
    result = run(pytester, scale_test(target, after=after), "-s")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            '*result.hold("max<1us"*',
            "*2 of 3 thresholds missed: response time max, finished",
            "*wanted < 1 µs*",
            "*wanted > 1,000*",
        ]
    )
    result.stdout.no_fnmatch_line("never")


def test_a_failed_hold_cannot_be_swallowed(pytester: pytest.Pytester, target: Target) -> None:
    after = 'with pytest.raises(ThresholdsMissed):\n    result.hold("max<1us")'
    result = run(pytester, scale_test(target, after=after))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*threshold missed: response time max*"])


def test_undecided_is_as_the_option_says(pytester: pytest.Pytester, target: Target) -> None:
    source = scale_test(target, mark='thresholds=["p(99)<25s", "rate<0.5"]')
    run(pytester, source).assert_outcomes(passed=1)
    assert [t["decided"] for t in summary(pytester)["thresholds"]] == [False, True]
    result = run(pytester, source, "--certload-undecided=fail")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*p99 = * p99 needs 100 samples, not 40*not decided*"])


class TestSteps:
    def test_of_one_step(self, pytester: pytest.Pytester, target: Target) -> None:
        mark = (
            "thresholds={'http_req_duration{step:login}': ['min<15'], "
            "'group_duration{group:::pay}': ['min<15', 'min>15']}"
        )
        result = run(pytester, scale_test(target, STEPS, mark=mark))
        result.assert_outcomes(failed=1)
        missed = [(t["step"], t["condition"]) for t in summary(pytester)["thresholds"]
                  if not t["passed"]]  # fmt: skip
        assert missed == [("pay", "< 15 ms")]

    def test_that_the_call_does_not_have_fails(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        call = 'duration=0.5, thresholds="{step:logn}: max<25s"'
        result = run(pytester, scale_test(target, STEPS, call=call))
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                "*response time max of step logn = no samples: step 'logn' was never finished; "
                "steps that were: login, pay, wanted < 25 s"
            ]
        )

    def test_that_only_one_load_of_the_test_has(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        second = (
            'async def other(iteration):\n    async with iteration.client.get("/") as response:\n'
            "        iteration.expect(response, 200)\n"
            "await load.constant_arrival_rate(other, rate=40, duration=0.2)"
        )
        mark = "thresholds=['{step:pay}: max<25s', 'response_time{step:gone}: max<25s', 'med<25s']"
        result = run(pytester, scale_test(target, STEPS, mark=mark, after=second))
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*threshold missed: storm-2: response time max of step gone = no samples*"]
        )
        of_first, of_second = summary(pytester)["thresholds"], summary(pytester, "storm-2")
        assert [t["passed"] for t in of_first] == [True, True]
        assert [(t["step"], t["passed"]) for t in of_second["thresholds"]] == [
            (None, True),
            ("gone", False),
        ]

    def test_of_an_option_are_of_the_loads_that_have_it(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        option = (
            "--certload-threshold={step:pay}: max<25s",
            "--certload-threshold={step:py}: max<25s",
        )
        result = run(pytester, scale_test(target, STEPS), *option)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(
            ["threshold '{step:py}: max<25s' was about no load of this session*"]
        )
        result.stdout.no_fnmatch_line("*{step:pay}*about no load*")


def test_several_scenarios(pytester: pytest.Pytester, target: Target) -> None:
    thresholds = [
        "count>1", "iterations{scenario:a}: count<9", "iterations{scenario:b}: count<9",
        "{step:pay}: max<25s", "{step:a.pay,scenario:a}: max<25s", "{scenario:c}: max<25s",
        "errors: count<1",
    ]  # fmt: skip
    source = f"""
import pytest
from pytest_certload import ConstantArrivalRate, Scenario

async def ask(iteration):
    async with iteration.step("pay"), iteration.client.get("/fine") as response:
        iteration.expect(response, 200)

@pytest.mark.scale(base_url="{target.base_url}")
async def test_mix(load):
    await load.run(
        Scenario(name="a", iteration=ask, executor=ConstantArrivalRate(rate=20, duration=0.2)),
        Scenario(name="b", iteration=ask, executor=ConstantArrivalRate(rate=80, duration=0.2)),
        thresholds={thresholds},
    )
"""
    result = run(pytester, source)
    result.assert_outcomes(failed=1)

    def found(name: str) -> list[tuple[str, bool]]:
        return [(t["expression"], t["passed"]) for t in summary(pytester, name)["thresholds"]]

    assert found("a") == [(thresholds[1], True), (thresholds[3], True)]
    assert found("b") == [(thresholds[2], False), (thresholds[3], True)]
    assert found("mix") == [
        (thresholds[0], True),
        (thresholds[4], False),
        (thresholds[5], False),
        (thresholds[6], True),
    ]
    result.stdout.fnmatch_lines(
        ["*3 of 8 thresholds missed: *", "*b: finished = 16, wanted < 9*"], consecutive=False
    )


class TestEndingEarly:
    @pytest.mark.parametrize("samples", ["keep", "sketch"])
    def test_a_hopeless_load_ends(
        self, pytester: pytest.Pytester, target: Target, samples: str
    ) -> None:
        mark = (
            "thresholds={'http_req_failed': [{'threshold': 'rate<0.01', 'abortOnFail': True}], "
            "'iterations': 'count>0'}"
        )
        after = 'print("never")'
        source = scale_test(
            target, GET.format(path="/status/503"), mark=mark, call='duration="60s"', after=after
        )
        result = run(pytester, source, f"--certload-samples={samples}", "-s")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                "*ended early after * s: threshold missed: error rate = 100 %*, wanted < 1 %*",
                "*reduced, not the full contract: ended early after * s",
            ]
        )
        result.stdout.no_fnmatch_line("never")
        document = summary(pytester)
        assert 1 <= document["duration_seconds"] < 30
        assert document["state"] == "failed"
        assert document["validity"] == "unjudged"
        assert [t["passed"] for t in document["thresholds"]] == [False, True]
        assert counts(pytester) == ("1", "1", "0")

    def test_not_before_its_delay_and_not_without_a_breach(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        """The load is over before the first threshold may be looked at; the other one holds."""
        call = (
            'duration="1.5s", thresholds=[{"threshold": "max<1us", "abort_on_fail": True, '
            '"delay": "1m"}, {"threshold": "max<60s", "abort_on_fail": True}]'
        )
        result = run(pytester, scale_test(target, call=call))
        result.assert_outcomes(failed=1)
        result.stdout.no_fnmatch_line("*ended early*")
        document = summary(pytester)
        assert document["offered"] == 120
        assert [t["passed"] for t in document["thresholds"]] == [False, True]

    def test_what_is_not_decided_ends_nothing(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        """p(99.9) needs 1,000 samples."""
        mark = 'thresholds=[{"threshold": "p(99.9)<1us", "abort_on_fail": True}]'
        run(pytester, scale_test(target, mark=mark, call='duration="1.6s"')).assert_outcomes(
            failed=1
        )
        assert summary(pytester)["offered"] == 128

    def test_of_several_scenarios_all_end(self, pytester: pytest.Pytester, target: Target) -> None:
        source = f"""
import pytest
from pytest_certload import ConstantArrivalRate, Scenario

async def ask(iteration):
    async with iteration.step("pay"), iteration.client.get("/slow/20") as response:
        iteration.expect(response, 200)

@pytest.mark.scale(base_url="{target.base_url}")
async def test_mix(load):
    executor = ConstantArrivalRate(rate=60, duration="60s")
    await load.run(
        Scenario(name="a", iteration=ask, executor=executor),
        Scenario(name="b", iteration=ask, executor=executor, start=load.planned_start),
        thresholds=[
            {{"threshold": "{{scenario:b,step:pay}}: p(50)<5ms", "abort_on_fail": True}},
            "rate<0.5",
        ],
    )
""".replace("load.planned_start", '__import__("pytest_certload").seconds(0.5)')
        result = run(pytester, source)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*ended early after *: threshold missed: response time p50 of step pay*"]
        )
        for name in ("a", "b", "mix"):
            document = summary(pytester, name)
            assert document["duration_seconds"] < 20
            assert document["reduced"][-1].startswith("ended early after")

    def test_code_that_raises_is_told_first(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        iteration = 'if iteration.index % 2:\n    raise KeyError("mine")\n' + GET.format(
            path="/fine"
        )
        mark = 'thresholds=[{"threshold": "rate<0.01", "abort_on_fail": True}]'
        result = run(pytester, scale_test(target, iteration, mark=mark, call='duration="60s"'))
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*ScenarioError: the scenario's own code raised*"])

    def test_a_load_that_is_over_cannot_end(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        after = 'result.hold({"threshold": "rate<0.01", "abortOnFail": True})'
        result = run(pytester, scale_test(target, after=after))
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*ConfigurationError: hold: 'rate<0.01': the load is over*"])


class TestWhatCannotBeRead:
    def test_on_the_marker(self, pytester: pytest.Pytester, target: Target) -> None:
        result = run(pytester, scale_test(target, mark='thresholds=["p95<500"]'))
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            [
                "ERROR: test_it.py::test_storm: scale(thresholds=…): 'p95<500' is no threshold; write *"
            ]
        )
        assert target.seen == []

    def test_of_the_call_before_any_load(self, pytester: pytest.Pytester, target: Target) -> None:
        call = 'duration=0.5, thresholds={"vus": ["max<5"]}'
        result = run(pytester, scale_test(target, call=call))
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*ConfigurationError: thresholds: 'max<5': there is no metric vus; there are *"]
        )
        assert target.seen == []

    def test_of_the_options_all_at_once(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        result = pytester.runpytest("--certload-threshold=p95<500", "--certload-rate=x")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            [
                "*--certload-threshold: 'p95<500' is no threshold; write *",
            ]
        )
        result.stderr.fnmatch_lines(["*--certload-rate: 'x' is not a rate*"])
        monkeypatch.setenv("CERTLOAD_THRESHOLDS", "p(95) < 500\n\nhttp_req_sending: max < 5\n")
        result = pytester.runpytest()
        result.stderr.fnmatch_lines(
            [
                "*CERTLOAD_THRESHOLDS (environment): 'http_req_sending: max < 5': there is no metric "
                "http_req_sending; *"
            ]
        )


def test_the_command_line_wins_over_the_ini_file(pytester: pytest.Pytester, target: Target) -> None:
    write_ini(pytester, "certload_thresholds = max<1us")
    source = scale_test(target)
    run(pytester, source).assert_outcomes(failed=1)
    run(pytester, source, "--certload-threshold=max<60s").assert_outcomes(passed=1)
