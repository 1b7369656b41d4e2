"""What did a command cost? Runs it and writes its CPU time, peak memory and peak descriptors.

    python -I -S meter.py RESULT.json COMMAND …

A process of its own, small and without packages, because Linux hands the peak memory of the process
that starts another down to it: started from the bench itself nothing would seem smaller than the
bench. Of the command's descendants those count that it has waited for; peak memory is that of the
largest single process. Nothing here is imported by the bench.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

#: How often open descriptors are counted; everything else the kernel keeps exactly.
_LOOK_SECONDS = 0.1


def descriptors(pid: int) -> int:
    """How many a process has open; 0 when it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def main(result: Path, command: list[str]) -> int:
    """Run the command, write what it cost, and return its exit code."""
    # Blocked before there is a child, so that its end is never missed.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    begin = time.monotonic()
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.execvp(command[0], command)
    peak = 0
    ended, status, usage = os.wait4(pid, os.WNOHANG)
    while not ended:
        peak = max(peak, descriptors(pid))
        signal.sigtimedwait({signal.SIGCHLD}, _LOOK_SECONDS)
        ended, status, usage = os.wait4(pid, os.WNOHANG)
    cost = {
        "exit_code": os.waitstatus_to_exitcode(status),
        "wall_seconds": time.monotonic() - begin,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory": usage.ru_maxrss * 1024,
        "peak_descriptors": peak,
    }
    result.write_text(json.dumps(cost), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
