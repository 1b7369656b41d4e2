"""The same run in other tools' formats: read back by these tools' own readers, or held to their shape."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pytest_certload.errors import ReportError
from pytest_certload.proof.findings import ProofRecord
from pytest_certload.report.junit import junit_properties
from pytest_certload.report.k6 import k6_summary
from pytest_certload.report.markdown import markdown_text
from pytest_certload.report.metrics import families_of
from pytest_certload.report.openmetrics import openmetrics_text
from pytest_certload.report.outputs import (
    append_job_summary,
    write_run_formats,
    write_session_formats,
)
from pytest_certload.report.record import ErrorRecord, RunRecord, ThresholdRecord
from pytest_certload.stats.summary import IntervalSummary
from tests.unit.test_report import MS, NOTHING, RECORD, SOME, records, step

WITH_INTERVALS = replace(
    RECORD,
    iterations=replace(
        RECORD.iterations,
        intervals=(
            IntervalSummary(percent=95, low=8 * MS, high=12 * MS, effective=40),
            IntervalSummary(percent=99, low=15 * MS, high=None, effective=40),
        ),
    ),
)
quick = settings(max_examples=40, phases=(Phase.generate, Phase.shrink), deadline=None)
FORMATS = ("k6", "openmetrics", "markdown")


Sample = tuple[str, frozenset[tuple[str, str]]]


def parsed(text: str) -> tuple[dict[str, str], dict[Sample, float]]:
    """Each family's kind, and each sample's value."""
    kinds, values = {}, {}
    # Comes without all of its types.
    parse: Any = text_string_to_metric_families
    for family in parse(f"{text}\n"):
        kinds[family.name] = family.type
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in values
            values[key] = sample.value
    return kinds, values


def labels(**known: str) -> frozenset[tuple[str, str]]:
    return frozenset(known.items())


class TestOpenMetrics:
    @quick
    @given(st.lists(records, max_size=2))
    def test_a_parser_takes_whatever_comes(self, found: list[RunRecord]) -> None:
        unique = [replace(record, scenario=f"s{n}") for n, record in enumerate(found)]
        kinds, values = parsed(openmetrics_text(unique))
        assert len(kinds) == len(families_of(unique))
        assert not any(math.isnan(value) for value in values.values())

    def test_ends_with_eof(self) -> None:
        assert openmetrics_text([]) == "# EOF"
        assert openmetrics_text([RECORD]).endswith("\n# EOF")

    def test_times_are_seconds_in_quantiles(self) -> None:
        kinds, values = parsed(openmetrics_text([RECORD]))
        name = "certload_step_response_time_seconds"
        assert kinds[name] == "summary"
        whose = {"scenario": "storm", "step": "new-nonce"}
        assert values[name, labels(quantile="0.95", **whose)] == 0.9
        assert values[f"{name}_count", labels(**whose)] == 98
        assert values[f"{name}_sum", labels(**whose)] == pytest.approx(98 * 0.005)

    def test_what_is_counted_what_held_and_on_what_it_ran(self) -> None:
        kinds, values = parsed(openmetrics_text([WITH_INTERVALS]))
        storm = {"scenario": "storm"}
        assert values["certload_iteration_outcomes_total", labels(outcome="ok", **storm)] == 98
        assert values["certload_passed", labels(**storm)] == 0
        held = "certload_threshold_held"
        assert values[held, labels(metric="response time p95", condition="< 500 ms", **storm)] == 1
        assert (
            values[held, labels(metric="error rate", condition="< 1 %", step="new-nonce", **storm)]
            == 0
        )
        bound = "certload_iteration_response_time_bound_seconds"
        assert values[bound, labels(percentile="95", bound="high", **storm)] == 0.012
        assert (bound, labels(percentile="99", bound="high", **storm)) not in values
        assert values["certload_info", labels(python="3.11.7", cpu_count="2")] == 1
        assert kinds["certload"] == "info"

    def test_every_unit_stands_in_its_name(self) -> None:
        for family in families_of([WITH_INTERVALS]):
            assert family.name.endswith(family.unit)
            assert family.unit or not re.search("_(seconds|bytes|ratio)$", family.name)

    def test_two_of_one_name_are_added_up_or_the_worse_one_counts(self) -> None:
        threshold = ThresholdRecord(
            metric="m", step=None, condition="== 0", actual="0", passed=True
        )
        record = replace(
            RECORD,
            thresholds=(threshold, replace(threshold, actual="1", passed=False)),
            proof=replace(RECORD.proof, effects=RECORD.proof.effects * 2),
        )
        _, values = parsed(openmetrics_text([record]))
        assert (
            values[
                "certload_threshold_held", labels(scenario="storm", metric="m", condition="== 0")
            ]
            == 0
        )
        lost = labels(scenario="storm", effect="renewal jobs", what="lost")
        assert values["certload_effects_total", lost] == 2

    def test_the_change_of_a_share_is_no_share_of_it(self) -> None:
        assert RECORD.comparison is not None
        (time,) = RECORD.comparison.figures
        errors = replace(
            time, metric="error rate", kind="share", before=0.001, after=0.002, change=0.001
        )
        record = replace(RECORD, comparison=replace(RECORD.comparison, figures=(time, errors)))
        _, values = parsed(openmetrics_text([record]))
        of = {"scenario": "storm", "baseline": "main"}
        change = labels(**of, metric="response time p95")
        difference = labels(**of, metric="error rate")
        assert values["certload_baseline_change_ratio", change] == 0.125
        assert values["certload_baseline_difference_ratio", difference] == 0.001
        assert ("certload_baseline_change_ratio", difference) not in values


class TestK6:
    def test_times_are_milliseconds_by_request_and_step(self) -> None:
        metrics = k6_summary(RECORD)["metrics"]
        assert metrics["http_req_duration"]["values"] == {
            "avg": 5.0, "min": 1.0, "med": 4.0, "max": 30.0, "p(90)": 8.0, "p(95)": 9.0, "p(99)": 20.0,
        }  # fmt: skip
        assert metrics["certload_response_time{name:new-nonce}"]["values"]["p(95)"] == 900
        assert metrics["iteration_duration"]["contains"] == "time"

    def test_of_failed_requests_passes_are_those_that_failed(self) -> None:
        metrics = k6_summary(RECORD)["metrics"]
        assert metrics["http_req_failed{name:new-nonce}"]["values"] == {
            "rate": 0.02,
            "passes": 2,
            "fails": 98,
        }
        assert metrics["http_reqs"]["values"]["count"] == 100
        assert metrics["checks"]["values"] == {"rate": 0.99, "passes": 198, "fails": 2}

    def test_dropped_iterations_are_there_only_when_some_were(self) -> None:
        assert "dropped_iterations" not in k6_summary(RECORD)["metrics"]
        metrics = k6_summary(replace(RECORD, dropped=3))["metrics"]
        assert metrics["dropped_iterations"]["values"] == {"count": 3, "rate": 1.5}

    def test_what_was_not_measured_is_not_there(self) -> None:
        record = replace(
            RECORD, iterations=step("storm", NOTHING), steps=(), steps_together=None, timeline=None
        )
        metrics = k6_summary(record)["metrics"]
        assert not [name for name in metrics if "duration" in name or "time" in name]
        assert metrics["vus_max"]["values"] == {"value": 10, "min": 10, "max": 10}

    def test_of_few_samples_the_rank_is_the_longest(self) -> None:
        few = replace(SOME, count=5, p90=None, p95=None, p99=None)
        record = replace(RECORD, iterations=step("storm", few), steps=(), steps_together=None)
        values = k6_summary(record)["metrics"]["http_req_duration"]["values"]
        assert (values["p(90)"], values["p(95)"], values["p(99)"]) == (30, 30, 30)

    def thresholds(self, record: RunRecord) -> Mapping[str, Mapping[str, bool]]:
        return {
            name: {expression: ok["ok"] for expression, ok in metric["thresholds"].items()}
            for name, metric in k6_summary(record)["metrics"].items()
            if "thresholds" in metric
        }

    def test_conditions_stand_at_the_metrics_that_they_are_about(self) -> None:
        def condition(
            metric: str, condition: str, step: str | None = None, limit: float | None = None
        ) -> ThresholdRecord:
            return ThresholdRecord(
                metric=metric,
                step=step,
                condition=condition,
                actual="?",
                passed=step is None,
                limit=limit,
            )

        record = replace(
            RECORD,
            thresholds=(
                condition("response time p95", "< 500 ms", limit=500e6),
                condition("response time p99.9", "<= 2 s", "directory", 2e9),
                condition("service time mean", "< 1.5 ms", limit=1.5e6),
                condition("service time p50", "< 5 ms", "directory", 5e6),
                condition("error rate", "< 1 %", "new-nonce", 0.01),
                condition("error rate", "< 2 %"),
                condition("nonces lost", "== 0"),
                condition("response time p95", "< 1 s", "never ran"),
            ),
        )
        assert self.thresholds(record) == {
            "certload_iteration_response_time": {"p(95)<500": True},
            "certload_response_time{name:directory}": {"p(99.9)<=2000": False},
            "iteration_duration": {"avg<1.5": True},
            "http_req_duration{name:directory}": {"med<5": False},
            "http_req_failed{name:new-nonce}": {"rate<0.01": False},
            "certload_conditions": {
                "the test passed": False,
                "error rate < 2 %": True,
                "nonces lost == 0": True,
                "never ran: response time p95 < 1 s": False,
            },
        }

    def test_a_run_that_failed_without_a_condition_is_no_pass(self) -> None:
        record = replace(RECORD, thresholds=(), failure="InvalidRun: not offered")
        assert self.thresholds(record) == {"certload_conditions": {"the test passed": False}}
        passed = replace(RECORD, thresholds=(), state="passed")
        assert self.thresholds(passed) == {"certload_conditions": {"the test passed": True}}


class TestMarkdown:
    def test_the_verdict_comes_first_and_breaches_before_all_else(self) -> None:
        text = markdown_text([replace(RECORD, state="passed", scenario="fine"), WITH_INTERVALS])
        lines = text.splitlines()
        assert lines[0] == "## ❌ Load tests: 1 of 2 runs failed"
        failed = lines[lines.index("### ❌ storm: failed") :]
        assert failed[2:5] == [
            "| | condition | figure | 95 % sure | missed by |",
            "| --- | --- | --- | --- | --- |",
            "| ❌ | new-nonce: error rate &lt; 1 % | 2 % | – | – |",
        ]
        assert "> ⚠️ Reduced, not the full contract: duration 2 s instead of 5m" in failed
        assert (
            "| iterations | 100 | 50/s | 2 | 4 ms | 9 ms (8 ms – 12 ms) | 20 ms (15 ms – ?) | 30 ms |"
            in failed
        )
        assert "<details><summary>1 of 2 conditions held</summary>" in failed

    def test_a_pass_says_what_it_is_worth(self) -> None:
        doubtful = replace(RECORD.thresholds[0], decided=False)
        passed = replace(RECORD, state="passed", thresholds=(doubtful,))
        first, *_ = markdown_text([passed]).splitlines()
        assert first == "## ✅ Load tests: 1 run passed (1 reduced, 1 condition undecided)"

    def test_a_test_that_made_no_load_is_no_pass(self) -> None:
        passed = replace(RECORD, state="passed")
        not_made = [("test_it.py::test_b", "StackError: no Docker | here")]
        text = markdown_text([passed], not_made)
        assert text.startswith(
            "## ❌ Load tests: 1 run passed, 1 load test failed beside them\n\n"
            "- ❌ `test_it.py::test_b`: StackError: no Docker \\| here\n"
        )
        assert markdown_text([], not_made).startswith(
            "## ❌ Load tests: 1 failed, and no load was made\n"
        )
        assert markdown_text([]) == "## ⚠️ Load tests: no load was made"

    def test_nothing_in_a_message_means_anything(self) -> None:
        error = ErrorRecord(
            step="a`b", outcome="exception", message="<b>|*x*\n# no\n", count=2, traceback=None
        )
        text = markdown_text([replace(RECORD, errors=(error,))])
        assert "- 2 × exception in `a'b`: &lt;b&gt;\\|\\*x\\* \\# no" in text.splitlines()

    @quick
    @given(records)
    def test_every_row_has_its_columns(self, record: RunRecord) -> None:
        columns = None
        for line in markdown_text([record]).splitlines():
            if not line.startswith("|"):
                columns = None
                continue
            count = len(re.findall(r"(?<!\\)\|", line))
            columns = columns or count
            assert count == columns, line


class TestJunit:
    def test_the_ends_of_intervals_and_what_is_not_decided(self) -> None:
        record = replace(
            WITH_INTERVALS,
            thresholds=(
                replace(RECORD.thresholds[0], interval="8 – 12 ms", decided=False),
                RECORD.thresholds[1],
            ),
        )
        properties = dict(junit_properties(record))
        prefix = "certload.storm"
        assert properties[f"{prefix}.response_time.p95.low"] == "0.008"
        assert properties[f"{prefix}.response_time.p95.high"] == "0.012"
        assert properties[f"{prefix}.response_time.p99.low"] == "0.015"
        assert f"{prefix}.response_time.p99.high" not in properties
        assert properties[f"{prefix}.thresholds"] == "2"
        assert properties[f"{prefix}.thresholds.missed"] == "1"
        assert properties[f"{prefix}.thresholds.undecided"] == "1"
        first = f"{prefix}.threshold.1"
        assert properties[first] == "response time p95 < 500 ms (9 ms; 8 – 12 ms)"
        assert (properties[f"{first}.passed"], properties[f"{first}.decided"]) == ("true", "false")
        assert properties[f"{prefix}.threshold.2"] == "new-nonce: error rate < 1 % (2 %)"
        assert properties[f"{prefix}.unsettled"] == "0.5"
        assert properties[f"{prefix}.baseline"] == "main"
        assert properties[f"{prefix}.baseline.response-time-p95.change"] == "0.125"


class TestTheFiles:
    def test_are_those_that_were_asked_for(self, tmp_path: Path) -> None:
        assert write_run_formats(RECORD, (), tmp_path) == ()
        assert write_session_formats([RECORD], ("k6",), tmp_path) == ()
        (k6,) = write_run_formats(RECORD, FORMATS, tmp_path)
        metrics, summary = write_session_formats([RECORD], FORMATS, tmp_path)
        assert (k6.name, metrics.name, summary.name) == (
            "k6-storm.json", "metrics.txt", "summary.md",
        )  # fmt: skip
        assert metrics.read_text().endswith("\n# EOF\n")

    @pytest.mark.usefixtures("full_disk")
    def test_a_full_disk_is_one_clear_error(self, tmp_path: Path) -> None:
        with pytest.raises(ReportError, match=r"--certload-results .*No space left on device"):
            write_run_formats(RECORD, FORMATS, tmp_path)
        with pytest.raises(ReportError, match=r"--certload-results .*No space left on device"):
            write_session_formats([RECORD], FORMATS, tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_half_a_character_is_shown_and_no_error(self, tmp_path: Path) -> None:
        record = replace(RECORD, failure="half \ud83d", thresholds=(), proof=ProofRecord())
        (summary,) = write_session_formats([record], ("markdown",), tmp_path)
        assert r"half \ud83d" in summary.read_text("utf-8")

    def test_the_page_of_a_job_is_appended_to(self, tmp_path: Path) -> None:
        summary, page = tmp_path / "summary.md", tmp_path / "page"
        summary.write_text("## ours\n")
        page.write_text("## of the step before")
        assert append_job_summary(summary, page) is None
        assert page.read_text() == "## of the step before\n## ours\n"
        problem = append_job_summary(summary, tmp_path)
        assert problem == f"GITHUB_STEP_SUMMARY: {tmp_path} cannot be appended to (Is a directory)"
