"""How is a deployment target read? As certctl's repository does it."""

from __future__ import annotations

from typing import Any

__all__ = ["find_target"]

_SELECT = (
    "SELECT id, name, type, agent_id, config, coalesce(encrypted_config, ''::bytea), enabled,"
    " last_tested_at, coalesce(test_status, 'untested'), coalesce(source, 'database'), created_at,"
    " updated_at FROM deployment_targets WHERE id = $1"
)


async def find_target(connection: Any, target_id: str) -> Any:
    """The row of a target, None when there is none."""
    return await connection.fetchrow(_SELECT, target_id)
