"""Who is calling, and may they? Bearer keys, and the roles in the database, asked each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .config import Config, hash_key
from .web import Answer, Request, json_answer, text_answer

__all__ = [
    "FORBIDDEN",
    "UNKNOWN_PERMISSIONS",
    "Actor",
    "auth_check",
    "grant_roles",
    "identify",
    "is_allowed",
]

TENANT = "t-default"
DEMO_ACTOR = "actor-demo-anon"
FORBIDDEN = Answer(
    status=403,
    body=b'{"error":"Insufficient permissions"}\n',
    content_type="application/json; charset=utf-8",
)
#: The roles could not be asked for.
UNKNOWN_PERMISSIONS = Answer(
    status=500,
    body=b'{"error":"Internal error"}\n',
    content_type="application/json; charset=utf-8",
)
_PREFIX = "Bearer "
# All permissions of the actor, whichever is asked for: the choice is made outside the database.
_PERMISSIONS = """
SELECT DISTINCT permissions.name,
    CASE actor_roles.scope_type WHEN 'global' THEN role_permissions.scope_type
        ELSE actor_roles.scope_type END,
    CASE actor_roles.scope_type WHEN 'global' THEN role_permissions.scope_id
        ELSE actor_roles.scope_id END
FROM actor_roles
JOIN role_permissions ON role_permissions.role_id = actor_roles.role_id
JOIN permissions ON permissions.id = role_permissions.permission_id
WHERE actor_roles.actor_id = $1 AND actor_roles.actor_type = $2 AND actor_roles.tenant_id = $3
    AND (actor_roles.expires_at IS NULL OR actor_roles.expires_at > now())
    -- It holds where the role was granted for and where the role has it: of two scopes the narrower one.
    AND ('global' IN (actor_roles.scope_type, role_permissions.scope_type)
        OR (actor_roles.scope_type = role_permissions.scope_type
            AND actor_roles.scope_id IS NOT DISTINCT FROM role_permissions.scope_id))
"""
_ROLES = (
    "SELECT role_id FROM actor_roles WHERE actor_id = $1 AND actor_type = $2 AND tenant_id = $3"
)
# Without ON CONFLICT on what it grants: each start adds another row, as certctl's does.
_GRANT = """
INSERT INTO actor_roles (id, actor_id, actor_type, role_id, tenant_id)
VALUES ('ar-' || gen_random_uuid(), $1, 'APIKey', $2, $3)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """Whoever a request comes from."""

    name: str
    type: str
    admin: bool


def identify(config: Config, authorization: str | None) -> Actor | Answer:
    """The actor of an ``Authorization`` header, or the refusal."""
    if config.keys is None:
        return Actor(name=DEMO_ACTOR, type="Anonymous", admin=True)
    if not authorization:
        return text_answer(
            401,
            '{"error":"Authorization header required"}',
            headers={"WWW-Authenticate": 'Bearer realm="certctl"'},
        )
    if not authorization.startswith(_PREFIX) or len(authorization) == len(_PREFIX):
        return text_answer(
            401,
            '{"error":"Invalid Authorization header format, expected: Bearer <token>"}',
        )
    key = config.keys.get(hash_key(authorization.removeprefix(_PREFIX)))
    if key is None:
        return text_answer(401, '{"error":"Invalid API key"}')
    return Actor(name=key.name, type="APIKey", admin=key.admin)


async def is_allowed(connection: Any, actor: Actor, permission: str) -> bool:
    """Whether an actor's roles hold a permission everywhere."""
    rows = await connection.fetch(_PERMISSIONS, actor.name, actor.type, TENANT)
    return any(row[0] == permission and row[1] == "global" for row in rows)


async def auth_check(connection: Any, actor: Actor, _: Request) -> Answer:
    """``GET /api/v1/auth/check``: who the caller is and what they may do."""
    roles = [row[0] for row in await connection.fetch(_ROLES, actor.name, actor.type, TENANT)]
    rows = await connection.fetch(_PERMISSIONS, actor.name, actor.type, TENANT)
    return json_answer(
        {
            "status": "authenticated",
            "user": actor.name,
            "admin": actor.admin,
            "actor_id": actor.name,
            "actor_type": actor.type,
            "tenant_id": TENANT,
            "roles": roles,
            "effective_permissions": [_permission(row) for row in rows],
            "admin_via_role": "r-admin" in roles,
        }
    )


def _permission(row: Mapping[int, Any]) -> dict[str, object]:
    entry: dict[str, object] = {"permission": row[0], "scope_type": row[1]}
    if row[2] is not None:
        entry["scope_id"] = row[2]
    return entry


async def grant_roles(connection: Any, config: Config) -> None:
    """Give each key its role: administrators everything, all others reading."""
    for key in (config.keys or {}).values():
        admin = key.admin and "read-only-key" not in config.faults
        role = "r-admin" if admin else "r-viewer"
        await connection.execute(_GRANT, key.name, role, TENANT)
