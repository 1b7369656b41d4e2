from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from pytest_certload.baselines.machine import this_machine
from pytest_certload.baselines.store import Store
from pytest_certload.baselines.table import BEGIN, END
from pytest_certload.cli import main
from pytest_certload.report.record import RunRecord
from pytest_certload.stats.summary import IntervalSummary
from tests.unit.test_baselines import ELSEWHERE, HERE, MS, baseline
from tests.unit.test_report import RECORD

ROOT = Path(__file__).parents[2]
COMMAND = (
    sys.executable,
    "-c",
    "import sys; from pytest_certload.cli import main; sys.exit(main())",
)


def summary(folder: Path, p95: int = 9 * MS, scenario: str = "storm") -> Path:
    latency = replace(RECORD.iterations.response_time, count=10_000, p95=p95)
    step = replace(
        RECORD.iterations,
        response_time=latency,
        intervals=(
            IntervalSummary(
                percent=95, low=p95 * 98 // 100, high=p95 * 102 // 100, effective=5_000
            ),
        ),
    )
    record = replace(
        RECORD,
        scenario=scenario,
        iterations=step,
        environment={**RECORD.environment, **this_machine().facts()},
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"summary-{scenario}.json"
    path.write_text(json.dumps(record.to_dict()))
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CERTLOAD_BASELINES", raising=False)
    return tmp_path


@pytest.fixture
def store(here: Path) -> Store:
    """The default folder, with three runs of one scenario, of which the last one is slower."""
    found = Store(folder=here / ".certload" / "baselines")
    for day, p95 in ((20, 100), (21, 101), (22, 140)):
        found.save(baseline(p95, saved_at=f"2026-11-{day}T10:00:00+00:00"), name="main")
    return found


def wrong(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is said of a command that cannot be done, in one line."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("certload: ").rstrip()


def test_history_is_shown_and_given_to_programs(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", "main"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "  p95 ▁▁█  100 ms to 140 ms"
    assert "higher" in lines[5]
    assert main(["history", "main", "--step", "login", "--figure", "p50"]) == 0
    assert "p50 ▁▁█  50 ms to 70 ms" in capsys.readouterr().out
    assert main(["history", "main", "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert [run["saved_at"][:10] for run in document["saved"]] == [
        "2026-11-20",
        "2026-11-21",
        "2026-11-22",
    ]


def test_history_of_what_is_not_there(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert "those there are: main" in wrong(capsys, "history", "mian")
    assert wrong(capsys, "history", "main", "--scenario", "x") == (
        "baseline main has no scenario x, but storm"
    )
    assert "no step x; steps are login" in wrong(capsys, "history", "main", "--step", "x")


def test_a_run_that_got_worse_ends_with_1(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary(here / "before", 10 * MS)
    after = summary(here / "after", 13 * MS)
    assert main(["compare", "before", "after"]) == 0
    assert "+30 %" in capsys.readouterr().out
    assert main(["compare", "before", str(after), "p95:50%"]) == 0
    capsys.readouterr()
    assert main(["compare", "before", str(after), "p95:10%"]) == 1
    assert "worse: storm: response time p95 30 % higher" in capsys.readouterr().out
    assert main(["compare", "before", "after", "p95:30%"]) == 0
    assert main(["compare", "before", "after", "p95:30%", "--undecided", "fail"]) == 1
    capsys.readouterr()
    assert main(["compare", "before", "after", "p95:10%", "--json"]) == 1
    (figure,) = (f for f in json.loads(capsys.readouterr().out)["storm"]["figures"] if f["limit"])
    assert (figure["verdict"], figure["passed"]) == ("higher", False)


def test_a_run_that_is_missing_is_held_to_no_limit(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("storm", "burst"):
        summary(here / "before", scenario=name)
    summary(here / "after")
    assert main(["compare", "before", "after"]) == 0
    assert "burst: only in before" in capsys.readouterr().out
    assert main(["compare", "before", "after", "p95:10%"]) == 1
    assert "worse: burst: not in after, so that no limit was held to it" in capsys.readouterr().out
    assert main(["compare", "before", "after", "p95:10%", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["burst"] is None


def test_a_run_that_was_not_offered_is_not_compared(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary(here / "before")
    path = summary(here / "after")
    path.write_text(path.read_text().replace('"validity": "suspect"', '"validity": "invalid"'))
    assert "the run is invalid" in wrong(capsys, "compare", "before", "after")


def test_a_page_that_is_no_text_is_named(
    store: Store, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "page.md").write_bytes(b"\xff")
    assert "page.md is not UTF-8" in wrong(capsys, "baseline-table", "--check", "page.md")


def test_a_report_that_cannot_be_written_names_its_option(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary(here / "results")
    (here / "file").touch()
    said = wrong(capsys, "report", "results", "-o", "file/report.html")
    assert "--output file/report.html: the report cannot be written" in said


def test_baselines_compare_by_name_and_by_file(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.save(baseline(100), name="new")
    assert main(["compare", "main", "new"]) == 0
    assert "100 ms, was 140 ms: -28.6 %" in capsys.readouterr().out
    assert main(["compare", str(store.path(HERE, "new", "storm")), "main", "login.p95:10%"]) == 1


def test_this_machines_baseline_is_meant(
    here: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.save(baseline(70, machine=this_machine(), saved_at="2026-01-01"), name="main")
    store.save(baseline(10, machine=ELSEWHERE, saved_at="2027-01-01"), name="main")
    store.save(baseline(77, machine=this_machine()), name="new")
    assert main(["compare", "main", "new"]) == 0
    assert "77 ms, was 70 ms" in capsys.readouterr().out


def test_other_conditions_are_compared_when_told_so(
    here: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    summary(here / "results")
    assert "another load: " in wrong(capsys, "compare", "main", "results")
    assert main(["compare", "main", "results", "--anyway"]) == 0
    assert "differs: load: " in capsys.readouterr().out


def test_what_cannot_be_compared_names_file_and_reason(
    here: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    good = str(summary(here / "results"))
    (here / "broken.json").write_text("{")
    (here / "list.json").write_text("[]")
    (here / "none.json").write_text("{}")
    (here / "newer.json").write_text('{"schema_version": 99}')
    (here / "empty").mkdir()
    assert "broken.json is no JSON: " in wrong(capsys, "compare", "broken.json", good)
    assert "list.json is no summary" in wrong(capsys, "compare", "list.json", good)
    assert "none.json: it is no baseline" in wrong(capsys, "compare", "none.json", good)
    assert "newer.json: " in wrong(capsys, "compare", "newer.json", good)
    assert "empty: the folder holds no summary" in wrong(capsys, "compare", "empty", good)
    assert "gone.json: there is no such file" in wrong(capsys, "compare", "gone.json", good)
    assert "'p95:x': 'x' is not" in wrong(capsys, "compare", good, good, "p95:x")
    assert "no scenario has a step x" in wrong(capsys, "compare", good, good, "x.p95:1%")
    other = str(summary(here / "other", scenario="burst"))
    assert "there is nothing to compare" in wrong(capsys, "compare", good, other)
    (here / "nothing.json").write_text('{"schema_version": 1, "iterations": null}')
    assert "nothing.json: this is not a summary" in wrong(capsys, "compare", "nothing.json", good)
    assert "a" * 300 in wrong(capsys, "compare", "a" * 300, good)
    assert "'p95:9" in wrong(capsys, "compare", good, good, f"p95:{'9' * 400}%")


def test_limits_may_stand_behind_an_option(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary(here / "before", 10 * MS)
    summary(here / "after", 13 * MS)
    assert main(["compare", "before", "after", "--anyway", "p95:10%"]) == 1
    assert "worse: storm" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["compare", "before", "after", "--any", "p95:10%", "--wrong"])
    assert "unrecognized arguments: " in capsys.readouterr().err


def test_when_a_run_was_measured_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary(here / "before")
    summary(here / "after")
    assert main(["compare", "before", "after"]) == 0
    assert f"storm, after, measured {RECORD.started_at[:19]}:" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_an_error(store: Store) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*COMMAND, "history", "main"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (2, "certload: output: No space left on device\n")


def test_a_plot_is_shown_in_any_encoding(store: Store) -> None:
    ended = subprocess.run(
        [*COMMAND, "history", "main"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "100 ms to 140 ms" in ended.stdout


def test_the_table_is_put_into_its_page(
    here: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["baseline-table"]) == 0
    table = capsys.readouterr().out
    page = here / "scale.md"
    page.write_text(f"# Scale\n{BEGIN}\n{END}\n")
    assert main(["baseline-table", "--check", "scale.md"]) == 1
    assert main(["baseline-table", "--write", "scale.md"]) == 0
    assert table in page.read_text()
    assert main(["baseline-table", "--check", "scale.md"]) == 0
    capsys.readouterr()
    page.write_text("# Scale\n")
    assert "scale.md: the page lacks the lines" in wrong(
        capsys, "baseline-table", "--write", "scale.md"
    )
    assert "No such file" in wrong(capsys, "baseline-table", "--write", "none.md")


def test_the_folder_may_come_from_the_environment(
    here: Path, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTLOAD_BASELINES", str(here / "elsewhere"))
    assert "there is none" in wrong(capsys, "history", "main")
    assert main(["history", "main", "--baselines", str(store.folder)]) == 0


def test_report_hands_over_all_runs(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[list[str], Path]] = []

    def write_report(records: Sequence[RunRecord], path: Path, *, option: str) -> None:
        assert option == "--output"
        written.append(([record.scenario for record in records], path))

    html = ModuleType("html")
    html.write_report = write_report  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pytest_certload.report.html", html)
    summary(here / "results")
    one = summary(here / "more", scenario="burst")
    assert main(["report", "results", str(one), "-o", "out.html"]) == 0
    assert written == [(["storm", "burst"], Path("out.html"))]
    assert capsys.readouterr().out == "out.html\n"
    assert "nothing.json cannot be read" in wrong(capsys, "report", "nothing.json")


@pytest.mark.parametrize("words", [[], ["nothing"], ["compare", "a"], ["history"]])
def test_a_command_that_is_none_is_a_usage_error(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: certload" in capsys.readouterr().err


def test_the_page_has_the_table_of_the_committed_baselines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["baseline-table", "--check", "docs/scale.md"]) == 0
