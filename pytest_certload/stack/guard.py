"""What happens to the stack when the test process dies without a word?

This file is a script of its own, run by path with the standard library alone, in two modes:

* ``guard.py watch`` reads lines from its standard input, a pipe from the test process.  Each line
  registers something that must not outlive the test process, or takes it back, or says that this
  was all.  Then, or when the test process is gone, whatever is still registered is removed,
  newest first.
* ``guard.py spawn`` becomes a child of the stack: it registers itself in that pipe, gives up
  root when told to, and then replaces itself by the program.  Because the child registers
  itself *before* the program exists, there is no moment in which it could be orphaned.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

STOP_SECONDS = 5.0
KILL_SECONDS = 2.0
COMMAND_SECONDS = 60.0
PARENT_CHECK_SECONDS = 1.0
ORPHAN_SECONDS = 2.0
REMOVE_SECONDS = 10.0


def watch(parent: int) -> int:
    """Keep the register until the end is told or the parent is gone, then remove what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    register: dict[str, dict[str, Any]] = {}
    for line in _lines(sys.stdin.fileno(), parent):
        message = json.loads(line)
        if "end" in message:
            break
        if "forget" in message:
            register.pop(message["forget"], None)
        else:
            register[message["key"]] = message
    failures = 0
    for item in reversed(list(register.values())):
        try:
            REMOVERS[item["kind"]](item)
        except (OSError, subprocess.SubprocessError) as error:
            # The other items must still go, and perhaps nobody is left to read this.
            with contextlib.suppress(OSError):
                print(f"{item['kind']}: {error}", file=sys.stderr, flush=True)
            failures += 1
    return 1 if failures else 0


def _lines(descriptor: int, parent: int) -> Iterator[bytes]:
    # The end of the pipe is not enough: a forked copy of the test process may hold it open.
    buffer = b""
    until: float | None = None
    while until is None or time.monotonic() < until:
        if until is None and os.getppid() != parent:
            # A child that was about to start may still tell of itself: it holds the pipe until it has.
            until = time.monotonic() + ORPHAN_SECONDS
        if not select.select([descriptor], [], [], PARENT_CHECK_SECONDS)[0]:
            continue
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return
        *lines, buffer = (buffer + chunk).split(b"\n")
        yield from lines


def remove_process(item: dict[str, Any]) -> None:
    """End a process group: the leader's stop signal first, the kill signal for what is left."""
    group = int(item["group"])
    with contextlib.suppress(ProcessLookupError):
        # The stop signal is for the leader alone, which ends its own children in order.
        os.kill(group, int(item["signal"]))
        _wait_until(lambda: not _alive(group), STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
        _wait_until(lambda: not _alive(group), KILL_SECONDS)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_until(condition: Callable[[], bool], patience: float) -> None:
    deadline = time.monotonic() + patience
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def remove_directory(item: dict[str, Any]) -> None:
    """Remove a directory with all it holds; absent is fine."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while os.path.lexists(item["path"]):
        try:
            shutil.rmtree(item["path"])
        except OSError:
            # Whoever still writes there, or removes, ends soon.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def remove_by_command(item: dict[str, Any]) -> None:
    """Run a command that removes what only it can reach, such as containers."""
    subprocess.run(item["argv"], env=item["env"], timeout=COMMAND_SECONDS, check=True)


REMOVERS: dict[str, Callable[[dict[str, Any]], None]] = {
    "process": remove_process,
    "directory": remove_directory,
    "command": remove_by_command,
}


def spawn(specification: str, argv: list[str]) -> int:
    """Register this process, give up root if told to, and become ``argv``."""
    wanted = json.loads(specification)
    pipe = int(wanted["pipe"])
    item = {
        "key": wanted["key"],
        "kind": "process",
        "group": os.getpid(),
        "signal": wanted["signal"],
    }
    os.write(pipe, json.dumps(item).encode() + b"\n")
    os.close(pipe)
    try:
        if wanted["user"] is not None:
            os.setgroups([])
            os.setgid(wanted["group"])
            os.setuid(wanted["user"])
        os.chdir(wanted["directory"])
        os.execv(argv[0], argv)
    except OSError as error:
        print(f"{argv[0]}: {error}", file=sys.stderr)
        return 127


def main(argv: list[str]) -> int:
    """Entry point: ``watch PARENT``, or ``spawn SPECIFICATION PROGRAM ARGUMENT…``."""
    return watch(int(argv[1])) if argv[0] == "watch" else spawn(argv[1], argv[2:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
