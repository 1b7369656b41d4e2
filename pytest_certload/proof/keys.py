"""How are very many keys kept and compared? Packed one after the other, and by digest.

PYTEST_DONT_REWRITE: keys are added from the hot path.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

__all__ = ["DistinctKeys", "PackedKeys", "distinct"]

_DIGEST_SIZE = 8
#: So many keys that come more than once are named.
_MOST_NAMED = 5
_LONGEST_SHOWN = 120


class PackedKeys:
    """Keys in the order in which they were appended: their octets, and 8 more for each."""

    __slots__ = ("_ends", "_octets")

    def __init__(self) -> None:
        self._octets = bytearray()
        self._ends = array("Q")

    def append(self, key: object) -> None:
        """Add a key: text, or what ``str`` makes text of."""
        # What JSON may bring along and Postgres cannot hold is a key that is not there, no crash.
        self._octets += str(key).encode("utf-8", "surrogatepass")
        self._ends.append(len(self._octets))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, position: int) -> bytes:
        start = self._ends[position - 1] if position else 0
        return bytes(self._octets[start : self._ends[position]])

    def shown(self, position: int) -> str:
        """The key as text for a reader, shortened."""
        text = self[position].decode("utf-8", "replace")
        return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"

    def digests(self) -> NDArray[np.uint64]:
        """A digest of each key."""
        digests = bytearray()
        start = 0
        with memoryview(self._octets) as octets:
            for end in self._ends:
                digests += _digest(octets[start:end])
                start = end
        return np.frombuffer(digests, dtype=np.uint64)


def _digest(key: memoryview) -> bytes:
    return blake2b(key, digest_size=_DIGEST_SIZE).digest()


@dataclass(frozen=True, kw_only=True)
class DistinctKeys:
    """The different ones among keys.

    Attributes:
        positions: Where each one stands first.
        digests: Their digests, in the same order.
        repeated: How many stand there more than once.
        named: Some of these: all positions of each.
    """

    positions: NDArray[np.int64]
    digests: NDArray[np.uint64]
    repeated: int
    named: tuple[tuple[int, ...], ...]

    def not_in(self, others: DistinctKeys) -> NDArray[np.int64]:
        """Positions of those that are surely not among the others, in order.

        Of a million keys, one that is missing is taken for another one with a probability of
        5 in 10¹⁴; one that is there is never taken for missing.
        """
        # By sorting: older numpys choose a table for small integers, and overflow on large ones.
        missing = ~np.isin(self.digests, others.digests, kind="sort")
        return np.sort(self.positions[missing])


def distinct(keys: PackedKeys) -> DistinctKeys:
    """Tell the different ones: exactly, as keys with equal digests are compared themselves."""
    digests = keys.digests()
    order = np.argsort(digests, kind="stable")
    ordered = digests[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(keys)])
    lengths = np.diff(np.append(starts, len(keys)))
    others: list[int] = []
    repeated = 0
    named: list[tuple[int, ...]] = []
    for start, length in zip(starts[lengths > 1], lengths[lengths > 1], strict=True):
        alike: dict[bytes, list[int]] = {}
        for position in order[start : start + length].tolist():
            alike.setdefault(keys[position], []).append(position)
        # Stable: the group's first position is the first key's.
        others += [positions[0] for positions in alike.values()][1:]
        more = [tuple(positions) for positions in alike.values() if len(positions) > 1]
        repeated += len(more)
        named += more[: _MOST_NAMED - len(named)]
    positions = np.append(order[starts], np.array(others, dtype=np.int64))
    return DistinctKeys(
        positions=positions,
        digests=digests[positions],
        repeated=repeated,
        named=tuple(named),
    )
