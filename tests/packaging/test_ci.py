"""Can CI pass without having looked? Its helpers, and that a skip is a failure there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Script = Callable[..., subprocess.CompletedProcess[str]]

README = """# A page

```console
$ pip install one \\
>   two
$ run it
some output
```

```python
import this
```

```sh
pip install -e ".[test]" && pytest
```
"""


@pytest.fixture
def script(repository: Path, tmp_path: Path) -> Script:
    """Run a helper as it would be in a repository that is ``tmp_path``."""

    def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / ".ci"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes((repository / ".ci" / name).read_bytes())
        return subprocess.run(
            [sys.executable, folder / name, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    "name",
    [
        "run",
        "daemons-prepare",
        "docker-prepare",
        "readme_command",
        "check_junit",
        "lowest",
        "repeat",
    ],
)
def test_helper_can_be_executed(repository: Path, name: str) -> None:
    assert os.access(repository / ".ci" / name, os.X_OK)


@pytest.mark.parametrize(
    ("number", "command"),
    [
        (1, "pip install one \\\n  two\nrun it\n"),
        (2, 'pip install -e ".[test]" && pytest\n'),
    ],
)
def test_readme_command_is_the_text_of_a_block(
    script: Script, tmp_path: Path, number: int, command: str
) -> None:
    (tmp_path / "README.md").write_text(README)
    result = script("readme_command", number)
    assert (result.returncode, result.stdout) == (0, command)


def test_readme_command_that_is_not_there_is_an_error(script: Script, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(README)
    result = script("readme_command", 3)
    assert (result.returncode, result.stdout) == (1, "")
    assert "has 2 commands, so no number 3" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["0"], ["one"], ["1", "2"]])
def test_readme_command_explains_itself(script: Script, arguments: list[str]) -> None:
    result = script("readme_command", *arguments)
    assert result.returncode == 2
    assert ".ci/readme_command N" in result.stderr


def junit(**counts: int) -> str:
    known = {"tests": 3, "failures": 0, "errors": 0, "skipped": 0, **counts}
    attributes = " ".join(f'{name}="{count}"' for name, count in known.items())
    return f"<testsuites><testsuite {attributes}/></testsuites>"


def test_junit_of_three_passed_tests_is_fine(script: Script, tmp_path: Path) -> None:
    (tmp_path / "out.xml").write_text(junit())
    result = script("check_junit", tmp_path / "out.xml", 3)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ({"tests": 2}, "2 tests instead of 3"),
        ({"failures": 1}, "1 failures"),
        ({"errors": 1}, "1 errors"),
        ({"skipped": 3}, "3 skipped"),
    ],
)
def test_junit_that_proves_less_is_an_error(
    script: Script, tmp_path: Path, counts: dict[str, int], problem: str
) -> None:
    (tmp_path / "out.xml").write_text(junit(**counts))
    result = script("check_junit", tmp_path / "out.xml", 3)
    assert result.returncode == 1
    assert problem in result.stderr


def test_junit_that_was_not_written_is_an_error(script: Script, tmp_path: Path) -> None:
    result = script("check_junit", tmp_path / "out.xml", 3)
    assert result.returncode == 1
    assert "was not written" in result.stderr


def test_lowest_version_of_every_requirement(script: Script, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "it"\ndependencies = ["one>=1.2", "two[more]>=3"]\n'
        '[project.optional-dependencies]\ntest = ["it[some]", "four>=4.0"]\nsome = ["five>=5"]\n'
    )
    result = script("lowest", "some", "test")
    assert result.stdout.split() == ["one==1.2", "two==3", "five==5", "four==4.0"]


def test_requirement_without_lower_bound_is_an_error(script: Script, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "it"\ndependencies = ["one"]\n[project.optional-dependencies]\n'
    )
    result = script("lowest")
    assert result.returncode == 1
    assert "'one' has no lower bound" in result.stderr


@pytest.fixture
def suite_that_skips(repository: Path, pytester: pytest.Pytester) -> pytest.Pytester:
    """A suite with our own root conftest and every way not to run a test."""
    pytester.makeconftest((repository / "conftest.py").read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.makepyfile(
        test_whole_file='import pytest\npytest.skip("no daemon", allow_module_level=True)',
        test_it="""
        import pytest

        @pytest.fixture
        def daemon():
            pytest.skip("Docker does not answer")

        def test_fixture(daemon): pass

        def test_call(): pytest.skip("cannot now")

        @pytest.mark.skip(reason="not today")
        def test_mark(): pass

        @pytest.mark.skipif(True, reason="needs Windows paths")
        def test_elsewhere(): pass

        @pytest.mark.xfail(reason="known")
        def test_expected(): assert False

        @pytest.mark.parametrize("nothing", [])
        def test_empty(nothing): pass

        def test_fine(): pass
        """,
    )
    return pytester


def test_elsewhere_a_skip_is_a_skip(
    suite_that_skips: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CERTLOAD_CI_REQUIRE_DOCKER", raising=False)
    result = suite_that_skips.runpytest_subprocess()
    result.assert_outcomes(passed=1, skipped=6, xfailed=1)
    assert result.ret == pytest.ExitCode.OK


def test_in_ci_a_skip_is_a_failure(
    suite_that_skips: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTLOAD_CI_REQUIRE_DOCKER", "1")
    result = suite_that_skips.runpytest_subprocess("--continue-on-collection-errors")
    result.assert_outcomes(passed=1, failed=1, errors=4, skipped=1, xfailed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    for reason in ("Docker does not answer", "cannot now", "not today", "no daemon"):
        result.stdout.fnmatch_lines(f"*nothing may be skipped, but this test was: {reason}*")
