"""On what was it measured? The facts without which figures mean nothing, and none that names it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "this_machine"]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine, at the begin of a run.

    Attributes:
        cpu: The processor's model.
        cores: That this process may use.
        memory: Bytes.
        kernel: Its release.
        python: Version.
        load_average: Processes that wanted to run in the last minute; above a tenth or two of the
            cores somebody else was working on it.
    """

    cpu: str
    cores: int
    memory: int
    kernel: str
    python: str
    load_average: float


def this_machine() -> Machine:
    """The machine that this runs on."""
    return Machine(
        cpu=_cpu(Path("/proc/cpuinfo").read_text("utf-8")),
        cores=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        python=platform.python_version(),
        load_average=round(os.getloadavg()[0], 2),
    )


def _cpu(text: str) -> str:
    """The model in the kernel's description; other architectures than x86 may name none."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return platform.machine()
