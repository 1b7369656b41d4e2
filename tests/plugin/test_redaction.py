"""No secret leaves a session: not in a file, not in the terminal, wherever it came in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from .conftest import Target

#: Where each comes in.
SECRETS = {
    "option --certload-token": "tok-4f1d9e07c2ab",
    "option --certload-dsn": "dsn-p4ssw0rd-77",
    "option --certload-server-env": "env-8842-signing-key",
    "header of the run": "hdr-91c2-own-bearer",
    "URL that an iteration asks for": "url-query-5512",
    "URL with a user": "url-user-9a8b7c",
    "exception": "exc-pass-31415926",
    "step's name": "step-tok-2718281",
    "node id": "param-tok-161803",
    "integrity check": "integrity-p4ss-5",
    "printed": "print-tok-141421",
    "logged": "log-tok-1732050",
    "local variable": "local-tok-22360",
    "preflight": "preflight-tok-26457",
    "setup": "setup-tok-2828427",
}
SHOWN = "shown-on-purpose-0"

SOURCE = """
import json, logging, os
import pytest
from pytest_certload import ConfigurationError

S = json.loads(os.environ["SECRETS_OF_TEST"])
TOKEN, KEY = S["option --certload-token"], S["option --certload-server-env"]
pytestmark = pytest.mark.scale(base_url="{base_url}")

async def quick(load, iteration, **options):
    return await load.constant_arrival_rate(iteration, rate=20, duration=0.2, **options)

async def test_errors(load):
    async def ask(iteration):
        # A step's name, an error's message and its URL.
        async with iteration.step("get?token=" + S["step's name"]):
            async with iteration.client.get("/status/503?api_key=" + S["URL that an iteration asks for"]) as r:
                iteration.expect(r, 200)
    headers = {{"Authorization": "Bearer " + S["header of the run"]}}
    result = await quick(load, ask, headers=headers)
    print("Authorization: Bearer " + S["printed"], TOKEN, "{shown}")
    logging.getLogger("it").warning("password='%s'", S["logged"])
    token = S["local variable"]
    credentials = {{"token": token}}
    assert result.error_rate < 0.001, f"sent {{headers}} {{TOKEN}} {{S['header of the run']}}"

async def test_exception(load):
    async def ask(iteration):
        raise RuntimeError(f"no login at postgresql://me:{{S['URL with a user']}}@db/x with {{TOKEN}} {{KEY}}, "
            f"password='{{S['exception']}}', {{S['option --certload-dsn']}}")
    await quick(load, ask)

async def test_integrity(load):
    async def ask(iteration):
        async with iteration.client.get("/fine") as r:
            iteration.expect(r, 200)
    result = await quick(load, ask)
    assert result.error_rate == 0
    result.integrity(f"rows of {{TOKEN}}", actual=f"secret='{{S['integrity check']}}'", expected=KEY)

@pytest.mark.parametrize("url", ["https://me:" + S["node id"] + "@host"], ids=["url"])
async def test_parameter(load, url):
    async def ask(iteration):
        async with iteration.client.get("/fine") as r:
            iteration.expect(r, 200)
    result = await quick(load, ask)
    assert result.error_rate == 0
    assert url == ""

async def test_preflight(load):
    async def check(preflight):
        raise RuntimeError("Cookie: sid=" + S["preflight"])
    async def ask(iteration): ...
    await quick(load, ask, preflight=[check])

@pytest.fixture
def broken():
    raise ConfigurationError(f"cannot log in with {{TOKEN}}: Bearer {{S['setup']}}")

async def test_setup(load, broken): ...
"""


def grep(pytester: pytest.Pytester, texts: dict[str, str]) -> list[tuple[str, str]]:
    """Where a secret is, and which."""
    return [
        (where, name)
        for where, text in texts.items()
        for name, secret in SECRETS.items()
        # A begin of it is as bad.
        if secret in text or secret[:-2] in text
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--showlocals", "--tb=long", "-vv"),
        ("--tb=native", "-o", "junit_family=xunit1"),
        ("-rA", "--tb=short", "--certload-export=npz", "-o", "junit_logging=all"),
    ],
    ids=["plain", "locals", "native", "all"],
)
def test_no_secret_leaves_a_session(
    pytester: pytest.Pytester,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    import json

    monkeypatch.setenv("SECRETS_OF_TEST", json.dumps(SECRETS))
    monkeypatch.setenv("CERTLOAD_TOKEN", SECRETS["option --certload-token"])
    monkeypatch.setenv(
        "CERTLOAD_DSN", f"postgresql://me:{SECRETS['option --certload-dsn']}@localhost:1/x"
    )
    monkeypatch.setenv(
        "CERTLOAD_SERVER_ENV", f"SIGNING_KEY={SECRETS['option --certload-server-env']}"
    )
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    source = pytester.mkpydir("elsewhere").parent / "test_it.py"
    source.write_text(SOURCE.format(base_url=target.base_url, shown=SHOWN))
    formats = [f"--certload-format={name}" for name in ("k6", "openmetrics", "markdown")]
    result = pytester.runpytest_subprocess(
        "-m", "scale", "--junitxml=out.xml", *formats, *arguments
    )
    result.assert_outcomes(failed=5, errors=1)
    files = sorted(path for path in (pytester.path / "results").iterdir())
    texts = {
        path.name: path.read_bytes().decode("utf-8", "replace")
        for path in (*files, pytester.path / "out.xml")
        if path.suffix != ".npz"
    }
    for path in files:
        if path.suffix == ".npz":
            with np.load(path) as archive:
                texts[path.name] = " ".join(str(archive[name]) for name in archive.files)
    assert {path.name for path in files} >= {
        "summary-errors.json", "summary-errors.txt", "k6-errors.json", "metrics.txt", "summary.md",
    }  # fmt: skip
    terminal = result.stdout.str() + result.stderr.str()
    assert grep(pytester, {"the terminal": terminal, **texts}) == []
    # It was all there to be found: what is no secret came through.
    assert SHOWN in terminal
    assert "[redacted]" in texts["summary-errors.json"]
    assert "api_key=[redacted]" in texts["summary-errors.txt"]
    assert "get?token=[redacted]: 4 of 4" in terminal
    assert "postgresql://[redacted]@db/x" in texts["out.xml"]


def test_what_the_options_are_told_is_not_repeated(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for option, value in (
        ("--certload-dsn", "mysql://me:hunter2@localhost/x"),
        ("--certload-server-env", "hunter2"),
        ("--certload-base-url", "http://me:hunter2@localhost/x"),
        ("--certload-base-url", "ftp://localhost/x?token=hunter2"),
        ("--certload-base-url", "ftp://me:hunter2@localhost"),
    ):
        result = pytester.runpytest(f"{option}={value}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {option}*"])
        assert "hunter2" not in result.stderr.str() + result.stdout.str()


def test_other_tests_are_none_of_our_business(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTLOAD_TOKEN", "tok-4f1d9e07c2ab")
    pytester.makepyfile("def test_it():\n    assert 'tok-4f1d9e07c2ab' == ''\n")
    assert "tok-4f1d9e07c2ab" in pytester.runpytest().stdout.str()
    assert os.environ["CERTLOAD_TOKEN"] == "tok-4f1d9e07c2ab"
