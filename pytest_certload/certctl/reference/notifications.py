"""Who is told of what was done? A row for each mail that certctl would send."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import asyncpg

__all__ = ["notify_owner", "notify_renewed"]

_OWNER = "SELECT id, name, email, team_id, created_at, updated_at FROM owners WHERE id = $1"
_NOTIFY = (
    "INSERT INTO notification_events (id, type, certificate_id, channel, recipient, message,"
    " sent_at, status, error, created_at)"
    " VALUES ($1, $2, $3, 'Email', $4, $5, NULL, 'pending', NULL, $6) RETURNING id"
)
_NOTIFIED = "UPDATE notification_events SET status = 'sent', sent_at = $2 WHERE id = $1"
_log = logging.getLogger(__name__)


async def notify_owner(
    connection: Any,
    notification: str,
    certificate: Any,
    *,
    kind: str,
    message: str,
    now: datetime,
) -> None:
    """Write down what a mail would say; it counts as sent, as no server for mail is set up.

    Args:
        connection: To the database.
        notification: Id of the row.
        certificate: What it is about; its owner is told.
        kind: Such as ``RenewalSuccess``.
        message: What it says.
        now: The server's time.
    """
    try:
        owner = await connection.fetchrow(_OWNER, certificate["owner_id"])
        recipient = certificate["owner_id"] if owner is None else owner["email"]
        await connection.fetchval(
            _NOTIFY, notification, kind, certificate["id"], recipient, message, now
        )
        await connection.execute(_NOTIFIED, notification, now)
    except asyncpg.PostgresError as error:
        # What it is about is done, whoever hears of it.
        _log.error("notification of %s: %s", certificate["id"], error)


async def notify_renewed(
    connection: Any, notification: str, certificate: Any, not_after: datetime, now: datetime
) -> None:
    """Tell a certificate's owner that it is renewed, until ``not_after``; see ``notify_owner``."""
    await notify_owner(
        connection,
        notification,
        certificate,
        kind="RenewalSuccess",
        message=f"{certificate['common_name']} is renewed, until {not_after:%Y-%m-%d}.",
        now=now,
    )
