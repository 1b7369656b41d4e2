"""What becomes of a Ctrl-C that Python drops, and of one that comes at a bad moment?"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["deferring_interruptions", "keeping_interruptions"]


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


@contextmanager
def deferring_interruptions() -> Iterator[None]:
    """Let an interruption of the main thread wait for the end of the body; a second one does not wait."""
    before = signal.getsignal(signal.SIGINT)
    # Other threads are not interrupted, and what is not Python's cannot be put back.
    if not _in_main_thread() or before is None:
        yield
        return
    noted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal noted
        if noted and callable(before):
            before(number, frame)
        noted = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if noted:
            signal.raise_signal(signal.SIGINT)


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
