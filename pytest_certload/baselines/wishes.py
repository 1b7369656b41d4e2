"""What is a session asked to do with baselines? To compare with one, to save one, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pytest_certload.errors import BaselineError
from pytest_certload.report.record import ComparisonRecord, RunRecord

from .baseline import from_record
from .comparison import compare, require_whole
from .limits import Limit
from .machine import this_machine
from .store import Store

__all__ = ["Wishes"]


@dataclass(kw_only=True)
class Wishes:
    """What the options ask for.

    Attributes:
        store: Where baselines lie.
        baseline: The name of the one to compare with; None: of none.
        limits: What may not have gone up by more.
        anyway: Compare also another machine, stack or load.
        undecided: As in ``compare``.
        save_as: The name to save under; None: nothing is saved.
        saved: The files that were written.
        not_saved: The scenarios that were not saved, and what became of them.
        met: The limits that were held to a run.
    """

    store: Store
    baseline: str | None = None
    limits: Sequence[Limit] = ()
    anyway: bool = False
    undecided: str = "warn"
    save_as: str | None = None
    saved: list[Path] = field(default_factory=list)
    not_saved: dict[str, str] = field(default_factory=dict)
    met: set[Limit] = field(default_factory=set)

    def check(self) -> None:
        """Make sure, before minutes of load are spent, that it can be done.

        Raises:
            BaselineError: There is no baseline of that name, a file of it is broken, a limit is on a step
                that no scenario of it has, or nothing can be saved.
        """
        if self.save_as is not None:
            self.store.check_writable(self.save_as, this_machine())
        if self.baseline is None:
            return
        latest = [history.latest for history in self.store.histories(self.baseline)]
        known = sorted({step.name for run in latest for step in run.steps})
        for limit in self.limits:
            if limit.step is not None and limit.step not in known:
                raise BaselineError(
                    f"--certload-compare: {limit.text!r} is about step {limit.step}, which no scenario "
                    f"of baseline {self.baseline} has; steps are {', '.join(known) or 'none'}"
                )

    def compare(self, record: RunRecord) -> ComparisonRecord | None:
        """Put a run beside the baseline; None when that is not asked for.

        Raises:
            BaselineError: There is none of this scenario, or the two cannot be compared.
        """
        if self.baseline is None:
            return None
        found = self.store.find(self.baseline, record.scenario, this_machine())
        run = from_record(record)
        self.met |= {
            limit for limit in self.limits if run.part(limit.step) or found.latest.part(limit.step)
        }
        require_whole(run, found.latest, name=self.baseline)
        return compare(
            run,
            found.latest,
            name=self.baseline,
            limits=self.limits,
            undecided=self.undecided,
            anyway=self.anyway,
        )

    def save(self, records: Sequence[RunRecord]) -> list[str]:
        """Save the runs of a test that passed, all or none, if that is asked for.

        Returns:
            Why they were not: a generator was disturbed, or a file cannot be read or written.
        """
        if self.save_as is None:
            return []
        now = datetime.now(UTC).isoformat(timespec="seconds")
        # They are saved at the end of their test's call, which has raised nothing.
        runs = [
            from_record(
                replace(r, state="passed" if r.state == "running" else r.state), saved_at=now
            )
            for r in records
        ]
        try:
            for run in runs:
                self.store.check(run, name=self.save_as)
            for run in runs:
                self.saved.append(self.store.save(run, name=self.save_as))
        except BaselineError as error:
            return [str(error)]
        return []

    def leave_out(self, record: RunRecord) -> None:
        """Note that a run of a test that failed is not saved."""
        if self.save_as is not None:
            self.not_saved[record.scenario] = record.state

    def closing_lines(self) -> list[str]:
        """What was saved, what was not, and which limits were held to nothing."""
        lines = [
            f"limit {limit.text!r} was held to no load of this session: none had such a step"
            for limit in self.limits
            if self.baseline is not None and limit not in self.met
        ]
        if self.saved:
            names = ", ".join(path.stem for path in self.saved)
            folder = self.saved[0].parent
            lines.append(f"saved as baseline {self.save_as}: {names}, in {_relative(folder)}")
        saved = {path.stem for path in self.saved}
        # Of a test that was run again a later attempt may have passed.
        left = [f"{name} ({state})" for name, state in self.not_saved.items() if name not in saved]
        if left:
            lines.append(f"not saved as baseline {self.save_as}: {', '.join(left)}")
        return lines


def _relative(folder: Path) -> Path:
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
