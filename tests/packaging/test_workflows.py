"""Do the workflows keep their promises? Whether they are valid and safe, `tox -e lint` says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

Document = dict[Any, Any]
NAMES = ("ci", "scale")
PINNED = re.compile(r"^\s*-?\s*uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
# YAML 1.1 reads the key `on` as a truth value.
ON = True


@pytest.fixture(scope="module")
def texts(repository: Path) -> dict[str, str]:
    folder = repository / ".github" / "workflows"
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.yml")}


@pytest.fixture(scope="module")
def documents(texts: dict[str, str]) -> dict[str, Document]:
    return {name: yaml.safe_load(text) for name, text in texts.items()}


@pytest.fixture(scope="module")
def scale(documents: dict[str, Document]) -> Document:
    return documents["scale"]


@pytest.fixture(scope="module")
def scale_job(scale: Document) -> Document:
    job: Document = scale["jobs"]["scale"]
    return job


def steps(document: Document) -> Iterator[Document]:
    for job in document["jobs"].values():
        yield from job["steps"]


def uses(steps: list[Document], action: str) -> list[Document]:
    return [step for step in steps if step.get("uses", "").startswith(f"{action}@")]


def test_there_are_these_workflows(texts: dict[str, str]) -> None:
    assert sorted(texts) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_action_is_pinned_by_commit_and_names_its_version(
    texts: dict[str, str], name: str
) -> None:
    lines = [line for line in texts[name].splitlines() if "uses:" in line]
    assert lines
    assert [line for line in lines if not PINNED.match(line)] == []


def test_an_action_is_pinned_to_the_same_commit_everywhere(texts: dict[str, str]) -> None:
    pins = set(re.findall(r"uses: (\S+)@(\S+) # (\S+)", "\n".join(texts.values())))
    assert len({action for action, _, _ in pins}) == len(pins)


@pytest.mark.parametrize("name", NAMES)
def test_workflow_may_only_read(documents: dict[str, Document], name: str) -> None:
    assert documents[name]["permissions"] == {"contents": "read"}
    for job in documents[name]["jobs"].values():
        assert "permissions" not in job


@pytest.mark.parametrize("name", NAMES)
def test_no_check_out_keeps_its_credentials(documents: dict[str, Document], name: str) -> None:
    found = uses(list(steps(documents[name])), "actions/checkout")
    assert len(found) == len(documents[name]["jobs"])
    for step in found:
        assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", NAMES)
def test_no_script_has_an_expression_in_it(documents: dict[str, Document], name: str) -> None:
    scripts = [step["run"] for step in steps(documents[name]) if "run" in step]
    assert scripts
    assert [script for script in scripts if "${{" in script] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_job_has_a_limit_and_runs_of_one_branch_do_not_pile_up(
    documents: dict[str, Document], name: str
) -> None:
    assert "github.ref" in documents[name]["concurrency"]["group"]
    for job in documents[name]["jobs"].values():
        assert 5 <= job["timeout-minutes"] <= 30


def test_ci_runs_on_push_and_pull_request(documents: dict[str, Document]) -> None:
    assert set(documents["ci"][ON]) == {"push", "pull_request"}


def test_ci_has_all_parts(documents: dict[str, Document]) -> None:
    jobs = documents["ci"]["jobs"]
    assert jobs["source"]["strategy"]["matrix"]["check"] == ["lint", "types", "layers"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert any("tox run -e quick" in step.get("run", "") for step in jobs["quick"]["steps"])
    (upload,) = uses(jobs["quick"]["steps"], "actions/upload-artifact")
    assert "junit.xml" in upload["with"]["path"].split()
    assert any(step.get("run") == ".ci/run" for step in jobs["docker"]["steps"])


def test_scale_runs_by_hand_and_on_monday_morning(scale: Document) -> None:
    assert set(scale[ON]) == {"workflow_dispatch", "schedule"}
    assert scale[ON]["schedule"] == [{"cron": "0 6 * * 1"}]


def test_scale_runs_every_scenario_there_is(repository: Path, scale_job: Document) -> None:
    scenarios = scale_job["strategy"]["matrix"]["scenario"]
    there = {path.stem.removeprefix("test_") for path in repository.glob("tests/scale/test_*.py")}
    assert len(scenarios) == len(set(scenarios))
    assert set(scenarios) == there
    assert scale_job["strategy"]["fail-fast"] is False
    assert scale_job["timeout-minutes"] == 25


def test_scale_keeps_its_reports_for_90_days_whatever_happened(scale_job: Document) -> None:
    (upload,) = uses(scale_job["steps"], "actions/upload-artifact")
    assert upload["if"] == "always()"
    assert upload["with"]["retention-days"] == 90
    assert upload["with"]["path"].split() == ["junit-${{", "matrix.scenario", "}}.xml", "results/"]
    assert "matrix.scenario" in upload["with"]["name"]
    assert any(
        '--junitxml "junit-$SCENARIO.xml"' in step.get("run", "") for step in scale_job["steps"]
    )


def test_scale_tells_its_results_on_the_summary_page_whatever_happened(
    repository: Path, scale_job: Document
) -> None:
    """The plugin appends to it, when the tests failed, too."""
    (step,) = [step for step in scale_job["steps"] if "CERTLOAD_FORMAT" in step.get("env", {})]
    assert "tox run -e scale" in step["run"]
    assert step["env"]["CERTLOAD_FORMAT"] == "markdown"
    tox = ConfigParser(interpolation=None)
    tox.read(repository / "tox.ini", encoding="utf-8")
    assert "GITHUB_STEP_SUMMARY" in tox["testenv"]["pass_env"].split()
