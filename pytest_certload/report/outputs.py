"""Which formats are written beside the summaries, and when? A file a run, files a session, a push.

What is asked for is named by ``--certload-format``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from .k6 import k6_summary
from .markdown import markdown_text
from .openmetrics import openmetrics_text
from .record import RunRecord
from .whole_file import not_written, write_whole

__all__ = ["append_job_summary", "write_run_formats", "write_session_formats"]


def write_run_formats(
    record: RunRecord, formats: Collection[str], directory: Path
) -> tuple[Path, ...]:
    """Write what there is of each run: ``k6-<scenario>.json``.

    Returns:
        The files' paths.

    Raises:
        ReportError: They cannot be written.
    """
    if "k6" not in formats:
        return ()
    text = json.dumps(k6_summary(record), indent=2, ensure_ascii=False, allow_nan=False)
    path = directory / f"k6-{record.scenario}.json"
    _write({path: text}, directory)
    return (path,)


def write_session_formats(
    records: Sequence[RunRecord],
    formats: Collection[str],
    directory: Path,
    *,
    not_made: Sequence[tuple[str, str]] = (),
) -> tuple[Path, ...]:
    """Write what there is of all runs together: ``metrics.txt`` and ``summary.md``.

    Args:
        records: Of every run that has figures.
        formats: What is asked for.
        directory: Where to.
        not_made: See ``markdown_text``.

    Returns:
        The files' paths.

    Raises:
        ReportError: They cannot be written.
    """
    texts: dict[Path, str] = {}
    if "openmetrics" in formats:
        texts[directory / "metrics.txt"] = openmetrics_text(records)
    if "markdown" in formats:
        texts[directory / "summary.md"] = markdown_text(records, not_made)
    _write(texts, directory)
    return tuple(texts)


def append_job_summary(summary: Path, page: Path) -> str | None:
    """Append ``summary.md`` to the page that the CI system shows of the job.

    Args:
        summary: The session's ``summary.md``.
        page: What ``GITHUB_STEP_SUMMARY`` names.

    Returns:
        Why it is not there, in a line; None: it is.
    """
    try:
        with page.open("ab") as file:
            # Whatever stands there already ends its block before this one begins.
            file.write(b"\n" + summary.read_bytes())
    except OSError as error:
        return f"GITHUB_STEP_SUMMARY: {page} cannot be appended to ({error.strerror or error})"
    return None


def _write(texts: dict[Path, str], directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            write_whole(path, partial(_write_text, text))
    except OSError as error:
        raise not_written(directory, error) from error


def _write_text(text: str, file: IO[bytes]) -> None:
    # What cannot be encoded, half a surrogate pair from a message, is shown as such.
    file.write(f"{text}\n".encode(errors="backslashreplace"))
