from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_certload.options import OPTIONS

if TYPE_CHECKING:
    from .conftest import Target

BAD = [
    ("--certload-duration", "soon", "'soon' is not a duration; write a duration such as*"),
    ("--certload-duration", "0", "'0' leaves no time for load; write such as 20s or 5m"),
    ("--certload-duration", "-5s", "'-5s' is not a duration*"),
    ("--certload-rate", "fast", "'fast' is not a rate; write a rate above zero such as*"),
    ("--certload-rate", "0", "'0' is not a rate*"),
    ("--certload-rate", "-1/s", "'-1/s' is not a rate*"),
    ("--certload-vus", "many", "'many' is not a number of VUs; write a whole number above 0"),
    ("--certload-vus", "0", "'0' is not a number of VUs*"),
    ("--certload-warm-up", "a bit", "'a bit' is not a duration*"),
    (
        "--certload-stack",
        "vm",
        "'vm' is not a stack; choose one of auto, docker, embedded, external",
    ),
    (
        "--certload-base-url",
        "ftp://localhost",
        "*'ftp://localhost' is no http or https URL; write https://HOST:PORT",
    ),
    (
        "--certload-base-url",
        "localhost:8443",
        "*'localhost:8443' is no http or https URL; write https://HOST:PORT*",
    ),
    ("--certload-base-url", "http://[", "*'http://[[]' is no http or https URL*"),
    ("--certload-base-url", "http://localhost:0", "*'http://localhost:0' is no http or https URL*"),
    ("--certload-base-url", "http://localhost/api", "*more than scheme, host and port*"),
    ("--certload-base-url", "http://me:pw@localhost", "*more than scheme, host and port*"),
    ("--certload-transport", "curl", "'curl' is not a transport; choose one of aiohttp, fast"),
    ("--certload-export", "csv", "'csv' is not a format for samples; choose one of npz, parquet"),
    (
        "--certload-samples",
        "all",
        "'all' is nothing to do with samples; choose one of keep, sketch",
    ),
    ("--certload-preflight", "maybe", "'maybe' is neither of on, off"),
    ("--certload-effects-limit", "soon", "'soon' is not a duration*"),
    (
        "--certload-undecided",
        "maybe",
        "'maybe' is nothing to do with what is not decided; choose one of warn, fail, pass",
    ),
    ("--certload-evidence", "some", "'some' is neither on nor off; choose one of them"),
    ("--certload-save", "a/b", "'a/b' is no name of a baseline; use letters*"),
    ("--certload-compare", "main,p95:soon", "'p95:soon': 'soon' is not a percentage or*"),
    ("--certload-compare", ",p95:1%", "'' is no name of a baseline*"),
    ("--certload-server-port", "99999", "'99999' is not a port*"),
    (
        "--certload-server-env",
        "NOVALUE",
        "the value is not NAME=VALUE; write such as LOG_LEVEL=debug",
    ),
    (
        "--certload-postgres-setting",
        "shared_buffers",
        "'shared_buffers' is no setting of Postgres; write NAME=VALUE, such as shared_buffers=512MB",
    ),
    ("--certload-postgres-setting", "a-b=1", "'a-b=1' is no setting of Postgres*"),
    (
        "--certload-postgres-setting",
        "PORT=5432",
        "port cannot be set: the stack says where Postgres is and who may come in; leave it out",
    ),
    (
        "--certload-postgres-setting",
        "shared_preload_libraries=",
        "shared_preload_libraries cannot be set: the stack reads Postgres's statements*",
    ),
    ("--certload-boot-timeout", "x", "'x' is not a duration*"),
]


@pytest.mark.parametrize(("option", "value", "message"), BAD)
def test_a_bad_value_is_one_clear_error(
    pytester: pytest.Pytester, option: str, value: str, message: str
) -> None:
    result = pytester.runpytest(f"{option}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {option}: {message}"])
    assert "Traceback" not in result.stderr.str()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "--certload-dsn",
            "postgresql://me:hunter@2@localhost/x",
            "*more than one @*in a password as %40",
        ),
        ("--certload-dsn", "postgresql://me:hunter2@db%2eexample%2ecom/x", "*a % in its host*"),
        ("--certload-token", "hunter2\r-and-more", "*no bearer token: one has printable ASCII*"),
        ("--certload-token", "hunter2\u2026", "*no bearer token: one has printable ASCII*"),
        ("--certload-token", "  ", "*no bearer token: one has printable ASCII*"),
    ],
)
def test_a_secret_that_cannot_be_used_is_not_repeated(
    pytester: pytest.Pytester, option: str, value: str, message: str
) -> None:
    result = pytester.runpytest(f"{option}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {option}: {message}"])
    said = result.stderr.str() + result.stdout.str()
    assert "hunter" not in said
    assert "Traceback" not in said


def test_the_end_of_a_tokens_line_is_none_of_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest(SHOW.replace("settings.duration", "settings.token"))
    monkeypatch.setenv("CERTLOAD_TOKEN", "abc\r\n")
    pytester.runpytest().stdout.fnmatch_lines(["SETTINGS abc *"])


def test_a_dsn_is_not_repeated_in_the_error(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--certload-dsn=mysql://me:hunter2@localhost/x")
    result.stderr.fnmatch_lines(["ERROR: --certload-dsn: the value is not a Postgres DSN; write*"])
    assert "hunter2" not in result.stderr.str() + result.stdout.str()


def test_all_bad_values_are_named_at_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTLOAD_VUS", "none")
    pytester.makeini("[pytest]\ncertload_duration = long\n")
    result = pytester.runpytest("--certload-rate=x")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*certload_duration (ini file): 'long' is not a duration*",
            "*--certload-rate: 'x' is not a rate*",
            "*CERTLOAD_VUS (environment): 'none' is not a number of VUs*",
        ]
    )


def test_each_bad_value_of_a_repeatable_option_is_named(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--certload-threshold=one", "--certload-threshold=two")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'one'*", "*'two'*"])


def test_what_nobody_can_decide_is_no_gate(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--certload-samples=sketch", "--certload-undecided=fail")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--certload-undecided: 'fail' wants to know*leave one of them out*"]
    )


SHOW = """
    import os

    from pytest_certload.options import read_settings

    def pytest_configure(config):
        settings = read_settings(config, os.environ)
        print("SETTINGS", settings.duration, settings.results, settings.allow_host, settings.allow_seed)
"""


def test_command_line_wins_over_environment_over_ini(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest(SHOW)
    pytester.makeini(
        "[pytest]\ncertload_duration = 1s\ncertload_results = from-ini\n"
        "certload_allow_host =\n    one\n    two\ncertload_allow_seed = yes\n"
    )
    here = pytester.path
    pytester.runpytest().stdout.fnmatch_lines([f"SETTINGS 1 s {here}/from-ini ('one', 'two') True"])
    monkeypatch.setenv("CERTLOAD_DURATION", "2s")
    monkeypatch.setenv("CERTLOAD_ALLOW_HOST", "three four")
    pytester.runpytest().stdout.fnmatch_lines(
        [f"SETTINGS 2 s {here}/from-ini ('three', 'four') True"]
    )
    pytester.runpytest(
        "--certload-duration=3s",
        "--certload-results=cli",
        "--certload-allow-host=five",
        "--certload-allow-host=six",
    ).stdout.fnmatch_lines([f"SETTINGS 3 s {here}/cli ('five', 'six') True"])


def test_names_and_values_add_up(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or one setting on the command line would take away what the ini file sets beside it."""
    pytester.makeconftest(
        SHOW.replace(
            "settings.duration", "dict(settings.server_env), dict(settings.postgres_settings)"
        )
    )
    pytester.makeini(
        "[pytest]\ncertload_server_env =\n    A=ini\n    B=ini\n    C=ini\n"
        "certload_postgres_settings = jit=off\n"
    )
    monkeypatch.setenv("CERTLOAD_SERVER_ENV", "B=environment C=environment")
    result = pytester.runpytest(
        "--certload-server-env=C=first",
        "--certload-server-env=C=line",
        "--certload-postgres-setting=work_mem=64MB",
    )
    result.stdout.fnmatch_lines(
        [
            "SETTINGS {'A': 'ini', 'B': 'environment', 'C': 'line'} "
            "{'jit': 'off', 'work_mem': '64MB'} *"
        ]
    )


def test_help_and_documentation_name_every_option(pytester: pytest.Pytester) -> None:
    text = pytester.runpytest("--help").stdout.str()
    documented = (Path(__file__).parents[2] / "docs" / "options.md").read_text()
    for option in OPTIONS:
        assert option.long in text
        assert f"\n  {option.key} " in text
        row = next(line for line in documented.splitlines() if f"`{option.long}" in line)
        assert f"`{option.key}`" in row
        assert f"`{option.variable}`" in row


def test_results_that_cannot_be_written_are_found_before_any_load(
    pytester: pytest.Pytester, load_test: str, target: Target
) -> None:
    pytester.path.joinpath("taken").write_text("a file, not a folder")
    result = pytester.runpytest("-m", "scale", "--certload-results=taken")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *--certload-results*taken*"])
    assert target.seen == []


@pytest.mark.usefixtures("load_test")
class TestHosts:
    def test_a_strangers_host_is_refused(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            test_it="""
            import pytest

            @pytest.mark.scale(base_url="http://load.example.com")
            async def test_a(load): ...
            """
        )
        result = pytester.runpytest("-m", "scale")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*--certload-allow-host*"])

    def test_without_any_server_the_remedy_is_named(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(
            test_it="""
            import pytest

            @pytest.mark.scale
            async def test_a(load):
                async def ask(iteration): ...
                await load.constant_arrival_rate(ask, rate=1, duration=1)
            """
        )
        result = pytester.runpytest("-m", "scale")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*ConfigurationError: load has no server to load: pass base_url=*"]
        )

    def test_the_option_is_the_last_resort(self, pytester: pytest.Pytester, target: Target) -> None:
        pytester.makepyfile(
            test_it="""
            import pytest

            @pytest.mark.scale
            async def test_a(load):
                async def ask(iteration):
                    async with iteration.client.get("/here") as response:
                        iteration.expect(response, 200)
                await load.constant_arrival_rate(ask, rate=10, duration=0.2)
            """
        )
        result = pytester.runpytest("-m", "scale", f"--certload-base-url={target.base_url}")
        result.assert_outcomes(passed=1)
        assert target.seen == ["/here", "/here"]
