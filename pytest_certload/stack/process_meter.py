"""What do a process, its descendants and all of their threads take of the machine?"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from .meters import Death, Reading, describe_exit

__all__ = ["OwnMeter", "ProcessMeter", "working_in"]

_PROC = Path("/proc")


class ProcessMeter:
    """The meter of a child of this process, and of all that descends from it.

    CPU time of processes that ended meanwhile is in their parent's account of its children; of their
    context switches what was seen last is kept.

    Args:
        name: The part's.
        pid: The first process.
        log_path: Where it logs; None: nowhere.
    """

    def __init__(self, name: str, pid: int, *, log_path: Path | None = None) -> None:
        self.name = name
        self.missing: list[str] = []
        self._pid = pid
        self._log_path = log_path
        self._log_begin = 0 if log_path is None else log_path.stat().st_size
        self._cpu = 0.0
        self._switches: dict[psutil.Process, tuple[int, int]] = {}

    def read(self) -> Reading | None:
        """See ``Meter``."""
        try:
            root = psutil.Process(self._pid)
            # The parent before its children: who ends in between is missed until the next reading,
            # and not counted twice.
            cpu = _cpu(root)
            tree = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return None
        private: list[int] = []
        shared: list[int] = []
        descriptors: list[int] = []
        peak: int | None = None
        for process in tree:
            try:
                with process.oneshot():
                    cpu += _cpu(process) if process is not root else 0
                    memory = process.memory_info()
                    common = getattr(memory, "shared", 0)
                    private.append(memory.rss - common)
                    shared.append(common)
                    self._note_switches(process)
                    descriptors.append(process.num_fds())
            except psutil.AccessDenied as error:
                # Of one that has ended, and is not waited for yet, nobody but root sees the descriptors.
                if not _has_ended(process):
                    self._miss(f"a process that is not ours to look at ({error.name or error.pid})")
            except psutil.NoSuchProcess:
                # It ended in this moment, or is waited for.
                continue
        if len(tree) == 1:
            peak = _greatest_size(self._pid)
        self._cpu = max(self._cpu, cpu)
        return Reading(
            cpu=self._cpu,
            # Processes of a family share most of what they share at all: it counts once.
            memory=sum(private) + max(shared) if private else None,
            memory_peak=peak,
            descriptors=sum(descriptors) if descriptors else None,
            switches=sum(wanted for wanted, _ in self._switches.values()),
            forced_switches=sum(forced for _, forced in self._switches.values()),
        )

    def death(self) -> Death | None:
        """See ``Meter``. Leaves it to be waited for by its parent's own code."""
        if not hasattr(os, "waitid"):
            return self._death_without_reason()
        try:
            end = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            # Somebody has waited for it already.
            return self._death_without_reason()
        if end is None:
            return None
        signalled = end.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
        return Death(how=describe_exit(-end.si_status if signalled else end.si_status))

    def _death_without_reason(self) -> Death | None:
        try:
            ended = _has_ended(psutil.Process(self._pid))
        except psutil.NoSuchProcess:
            ended = True
        return Death(how="ended") if ended else None

    def log(self) -> str:
        """See ``Meter``."""
        if self._log_path is None:
            return ""
        try:
            with self._log_path.open("rb") as file:
                file.seek(self._log_begin)
                return file.read().decode("utf-8", "replace")
        except OSError as error:
            self._miss(f"its log ({error.strerror})")
            return ""

    def close(self) -> None:
        """See ``Meter``."""

    def _note_switches(self, process: psutil.Process) -> None:
        # A thread that ended takes its own with it.
        wanted, forced = self._switches.get(process, (0, 0))
        now_wanted, now_forced = _switches(process)
        self._switches[process] = max(wanted, now_wanted), max(forced, now_forced)

    def _miss(self, what: str) -> None:
        if what not in self.missing:
            self.missing.append(what)


class OwnMeter:
    """The meter of this process, the load generator, without its children: they are the stack."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.missing: list[str] = []
        self._process = psutil.Process()

    def read(self) -> Reading | None:
        """See ``Meter``."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Reading(
            cpu=usage.ru_utime + usage.ru_stime,
            memory=self._process.memory_info().rss,
            memory_peak=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            descriptors=self._process.num_fds(),
            switches=usage.ru_nvcsw,
            forced_switches=usage.ru_nivcsw,
        )

    def death(self) -> Death | None:
        """See ``Meter``."""
        return None

    def log(self) -> str:
        """See ``Meter``."""
        return ""

    def close(self) -> None:
        """See ``Meter``."""


def _cpu(process: psutil.Process) -> float:
    """CPU time of a process and of all children that it has waited for."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _has_ended(process: psutil.Process) -> bool:
    """Whether nothing is left of a process but what its parent has not asked for."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def _switches(process: psutil.Process) -> tuple[int, int]:
    """Wanted and forced context switches of all threads (elsewhere than on Linux: of the process)."""
    if not sys.platform.startswith("linux"):
        switches = process.num_ctx_switches()
        return switches.voluntary, switches.involuntary
    wanted = forced = 0
    for text in _thread_statuses(process.pid):
        for line in text.splitlines():
            if line.startswith(b"voluntary_ctxt_switches:"):
                wanted += int(line.split()[1])
            elif line.startswith(b"nonvoluntary_ctxt_switches:"):
                forced += int(line.split()[1])
    return wanted, forced


def _thread_statuses(pid: int) -> Iterator[bytes]:
    folder = _PROC / str(pid) / "task"
    try:
        threads = os.listdir(folder)  # noqa: PTH208 - names are enough, and this is done often
    except OSError:
        return
    for thread in threads:
        try:
            yield (folder / thread / "status").read_bytes()
        except OSError:
            # It ended in this moment.
            continue


def _greatest_size(pid: int) -> int | None:
    """The most resident memory that a process ever had (Linux)."""
    try:
        lines = (_PROC / str(pid) / "status").read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def working_in(folder: Path) -> list[psutil.Process]:
    """The processes that work in a folder: what is left of a family whose parent is dead."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == folder and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
            # Not one of ours, or gone meanwhile, which older psutils do not translate.
            continue
    return found
