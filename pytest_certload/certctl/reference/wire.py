"""What may happen to an answer on its way? It can be late, cut short, wrongly framed, or never come.

Only the requests that load is made of are met: a stack must be able to start the server.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Mapping

from aiohttp import web

from .faults import Strikes

__all__ = ["LATE_SECONDS", "Wire"]

#: How long a stall lasts, and how much later a late answer comes.
LATE_SECONDS = 3.0
# Closing then resets the connection, and what was not sent is thrown away.
_NO_LINGER = struct.pack("ii", 1, 0)


class Wire:
    """Hands answers over to aiohttp, for one worker.

    Args:
        faults: Those that are switched on.
    """

    def __init__(self, faults: Mapping[str, int]) -> None:
        self._stall_in = faults.get("stall", 0)
        self._late = Strikes(faults, "tail-latency")
        self._reset = Strikes(faults, "reset")
        self._truncated = Strikes(faults, "truncated-body")
        self._wrong_length = Strikes(faults, "wrong-length")

    def arrive(self) -> None:
        """A request has come."""
        if self._stall_in:
            self._stall_in -= 1
            if not self._stall_in:
                # Not asleep in the event loop: everything stands still.
                time.sleep(LATE_SECONDS)

    async def send(self, request: web.BaseRequest, answer: web.Response) -> web.StreamResponse:
        """The answer as it goes out; aiohttp sends what is not yet sent of it."""
        if self._late():
            await asyncio.sleep(LATE_SECONDS)
        if self._reset():
            _reset(request)
            return answer
        body = answer.body
        if isinstance(body, bytes) and len(body) > 1 and request.method != "HEAD":
            half = len(body) // 2
            if self._truncated():
                return await _send_raw(request, answer, body[:half], length=len(body), close=True)
            if self._wrong_length():
                return await _send_raw(request, answer, body, length=half, close=False)
        return answer


def _reset(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


async def _send_raw(
    request: web.BaseRequest, answer: web.Response, body: bytes, *, length: int, close: bool
) -> web.StreamResponse:
    """Send a body that is not as long as its head says."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = length
    await response.prepare(request)
    # aiohttp sends no more than the length; nor has it sent the head before something of the body.
    await response.write(body[:length])
    transport = request.transport
    if transport is not None:
        if body[length:]:
            transport.write(body[length:])
        if close:
            transport.close()
    return response
