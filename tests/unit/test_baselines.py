from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.baselines.baseline import Baseline, PercentileFigure, StepBaseline
from pytest_certload.baselines.comparison import breaches, compare, require_whole
from pytest_certload.baselines.history import history_lines, sparkline
from pytest_certload.baselines.limits import FIGURES, Limit, parse_limit, parse_wish
from pytest_certload.baselines.machine import Machine, _cpu, this_machine
from pytest_certload.baselines.store import FORMAT, History, Store, read_history
from pytest_certload.baselines.table import BEGIN, END, baseline_table, put_into
from pytest_certload.errors import BaselineError, ConfigurationError
from pytest_certload.report.terminal import comparison_lines
from pytest_certload.units import ms

MS = 1_000_000
HERE = Machine(
    cpu="Intel(R) Xeon(R) CPU E5 @ 2.20GHz",
    cores=2,
    memory_gib=8,
    system="Linux",
    python="CPython 3.11",
)
ELSEWHERE = replace(HERE, cores=16, memory_gib=64)


def percentile(value: float, width: float = 0.02) -> PercentileFigure:
    """In milliseconds, with an interval of so much to either side."""
    return PercentileFigure(
        value=round(value * MS),
        low=round(value * (1 - width) * MS),
        high=round(value * (1 + width) * MS),
        effective=5_000,
    )


def part(name: str, p95: float = 100, width: float = 0.02, errors: int = 0) -> StepBaseline:
    shares = {"p50": 0.5, "p90": 0.9, "p95": 1.0, "p99": 1.4}
    return StepBaseline(
        name=name,
        count=10_000,
        errors=errors,
        rate=166.9,
        percentiles={figure: percentile(p95 * share, width) for figure, share in shares.items()},
    )


def baseline(p95: float = 100, width: float = 0.02, errors: int = 0, **changes: Any) -> Baseline:
    found = Baseline(
        scenario="storm",
        saved_at="2026-11-20T10:00:00+00:00",
        version="0.1.0",
        measured_at="2026-11-20T09:55:00.000+00:00",
        validity="valid",
        state="passed",
        executor="constant_arrival_rate",
        parameters={"rate": "167/s", "duration_seconds": 60.0},
        reduced=(),
        machine=HERE,
        stack={"stack": "embedded", "server": "certctl 1.2", "postgres": "18.6", "cpu_count": "2"},
        data="0123456789ab",
        environment={"python": "3.11.7", "platform": "Linux-6"},
        duration_seconds=60.0,
        offered=10_000,
        dropped=0,
        unfinished=0,
        offered_rate=167.0,
        achieved_rate=167.0,
        memory={"server": 150_000_000, "postgres": 90_000_000},
        iterations=part("storm", p95, width, errors),
        steps=(part("login", p95, width, errors),),
    )
    return replace(found, **changes)


def judged(p95: float, width: float, limit: str, undecided: str = "warn") -> tuple[bool, bool]:
    """Whether a limit held, and was decided, when p95 was 100 ms before."""
    found = compare(
        baseline(p95, width),
        baseline(100, width),
        name="main",
        limits=[parse_limit(limit)],
        undecided=undecided,
    )
    (figure,) = (figure for figure in found.figures if figure.limit)
    return figure.passed, figure.decided


class TestLimits:
    @pytest.mark.parametrize(
        ("text", "step", "figure", "share", "duration"),
        [
            ("p95:10%", None, "p95", 0.1, None),
            (" p99: 50ms ", None, "p99", None, ms(50)),
            ("errors:0.1%", None, "errors", 0.001, None),
            ("login.p95:10%", "login", "p95", 0.1, None),
            ("api.v1:login.p50:.5%", "api.v1:login", "p50", 0.005, None),
            ("p95:0%", None, "p95", 0.0, None),
        ],
    )
    def test_are_read(
        self, text: str, step: str | None, figure: str, share: float | None, duration: int | None
    ) -> None:
        found = parse_limit(text)
        assert (found.step, found.figure) == (step, figure)
        assert (found.share, found.duration) == (share, duration)
        assert found.text == text.strip()

    @pytest.mark.parametrize(
        "text",
        ["", "p95", "p95:", "p95:10", "p95:fast", "p95:-1%", "p98:10%", "errors:5ms", "errors:1",
         "mean:5%", "login:5%", ":5%"],
    )  # fmt: skip
    def test_that_are_none_are_named_with_the_remedy(self, text: str) -> None:
        with pytest.raises(ConfigurationError, match="write such as p95:10%, p99:50ms") as caught:
            parse_limit(text)
        assert repr(text) in str(caught.value)

    @given(st.sampled_from(FIGURES), st.integers(0, 10**6), st.text(max_size=20))
    def test_the_step_may_be_called_anything(self, figure: str, percent: int, step: str) -> None:
        found = parse_limit(f"x{step}x.{figure}:{percent}%")
        assert (found.step, found.figure) == (f"x{step}x", figure)
        assert found.share == pytest.approx(percent / 100)

    def test_come_behind_a_name(self) -> None:
        name, limits = parse_wish("release-1.2,p95:10%,errors:0.1%")
        assert name == "release-1.2"
        assert [limit.figure for limit in limits] == ["p95", "errors"]
        assert parse_wish("main") == ("main", ())

    @pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", ".hidden"])
    def test_a_name_is_one_of_a_folder(self, name: str) -> None:
        with pytest.raises(ConfigurationError, match="is no name of a baseline"):
            parse_wish(f"{name},p95:1%")


class TestMachine:
    def test_is_a_folder_that_people_can_read(self) -> None:
        assert HERE.folder == "intel-xeon-e5-2.20ghz-2cpu-8gib-linux-cpython3.11"
        assert ELSEWHERE.folder != HERE.folder

    def test_goes_through_a_record(self) -> None:
        assert Machine.from_facts({**this_machine().facts(), "python": "x"}) == this_machine()
        assert Machine.from_facts({"python": "3.11"}) is None

    def test_processor_is_in_the_kernels_description(self, tmp_path: Path) -> None:
        described = tmp_path / "cpuinfo"
        described.write_text("processor : 0\nmodel name\t: AMD  EPYC\n")
        assert _cpu(described) == "AMD EPYC"
        assert _cpu(tmp_path / "none")


class TestLimitsHold:
    @pytest.mark.parametrize("undecided", ["warn", "fail", "pass"])
    def test_what_lies_on_one_side_is_decided_whatever_the_policy(self, undecided: str) -> None:
        assert judged(100, 0.02, "p95:10%", undecided) == (True, True)
        assert judged(130, 0.02, "p95:10%", undecided) == (False, True)
        assert judged(60, 0.02, "p95:0%", undecided) == (True, True)

    @pytest.mark.parametrize(
        ("p95", "width", "warn"),
        [
            (108, 0.05, True),  # the estimate holds, the interval reaches beyond the limit
            (115, 0.2, True),  # it does not, and may be no change at all
            (112, 0.05, False),  # it does not, and something has changed
        ],
    )
    def test_what_straddles_a_limit_is_for_the_policy(
        self, p95: float, width: float, warn: bool
    ) -> None:
        assert judged(p95, width, "p95:10%") == (warn, False)
        assert judged(p95, width, "p95:10%", "fail") == (False, False)
        assert judged(p95, width, "p95:10%", "pass") == (True, False)

    def test_a_duration_is_a_share_of_the_baselines_figure(self) -> None:
        assert judged(130, 0.01, "p95:20ms") == (False, True)
        assert judged(130, 0.01, "p95:40ms") == (True, True)

    def test_errors_are_compared_in_percentage_points(self) -> None:
        found = compare(
            baseline(errors=40),
            baseline(errors=10),
            name="main",
            limits=[parse_limit("errors:0.1%"), parse_limit("login.errors:1%")],
        )
        own, login = (figure for figure in found.figures if figure.limit)
        assert own.change == pytest.approx(0.003)
        assert (own.verdict, own.passed, own.decided) == ("higher", False, True)
        assert (login.passed, login.decided) == (True, True)
        (text,) = breaches(found)
        assert text.startswith("error rate 0.3 percentage points higher (+0.1")
        assert text.endswith(": 0.4 %, was 0.1 %; wanted at most errors:0.1%")

    def test_only_named_figures_fail_and_all_of_them_are_told(self) -> None:
        worse = compare(baseline(200), baseline(100), name="main")
        assert {f.verdict for f in worse.figures if f.kind == "duration"} == {"higher"}
        assert breaches(worse) == []
        limits = [parse_limit(text) for text in ("p50:5%", "p95:10%", "login.p99:1ms", "p90:300%")]
        found = breaches(compare(baseline(200), baseline(100), name="main", limits=limits))
        assert [text.split(" 100 %")[0] for text in found] == [
            "response time p50",
            "response time p95",
            "response time p99 of step login",
        ]

    def test_several_on_one_figure_hold_all(self) -> None:
        limits = [parse_limit("p95:1ms"), parse_limit("p95:90%")]
        (figure,) = (
            f
            for f in compare(baseline(130), baseline(100), name="m", limits=limits).figures
            if f.limit
        )
        assert (figure.limit, figure.passed) == ("p95:1ms, p95:90%", False)

    def test_a_step_that_neither_has_is_not_this_scenarios_affair(self) -> None:
        found = compare(baseline(), baseline(), name="m", limits=[parse_limit("other.p95:1%")])
        assert all(figure.limit is None for figure in found.figures)

    @pytest.mark.parametrize(
        ("run", "limit", "message"),
        [
            (baseline(steps=()), "login.p95:1%", "this run has no step login; steps are none"),
            (
                baseline(iterations=replace(part("storm"), percentiles={})),
                "p95:1%",
                "this run has too few samples for p95",
            ),
            (
                baseline(
                    iterations=replace(
                        part("storm"),
                        percentiles={
                            "p95": PercentileFigure(value=MS, low=None, high=None, effective=None)
                        },
                    )
                ),
                "p95:1%",
                "measure with --certload-samples keep",
            ),
            (
                baseline(iterations=replace(part("storm"), count=0)),
                "errors:1%",
                "this run has no iterations",
            ),
        ],
    )
    def test_a_figure_that_is_missing_is_no_pass(
        self, run: Baseline, limit: str, message: str
    ) -> None:
        with pytest.raises(BaselineError, match=message):
            compare(run, baseline(), name="main", limits=[parse_limit(limit)])

    @given(st.floats(50, 200), st.floats(0.001, 0.5), st.floats(0, 0.5), st.sampled_from(["p95"]))
    def test_the_policies_are_ordered(
        self, p95: float, width: float, most: float, figure: str
    ) -> None:
        limit = f"{figure}:{most * 100:.3f}%"
        strict, usual, lax = (
            judged(p95, width, limit, policy)[0] for policy in ("fail", "warn", "pass")
        )
        assert strict <= usual <= lax


class TestDifferences:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"machine": ELSEWHERE}, "machine: cores 16 \\(2 then\\), memory 64 \\(8 then\\)"),
            ({"machine": None}, "machine: one that is not known \\(.* then\\)"),
            ({"executor": "constant_vus"}, "load: constant_vus \\(constant_arrival_rate then\\)"),
            (
                {"parameters": {"rate": "100/s", "duration_seconds": 60.0}},
                "load: rate 100/s \\(167/s then\\)",
            ),
            ({"reduced": ("rate 5/s",)}, "load: reduced by options: rate 5/s \\(not then\\)"),
            ({"stack": {"stack": "docker"}}, "stack: stack docker \\(embedded then\\)"),
        ],
    )
    def test_of_machine_stack_and_load_stand_in_the_way(
        self, changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(BaselineError, match=message) as caught:
            compare(baseline(**changes), baseline(), name="main")
        assert "--certload-compare-anyway" in str(caught.value)
        found = compare(baseline(**changes), baseline(), name="main", anyway=True)
        assert found.differences

    def test_postgres_may_be_patched_and_not_exchanged(self) -> None:
        stack = dict(baseline().stack)
        found = compare(baseline(stack=stack | {"postgres": "18.7"}), baseline(), name="m")
        assert found.differences == ("postgres: 18.7 (18.6 then)",)
        with pytest.raises(BaselineError, match=r"postgres 19 \(18 then\)"):
            compare(baseline(stack=stack | {"postgres": "19.1"}), baseline(), name="m")
        with pytest.raises(BaselineError, match=r"postgres_fsync off \(none then\)"):
            compare(baseline(stack=stack | {"postgres_fsync": "off"}), baseline(), name="m")

    def test_of_what_is_measured_are_told(self) -> None:
        run = baseline(
            stack={**baseline().stack, "server": "certctl 1.3"}, validity="suspect", data=None
        )
        assert compare(run, baseline(), name="m").differences == (
            "server: certctl 1.3 (certctl 1.2 then)",
            "data: none (0123456789ab then)",
            "this run is suspect: its generator was disturbed",
        )

    def test_another_test_of_the_same_scenario_stands_in_the_way(self) -> None:
        one, other = (baseline(nodeid=f"test_{name}.py::test_it") for name in ("shop", "till"))
        with pytest.raises(BaselineError, match=r"another test: test_till.py::test_it \(test_shop"):
            compare(other, one, name="main")
        assert compare(one, baseline(), name="main").differences == ()
        assert compare(one, one, name="main").differences == ()

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"validity": "invalid"}, "is invalid"),
            ({"validity": "unjudged"}, "is unjudged"),
            ({"state": "interrupted"}, "was interrupted"),
        ],
    )
    def test_what_was_not_offered_says_nothing(self, changes: dict[str, Any], why: str) -> None:
        for run, before in ((baseline(**changes), baseline()), (baseline(), baseline(**changes))):
            with pytest.raises(BaselineError, match=f"{why}, so its figures say nothing"):
                require_whole(run, before, name="main")
        require_whole(baseline(validity="suspect"), baseline(), name="main")

    def test_the_terminal_tells_it(self) -> None:
        limits = [parse_limit("p95:10%"), parse_limit("login.p99:80%"), parse_limit("errors:1%")]
        run = baseline(150, stack={**baseline().stack, "server": "certctl 1.3"})
        found = compare(run, baseline(), name="main", limits=limits)
        lines = comparison_lines(found, unicode=True)
        assert lines[:2] == [
            "beside baseline main of 2026-11-20:",
            "  differs: server: certctl 1.3 (certctl 1.2 then)",
        ]
        assert (
            "  ✗ response time p95 150 ms, was 100 ms: +50 % (+45.8 to +54.3), higher; "
            "at most p95:10%"
        ) in lines
        assert any(line.startswith("  ✓ login: response time p99 210 ms") for line in lines)
        assert any(line.startswith("  ✓ error rate 0 %, was 0 %: +0 points") for line in lines)
        assert comparison_lines(None, unicode=True) == []


class TestStore:
    def test_keeps_history_in_small_files_with_a_stable_form(self, tmp_path: Path) -> None:
        store = Store(folder=tmp_path)
        path = store.save(baseline(100), name="main")
        assert path == tmp_path / HERE.folder / "main" / "storm.json"
        first = path.read_text("utf-8")
        assert first.endswith("}\n")
        assert len(first) < 6_000
        later = baseline(110, saved_at="2026-11-21T10:00:00+00:00")
        store.save(later, name="main")
        second = path.read_text("utf-8")
        # What was there stays as it was, line by line, up to the end of its last run.
        kept = first.splitlines()[:-3]
        assert second.splitlines()[: len(kept)] == kept
        history = read_history(path)
        assert history.saved == (baseline(100), later)
        assert history.latest == later

    def test_keeps_machines_and_tests_apart(self, tmp_path: Path) -> None:
        store = Store(folder=tmp_path)
        store.save(baseline(nodeid="test_shop.py::test_it"), name="main")
        slower = replace(HERE, cpu=HERE.cpu.replace("2.20", "2.80"))
        assert slower.folder != HERE.folder
        # Names that are written differently make one folder.
        twin = replace(HERE, cpu=HERE.cpu.replace("(R)", "(r)"))
        assert twin.folder == HERE.folder
        with pytest.raises(BaselineError, match="is of another machine"):
            store.save(baseline(machine=twin), name="main")
        with pytest.raises(BaselineError, match=r"is of another test \(test_shop.py::test_it"):
            store.save(baseline(nodeid="test_till.py::test_it"), name="main")
        (path,) = tmp_path.rglob("*.json")
        assert len(read_history(path).saved) == 1

    def test_finds_this_machines_before_others(self, tmp_path: Path) -> None:
        store = Store(folder=tmp_path)
        store.save(baseline(100, machine=ELSEWHERE), name="main")
        assert store.find("main", "storm", HERE).machine == ELSEWHERE
        store.save(baseline(90), name="main")
        assert store.find("main", "storm", HERE).machine == HERE

    def test_what_is_not_there_is_told_with_what_is(self, tmp_path: Path) -> None:
        store = Store(folder=tmp_path)
        with pytest.raises(BaselineError, match=r"no baseline main in .*: there is none; save one"):
            store.histories("main")
        store.save(baseline(), name="main")
        store.save(baseline(), name="release")
        with pytest.raises(BaselineError, match=r"no baseline mian .*: main, release; save"):
            store.find("mian", "storm", HERE)
        with pytest.raises(BaselineError, match="main has no scenario burst, but storm; add it"):
            store.find("main", "burst", HERE)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"validity": "suspect"}, "the run is suspect"),
            ({"validity": "invalid"}, "the run is invalid"),
            ({"state": "failed"}, "the run failed"),
            ({"state": "interrupted", "validity": "unjudged"}, "the run was interrupted"),
            ({"machine": None}, "its machine is not known"),
        ],
    )
    def test_what_proves_nothing_is_not_saved(
        self, tmp_path: Path, changes: dict[str, Any], reason: str
    ) -> None:
        with pytest.raises(BaselineError, match=f"not saved as baseline main: {reason}"):
            Store(folder=tmp_path).save(baseline(**changes), name="main")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "is no JSON: "),
            ("[]", "it is no baseline: TypeError"),
            ("{}", "it is no baseline: KeyError: 'format'"),
            (
                f'{{"format": {FORMAT + 1}}}',
                f"format {FORMAT + 1} .* reads up to {FORMAT}; upgrade",
            ),
            ('{"format": "x"}', "it has format 'x'"),
        ],
    )
    def test_a_broken_file_is_named_with_the_reason(
        self, tmp_path: Path, text: str, message: str
    ) -> None:
        store = Store(folder=tmp_path)
        path = store.save(baseline(), name="main")
        path.write_text(text)
        with pytest.raises(BaselineError, match=message) as caught:
            store.find("main", "storm", HERE)
        assert str(path) in str(caught.value)
        with pytest.raises(BaselineError):
            store.save(baseline(), name="main")
        assert path.read_text() == text

    def test_a_run_that_is_none_is_named_too(self, tmp_path: Path) -> None:
        path = Store(folder=tmp_path).save(baseline(), name="main")
        document = json.loads(path.read_text())
        for broken, message in (
            ([], "it holds no run"),
            ([{"saved_at": "x"}], "version is missing"),
        ):
            path.write_text(json.dumps({**document, "saved": broken}))
            with pytest.raises(BaselineError, match=message):
                read_history(path)

    @pytest.mark.usefixtures("full_disk")
    def test_a_full_disk_leaves_what_was_there(self, tmp_path: Path) -> None:
        with pytest.raises(BaselineError, match=r"--certload-baselines .* cannot be written"):
            Store(folder=tmp_path).save(baseline(), name="main")
        assert list(tmp_path.rglob("*.json")) == []


def history(*values: float, machine: Machine = HERE, scenario: str = "storm") -> History:
    runs = [
        baseline(value, scenario=scenario, machine=machine, saved_at=f"2026-11-{20 + n}T10:00:00")
        for n, value in enumerate(values)
    ]
    return History(name="main", scenario=scenario, machine=machine, saved=tuple(runs))


class TestHistory:
    def test_is_a_row_a_run_with_its_interval(self) -> None:
        lines = history_lines(history(100, 101, 150), width=11)
        assert lines[0] == f"storm, on {HERE}"
        assert lines[1] == "  p95 ▁▁█  100 ms to 150 ms"
        assert len(lines) == 6
        assert "+1 % same" in lines[4]
        assert "+48.5 % higher" in lines[5]
        # From 98 to 153 ms on eleven columns.
        dots = [line.index("●") for line in lines[3:]]
        begin = dots[0]
        assert dots == [begin, begin + 1, begin + 9]

    def test_says_where_stack_or_load_became_another(self) -> None:
        first, second = history(100, 100).saved
        other = replace(
            second, parameters={"rate": "5/s"}, stack={**second.stack, "stack": "docker"}
        )
        lines = history_lines(replace(history(100), saved=(first, other)))
        assert "+0 % same, another stack and load" in lines[4]

    def test_of_a_step_that_is_none_is_an_error(self) -> None:
        with pytest.raises(BaselineError, match="has no step logout; steps are login"):
            history_lines(history(100), step="logout")
        assert "step login" in history_lines(history(100), step="login")[0]

    @given(st.lists(st.one_of(st.none(), st.floats(0, 1e12))))
    def test_a_sparkline_has_a_bar_a_value(self, values: list[float | None]) -> None:
        line = sparkline(values)
        known = [value for value in values if value is not None]
        assert len(line) == (len(values) if known else 0)
        if known and max(known) > min(known):
            assert line[values.index(max(known))] == "█"
            assert line[values.index(min(known))] == "▁"


class TestTable:
    def test_has_a_row_a_scenario_and_machine(self) -> None:
        table = baseline_table([history(100, 120), history(90, machine=ELSEWHERE)])
        rows = table.splitlines()
        assert len(rows) == 4
        assert "| storm | 167/s for 1m | embedded, certctl 1.2, Postgres 18.6 |" in rows[3]
        assert "| 120 ms (118 ms – 122 ms) |" in rows[3]
        assert "| server 150 MB, postgres 90 MB | 10,000 | 2026-11-20 | 0.1.0 |" in rows[3]
        assert {row.count("|") for row in rows} == {14}

    def test_stands_between_its_markers(self) -> None:
        page = f"# Scale\n\n{BEGIN}\nold\n{END}\n\nmore\n"
        once = put_into(page, "| new |")
        assert once == f"# Scale\n\n{BEGIN}\n\n| new |\n\n{END}\n\nmore\n"
        assert put_into(once, "| new |") == once
        with pytest.raises(BaselineError, match="lacks the lines"):
            put_into("# Scale\n", "| new |")


def test_a_limit_is_plain_data() -> None:
    assert parse_limit("p95:10%") == Limit(
        text="p95:10%", step=None, figure="p95", share=0.1, duration=None
    )
