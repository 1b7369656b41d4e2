from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from pytest_certload.gate import names_scale, selects

if TYPE_CHECKING:
    from .conftest import Target

pytestmark = pytest.mark.usefixtures("load_test")


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("", False),
        ("  ", False),
        ("not slow", False),
        ("not scale", False),
        ("not (slow or scale)", False),
        ("scale", True),
        ("scale and not slow", True),
        ("smoke or scale", True),
        ("smoke", True),
        ("scale or not slow", True),
        ("not slow or scale", True),
        ("not slow and not scale", False),
        ("not (slow and scale)", False),
    ],
)
def test_which_expressions_choose(expression: str, chosen: bool) -> None:
    assert selects(expression) is chosen


def test_which_expressions_name_scale() -> None:
    named = ["scale", "scale and not slow", "smoke or scale", "scale or not slow"]
    assert [e for e in [*named, "", "smoke", "not scale", "not slow"] if names_scale(e)] == named


def test_plain_pytest_leaves_load_tests_out_and_says_so(
    pytester: pytest.Pytester, target: Target
) -> None:
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["certload: 1 load test left out; run with: pytest -m scale"])
    assert target.seen == []


@pytest.mark.parametrize("expression", ["scale", "scale and not slow", "scale or smoke"])
def test_expressions_that_select_run_them(
    pytester: pytest.Pytester, target: Target, expression: str
) -> None:
    result = pytester.runpytest("-m", expression)
    result.assert_outcomes(passed=1, deselected=1)
    assert len(target.seen) == 10


@pytest.mark.parametrize("expression", ["not slow", "not scale"])
def test_expressions_that_only_exclude_do_not(
    pytester: pytest.Pytester, target: Target, expression: str
) -> None:
    pytester.runpytest("-m", expression).assert_outcomes(passed=1, deselected=1)
    assert target.seen == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("-k", "storm"),
        ("-x",),
        ("-p", "no:cacheprovider"),
        ("-p", "no:xdist"),
        ("-n0",),
        ("-o", "asyncio_mode=auto"),
        ("-o", "asyncio_mode=strict"),
        ("-q",),
        ("-s",),
        ("-rA", "--tb=short"),
        ("-p", "no:terminal"),
        ("--junitxml=out.xml",),
    ],
)
def test_goes_with_pytests_own_options(
    pytester: pytest.Pytester, target: Target, arguments: tuple[str, ...]
) -> None:
    result = pytester.runpytest_subprocess("-m", "scale", *arguments)
    assert result.ret == 0, result.stdout.str() + result.stderr.str()
    assert len(target.seen) == 10


def test_parameters_and_classes(pytester: pytest.Pytester, target: Target) -> None:
    pytester.makepyfile(
        test_more=f"""
        import pytest

        @pytest.mark.scale(base_url="{target.base_url}")
        class TestStorms:
            @pytest.mark.parametrize("rate", [10, 20])
            async def test_storm(self, load, rate):
                async def ask(iteration):
                    async with iteration.client.get(f"/rate/{{rate}}") as response:
                        iteration.expect(response, 200)
                result = await load.constant_arrival_rate(ask, rate=rate, duration=0.5)
                assert result.error_rate < 0.001

            def test_fast(self):
                "A plain function that makes no load may carry the mark."
        """
    )
    result = pytester.runpytest("-m", "scale", "test_more.py")
    result.assert_outcomes(passed=3)
    assert target.seen.count("/rate/10") == 5
    assert target.seen.count("/rate/20") == 10
    assert sorted(p.name for p in (pytester.path / "results").glob("*.json")) == [
        "summary-storm-10.json",
        "summary-storm-20.json",
    ]


def test_without_pytest_asyncio_nothing_is_started(
    pytester: pytest.Pytester, target: Target
) -> None:
    result = pytester.runpytest("-m", "scale", "-p", "no:asyncio")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: load tests are run by pytest-asyncio*(-p no:asyncio)"])
    assert target.seen == []


def test_nothing_selected_names_k_where_that_did_it(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("-m", "scale", "-k", "typo")
    result.stdout.fnmatch_lines(
        ["certload: -m 'scale' and -k 'typo' select no load test here; another -k*"]
    )


def test_nothing_selected_says_so(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it="def test_fast(): pass")
    result = pytester.runpytest("-m", "scale")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["certload: -m 'scale' selects no load test here; mark one with*"])


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        (
            "scale(speed=5)",
            "*has no keyword 'speed'; it takes base_url, name, server_env, state and thresholds",
        ),
        ("scale(state='old')", "*scale(state='old'): choose 'seeded' or 'keep'"),
        (
            "scale('http://x')",
            "*takes keywords only (base_url, name, server_env, state and thresholds), not 'http://x'",
        ),
        ("scale(name=5)", "*scale(name=5): name must be text"),
        (
            "scale(server_env=['A=1'])",
            "*scale(server_env=*'A=1'*): write a dict of names and texts*",
        ),
        (
            "scale(server_env={'A': 1})",
            "*scale(server_env={'A': 1}): write a dict of names and te*",
        ),
        ("scale(server_env={'A=': ''})", "*scale(server_env={'A=': ''}): write a dict of names a*"),
        (
            "scale(server_env={'A': '1'}, state='keep')",
            "*scale(state='keep', server_env=…): the server is not started for such a test*",
        ),
        (
            "scale(server_env={'A': '1'}, base_url='http://127.0.0.1:1')",
            "*scale(base_url=*, server_env=…): the server is not started for such a test*",
        ),
    ],
)
def test_unknown_marker_keywords(
    pytester: pytest.Pytester, target: Target, marker: str, message: str
) -> None:
    pytester.makepyfile(
        test_it=f"import pytest\n@pytest.mark.{marker}\nasync def test_a(load): pass"
    )
    result = pytester.runpytest("-m", "scale")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert "Traceback" not in result.stderr.str()


@pytest.mark.parametrize("arguments", [(), ("-q",)])
def test_an_expression_that_is_none_is_pytests_to_tell(
    pytester: pytest.Pytester, target: Target, arguments: tuple[str, ...]
) -> None:
    result = pytester.runpytest_subprocess("-m", "scale and", *arguments)
    said = result.stdout.str() + result.stderr.str()
    assert "Wrong expression passed to '-m'" in said
    assert "INTERNALERROR" not in said
    assert "Traceback" not in said
    assert target.seen == []


def test_load_without_the_mark_is_refused(pytester: pytest.Pytester, target: Target) -> None:
    pytester.makepyfile(
        test_bare=f"""
        import pytest

        @pytest.mark.asyncio
        async def test_bare(load):
            async def ask(iteration):
                async with iteration.client.get("/") as response:
                    iteration.expect(response, 200)
            await load.constant_arrival_rate(ask, rate=10, duration=0.5, base_url="{target.base_url}")
        """
    )
    result = pytester.runpytest("test_bare.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*asks for `load` and is no load test*@pytest.mark.scale*"])
    assert target.seen == []


def test_a_plain_function_cannot_make_load(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it="import pytest\n@pytest.mark.scale\ndef test_a(load): pass")
    result = pytester.runpytest("-m", "scale")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *must be async*write `async def test_a(…)`"])


class TestWorkers:
    def test_are_refused_at_the_start(self, pytester: pytest.Pytester, target: Target) -> None:
        result = pytester.runpytest_subprocess("-n2", "-m", "scale")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: -n 2: load tests share the machine with nobody*-n 0"])
        assert target.seen == []

    def test_are_refused_when_another_mark_selects(
        self, pytester: pytest.Pytester, target: Target
    ) -> None:
        pytester.makeini(
            "[pytest]\nmarkers = smoke\nasyncio_default_fixture_loop_scope = function\n"
        )
        pytester.makepyfile(
            test_it="import pytest\n@pytest.mark.smoke\n@pytest.mark.scale\nasync def test_a(load): pass"
        )
        result = pytester.runpytest_subprocess("-n2", "-m", "smoke")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["*load tests share the machine with nobody*"])

    def test_run_the_other_tests(self, pytester: pytest.Pytester, target: Target) -> None:
        result = pytester.runpytest_subprocess("-n2")
        result.assert_outcomes(passed=1)
        assert target.seen == []


def test_installed_but_unused_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it="def test_fast(): pass")
    script = pytester.makepyfile(
        run="""
        import sys, pytest
        assert pytest.main(["--collect-only", "-q", "test_it.py"]) == 0
        heavy = {"numpy", "aiohttp", "asyncpg", "testcontainers", "docker", "cryptography", "trustme"}
        print("imported:", sorted(heavy & sys.modules.keys()))
        """
    )
    result = pytester.run(sys.executable, script)
    result.stdout.fnmatch_lines(["imported: []"])
