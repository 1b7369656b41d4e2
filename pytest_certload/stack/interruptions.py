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
        if not (dropped.exc_type is KeyboardInterrupt and _in_main_thread() and _send_again()):
            before(dropped)

    sys.unraisablehook = keep
    try:
        yield
    finally:
        # Not if somebody else has put a hook of their own there meanwhile, which may call this one.
        if sys.unraisablehook is keep:
            sys.unraisablehook = before


def _in_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident


def _send_again() -> bool:
    # By another thread, as it would be dropped again in here. Not one of `threading`: who was
    # interrupted may hold its locks.
    try:
        _thread.start_new_thread(signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    except RuntimeError:
        return False
    return True
