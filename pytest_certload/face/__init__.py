"""What does a user of pytest see of a load test? Refusals, the live line, failures, the closing table.

One ``Face`` a pytest session, with a part for each matter. What is heavy to import is imported once a
load test is there.
"""

from __future__ import annotations

import pytest

from pytest_certload.errors import BaselineError, ReportError
from pytest_certload.options import Settings

from .keeper import Keeper
from .outputs import Outputs
from .runs import Runs
from .selection import Selection
from .verdicts import Verdicts
from .voice import Voice
from .words import Words, add_section

__all__ = ["FACE", "Face", "add_section"]


class Face:
    """The plugin's state in one pytest session.

    Attributes:
        settings: The options.
        redactor: Takes secrets out of all that is shown or written.
        voice: What is said while it runs.
        runs: What was run.
        selection: Which tests run.
        keeper: Which state of the stack a test begins with.
        verdicts: What comes of a test.
        words: How it says why it failed.
        outputs: What is told at the end.
    """

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.settings = settings
        self.redactor = settings.redactor()
        self.voice = Voice(config, self.redactor)
        self.runs = Runs(settings, self.redactor, self.voice)
        self.selection = Selection(config, settings, self._check_results)
        self.keeper = Keeper(self.runs, self.voice, self.redactor)
        self.verdicts = Verdicts(config, self.runs, self.voice)
        self.words = Words(self.runs, self.voice, self.redactor)
        self.outputs = Outputs(settings, self.redactor, self.runs, self.voice)

    def _check_results(self) -> None:
        from pytest_certload.report.summary_files import check_writable

        try:
            check_writable(self.settings.results)
            self.runs.wishes.check()
        except (BaselineError, ReportError) as error:
            raise pytest.UsageError(str(error)) from None


FACE = pytest.StashKey[Face]()
