"""What becomes of a Ctrl-C that Python drops? It is sent again."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keeping_interruptions"]


@contextmanager
def keeping_interruptions() -> Iterator[None]:
    """See to it, while the body runs, that no interruption of the main thread is lost.

    KeyboardInterrupt rises wherever the main thread happens to be, and what rises in a finaliser or in
    the callback of a weak reference goes no further than ``sys.unraisablehook``.
    """
    before = sys.unraisablehook

    def keep(dropped: sys.UnraisableHookArgs) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            before(dropped)
            return
        # By another thread, as it would be dropped again in here. Not one of `threading`: who was
        # interrupted may hold its locks.
        _thread.start_new_thread(
            signal.pthread_kill, (threading.main_thread().ident or 0, signal.SIGINT)
        )

    sys.unraisablehook = keep
    try:
        yield
    finally:
        # Not if somebody else has put a hook of their own there meanwhile, which may call this one.
        if sys.unraisablehook is keep:
            sys.unraisablehook = before
