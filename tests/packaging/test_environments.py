"""Are there all environments of tox, and do the lists that must agree agree?"""

from __future__ import annotations

import re
import tomllib
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def tox(repository: Path) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read(repository / "tox.ini", encoding="utf-8")
    return parser


def test_tox_runs_every_check_and_every_python(tox: ConfigParser) -> None:
    assert tox["tox"]["env_list"] == "lint, types, layers, py{311,312,313,314}, lowest"
    assert tox.getboolean("tox", "skip_missing_interpreters")


@pytest.mark.parametrize("name", ["lint", "types", "layers", "lowest", "scale", "quick"])
def test_tox_has_the_environment(tox: ConfigParser, name: str) -> None:
    section = tox[f"testenv:{name}"]
    assert section["description"]
    assert "commands" in section or "commands_pre" in section


@pytest.mark.parametrize(
    "command",
    [
        "ruff check",
        "ruff format --check",
        "check-jsonschema --builtin-schema vendor.github-workflows",
        "zizmor --offline",
        "shellcheck",
    ],
)
def test_lint_checks(tox: ConfigParser, command: str) -> None:
    lines = tox["testenv:lint"]["commands"].strip().splitlines()
    assert any(line.startswith(command) for line in lines)


def test_lint_checks_every_workflow(tox: ConfigParser, repository: Path) -> None:
    for path in repository.glob(".github/workflows/*"):
        assert path.relative_to(repository).as_posix() in tox["testenv:lint"]["commands"].split()


def test_lint_checks_every_shell_script(tox: ConfigParser, repository: Path) -> None:
    (line,) = re.findall("^shellcheck (.*)$", tox["testenv:lint"]["commands"], re.MULTILINE)
    scripts = {
        path.relative_to(repository).as_posix()
        for path in (repository / ".ci").rglob("*")
        if path.is_file() and path.read_text(encoding="utf-8").startswith("#!/bin/bash")
    }
    assert set(line.split()) == scripts


@pytest.mark.parametrize("name", ["lint", "layers"])
def test_environment_uses_the_versions_of_the_extra(
    tox: ConfigParser, pyproject: dict[str, Any], name: str
) -> None:
    extra = pyproject["project"]["optional-dependencies"]["lint"]
    assert set(tox[f"testenv:{name}"]["deps"].split()) <= set(extra)


def test_every_hook_runs_a_tool_of_the_extra(repository: Path, pyproject: dict[str, Any]) -> None:
    document = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    tools = {
        re.split("[>=]", text)[0] for text in pyproject["project"]["optional-dependencies"]["lint"]
    }
    programs = {"lint-imports": "import-linter"}
    hooks = [hook for place in document["repos"] for hook in place["hooks"]]
    assert len(hooks) >= 5
    for hook in hooks:
        program = hook["entry"].split()[0]
        assert programs.get(program, program) in tools


def test_suite_is_strict(pyproject: dict[str, Any]) -> None:
    options = pyproject["tool"]["pytest"]["ini_options"]
    assert {"--strict-markers", "--strict-config"} <= set(options["addopts"])
    assert options["filterwarnings"][0] == "error"
    assert options["xfail_strict"] is True
    assert pyproject["tool"]["mypy"]["strict"] is True


def test_every_layer_is_a_row_of_the_documentation(
    repository: Path, pyproject: dict[str, Any]
) -> None:
    text = (repository / "docs" / "architecture.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"`tox -e layers` checks it\.\n\n```\n(.*?)```", text, re.DOTALL)
    contract = pyproject["tool"]["importlinter"]["contracts"][0]
    assert contract["exhaustive"] is True
    assert contract["layers"] == block.splitlines()


def test_lowest_versions_are_those_of_pyproject(repository: Path) -> None:
    # The script itself is run by `tox -e lowest`; here, that it leaves nothing out.
    document = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    requirements = [
        *document["project"]["dependencies"],
        *document["project"]["optional-dependencies"]["test"],
        *document["project"]["optional-dependencies"]["embedded"],
        *document["project"]["optional-dependencies"]["parquet"],
        *document["project"]["optional-dependencies"]["sketch"],
    ]
    for text in requirements:
        assert re.fullmatch(r"pytest-certload\[[a-z,]+\]|[a-z0-9-]+>=[0-9.]+", text), text
