"""Where does a run's record lie on disk? ``summary-<scenario>.json`` and, for people, ``.txt``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from .record import RunRecord
from .terminal import closing_table, preflight_text, run_text, why_text
from .whole_file import not_written, write_text

__all__ = ["check_writable", "write_summary"]

_TEXT_WIDTH = 132


def check_writable(directory: Path) -> None:
    """Make sure, before minutes of load are spent, that the results can be kept.

    Raises:
        ReportError: The folder cannot be made or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".certload-"):
            pass
    except OSError as error:
        raise not_written(directory, error) from error


def write_summary(record: RunRecord, directory: Path) -> tuple[Path, Path]:
    """Write both files; each appears whole or not at all, and replaces an earlier run's.

    Returns:
        The paths of the JSON document and of the text.

    Raises:
        ReportError: They cannot be written.
    """
    stem = f"summary-{record.scenario}"
    document = json.dumps(record.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    lines = [
        *closing_table([record], width=_TEXT_WIDTH, unicode=True),
        "",
        *why_text(record, unicode=True),
        *run_text(record),
        *preflight_text(record),
    ]
    files = directory / f"{stem}.json", directory / f"{stem}.txt"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in zip(files, (document, "\n".join(lines)), strict=True):
            write_text(path, text)
    except OSError as error:
        raise not_written(directory, error) from error
    return files
