"""What has this session run? Its runs, and their baselines; made when the first load test asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_certload.options import Settings
from pytest_certload.redaction import Redactor

from .voice import Voice

if TYPE_CHECKING:
    from pytest_certload.baselines.wishes import Wishes
    from pytest_certload.bookkeeping import Bookkeeper, Run
    from pytest_certload.report.record import RunRecord

__all__ = ["Runs"]


class Runs:
    """The runs of a session.

    Attributes:
        kept: Who keeps them; None as long as no test has asked for load.
    """

    def __init__(self, settings: Settings, redactor: Redactor, voice: Voice) -> None:
        self._settings = settings
        self._redactor = redactor
        self._voice = voice
        self.kept: Bookkeeper | None = None
        self._wishes: Wishes | None = None

    @property
    def bookkeeper(self) -> Bookkeeper:
        """Who keeps the runs."""
        if self.kept is None:
            from pytest_certload.bookkeeping import Bookkeeper

            self.kept = Bookkeeper(
                settings=self._settings,
                announce=self._voice.announce,
                live=self._voice.begin_live(),
                redactor=self._redactor,
            )
        return self.kept

    def of_test(self, nodeid: str) -> Sequence[Run]:
        """The runs that a test has made, of those that made load."""
        made = () if self.kept is None else self.kept.of_test(nodeid)
        return [run for run in made if run.result is not None]

    def records(self) -> Sequence[RunRecord]:
        """What is written of all of them."""
        return [] if self.kept is None else self.kept.records()

    @property
    def wishes(self) -> Wishes:
        """What the session is asked to do with baselines."""
        if self._wishes is None:
            from pytest_certload.baselines.store import Store
            from pytest_certload.baselines.wishes import Wishes

            name, limits = self._settings.compare or (None, ())
            self._wishes = Wishes(
                store=Store(folder=self._settings.baselines),
                baseline=name,
                limits=limits,
                anyway=self._settings.compare_anyway,
                undecided=self._settings.undecided,
                save_as=self._settings.save,
            )
        return self._wishes
