"""Who accepts connections? One process for all workers, which hands them out in turn.

Workers that accept from one socket race for connections, and the quicker one ends up with more of
them: then its clients wait longer than the others, and percentiles show the race.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import signal
import socket
from collections.abc import Sequence

__all__ = ["SIGNALS", "distribute"]

#: What ends the server.
SIGNALS = (signal.SIGTERM, signal.SIGINT)
_BREATH_SECONDS = 0.1
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_log = logging.getLogger(__name__)


async def distribute(listener: socket.socket, channels: Sequence[socket.socket]) -> bool:
    """Hand out connections until a signal, or until a worker is gone.

    Args:
        listener: A listening socket.
        channels: A Unix socket to each worker, which never writes: it is readable when the
            worker has ended.

    Returns:
        Whether it ended by a signal.

    Raises:
        OSError: The listener cannot be used any more.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    by_signal = False

    def end(signalled: bool) -> None:
        nonlocal by_signal
        by_signal = by_signal or signalled
        ended.set()

    for number in SIGNALS:
        loop.add_signal_handler(number, end, True)
    for channel in channels:
        loop.add_reader(channel, end, False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    accepting = asyncio.create_task(_accept(listener, channels))
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait([waiting, accepting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    for channel in channels:
        loop.remove_reader(channel)
    if accepting.done():
        # A worker that is gone takes no connection; whatever else it was is raised.
        if not isinstance(accepting.exception(), BrokenPipeError):
            accepting.result()
        return False
    accepting.cancel()
    await asyncio.wait([accepting])
    return by_signal


async def _accept(listener: socket.socket, channels: Sequence[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    turns = itertools.cycle(channels)
    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
        except ConnectionError:
            continue
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS:
                raise
            _log.error("no connection can be accepted: %s", error.strerror)
            await asyncio.sleep(_BREATH_SECONDS)
            continue
        with connection:
            # Blocks when the worker is that far behind; meanwhile the kernel queues connections.
            socket.send_fds(next(turns), [b"c"], [connection.fileno()])
