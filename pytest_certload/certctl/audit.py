"""Which audit rows does certctl owe for a load, and do they form one chain?

certctl writes a row for every request that passed authentication, after its answer. Each row holds
the hash of the one that was written before it, and one locked row holds the hash of the last.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Mapping
from datetime import datetime
from time import monotonic
from typing import Any

from pytest_certload.database import Database
from pytest_certload.engine.traffic import Traffic

__all__ = ["NOT_AUDITED", "AuditRows", "acknowledged", "at_most", "find_break"]

#: What is refused before a request is anybody's leaves no row: 401, and 429 of the global limiter.
NOT_AUDITED = (401, 429)
#: So many looks in a row must show the same. Not for so long: a look may take any time.
_STILL_LOOKS = 4
_STILL_LIMIT = 5.0
_POLL_SECONDS = 0.05

# Rows are told from those before by the server's own clock, whatever the database's says.
_BEGIN = """
SELECT coalesce((SELECT row_hash FROM audit_chain_head WHERE id = 1), '') AS head,
       coalesce((SELECT max(timestamp) FROM audit_events WHERE action LIKE 'api\\_%'), '-infinity')
           AS latest
"""
_COUNT = "SELECT count(*) FROM audit_events WHERE timestamp > $1 AND action LIKE 'api\\_%'"
# Eight octets of each hash, packed: a row is 17 octets here, and Python objects in the hundreds.
# Rows that were not caused by requests are on the chain; their times may be another clock's.
_LINKS = """
SELECT coalesce((SELECT row_hash FROM audit_chain_head WHERE id = 1), '') AS head,
       string_agg(
           decode(left(coalesce(nullif(prev_hash, ''), repeat('0', 16)), 16), 'hex')
               || decode(left(row_hash, 16), 'hex')
               || CASE WHEN timestamp > $1 AND action LIKE 'api\\_%' THEN '\\x01'::bytea ELSE '\\x00'::bytea END,
           '') AS links
FROM audit_events WHERE timestamp > $1 - interval '1 minute'
"""
_LINK = struct.Struct(">QQ?")


class AuditRows:
    """The audit rows of requests, and the chain of all rows, since a load began."""

    def __init__(self) -> None:
        self._head = ""
        self._latest: datetime | None = None

    async def begin(self, database: Database) -> None:
        """Wait until the rows of earlier requests are written, and note where the chain stands."""
        start, still = monotonic(), 0
        row = await _begin(database)
        while still < _STILL_LOOKS and monotonic() < start + _STILL_LIMIT:
            await asyncio.sleep(_POLL_SECONDS)
            latest = await _begin(database)
            still = still + 1 if latest == row else 0
            row = latest
        self._head, self._latest = row["head"], row["latest"]

    async def done(self, database: Database) -> int:
        """How many requests have their row."""
        return int(await database.fetchval(_COUNT, self._latest))

    async def broken(self, database: Database) -> str | None:
        """Where the chain is broken that leads from the row before the load to the last one."""
        (row,) = await database.fetch(_LINKS, self._latest)
        return find_break(
            _LINK.iter_unpack(row["links"] or b""), _digest(self._head), _digest(row["head"])
        )


async def _begin(database: Database) -> Mapping[str, Any]:
    (row,) = await database.fetch(_BEGIN)
    return row


def _digest(row_hash: str) -> int:
    return int(row_hash[:16] or "0", 16)


def acknowledged(traffic: Traffic, unaudited: tuple[int, ...] = NOT_AUDITED) -> int:
    """How many rows there must be: one for each answer to a request that was somebody's.

    Args:
        traffic: The load's.
        unaudited: Statuses of answers that leave no row.
    """
    return traffic.answered(but=unaudited)


def at_most(traffic: Traffic, unaudited: tuple[int, ...] = NOT_AUDITED) -> int:
    """How many rows there may be: a request without an answer may have one."""
    return acknowledged(traffic, unaudited) + traffic.unanswered


def find_break(links: Iterable[tuple[int, int, bool]], first: int, last: int) -> str | None:
    """What is wrong with a chain of rows; None: nothing.

    Args:
        links: Of each row the hash before it, its own, and whether it must be in the chain; those
            of which it is not known may be left out.
        first: Hash of the row that the chain begins after.
        last: Hash of the row that it must end with.
    """
    after: dict[int, int] = {}
    unseen: set[int] = set()
    for before, own, new in links:
        # A fork among the rows before the load is not the load's.
        if before in after and (new or after[before] in unseen):
            return f"the chain forks: two rows follow the one whose hash begins with {before:016x}"
        after[before] = own
        if new:
            unseen.add(own)
    at, walked = first, 0
    while at != last:
        if at not in after:
            return (
                f"the chain breaks after {walked:,} rows: none follows the one whose hash begins "
                f"with {at:016x}"
            )
        at = after.pop(at)
        walked += 1
        unseen.discard(at)
    if unseen:
        return f"{len(unseen):,} rows are not in the chain, such as {min(unseen):016x}"
    return None
