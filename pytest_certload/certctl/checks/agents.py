"""Is the fleet of agents as the scenario wants it, and does the server take its heartbeats?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pytest_certload.certctl.fleet import AGENT_IDS, AGENTS, check_size
from pytest_certload.database import Database
from pytest_certload.errors import PreflightError
from pytest_certload.proof.preflight import Preflight

from .asking import CLOCK, Asker, apart, unexpected

__all__ = ["AgentChecks"]

_WRITE_SECONDS = 5.0
_METADATA = ("version", "hostname", "os", "architecture", "ip_address")


class AgentChecks(Asker):
    """The checks before heartbeats."""

    async def agents(self, _: Preflight) -> str:
        """The fleet has its size, and every agent is Online."""
        expected = AGENTS if self.fleet is None else self.fleet
        (row,) = await self.database.fetch(
            "SELECT count(*) AS all, count(*) FILTER (WHERE status <> 'Online') AS offline, "
            "count(*) FILTER (WHERE retired_at IS NOT NULL) AS retired "
            "FROM agents WHERE id LIKE $1",
            AGENT_IDS,
        )
        check_size("agents", row["all"], expected, "02_agent_fleet.sql")
        if row["offline"] or row["retired"]:
            raise PreflightError(
                f"of {row['all']:,} agents {row['offline']:,} are not Online and "
                f"{row['retired']:,} are retired; set them back by certctl.agents()"
            )
        return f"{row['all']:,} agents, all Online"

    async def heartbeat(self, preflight: Preflight) -> str:
        """The token may send heartbeats: one is sent as an agent's, found, and taken back."""
        async with self.database.connect() as database:
            rows = await database.fetch(
                f"SELECT id, {', '.join(_METADATA)}, last_heartbeat_at, clock_timestamp() AS now "
                "FROM agents WHERE id LIKE $1 AND status = 'Online' ORDER BY id LIMIT 1",
                AGENT_IDS,
            )
            if not rows:
                raise PreflightError(
                    "no agent of the fleet is Online; call certctl.agents() before"
                )
            (agent,) = rows
            path = f"/api/v1/agents/{agent['id']}/heartbeat"
            metadata = {name: agent[name] for name in _METADATA}
            answer = await self.ask_audited(preflight, "POST", path, json=metadata)
            if answer.status != 200 or answer.json() != {"status": "heartbeat_recorded"}:
                raise unexpected("POST", path, answer)
            return await _take_back(database, agent)


async def _take_back(database: Database, agent: Mapping[str, Any]) -> str:
    """Find the heartbeat of an agent in its row, and set the row back."""
    (row,) = await database.fetch(
        "SELECT last_heartbeat_at AS written, clock_timestamp() AS now FROM agents WHERE id = $1",
        agent["id"],
    )
    written: datetime = row["written"]
    if written == agent["last_heartbeat_at"]:
        raise PreflightError(
            f"the heartbeat of {agent['id']} was acknowledged and is not in the database: the server "
            "does not store it, or stores it in another database (--certload-dsn)"
        )
    await database.execute(
        "UPDATE agents SET last_heartbeat_at = $2 WHERE id = $1",
        agent["id"],
        agent["last_heartbeat_at"],
    )
    slack = timedelta(seconds=_WRITE_SECONDS)
    if not agent["now"] - slack <= written <= row["now"] + slack:
        off = (written - row["now"]).total_seconds()
        raise PreflightError(
            f"the server wrote {written.astimezone(UTC):%H:%M:%S} UTC as the time of a heartbeat, "
            f"{apart(off)} the database's clock; {CLOCK}"
        )
    return f"the token may; the heartbeat of {agent['id']} was stored with the right time"
