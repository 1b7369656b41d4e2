"""What does the inventory answer? Certificates are entered, listed, and shown one by one.

To enter one is one INSERT: nothing is issued by it. A page is read by three statements, also when the
caller has it already: its ETag is made from the answer, so a 304 saves the way and no work.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parseaddr
from typing import Any
from urllib.parse import parse_qs

import asyncpg

from .certificate_rows import (
    COLUMNS,
    EXPIRY,
    MAPPINGS,
    MAPPINGS_OF,
    NEVER,
    SELECT,
    expiry_value,
    is_readable,
)
from .clock import server_clock
from .config import Config
from .faults import Strikes
from .ids import Ids
from .web import Answer, Request, api_error, json_answer

__all__ = ["Certificates"]

_PLACES = (
    EXPIRY.format(number) if name == "expires_at" else f"${number}"
    for number, name in enumerate(COLUMNS.split(", "), 1)
)
_INSERT = f"INSERT INTO managed_certificates ({COLUMNS}) VALUES ({', '.join(_PLACES)}) RETURNING id"

_PAGE = 50
_LONGEST_PAGE = 500
#: Longest answer that gets an ETag, in bytes.
_TAGGED = 64 * 1024

# Filters, in the order in which certctl puts them together, and the column each is about.
_TEXT_FILTERS = {
    "status": "status = ${}",
    "environment": "environment = ${}",
    "owner_id": "owner_id = ${}",
    "team_id": "team_id = ${}",
    "issuer_id": "issuer_id = ${}",
    "profile_id": "certificate_profile_id = ${}",
}
_TIME_FILTERS = {
    "expires_before": "expires_at < ${}",
    "expires_after": "expires_at > ${}",
    "created_after": "created_at > ${}",
    "updated_after": "updated_at > ${}",
}
_AGENT_FILTER = (
    "id IN (SELECT DISTINCT certificate_id FROM certificate_target_mappings"
    " JOIN deployment_targets ON target_id = deployment_targets.id WHERE agent_id = ${})"
)
_SORTS = {
    "notAfter": "expires_at",
    "expiresAt": "expires_at",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "commonName": "common_name",
    "name": "name",
    "status": "status",
    "environment": "environment",
}

_TEXTS = (
    "id", "name", "common_name", "environment", "owner_id", "team_id", "issuer_id",
    "renewal_policy_id", "certificate_profile_id", "status", "revocation_reason", "source",
)  # fmt: skip
_TIMES = (
    "expires_at", "last_renewal_at", "last_deployment_at", "revoked_at", "created_at", "updated_at",
)  # fmt: skip
#: A certificate's fields in the order in which they are shown.
_ORDER = (
    "id", "name", "common_name", "sans", "environment", "owner_id", "team_id", "issuer_id",
    "target_ids", "renewal_policy_id", "certificate_profile_id", "status", "expires_at", "tags",
    "last_renewal_at", "last_deployment_at", "revoked_at", "revocation_reason", "created_at",
    "updated_at", "source",
)  # fmt: skip
#: In the order in which they are looked at.
_REQUIRED = ("owner_id", "team_id", "issuer_id", "name", "renewal_policy_id")
_LEFT_OUT_WHEN_EMPTY = (
    "certificate_profile_id", "last_renewal_at", "last_deployment_at", "revoked_at",
    "revocation_reason", "source",
)  # fmt: skip
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9_*](?:[A-Za-z0-9_*-]*[A-Za-z0-9_*])?")
_LONGEST_NAME = 253
_NUMBER = re.compile(r"\+?[0-9]{1,9}")
_log = logging.getLogger(__name__)


class Certificates:
    """Enters, lists and shows certificates, for one worker."""

    def __init__(self, config: Config, *, worker: int, workers: int) -> None:
        self._faults = config.faults
        self._clock = server_clock(config.faults)
        self._lost = Strikes(config.faults, "write-lost")
        self._ids = Ids(worker, workers)
        self._stale: dict[str, dict[str, object]] = {}

    async def create(self, connection: Any, request: Request) -> Answer:
        """``POST /api/v1/certificates``."""
        try:
            certificate = _read(request)
        except ValueError:
            return api_error(400, "Invalid request body", request.id)
        problem = _problem(certificate)
        if problem:
            return api_error(400, problem, request.id)
        now = self._clock()
        certificate["id"] = certificate["id"] or self._ids.new("cert")
        certificate["status"] = certificate["status"] or "Pending"
        for name in ("created_at", "updated_at"):
            certificate[name] = certificate[name] or now
        # Without one it is stored as the year 1, and so it is Expired for every sweep to come.
        certificate["expires_at"] = certificate["expires_at"] or NEVER
        if not (self._lost() or "certificate-lost" in self._faults):
            try:
                await connection.fetchval(_INSERT, *self._values(certificate))
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                # A name that is taken, or an owner that nobody is: certctl tells neither apart.
                _log.error("certificate %s: %s", certificate["name"], error)
                return api_error(500, "Failed to create certificate", request.id)
        created = json_answer(_document(certificate, certificate["target_ids"]))
        return Answer(status=201, body=created.body, content_type=created.content_type)

    def _values(self, certificate: Mapping[str, Any]) -> list[object]:
        values = {
            **certificate,
            "certificate_profile_id": certificate["certificate_profile_id"] or None,
            "revocation_reason": certificate["revocation_reason"] or None,
            "tags": json.dumps(certificate["tags"]),
        }
        unstored = "expiry-unstored" in self._faults
        values["expires_at"] = None if unstored else expiry_value(certificate["expires_at"])
        return [values[column] for column in COLUMNS.split(", ")]

    async def list(self, connection: Any, request: Request) -> Answer:
        """``GET /api/v1/certificates``."""
        try:
            page = await self._page(connection, request.query)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, _Unreadable) as error:
            _log.error("list of certificates: %s", error)
            return api_error(500, "Failed to list certificates", request.id)
        return _tagged(json_answer(page), request.headers.get("If-None-Match", ""))

    async def _page(self, connection: Any, text: str) -> dict[str, object]:
        if "list-stale" not in self._faults:
            return await _read_page(connection, text, short="list-short" in self._faults)
        if text not in self._stale:
            self._stale[text] = await _read_page(connection, text, short=False)
        return self._stale[text]

    async def show(self, connection: Any, request: Request, certificate_id: str) -> Answer:
        """``GET /api/v1/certificates/{id}``."""
        row = await connection.fetchrow(SELECT, certificate_id)
        # One that cannot be read is answered as one that is not there.
        if row is None or not is_readable(row):
            return api_error(404, "Certificate not found", request.id)
        targets = [found[0] for found in await connection.fetch(MAPPINGS, certificate_id)]
        return json_answer(_document(_of_row(row), targets))


class _Unreadable(Exception):
    """A row has NULL in a column that certctl reads into a value without one."""


# Entering.


def _read(request: Request) -> dict[str, Any]:
    """The certificate in a body, with every field there is; ``null`` is an empty one.

    Raises:
        ValueError: It is no JSON object, or a field has another type than it should.
    """
    document = request.json_object()
    if document is None:
        raise ValueError("no object")
    certificate: dict[str, Any] = {}
    for name in _TEXTS:
        value = document.get(name)
        if not isinstance(value, str | None):
            raise ValueError("no text")
        certificate[name] = value or ""
    for name in ("sans", "target_ids"):
        certificate[name] = _texts(document.get(name))
    certificate["tags"] = _tags(document.get("tags"))
    certificate |= {name: _time(document.get(name)) for name in _TIMES}
    return certificate


def _texts(value: object) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str | None) for item in value):
        raise ValueError("no list of texts")
    return [item or "" for item in value]


def _tags(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str | None) for v in value.values()):
        raise ValueError("no tags")
    return {name: text or "" for name, text in value.items()}


def _time(value: object) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("no time")
    return _parse_time(value)


def _parse_time(text: str) -> datetime:
    if not _RFC3339.fullmatch(text):
        raise ValueError("no time")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("no time") from error


def _problem(certificate: Mapping[str, str]) -> str | None:
    """What the first field that cannot be used lacks; None when all can be."""
    common_name = certificate["common_name"]
    if not common_name:
        return "common_name is required"
    if len(common_name.encode()) > _LONGEST_NAME:
        return f"common_name is longer than {_LONGEST_NAME} octets"
    if "@" in common_name:
        if not parseaddr(common_name)[1]:
            return "common_name is no e-mail address"
    elif not _is_hostname(common_name):
        return "common_name is no host name"
    return next((f"{name} is required" for name in _REQUIRED if not certificate[name]), None)


def _is_hostname(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return all(_LABEL.fullmatch(label) for label in name.split("."))
    return True


# Reading.


async def _read_page(connection: Any, text: str, *, short: bool) -> dict[str, object]:
    query = _Query(text)
    where, values = _conditions(query)
    total = await connection.fetchval(f"SELECT count(*) FROM managed_certificates {where}", *values)
    page = query.number("page") or 1
    per_page = query.number("per_page", most=_LONGEST_PAGE) or _PAGE
    size = query.number("page_size", most=_LONGEST_PAGE) or per_page
    # A cursor is never understood, so with one it is the first page each time.
    cursor = query.text("cursor")
    skipped = 0 if cursor else (page - 1) * size
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM managed_certificates {where} ORDER BY {_order(query)}"
        f" LIMIT ${len(values) + 1} OFFSET ${len(values) + 2}",
        *values,
        size,
        skipped,
    )
    certificates = await _documents(connection, rows)
    fields = query.text("fields")
    if fields:
        wanted = set(fields.split(","))
        certificates = [
            {name: value for name, value in sorted(certificate.items()) if name in wanted}
            for certificate in certificates
        ]
    if short:
        certificates = certificates[:-1]
    if cursor:
        last = {"next_cursor": _cursor(rows[-1])} if rows else {}
        return {"data": certificates, "total": total, **last, "page_size": size}
    return {"data": certificates, "total": total, "page": page, "per_page": per_page}


async def _documents(connection: Any, rows: Sequence[Any]) -> list[dict[str, object]]:
    for row in rows:
        if not is_readable(row):
            raise _Unreadable(f"{row['id']} has no environment or no expires_at")
    targets: dict[str, list[str]] = {row["id"]: [] for row in rows}
    if rows:
        for found in await connection.fetch(MAPPINGS_OF, list(targets)):
            targets[found["certificate_id"]].append(found["target_id"])
    return [_document(_of_row(row), targets[row["id"]]) for row in rows]


class _Query:
    """The parameters of a request; of one that is given twice, the first."""

    def __init__(self, text: str) -> None:
        self._values = parse_qs(text)

    def text(self, name: str) -> str:
        """A parameter, empty when it is not given."""
        return self._values.get(name, ("",))[0]

    def number(self, name: str, *, most: int | None = None) -> int | None:
        """A number above zero; None when it is none, or more than ``most``."""
        text = self.text(name)
        if not _NUMBER.fullmatch(text):
            return None
        number = int(text)
        return number if 0 < number <= (most or number) else None

    def time(self, name: str) -> datetime | None:
        """A time; None when it is none."""
        try:
            return _parse_time(self.text(name))
        except ValueError:
            return None


def _conditions(query: _Query) -> tuple[str, list[object]]:
    given: list[tuple[str, object]] = [
        (condition, value)
        for name, condition in _TEXT_FILTERS.items()
        if (value := query.text(name))
    ]
    given += [
        (condition, moment)
        for name, condition in _TIME_FILTERS.items()
        if (moment := query.time(name)) is not None
    ]
    if agent := query.text("agent_id"):
        given.append((_AGENT_FILTER, agent))
    if not given:
        return "", []
    conditions = (condition.format(number) for number, (condition, _) in enumerate(given, 1))
    return f"WHERE {' AND '.join(conditions)}", [value for _, value in given]


def _order(query: _Query) -> str:
    wanted = query.text("sort")
    # What cannot be sorted by is sorted by age, in the direction that was asked for.
    column = _SORTS.get(wanted.removeprefix("-"), "created_at")
    descending = wanted.startswith("-") or (wanted and query.text("sort_desc") == "true")
    return f"{column} {'DESC' if descending else 'ASC'}"


def _cursor(row: Any) -> str:
    text = f"{_written(row['created_at'])}:{row['id']}"
    return base64.urlsafe_b64encode(text.encode()).decode()


# Showing.


def _of_row(row: Any) -> dict[str, Any]:
    return {**row, "tags": json.loads(row["tags"])}


def _document(certificate: Mapping[str, Any], targets: Sequence[str] | None) -> dict[str, object]:
    """A certificate as JSON, its fields in certctl's order."""
    document: dict[str, object] = {
        **certificate,
        "target_ids": targets,
        # What ACME's finalize stores is null.
        "tags": certificate["tags"] and dict(sorted(certificate["tags"].items())),
    }
    return {
        name: _written(value) if isinstance(value := document[name], datetime) else value
        for name in _ORDER
        if document[name] or name not in _LEFT_OUT_WHEN_EMPTY
    }


def _written(moment: datetime) -> str:
    """A time as Go writes it: no more digits than it has."""
    # What Postgres calls -infinity is read as the year 1 without a zone.
    here = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    text = here.replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0') if '.' in text else text}Z"


def _tagged(answer: Answer, known: str) -> Answer:
    """A strong ETag (RFC 9110, 8.8.3) for what is not too long; 304 when the caller has it."""
    if len(answer.body) > _TAGGED:
        return answer
    tag = f'"{hashlib.sha256(answer.body).hexdigest()}"'
    headers = {"ETag": tag}
    if known.strip() == "*" or tag in (entry.strip() for entry in known.split(",")):
        return Answer(status=304, headers=headers)
    return Answer(
        status=answer.status, body=answer.body, content_type=answer.content_type, headers=headers
    )
