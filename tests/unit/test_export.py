"""Every sample comes back from the file as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_certload.engine.runner import WorkerReport
from pytest_certload.errors import ReportError
from pytest_certload.export import write_samples
from pytest_certload.samples import QUEUED, REUSED, Connections, Observation, Outcome, Samples
from pytest_certload.stats.figures import figures_of
from pytest_certload.units import ms, seconds

STARTED_AT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
COLUMNS = [
    "scenario",
    "step",
    "whole",
    "index",
    "due",
    "start",
    "sent",
    "first_byte",
    "end",
    "status",
    "outcome",
    "size",
    "queued",
    "reused",
]
ABOUT = {
    "schema_version": "1",
    "started_at": "2026-01-02T03:04:05.678901+00:00",
    "window_begin": "7000",
    "nodeid": "tests/test_it.py::test_storm",
    "pytest_certload": version("pytest-certload"),
}

moments = st.integers(0, 2**63 - 1)
words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@st.composite
def some_samples(draw: st.DrawFn) -> Samples:
    # A step may be called as its scenario is.
    steps = ["storm", *draw(st.lists(st.one_of(st.just("storm"), words), max_size=3, unique=True))]
    rows = st.builds(
        Observation,
        step=st.integers(0, len(steps) - 1),
        index=moments,
        due=moments,
        start=moments,
        sent=moments,
        first_byte=moments,
        end=moments,
        size=moments,
        status=st.integers(0, 599),
        outcome=st.sampled_from(Outcome),
        flags=st.sampled_from([0, QUEUED, REUSED, QUEUED | REUSED]),
    )
    return Samples.from_observations(draw(st.lists(rows, max_size=20)), steps=tuple(steps))


def report_of(samples: Samples) -> WorkerReport:
    none = Connections.from_table(np.empty((0, 5), np.int64))
    return WorkerReport(
        figures=figures_of(samples, none, window_end=7_000 + seconds(2)),
        kept=(samples, none),
        started_at=STARTED_AT,
        duration=seconds(2),
        window_begin=7_000,
        window_end=7_000 + seconds(2),
        drain=ms(0),
        offered=1,
        started=1,
        started_in_window=1,
        finished=1,
        dropped=0,
        unfinished=0,
        backlog_peak=0,
        in_flight_peak=1,
        errors=(),
        interrupted=False,
        broken=False,
        scheduled=True,
    )


def write(samples: Samples, directory: Path, form: str) -> Path:
    return write_samples(report_of(samples), nodeid=ABOUT["nodeid"], directory=directory, form=form)


def read_npz(path: Path) -> tuple[dict[str, list[Any]], dict[str, str]]:
    with np.load(path, allow_pickle=False) as file:
        about = {name: str(file[name]) for name in file.files if file[name].ndim == 0}
        columns = {
            name: (file[f"{name}_names"][file[name]] if f"{name}_names" in file else file[name])
            for name in file.files
            if name not in about and not name.endswith("_names")
        }
    return {name: column.tolist() for name, column in columns.items()}, about


def read_parquet(path: Path) -> tuple[dict[str, list[Any]], dict[str, str]]:
    table = pq.read_table(path)
    about = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    return table.to_pydict(), about


FORMS = [("npz", read_npz), ("parquet", read_parquet)]
Reader = Callable[[Path], tuple[dict[str, list[Any]], dict[str, str]]]


@pytest.mark.parametrize(("form", "read"), FORMS, ids=["npz", "parquet"])
@given(samples=some_samples())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_sample_comes_back(tmp_path: Path, form: str, read: Reader, samples: Samples) -> None:
    path = write(samples, tmp_path, form)
    assert path == tmp_path / f"samples-storm.{form}"
    columns, about = read(path)
    assert about == ABOUT
    assert list(columns) == COLUMNS
    for name in ("index", "due", "start", "sent", "first_byte", "end", "status", "size"):
        assert columns[name] == getattr(samples, name).tolist()
    assert columns["scenario"] == ["storm"] * len(samples)
    assert columns["step"] == [samples.steps[number] for number in samples.step]
    assert columns["whole"] == [number == 0 for number in samples.step]
    assert columns["outcome"] == [Outcome(value).label for value in samples.outcome]
    assert columns["queued"] == samples.queued.tolist()
    assert columns["reused"] == samples.reused.tolist()


def one(**values: Any) -> Samples:
    row = Observation(**{"step": 0, "index": 0, "due": 0, "start": 0, "end": 1, **values})
    return Samples.from_observations([row], steps=("storm",))


def test_parquet_has_the_types_that_the_documentation_says(tmp_path: Path) -> None:
    schema = pq.read_schema(write(one(), tmp_path, "parquet"))
    types = {field.name: str(field.type) for field in schema}
    names = {types.pop(name) for name in ("scenario", "step", "outcome")}
    assert all(name.startswith("dictionary<values=string") for name in names)
    assert {name for name, kind in types.items() if kind == "bool"} == {"whole", "queued", "reused"}
    assert types.pop("status") == "int16"
    assert {kind for kind in types.values() if kind != "bool"} == {"int64"}


@pytest.mark.parametrize(("form", "read"), FORMS, ids=["npz", "parquet"])
def test_moments_can_be_rebuilt(tmp_path: Path, form: str, read: Reader) -> None:
    columns, about = read(write(one(due=7_000 + seconds(1.5)), tmp_path, form))
    after = columns["due"][0] - int(about["window_begin"])
    at = datetime.fromisoformat(about["started_at"]) + timedelta(microseconds=after / 1000)
    assert at == STARTED_AT + timedelta(seconds=1.5)


@pytest.mark.parametrize("form", ["npz", "parquet"])
class TestADiskThatDoesNotTakeIt:
    def test_a_full_one_leaves_the_earlier_file_and_nothing_else(
        self, tmp_path: Path, request: pytest.FixtureRequest, form: str
    ) -> None:
        path = write(one(), tmp_path, form)
        before = path.read_bytes()
        request.getfixturevalue("full_disk")
        with pytest.raises(ReportError, match=r"--certload-results .*No space left on device"):
            write(one(due=1), tmp_path, form)
        assert list(tmp_path.iterdir()) == [path]
        assert path.read_bytes() == before

    def test_a_folder_that_is_a_file(self, tmp_path: Path, form: str) -> None:
        (tmp_path / "results").write_text("taken")
        with pytest.raises(ReportError, match=r"--certload-results .*results.*name a folder"):
            write(one(), tmp_path / "results", form)


def test_it_is_called_as_its_scenario_is(tmp_path: Path) -> None:
    named = replace(one(), steps=("storm-2",))
    assert write(named, tmp_path / "new", "npz") == tmp_path / "new" / "samples-storm-2.npz"
