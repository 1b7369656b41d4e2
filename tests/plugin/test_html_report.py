"""Is the report to look at there when a session is over, however it ended?"""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Target, interrupted

pytestmark = pytest.mark.usefixtures("load_test")


def test_it_lies_beside_the_summaries_and_is_named(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("-m", "scale", "--certload-token", "sesame-4711")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["files: results/summary-storm.json*", "report to look at: results/report.html"]
    )
    page = (pytester.path / "results/report.html").read_text("utf-8")
    assert "<h1>The load passed</h1>" in page
    assert "sesame" not in page


def test_it_tells_of_all_tests_and_of_what_broke(
    pytester: pytest.Pytester, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How alike samples in a row are is the machine's; here none is like the one before.
    monkeypatch.setattr(
        "pytest_certload.stats.uncertainty._autocorrelation_time", lambda _ones: 1.0
    )
    pytester.makepyfile(
        test_other=f"""
        import pytest
        from pytest_certload import us

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_other(load):
            async def ask(iteration):
                async with iteration.client.get("/fine") as response:
                    iteration.expect(response, 200)

            result = await load.constant_arrival_rate(ask, rate=200, duration=0.5)
            assert result.error_rate < 0.5
            assert result.p95 < us(1)
        """
    )
    result = pytester.runpytest("-m", "scale")
    result.assert_outcomes(passed=1, failed=1)
    page = (pytester.path / "results/report.html").read_text("utf-8")
    assert "<h1>1 of 2 loads failed</h1>" in page
    assert "beyond noise" in page
    assert ", wanted &lt; 1 µs" in page


@pytest.mark.parametrize("wanted", ["mine/load.html", "off"])
def test_it_lies_where_it_is_wanted_or_nowhere(pytester: pytest.Pytester, wanted: str) -> None:
    result = pytester.runpytest("-m", "scale", "--certload-html", wanted)
    result.assert_outcomes(passed=1)
    found = {str(path.relative_to(pytester.path)) for path in pytester.path.rglob("*.html")}
    assert found == ({wanted} if wanted != "off" else set())
    told = "report to look at" in result.stdout.str()
    assert told == (wanted != "off")


def test_a_load_that_was_never_made_is_in_it(pytester: pytest.Pytester, target: Target) -> None:
    pytester.makepyfile(
        test_it=f"""
        import pytest

        @pytest.fixture
        def stack():
            raise RuntimeError("no such stack")

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_storm(load, stack): ...
        """
    )
    pytester.runpytest("-m", "scale").assert_outcomes(errors=1)
    text = (pytester.path / "results" / "report.html").read_text()
    assert "1 load test failed, and no load was made" in text
    assert "RuntimeError: no such stack" in text


def test_a_session_without_load_writes_none(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("-m", "not scale")
    result.assert_outcomes(passed=1, deselected=1)
    assert not list(pytester.path.rglob("*.html"))


def test_one_that_cannot_be_written_is_told_and_changes_no_result(
    pytester: pytest.Pytester,
) -> None:
    (pytester.path / "file").touch()
    result = pytester.runpytest("-m", "scale", "--certload-html", "file/report.html")
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["--certload-html *file/report.html: the report cannot be written (*); name a file *"]
    )


def test_an_interrupted_session_has_one(pytester: pytest.Pytester, target: Target) -> None:
    pytester.makepyfile(
        test_long=f"""
        import pytest

        @pytest.mark.scale(base_url="{target.base_url}")
        async def test_long(load):
            async def ask(iteration):
                async with iteration.client.get("/fine") as response:
                    iteration.expect(response, 200)

            await load.constant_arrival_rate(ask, rate=50, duration="60s")
        """
    )
    output = interrupted(pytester.path, target, "test_long.py")
    assert "report to look at: results/report.html" in output
    page = (Path("results") / "report.html").read_text("utf-8")
    assert "<h1>The load was interrupted</h1>" in page
