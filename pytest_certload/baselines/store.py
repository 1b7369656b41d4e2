"""Where do baselines lie? ``<folder>/<machine>/<name>/<scenario>.json``, small files that are committed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_certload.errors import BaselineError
from pytest_certload.plain import read_record
from pytest_certload.report.whole_file import write_text

from .baseline import Baseline
from .machine import Machine

__all__ = ["FORMAT", "History", "Store", "read_history"]

#: Of the files; raised when older readers would misread them.
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class History:
    """What was saved of a scenario under one name on one machine.

    Attributes:
        name: The baseline's.
        scenario: The scenario's.
        machine: On which it was measured.
        saved: The runs, the oldest first; at least one.
    """

    name: str
    scenario: str
    machine: Machine
    saved: tuple[Baseline, ...]

    @property
    def latest(self) -> Baseline:
        """What runs are compared with."""
        return self.saved[-1]

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON; the machine stands there once, and not with each run."""
        return {
            "format": FORMAT,
            "name": self.name,
            "scenario": self.scenario,
            "machine": asdict(self.machine),
            "saved": [
                {k: v for k, v in one.to_dict().items() if k not in ("machine", "scenario")}
                for one in self.saved
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Store:
    """A folder of baselines.

    Attributes:
        folder: It need not exist.
    """

    folder: Path

    def path(self, machine: Machine, name: str, scenario: str) -> Path:
        """Where a scenario's baseline lies."""
        return self.folder / machine.folder / name / f"{scenario}.json"

    def names(self) -> list[str]:
        """The names that baselines were saved under, on any machine."""
        return sorted({path.parent.name for path in self._files()})

    def histories(self, name: str | None = None) -> list[History]:
        """All that was saved under a name, or under any; ordered by machine, name and scenario.

        Raises:
            BaselineError: Nothing was saved under that name, or a file cannot be read.
        """
        found = [read_history(path) for path in self._files() if name in (None, path.parent.name)]
        if name is not None and not found:
            raise self._unknown(name)
        return found

    def find(self, name: str, scenario: str, machine: Machine) -> History:
        """The baseline of a scenario on a machine; if there is none, the latest of another machine.

        Raises:
            BaselineError: There is none, or it cannot be read; the message names those there are.
        """
        here = self.path(machine, name, scenario)
        if here.exists():
            return read_history(here)
        found = self.histories(name)
        others = [history for history in found if history.scenario == scenario]
        if not others:
            known = ", ".join(sorted({history.scenario for history in found}))
            raise BaselineError(
                f"baseline {name} has no scenario {scenario}, but {known}; add it with "
                f"--certload-save {name}"
            )
        return max(others, key=lambda history: history.latest.saved_at)

    def check(self, run: Baseline, *, name: str) -> None:
        """Make sure that a run is one to save.

        Raises:
            BaselineError: It proves nothing that others could be held to, or what was saved of its scenario
                is of another machine or another test, or cannot be read.
        """
        reason = _unfit(run)
        if reason is not None:
            raise BaselineError(
                f"scenario {run.scenario} is not saved as baseline {name}: {reason}; what is "
                "compared with a baseline must be able to trust it, so run it again"
            )
        assert run.machine is not None
        path = self.path(run.machine, name, run.scenario)
        if not path.exists():
            return
        before = read_history(path)
        if before.machine != run.machine:
            raise BaselineError(
                f"scenario {run.scenario} is not saved as baseline {name}: {path} is of another machine "
                f"({before.machine}, not {run.machine}); save under another name"
            )
        if None not in (before.latest.nodeid, run.nodeid) and before.latest.nodeid != run.nodeid:
            raise BaselineError(
                f"scenario {run.scenario} is not saved as baseline {name}: {path} is of another test "
                f"({before.latest.nodeid}, not {run.nodeid}); save under another name, give one of the "
                "scenarios another name, or delete the file if the test was moved"
            )

    def save(self, run: Baseline, *, name: str) -> Path:
        """Append a run to what was saved under a name.

        Raises:
            BaselineError: It is not one to save, see ``check``, or the file cannot be written.
        """
        self.check(run, name=name)
        assert run.machine is not None
        path = self.path(run.machine, name, run.scenario)
        before = read_history(path).saved if path.exists() else ()
        history = History(
            name=name, scenario=run.scenario, machine=run.machine, saved=(*before, run)
        )
        document = json.dumps(history.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, document)
        except OSError as error:
            raise self._not_written(path, error) from error
        return path

    def check_writable(self, name: str, machine: Machine) -> None:
        """Make sure, before minutes of load are spent, that runs can be saved under a name.

        Raises:
            BaselineError: The folder cannot be made or written to, or a file in it is broken.
        """
        folder = self.folder / machine.folder / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            there = next(one for one in (folder, *folder.parents) if one.exists())
            with tempfile.NamedTemporaryFile(dir=there, prefix=".certload-"):
                pass
        except OSError as error:
            raise self._not_written(folder, error) from error
        for path in self._files():
            if path.parent == folder:
                read_history(path)

    def _not_written(self, path: Path, error: OSError) -> BaselineError:
        return BaselineError(
            f"--certload-baselines {self.folder}: {path.name} cannot be written "
            f"({error.strerror or error}); name a folder that is writable and has space left"
        )

    def _files(self) -> Iterator[Path]:
        # What begins with a dot is being written.
        yield from sorted(p for p in self.folder.glob("*/*/*.json") if p.name[0] != ".")

    def _unknown(self, name: str) -> BaselineError:
        names = self.names()
        known = f"those there are: {', '.join(names)}" if names else "there is none"
        return BaselineError(
            f"there is no baseline {name} in {self.folder}: {known}; save one with "
            f"--certload-save {name}"
        )


def read_history(path: Path) -> History:
    """Read a file of a store.

    Raises:
        BaselineError: It cannot be read, or is no such file, or was written by a newer version.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BaselineError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BaselineError(f"{path} is no JSON: {error}") from error
    try:
        return _history(document)
    except BaselineError as error:
        raise BaselineError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BaselineError(
            f"{path}: it is no baseline: {type(error).__name__}: {error}"
        ) from error


def _history(document: Mapping[str, Any]) -> History:
    form = document["format"]
    if not isinstance(form, int) or form > FORMAT:
        raise BaselineError(
            f"it has format {form!r} and this pytest-certload reads up to {FORMAT}; upgrade it"
        )
    machine, scenario = document["machine"], document["scenario"]
    saved = tuple(
        Baseline.from_dict({"scenario": scenario, "machine": machine, **one})
        for one in document["saved"]
    )
    if not saved:
        raise BaselineError("it holds no run")
    return History(
        name=document["name"],
        scenario=scenario,
        machine=read_record(Machine, machine),
        saved=saved,
    )


def _unfit(run: Baseline) -> str | None:
    """Why others should not be held to a run; None: they may."""
    if run.machine is None:
        return "its machine is not known, as its summary is of an older version"
    if run.state != "passed":
        return f"the run {'was interrupted' if run.state == 'interrupted' else 'failed'}"
    return None if run.validity == "valid" else f"the run is {run.validity}"
