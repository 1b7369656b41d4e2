"""``certload ladder`` runs pytest once a rung, and what came of it is on one page."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_certload.cli import main
from pytest_certload.ladder import climb

if TYPE_CHECKING:
    from .conftest import Target

SHOP = """
    import pytest
    from pytest_certload import ms

    @pytest.mark.scale(base_url="{url}")
    async def test_shop(load, request):
        async def basket(iteration):
            async with iteration.client.get("/basket") as response:
                iteration.expect(response, 200)

        result = await load.constant_arrival_rate(basket, rate=50, duration="500ms")
        assert result.error_rate < 0.5
        with open("asked.txt", "a") as file:
            print(request.config.getoption("certload_postgres_settings"), file=file)
"""
RUNGS = """
[[rung]]
name = "first"
[[rung]]
name = "second"
postgres = { jit = false }
"""


@pytest.fixture
def shop(pytester: pytest.Pytester, target: Target) -> Path:
    pytester.makepyfile(test_shop=SHOP.format(url=target.base_url))
    (pytester.path / "rungs.toml").write_text(RUNGS)
    return pytester.path


def asked(folder: Path) -> list[str]:
    return (folder / "asked.txt").read_text().splitlines()


def test_a_session_a_rung_and_one_page(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ladder", "rungs.toml", "--results", "out", "--page", "page.md"]
    assert main([*words, "--", "-m", "scale", "test_shop.py"]) == 0
    assert asked(shop) == ["None", "['jit=off']"]
    document = json.loads((shop / "out" / "ladder.json").read_text())
    assert [rung["name"] for rung in document["rungs"]] == ["first", "second"]
    for rung in document["rungs"]:
        (run,) = rung["runs"]
        assert (run["scenario"], run["state"], run["count"]) == ("shop", "passed", 25)
    assert (shop / "page.md").read_text() == (shop / "out" / "ladder.md").read_text()
    assert "second: shop passed" in capsys.readouterr().out

    # A new rung is climbed alone; the others are as they were.
    (shop / "rungs.toml").write_text(f"{RUNGS}\n[[rung]]\nname = 'third'\n")
    assert main([*words, "--resume", "--", "-m", "scale", "test_shop.py"]) == 0
    assert len(asked(shop)) == 3
    assert "| third |" in (shop / "page.md").read_text()
    # With other words they are other runs.
    assert main([*words, "--resume", "--", "-m", "scale", "test_shop.py", "-q"]) == 0
    assert len(asked(shop)) == 6


def test_a_rung_without_figures(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "rungs.toml").write_text("[[rung]]\nname = 'first'\n")
    assert main(["ladder", "rungs.toml", "--", "-m", "scale", "nowhere.py"]) == 1
    said = "pytest ended with 4: file or directory not found: nowhere.py"
    assert said in capsys.readouterr().out
    assert said in (shop / "results" / "ladder" / "ladder.md").read_text()
    # It is tried again, and what an earlier try left is not taken for its own.
    assert main(["ladder", "rungs.toml", "--", "-m", "scale", "test_shop.py"]) == 0
    assert main(["ladder", "rungs.toml", "--", "-m", "scale", "nowhere.py"]) == 1
    assert not list((shop / "results" / "ladder" / "first").glob("summary-*"))


#: As from a terminal, whatever these tests were started from.
LADDER = """
import signal
import sys
from pytest_certload.cli import main
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.exit(main())
"""
LONG = """
    import pathlib
    import pytest

    @pytest.mark.scale(base_url="{url}")
    async def test_long(load):
        async def basket(iteration):
            pathlib.Path("began").touch()
            async with iteration.client.get("/basket") as response:
                iteration.expect(response, 200)

        await load.constant_arrival_rate(basket, rate=50, duration="5m")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_reaches_the_session_and_what_ended_is_kept(
    shop: Path, pytester: pytest.Pytester, target: Target, number: signal.Signals
) -> None:
    """Also one that is sent to the ladder alone."""
    command = [
        *(sys.executable, "-c", LADDER),
        *("ladder", "rungs.toml", "--results", "out"),
    ]
    words = ["--", "-m", "scale", "test_shop.py"]
    (shop / "rungs.toml").write_text("[[rung]]\nname = 'first'\n")
    assert subprocess.run([*command, *words], cwd=shop, check=False).returncode == 0
    (shop / "rungs.toml").write_text(RUNGS)
    pytester.makepyfile(test_shop=LONG.format(url=target.base_url))
    ladder = subprocess.Popen(
        [*command, "--resume", *words],
        cwd=shop,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        eventually((shop / "began").exists)
        ladder.send_signal(number)
        said, _ = ladder.communicate(timeout=60)
    finally:
        if ladder.poll() is None:
            ladder.send_signal(signal.SIGINT)
            ladder.wait(60)
    assert ladder.returncode == 128 + signal.SIGINT, said
    assert said.splitlines()[0] == "first: as it was measured before"
    assert said.splitlines()[-2:] == [
        "out: rungs that ended are kept; --resume goes on after them",
        "certload: interrupted",
    ]
    assert "Traceback" not in said
    (rung,) = json.loads((shop / "out" / "ladder.json").read_text())["rungs"]
    assert rung["name"] == "first"
    summary = json.loads((shop / "out" / "second" / "summary-long.json").read_text())
    assert summary["state"] == "interrupted"


DEAF = """
    import os, pathlib, signal, time
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    pathlib.Path("new").write_text(str(os.getpid()))
    pathlib.Path("new").rename("pid")
    time.sleep(600)
"""


def test_a_session_that_ends_at_nothing_else_is_killed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest(DEAF)
    pid = pytester.path / "pid"

    def interrupted(process: subprocess.Popen[bytes]) -> int:
        eventually(pid.exists)
        raise KeyboardInterrupt

    monkeypatch.setattr(climb, "_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(climb, "_wait", interrupted)
    with (pytester.path / "log").open("w") as log, pytest.raises(KeyboardInterrupt):
        climb._run([], log.fileno())
    assert not psutil.pid_exists(int(pid.read_text()))


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


TWO = (
    SHOP
    + """
    @pytest.mark.scale(base_url="{url}")
    async def test_pay(load, request):
        assert not request.config.getoption("certload_postgres_settings"), "no pay today"

        async def pay(iteration):
            async with iteration.client.get("/pay") as response:
                iteration.expect(response, 200)

        result = await load.constant_arrival_rate(pay, rate=50, duration="100ms")
        assert result.error_rate < 0.5
"""
)


def test_a_rung_that_lacks_a_scenario_of_the_others(
    shop: Path, pytester: pytest.Pytester, target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    pytester.makepyfile(test_shop=TWO.format(url=target.base_url))
    words = ["ladder", "rungs.toml", "--results", "out", "--resume", "--", "-m", "scale"]
    assert main([*words, "test_shop.py"]) == 1
    said = "second: no figures of pay: AssertionError: no pay today"
    assert said in capsys.readouterr().out
    assert f"- {said}" in (shop / "out" / "ladder.md").read_text()
    # What it has is shown, and it is climbed again.
    (second,) = json.loads((shop / "out" / "ladder.json").read_text())["rungs"][1]["runs"]
    assert second["scenario"] == "shop"
    assert main([*words, "test_shop.py"]) == 1
    assert asked(shop) == ["None", "['jit=off']", "['jit=off']"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.toml"], "none.toml cannot be read"),
        (["rungs.toml", "--page", "no/where.md"], "--page no/where.md: there is no folder no"),
        (["rungs.toml", "--", "--certload-results=x"], "each rung has a folder of its own"),
        (["rungs.toml", "--", "--certload-results", "x"], "each rung has a folder of its own"),
    ],
)
def test_what_cannot_be_done(
    shop: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["ladder", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (shop / "asked.txt").exists()
