"""How does every sample leave the run? As a file of columns that other tools read.

A layer of its own: reports are written from figures, this is written from the samples themselves, so
it is numpy's and pyarrow's business and not the reports'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt

from pytest_certload.engine.runner import WorkerReport
from pytest_certload.report.whole_file import not_written, write_whole
from pytest_certload.samples import ITERATION, Outcome, Samples

__all__ = ["EXPORT_VERSION", "write_samples"]

#: Raised whenever a column or an entry beside them comes, goes away or changes its meaning.
EXPORT_VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class _Names:
    """A column of names, each written once: ``names[codes]``."""

    codes: npt.NDArray[Any]
    names: tuple[str, ...]


_Columns = Mapping[str, "npt.NDArray[Any] | _Names"]
_About = Mapping[str, str | int]


def write_samples(
    report: WorkerReport,
    *,
    nodeid: str,
    directory: Path,
    form: str,
    redact: Callable[[str], str] = str,
) -> Path:
    """Write ``samples-<scenario>.<form>``; it appears whole or not at all.

    Args:
        report: The run, of one scenario.
        nodeid: The test's node id.
        directory: Where it is to lie.
        form: ``npz`` or ``parquet``; the latter needs pyarrow.
        redact: Takes secrets out of names and the node id.

    Returns:
        The file's path.

    Raises:
        ReportError: It cannot be written.
    """
    samples = replace(report.samples, steps=tuple(map(redact, report.samples.steps)))
    path = directory / f"samples-{samples.steps[ITERATION]}.{form}"
    columns, about = _columns(samples), _about(report, redact(nodeid))
    write = _WRITERS[form]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda file: write(file, columns, about))
    except OSError as error:
        raise not_written(directory, error) from error
    return path


def _columns(samples: Samples) -> _Columns:
    nothing = np.zeros(len(samples), np.uint8)
    return {
        "scenario": _Names(codes=nothing, names=samples.steps[: ITERATION + 1]),
        "step": _Names(codes=samples.step, names=samples.steps),
        # A step may be called as its scenario is.
        "whole": samples.step == ITERATION,
        "index": samples.index,
        "due": samples.due,
        "start": samples.start,
        "sent": samples.sent,
        "first_byte": samples.first_byte,
        "end": samples.end,
        "status": samples.status,
        "outcome": _Names(codes=samples.outcome, names=tuple(o.label for o in Outcome)),
        "size": samples.size,
        "queued": samples.queued,
        "reused": samples.reused,
    }


def _about(report: WorkerReport, nodeid: str) -> _About:
    return {
        "schema_version": EXPORT_VERSION,
        "started_at": report.started_at.isoformat(timespec="microseconds"),
        "window_begin": report.window_begin,
        "nodeid": nodeid,
        "pytest_certload": version("pytest-certload"),
    }


def _write_npz(file: IO[bytes], columns: _Columns, about: _About) -> None:
    """Numbers and texts only, so that ``np.load`` needs no pickle."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, column in columns.items():
        if isinstance(column, _Names):
            arrays[name] = column.codes
            arrays[f"{name}_names"] = np.array(column.names, np.str_)
        else:
            arrays[name] = column
    arrays |= {name: np.array(value) for name, value in about.items()}
    # What np.savez does, but closed whatever happens: older ones leave it open when the disk is full.
    with ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _write_parquet(file: IO[bytes], columns: _Columns, about: _About) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {
        name: _categories(pa, column) if isinstance(column, _Names) else pa.array(column)
        for name, column in columns.items()
    }
    metadata = {name: str(value) for name, value in about.items()}
    pq.write_table(pa.table(arrays, metadata=metadata), file)


def _categories(pa: Any, column: _Names) -> Any:
    """A dictionary of Arrow's, whose names must be unique."""
    unique = tuple(dict.fromkeys(column.names))
    places = np.array([unique.index(name) for name in column.names], np.int16)
    return pa.DictionaryArray.from_arrays(places[column.codes], pa.array(unique, pa.string()))


_WRITERS: Mapping[str, Callable[[IO[bytes], _Columns, _About], None]] = {
    "npz": _write_npz,
    "parquet": _write_parquet,
}
