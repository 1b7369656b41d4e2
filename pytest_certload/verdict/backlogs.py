"""How fast was work done that waited when the load began? Figures to put conditions on."""

from __future__ import annotations

from pytest_certload.errors import ConfigurationError
from pytest_certload.proof.findings import BacklogFinding

from .measure import Judgements, Kind, Measure

__all__ = ["BacklogResult"]


class BacklogResult:
    """The pace of work that waited when the load began, such as jobs in a queue.

    It is read from the database every so often, so a moment is that of the first reading which
    shows it: late by the time between two readings at most, and never early.

    Args:
        found: What was seen of it.
        judgements: Every condition is appended here.

    Raises:
        ConfigurationError: The work did not wait: the load made it.
    """

    def __init__(self, found: BacklogFinding, judgements: Judgements) -> None:
        if found.wanted and found.moments and not found.waited:
            raise ConfigurationError(
                f"backlog: all the {found.name} are not wanted from the begin of the load on, so there is "
                "no share of them to wait for; caught_up() holds that they are done"
            )
        self._found = found
        self._judgements = judgements

    def done_after(self, percent: float) -> Measure:
        """From the begin of the load until so much of the work was done.

        Args:
            percent: Above 0, and at most 100.

        Raises:
            ConfigurationError: It is no such share.
        """
        if isinstance(percent, bool) or not 0 < percent <= 100:
            raise ConfigurationError(f"done_after: {percent!r} is no percentage above 0 and to 100")
        seconds = self._found.when_done(percent)
        return Measure(
            None if seconds is None else seconds * 1e9,
            kind=Kind.DURATION,
            metric=f"time to {percent:g} % of the {self._found.name}",
            step=None,
            judgements=self._judgements,
            absent=f"never: {self._found.done:,} of {self._found.wanted:,} were done",
        )

    @property
    def rate(self) -> Measure:
        """How much was done a second, from the begin of the load until all was done, or the most."""
        return Measure(
            self._found.rate,
            kind=Kind.RATE,
            metric=f"rate of the {self._found.name}",
            step=None,
            judgements=self._judgements,
            absent="none was done",
        )

    def __repr__(self) -> str:
        return f"<backlog {self._found.name}: {self._found.done:,} of {self._found.wanted:,} done>"
