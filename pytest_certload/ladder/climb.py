"""How is a ladder climbed? One pytest session a rung, what came of it read from its summaries."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_certload.baselines.machine import this_machine
from pytest_certload.errors import ConfigurationError, ReportError
from pytest_certload.report.record import RunRecord

from .rungs import Rung

__all__ = ["DEFAULT", "LOG", "Climbed", "check_words", "climb", "climbed_before", "without"]

#: What pytest is told when nobody says.
DEFAULT = ("-m", "scale")
#: What pytest said, beside the summaries of a rung.
LOG = "pytest.log"
#: What was run, beside them.
_DONE = "rung.json"
_TAKEN = "--certload-results"
_LAST_LINES = 5
_PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 1.0
# Pytest's exit codes of sessions in which tests were run: all passed, some failed.
_RAN = (0, 1)


@dataclass(frozen=True, kw_only=True)
class Climbed:
    """What came of one rung.

    Attributes:
        rung: The rung.
        folder: Where its results lie.
        exit_code: Pytest's.
        seconds: How long its session took.
        records: Its runs, in the order in which they were made; none: there was no load.
        trouble: Why there are none, or not all, in pytest's words; None: nothing is missing.
    """

    rung: Rung
    folder: Path
    exit_code: int
    seconds: float
    records: tuple[RunRecord, ...]
    trouble: str | None


def check_words(words: Sequence[str]) -> None:
    """Refuse what the ladder says to pytest itself.

    Raises:
        ConfigurationError: It is among the words.
    """
    if any(word.partition("=")[0] == _TAKEN for word in words):
        raise ConfigurationError(
            f"{_TAKEN} cannot be given to pytest here: each rung has a folder of its own; "
            "say --results to certload ladder"
        )


def climb(rung: Rung, words: Sequence[str], folder: Path, say: Callable[[str], None]) -> Climbed:
    """Run pytest on a rung.

    Args:
        rung: What its stack is like.
        words: Pytest's command line.
        folder: For its results; an earlier run's summaries in it are deleted.
        say: Told what is going on.

    Raises:
        ReportError: The folder cannot be written, or a summary in it not be read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob("summary-*"), *folder.glob(_DONE)):
            old.unlink()
        say(f"{rung.name}: pytest writes to {folder / LOG}")
        began = time.monotonic()
        with (folder / LOG).open("wb") as log:
            exit_code = _run([*words, *rung.options, f"{_TAKEN}={folder}"], log.fileno())
        seconds = time.monotonic() - began
        records = _read(folder)
    except OSError as error:
        raise ReportError(f"{folder}: {error.strerror or error}") from error
    trouble = None
    if exit_code not in _RAN or not records:
        trouble = f"pytest ended with {exit_code}: {_reason(folder)}"
    else:
        note = {"asked": _asked(rung, words), "exit_code": exit_code, "seconds": seconds}
        _note(folder, note)
    for record in records:
        say(f"{rung.name}: {record.scenario} {record.state}")
    if trouble:
        say(f"{rung.name}: {trouble}")
    return Climbed(
        rung=rung,
        folder=folder,
        exit_code=exit_code,
        seconds=seconds,
        records=tuple(records),
        trouble=trouble,
    )


def without(climbed: Climbed, missing: Sequence[str]) -> Climbed:
    """The same, with the scenarios that it lacks as its trouble; it is climbed again when a ladder is resumed.

    Raises:
        ReportError: Its folder cannot be read or written.
    """
    try:
        (climbed.folder / _DONE).unlink(missing_ok=True)
    except OSError as error:
        raise ReportError(f"{climbed.folder}: {error.strerror or error}") from error
    why = f"no figures of {', '.join(missing)}: {_reason(climbed.folder)}"
    return replace(climbed, trouble=why)


def _reason(folder: Path) -> str:
    """The error that pytest shows first, else its last lines."""
    try:
        lines = (folder / LOG).read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise ReportError(f"{folder}: {error.strerror or error}") from error
    errors = [
        line.partition(" ")[2].strip() for line in lines if line.startswith(("E  ", "ERROR: "))
    ]
    last = [line.strip() for line in lines if line.strip()][-_LAST_LINES:]
    return (errors or [" / ".join(last) or "it said nothing"])[0]


def climbed_before(rung: Rung, words: Sequence[str], folder: Path) -> Climbed | None:
    """What came of a rung when it was climbed with these settings and words; None: it was not.

    Raises:
        ReportError: A summary cannot be read.
    """
    try:
        note = json.loads((folder / _DONE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(note, dict) or note.get("asked") != _asked(rung, words):
        return None
    records = _read(folder)
    if not records:
        return None
    return Climbed(
        rung=rung,
        folder=folder,
        exit_code=note["exit_code"],
        seconds=note["seconds"],
        records=tuple(records),
        trouble=None,
    )


def _asked(rung: Rung, words: Sequence[str]) -> str:
    # What another machine measured is no rung of this ladder. A digest: there may be secrets among the words.
    asked = json.dumps([str(this_machine()), *words, *rung.options])
    return hashlib.sha256(asked.encode()).hexdigest()


def _note(folder: Path, note: Mapping[str, object]) -> None:
    try:
        (folder / _DONE).write_text(json.dumps(note, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise ReportError(f"{folder}: {error.strerror or error}") from error


def _run(words: Sequence[str], log: int) -> int:
    # A group of its own: whoever interrupts us, by a terminal or not, it is told by us and once.
    # Twice, and it would not remove what it has started.
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *words],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    try:
        return _wait(process)
    except BaseException:
        process.send_signal(signal.SIGINT)
        # What it leaves behind is stopped by the stack's guard.
        try:
            process.wait(_PATIENCE_SECONDS)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.terminate()
            try:
                process.wait(_PATIENCE_SECONDS)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.kill()
                process.wait()
        raise


def _wait(process: subprocess.Popen[bytes]) -> int:
    # Looks up at times: a signal that comes just before a wait ends none.
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_LOOK_SECONDS)


def _read(folder: Path) -> list[RunRecord]:
    records = []
    for file in folder.glob("summary-*.json"):
        try:
            records.append(RunRecord.from_dict(json.loads(file.read_text("utf-8"))))
        except (OSError, ValueError, ReportError) as error:
            raise ReportError(f"{file}: {error}") from error
    return sorted(records, key=lambda record: (record.started_at, record.scenario))
