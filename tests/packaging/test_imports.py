"""What does it cost to have the plugin and not to use it? Modules, because they do not vary."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import pytest_certload

HEAVY = (
    "aiohttp",
    "asyncpg",
    "cryptography",
    "ddsketch",
    "docker",
    "httptools",
    "numpy",
    "opentelemetry",
    "psutil",
    "pyarrow",
    "requests",
    "testcontainers",
    "trustme",
    "pytest_certload.acme",
    "pytest_certload.certctl",
    "httptools",
    "pytest_certload.baselines.baseline",
    "pytest_certload.baselines.comparison",
    "pytest_certload.baselines.store",
    "pytest_certload.baselines.wishes",
    "pytest_certload.bookkeeping",
    "pytest_certload.clients.exchange",
    "pytest_certload.clients.fast",
    "pytest_certload.clients.http",
    "pytest_certload.database",
    "pytest_certload.engine",
    "pytest_certload.export",
    "pytest_certload.report",
    "pytest_certload.samples",
    "pytest_certload.session",
    "pytest_certload.stack",
    "pytest_certload.stats",
    # ``verdict.policy`` is plain data, which the options are read into.
    "pytest_certload.verdict.diagnosis",
    "pytest_certload.verdict.effects",
    "pytest_certload.verdict.held",
    "pytest_certload.verdict.measure",
    "pytest_certload.verdict.result",
    "pytest_certload.verdict.thresholds",
)
PYTEST = ("pytest", "_pytest", "pytest_asyncio")


def belong(modules: list[str], homes: tuple[str, ...]) -> list[str]:
    return [
        module
        for module in modules
        if any(module == home or module.startswith(f"{home}.") for home in homes)
    ]


def modules_after(statement: str, directory: Path) -> list[str]:
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=directory, capture_output=True, text=True, check=True
    )
    modules: list[str] = json.loads(result.stdout)
    return modules


def test_importing_the_package_imports_nothing_else(tmp_path: Path) -> None:
    modules = modules_after("import pytest_certload", tmp_path)
    assert "pytest_certload" in modules
    assert belong(modules, (*HEAVY, *PYTEST)) == []


def test_importing_the_plugin_imports_pytest_and_nothing_heavy(tmp_path: Path) -> None:
    modules = modules_after("import pytest_certload.plugin", tmp_path)
    assert "pytest" in modules
    assert belong(modules, HEAVY) == []


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [([], pytest.ExitCode.OK), (["-m", "scale"], pytest.ExitCode.NO_TESTS_COLLECTED)],
    ids=["plain", "-m scale"],
)
def test_session_without_load_tests_imports_nothing_heavy(
    tmp_path: Path, arguments: list[str], exit_code: pytest.ExitCode
) -> None:
    (tmp_path / "conftest.py").write_text(
        "import json, pathlib, sys\n"
        "def pytest_unconfigure(config):\n"
        "    found = [config.pluginmanager.has_plugin('certload'), sorted(sys.modules)]\n"
        "    pathlib.Path('modules.json').write_text(json.dumps(found))\n"
    )
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == exit_code, result.stdout
    present, modules = json.loads((tmp_path / "modules.json").read_text())
    assert present
    assert belong(modules, HEAVY) == []


@pytest.mark.parametrize("name", pytest_certload.__all__)
def test_every_public_name_is_served_where_it_is_at_home(name: str) -> None:
    home = import_module(f"pytest_certload.{pytest_certload._HOMES[name]}")
    assert getattr(pytest_certload, name) is getattr(home, name)
    assert name in dir(pytest_certload)


def test_public_names_are_listed_once_and_completely() -> None:
    assert sorted(pytest_certload._HOMES) == pytest_certload.__all__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'pytest_certload' has no attribute 'nothing'"):
        pytest_certload.nothing  # noqa: B018


def test_the_command_line_says_what_it_can_do_without_anything_heavy(tmp_path: Path) -> None:
    statement = (
        "from contextlib import redirect_stdout, suppress\n"
        "from io import StringIO\n"
        "from pytest_certload.cli import main\n"
        "with suppress(SystemExit), redirect_stdout(StringIO()):\n"
        "    main(['--help'])"
    )
    modules = modules_after(statement, tmp_path)
    assert "argparse" in modules
    assert belong(modules, (*HEAVY, *PYTEST)) == []
