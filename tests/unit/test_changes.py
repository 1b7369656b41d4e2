"""The change of a share is told in points: a share of a share would be read as another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pytest_certload.report.html import write_report
from pytest_certload.report.markdown import markdown_text
from pytest_certload.report.record import RunRecord
from pytest_certload.report.terminal import comparison_lines

from .test_report import RECORD


def with_errors() -> RunRecord:
    assert RECORD.comparison is not None
    (figure,) = RECORD.comparison.figures
    errors = replace(
        figure,
        metric="error rate",
        kind="share",
        before=0.01,
        after=0.03,
        change=0.02,
        low=0.01,
        high=0.03,
        limit="errors:1%",
    )
    comparison = replace(RECORD.comparison, figures=(figure, errors))
    return replace(RECORD, comparison=comparison)


def test_in_the_table() -> None:
    text = "\n".join(comparison_lines(with_errors().comparison, unicode=True))
    assert "error rate 3 %, was 1 %: +2 points (+1 to +3), higher" in text
    assert "was 8 ms: +12.5 % (+5 to +20), higher" in text


def test_on_a_jobs_page() -> None:
    text = markdown_text([with_errors()])
    assert "| +2 points | +1 points … +3 points |" in text
    assert "| +12.5 % | +5 % … +20 % |" in text


def test_in_the_report(tmp_path: Path) -> None:
    write_report([with_errors()], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "+2 points" in page
    assert "by 2 points" in page
    assert "+12.5 %" in page
