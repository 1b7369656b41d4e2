"""May it be ordered? Authorizations and their challenges (RFC 8555, 7.5)."""

from __future__ import annotations

import json
from typing import Any

from pytest_certload.certctl.reference.web import Answer, json_answer, problem

from .limits import OrderLimits
from .order import timestamp
from .problems import INTERNAL, NOT_FOUND, Refused
from .signing import Call

__all__ = ["Authorizations"]

_SELECT_AUTHORIZATION = (
    "SELECT authz_id, order_id, identifier, status, expires_at, wildcard, created_at, updated_at"
    " FROM acme_authorizations WHERE authz_id = $1"
)
_CHALLENGE = (
    "SELECT challenge_id, authz_id, type, status, token, validated_at, error, created_at"
    " FROM acme_challenges"
)
_SELECT_CHALLENGE = f"{_CHALLENGE} WHERE challenge_id = $1"
_SELECT_CHALLENGES = f"{_CHALLENGE} WHERE authz_id = $1 ORDER BY created_at ASC"
_NO_CHALLENGE = problem(404, "malformed", "challenge not found")


class Authorizations:
    """Shows authorizations and challenges.

    Args:
        limits: Of how often a challenge may be answered.
    """

    def __init__(self, limits: OrderLimits) -> None:
        self._limits = limits

    async def show(self, call: Call, authorization_id: str) -> Answer:
        """``POST authz/<id>``; certctl does not ask whose it is."""
        row = await call.connection.fetchrow(_SELECT_AUTHORIZATION, authorization_id)
        if row is None:
            raise Refused(NOT_FOUND)
        challenges = await call.connection.fetch(_SELECT_CHALLENGES, authorization_id)
        document: dict[str, object] = {
            "identifier": json.loads(row["identifier"]),
            "status": row["status"],
            "expires": timestamp(row["expires_at"]),
        }
        if row["wildcard"]:
            document["wildcard"] = True
        document["challenges"] = [_challenge(call, challenge) for challenge in challenges]
        return json_answer(document)

    async def challenge(self, call: Call, challenge_id: str) -> Answer:
        """``POST challenge/<id>``: one that is valid already is shown.

        One that is not would have to be validated by a request to the name that is ordered. Nothing
        here makes such requests, so it is answered as by a certctl that has no validators.
        """
        self._limits.respond(challenge_id)
        row = await call.connection.fetchrow(_SELECT_CHALLENGE, challenge_id)
        if row is None:
            raise Refused(_NO_CHALLENGE)
        if row["status"] == "pending":
            raise Refused(INTERNAL)
        return json_answer(_challenge(call, row))


def _challenge(call: Call, row: Any) -> dict[str, object]:
    document: dict[str, object] = {
        "type": row["type"],
        "url": f"{call.base}/challenge/{row['challenge_id']}",
        "status": row["status"],
        "token": row["token"],
    }
    if row["validated_at"] is not None:
        document["validated"] = timestamp(row["validated_at"])
    if row["error"]:
        document["error"] = json.loads(row["error"])
    return document
