"""Every sample beside the summaries, end to end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from .conftest import interrupted

if TYPE_CHECKING:
    from .conftest import Target

SUMMARIES = ["summary-storm.json", "summary-storm.txt"]


@pytest.fixture
def storm(pytester: pytest.Pytester, target: Target) -> Target:
    """A load test of 0.5 s at 40/s with a step, and one of two scenarios."""
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(
        test_it=f"""
        import pytest
        from pytest_certload import ConstantArrivalRate, Scenario

        async def ask(iteration):
            async with iteration.step("get"), iteration.client.get("/fine") as response:
                iteration.expect(response, 200)

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_storm(load):
            result = await load.constant_arrival_rate(ask, rate=40, duration="0.5s", warm_up="0.1s")
            assert result.error_rate == 0

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_mix(load):
            executor = ConstantArrivalRate(rate=40, duration=0.2)
            parts = [Scenario(name=n, iteration=ask, executor=executor) for n in ("a", "b")]
            result = await load.run(*parts)
            assert result.error_rate == 0
        """
    )
    return target


def results(pytester: pytest.Pytester, pattern: str) -> list[str]:
    return sorted(path.name for path in (pytester.path / "results").glob(pattern))


@pytest.mark.usefixtures("storm")
def test_nothing_is_exported_unless_it_is_asked_for(pytester: pytest.Pytester) -> None:
    pytester.runpytest("-m", "scale", "-k", "storm").assert_outcomes(passed=1)
    assert results(pytester, "*") == ["report.html", *SUMMARIES]


@pytest.mark.usefixtures("storm")
def test_npz_holds_the_rows_of_the_window(pytester: pytest.Pytester) -> None:
    pytester.runpytest("-m", "scale", "-k", "storm", "--certload-export=npz").assert_outcomes(
        passed=1
    )
    with np.load(pytester.path / "results" / "samples-storm.npz", allow_pickle=False) as file:
        assert str(file["nodeid"]) == "test_it.py::test_storm"
        assert file["whole"].sum() == 20
        assert file["step_names"].tolist() == ["storm", "get"]
        assert np.bincount(file["step"]).tolist() == [20, 20]
        whole = file["whole"]
        offsets = (file["due"][whole] - file["window_begin"]) / 1e9
        assert np.sort(offsets) == pytest.approx(np.arange(20) / 40)
        assert (file["sent"] > 0).all()
        assert (file["end"] > file["first_byte"]).all()


@pytest.mark.usefixtures("storm")
def test_parquet_of_scenarios_together_is_a_file_each(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTLOAD_EXPORT", "parquet")
    result = pytester.runpytest("-m", "scale", "-k", "mix")
    result.assert_outcomes(passed=1)
    assert results(pytester, "samples*") == ["samples-a.parquet", "samples-b.parquet"]
    table = pq.read_table(pytester.path / "results" / "samples-b.parquet")
    assert table.num_rows == 16
    assert set(table["scenario"].to_pylist()) == {"b"}
    assert set(table["step"].to_pylist()) == {"b", "get"}


def test_a_failure_names_the_file(pytester: pytest.Pytester, storm: Target) -> None:
    source = (pytester.path / "test_it.py").read_text()
    (pytester.path / "test_it.py").write_text(source.replace("error_rate == 0", "error_rate > 0"))
    result = pytester.runpytest("-m", "scale", "-k", "storm", "--certload-export=npz")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["report: *summary-storm.txt, results/samples-storm.npz"])


@pytest.mark.usefixtures("storm")
def test_an_interrupted_run_exports_what_it_has(pytester: pytest.Pytester, storm: Target) -> None:
    more = ("-k", "storm", "--certload-export=npz", "--certload-duration=60s")
    interrupted(pytester.path, storm, *more)
    with np.load(pytester.path / "results" / "samples-storm.npz") as file:
        assert file["whole"].sum() >= 15


@pytest.mark.usefixtures("storm")
def test_a_disk_that_is_full_fails_the_test_and_keeps_the_summary(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(
        """
        import errno, os
        import pytest_certload.export as export

        def full(path, write):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        export.write_whole = full
        """
    )
    result = pytester.runpytest_subprocess("-m", "scale", "-k", "storm", "--certload-export=npz")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ReportError: --certload-results *No space left on device*"])
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert results(pytester, "*") == ["report.html", *SUMMARIES]


def test_parquet_without_pyarrow_is_told_at_the_start(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, storm: Target
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = pytester.runpytest("-m", "scale", "--certload-export=parquet")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --certload-export: 'parquet' needs pyarrow, which is not installed; "
            'pip install "pytest-certload[[]parquet]"'
        ]
    )
    assert storm.seen == []
    pytester.runpytest("-m", "scale", "-k", "storm", "--certload-export=npz").assert_outcomes(
        passed=1
    )


def test_pyarrow_is_not_imported_unless_it_is_needed(pytester: pytest.Pytester) -> None:
    script = "import sys, pytest_certload.session; print('pyarrow' in sys.modules)"
    result = pytester.run(sys.executable, "-c", script)
    assert result.outlines == ["False"]
