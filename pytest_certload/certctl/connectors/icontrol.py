"""A stand-in for an F5 BIG-IP: the iControl REST calls by which certctl deploys a certificate, over TLS.

    python -m pytest_certload.certctl.connectors.icontrol --port 8443 --cert F --key F --log F

It has one partition, ``Common``, and one client-ssl profile, ``clientssl``, which is the profile of its own
listener: what is deployed to the profile is what the next connection is served. Files that were
uploaded become objects (``sys/crypto/cert`` and ``key``), a profile names objects, and what is changed
in a transaction counts when it is committed, all of it or nothing. ``GET /healthz`` is answered without a
token. It speaks TLS 1.3. Each answer closes its connection, and is logged with how the connection's TLS session came to be.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from aiohttp import web

__all__ = ["USER", "main"]

#: Name and password of the one who may log in.
USER = ("admin", "admin")
PARTITION, PROFILE = "Common", "clientssl"
TOKEN_HEADER = "X-F5-Auth-Token"
TRANSACTION_HEADER = "X-F5-REST-Overriding-Collection"
UPLOADS = "/var/config/rest/downloads/"
_LARGEST_UPLOAD = 1_000_000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Refused(Exception):
    """A call that an F5 refuses.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class _Profile:
    """What a client-ssl profile names: objects, by their full paths."""

    cert: str
    key: str
    chain: str = ""


@dataclass(kw_only=True)
class _Device:
    """All that the device knows."""

    new_context: Callable[[], ssl.SSLContext]
    serving: ssl.SSLContext
    profile: _Profile
    objects: dict[str, dict[str, bytes]]
    uploads: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    #: Changes of the profile, by the transaction that they wait in.
    transactions: dict[str, list[Mapping[str, str]]] = field(default_factory=dict)
    transactions_made: int = 0

    def install(self, kind: str, name: str, local_file: str) -> None:
        content = self.uploads.get(local_file.removeprefix(UPLOADS))
        if content is None:
            raise _Refused(400, f"no file {local_file} was uploaded")
        self.objects[kind][f"/{PARTITION}/{name}"] = content

    def apply(self, changes: list[Mapping[str, str]]) -> None:
        """Change the profile, all changes or none, and serve what it names."""
        profile = self.profile
        for change in changes:
            profile = replace(profile, **change)
        with tempfile.TemporaryDirectory() as directory:
            cert, key = Path(directory, "cert.pem"), Path(directory, "key.pem")
            cert.write_bytes(
                self._object("cert", profile.cert)
                + (b"\n" + self._object("cert", profile.chain) if profile.chain else b"")
            )
            key.write_bytes(self._object("key", profile.key))
            # A new one: beside a certificate with a key of another type OpenSSL would keep the old one, too.
            context = self.new_context()
            try:
                context.load_cert_chain(cert, key)
            except ssl.SSLError as error:
                raise _Refused(400, f"certificate and key cannot be used ({error})") from error
        self.serving, self.profile = context, profile

    def choose(self, connection: ssl.SSLObject, _name: str | None, _listener: object) -> None:
        """Let a connection that begins be served what the profile names now."""
        connection.context = self.serving

    def _object(self, kind: str, path: str) -> bytes:
        content = self.objects[kind].get(path)
        if content is None:
            raise _Refused(400, f"there is no {kind} {path}")
        return content


def _application(device: _Device, log: TextIO) -> web.Application:
    @web.middleware
    async def one_answer_a_connection(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except _Refused as refusal:
            response = _error(refusal.status, str(refusal))
        except web.HTTPException as refusal:
            response = _error(refusal.status, refusal.reason)
        except Exception as error:  # noqa: BLE001 - whatever it is, each answer is logged
            response = _error(500, f"{type(error).__name__}: {error}")
        response.force_close()
        session = request.get_extra_info("ssl_object")
        word = "resumed" if session is not None and session.session_reused else "full"
        log.write(f"handshake {request.path_qs} {word}\n")
        log.flush()
        return response

    @web.middleware
    async def authorised(request: web.Request, handler: Handler) -> web.StreamResponse:
        open_to_all = request.path in ("/healthz", "/mgmt/shared/authn/login")
        if not open_to_all and request.headers.get(TOKEN_HEADER) not in device.tokens:
            raise _Refused(401, "X-F5-Auth-Token is missing or unknown")
        return await handler(request)

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def login(request: web.Request) -> web.Response:
        body = await _json(request)
        if (body.get("username"), body.get("password")) != USER:
            raise _Refused(401, "authentication failed")
        token = secrets.token_hex(16)
        device.tokens.add(token)
        return web.json_response({"token": {"token": token}})

    async def upload(request: web.Request) -> web.Response:
        content = await request.read()
        # Required also of a file that comes in one piece.
        wanted = f"0-{len(content) - 1}/{len(content)}"
        if not content or request.headers.get("Content-Range") != wanted:
            raise _Refused(400, f"Content-Range must be {wanted}: the file in one piece")
        device.uploads[request.match_info["name"]] = content
        return web.json_response({"totalByteCount": len(content)})

    async def install(request: web.Request) -> web.Response:
        body = await _json(request)
        if body.get("command") != "install":
            raise _Refused(400, "command must be install")
        device.install(
            request.match_info["kind"], str(body.get("name")), str(body.get("from-local-file"))
        )
        return web.json_response(body)

    async def remove(request: web.Request) -> web.Response:
        path = request.match_info["name"].replace("~", "/")
        if path in (device.profile.cert, device.profile.key, device.profile.chain):
            raise _Refused(400, f"{path} is in use by the profile {PROFILE}")
        if device.objects[request.match_info["kind"]].pop(path, None) is None:
            raise _Refused(404, f"there is no {path}")
        return web.Response()

    async def begin(_: web.Request) -> web.Response:
        device.transactions_made += 1
        number = device.transactions_made
        device.transactions[str(number)] = []
        return web.json_response({"transId": number, "state": "STARTED"})

    async def commit(request: web.Request) -> web.Response:
        number = request.match_info["number"]
        body = await _json(request)
        if number not in device.transactions:
            raise _Refused(404, f"there is no transaction {number}")
        if body.get("state") != "VALIDATING":
            raise _Refused(400, "state must be VALIDATING")
        # Over, whatever comes of it.
        device.apply(device.transactions.pop(number))
        return web.json_response({"transId": int(number), "state": "COMPLETED"})

    async def change(request: web.Request) -> web.Response:
        body = await _json(request)
        wanted = {name: str(body[name]) for name in ("cert", "key", "chain") if name in body}
        collection = request.headers.get(TRANSACTION_HEADER)
        if collection is None:
            device.apply([wanted])
        else:
            number = collection.rpartition("/")[2]
            if number not in device.transactions:
                raise _Refused(404, f"there is no transaction {number}")
            device.transactions[number].append(wanted)
        return web.json_response(body)

    async def show(_: web.Request) -> web.Response:
        profile = device.profile
        return web.json_response(
            {
                "name": PROFILE,
                "cert": profile.cert,
                "key": profile.key,
                "chain": profile.chain,
            }
        )

    application = web.Application(
        middlewares=[one_answer_a_connection, authorised], client_max_size=_LARGEST_UPLOAD
    )
    profile = f"/mgmt/tm/ltm/profile/client-ssl/~{PARTITION}~{PROFILE}"
    application.add_routes(
        [
            web.get("/healthz", healthz),
            web.post("/mgmt/shared/authn/login", login),
            web.post("/mgmt/shared/file-transfer/uploads/{name}", upload),
            web.post("/mgmt/tm/sys/crypto/{kind:cert|key}", install),
            web.delete("/mgmt/tm/sys/crypto/{kind:cert|key}/{name}", remove),
            web.post("/mgmt/tm/transaction", begin),
            web.patch("/mgmt/tm/transaction/{number}", commit),
            web.patch(profile, change),
            web.get(profile, show),
        ]
    )
    return application


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"code": status, "message": message}, status=status)


async def _json(request: web.Request) -> Mapping[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise _Refused(400, "the body is no JSON") from error
    if not isinstance(body, dict):
        raise _Refused(400, "the body is no JSON object")
    return body


def _device(cert: Path, key: Path, *, resumption: bool) -> _Device:
    def new_context() -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        # Of older versions Python's ssl cannot switch off that sessions are remembered.
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if not resumption:
            context.num_tickets = 0
        return context

    context = new_context()
    context.load_cert_chain(cert, key)
    names = {"cert": f"/{PARTITION}/default.crt", "key": f"/{PARTITION}/default.key"}
    return _Device(
        new_context=new_context,
        serving=context,
        profile=_Profile(**names),
        objects={
            "cert": {names["cert"]: cert.read_bytes()},
            "key": {names["key"]: key.read_bytes()},
        },
    )


async def _serve(arguments: argparse.Namespace) -> None:
    device = _device(arguments.cert, arguments.key, resumption=arguments.resumption)
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    with arguments.log.open("a", encoding="utf-8") as log:
        runner = web.AppRunner(_application(device, log), access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            listener = device.serving
            listener.sni_callback = device.choose
            site = web.TCPSite(
                runner, arguments.host, arguments.port, ssl_context=listener, backlog=1024
            )
            await site.start()
            await over.wait()
        finally:
            await runner.cleanup()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="A stand-in for an F5 BIG-IP.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    parser.add_argument("--cert", type=Path, required=True, help="PEM file of its certificate")
    parser.add_argument("--key", type=Path, required=True, help="PEM file of its key")
    parser.add_argument("--log", type=Path, required=True, help="file for a line per answer")
    parser.add_argument(
        "--resumption", action="store_true", help="let TLS sessions be resumed (default: not)"
    )
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
