"""How does a ladder become a page? Rung by rung, and written after each, so that no hour is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_certload.errors import ConfigurationError, ReportError
from pytest_certload.report.whole_file import write_text

from .climb import Climbed, check_words, climb, climbed_before, without
from .rungs import Rung
from .table import ladder_document, ladder_page

__all__ = ["run_ladder"]


def run_ladder(
    rungs: Sequence[Rung],
    words: Sequence[str],
    *,
    results: Path,
    page: Path | None,
    resume: bool,
    say: Callable[[str], None],
) -> int:
    """Climb all rungs; write ``ladder.json`` and ``ladder.md`` into the results, and the page.

    Args:
        rungs: In the order in which they are climbed.
        words: What pytest is told.
        results: A folder for all.
        page: Where the page is to be written, too; None: nowhere else.
        resume: Leave out rungs whose results are there already, of the same settings and words.
        say: Told what is going on.

    Returns:
        0, or 1 when a rung has no figures, or none of a scenario that another one has.

    Raises:
        ConfigurationError: Pytest is told what the ladder says itself, or the page cannot be written.
        ReportError: A result cannot be read or written.
    """
    check_words(words)
    if page is not None and not page.parent.is_dir():
        raise ConfigurationError(f"--page {page}: there is no folder {page.parent}; make it")
    if page is not None and page.is_dir():
        raise ConfigurationError(f"--page {page}: it is a folder; name a file in it")
    # A device is written into, where it lies.
    if page is not None and (page.is_file() or not page.exists()):
        folder = page.resolve().parent
        if not os.access(folder, os.W_OK):
            raise ConfigurationError(
                f"--page {page}: {folder} cannot be written to; name a file elsewhere"
            )
    climbed: list[Climbed] = []
    for rung in rungs:
        folder = results / rung.folder
        before = climbed_before(rung, words, folder) if resume else None
        if before is not None:
            say(f"{rung.name}: as it was measured before")
        climbed.append(before or climb(rung, words, folder, say))
        climbed = _compared(climbed, say)
        document = ladder_document(climbed, words)
        _write(results / "ladder.json", json.dumps(document, indent=1, ensure_ascii=False))
        _write(results / "ladder.md", ladder_page(document))
    say(str(results / "ladder.md"))
    if page is not None:
        _write(page, ladder_page(document))
        say(str(page))
    return 1 if any(one.trouble for one in climbed) else 0


def _compared(climbed: Sequence[Climbed], say: Callable[[str], None]) -> list[Climbed]:
    """All of them, where those that lack a scenario of the others say so."""
    scenarios = dict.fromkeys(record.scenario for one in climbed for record in one.records)
    compared = []
    for one in climbed:
        had = {record.scenario for record in one.records}
        missing = [scenario for scenario in scenarios if scenario not in had]
        if missing and one.trouble is None:
            one = without(one, missing)
            say(f"{one.rung.name}: {one.trouble}")
        compared.append(one)
    return compared


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror or error}") from error
