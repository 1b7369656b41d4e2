"""Where does a run's record lie on disk? ``summary-<scenario>.json`` and, for people, ``.txt``."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from pytest_certload.errors import ReportError

from .record import RunRecord
from .terminal import closing_table, run_text

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
        raise _not_written(directory, error) from error


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
        *run_text(record),
    ]
    files = directory / f"{stem}.json", directory / f"{stem}.txt"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in zip(files, (document, "\n".join(lines)), strict=True):
            _replace(path, text + "\n")
    except OSError as error:
        raise _not_written(directory, error) from error
    return files


def _replace(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".certload-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            # mkstemp keeps others out; a report is for everybody the umask lets in.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)  # noqa: PTH101
            file.write(text)
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108
        raise


def _not_written(directory: Path, error: OSError) -> ReportError:
    return ReportError(
        f"--certload-results {directory}: the results cannot be written "
        f"({error.strerror or error}); name a folder that is writable and has space left"
    )
