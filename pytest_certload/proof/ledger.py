"""Which operations did the server acknowledge? Kept compactly while a load runs.

PYTEST_DONT_REWRITE: it is written from the hot path.
"""

from __future__ import annotations

from array import array
from time import monotonic_ns

from pytest_certload.engine.scenario import running_iteration
from pytest_certload.errors import ConfigurationError
from pytest_certload.units import format_duration

from .keys import PackedKeys

__all__ = ["Ledger", "Log", "instant"]

#: What stands for the iteration's number outside of one.
NO_ITERATION = 2**32 - 1


class Log:
    """Keys, each with its iteration and its moment: 20 octets beside the key.

    Attributes:
        keys: The keys.
        iterations: The index of the iteration that each came from; ``NO_ITERATION``: from none.
        moments: When, nanoseconds of the engine's clock.
    """

    __slots__ = ("iterations", "keys", "moments")

    def __init__(self) -> None:
        self.keys = PackedKeys()
        self.iterations = array("I")
        self.moments = array("q")

    def __len__(self) -> int:
        return len(self.keys)

    def note(self, key: object) -> None:
        """Add a key of the running iteration, now."""
        iteration = running_iteration()
        self.keys.append(key)
        self.iterations.append(NO_ITERATION if iteration is None else iteration.index)
        self.moments.append(monotonic_ns())

    def describe(self, position: int, did: str, begin: int) -> str:
        """An entry for a reader: ``job-17 (iteration 8,123, acknowledged 48.7 s into the load)``.

        Args:
            position: Which entry.
            did: What happened then.
            begin: When the measured window began, nanoseconds of the engine's clock.
        """
        number = self.iterations[position]
        which = "" if number == NO_ITERATION else f"iteration {number:,}, "
        when = instant(self.moments[position] - begin)
        return f"{self.keys.shown(position)} ({which}{did} {when})"


def instant(since: float) -> str:
    """A moment for a reader, from the nanoseconds since the measured window began."""
    where = "before the measured load" if since < 0 else "into the load"
    return f"{format_duration(abs(since))} {where}"


class Ledger:
    """What the server acknowledged, to be compared with the database after the load.

    ``load.ledger("renewal jobs")`` makes one. A key is what the database can be asked for: an id, a
    nonce, several columns joined.

    Args:
        name: What the keys are, in the plural.
        repeats: One key may be acknowledged more than once, as when rows are overwritten. By default
            that is a breach: two operations, and the work of one.

    Attributes:
        name, repeats: The same.
        asks: What was asked for.
        acknowledgements: What was acknowledged.
        compared: How many acknowledgements it had when it was compared with the database; None: never was.

    Raises:
        ConfigurationError: The name is none.
    """

    __slots__ = ("acknowledgements", "asks", "compared", "name", "repeats")

    def __init__(self, name: str, *, repeats: bool = False) -> None:
        if not str(name).strip():
            raise ConfigurationError(
                f'ledger: {name!r} is no name; say what its keys are: load.ledger("orders")'
            )
        self.name = name
        self.repeats = repeats
        self.asks = Log()
        self.acknowledgements = Log()
        self.compared: int | None = None

    def asked(self, key: object) -> None:
        """The iteration is about to ask for ``key``.

        Optional, for keys that the client knows before the answer: then what the database has and
        nobody acknowledged can be told from what nobody asked for.
        """
        self.asks.note(key)

    def acknowledged(self, key: object) -> None:
        """The server acknowledged ``key``: from now on it must be there."""
        self.acknowledgements.note(key)

    def __repr__(self) -> str:
        return f"<ledger {self.name}: {len(self.acknowledgements):,} acknowledged>"
