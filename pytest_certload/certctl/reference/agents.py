"""What becomes of a heartbeat? Its agent's row, and a sweep over those that fell silent."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import datetime, timedelta
from typing import Any, Literal

import asyncpg

from .clock import Clock
from .web import Answer, Request, api_error, json_answer

__all__ = ["HEARTBEAT_PATH", "Row", "find_agent", "heartbeat", "mark_stale_offline", "sweep"]

HEARTBEAT_PATH = "/heartbeat"
METADATA = ("hostname", "os", "architecture", "ip_address", "version")
_JITTER = 0.1

_COLUMNS = (
    "id, name, hostname, status, last_heartbeat_at, registered_at, api_key_hash, os, architecture,"
    " ip_address, version, retired_at, retired_reason"
)
_SELECT = f"SELECT {_COLUMNS} FROM agents WHERE id = $1"
# The next one in order; the first one after the last.
_NEIGHBOUR = f"""
SELECT {_COLUMNS} FROM agents WHERE id = coalesce(
    (SELECT min(id) FROM agents WHERE id > $1 AND retired_at IS NULL),
    (SELECT min(id) FROM agents WHERE retired_at IS NULL)
)
"""
_SELECT_ALL = f"SELECT {_COLUMNS} FROM agents WHERE retired_at IS NULL"
# last_heartbeat_at is indexed, so this is never a heap-only update: all indexes get entries.
_HEARTBEAT = f"""
UPDATE agents SET last_heartbeat_at = $2, {
    ", ".join(
        f"{name} = CASE WHEN ${number}::text = '' THEN {name} ELSE ${number} END"
        for number, name in enumerate(METADATA, 3)
    )
} WHERE id = $1 AND retired_at IS NULL
"""
_HEARTBEAT_ALONE = "UPDATE agents SET last_heartbeat_at = $2 WHERE id = $1 AND retired_at IS NULL"
_UPDATE = """
UPDATE agents SET name = $2, hostname = $3, status = $4, last_heartbeat_at = $5,
    api_key_hash = $6, os = $7, architecture = $8, ip_address = $9, version = $10
WHERE id = $1
"""
_log = logging.getLogger(__name__)

#: Where a heartbeat is stored: anywhere but in its agent's own row is a fault.
Row = Literal["own", "next", "none"]


async def find_agent(connection: Any, agent_id: str) -> Any:
    """The row of an agent, None when there is none; a retired one is found like any other."""
    return await connection.fetchrow(_SELECT, agent_id)


async def heartbeat(
    connection: Any, request: Request, agent_id: str, *, now: datetime, row: Row
) -> Answer:
    """``POST /api/v1/agents/{id}/heartbeat``.

    Args:
        connection: To the database.
        request: With metadata in its body, all of it optional.
        agent_id: The agent.
        now: The server's time.
        row: Whose row it is stored in: ``own``, or, which are faults, ``next`` or ``none``.
    """
    agent = await find_agent(connection, agent_id)
    if agent is None:
        # certctl means to answer 404 and does not: its comparison with the error never matches.
        return api_error(500, "Failed to record heartbeat", request.id)
    if agent["retired_at"] is not None:
        return api_error(410, "Agent has been retired", request.id)
    if row == "next":
        agent = await connection.fetchrow(_NEIGHBOUR, agent_id)
    if row != "none":
        metadata = _metadata(request)
        if any(metadata.values()):
            values = (metadata[name] for name in METADATA)
            await connection.execute(_HEARTBEAT, agent["id"], now, *values)
        else:
            await connection.execute(_HEARTBEAT_ALONE, agent["id"], now)
        if agent["status"] != "Online":
            # Written from the row as it was read: the time of the heartbeat just stored is
            # overwritten with the old one. certctl does the same.
            await connection.execute(_UPDATE, *_update_values(agent, "Online"))
    return json_answer({"status": "heartbeat_recorded"})


def _metadata(request: Request) -> dict[str, str]:
    document = request.json_object() or {}
    # null leaves a text of certctl's empty.
    given = {name: document[name] for name in METADATA if document.get(name) is not None}
    values = {**dict.fromkeys(METADATA, ""), **given}
    # A value of another type makes the whole document unreadable to certctl.
    if not all(isinstance(value, str) for value in values.values()):
        return dict.fromkeys(METADATA, "")
    return values


def _update_values(agent: Any, status: str) -> tuple[object, ...]:
    return (
        agent["id"], agent["name"], agent["hostname"], status, agent["last_heartbeat_at"],
        agent["api_key_hash"], agent["os"], agent["architecture"], agent["ip_address"],
        agent["version"],
    )  # fmt: skip


async def mark_stale_offline(connection: Any, limit: datetime) -> int:
    """Set agents Offline whose last heartbeat is older than ``limit``; returns how many.

    As in certctl, all agents are read first and each stale one is written as it was read: a
    heartbeat in between is overwritten.
    """
    stale = [
        agent
        for agent in await connection.fetch(_SELECT_ALL)
        if agent["status"] == "Online"
        and agent["last_heartbeat_at"] is not None
        and agent["last_heartbeat_at"] < limit
    ]
    for agent in stale:
        await connection.execute(_UPDATE, *_update_values(agent, "Offline"))
    return len(stale)


async def sweep(pool: asyncpg.Pool[Any], seconds: float, clock: Clock) -> None:
    """Mark stale agents at once, and then again at the interval, until cancelled."""
    while True:
        try:
            async with pool.acquire() as connection:
                await mark_stale_offline(connection, clock() - timedelta(seconds=seconds))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            _log.error("agent health sweep failed: %s", error)
        await asyncio.sleep(seconds * random.uniform(1 - _JITTER, 1 + _JITTER))
