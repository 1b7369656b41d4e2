"""Is everything in the wheel and in the sdist that a user and a developer need?"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from configparser import ConfigParser
from email import message_from_string
from pathlib import Path
from typing import Any

import pytest

from .conftest import Distributions, build

SOURCES = ("pytest_certload", "seed", "docs", "tests", "bench", ".certload", ".ci", ".github")
TOP = ("README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "tox.ini", "conftest.py")
NOT_SOURCE = ("__pycache__", ".hypothesis", ".pytest_cache")


def files(directory: Path) -> set[str]:
    return {
        path.relative_to(directory.parent).as_posix()
        for path in directory.rglob("*")
        if path.is_file() and not set(path.parts) & set(NOT_SOURCE)
    }


def test_wheel_holds_the_whole_package(repository: Path, distributions: Distributions) -> None:
    assert files(repository / "pytest_certload") - distributions.wheel_names() == set()


@pytest.mark.parametrize(
    "name",
    [
        "py.typed",
        "certctl/seed/00_base.sql",
        "certctl/seed/01_bulk_renewal_certs.sql",
        "certctl/seed/02_agent_fleet.sql",
        "certctl/seed/03_targets.sql",
        "certctl/seed/04_acme.sql",
        "certctl/seed/05_api_owner.sql",
        "certctl/reference/schema.sql",
        "certctl/reference/baseline.sql",
        "certctl/reference_image/Dockerfile",
        "report/summary.schema.json",
        "report/html/style.css",
        "report/html/script.js",
    ],
)
def test_wheel_holds_what_is_no_python(distributions: Distributions, name: str) -> None:
    assert f"pytest_certload/{name}" in distributions.wheel_names()


def test_wheel_holds_the_seeds_of_the_repository(repository: Path, unpacked_wheel: Path) -> None:
    packaged = unpacked_wheel / "pytest_certload" / "certctl" / "seed"
    ours = repository / "seed"
    assert {path.name for path in packaged.iterdir()} == {path.name for path in ours.iterdir()}
    for path in ours.iterdir():
        assert (packaged / path.name).read_bytes() == path.read_bytes()


def test_wheel_holds_nothing_else(distributions: Distributions, pyproject: dict[str, Any]) -> None:
    info = f"pytest_certload-{pyproject['project']['version']}.dist-info"
    tops = {name.partition("/")[0] for name in distributions.wheel_names()}
    assert tops == {"pytest_certload", info}


def test_wheel_is_a_pytest_plugin_with_a_licence(
    unpacked_wheel: Path, pyproject: dict[str, Any]
) -> None:
    (info,) = unpacked_wheel.glob("*.dist-info")
    points = ConfigParser()
    points.read(info / "entry_points.txt", encoding="utf-8")
    assert dict(points["pytest11"]) == {"certload": "pytest_certload.plugin"}
    assert dict(points["console_scripts"]) == {"certload": "pytest_certload.cli:main"}
    metadata = message_from_string((info / "METADATA").read_text(encoding="utf-8"))
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(pyproject["project"]["optional-dependencies"]) <= set(
        metadata.get_all("Provides-Extra", [])
    )
    assert "Framework :: Pytest" in metadata.get_all("Classifier", [])
    licence = (info / "licenses" / "LICENSE").read_text(encoding="utf-8")
    assert licence.startswith("MIT License\n")
    assert "The pytest-certload developers" in licence


def test_package_finds_its_files_when_it_runs_from_a_wheel(
    unpacked_wheel: Path, tmp_path: Path
) -> None:
    script = """
import json
import pytest_certload
from importlib.resources import files
from pytest_certload.certctl.product import PRODUCT

json.loads((files("pytest_certload.report") / "summary.schema.json").read_text())
print(json.dumps({
    "package": pytest_certload.__file__,
    "seeds": sorted(path.name for path in PRODUCT.seed_dir.glob("*.sql")),
    "dockerfile": PRODUCT.reference_image.dockerfile.is_file(),
    "home": str(PRODUCT.seed_dir),
}))
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked_wheel)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert Path(answer["package"]).is_relative_to(unpacked_wheel)
    assert Path(answer["home"]).is_relative_to(unpacked_wheel)
    assert answer["dockerfile"]
    assert answer["seeds"] == [
        "00_base.sql",
        "01_bulk_renewal_certs.sql",
        "02_agent_fleet.sql",
        "03_targets.sql",
        "04_acme.sql",
        "05_api_owner.sql",
    ]


def test_sdist_holds_all_that_a_developer_has(
    repository: Path, distributions: Distributions
) -> None:
    wanted = set(TOP)
    for name in SOURCES:
        wanted |= files(repository / name)
    assert wanted - distributions.sdist_names() == set()


def test_sdist_holds_no_cache_and_no_result(distributions: Distributions) -> None:
    tops = {name.partition("/")[0] for name in distributions.sdist_names()}
    hidden = {top for top in tops if top.startswith(".")}
    assert hidden <= {".certload", ".ci", ".github", ".gitignore", ".pre-commit-config.yaml"}
    assert not tops & {"results", "build", "dist"}
    assert not any(name.endswith((".pyc", ".xml")) for name in distributions.sdist_names())


def test_sdist_builds_the_same_wheel(distributions: Distributions, tmp_path: Path) -> None:
    with tarfile.open(distributions.sdist) as archive:
        # The first releases of Python 3.11 have no filters, and look at no such attribute.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(tmp_path / "source")
    (source,) = (tmp_path / "source").iterdir()
    again = build(source, tmp_path / "built")
    assert again.wheel.read_bytes() == distributions.wheel.read_bytes()


def test_version_is_the_newest_in_the_changelog(
    repository: Path, pyproject: dict[str, Any]
) -> None:
    changelog = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^]]+)\]", changelog, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1] == pyproject["project"]["version"]


def test_installed_version_is_the_one_in_pyproject(pyproject: dict[str, Any]) -> None:
    from importlib.metadata import version

    assert version("pytest-certload") == pyproject["project"]["version"]


def test_every_python_is_a_classifier(pyproject: dict[str, Any]) -> None:
    versions = re.findall(
        r"Programming Language :: Python :: (3\.\d+)",
        "\n".join(pyproject["project"]["classifiers"]),
    )
    assert versions == ["3.11", "3.12", "3.13", "3.14"]
