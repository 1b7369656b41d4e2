"""How does a request go through the server? certctl's chain, in certctl's order.

Request id → limiter → authentication → audit → route → permission → handler. The limiter knows
only addresses; its refusals and those of the authentication leave no audit row.
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from email.utils import format_datetime
from typing import Any

import asyncpg
from aiohttp import web

from . import access
from .access import Actor
from .acme import Acme
from .agents import Row, heartbeat
from .audit import AuditLog
from .certificates import Certificates
from .clock import server_clock
from .config import Config
from .faults import Strikes
from .jobs import Jobs
from .limiter import REFUSAL, Limiter
from .renewal import Renewals
from .signing import Signing
from .web import JSON, Answer, Request, api_error, html_page, json_answer, text_answer
from .wire import Wire
from .work import AgentWork

__all__ = ["SERVER", "App"]

#: What the version endpoint says it is: never certctl itself.
SERVER = "certctl-reference"

_PING_SECONDS = 2.0
_AUTH_CHECK = "/api/v1/auth/check"
_AUDIT_EXCLUDED = ("/health", "/ready", "/api/v1/version")
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer-when-downgrade",
    "Server": SERVER,
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_NOT_FOUND = text_answer(404, "404 page not found")
_WRONG_METHOD = text_answer(405, "Method Not Allowed")
_WRONG_SHAPE = Answer(status=429, body=b'{"message":"slow down"}\n', content_type=JSON)
_log = logging.getLogger(__name__)

Handler = Callable[[Any, Actor, Request], Awaitable[Answer]]


class App:
    """Answers requests, for one worker."""

    def __init__(
        self,
        config: Config,
        pool: asyncpg.Pool[Any],
        audit: AuditLog,
        acme: Acme,
        renewals: Renewals,
        certificates: Certificates,
        *,
        work: AgentWork,
        signing: Signing,
        jobs: Jobs,
    ) -> None:
        self._config = config
        self._pool = pool
        self._audit = audit
        self._acme = acme
        self._renewals = renewals
        self._certificates = certificates
        self._work = work
        self._signing = signing
        self._jobs = jobs
        self._version = config.version
        self._faults = config.faults
        self._clock = server_clock(config.faults)
        self._lost = Strikes(config.faults, "write-lost")
        self._wire = Wire(config.faults)
        self._refusal = _WRONG_SHAPE if "429-shape" in config.faults else REFUSAL
        # The two chains have a limiter each.
        limit = config.limit
        if limit and "limiter-lax" in config.faults:
            limit = replace(limit, rate=2 * limit.rate)
        self._open_limiter, self._api_limiter = (
            Limiter(limit, time.monotonic) if limit else None for _ in range(2)
        )
        self._open: dict[str, Callable[[], Awaitable[Answer]]] = {
            "/health": self._health,
            "/ready": self._ready,
            "/api/v1/version": self._show_version,
            "/api/v1/auth/info": self._auth_info,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        request_id = str(uuid.uuid4())
        is_load = request.path not in self._open and request.path != _AUTH_CHECK
        if is_load:
            self._wire.arrive()
        try:
            answer = await self._dispatch(request, request_id)
        except Exception:  # noqa: BLE001 - certctl's recovery: the client gets 500, the log the rest
            _log.exception("%s %s failed", request.method, request.path)
            answer = api_error(500, "Internal server error", request_id)
        headers = {**_HEADERS, "X-Request-ID": request_id, **answer.headers}
        if answer.content_type is not None:
            headers["Content-Type"] = answer.content_type
        if "stale-clock" in self._faults:
            headers["Date"] = format_datetime(self._clock(), usegmt=True)
        response = web.Response(status=answer.status, body=answer.body or None, headers=headers)
        return await self._wire.send(request, response) if is_load else response

    async def _dispatch(self, request: web.BaseRequest, request_id: str) -> Answer:
        path = request.path
        if path in self._open:
            if _refused(self._open_limiter, request):
                return self._refusal
            if request.method not in ("GET", "HEAD"):
                return _WRONG_METHOD
            return await self._open[path]()
        if not path.startswith("/api/v1/") and not self._config.acme_routed:
            # As with a dashboard: no limiter, no authentication, no audit, any method.
            return html_page()
        if _refused(self._api_limiter, request):
            return self._refusal
        actor = access.identify(self._config, request.headers.get("Authorization"))
        if isinstance(actor, Answer):
            return actor
        return await self._audited(
            actor,
            Request(
                id=request_id,
                method=request.method,
                path=path,
                host=request.host,
                body=await _body(request),
                actor=actor.name,
                query=request.rel_url.raw_query_string,
                headers=request.headers,
            ),
        )

    async def _audited(self, actor: Actor, request: Request) -> Answer:
        if request.path.startswith(_AUDIT_EXCLUDED):
            return await self._answer(actor, request)
        await self._audit.room()
        started = time.monotonic()
        try:
            answer = await self._answer(actor, request)
        except BaseException:
            self._audit.forgo()
            raise
        self._audit.add(
            actor.name,
            f"api_{request.method.lower()}",
            "api",
            request.path,
            {
                "method": request.method,
                "path": request.path,
                "body_hash": hashlib.sha256(request.body).hexdigest() if request.body else "",
                "status": answer.status,
                "latency_ms": int((time.monotonic() - started) * 1000),
            },
        )
        return answer

    async def _answer(self, actor: Actor, request: Request) -> Answer:
        parts = request.path.split("/")[1:]
        if parts[0] == "acme":
            async with self._pool.acquire() as connection:
                return await self._acme.answer(connection, request, parts[1:]) or _NOT_FOUND
        handler: Handler
        permission: str | None
        match parts:
            case ["api", "v1", "auth", "check"]:
                method, permission, handler = "GET", None, access.auth_check
            case ["api", "v1", "agents", agent_id, "heartbeat"] if agent_id:
                method, permission, handler = "POST", "agent.heartbeat", self._heartbeat
            case ["api", "v1", "agents", agent_id, "work"] if agent_id:
                method, permission, handler = "GET", "agent.job.poll", self._work.poll
            case ["api", "v1", "agents", agent_id, "csr"] if agent_id:
                method, permission, handler = "POST", "agent.job.poll", self._signing.submit
            case ["api", "v1", "agents", agent_id, "certificates", name] if agent_id and name:
                method, permission, handler = "GET", "cert.read", self._work.pick_up
            case ["api", "v1", "agents", agent_id, "jobs", job_id, "status"] if agent_id and job_id:
                method, permission, handler = "POST", "agent.job.complete", self._jobs.report
            case ["api", "v1", "jobs"]:
                method, permission, handler = "GET", "job.read", self._jobs.list_jobs
            case ["api", "v1", "jobs", job_id] if job_id:
                method, permission, handler = "GET", "job.read", self._jobs.show
            case ["api", "v1", "jobs", job_id, "verify"] if job_id:
                method, permission, handler = "POST", "verification.run", self._jobs.verify
            case ["api", "v1", "certificates", "bulk-renew"]:
                method, permission, handler = "POST", "cert.issue", self._bulk_renew
            case ["api", "v1", "certificates"] if request.method == "POST":
                method, permission, handler = "POST", "cert.issue", self._create_certificate
            case ["api", "v1", "certificates"]:
                method, permission, handler = "GET", "cert.read", self._list_certificates
            case ["api", "v1", "certificates", certificate_id] if certificate_id:
                method, permission, handler = "GET", "cert.read", self._show_certificate
            case ["api", "v1", "certificates", certificate_id, "renew"] if certificate_id:
                method, permission, handler = "POST", "cert.issue", self._renew
            case _:
                return _NOT_FOUND
        if request.method != method:
            return _WRONG_METHOD
        async with self._pool.acquire() as connection:
            if permission is not None:
                try:
                    allowed = await access.is_allowed(connection, actor, permission)
                except asyncpg.PostgresError as error:
                    _log.error("permissions of %s: %s", actor.name, error)
                    return access.UNKNOWN_PERMISSIONS
                if not allowed:
                    return access.FORBIDDEN
                if "forbid-writes" in self._faults and method == "POST":
                    return access.FORBIDDEN
                if "error-500" in self._faults and method == "POST":
                    return api_error(500, "Switched-on fault", request.id)
            return await handler(connection, actor, request)

    async def _heartbeat(self, connection: Any, _: Actor, request: Request) -> Answer:
        agent_id = request.path.split("/")[4]
        row: Row = "own"
        if self._lost() or "heartbeat-drop" in self._faults:
            row = "none"
        elif "heartbeat-wrong-agent" in self._faults:
            row = "next"
        try:
            return await heartbeat(connection, request, agent_id, now=self._clock(), row=row)
        except asyncpg.PostgresError as error:
            _log.error("heartbeat of %s: %s", agent_id, error)
            return api_error(500, "Failed to record heartbeat", request.id)

    async def _bulk_renew(self, connection: Any, _: Actor, request: Request) -> Answer:
        return await self._renewals.bulk_renew(connection, request)

    async def _create_certificate(self, connection: Any, _: Actor, request: Request) -> Answer:
        return await self._certificates.create(connection, request)

    async def _list_certificates(self, connection: Any, _: Actor, request: Request) -> Answer:
        return await self._certificates.list(connection, request)

    async def _show_certificate(self, connection: Any, _: Actor, request: Request) -> Answer:
        return await self._certificates.show(connection, request, request.path.split("/")[4])

    async def _renew(self, connection: Any, _: Actor, request: Request) -> Answer:
        return await self._renewals.renew(connection, request, request.path.split("/")[4])

    async def _health(self) -> Answer:
        return json_answer({"status": "healthy"})

    async def _ready(self) -> Answer:
        try:
            async with self._pool.acquire(timeout=_PING_SECONDS) as connection:
                await connection.fetchval("SELECT 1", timeout=_PING_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            document = {"status": "db_unavailable", "error": str(error)}
            answer = json_answer(document)
            return Answer(status=503, body=answer.body, content_type=JSON)
        return json_answer({"status": "ready", "db": "reachable"})

    async def _show_version(self) -> Answer:
        return json_answer({"version": self._version, "server": SERVER})

    async def _auth_info(self) -> Answer:
        required = self._config.keys is not None
        return json_answer({"auth_type": "api-key" if required else "none", "required": required})


def _refused(limiter: Limiter | None, request: web.BaseRequest) -> bool:
    return limiter is not None and not limiter.admit(request.remote or "")


async def _body(request: web.BaseRequest) -> bytes:
    if not request.can_read_body:
        return b""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        # Whoever wanted JSON answers 400, as certctl does, not 413.
        return b""
