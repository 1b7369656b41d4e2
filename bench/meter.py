"""What did a command cost? Runs it and writes its CPU time, peak memory and peak descriptors.

    python -I -S meter.py RESULT.json COMMAND …

A process of its own, small and without packages, because Linux hands the peak memory of the process
that starts another down to it: started from the bench itself nothing would seem smaller than the
bench. CPU time, user and system of all threads, is read again and again, with the time of reading,
so that it can be had for any part of the run. The bench imports nothing of this.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

#: Between two readings.
_SECONDS = 0.025


def descriptors(pid: int) -> int:
    """How many a process has open; 0 when it is gone."""
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0


def cpu_clock(pid: int) -> int:
    """The id of a process's CPU-time clock, as the C library's ``clock_getcpuclockid`` makes it."""
    return (~pid << 3) | 2


def main(result: Path, command: list[str]) -> int:
    """Run the command, write what it cost, and return 0, however it ended."""
    # Blocked before there is a child, so that its end is never missed.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    begin = time.monotonic()
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.execvp(command[0], command)
    clock = cpu_clock(pid)
    peak = 0
    cpu: list[tuple[int, int]] = []
    ended, status, usage = os.wait4(pid, os.WNOHANG)
    while not ended:
        # Not waited for yet, so the process is still there to be read, if only as a zombie.
        cpu.append((time.monotonic_ns(), time.clock_gettime_ns(clock)))
        peak = max(peak, descriptors(pid))
        signal.sigtimedwait({signal.SIGCHLD}, _SECONDS)
        ended, status, usage = os.wait4(pid, os.WNOHANG)
    cost = {
        "exit_code": os.waitstatus_to_exitcode(status),
        "wall_seconds": time.monotonic() - begin,
        "peak_memory": usage.ru_maxrss * 1024,
        "peak_descriptors": peak,
        "cpu": cpu,
    }
    result.write_text(json.dumps(cost), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
