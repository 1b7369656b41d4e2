"""Which errors does a load test raise? One tree, told apart by what the reader must do.

``CertloadError`` means the run could not be made or trusted as asked: the message names
the cause and the remedy and is printed without a traceback.  ``ScaleFailure`` means the
run was made and its verdict is a failure; it is an ``AssertionError``, so that it counts
as a failed test and not as an error.
"""

from __future__ import annotations

__all__ = [
    "BaselineError",
    "CertloadError",
    "ConfigurationError",
    "IntegrityFailed",
    "InvalidRun",
    "PreflightError",
    "ReportError",
    "ScaleFailure",
    "ScenarioError",
    "SeedError",
    "StackDied",
    "StackError",
    "StatementError",
    "ThresholdsMissed",
]


class CertloadError(Exception):
    """Base of every error that is explained by its message alone."""


class ConfigurationError(CertloadError):
    """An option, an argument or a marker keyword has a value that cannot be used."""


class StackError(CertloadError):
    """Postgres or the server under test could not be started, reached or trusted."""


class StatementError(StackError):
    """Postgres refused a statement.

    Attributes:
        sqlstate: The five characters of its error class.
        reason: Its message, with the detail if it gave one.
        position: Where in the statement, in characters from 1; None when it does not say.
    """

    def __init__(self, sqlstate: str, reason: str, position: int | None) -> None:
        super().__init__(f"Postgres refused a statement: {reason} (SQLSTATE {sqlstate})")
        self.sqlstate = sqlstate
        self.reason = reason
        self.position = position


class SeedError(StackError):
    """A seed file is missing, broken, or left another number of rows than it declares."""


class PreflightError(StackError):
    """The server, its data or this machine is not in the state that the load needs; none was made."""


class ReportError(CertloadError):
    """A result file could not be written."""


class BaselineError(CertloadError):
    """A baseline could not be found, read or written, or a run cannot be compared with it."""


class ScaleFailure(AssertionError):
    """Base of the verdicts: the load was made and the run is not a pass."""


class InvalidRun(ScaleFailure):
    """The offered load was not really offered, so neither pass nor server fault is proven."""


class StackDied(ScaleFailure):
    """The server or Postgres ended while it was under load."""


class IntegrityFailed(ScaleFailure):
    """The answers were right and the data is not: acknowledged work is not in the database."""


class ThresholdsMissed(ScaleFailure):
    """Thresholds that were written as text did not hold; the message lists every one."""


class ScenarioError(ScaleFailure):
    """The scenario's own code raised, so its iterations prove nothing."""
