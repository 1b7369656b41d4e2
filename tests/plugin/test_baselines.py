"""Saving and comparing: what a user of pytest sees of baselines."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Target


@pytest.fixture(autouse=True)
def ini(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")


def run(
    pytester: pytest.Pytester,
    target: Target,
    *arguments: str,
    path: str = "/fine",
    after: str = "",
    rate: int = 100,
) -> pytest.RunResult:
    """A load of 40 requests, each in a step, which passes if errors are few."""
    pytester.makepyfile(
        test_it=f"""
        import pytest
        from pytest_certload import ms

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_storm(load):
            async def ask(iteration):
                async with iteration.step("login"):
                    async with iteration.client.get("{path}") as response:
                        iteration.expect(response, 200)

            result = await load.constant_arrival_rate(ask, rate={rate}, duration=0.4)
            assert result.error_rate <= 1
            {after}
        """
    )
    return pytester.runpytest("-m", "scale", "--junitxml=out.xml", *arguments)


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator's verdict of itself is not what these tests are about: the machine may be busy."""
    from pytest_certload.verdict.diagnosis import Validity

    monkeypatch.setattr(
        "pytest_certload.session.diagnose", lambda *_, **__: Validity(state="valid", reasons=())
    )


@pytest.fixture
def unlike(monkeypatch: pytest.MonkeyPatch) -> None:
    """How alike samples in a row are is the machine's; here none is like the one before."""
    monkeypatch.setattr(
        "pytest_certload.stats.uncertainty._autocorrelation_time", lambda _ones: 1.0
    )


@pytest.fixture
def suspect(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_certload.verdict.diagnosis import Validity

    found = Validity(state="suspect", reasons=("somebody knocked",))
    monkeypatch.setattr("pytest_certload.session.diagnose", lambda *_, **__: found)


def saved(pytester: pytest.Pytester) -> list[Path]:
    return sorted((pytester.path / ".certload" / "baselines").glob("*/*/*.json"))


def faster(path: Path, times: int) -> None:
    """Make the response times of a baseline so many times shorter, and sure."""
    document = json.loads(path.read_text())
    for step in (document["saved"][-1]["iterations"], *document["saved"][-1]["steps"]):
        for figure in step["percentiles"].values():
            value = figure["value"] // times
            figure |= {"value": value, "low": value * 99 // 100, "high": value * 101 // 100}
    path.write_text(json.dumps(document))


def summary(pytester: pytest.Pytester) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((pytester.path / "results/summary-storm.json").read_text())
    return found


@pytest.mark.usefixtures("calm")
class TestSave:
    def test_a_pass_is_saved_and_the_next_one_beside_it(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        result = run(pytester, target, "--certload-save=main")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(
            ["saved as baseline main: storm, in .certload/baselines/*/main"]
        )
        (path,) = saved(pytester)
        assert path.parent.name == "main"
        run(pytester, target, "--certload-save=main").assert_outcomes(passed=1)
        document = json.loads(path.read_text())
        assert [one["state"] for one in document["saved"]] == ["passed", "passed"]
        assert document["saved"][0]["iterations"]["count"] == 40

    def test_a_failure_is_not_saved_and_that_is_told(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        result = run(pytester, target, "--certload-save=main", after="assert result.p50 < ms(0)")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["not saved as baseline main: storm (failed)"])
        assert saved(pytester) == []

    def test_the_folder_may_be_another(self, pytester: pytest.Pytester, target: Target) -> None:
        run(pytester, target, "--certload-save=main", "--certload-baselines=kept").assert_outcomes(
            passed=1
        )
        assert len(list((pytester.path / "kept").glob("*/main/storm.json"))) == 1


def test_figures_of_an_invalid_run_are_not_compared(
    pytester: pytest.Pytester, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_certload.verdict.diagnosis import Validity

    for state in ("valid", "invalid"):
        validity = Validity(state=state, reasons=("for a test",))
        monkeypatch.setattr("pytest_certload.session.diagnose", lambda *_, v=validity, **__: v)
        result = run(
            pytester, target, *(["--certload-compare=main"] if state == "invalid" else []),
            *(["--certload-save=main"] if state == "valid" else []),
        )  # fmt: skip
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*storm is not compared with baseline main: the run is invalid*"])
    assert summary(pytester)["comparison"] is None


@pytest.mark.usefixtures("suspect")
def test_a_suspect_run_is_not_saved_silently(pytester: pytest.Pytester, target: Target) -> None:
    result = run(pytester, target, "--certload-save=main")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*storm is not saved as baseline main: the run is suspect*run it again*"]
    )
    assert saved(pytester) == []
    assert summary(pytester)["state"] == "failed"


@pytest.mark.usefixtures("calm")
def test_several_scenarios_together_are_saved_and_compared_each_and_as_one(
    pytester: pytest.Pytester, target: Target
) -> None:
    pytester.makepyfile(
        test_it=f"""
        import pytest
        from pytest_certload import ConstantArrivalRate, Scenario

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_shop(load):
            async def ask(iteration):
                async with iteration.client.get("/fine") as response:
                    iteration.expect(response, 200)

            result = await load.run(*(
                Scenario(
                    name=name,
                    executor=ConstantArrivalRate(rate=50, duration=0.4),
                    iteration=ask,
                )
                for name in ("browse", "buy")
            ))
            assert result.error_rate <= 1
        """
    )
    pytester.runpytest("-m", "scale", "--certload-save=main").assert_outcomes(passed=1)
    assert [path.stem for path in saved(pytester)] == ["browse", "buy", "shop"]
    result = pytester.runpytest("-m", "scale", "--certload-compare=main,errors:100%")
    result.assert_outcomes(passed=1)
    lines = result.stdout.lines
    assert sum("at most errors:100%" in line for line in lines) == 3


@pytest.mark.usefixtures("calm")
class TestCompare:
    def test_what_is_no_worse_passes_and_is_shown(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        run(pytester, target, "--certload-save=main")
        result = run(pytester, target, "--certload-compare=main,p50:10000%")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(
            ["*beside baseline main of 20*", "*response time p50 *was *at most p50:10000%*"]
        )
        comparison = summary(pytester)["comparison"]
        assert comparison["baseline"] == "main"
        assert {(f["step"], f["kind"]) for f in comparison["figures"]} == {
            (step, kind) for step in (None, "login") for kind in ("duration", "share", "rate")
        }

    @pytest.mark.usefixtures("unlike")
    def test_all_that_got_worse_is_one_failure_in_the_call(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        run(pytester, target, "--certload-save=main", path="/slow/20")
        faster(saved(pytester)[0], 100)
        result = run(
            pytester, target, "--certload-compare=main,p50:10%,login.p50:1ms,errors:1%",
            "--certload-save=main", path="/slow/20",
        )  # fmt: skip
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                "*worse than baseline main: response time p50 * % higher*wanted at most p50:10%*",
                "*worse than baseline main: response time p50 of step login *login.p50:1ms*",
                "*not saved as baseline main: storm (failed)",
            ]
        )
        suite = next(ElementTree.parse(pytester.path / "out.xml").getroot().iter("testsuite"))
        assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
        document = summary(pytester)
        assert document["state"] == "failed"
        failed = [f["limit"] for f in document["comparison"]["figures"] if not f["passed"]]
        assert failed == ["p50:10%", "login.p50:1ms"]

    @pytest.mark.usefixtures("unlike")
    def test_without_a_limit_nothing_fails(self, pytester: pytest.Pytester, target: Target) -> None:
        run(pytester, target, "--certload-save=main", path="/slow/20")
        faster(saved(pytester)[0], 100)
        result = run(pytester, target, "--certload-compare=main", path="/slow/20")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["*response time p50 *, higher"])

    def test_what_failed_already_is_compared_too(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        run(pytester, target, "--certload-save=main")
        result = run(pytester, target, "--certload-compare=main", after="assert result.p50 < ms(0)")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*- certload storm -*", "*beside baseline main of 20*"])
        assert summary(pytester)["comparison"] is not None

    def test_another_load_is_compared_when_told_so(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        run(pytester, target, "--certload-save=main")
        result = run(pytester, target, "--certload-compare=main", rate=50)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*storm cannot be compared with baseline main*load: rate 50/s (100/s then)*anyway*"]
        )
        result = run(
            pytester, target, "--certload-compare=main", "--certload-compare-anyway", rate=50
        )
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["*differs: load: rate 50/s (100/s then)"])

    def test_another_machine_is_named(self, pytester: pytest.Pytester, target: Target) -> None:
        run(pytester, target, "--certload-save=main")
        (path,) = saved(pytester)
        document = json.loads(path.read_text())
        document["machine"]["cores"] += 1
        other = path.parents[2] / "elsewhere" / "main"
        other.mkdir(parents=True)
        (other / path.name).write_text(json.dumps(document))
        path.unlink()
        result = run(pytester, target, "--certload-compare=main")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*another machine: cores * then)*"])

    def test_a_scenario_that_was_not_saved_is_named(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        run(pytester, target, "--certload-save=main")
        (path,) = saved(pytester)
        document = json.loads(path.read_text())
        (path.parent / "calm.json").write_text(json.dumps({**document, "scenario": "calm"}))
        path.unlink()
        result = run(pytester, target, "--certload-compare=main")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*main has no scenario storm, but calm; add it*"])

    def test_what_the_samples_cannot_decide_is_for_the_policy(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        run(pytester, target, "--certload-save=main")
        # Of 40 requests none failed, which does not exclude a rate of a few percent.
        compare = "--certload-compare=main,errors:0.1%"
        result = run(pytester, target, compare)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["*error rate 0 %, was 0 %*not decided by so few samples"])
        run(pytester, target, compare, "--certload-undecided=fail").assert_outcomes(failed=1)
        run(pytester, target, compare, "--certload-undecided=pass").assert_outcomes(passed=1)


@pytest.mark.usefixtures("calm")
class TestBeforeTheLoad:
    def test_a_name_that_is_none_lists_those_there_are(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        run(pytester, target, "--certload-save=main")
        target.seen.clear()
        result = run(pytester, target, "--certload-compare=mian,p95:10%")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: there is no baseline mian *those there are: main;*"])
        assert target.seen == []

    def test_a_step_that_is_none_lists_those_there_are(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        run(pytester, target, "--certload-save=main")
        result = run(pytester, target, "--certload-compare=main,logout.p95:10%")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: *'logout.p95:10%'*step logout*steps are login"])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "*storm.json is no JSON: *"),
            ('{"format": 99}', "*storm.json: *format 99*upgrade it"),
        ],
    )
    def test_a_broken_file_is_named(
        self, pytester: pytest.Pytester, target: Target, text: str, message: str
    ) -> None:
        run(pytester, target, "--certload-save=main")
        saved(pytester)[0].write_text(text)
        result = run(pytester, target, "--certload-compare=main")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {message}"])

    def test_a_folder_that_cannot_be_written_is_found(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        (pytester.path / "taken").write_text("a file, not a folder")
        result = run(pytester, target, "--certload-save=main", "--certload-baselines=taken")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: --certload-baselines *taken: *cannot be written*"])
        assert target.seen == []

    def test_a_broken_file_that_would_be_appended_to_is_found(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        run(pytester, target, "--certload-save=main")
        saved(pytester)[0].write_text("{")
        target.seen.clear()
        result = run(pytester, target, "--certload-save=main")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: *storm.json is no JSON: *"])
        assert target.seen == []
