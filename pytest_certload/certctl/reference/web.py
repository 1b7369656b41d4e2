"""What passes between the server and its handlers? A request that was read, and an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

__all__ = [
    "HTML",
    "JSON",
    "PROBLEM",
    "TEXT",
    "Answer",
    "Request",
    "api_error",
    "html_page",
    "json_answer",
    "problem",
    "text_answer",
]

JSON = "application/json"
PROBLEM = "application/problem+json"
#: Of the answers that Go's ``http.Error`` writes, which hold JSON all the same.
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"

_NONE: Mapping[str, str] = MappingProxyType({})
_PAGE = b"<!doctype html>\n<html><head><title>certctl</title></head><body></body></html>\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A request, its body read.

    Attributes:
        id: Its ``X-Request-ID``.
        method: In capitals.
        path: Without query.
        query: What stands behind the question mark, as it came.
        host: The ``Host`` header.
        body: The whole of it; empty when there is none, or when it was too long.
        actor: Name of the key that it came with.
        query: What follows the path, without the question mark.
        headers: Its headers, names in any case.
    """

    id: str
    method: str
    path: str
    host: str
    body: bytes
    actor: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=lambda: _NONE)

    def json_object(self) -> dict[str, Any] | None:
        """The JSON object that the body begins with, None when it does not.

        What follows it is not looked at, as by certctl, which reads one value and no more.
        """
        try:
            value, _ = _DECODER.raw_decode(self.body.decode().lstrip())
        except ValueError:
            return None
        return value if isinstance(value, dict) else None


_DECODER = json.JSONDecoder()


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a handler answers."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: _NONE)


def json_answer(value: object, *, headers: Mapping[str, str] = _NONE, status: int = 200) -> Answer:
    """JSON and, as Go's encoder has it, a newline at its end."""
    return Answer(status=status, body=_encode(value), content_type=JSON, headers=headers)


def text_answer(status: int, text: str, *, headers: Mapping[str, str] = _NONE) -> Answer:
    """A line of plain text."""
    return Answer(status=status, body=text.encode() + b"\n", content_type=TEXT, headers=headers)


def api_error(status: int, message: str, request_id: str) -> Answer:
    """An error of the API: its status in words, a message, the request's id."""
    document = {
        "error": HTTPStatus(status).phrase,
        "message": message,
        "request_id": request_id,
    }
    return Answer(status=status, body=_encode(document), content_type=JSON)


def problem(status: int, kind: str, detail: str, *, subproblems: Sequence[object] = ()) -> Answer:
    """An ACME problem document (RFC 8555, 6.7)."""
    document: dict[str, object] = {
        "type": f"urn:ietf:params:acme:error:{kind}",
        "detail": detail,
        "status": status,
    }
    if subproblems:
        document["subproblems"] = subproblems
    return Answer(status=status, body=_encode(document), content_type=PROBLEM)


def html_page() -> Answer:
    """The dashboard's start page, which answers whatever has no route of its own."""
    return Answer(status=200, body=_PAGE, content_type=HTML)


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
